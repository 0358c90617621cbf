"""Watermarks: Linux's numbers, and what reclaims when, by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memories import machine, memory, play, touch

from llmos.memory.watermarks import Watermarks, linux
from llmos.process.program import Compute, Mlock
from llmos.trace import events as ev

PAGE_KB = 4


# The table in the comment above init_per_zone_wmark_min in Linux's mm/page_alloc.c: MiB of memory -> KiB.
@pytest.mark.parametrize(
    ("mib", "kib"),
    [(16, 512), (32, 724), (64, 1024), (128, 1448), (256, 2048), (512, 2896), (1024, 4096), (2048, 5792),
     (4096, 8192), (8192, 11584), (16384, 16384)],
)  # fmt: skip
def test_min_is_as_in_the_table_of_linux(mib: int, kib: int) -> None:
    assert linux(mib * 1024 // PAGE_KB, 4096).min == kib // PAGE_KB


def test_low_and_high_by_hand() -> None:
    # 1 GiB: a quarter of min is 256, and 10/10,000 of 262,144 frames are 262. 16 MiB: 32 against 4.
    assert linux(262_144, 4096) == Watermarks(1024, 1024 + 262, 1024 + 2 * 262)
    assert linux(4096, 4096) == Watermarks(128, 160, 192)
    assert linux(262_144, 4096, scale=100) == Watermarks(1024, 1024 + 2621, 1024 + 2 * 2621)


def test_min_has_bounds() -> None:
    assert linux(64, 4096).min == 128 // PAGE_KB
    assert linux(2**30, 4096).min == 262_144 // PAGE_KB


def reclaims(events: list[ev.Event]) -> list[tuple[Any, ...]]:
    return [(e.how, e.task, e.pages, e.free, e.cost_ns) for e in events if isinstance(e, ev.Reclaim)]


def going_over(*pages: int | str) -> Any:
    def program():
        yield touch(*pages)
        yield Compute(1_000_000)

    return program


def test_the_background_begins_below_low_and_ends_at_high() -> None:
    # 32 frames, the stack is not touched. After the 25th page 7 are free: 5 go, until 12 are. That leaves
    # room for 5 more pages: 25 + 5 = 30 pages leave 7 free again.
    has = memory(32, watermarks=Watermarks(4, 8, 12))
    outcome, events, _ = play(machine(has, going_over(*range(31))))
    assert outcome.ok
    assert reclaims(events) == [("background", -1, 5, 12, 0), ("background", -1, 5, 12, 0)]
    work = [e for e in events if isinstance(e, ev.Interrupt) and e.irq == "kswapd"]
    assert [(e.cost_ns, e.reason) for e in work] == [(5 * 200, "7 frames are free, and 12 should be")] * 2
    evicted = [event for event in events if isinstance(event, ev.Evict)]
    assert [event.holders[0][1] - evicted[0].holders[0][1] for event in evicted] == list(range(10))
    assert evicted[0].reason == "background reclaim: least recently used"


def test_nobody_waits_for_the_background_but_it_takes_time_on_the_core() -> None:
    has = memory(32, watermarks=Watermarks(4, 8, 12))
    outcome, events, _ = play(machine(has, going_over(*range(31))))
    spare, _, _ = play(machine(memory(64), going_over(*range(31))))
    assert not [event for event in events if isinstance(event, ev.Block)]
    finish, spare_finish = (run.state.tasks[1].finish_ns for run in (outcome, spare))
    assert finish - spare_finish == 10 * 200
    [core] = outcome.state.processors.values()
    assert core.interrupts - next(iter(spare.state.processors.values())).interrupts == 2


def test_below_min_the_fault_reclaims_itself_and_waits() -> None:
    # Where low is no more than min, the fault is first: the 25th page would leave 7 of 8. So 4 pages go.
    has = memory(32, watermarks=Watermarks(8, 8, 12))
    _, events, _ = play(machine(has, going_over(*range(25))))
    assert reclaims(events) == [("direct", 1, 4, 12, 4 * 200)]
    last = [event for event in events if isinstance(event, ev.Fault)][-1]
    assert last.cost_ns == 1000 + 200 + 4 * 200  # a minor fault, a page of zeros, and reclaim
    assert [event.reason for event in events if isinstance(event, ev.Block)] == [
        "waits for a victim to be written"
    ]


def test_if_nothing_can_go_the_last_frames_are_taken_all_the_same() -> None:
    def program():
        yield touch(*range(20))
        yield Mlock("heap")
        yield touch(*range(32))

    outcome, events, _ = play(machine(memory(32, watermarks=Watermarks(4, 8, 12)), program))
    assert outcome.ok
    assert not [event for event in events if isinstance(event, ev.OomKill)]
    assert outcome.state.memory.tasks[1].accesses == 52


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 19), max_size=60), min_size=1, max_size=3),
    st.tuples(st.integers(1, 6), st.integers(0, 4), st.integers(0, 4)),
    st.integers(1, 2),
)
def test_with_watermarks_all_still_adds_up(
    tasks: list[list[int]], steps: tuple[int, int, int], cores: int
) -> None:
    marks = Watermarks(steps[0], steps[0] + steps[1], sum(steps))
    has = memory(16, watermarks=marks)
    outcome, events, _ = play(machine(has, *(going_over(*pages) for pages in tasks), cores=cores))
    assert outcome.ok
    made = sum(task.accesses for task in outcome.state.memory.tasks.values())
    assert made == sum(map(len, tasks))
    for event in events:
        if isinstance(event, ev.Reclaim):
            assert event.free <= marks.high, "it ends at high"
