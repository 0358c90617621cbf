"""SHARDS: a curve from a sample of the pages, with its error.

- A page is in the sample if the hash of its number is small; then all its references are. A sample of a
  share R of the pages behaves in R times the places as all do in all: distances, and so sizes, shrink by R.
- A fixed rate takes the pages below a threshold, a fixed size those of the smallest hashes. Either way R is
  the share of the pages that were really taken: all are counted, as they are numbered anyway.
- A miss ratio is the misses of the sample over R times *all* references: a hot page that happens to be in
  the sample, or not, mostly adds hits (SHARDS-adj).
- The error is the jackknife's: the sample is cut into ten groups of pages, the curve is made again without
  each, and the ten answers' spread gives the standard error. The band is Student's 95 %.

Source: Waldspurger, Park, Garthwaite and Ahmad, FAST'15 (SHARDS); Waldspurger, Saemundsson, Ahmad and
Park, ATC'17 (any policy in miniature).
Differs: of a fixed size, the threshold is found first and not lowered on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from llmos.memory.bulk.compiled import Flags, Ids
from llmos.memory.bulk.mixing import all_mixed

Reals = NDArray[np.float64]

GROUPS: Final = 10
STUDENT_95: Final = 2.262
"""Of 9 degrees of freedom."""

Misses = Callable[[Ids, int, Reals], Reals]
"""Takes ids, their count and the scaled sizes; returns how many miss at each."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The references to a share `rate` (0..1) of the pages, as dense ids; the trace had `references`."""

    ids: Ids
    count: int
    rate: float
    references: int


def in_sample(ids: Ids, rate: float) -> Flags:
    """Return for each reference whether its page belongs to a sample of about so many of all (0..1)."""
    return np.asarray(all_mixed(ids.astype(np.uint64)) < np.uint64(min(int(rate * 2.0**64), 2**64 - 1)))


def of_rate(ids: Ids, count: int, rate: float) -> Sample:
    """Return the sample of about `rate` times `count` pages."""
    taken = in_sample(np.arange(count, dtype=np.int32), rate)
    return _of(ids, taken, float(taken.mean()), len(ids))


def of_size(ids: Ids, count: int, most: int) -> Sample:
    """Return the sample of `most` pages, or all if there are no more."""
    if count <= most:
        return Sample(ids, count, 1.0, len(ids))
    hashes = all_mixed(np.arange(count, dtype=np.uint64))
    border = np.partition(hashes, most)[most]
    return _of(ids, hashes < border, most / count, len(ids))


def estimate(sample: Sample, misses: Misses, sizes: Reals) -> tuple[Reals, Reals]:
    """Return the miss ratio of the whole trace at each size, and half the width of its 95 % band."""
    ratios = _ratios(sample, misses, sizes)
    if sample.rate == 1 or sample.count < GROUPS:
        return ratios, np.full(len(sizes), 0.0 if sample.rate == 1 else np.nan)
    order = np.argsort(all_mixed(~np.arange(sample.count, dtype=np.uint64)))
    group = np.empty(sample.count, np.int8)
    group[order] = np.arange(sample.count) % GROUPS
    without = [
        _ratios(
            _of(sample.ids, group != g, sample.rate * float(np.mean(group != g)), sample.references),
            misses,
            sizes,
        )
        for g in range(GROUPS)
    ]
    spread = np.square(without - np.mean(without, axis=0)).sum(axis=0)
    return ratios, STUDENT_95 * np.sqrt((1 - 1 / GROUPS) * spread)


def _ratios(sample: Sample, misses: Misses, sizes: Reals) -> Reals:
    if not len(sample.ids):
        return np.full(len(sizes), np.nan)
    missed = misses(sample.ids, sample.count, sizes * sample.rate)
    return np.minimum(missed / (sample.rate * sample.references), 1.0)


def _of(ids: Ids, taken: Flags, rate: float, references: int) -> Sample:
    """Return the part of a trace that goes to the ids that are `taken`."""
    number = np.cumsum(taken, dtype=np.int32) - 1
    here = ids[taken[ids]]
    return Sample(number[here], int(taken.sum()), rate, references)
