"""The contract of an operation: what it is, how much it computes, how much it moves.

- An operation is a small frozen value: equal fields mean the same operation, so it can be the key of
  a dict and a row of a profile.
- Its whole-number fields are its sizes, `dims`. The first is the *running* size (the tokens of a
  matmul): a profile has many of them for the same rest, and the cost model interpolates along it.
  The rest names the curve.
- Its word fields (dtype, how weights are stored, which way a copy goes) and its kind name its
  `family`: only operations of one family are compared with one another.
- `flops` and `bytes` are exact integers. `bytes` counts each operand moved once.
"""

from dataclasses import fields
from functools import cache
from typing import Any, ClassVar

from llmos.errors import ProfileError

DTYPE_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "fp8": 1}
LARGEST = 2**40  # No size of a real operation comes near it; it keeps hostile input finite.


class Op:
    """An operation; a kind of it is a frozen dataclass of sizes, then words.

    Raises ProfileError when a size or a word is out of range.
    """

    __slots__ = ()

    kind: ClassVar[str]
    words: ClassVar[dict[str, tuple[str, ...]]] = {"dtype": tuple(DTYPE_BYTES)}
    """Its word fields, and what each may be."""
    link: ClassVar[str] = "memory"
    """What its bytes go through: the device's own memory, or a link of the profile."""

    def __post_init__(self) -> None:
        for name in self.sizes():
            size = getattr(self, name)
            if type(size) is not int or not 1 <= size <= LARGEST:
                raise ProfileError(f"{self.kind}: {name} is a whole number from 1 to 2**40, not {size!r:.40}")
        for name, allowed in self.words.items():
            word = getattr(self, name)
            if not isinstance(word, str) or word not in allowed:
                hint = f"there are: {', '.join(allowed)}"
                raise ProfileError(f"{self.kind}: unknown {name} {word!r:.40}", hint=hint)

    @classmethod
    def sizes(cls) -> tuple[str, ...]:
        """The names of its sizes, the running one first."""
        every: Any = cls  # A dataclass, which Python cannot say of a base class that is none.
        return _sizes(every)

    @property
    def dims(self) -> tuple[int, ...]:
        """Its sizes, the running one first."""
        return tuple(getattr(self, name) for name in self.sizes())

    @property
    def family(self) -> tuple[str, ...]:
        """Its kind and its words: what it can be compared with."""
        return (self.kind, *(getattr(self, name) for name in self.words))

    @property
    def arithmetic(self) -> str:
        """The type of numbers that it computes with: which of a device's peaks applies."""
        return str(getattr(self, "dtype", ""))

    @property
    def flops(self) -> int:
        """Floating-point operations; a multiply and an add count as two."""
        return 0

    @property
    def tiled_flops(self) -> int:
        """Floating-point operations of a device that computes whole tiles only, as matrix units do."""
        return self.flops

    @property
    def bytes(self) -> int:
        """Bytes that must be moved when each operand is read or written once."""
        raise NotImplementedError

    @property
    def steps(self) -> int:
        """How often the latency of its link (or a launch) is paid, one after another."""
        return 1


@cache  # Asked for every operation that is made.
def _sizes(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.name not in kind.words)
