"""The small operations of a decoder between its products: many bytes for few FLOPs."""

from dataclasses import dataclass
from typing import ClassVar

from llmos.costs.ops.base import DTYPE_BYTES, Op

ID_BYTES = 8
"""Of the number of a token."""


@dataclass(frozen=True, slots=True)
class RmsNorm(Op):
    """Each of `tokens` rows of `hidden` numbers divided by its root mean square, times a weight."""

    tokens: int
    hidden: int
    dtype: str = "bf16"
    kind: ClassVar[str] = "rms_norm"

    @property
    def flops(self) -> int:
        return 4 * self.tokens * self.hidden  # square, add, scale, weigh

    @property
    def bytes(self) -> int:
        return (2 * self.tokens * self.hidden + self.hidden) * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class Rotary(Op):
    """`heads` vectors of `head_dim` numbers of each of `tokens` turned by the token's position.

    heads: queries and keys together.
    """

    tokens: int
    heads: int
    head_dim: int
    dtype: str = "bf16"
    kind: ClassVar[str] = "rotary"

    @property
    def flops(self) -> int:
        return 3 * self.tokens * self.heads * self.head_dim  # two products and a sum each

    @property
    def bytes(self) -> int:
        turned, angles = 2 * self.tokens * self.heads * self.head_dim, self.tokens * self.head_dim
        return (turned + angles) * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class SwiGlu(Op):
    """The activation of a gated MLP: silu(gate) * up, of `tokens` rows of `ffn` numbers."""

    tokens: int
    ffn: int
    dtype: str = "bf16"
    kind: ClassVar[str] = "swiglu"

    @property
    def flops(self) -> int:
        return 5 * self.tokens * self.ffn  # exponential, add, divide and two products

    @property
    def bytes(self) -> int:
        return 3 * self.tokens * self.ffn * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class Embedding(Op):
    """The rows of `tokens` tokens copied from a table of `vocab` rows of `hidden` numbers."""

    tokens: int
    hidden: int
    vocab: int
    dtype: str = "bf16"
    kind: ClassVar[str] = "embedding"

    @property
    def bytes(self) -> int:
        return 2 * self.tokens * self.hidden * DTYPE_BYTES[self.dtype] + self.tokens * ID_BYTES


@dataclass(frozen=True, slots=True)
class Softmax(Op):
    """Each of `rows` rows of `width` numbers made to add up to one."""

    rows: int
    width: int
    dtype: str = "bf16"
    kind: ClassVar[str] = "softmax"

    @property
    def flops(self) -> int:
        return 5 * self.rows * self.width  # largest, subtract, exponential, add, divide

    @property
    def bytes(self) -> int:
        return 2 * self.rows * self.width * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class Sampling(Op):
    """The likeliest of `vocab` tokens for each of `rows` requests (greedy sampling)."""

    rows: int
    vocab: int
    dtype: str = "bf16"
    kind: ClassVar[str] = "sampling"

    @property
    def flops(self) -> int:
        return self.rows * self.vocab

    @property
    def bytes(self) -> int:
        return self.rows * self.vocab * DTYPE_BYTES[self.dtype] + self.rows * ID_BYTES
