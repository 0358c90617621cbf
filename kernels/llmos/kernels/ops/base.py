"""The contract of a kernel: the tensors that one operation needs, and the call that does its work.

- An operation's sizes and words come from `llmos.costs.ops`; here are its tensors and its call.
- `operands` makes them for timing: flat stretches of a pool that is larger than the cache, seen as the
  operation sees them. Making them touches none of their bytes, so they are cold when the clock starts.
- The result goes into a given tensor where torch's call takes one; else its allocation is timed too.
- `exact` is the same from the same operands in float64, by the plain formula, to measure errors by.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Source(Protocol):
    """Where operands come from."""

    @property
    def device(self) -> str:
        """Where they lie: "cpu" or "cuda"."""
        ...

    def take(self, count: int, dtype: str | torch.dtype, role: str = "in") -> Tensor:
        """That many numbers, flat: random ones to be read ("in"), or a place to be written ("out")."""
        ...

    def places(self, count: int, below: int) -> Tensor:
        """`count` different numbers (any, if there are too few) from 0 to `below` - 1, unordered, int64."""
        ...

    def host(self, count: int, *, pinned: bool) -> Tensor:
        """`count` bytes of the host's memory."""
        ...

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` returned for that key before, or returns now: for what no flat stretch can be."""
        ...


def no_lack(_op: Any, _device: str) -> str:
    """Nothing is missing."""
    return ""


def nothing_stored(*_operands: Any) -> tuple[Tensor, ...]:
    """No operand outlives the operation."""
    return ()


@dataclass(frozen=True, slots=True)
class Kernel:
    """How to run one kind of operation.

    operands: tensors for one run, in the order of `run`'s arguments.
    run: does the work and returns the result.
    exact: the same result in float64.
    stored: which of the operands a model keeps: its weights, its keys and values.
    pack: for weights stored otherwise than dense: from an (n, k) matrix to its stored tensors.
    lacks: why that operation cannot be run so on a "cpu" or "cuda" device; "" when it can.
    note: what the kernel is, where there is more than one for an operation.
    """

    operands: Callable[[Any, Source], tuple[Any, ...]]
    run: Callable[..., Tensor]
    exact: Callable[..., Tensor]
    stored: Callable[..., tuple[Tensor, ...]] = nothing_stored
    pack: Callable[[Tensor], tuple[Any, ...]] | None = None
    lacks: Callable[[Any, str], str] = no_lack
    note: str = ""
