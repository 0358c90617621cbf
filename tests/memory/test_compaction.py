"""Compaction by hand: frames in pieces become a block, and nobody's page is lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from memories import TINY_TLB, machine, memory, of, play, touch

from llmos.memory.huge import HugeRules
from llmos.memory.memory import Memory
from llmos.memory.records import Costs
from llmos.memory.tlb import Tlb
from llmos.memory.translation.multilevel import MultiLevel
from llmos.process import program as calls
from llmos.process.program import Madvise, Mlock, Mmap, Munmap
from llmos.scenario.spec import MemorySpec
from llmos.trace import events as ev

PAGE = 4096


def compacting(frames: int, **more: Any) -> MemorySpec:
    """Return a memory with huge pages of 4 pages for those who ask."""
    bits = (16, 9, 9, 2)
    given: dict[str, Any] = {
        "huge": HugeRules(when="madvise", order=2),
        "table": lambda: MultiLevel(bits),
        "tlb": lambda: Tlb(TINY_TLB, spans=MultiLevel(bits).entry_spans),
    }
    return memory(frames, **given | more)


def scattered(frames: int, *before: calls.Call) -> Callable[[], calls.Program]:
    """Return a program that has every other frame, and then wants a huge page."""

    def program() -> calls.Program:
        half = frames // 2
        yield Mmap("stays", half * PAGE)
        yield Mmap("goes", half * PAGE)
        for page in range(half):
            yield touch(f"{page}w", region="stays")
            yield touch(f"{page}w", region="goes")
        yield Munmap("goes")
        yield from of(*before)()
        yield Mmap("large", 4 * PAGE)
        yield Madvise("large", "huge")
        yield touch(0, 1, 2, 3, region="large")
        yield touch(*range(half), region="stays")

    return program


def made(events: list[ev.Event]) -> list[ev.Compact]:
    return [event for event in events if isinstance(event, ev.Compact)]


def huge(events: list[ev.Event], what: str) -> list[ev.Huge]:
    return [event for event in events if isinstance(event, ev.Huge) and event.what == what]


def test_two_moves_make_a_block_of_four_frames() -> None:
    outcome, events, _ = play(machine(compacting(16), scattered(16)))
    # Free are the odd frames. Frame 0 goes to 15 and frame 2 to 13; then 0 to 3 are free.
    (event,) = made(events)
    assert (event.moved, event.order, event.before, event.after) == (2, 2, 1 - (1 + 8 / 4) / 8, 0)
    (page,) = huge(events, "fault")
    assert page.frame == 0
    costs = Costs()
    cost = costs.minor_fault_ns + 4 * costs.zero_page_ns + 2 * costs.copy_page_ns
    assert [e.cost_ns for e in events if isinstance(e, ev.Fault)][-1] == cost
    assert outcome.state.memory.tasks[1].minor_faults == 17
    assert outcome.state.memory.huge.moved == 2


@pytest.mark.parametrize(
    ("frames", "more", "before", "failures"),
    [
        (16, {"compacts": False}, [], 1),
        (8, {}, [], 1),  # 4 frames in pieces: the index is 0.5, which says memory is what is wanting
        (16, {}, [Mlock("stays")], 1),
    ],
)
def test_where_it_is_off_or_cannot_help_there_is_no_huge_page(
    frames: int, more: dict[str, Any], before: list[calls.Call], failures: int
) -> None:
    _, events, _ = play(machine(compacting(frames, **more), scattered(frames, *before)))
    assert sum(event.moved for event in made(events)) == 0
    assert len(huge(events, "none")) == failures
    assert not huge(events, "fault")
    assert [e.reason for e in events if isinstance(e, ev.Fault)][-4:] == ["demand zero"] * 4


def test_it_goes_round_what_is_pinned() -> None:
    def program() -> calls.Program:
        yield Mmap("pinned", PAGE)
        yield touch("0w", region="pinned")
        yield Mlock("pinned")
        yield from scattered(30)()

    _, events, _ = play(machine(compacting(32), program))
    # Frame 0 is pinned, the even ones and 31 are free: 1, 3, 5 and 7 go to 31, 30, 28 and 26.
    assert [event.moved for event in made(events)] == [4]
    assert [event.frame for event in huge(events, "fault")] == [4]


def test_every_tlb_must_be_told_of_a_move() -> None:
    """A mutation: the check of `memories` sees a TLB that was not told."""
    with patch.object(Memory, "shoot_down"), pytest.raises(AssertionError, match="TLB"):
        play(machine(compacting(16), scattered(16)))
