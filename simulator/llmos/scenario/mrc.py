"""Miss-ratio curves: how a trace fares under several policies, at several sizes.

- LRU is done at all sizes at once, by its stack distances; the others size by size, in a compiled loop
  where there is one (`llmos.memory.bulk`), else with the policy itself in `Places`.
- The trace becomes dense ids in a temporary file, so memory grows with its pages, not with its length.
  OPT needs four bytes a reference more, to know the future.
- A sample of the pages (SHARDS) is as good as its error, which is given.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from llmos.errors import LlmosError
from llmos.memory import bulk
from llmos.memory.traces import Chunk
from llmos.plugins import blaming
from llmos.replacement.places import Places
from llmos.scenario.policies import parse_choice, replacement_spec

MOST_SIZES: Final = 30
LRU: Final = "lru"

Ids = NDArray[np.int32]
Reals = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Numbered:
    """A trace as dense ids, shape (n,). `rate` is the share of its `pages` that are kept (1: all)."""

    ids: Ids
    count: int
    references: int
    pages: int
    rate: float = 1.0


@dataclass(frozen=True, slots=True)
class Curve:
    """The miss ratios (0..1) of a policy at some sizes, and half the widths of their 95 % bands.

    A sample too small to tell says NaN; where everything was counted, the half widths are 0.
    """

    policy: str
    sizes: tuple[int, ...]
    ratios: tuple[float, ...]
    half_widths: tuple[float, ...]


def numbered(chunks: Iterable[Chunk], sample: float = 1.0) -> Numbered:
    """Return a trace as dense ids.

    sample: of a number below 1, about that share of the pages is kept; of a whole number from 2 on, so many
    pages; 1 keeps all.

    Raises LlmosError if nothing is left.
    """
    from llmos.memory.bulk.numbering import Numbering
    from llmos.memory.bulk.sampling import in_sample, of_size

    numbering = Numbering()
    references = 0
    with tempfile.TemporaryFile() as file:
        for chunk in chunks:
            ids = numbering.add(chunk.pages)
            references += len(ids)
            file.write((ids[in_sample(ids, sample)] if sample < 1 else ids).tobytes())
            if references > bulk.MOST:
                raise LlmosError(f"the trace has more than {bulk.MOST:,} references", hint="cut it")
        if not file.tell():
            why = "the sample has no page of it" if references else "the trace has no references"
            raise LlmosError(why, hint="take a larger sample" if references else "look into the file")
        file.flush()
        kept = np.asarray(np.memmap(file, np.int32, "c"))
    if sample < 1:
        again = Numbering()
        kept = again.add(kept)
        return Numbered(kept, again.count, references, numbering.count, again.count / numbering.count)
    if sample > 1:
        part = of_size(kept, numbering.count, int(sample))
        return Numbered(part.ids, part.count, references, numbering.count, part.rate)
    return Numbered(kept, numbering.count, references, numbering.count)


def sizes_for(pages: int) -> list[int]:
    """Return sizes that show a curve: from 1 to so many pages, evenly on a logarithmic axis."""
    return sorted({round(size) for size in np.geomspace(1, max(pages, 1), MOST_SIZES)})


def curves(
    trace: Numbered,
    policies: Sequence[str],
    sizes: Sequence[int],
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Curve]:
    """Return the curve of each of `policies` ("clock bits=2", "mine.py:Mine") at the same sizes (1..).

    progress: is told how many of all simulations are done.

    Raises ScenarioError when there is no such policy or parameter.
    """
    from llmos.memory.bulk.sampling import GROUPS, Sample, estimate

    runs = [(replacement_spec(text, seed=seed).name, _misses(text, seed)) for text in policies]
    sample = Sample(trace.ids, trace.count, trace.rate, trace.references)
    each = 1 if trace.rate == 1 else GROUPS + 1
    total = sum(each * (1 if name == LRU else len(sizes)) for name, _ in runs)
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    out = []
    for name, misses in runs:
        ratios, half = estimate(sample, lambda *given, m=misses: m(*given, step), np.array(sizes, float))
        out.append(Curve(name, tuple(sizes), tuple(ratios.tolist()), tuple(half.tolist())))
    return out


Counted = Callable[[Ids, int, Reals, Callable[[], None]], Reals]


def _misses(text: str, seed: int) -> Counted:
    """Return what counts the misses of a policy at each size, in the fastest way that there is."""
    choice = parse_choice(text)
    policy = choice.pop("policy")
    if policy == LRU:
        return _lru
    loop = policy in bulk.NAMES and choice.keys() <= bulk.defaults(policy).keys()

    def count(ids: Ids, pages: int, sizes: Reals, step: Callable[[], None]) -> Reals:
        missed = []
        for size in sizes:
            capacity = max(round(size), 1)
            given: dict[str, Any] = choice
            missed.append(
                bulk.misses(policy, ids, pages, capacity, **given)
                if loop
                else _slowly(text, seed, ids, capacity)
            )
            step()
        return np.array(missed, float)

    return count


def _lru(ids: Ids, pages: int, sizes: Reals, step: Callable[[], None]) -> Reals:
    from llmos.memory.bulk.stack import lru_misses

    missed = np.interp(sizes, np.arange(pages + 1), lru_misses(ids, pages))
    step()
    return missed


def _slowly(text: str, seed: int, ids: Ids, capacity: int) -> int:
    """Count the misses with the policy itself."""
    policy = replacement_spec(text, seed=seed).make(capacity)
    references = ids.tolist()
    with blaming(policy):
        if policy.offline:
            policy.foresee(references)
        return Places(capacity, policy).misses(references)
