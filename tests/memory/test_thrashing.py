"""Thrashing and its cure: the shipped scenarios' story, by hand, and what holds in any run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memories import machine, memory, play, touch

from llmos.memory.allocation import Sharing
from llmos.memory.load_control import LoadControl, Thrashing
from llmos.process.program import Compute, Kill, Mlock, Mmap, Sleep
from llmos.scenario.build import build
from llmos.scenario.load import load, load_text, shipped
from llmos.scenario.machine import Outcome, run
from llmos.scenario.spec import Injection
from llmos.trace import events as ev

MS = 10**6
JOBS, ROUNDS, PAGES, FRAMES = 4, 50, 40, 100


# --- the story of the scenarios -----------------------------------------------------------------------


def changed(*changes: tuple[str, str]) -> tuple[Outcome, list[ev.Event]]:
    """Run `thrashing` with some text of it changed."""
    text = shipped()["thrashing"].read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    events: list[ev.Event] = []
    return run(build(load_text(text)), [lambda batch, _: events.extend(batch)]), events


def of(name: str) -> tuple[Outcome, list[ev.Event]]:
    events: list[ev.Event] = []
    return run(build(load(shipped()[name])), [lambda batch, _: events.extend(batch)]), events


@pytest.fixture(scope="module")
def thrashing() -> tuple[Outcome, list[ev.Event]]:
    return of("thrashing")


@pytest.fixture(scope="module")
def cured() -> tuple[Outcome, list[ev.Event]]:
    return of("thrashing-cured")


def finish_s(outcome: Outcome) -> float:
    return max(task.finish_ns or 0 for task in outcome.state.tasks.values()) / 10**9


def test_two_jobs_fit_and_take_the_time_of_their_work() -> None:
    # One works for 10 ms while the other waits for 10 ms: a round of both takes 20 ms, and 10 ms are over.
    outcome, events = changed(("count = 4", "count = 2"))
    assert [task.major_faults for task in outcome.state.memory.tasks.values()] == [0, 0]
    assert not [event for event in events if isinstance(event, ev.Thrashing)]
    assert finish_s(outcome) == pytest.approx(ROUNDS * 0.020 + 0.010, rel=0.001)


def test_three_that_do_not_fit_read_back_every_page(thrashing: Any) -> None:
    # When one is done, a loop of 3 x 40 pages in 100 frames misses always under LRU.
    outcome, events = thrashing
    faults = sorted(task.major_faults for task in outcome.state.memory.tasks.values())
    assert faults[0] == 0
    assert sum(faults) == pytest.approx(3 * (ROUNDS - 1) * PAGES, rel=0.01)
    assert finish_s(outcome) == pytest.approx(sum(faults) * 0.004 + 1, rel=0.05)
    [seen] = [event for event in events if isinstance(event, ev.Thrashing)]
    assert seen.refaults == seen.faults
    assert seen.busy < 0.5
    assert seen.t < 1.2e9


def test_load_control_makes_them_take_turns(thrashing: Any, cured: Any) -> None:
    outcome, events = cured
    assert outcome.ok
    # One after another, waits included, they would take 4 s; and nobody has to read all back often.
    assert finish_s(outcome) < JOBS * ROUNDS * 0.020
    assert finish_s(thrashing[0]) > 6 * finish_s(outcome)
    assert sum(t.major_faults for t in outcome.state.memory.tasks.values()) < 10 * PAGES
    swaps = [event for event in events if isinstance(event, ev.SwapTask)]
    assert [(swap.task, swap.out) for swap in swaps] == [(4, True), (3, True), (3, False), (4, False)]
    assert swaps[0].reason == "the machine thrashes, and job-4 came last of those with priority 0"
    begins, over = (event for event in events if isinstance(event, ev.Thrashing))
    assert begins.t == swaps[0].t
    assert over.over
    assert swaps[2].t >= over.t + 2 * 100 * MS  # three windows without thrashing, of which that was one
    for name in ("thrashing", "cured"):
        done = {"thrashing": thrashing, "cured": cured}[name][0].state.memory.tasks
        assert [task.accesses for task in done.values()] == [ROUNDS * PAGES] * JOBS


def test_who_is_swapped_out_does_not_run(cured: Any) -> None:
    _, events = cured
    away = {}
    for event in events:
        if isinstance(event, ev.SwapTask):
            away[event.task] = event.out
        assert not (isinstance(event, ev.Dispatch) and away.get(event.task))


def test_the_least_urgent_goes_first() -> None:
    vip = """[[task]]
name = "vip"
priority = 1
program = [{ repeat = 50, do = [
    { touch = "heap", pattern = "sequential", pages = 40 }, { compute = 10 }, { sleep = 10 }] }]

"""
    job = '[[task]]\nname = "job"'
    _, events = changed(("frames = 100", "frames = 100\nload_control = true"), (job, vip + job))
    first = next(event for event in events if isinstance(event, ev.SwapTask))
    assert first.task == 1  # it came first, and is the least urgent: smaller is more urgent
    assert first.reason == "the machine thrashes, and vip is the least urgent (priority 1)"


def test_without_the_way_back_jobs_are_lost() -> None:
    with patch.object(LoadControl, "_bring_back", lambda *_: None):
        outcome, _ = changed(
            ("frames = 100", "frames = 100\nload_control = true"), ("tick =", "until = 20_000\ntick =")
        )
    assert [task.finish_ns is None for task in outcome.state.tasks.values()] == [False, False, True, True]


@pytest.mark.parametrize("mode", ["fixed", "working-set", "page-fault-frequency"])
def test_the_cure_works_with_local_allocation_too(mode: str) -> None:
    share = f'frames = 100\nload_control = true\nwindow = 40\nallocation = "{mode}"'
    outcome, _ = changed(("frames = 100", share))
    assert outcome.ok
    assert finish_s(outcome) < 5


# --- the rule -----------------------------------------------------------------------------------------


def test_reading_for_the_first_time_is_no_thrashing() -> None:
    # A file of 64 pages through 8 frames: the core is idle, and nothing comes back.
    def program():
        yield Mmap("text", file="book", protection="r")
        yield touch(*range(64), region="text")

    outcome, events, _ = play(machine(memory(8), program))
    assert outcome.state.memory.tasks[1].major_faults > 0
    assert not [event for event in events if isinstance(event, ev.Thrashing)]


def judged(refaults: int, busy_ms: int) -> bool:
    """Whether a window of 40 ms with so many refaults (of 2 ms each), and so much work, is thrashing."""

    def going_over():
        yield touch(*range(9))
        for page in range(refaults):
            yield touch(page)  # each has gone when its turn comes: a loop over one page too many
        yield Compute(busy_ms * MS)
        yield Sleep(80 * MS)

    has = memory(8, thrashing=Thrashing(window_ns=40 * MS, refaults=5, busy=0.5))
    _, events, _ = play(machine(has, going_over))
    return any(isinstance(event, ev.Thrashing) for event in events)


def test_the_rule_has_three_parts() -> None:
    assert judged(refaults=6, busy_ms=1)
    assert not judged(refaults=4, busy_ms=1)
    assert not judged(refaults=6, busy_ms=21)


def test_a_core_that_is_offline_is_not_idle() -> None:
    """A refault takes 2 ms, and after each there is work for 3: of one core 60 per cent, of two 30."""

    def going_over():
        yield touch(*range(9))
        for page in range(9):
            yield touch(page)
            yield Compute(3 * MS)
        yield Sleep(80 * MS)

    has = memory(8, thrashing=Thrashing(window_ns=40 * MS, refaults=5, busy=0.5))
    for offline, seen in ((True, False), (False, True)):
        gone = [Injection(name="", at_ns=0, cpu=1, offline=True)] if offline else []
        _, events, _ = play(machine(has, going_over, cores=2, injections=gone))
        assert any(isinstance(event, ev.Thrashing) for event in events) == seen


# --- what holds in any run ----------------------------------------------------------------------------

rounds = st.tuples(st.lists(st.integers(0, 9), max_size=12), st.integers(0, 3), st.integers(0, 3))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(rounds, max_size=6), min_size=1, max_size=5),
    st.sampled_from(["global", "fixed", "working-set"]),
    st.integers(1, 2),
    st.booleans(),
)
def test_load_control_loses_nobody(
    tasks: list[list[tuple[list[int], int, int]]],
    mode: str,
    cores: int,
    signals: bool,  # noqa: FBT001
) -> None:
    def program(steps: Any) -> Any:
        def runs():
            for pages, work, rest in steps:
                yield touch(*pages)
                yield Compute(work * MS)
                yield Sleep(rest * MS)
                if signals:
                    yield Kill("a", "CONT")

        return runs

    has = memory(
        6, load_control=True, thrashing=Thrashing(window_ns=5 * MS, refaults=1, busy=0.9),
        sharing=Sharing(mode=mode, window=6),
    )  # fmt: skip
    outcome, events, _ = play(machine(has, *map(program, tasks), cores=cores))
    assert outcome.ok, outcome.reason
    made = sum(task.accesses for task in outcome.state.memory.tasks.values())
    assert made == sum(len(pages) for steps in tasks for pages, _, _ in steps)
    away: set[int] = set()
    for event in events:
        if isinstance(event, ev.SwapTask):
            assert (event.task in away) != event.out
            away ^= {event.task}
        assert not (isinstance(event, ev.Dispatch) and event.task in away)
    assert not away


def test_a_task_that_is_swapped_out_can_be_killed() -> None:
    text = shipped()["thrashing-cured"].read_text(encoding="utf-8")
    kill = '\n[[inject]]\nsignal = "KILL"\ntask = "job-4"\nat = 1200\n'
    folder = shipped()["thrashing-cured"].parent
    outcome = run(build(load_text(text + kill, folder=folder)))
    assert outcome.ok
    finish_ns = outcome.state.tasks[4].finish_ns
    assert finish_ns is not None
    assert finish_ns < 1250 * MS  # not when there would have been room for it, and it had its turn


# --- when nothing can go ------------------------------------------------------------------------------


def test_if_all_is_pinned_somebody_dies() -> None:
    def program():
        yield touch(*range(4))
        yield Mlock("heap")
        yield touch(*range(9))

    outcome, events, _ = play(machine(memory(6), program))
    kills = [event for event in events if isinstance(event, ev.OomKill)]
    assert len(kills) == 1
    assert kills[0].reason == "nothing of all can go, and all 6 frames are taken"
    assert outcome.state.memory.tasks[1].accesses == 4 + 6


def test_if_swap_is_full_somebody_dies() -> None:
    def program():
        yield touch(*(f"{page}w" for page in range(20)))

    _, events, _ = play(machine(memory(6, swap_pages=4), program))
    assert len([event for event in events if isinstance(event, ev.OomKill)]) == 1
    assert len([event for event in events if isinstance(event, ev.Evict)]) == 4


def test_if_all_is_pinned_for_the_moment_one_waits_its_turn() -> None:
    # Two frames and six tasks: all frames hold pages that were read for somebody and not used yet.
    def program():
        yield touch(0, 1, 2, 0, 1, 2)

    spec = machine(memory(2), *[program] * 6, cores=4)
    outcome, events, _ = play(replace(spec, devices=[replace(spec.devices[0], servers=6)]))
    assert outcome.ok
    assert not [event for event in events if isinstance(event, ev.OomKill)]
    assert [event for event in events if isinstance(event, ev.Fault) and event.what == "short"]
    assert sum(task.accesses for task in outcome.state.memory.tasks.values()) == 36


def test_who_is_killed_on_its_way_to_the_disk_leaves_nobody_waiting() -> None:
    # Both want the same page. The first dies while the kernel is still at work on its fault (2 us).
    def program():
        yield Mmap("text", file="book", protection="r")
        yield touch(0, region="text")

    kill = Injection(name="a", at_ns=1_000, signal="KILL")
    outcome, _, _ = play(machine(memory(8), program, program, cores=2, injections=[kill]))
    assert outcome.ok, outcome.reason
    assert [outcome.state.memory.tasks[pid].accesses for pid in (1, 2)] == [0, 1]


def test_who_is_stopped_keeps_no_frame_from_others() -> None:
    # Two tasks are stopped while each waits for its page: both frames are for them.
    def reader(page: int) -> Any:
        def program():
            yield Mmap("text", file="book", protection="r")
            yield touch(page, region="text")

        return program

    def late():
        yield Sleep(5 * MS)
        yield touch(0, 1, 2)
        for name in "ab":
            yield Kill(name, "CONT")

    stops = [Injection(name=name, at_ns=500_000, signal="STOP") for name in "ab"]
    outcome, _, _ = play(machine(memory(2), reader(0), reader(1), late, injections=stops))
    assert outcome.ok, outcome.reason
    assert [outcome.state.memory.tasks[pid].accesses for pid in (1, 2, 3)] == [1, 1, 3]
