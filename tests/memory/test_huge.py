"""Huge pages: when they come, what they save, and that they always agree with everything else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memories import checked, machine, memory, of, play, touch

from llmos.memory.allocation import Sharing
from llmos.memory.huge import HugePages, HugeRules
from llmos.memory.ksm import MergeRules
from llmos.memory.load_control import Thrashing, empty
from llmos.memory.memory import Memory
from llmos.memory.records import Costs
from llmos.memory.tlb import Tlb
from llmos.memory.tlb_array import Shape
from llmos.memory.translation.multilevel import MultiLevel
from llmos.memory.watermarks import Watermarks
from llmos.process import program as calls
from llmos.process.program import (
    Brk,
    Compute,
    Fork,
    Madvise,
    Mlock,
    Mmap,
    Mprotect,
    Munmap,
    ReadFile,
    Sleep,
    Wait,
)
from llmos.scenario.machine import run
from llmos.scenario.spec import Injection, MemorySpec, TaskSpec
from llmos.trace import events as ev
from llmos.trace.metrics import metrics

BITS = (16, 9, 9, 2)
"""A page table in which a huge page is 4 pages."""
MS = 1_000_000


def tlb(*shapes: Shape) -> Tlb:
    return Tlb(shapes or [Shape(ways=4, pages=(0, 1))], spans=MultiLevel(BITS).entry_spans)


def huge_memory(frames: int, when: str = "always", **more: Any) -> MemorySpec:
    """Return a memory with huge pages of 4 pages, whose scanner wakes up every millisecond."""
    rules = {name: more.pop(name) for name in ("max_none", "pages_to_scan", "retry_ns") if name in more}
    given: dict[str, Any] = {
        "huge": HugeRules(when=when, order=2, scan_ns=MS, **rules),
        "table": lambda: MultiLevel(BITS),
        "tlb": tlb,
    }
    return memory(frames, **given | more)


def of_kind(events: list[ev.Event], what: str) -> list[ev.Huge]:
    return [event for event in events if isinstance(event, ev.Huge) and event.what == what]


def faults(events: list[ev.Event], task: int = 1) -> list[str]:
    return [event.reason for event in events if isinstance(event, ev.Fault) and event.task == task]


def test_the_first_touch_brings_a_huge_page_and_what_nobody_touches_of_it_is_waste() -> None:
    def program():
        yield Brk(8 * 4096)
        yield touch(0, 1, 3, 1, "6w")

    outcome, events, memory_ = play(machine(huge_memory(16), program))
    brought = [event for event in events if isinstance(event, ev.Fault)]
    costs = Costs()
    assert [(f.pages, f.rss) for f in brought] == [(4, 4), (4, 8)]
    assert [f.cost_ns for f in brought] == [costs.minor_fault_ns + 4 * costs.zero_page_ns] * 2
    assert [event.untouched for event in of_kind(events, "free")] == [1, 3]
    assert outcome.state.memory.huge.untouched == metrics(outcome.state)["memory.huge_untouched"] == 4
    assert metrics(outcome.state)["memory.huge_faults"] == 2
    assert outcome.state.memory.tasks[1].most_rss_pages == 8
    assert memory_.pager.frames.free_frames == 16


@pytest.mark.parametrize(
    ("pages", "when", "advice", "huge"),
    [(8, "always", None, 2), (7, "always", None, 1), (3, "always", None, 0), (8, "madvise", None, 0),
     (8, "madvise", "huge", 2), (8, "always", "nohuge", 0)],
)  # fmt: skip
def test_only_whole_aligned_parts_of_regions_that_may_be_are_huge(
    pages: int, when: str, advice: str | None, huge: int
) -> None:
    def program():
        yield Brk(pages * 4096)
        if advice:
            yield Madvise("heap", advice)
        yield touch(*range(pages))

    _, events, _ = play(machine(huge_memory(16, when), program))
    assert len(of_kind(events, "fault")) == huge
    assert len(faults(events)) == huge + pages - 4 * huge


def test_one_entry_covers_a_huge_page_so_the_tlb_reaches_further() -> None:
    def program():
        yield Brk(16 * 4096)
        yield touch(*range(16), *range(16))

    def missed(when: str) -> int:
        outcome, _, _ = play(machine(huge_memory(32, when), program))
        return outcome.state.memory.tasks[1].tlb[0]

    # Sixteen pages in turn never hit in 4 entries under LRU; as 4 huge pages they fit.
    assert missed("never") == 32
    assert missed("always") == 4


def test_without_entries_for_huge_pages_a_part_of_them_is_remembered() -> None:
    def program():
        yield Brk(4 * 4096)
        yield touch(0, 1, 2, 3, 0, 1, 2, 3)
        yield Mprotect("heap", "r")
        yield touch(0, 1, 2, 3)

    spec = huge_memory(8, tlb=lambda: tlb(Shape(ways=4)))
    outcome, _, _ = play(machine(spec, program))
    assert outcome.state.memory.tasks[1].tlb == [8, 4]


@pytest.mark.parametrize(("max_none", "promotions"), [(1, 0), (2, 1)])
def test_the_scanner_promotes_where_few_pages_are_missing(max_none: int, promotions: int) -> None:
    def program():
        yield Mmap("box", 4 * 4096)
        yield touch("1w", "2w", region="box")
        yield Madvise("box", "huge")
        yield Compute(2 * MS)
        yield touch(0, 1, 2, 3, region="box")

    outcome, events, _ = play(machine(huge_memory(16, "madvise", max_none=max_none), program))
    made = of_kind(events, "promote")
    assert len(made) == outcome.state.memory.huge.promotions == promotions
    assert metrics(outcome.state).get("memory.huge_promotions", 0) == promotions
    assert metrics(outcome.state).get("memory.huge_cost_ns", 0) == sum(event.cost_ns for event in made)
    assert len(faults(events)) == 2 + (0 if promotions else 2)
    for event in made:
        costs = Costs()
        assert (event.t, event.rss) == (MS, 4)
        assert event.cost_ns == 2 * costs.copy_page_ns + 2 * costs.zero_page_ns
        stolen = [e for e in events if isinstance(e, ev.Interrupt) and e.irq == "khugepaged"]
        assert stolen[0].cost_ns == event.cost_ns + 4 * costs.walk_ns


def test_the_scanner_promotes_while_all_tasks_sleep() -> None:
    def program():
        yield Mmap("box", 4 * 4096)
        yield touch("1w", "2w", region="box")
        yield Madvise("box", "huge")
        yield Sleep(2 * MS)

    _, events, _ = play(machine(huge_memory(16, "madvise"), program))
    assert [event.t for event in of_kind(events, "promote")] == [MS]


def test_the_scanner_takes_up_where_it_has_stopped() -> None:
    def program():
        yield Mmap("box", 12 * 4096)
        yield touch(0, 4, 8, region="box")
        yield Madvise("box", "huge")
        yield Compute(5 * MS)

    _, events, _ = play(machine(huge_memory(32, "madvise", pages_to_scan=4), program))
    made = of_kind(events, "promote")
    assert [event.t for event in made] == [MS, 2 * MS, 3 * MS]
    assert [event.page - made[0].page for event in made] == [0, 4, 8]


def test_the_scanner_looks_at_one_place_at_least() -> None:
    """Linux, too, goes through a whole huge page if it should look at fewer base pages."""

    def program():
        yield Mmap("box", 8 * 4096)
        yield touch(0, 4, region="box")
        yield Madvise("box", "huge")
        yield Compute(3 * MS)

    _, events, _ = play(machine(huge_memory(16, "madvise", pages_to_scan=1), program))
    assert [event.t for event in of_kind(events, "promote")] == [MS, 2 * MS]


def test_the_scanner_rests_for_all_when_there_is_no_block_but_not_when_one_may_not_have_more() -> None:
    """Two boxes could be huge, and no block is free: it tries once, until `retry` is over."""

    def program():
        yield Mmap("box", 16 * 4096)
        yield touch(0, 4, 8, 12, region="box")
        yield Madvise("box", "huge")
        yield Compute(6 * MS)

    has = huge_memory(7, "madvise", retry_ns=3 * MS)
    _, events, _ = play(machine(has, program))
    assert [event.t for event in of_kind(events, "none")] == [MS, 4 * MS]
    limited = TaskSpec(name="limited", program=program, memory_limit_bytes=5 * 4096)
    spec = machine(huge_memory(32, "madvise"), program)
    _, events, _ = play(replace(spec, tasks=[limited, *spec.tasks]))
    assert not of_kind(events, "none")
    assert [event.task for event in of_kind(events, "promote")] == [2] * 4


def test_a_huge_page_leaves_the_frames_that_are_kept() -> None:
    def program():
        yield Brk(8 * 4096)
        yield touch(0, 4)

    _, events, _ = play(machine(huge_memory(12, watermarks=Watermarks(5, 6, 7)), program))
    assert [event.reason for event in of_kind(events, "none")] == ["8 frames are free, 5 are kept"]
    assert faults(events) == ["demand zero, huge", "demand zero"]


def test_what_becomes_smaller_splits_the_page_at_its_end() -> None:
    def program():
        yield Brk(8 * 4096)
        yield touch(0, 4)
        yield Brk(6 * 4096)
        yield touch(5)

    _, events, memory_ = play(machine(huge_memory(16), program))
    split = of_kind(events, "split")
    assert [event.untouched for event in split] == [3]
    assert split[0].cost_ns == 4 * Costs().split_page_ns
    charged = [e for e in events if isinstance(e, ev.Interrupt) and e.irq == "split"]
    assert [event.cost_ns for event in charged] == [split[0].cost_ns]
    assert faults(events) == ["demand zero, huge"] * 2
    assert memory_.pager.frames.free_frames == 16


def test_a_write_after_a_fork_splits_and_copies_one_page() -> None:
    def child():
        yield touch("1w", 2)

    def parent():
        yield Brk(4 * 4096)
        yield touch("0w", "1w")
        yield Fork(child)
        yield Wait()
        yield touch("1w", "2w")

    _, events, _ = play(machine(huge_memory(16), parent))
    assert faults(events, task=2) == ["copy on write"]
    assert faults(events)[1:] == ["nobody else has it any more"] * 2
    assert len(of_kind(events, "split")) == 1


def test_the_last_one_who_has_a_huge_page_after_a_fork_writes_it_whole() -> None:
    def parent():
        yield Brk(4 * 4096)
        yield touch("0w")
        yield Fork(of(Compute(10)))
        yield Wait()
        yield touch("1w", "2w")

    _, events, _ = play(machine(huge_memory(16), parent))
    assert faults(events) == ["demand zero, huge", "nobody else has it any more"]
    assert not of_kind(events, "split")


def test_a_huge_page_leaves_whole_and_comes_back_in_parts() -> None:
    def program():
        yield Brk(12 * 4096)
        yield touch("0w", "4w", "8w", "1w", "2w")

    _, events, memory_ = play(machine(huge_memory(8), program))
    evicted = [e for e in events if isinstance(e, ev.Evict)]
    # No block is free for the third, so it gets a base page; the first one makes room for that.
    assert [(e.pages, e.dirty) for e in evicted] == [(4, True)]
    assert faults(events) == ["demand zero, huge"] * 2 + ["demand zero"] + ["in swap"] * 2
    assert len(of_kind(events, "swap")) == 1
    assert memory_.swap is not None
    assert memory_.swap.free == 1000


@pytest.mark.parametrize(("swap", "leave"), [(3, 3), (1, 1), (0, 0)])
def test_if_swap_has_no_room_for_all_of_it_a_huge_page_is_split_and_what_fits_goes(
    swap: int, leave: int
) -> None:
    def program():
        yield Brk(8 * 4096)
        yield touch("0w", "4w")
        yield Mmap("box", 4096)
        yield touch("0w", region="box")

    _, events, _ = play(machine(huge_memory(8, swap_pages=swap), program))
    assert len([e for e in events if isinstance(e, ev.OomKill)]) == (0 if leave else 1)
    assert [e.pages for e in events if isinstance(e, ev.Evict)] == [1] * leave
    assert not of_kind(events, "swap")
    assert [e.reason for e in of_kind(events, "split")] == ["swap has no room for all of it"] * bool(leave)
    costs = Costs()
    if leave:
        assert [e.cost_ns for e in events if isinstance(e, ev.Fault)][-1] == (
            costs.minor_fault_ns + costs.zero_page_ns + 4 * costs.split_page_ns
        )


def test_kswapd_takes_what_fits_of_a_huge_page_and_pays_for_the_split() -> None:
    def program():
        yield Brk(12 * 4096)
        yield touch("0w", "4w", "8w")

    has = huge_memory(16, swap_pages=3, watermarks=Watermarks(1, 5, 6))
    outcome, events, _ = play(machine(has, program))
    assert outcome.ok
    [reclaim] = [e for e in events if isinstance(e, ev.Reclaim)]
    assert (reclaim.how, reclaim.pages, reclaim.free) == ("background", 3, 7)
    work = [e.cost_ns for e in events if isinstance(e, ev.Interrupt) and e.irq == "kswapd"]
    assert work == [3 * Costs().reclaim_page_ns + 4 * Costs().split_page_ns]


def test_parts_of_a_huge_page_that_come_back_are_refaults() -> None:
    """Two huge pages and some small ones in turn, in too few frames: that is thrashing like any other."""

    def program():
        yield Brk(12 * 4096)
        yield touch("0w", "4w", "8w")
        yield touch(*range(12), *range(12), *range(12))

    outcome, events, _ = play(machine(huge_memory(8, thrashing=Thrashing(window_ns=6 * MS)), program))
    assert outcome.ok
    first = next(e for e in events if isinstance(e, ev.Thrashing))
    assert first.refaults == first.faults >= 5


@pytest.mark.parametrize(("swap", "leave"), [(1000, 8), (5, 5)])
def test_who_is_taken_out_loses_the_base_pages_of_huge_ones(swap: int, leave: int) -> None:
    lost = []

    def program():
        yield Brk(8 * 4096)
        yield touch("0w", "4w")
        lost.append(empty(memories[0], memories[0].spaces[1]))
        yield touch("0w")

    with checked() as memories:
        outcome = run(machine(huge_memory(16, swap_pages=swap), program), [])
    assert outcome.ok
    assert lost == [leave]
    assert outcome.state.memory.tasks[1].evictions == leave


# --- with all of it on --------------------------------------------------------------------------------

steps = st.one_of(
    st.lists(st.tuples(st.integers(0, 15), st.booleans()), min_size=1, max_size=10).map(
        lambda refs: touch(*[f"{page}{'w' * write}" for page, write in refs])
    ),
    st.integers(1, 16).map(lambda pages: Brk(pages * 4096)),
    st.sampled_from(["fork", "map", "unmap", "fill"]),
    st.sampled_from([Mprotect("box", "r"), Mprotect("box", ""), Mprotect("box", "rw"), Mlock("box"),
                     Mlock("box", lock=False)]),
    st.sampled_from(["huge", "nohuge", "mergeable", "unmergeable"]).map(lambda how: Madvise("heap", how)),
    st.integers(1, 6).map(lambda pages: ReadFile("book", pages * 4096)),
    st.integers(1, 4 * MS).map(Compute),
)  # fmt: skip


def programs(data: st.DataObject, depth: int = 0) -> Any:
    """Draw a program whose calls are all possible, though some of its references are not."""
    drawn = data.draw(st.lists(steps, max_size=8))
    children = [programs(data, depth + 1) for step in drawn if step == "fork" and depth < 2]

    def program():
        offspring, mapped = iter(children), False
        yield Brk(16 * 4096)
        for step in drawn:
            if step == "fork":
                child = next(offspring, None)
                if child is not None:
                    yield Fork(child)
            elif step == "map" and not mapped:
                yield Mmap("box", 8 * 4096)
                yield Madvise("box", "mergeable")
                yield touch("0w", 1, 5, region="box")
                mapped = True
            elif step == "fill" and mapped:
                yield Mprotect("box", "rw")
                yield touch("4w", "5w", "6w", region="box")
                yield calls.Fill("box", 3, "same", 4)
            elif step == "unmap" and mapped:
                yield Munmap("box")
                mapped = False
            elif not isinstance(step, str) and (mapped or getattr(step, "name", "") != "box"):
                yield step

    return program


@given(data=st.data(), frames=st.integers(6, 28), cores=st.integers(1, 2))
@settings(max_examples=60)
def test_everything_agrees_with_huge_pages_compaction_and_merging(
    data: st.DataObject, frames: int, cores: int
) -> None:
    made = [programs(data) for _ in range(data.draw(st.integers(1, 3)))]
    policy = data.draw(st.sampled_from(["fifo", "lru", "clock", "wsclock", "arc"]))
    when = data.draw(st.sampled_from(["always", "madvise"]))
    has = huge_memory(
        frames, when, replacement=policy, retry_ns=MS,
        merging=MergeRules(pages_to_scan=20, sleep_ns=MS, max_sharing=3),
        swap_pages=data.draw(st.sampled_from([0, 6, 1000])),
        sharing=Sharing(mode=data.draw(st.sampled_from(["global", "fixed", "working-set"]))),
        swappiness=data.draw(st.sampled_from([None, 60])),
        watermarks=data.draw(st.sampled_from([None, Watermarks(1, 2, 3)])),
    )  # fmt: skip
    failures = [
        Injection(name="", at_ns=at, device="disk", fails=1)
        for at in data.draw(st.lists(st.integers(0, 20 * MS), max_size=3))
    ]
    outcome, _, memory_ = play(machine(has, *made, cores=cores, injections=failures))
    assert outcome.reason == "all tasks are done"
    assert memory_.pager.frames.free_frames == frames - len(memory_.pager.pages)
    assert all(isinstance(key, tuple) for key in memory_.pager.pages)  # only the page cache is left
    assert not memory_.pager.pinned
    assert not memory_.in_flight
    state = outcome.state.memory
    assert state.huge.now == 0
    assert all(task.rss_pages == 0 for task in state.tasks.values())


def forked():
    yield Brk(4 * 4096)
    yield touch("0w")
    yield Fork(of(touch("1w"), touch(0)))
    yield Wait()


def test_without_a_split_somebody_writes_what_others_have() -> None:
    """A mutation: the check of `memories` sees a huge page that was not split."""
    with patch.object(HugePages, "unshare"), pytest.raises(AssertionError, match="not writable"):
        play(machine(huge_memory(16), forked))


def test_without_shootdown_the_tlb_lies_about_a_promoted_page() -> None:
    """A mutation: the check of `memories` sees a TLB that was not told."""

    def program():
        yield Mmap("box", 4 * 4096)
        yield touch("1w", "2w", region="box")
        yield Madvise("box", "huge")
        yield Compute(2 * MS)
        yield touch(0, region="box")

    with patch.object(Memory, "shoot_down"), pytest.raises(AssertionError, match="TLB"):
        play(machine(huge_memory(16, "madvise"), program))
