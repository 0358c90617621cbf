"""Devices that fail under memory: the page is not there, who wanted it is told, and the machine goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memories import machine, memory, of, play, touch

from llmos.memory.memory import Memory
from llmos.memory.page_cache import CacheRules
from llmos.process.program import Call, Compute, Mmap, Program, ReadFile
from llmos.scenario.machine import Outcome
from llmos.scenario.spec import Injection
from llmos.trace import events as ev
from llmos.trace.state import fold

MS = 1_000_000
SERVICE = MS
"""A request to the disk of `memories` takes a millisecond."""


def failing(
    frames: int, *programs: Callable[[], Program], at_ns: int = 0, requests: int = 1, **more: Any
) -> tuple[Outcome, list[ev.Event], Memory]:
    """Run `programs` on a machine whose disk fails the first `requests` that end from `at_ns` on."""
    failure = Injection(name="", at_ns=at_ns, device="disk", fails=requests)
    return play(machine(memory(frames, **more), *programs, injections=[failure]))


def ends(events: list[ev.Event]) -> dict[int, str]:
    return {event.task: event.reason for event in events if isinstance(event, ev.Exit)}


def failures(events: list[ev.Event]) -> list[ev.IoDone]:
    return [event for event in events if isinstance(event, ev.IoDone) and event.error]


def text(*pages: int) -> list[Call]:
    """Return the calls that read pages of the file "book" through a mapping."""
    return [Mmap("text", file="book", protection="r"), touch(*pages, region="text")]


def test_who_swaps_in_what_cannot_be_read_dies_of_bus_and_the_others_go_on() -> None:
    bad = of(touch("0w", "1w", "2w", "0w"), Compute(10))
    good = of(Compute(10 * MS), touch("0w"))
    outcome, events, memory_ = failing(2, bad, good)
    assert ends(events) == {1: "BUS: input/output error of disk", 2: "program ended"}
    assert [event.signal for event in events if isinstance(event, ev.Signal)] == ["BUS"]
    assert len(failures(events)) == 1
    assert outcome.ok
    assert memory_.pager.frames.free_frames == 2
    assert memory_.swap is not None
    assert memory_.swap.free == 1000
    assert not memory_.in_flight
    assert not memory_.pager.pinned


@pytest.mark.parametrize("steps", [[touch("0w", "1w", "2w", "0w")], [*text(0, 1)], [touch(0), *text(0)]])
def test_what_was_not_read_is_not_resident(steps: list[Call]) -> None:
    """The log has as many pages for the task as its memory, and the most is what has been there."""
    now: list[int] = []

    def note(self: Memory, *more: Any) -> Any:
        lose(self, *more)
        now.extend(space.rss for space in self.spaces.values())

    lose = Memory._lose
    with patch.object(Memory, "_lose", note):
        outcome, events, _ = failing(2, of(*steps))
    end = next(i for i, e in enumerate(events) if isinstance(e, ev.Fault) and e.what == "bus")
    assert [fold(events[: end + 1]).memory.tasks[1].rss_pages] == now
    task = outcome.state.memory.tasks[1]
    there = [e.rss for e in events if isinstance(e, ev.Fault) and e.what == "minor"]
    assert task.most_rss_pages == max(there, default=0)
    assert task.waited_ns == outcome.state.tasks[1].blocked_ns


def test_writing_a_victim_does_not_fail() -> None:
    _, events, _ = failing(2, of(touch("0w", "1w", "2w", "3w"), Compute(10)))
    assert ends(events) == {1: "program ended"}
    assert not failures(events)


def test_a_page_of_a_mapped_file_that_cannot_be_read_is_not_in_the_page_cache() -> None:
    _, events, memory_ = failing(8, of(*text(0, 1)))
    assert ends(events) == {1: "BUS: input/output error of disk"}
    assert not memory_.pager.pages
    assert memory_.cache.resident == 0


def test_a_file_that_cannot_be_read_is_an_error_of_the_call() -> None:
    results: list[object] = []

    def program() -> Program:
        results.append((yield ReadFile("book", 2 * 4096)))
        results.append((yield ReadFile("book", 2 * 4096, offset=0)))
        results.append((yield ReadFile("book", 4096, offset=0, direct=True)))

    _, events, memory_ = failing(8, program)
    assert results == [-1, 2 * 4096, 4096]
    assert ends(events) == {1: "program ended"}
    assert memory_.cache.resident == 2


def test_a_direct_read_that_fails_is_an_error_of_the_call() -> None:
    results: list[object] = []

    def program() -> Program:
        results.append((yield ReadFile("book", 4096, direct=True)))

    failing(8, program)
    assert results == [-1]


def test_who_has_joined_in_waiting_tries_it_himself() -> None:
    _, events, memory_ = failing(8, of(*text(3)), of(*text(3)))
    faults = [(e.task, e.what) for e in events if isinstance(e, ev.Fault)]
    # Task 2 comes while task 1 waits; when that has failed, it reads the page itself.
    assert faults == [(1, "major"), (2, "major"), (1, "bus"), (2, "major")]
    assert ends(events) == {1: "BUS: input/output error of disk", 2: "program ended"}
    assert list(memory_.pager.pages) == [(1, 3)]


def test_a_device_that_fails_twice_fails_them_both() -> None:
    _, events, memory_ = failing(8, of(*text(3)), of(*text(3)), requests=2)
    assert set(ends(events).values()) == {"BUS: input/output error of disk"}
    assert not memory_.pager.pages


def test_pages_that_were_to_come_along_from_swap_stay_there() -> None:
    bad = of(touch("0w", "1w", "2w", "3w", "4w", "5w"), touch(0))
    _, events, memory_ = failing(4, bad, page_cluster=3)
    assert ends(events) == {1: "BUS: input/output error of disk"}
    assert memory_.pager.frames.free_frames == 4


def test_what_is_read_ahead_in_vain_harms_nobody() -> None:
    """The window that fails is the one that nobody waits for yet: the reader asks for its pages again."""
    rules = CacheRules(readahead_pages=4)
    results: list[object] = []

    def program() -> Program:
        results.append((yield ReadFile("book", 4096)))
        yield Compute(20 * MS)
        results.append((yield ReadFile("book", 7 * 4096)))

    outcome, events, _ = failing(32, program, at_ns=SERVICE + SERVICE // 2, page_cache=rules)
    assert len(failures(events)) == 1
    assert results == [4096, 7 * 4096]
    assert outcome.ok


calls = st.one_of(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=8).map(
        lambda refs: touch(*[f"{page}{'w' * write}" for page, write in refs])
    ),
    st.lists(st.integers(0, 9), min_size=1, max_size=8).map(lambda pages: touch(*pages, region="text")),
    st.integers(1, 9).map(lambda pages: ReadFile("book", pages * 4096)),
    st.integers(1, 3 * MS).map(Compute),
)


@given(data=st.data(), frames=st.integers(4, 12), cores=st.integers(1, 2), ahead=st.sampled_from([0, 4]))
@settings(max_examples=40)
def test_whatever_fails_the_machine_goes_on(data: st.DataObject, frames: int, cores: int, ahead: int) -> None:
    drawn = [data.draw(st.lists(calls, max_size=6)) for _ in range(3)]
    injections = [
        Injection(name="", at_ns=at, device="disk", fails=1)
        for at in data.draw(st.lists(st.integers(0, 20 * MS), max_size=5))
    ]
    has = memory(frames, page_cluster=2, page_cache=CacheRules(readahead_pages=ahead))
    made = [of(Mmap("text", file="book", protection="r"), *steps) for steps in drawn]
    outcome, events, memory_ = play(machine(has, *made, cores=cores, injections=injections))
    assert outcome.reason == "all tasks are done"
    assert not memory_.in_flight
    assert not memory_.pager.pinned
    bus = [reason for reason in ends(events).values() if reason.startswith("BUS")]
    assert len(bus) <= len(failures(events)) <= len(injections)


def test_a_page_that_was_not_read_must_not_be_waited_for() -> None:
    """A mutation: if what was not read stays in flight, who has joined in waiting does so for ever."""
    with patch.object(Memory, "_lose"):
        outcome, events, memory_ = failing(8, of(*text(3)), of(*text(3)))
    assert memory_.in_flight
    assert 2 not in ends(events)
    assert not outcome.ok
