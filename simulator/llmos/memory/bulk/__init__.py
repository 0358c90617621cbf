"""Bulk studies: what a policy does with millions of references, compiled by numba.

- The references are dense ids, 0 .. count - 1, in an array of int32; `dense` makes them of any integers.
- `hits` says of each reference whether it hit, `misses` only counts. The answers are those of the policy
  of the same name in `llmos.replacement`; a test compares them.
- One file for each policy. numba loads, and a loop is compiled, when the first one is asked for.
- Not here: `random` and what looks at time or dirtiness. `Places` runs those.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from llmos.errors import LlmosError, did_you_mean

NAMES: Final = {
    "2q": "two_q", "arc": "arc", "clock": "clock", "fifo": "fifo", "lfu": "lfu", "lirs": "lirs", "lru": "lru",
    "mru": "mru", "opt": "opt", "s3-fifo": "s3_fifo", "sieve": "sieve", "slru": "slru",
}  # fmt: skip
"""Policies that have a compiled loop, and the file and function that it is."""

MOST: Final = 2**31 - 2
"""References, and ids, that the loops can number."""


def hits(policy: str, ids: ArrayLike, count: int, capacity: int, **parameters: float) -> NDArray[np.bool_]:
    """Return for each reference whether it hits `capacity` places that `policy` fills and empties.

    ids: 0 .. count - 1, shape (n,); parameters: those of the policy of this name, and their defaults.
    Raises LlmosError when there is no such loop or parameter.
    """
    references = _checked(ids, count, capacity)
    hit = np.zeros(len(references), np.bool_)
    _loop(policy)(references, count, min(capacity, count), hit, **_arguments(policy, parameters))
    return hit


def misses(policy: str, ids: ArrayLike, count: int, capacity: int, **parameters: float) -> int:
    """Return how many references miss, as `hits` does, but without the memory for each answer."""
    references = _checked(ids, count, capacity)
    nobody = np.zeros(0, np.bool_)
    hit: int = _loop(policy)(
        references, count, min(capacity, count), nobody, **_arguments(policy, parameters)
    )
    return len(references) - hit


def defaults(policy: str) -> dict[str, float]:
    """Return the parameters that the loop of `policy` takes, with their defaults."""
    loop = _loop(policy)
    parameters = inspect.signature(getattr(loop, "py_func", loop)).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def dense(references: ArrayLike) -> tuple[NDArray[np.int32], int]:
    """Return the references as ids 0 .. count - 1, in the order of their first appearance, and count."""
    numbering = importlib.import_module("llmos.memory.bulk.numbering").Numbering()
    ids: NDArray[np.int32] = numbering.add(np.asarray(references))
    return ids, numbering.count


@cache
def _loop(policy: str) -> Callable[..., int]:
    if policy not in NAMES:
        hint = did_you_mean(policy, NAMES) or f"there are: {', '.join(NAMES)}"
        raise LlmosError(f'there is no compiled loop for "{policy}"', hint=hint)
    file = NAMES[policy]
    loop: Callable[..., int] = getattr(importlib.import_module(f"{__name__}.{file}"), file)
    return loop


def _arguments(policy: str, given: dict[str, float]) -> dict[str, Any]:
    """Return all parameters, each of its default's type: a loop is compiled once, not once per type."""
    known = defaults(policy)
    for name in given.keys() - known.keys():
        hint = did_you_mean(name, known) or f"it has: {', '.join(known) or 'none'}"
        raise LlmosError(f'the loop of "{policy}" has no parameter "{name}"', hint=hint)
    return {name: type(default)(given.get(name, default)) for name, default in known.items()}


def _checked(ids: ArrayLike, count: int, capacity: int) -> NDArray[np.int32]:
    """Return the ids as the loops want them: a compiled loop does not check where it writes."""
    references = np.asarray(ids)
    if capacity < 1:
        raise LlmosError(f"a capacity is 1 or more, not {capacity:,}")
    if not references.size and count >= 0:
        return np.zeros(0, np.int32)
    if references.size > MOST or references.min() < 0 or references.max() >= count:
        raise LlmosError(f"ids are 0 .. {count - 1:,}, at most {MOST:,} of them", hint="use dense()")
    references = np.ascontiguousarray(references, np.int32)
    return references if references.flags.writeable else references.copy()
