"""Every replacement policy in every place: frames, sets of a TLB, pages of the page cache."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Hashable, Iterable
from dataclasses import replace
from typing import Any

import pytest
from memories import machine, memory, of, play, touch
from replacements import NAMES, make

from llmos.memory.tlb import Tlb
from llmos.memory.tlb_array import Shape
from llmos.process.program import Program, ReadFile
from llmos.scenario.spec import MemorySpec, ReplacementSpec
from llmos.trace import events as ev

ONLINE = [name for name in NAMES if not name.startswith("opt")]
PAGE = 4096


def framed(name: str, frames: int, **more: Any) -> MemorySpec:
    """Return a memory whose frames are given by the policy called `name`."""
    policy = ReplacementSpec(name=name, make=lambda capacity: make(name, capacity))
    return replace(memory(frames, **more), replacement=policy)


def references(pages: int, count: int = 150) -> list[int]:
    """Return references of which some come often: the smaller of two page numbers drawn."""
    dice = random.Random(11)
    return [min(dice.randrange(pages), dice.randrange(pages)) for _ in range(count)]


def lru_misses(refs: Iterable[Hashable], places: int) -> int:
    """Count LRU's misses the plain way."""
    there: OrderedDict[Hashable, None] = OrderedDict()
    misses = 0
    for page in refs:
        if page in there:
            there.move_to_end(page)
            continue
        misses += 1
        if len(there) == places:
            there.popitem(last=False)
        there[page] = None
    return misses


def between(misses: int, refs: list[int], places: int) -> bool:
    """Whether a policy may have made so many misses: each page once at least, and not each time."""
    return len(set(refs)) <= misses < len(refs) and places < len(set(refs))


@pytest.mark.parametrize("name", ONLINE)
def test_frames(name: str) -> None:
    refs, frames = references(16), 8
    written = [f"{page}w" if i % 3 == 0 else page for i, page in enumerate(refs)]
    outcome, events, _ = play(machine(framed(name, frames), of(touch(*written))))
    task = outcome.state.memory.tasks[1]
    faults = task.minor_faults + task.major_faults
    assert outcome.ok
    assert between(faults, refs, frames)
    assert faults - frames == sum(isinstance(event, ev.Evict) for event in events)
    if name == "lru":
        assert faults == lru_misses(refs, frames)


@pytest.mark.parametrize("name", ONLINE)
def test_sets_of_a_tlb(name: str) -> None:
    refs, shape = references(16), Shape(sets=2, ways=4)
    has = memory(32, tlb=lambda: Tlb([shape], policy=lambda ways: make(name, ways)))
    outcome, _, _ = play(machine(has, of(touch(*refs))))
    misses = outcome.state.memory.tasks[1].tlb[0]
    assert outcome.ok
    assert between(misses, refs, shape.entries)
    if name == "lru":
        halves = ([page for page in refs if page % 2 == side] for side in (0, 1))
        assert misses == sum(lru_misses(half, shape.ways) for half in halves)


@pytest.mark.parametrize("name", ONLINE)
def test_pages_of_the_page_cache(name: str) -> None:
    refs, frames = references(16), 8

    def program() -> Program:
        for page in refs:
            yield ReadFile("book", PAGE, offset=page * PAGE)

    outcome, _, memory_ = play(machine(framed(name, frames), program))
    cache = outcome.state.memory.cache
    assert outcome.ok
    assert cache.hits + cache.misses == len(refs)
    assert between(cache.misses, refs, frames)
    assert len(memory_.pager.pages) == memory_.cache.resident == frames
    if name == "lru":
        assert cache.misses == lru_misses(refs, frames)


@pytest.mark.parametrize("name", ONLINE)
def test_all_of_them_at_once(name: str) -> None:
    """Two processes with anonymous and shared pages of a file, through TLBs, in few frames."""
    refs = references(10, 60)

    def program() -> Program:
        for page in refs[:20]:
            yield ReadFile("book", PAGE, offset=page * PAGE)
            yield touch(f"{page}w")
        yield touch(*refs)

    small = Shape(ways=3)
    has = framed(name, 7, tlb=lambda: Tlb([small], policy=lambda ways: make(name, ways)))
    outcome, _, memory_ = play(machine(has, program, program, cores=2))
    assert outcome.ok
    assert len(memory_.pager.pages) == memory_.cache.resident
