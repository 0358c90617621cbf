"""Products of matrices and sums of vectors."""

from dataclasses import dataclass
from typing import ClassVar

from llmos.costs.ops.base import DTYPE_BYTES, Op

GROUP = 128
"""So many int4 weights in a row share a scale and a zero point."""

WEIGHTS = ("dense", "int8", "int4", "int8-dynamic", "2:4")
"""How a product's weights are stored:

- dense: in the operation's own dtype
- int8: a byte each, with a scale for every output; they become `dtype` before they are multiplied
- int4: half a byte each, with a scale and a zero point for every `GROUP` of an output's; as int8
- int8-dynamic: as int8, and the inputs are made int8 as they come, a scale for every row of them
- 2:4: of every four weights in a row two are zero and left out; two bits tell where each other one was
"""


@dataclass(frozen=True, slots=True)
class Matmul(Op):
    """The product of an (m, k) by a (k, n) matrix: `m` tokens through a layer of k inputs, n outputs."""

    m: int
    k: int
    n: int
    dtype: str = "fp32"
    weights: str = "dense"
    kind: ClassVar[str] = "matmul"
    words: ClassVar[dict[str, tuple[str, ...]]] = {"dtype": tuple(DTYPE_BYTES), "weights": WEIGHTS}

    @property
    def arithmetic(self) -> str:
        return "int8" if self.weights == "int8-dynamic" else self.dtype

    @property
    def flops(self) -> int:
        """All products and sums; of 2:4 sparse weights, those that are not left out."""
        return (1 if self.weights == "2:4" else 2) * self.m * self.k * self.n

    @property
    def bytes(self) -> int:
        return (self.m * self.k + self.m * self.n) * DTYPE_BYTES[self.dtype] + self.weight_bytes

    @property
    def weight_bytes(self) -> int:
        """The bytes of the (k, n) matrix as it is stored."""
        count, wide = self.k * self.n, DTYPE_BYTES[self.dtype]
        match self.weights:
            case "int8" | "int8-dynamic":
                return count + self.n * wide
            case "int4":
                return -(-count // 2) + 2 * self.n * -(-self.k // GROUP) * wide
            case "2:4":
                return -(-count // 2) * wide + -(-count // 8)
        return count * wide


@dataclass(frozen=True, slots=True)
class BatchedMatmul(Op):
    """`batch` products of an (m, k) by a (k, n) matrix, each with matrices of its own."""

    m: int
    k: int
    n: int
    batch: int
    dtype: str = "fp32"
    kind: ClassVar[str] = "batched_matmul"

    @property
    def flops(self) -> int:
        return 2 * self.batch * self.m * self.k * self.n

    @property
    def bytes(self) -> int:
        one = self.m * self.k + self.k * self.n + self.m * self.n
        return self.batch * one * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class VectorAdd(Op):
    """The sum of two vectors of `n` numbers, written to a third."""

    n: int
    dtype: str = "fp32"
    kind: ClassVar[str] = "vector_add"

    @property
    def flops(self) -> int:
        return self.n

    @property
    def bytes(self) -> int:
        return 3 * self.n * DTYPE_BYTES[self.dtype]
