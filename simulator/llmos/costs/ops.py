"""Operations that cost time: what they are, how much they compute and how much they move.

- An operation is a small frozen value: equal sizes and type mean the same operation, so it can be
  the key of a dict and a row of a profile.
- `dims` holds its sizes. The first is the *running* size (the tokens of a matmul): a profile has many
  of them for the same rest, and the cost model interpolates along it. The rest names the curve.
- `flops` and `bytes` are exact integers. `bytes` counts each operand moved once.
- A new kind of operation is one dataclass here and one entry in `OPS`; profiles and the cost model
  know nothing else about it.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol

from llmos.errors import ProfileError, did_you_mean

DTYPE_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
LARGEST = 2**40  # No size of a real operation comes near it; it keeps hostile input finite.


class Op(Protocol):
    """What the cost model and the profiles need to know of any operation."""

    kind: ClassVar[str]

    @property
    def dtype(self) -> str:
        """The type of its numbers, a key of `DTYPE_BYTES`."""
        ...

    @property
    def dims(self) -> tuple[int, ...]:
        """Its sizes, the running one first."""
        ...

    @property
    def flops(self) -> int:
        """Floating-point operations; a multiply and an add count as two."""
        ...

    @property
    def bytes(self) -> int:
        """Bytes that must be moved when each operand is read or written once."""
        ...


@dataclass(frozen=True, slots=True)
class Matmul:
    """The product of an (m, k) by a (k, n) matrix: `m` tokens through a layer of k inputs, n outputs.

    m, k, n: 1 to 2**40; dtype: a key of `DTYPE_BYTES`. Raises ProfileError outside of these.
    """

    m: int
    k: int
    n: int
    dtype: str = "fp32"
    kind: ClassVar[str] = "matmul"

    def __post_init__(self) -> None:
        _check(self.kind, self.dtype, m=self.m, k=self.k, n=self.n)

    @property
    def dims(self) -> tuple[int, ...]:
        return (self.m, self.k, self.n)

    @property
    def flops(self) -> int:
        return 2 * self.m * self.k * self.n

    @property
    def bytes(self) -> int:
        return (self.m * self.k + self.k * self.n + self.m * self.n) * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class VectorAdd:
    """The sum of two vectors of `n` numbers, written to a third.

    n: 1 to 2**40; dtype: a key of `DTYPE_BYTES`. Raises ProfileError outside of these.
    """

    n: int
    dtype: str = "fp32"
    kind: ClassVar[str] = "vector_add"

    def __post_init__(self) -> None:
        _check(self.kind, self.dtype, n=self.n)

    @property
    def dims(self) -> tuple[int, ...]:
        return (self.n,)

    @property
    def flops(self) -> int:
        return self.n

    @property
    def bytes(self) -> int:
        return 3 * self.n * DTYPE_BYTES[self.dtype]


OPS: dict[str, type[Matmul] | type[VectorAdd]] = {op.kind: op for op in (Matmul, VectorAdd)}


def make_op(kind: str, sizes: dict[str, Any]) -> Matmul | VectorAdd:
    """The operation of that kind with those fields, as read from a file.

    Raises ProfileError when the kind is unknown, or a field is missing, unknown or out of range.
    """
    if kind not in OPS:
        hint = did_you_mean(kind, OPS) or f"there are: {', '.join(OPS)}"
        raise ProfileError(f"unknown operation {kind[:40]!r}", hint=hint)
    names = [field.name for field in fields(OPS[kind])]
    if wrong := sorted(set(sizes) ^ set(names)):
        raise ProfileError(f"{kind} takes {', '.join(names)}; look at {', '.join(wrong)[:200]}")
    return OPS[kind](**sizes)


def op_fields(op: Op) -> dict[str, Any]:
    """The operation as plain fields, the inverse of `make_op`."""
    return {field.name: getattr(op, field.name) for field in fields(OPS[op.kind])}


def show_op(op: Op) -> str:
    """The operation as people write it, as in `matmul 8x1024x4096 bf16`."""
    return f"{op.kind} {'x'.join(map(str, op.dims))} {op.dtype}"


def _check(kind: str, dtype: object, **sizes: object) -> None:
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        raise ProfileError(f"unknown dtype {dtype!r:.40}", hint=f"there are: {', '.join(DTYPE_BYTES)}")
    for name, size in sizes.items():
        if type(size) is not int or not 1 <= size <= LARGEST:
            raise ProfileError(f"{kind}: {name} is a whole number from 1 to 2**40, not {size!r:.40}")
