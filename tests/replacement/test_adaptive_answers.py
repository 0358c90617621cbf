"""Adaptive policies against answers of libCacheSim, on the samples that we have."""

import json
from pathlib import Path

import numpy as np
import pytest

from llmos.replacement.arc import Arc
from llmos.replacement.lirs import Lirs
from llmos.replacement.places import Places
from llmos.replacement.s3_fifo import S3Fifo
from llmos.replacement.sieve import Sieve
from llmos.replacement.slru import Slru
from llmos.replacement.two_q import TwoQ

ORACLES = Path(__file__).parents[1] / "oracles"
SHORT = json.loads((ORACLES / "libcachesim_replacement.json").read_text())["cases"]
LONG = json.loads((ORACLES / "libcachesim_traces.json").read_text())

OURS = {"ARC": Arc, "TwoQ": TwoQ, "SIEVE": lambda _: Sieve(), "S3FIFO": S3Fifo, "SLRU": Slru, "LIRS": Lirs}
OWN_COUNT = {("phases_20k", "SLRU", size) for size in (30, 151, 302, 605)} | {
    ("phases_20k", "LIRS", size) for size in (30, 128, 151)
}
"""Samples where the tool's own way to count places shows: see the two policies below."""


def trace(name):
    if name == "loop_20k":
        return [i % 500 + 1 for i in range(20_000)]
    if name == "phases_20k":
        rng = np.random.default_rng(3)
        return np.concatenate([150 * k + rng.integers(1, 201, 1000) for k in range(20)]).tolist()
    return LONG["traces"][name]


def samples():
    for name, answers in LONG["misses"].items():
        for policy, misses in answers.items():
            for size, missed in misses.items():
                if policy in OURS:
                    yield name, policy, int(size), missed


def phases(policy):
    return [(size, missed) for name, p, size, missed in samples() if (name, p) == ("phases_20k", policy)]


def misses(policy, size, refs):
    places = Places(size, policy)
    return sum(not places.refer(key).hit for key in refs)


@pytest.mark.parametrize(
    "case", [pytest.param(c, id=c["id"]) for c in SHORT if c["input"]["policy"] == "Sieve"]
)
def test_sieve_reference_by_reference(case):
    places = Places(case["input"]["frames"], Sieve())
    outcome = "".join("H" if places.refer(key).hit else "M" for key in case["input"]["refs"])
    assert outcome == case["expected"]["outcome"]


@pytest.mark.parametrize(
    ("name", "policy", "size", "missed"), [sample for sample in samples() if sample[:3] not in OWN_COUNT]
)
def test_misses(name, policy, size, missed):
    assert misses(OURS[policy](size), size, trace(name)) == missed


# --- What the tool does and ours do not ---------------------------------------------------------------


class WastefulSlru(Slru):
    """The tool's SLRU where the segments cannot share the places evenly.

    The remainder is nobody's: newcomers may overfill the lowest segment, but before a page sinks into
    it, it drops pages until it is below its size, on a hit as well.
    """

    dropped = ()

    def resized(self, capacity):
        self._sizes = [capacity // len(self._segments)] * len(self._segments)

    def _settle(self):
        for level in range(len(self._segments) - 1, 0, -1):
            while len(self._segments[level]) > self._sizes[level]:
                key, _ = self._segments[level].popitem(last=False)
                lower = self._segments[level - 1]
                if level == 1:
                    self.dropped = list(lower)[: max(len(lower) + 1 - self._sizes[0], 0)]
                self._enter(key, level - 1)


class GreedyLirs(Lirs):
    """The tool's LIRS: an HIR page that is used off the stack is kept there, and takes no place."""

    def __init__(self, capacity):
        self.kept = set()
        self.capacity = capacity
        super().__init__(capacity)

    def refer(self, key):
        hit = key in self._lir or key in self._queue or key in self.kept
        if hit:
            self.accessed(key)
        else:
            ghost = key in self._ghosts
            self._ghosts.pop(key, None)
            if self.counted() >= self.capacity:
                self.drop(self.victim())
            if ghost:
                self._ghosts[key] = None
            self.inserted(key)
        self.kept &= self._stack.keys()
        while self.counted() > self.capacity:
            self.drop(next(iter(self._queue)))
        return hit

    def accessed(self, key, *, write=False):
        if key in self.kept:
            self.kept.remove(key)
            self._promote(key)
            self._prune()
        elif key in self._queue and key not in self._stack and len(self._lir) == self._most_lir:
            del self._queue[key]
            self._most_lir -= 1
            self._demote()
            self._most_lir += 1
            self._prune()
            self._stack[key] = None
            self.kept.add(key)
        else:
            super().accessed(key, write=write)

    def counted(self):
        return len(self._lir) + len(self._queue)

    def drop(self, key):
        self.evicted(key)
        super()._forget(self._most_ghosts - len(self.kept))

    def _forget(self, most):
        """Only an eviction makes it forget."""


@pytest.mark.parametrize(("size", "missed"), phases("SLRU"))
def test_slru_with_the_waste_of_the_tool(size, missed):
    policy = WastefulSlru(size)
    places = Places(size, policy)
    count = 0
    for key in trace("phases_20k"):
        count += not places.refer(key).hit
        dropped, policy.dropped = policy.dropped, ()
        for gone in dropped:
            places.remove(gone)
    assert count == missed


@pytest.mark.parametrize(("size", "missed"), phases("LIRS"))
def test_lirs_with_the_greed_of_the_tool(size, missed):
    policy = GreedyLirs(size)
    assert sum(not policy.refer(key) for key in trace("phases_20k")) == missed
