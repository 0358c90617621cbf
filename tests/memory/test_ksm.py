"""Same-page merging: what is alike shares a frame, what is written does not, and what that is worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memories import TINY_TLB, check, machine, memory, of, play, touch

from llmos.memory.huge import HugeRules
from llmos.memory.ksm import MergeRules, Merging
from llmos.memory.memory import Memory
from llmos.memory.page_cache import CacheRules
from llmos.memory.records import Costs
from llmos.memory.tlb import Tlb
from llmos.memory.translation.multilevel import MultiLevel
from llmos.process import program as calls
from llmos.process.program import Compute, Fork, Madvise, Mmap, Sleep, Wait
from llmos.scenario.spec import Injection, MemorySpec
from llmos.trace import events as ev
from llmos.trace.metrics import metrics

MS = 1_000_000
PAGE = 4096


def merging(frames: int, **rules: int) -> MemorySpec:
    """Return a memory whose scanner looks at everything each millisecond."""
    return memory(frames, merging=MergeRules(**{"pages_to_scan": 1000, "sleep_ns": MS} | rules))


def fill(pages: int, content: str, first: int = 0) -> list[calls.Call]:
    """Return the calls that write `content` into pages of "box"."""
    written = touch(*[f"{page}w" for page in range(first, first + pages)], region="box")
    return [written, calls.Fill("box", pages, content, first)]


def box(pages: int, *then: calls.Call, advice: str = "mergeable") -> Callable[[], calls.Program]:
    """Return a program that has a region "box", and does `then`."""

    def program() -> calls.Program:
        yield Mmap("box", pages * PAGE)
        yield Madvise("box", advice)
        yield from of(*then)()

    return program


def last(events: list[ev.Event]) -> ev.Merge:
    return [event for event in events if isinstance(event, ev.Merge)][-1]


def faults(events: list[ev.Event], task: int = 1) -> list[str]:
    return [event.reason for event in events if isinstance(event, ev.Fault) and event.task == task]


def test_alike_pages_share_one_frame_and_the_profit_is_linuxs() -> None:
    outcome, events, _ = play(machine(merging(32), box(16, *fill(16, "x"), Compute(4 * MS))))
    merges = [event for event in events if isinstance(event, ev.Merge)]
    assert [event.merged for event in merges] == [0, 15, 0, 0]  # what has changed lately is left alone
    assert (last(events).shared, last(events).saved) == (1, 15)
    assert last(events).profit_bytes == 15 * PAGE - 16 * 64  # general_profit of Documentation/.../ksm.rst
    costs = Costs()
    assert merges[1].cost_ns == 16 * costs.compare_page_ns + 15 * costs.minor_fault_ns
    assert outcome.state.memory.merging.scanned == 64
    numbers = metrics(outcome.state)
    assert numbers["memory.merging_saved_max"] == 15
    assert numbers["memory.merging_cost_ns"] == sum(event.cost_ns for event in merges)
    stolen = [e.cost_ns for e in events if isinstance(e, ev.Interrupt) and e.irq == "ksmd"]
    assert stolen == [event.cost_ns for event in merges]
    assert outcome.state.memory.tasks[1].most_rss_pages == 16  # everybody still has all of his pages


@pytest.mark.parametrize(
    ("steps", "saved"),
    [
        ([*fill(4, "x"), *fill(4, "y", 4)], 6),
        ([*fill(4, "x"), touch("0w", region="box")], 2),
        ([touch(*[f"{i}w" for i in range(8)], region="box")], 0),
        ([touch(*range(8), region="box")], 7),  # zeros
        ([touch(0, 1, region="box"), *fill(2, "zeros", 4)], 3),
        ([*fill(4, "x"), Madvise("box", "unmergeable")], 0),
    ],
)
def test_only_what_is_alike_and_was_not_written_since_is_merged(steps: list[calls.Call], saved: int) -> None:
    _, events, _ = play(machine(merging(32), box(8, *steps, Compute(4 * MS))))
    assert max((event.saved for event in events if isinstance(event, ev.Merge)), default=0) == saved


def test_a_shared_mapping_is_not_merged() -> None:
    """What one writes there all who have it must see, and nobody else: it is never copied."""

    def program() -> calls.Program:
        yield Mmap("box", 4 * PAGE, shared=True)
        yield Madvise("box", "mergeable")
        yield from of(*fill(4, "x"), Compute(4 * MS), touch("0w", 1, region="box"))()

    _, events, _ = play(machine(merging(32), program))
    assert not [event for event in events if isinstance(event, ev.Merge)]


def test_no_more_than_so_many_share_a_frame() -> None:
    has = merging(32, max_sharing=4)
    _, events, _ = play(machine(has, box(16, *fill(16, "x"), Compute(5 * MS))))
    assert (last(events).shared, last(events).saved) == (4, 12)


def test_the_scanner_looks_at_so_many_pages_and_goes_on_there() -> None:
    has = merging(32, pages_to_scan=5)
    _, events, _ = play(machine(has, box(16, *fill(16, "x"), Compute(9 * MS))))
    merges = [event for event in events if isinstance(event, ev.Merge)]
    assert [event.scanned for event in merges] == [5, 5, 5, 1, 5, 5, 5, 1, 5]
    assert [event.merged for event in merges][:8] == [0, 0, 0, 0, 4, 5, 5, 1]


def test_a_write_gets_a_copy_and_the_last_one_keeps_the_page() -> None:
    then = [Compute(4 * MS), touch("0w", region="box"), touch("1w", region="box")]
    _, events, _ = play(machine(merging(32), box(2, *fill(2, "x"), *then)))
    assert faults(events)[2:] == ["copy on write", "nobody else has it any more"]


def test_two_processes_share_what_they_have_not_got_from_each_other() -> None:
    program = box(4, *fill(4, "x"), Compute(4 * MS), touch("0w", region="box"))
    _, events, _ = play(machine(merging(32), program, program, cores=2))
    assert max(event.saved for event in events if isinstance(event, ev.Merge)) == 7
    assert faults(events, 1)[-1] == faults(events, 2)[-1] == "copy on write"


def test_who_shares_since_a_fork_is_merged_together() -> None:
    def parent() -> calls.Program:
        yield from box(2, *fill(2, "x"))()
        yield Fork(of(Compute(6 * MS)))
        yield Wait()

    _, events, _ = play(machine(merging(32), parent))
    saved = [event.saved for event in events if isinstance(event, ev.Merge)]
    assert max(saved) == 3  # two page numbers each, and one frame


def test_a_merged_page_goes_to_swap_once_and_comes_back_for_all() -> None:
    then = [Compute(4 * MS), touch(*range(6)), touch(0, 1, 2, 3, region="box")]
    outcome, events, _ = play(machine(merging(6), box(4, *fill(4, "x"), *then)))
    evicted = [event for event in events if isinstance(event, ev.Evict) and len(event.holders) == 4]
    assert len(evicted) == 1
    assert outcome.state.memory.tasks[1].major_faults == 1
    assert faults(events)[-3:] == ["still in memory"] * 3


def test_the_scanner_works_while_all_tasks_sleep() -> None:
    outcome, events, _ = play(machine(merging(32), box(4, *fill(4, "x"), Sleep(4 * MS))))
    assert [event.t for event in events if isinstance(event, ev.Merge)] == [MS, 2 * MS, 3 * MS, 4 * MS]
    assert last(events).saved == 3
    assert outcome.ok


def test_nothing_that_is_repeated_keeps_a_run_alive_in_which_nobody_will_ever_wake_up() -> None:
    """The two scanners, the look for old dirty pages, and an interrupt without end, beside one who pauses."""
    bits = (16, 9, 9, 2)
    has = memory(
        32, merging=MergeRules(sleep_ns=MS), huge=HugeRules(order=2, scan_ns=MS),
        table=lambda: MultiLevel(bits), tlb=lambda: Tlb(TINY_TLB, spans=MultiLevel(bits).entry_spans),
        page_cache=CacheRules(interval_ns=MS),
    )  # fmt: skip
    steps = [*fill(4, "x"), calls.WriteFile("book", PAGE), calls.Pause()]
    for_ever = Injection(name="nic", at_ns=0, every_ns=MS, count=10**9, cost_ns=1)
    spec = machine(has, box(4, *steps), injections=[for_ever], max_events=100_000)
    outcome, events, _ = play(spec)
    assert outcome.reason.startswith("nothing can ever happen again")
    assert not [event for event in events if isinstance(event, ev.Merge) and event.merged]


steps = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 7)),
    st.tuples(st.just("read"), st.integers(0, 7)),
    st.tuples(st.sampled_from(["x", "y"]), st.integers(0, 7)),
    st.tuples(st.just("wait"), st.integers(1, 3)),
)


@given(drawn=st.lists(steps, max_size=20), frames=st.integers(3, 12), sharing=st.integers(2, 4))
def test_pages_that_share_a_frame_always_contain_the_same(
    drawn: list[tuple[str, int]], frames: int, sharing: int
) -> None:
    """Against a second record of what each page contains, kept by the program itself."""
    shadow: dict[int, object] = {}

    def program() -> calls.Program:
        yield from box(8)()
        for what, page in drawn:
            if what == "wait":
                yield Compute(page * MS)
            elif what == "read":
                yield touch(page, region="box")
                shadow.setdefault(page, "zeros")
            elif what == "write":
                yield touch(f"{page}w", region="box")
                shadow[page] = object()
            else:
                yield from of(*fill(1, what, page))()
                shadow[page] = what
        yield Compute(4 * MS)
        yield touch(*shadow, region="box") if shadow else Compute(1)

    def compare(self: Merging) -> None:
        scan(self)
        check(self.memory)
        for space in self.memory.spaces.values():
            region = space.regions.named("box")
            first = region.start if region else 0
            seen: dict[int, object] = {}
            for vpn, key in space.anon.items():
                content = shadow.get(vpn - first)
                assert seen.setdefault(key, content) == content

    scan = Merging.scan
    with patch.object(Merging, "scan", compare):
        play(machine(merging(frames, max_sharing=sharing), program))


def mutate(name: str, replaced: Any, match: str) -> None:
    written = [Compute(4 * MS), touch("0w", region="box"), touch(0, 1, region="box")]
    with patch.object(Memory, name, replaced), pytest.raises(AssertionError, match=match):
        play(machine(merging(32), box(4, *fill(4, "x"), *written)))


def test_merged_pages_must_be_read_only() -> None:
    """A mutation: the check of `memories` sees pages that are shared and can be written."""
    original = Memory.map

    def too_kind(self: Memory, space: Any, vpn: int, page: Any, *, writable: bool) -> None:
        original(self, space, vpn, page, writable=True)

    mutate("map", too_kind, "what is shared is not writable")


def test_every_tlb_must_be_told_of_a_merge() -> None:
    """A mutation: the check of `memories` sees a TLB that was not told."""
    mutate("shoot_down", lambda *_: None, "TLB")
