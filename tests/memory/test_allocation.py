"""Shares of memory: known answers, what holds in any run, and models of a few lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memories import machine, memory, play, touch

from llmos.errors import ScenarioError
from llmos.memory import faults, reclaim
from llmos.memory.allocation import MODES, Sharing, Window, fixed, proportional
from llmos.memory.load_control import Thrashing
from llmos.memory.memory import Memory
from llmos.memory.pager import Page, Pager, Pool
from llmos.memory.swappiness import ByKind
from llmos.memory.watermarks import Watermarks
from llmos.process.program import Brk, Compute, Fork, Mmap, Munmap, Sleep
from llmos.replacement.lru import Lru
from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.trace import events as ev

PAGE = 4096
LOCAL = [mode for mode in MODES if mode != "global"]


# --- shares -------------------------------------------------------------------------------------------


def test_the_book_shares_out_its_frames() -> None:
    # Silberschatz, Operating System Concepts, 10.5: 93 frames and five processes are 18 each; of 62 frames a
    # process of 10 pages has 4 and one of 127 has 57.
    assert fixed(93, 5) == 18
    assert proportional([10, 127], 62) == [4, 57]


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=9), st.integers(1, 2000))
def test_nobody_gets_nothing_and_all_together_no_more_than_there_is(sizes: list[int], frames: int) -> None:
    shares = proportional(sizes, frames)
    assert min(shares) >= 1
    assert sum(max(0, share - 1) for share in shares) <= frames
    if frames >= sum(sizes):
        assert all(share >= size for share, size in zip(shares, sizes, strict=True))


@given(st.lists(st.integers(0, 9), max_size=60), st.integers(1, 12))
def test_a_window_has_the_pages_of_the_last_references(references: list[int], size: int) -> None:
    window = Window(size)
    for i, page in enumerate(references):
        window.refer(page)
        last = set(references[max(0, i + 1 - size) : i + 1])
        assert len(window) == len(last)
        assert all(page in window for page in last)


# --- what holds in any run ----------------------------------------------------------------------------


@contextmanager
def watched(*, own: bool) -> Iterator[list[str]]:
    """See that no pool has more than its limit, and (if `own`) that nobody's fault takes another's page."""
    broken: list[str] = []
    run, handle, evict = Memory.run, faults.handle, Pager.evict
    at_fault: list[Any] = []

    def run_watched(self: Memory, *arguments: Any) -> int:
        spent = run(self, *arguments)
        for pool in self.pools():
            pages = [page for page in self.pager.pages.values() if pool in page.pool.line()]
            if pool.held != sum(1 << page.order for page in pages):
                broken.append(f"{pool.name} counts wrong")
            if pool.limit is not None and pool.held > pool.limit:
                broken.append(f"{pool.name} has {pool.held} of {pool.limit}")
        return spent

    def handle_watched(memory_: Memory, space: Any, vpn: int, *, write: bool) -> Any:
        at_fault.append(space)
        answer = handle(memory_, space, vpn, write=write)
        at_fault.pop()
        return answer

    def evict_watched(self: Pager, page: Page, *why: str) -> str:
        if own and at_fault and any(space is not at_fault[-1] for space, _ in page.holders):
            broken.append(f"a fault of {at_fault[-1].name} takes a page of {page.holders[0][0].name}")
        return evict(self, page, *why)

    with (
        patch.object(Memory, "run", run_watched),
        patch.object(faults, "handle", handle_watched),
        patch.object(Pager, "evict", evict_watched),
    ):
        yield broken


references = st.lists(st.integers(0, 11).flatmap(lambda p: st.sampled_from([p, f"{p}w"])), max_size=60)


def going_over(pages: list[int | str]) -> Any:
    def program():
        yield Brk(12 * PAGE)
        yield touch(*pages)
        yield Compute(1_000_000)
        yield touch(*pages)

    return program


def total_of(outcome: Any) -> int:
    """How many references all tasks have made."""
    return sum(task.accesses for task in outcome.state.memory.tasks.values())


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(LOCAL), st.lists(references, min_size=1, max_size=4), st.integers(1, 2))
def test_local_allocation_keeps_to_its_own_pages(mode: str, tasks: list[list[int | str]], cores: int) -> None:
    # Windows of 5 references need 5 frames each at most, and no more than 4 tasks have them.
    has = memory(20, sharing=Sharing(mode=mode, window=5, lower=0.2, upper=0.5))
    own = mode != "page-fault-frequency"  # which may ask for more than there is, and all get less
    with watched(own=own) as broken:
        outcome, _, _ = play(machine(has, *map(going_over, tasks), cores=cores))
    assert not broken
    assert outcome.ok
    assert total_of(outcome) == sum(2 * len(pages) for pages in tasks)


@pytest.mark.parametrize("mode", MODES)
def test_six_tasks_in_four_frames_get_done(mode: str) -> None:
    has = memory(4, sharing=Sharing(mode=mode, window=5))
    pages = [0, "1w", 2, 3, 4, 0, 1]
    outcome, _, _ = play(machine(has, *[going_over(pages)] * 6, cores=2))
    assert outcome.ok, outcome.reason
    assert total_of(outcome) == 6 * 2 * len(pages)
    assert not outcome.state.memory.oom_kills


def greedy_and_modest(mode: str) -> dict[str, Any]:
    """What a task that goes over 16 pages costs one that needs 4 in a memory of 16 frames."""

    def greedy():
        for _ in range(20):
            yield touch(*range(16))

    def modest():
        for _ in range(20):
            yield touch(*range(4))
            yield Compute(30_000_000)

    has = memory(16, sharing=Sharing(mode=mode))
    return dict(play(machine(has, greedy, modest, cores=2))[0].state.memory.tasks)


def test_a_greedy_task_hurts_others_only_if_allocation_is_global() -> None:
    assert greedy_and_modest("global")[2].major_faults > 0
    assert greedy_and_modest("fixed")[2].major_faults == 0


def test_a_rule_that_takes_from_others_is_caught() -> None:
    def from_others(memory_: Memory, pool: Pool, within: Pool | None) -> list[Pool]:
        return sorted(memory_.pools(), key=lambda other: (other is pool, -len(other.pages)))

    has = memory(8, sharing=Sharing(mode="fixed"))
    programs = [going_over(list(range(8)))] * 2
    with patch.object(reclaim, "_in_turn", from_others), watched(own=True) as broken:
        play(machine(has, *programs))
    assert any("takes a page of" in what for what in broken)


def test_a_limit_that_is_not_kept_is_caught() -> None:
    has = memory(8, sharing=Sharing(mode="fixed"))
    programs = [going_over(list(range(8)))] * 2
    with patch.object(Pool, "full", lambda *_: None), watched(own=False) as broken:
        play(machine(has, *programs))
    assert any(what.endswith(" of 4") for what in broken)


# --- models -------------------------------------------------------------------------------------------


def hits_of(pages: list[int], frames: int, sharing: Sharing) -> list[bool]:
    def program():
        yield Brk(12 * PAGE)
        yield touch(*pages)

    _, events, _ = play(machine(memory(frames, sharing=sharing), program, shows_references=True))
    return [event.hit for event in events if isinstance(event, ev.Reference)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 8))
def test_the_working_set_is_what_a_task_has(pages: list[int], tau: int) -> None:
    resident: set[int] = set()
    expected = []
    for i, page in enumerate(pages):
        expected.append(page in resident)
        if page not in resident:
            resident = set(pages[max(0, i + 1 - tau) : i + 1])
    assert hits_of(pages, 20, Sharing(mode="working-set", window=tau)) == expected


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_page_fault_frequency_against_fifteen_lines(pages: list[int]) -> None:
    # One frame more if the last fault is less than 3 references ago, one less if it is more than 8.
    limit, order, last = 6, list[int](), None
    expected = []
    for i, page in enumerate(pages):
        expected.append(page in order)
        if page in order:
            order.remove(page)
        else:
            if last is not None:
                limit += 1 if i - last < 3 else -1 if i - last > 8 else 0
                limit = max(1, min(6, limit))
            last = i
            order = order[-(limit - 1) :] if limit > 1 else []
        order.append(page)
    assert hits_of(pages, 6, Sharing(mode="page-fault-frequency", lower=1 / 8, upper=1 / 3)) == expected


def test_shares_follow_the_virtual_size() -> None:
    # 30 frames. Alone a has all. With 9 pages (8 of heap, 1 of stack) against 18, they are 10 and 20.
    seen: list[list[int | None]] = []

    def a():
        yield Brk(8 * PAGE)
        yield Sleep(10)
        yield touch(0)

    def b():
        yield Brk(8 * PAGE)
        yield Mmap("more", 9 * PAGE)
        yield Sleep(20)
        yield Munmap("more")

    run = Memory.run

    def run_noted(self: Memory, *arguments: Any) -> int:
        seen.append([space.pool.limit for space in self.spaces.values()])
        return run(self, *arguments)

    with patch.object(Memory, "run", run_noted):
        play(machine(memory(30, sharing=Sharing(mode="proportional")), a, b))
    assert seen[0] == [10, 20]


def test_pages_of_a_parent_that_ends_are_its_childs() -> None:
    def child():
        yield Sleep(5_000_000)
        yield touch(0, 1, 2)

    def parent():
        yield touch("0w", "1w", "2w")
        yield Fork(child)

    outcome, events, _ = play(machine(memory(8, sharing=Sharing(mode="fixed")), parent))
    assert outcome.ok
    assert not [event for event in events if isinstance(event, ev.Fault) and event.task == 2]


# --- cgroups and limits of tasks ----------------------------------------------------------------------


def in_group(has: Any, *programs: Any, **limits: Any) -> Any:
    """Return a machine whose tasks a and b are in the cgroup g; each task has `limits`."""
    spec = machine(has, *programs)
    tasks = [replace(task, group="g" if task.name in "ab" else "", **limits) for task in spec.tasks]
    return replace(spec, tasks=tasks)


def test_a_cgroup_keeps_to_its_limit() -> None:
    has = memory(32, sharing=Sharing(cgroups={"g": 6}))
    programs = [going_over(list(range(8)))] * 3
    with watched(own=False) as broken:
        outcome, events, _ = play(in_group(has, *programs))
    assert not broken
    lost = {pid for e in events if isinstance(e, ev.Evict) for pid, _ in e.holders}
    assert lost == {1, 2}  # the third is not in the group, and there are frames for it
    assert outcome.ok


def test_who_is_killed_for_a_cgroup_is_in_it() -> None:
    has = memory(32, sharing=Sharing(cgroups={"g": 6}), swap_pages=0)

    def large():
        yield touch(*(f"{page}w" for page in range(20)))
        yield Compute(1_000_000)

    small = going_over(["0w", "1w"])
    outcome, events, _ = play(in_group(has, going_over([f"{page}w" for page in range(8)]), small, large))
    kills = [event for event in events if isinstance(event, ev.OomKill)]
    assert [kill.task for kill in kills] == [1]
    assert [pid for pid, _ in kills[0].scores] == [1, 2]  # not 3, which has most
    assert kills[0].reason == "nothing of cgroup g can go, and its 6 frames are taken"
    assert outcome.state.memory.tasks[3].rss_pages == 0
    assert outcome.state.memory.tasks[3].accesses == 20


def test_a_task_keeps_to_its_own_limit_inside_a_cgroup() -> None:
    has = memory(32, sharing=Sharing(cgroups={"g": 6}))
    programs = [going_over(list(range(8)))] * 2
    with watched(own=False) as broken:
        outcome, _, _ = play(in_group(has, *programs, memory_limit_bytes=4 * PAGE))
    assert not broken
    tasks = outcome.state.memory.tasks
    assert {tasks[1].most_rss_pages, tasks[2].most_rss_pages} <= {3, 4}
    assert outcome.ok


# --- swappiness ---------------------------------------------------------------------------------------


def kinds_that_go(swappiness: int, *, back: int | None = None) -> list[str]:
    """Who goes first of 100 pages of each kind; `back` (0 anonymous, 1 file) is read back all the time."""
    policy = ByKind(Lru, swappiness)
    for i in range(100):
        policy.inserted(i)
        policy.inserted((1, i))
    gone = []
    for _ in range(100):
        key = policy.victim()
        assert key is not None
        policy.evicted(key)
        kind = 0 if isinstance(key, int) else 1
        gone.append("af"[kind])
        policy.inserted(key if back == kind else (2, len(gone)) if kind else 1000 + len(gone))
    return gone


def test_swappiness_is_a_proportion() -> None:
    # Nothing has been read back, so the pressures are as swappiness to 200 - swappiness.
    assert kinds_that_go(60).count("a") == 30
    assert kinds_that_go(100).count("a") == 50
    assert kinds_that_go(0).count("a") == 0
    assert kinds_that_go(200).count("f") == 0


def test_who_is_read_back_all_the_time_is_spared() -> None:
    assert kinds_that_go(100, back=0).count("a") < 50
    assert kinds_that_go(100, back=1).count("f") < 50


def test_if_one_kind_cannot_go_the_other_does() -> None:
    policy = ByKind(Lru, 0)
    policy.inserted(1)
    policy.inserted((1, 0))
    assert policy.victim() == (1, 0)
    assert policy.victim({(1, 0)}) == 1
    assert policy.victim({(1, 0), 1}) is None
    policy.removed((1, 0))
    assert policy.victim() == 1


@settings(max_examples=30, deadline=None)
@given(references, st.sampled_from([0, 60, 200]))
def test_with_swappiness_all_still_adds_up(pages: list[int | str], swappiness: int) -> None:
    def program():
        yield Mmap("text", file="book", protection="r")
        for page in pages:
            yield touch(page)
            yield touch(int(str(page).rstrip("w")) + 3, region="text")

    outcome, _, _ = play(machine(memory(6, swappiness=swappiness), program))
    assert outcome.ok
    assert total_of(outcome) == 2 * len(pages)


# --- as a scenario writes it --------------------------------------------------------------------------

SCENARIO = """
question = "Who gets what?"
[memory]
frames = 64
{memory}
[[cgroup]]
name = "g"
memory = "40 KiB"
[[task]]
name = "a"
group = "g"
memory_limit = "16 KiB"
burst = "1 ms"
"""


def test_a_scenario_says_all_that() -> None:
    keys = """
allocation = "page-fault-frequency"
window = 7
fault_rates = [0.1, 0.5]
watermarks = [1, 2, 3]
swappiness = 60
overcommit = 2
overcommit_ratio = 80
thrashing = { window = "5 ms", refaults = 3, busy = 0.9 }
load_control = true
"""
    spec = build(load_text(SCENARIO.format(memory=keys)))
    has = spec.memory
    assert has is not None
    assert has.sharing == Sharing(
        mode="page-fault-frequency", window=7, lower=0.1, upper=0.5, cgroups={"g": 10}
    )
    assert has.watermarks == Watermarks(1, 2, 3)
    assert (has.swappiness, has.overcommit, has.overcommit_ratio, has.load_control) == (60, 2, 80, True)
    assert has.thrashing == Thrashing(window_ns=5_000_000, refaults=3, busy=0.9)
    assert spec.tasks[0].memory_limit_bytes == 4 * PAGE


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ('allocation = "local"', "memory.allocation"),
        ("fault_rates = [0.5, 0.1]", "the lower fault rate is above the upper one"),
        ("fault_rates = [0.5]", "memory.fault_rates"),
        ("watermarks = [3, 2, 1]", "three numbers of frames in rising order"),
        ("watermarks = [1, 2, 64]", "less than there are"),
        ("swappiness = 201", "memory.swappiness"),
        ("overcommit = 3", "memory.overcommit"),
    ],
)
def test_a_scenario_that_says_nonsense_is_told_so(key: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=re.escape(message)):
        load_text(SCENARIO.format(memory=key))


def test_a_memory_may_be_too_small_for_the_watermarks_of_linux() -> None:
    # min is 32 frames at least, so high is 48.
    text = SCENARIO.format(memory="watermarks = true")
    assert build(load_text(text.replace("64", "49"))).memory is not None
    with pytest.raises(ScenarioError, match="Linux keeps more free than this memory has"):
        load_text(text.replace("64", "48"))
