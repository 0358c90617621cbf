"""Writeback: thresholds, who waits for them, what fsync waits for, and when old pages are written."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from memories import machine, memory, play, touch

from llmos.memory.page_cache import CacheRules
from llmos.process.program import Compute, Fsync, Mmap, ReadFile, Sleep, WriteFile
from llmos.scenario.spec import FileSpec
from llmos.trace import events as ev

PAGE = 4096
MS, S = 1_000_000, 1_000_000_000


def ran(*programs: Any, frames: int = 100, rules: CacheRules | None = None, **more: Any):
    spec = machine(memory(frames, page_cache=rules or CacheRules(), **more), *programs)
    outcome, events, memory_ = play(spec)
    assert outcome.reason == "all tasks are done"
    return events, memory_, outcome


def written(events: list[ev.Event]) -> list[tuple[int, int]]:
    """(first page, pages) of each write of dirty pages."""
    return [(e.page, e.pages) for e in events if isinstance(e, ev.Writeback)]


def unclean(events: list[ev.Event]) -> list[int]:
    """After each event: the pages that differ from the device, or are being written and not yet there."""
    level, counts, under_way = 0, [], []
    for event in events:
        if isinstance(event, ev.FileAccess):
            level += event.dirtied
        elif isinstance(event, ev.Writeback):
            under_way.append(event.pages)
        elif isinstance(event, ev.IoDone) and under_way:
            level -= under_way.pop(0)
        counts.append(level)
    return counts


def writer(pages: int, **more: Any):
    def program():
        yield WriteFile("book", pages * PAGE, **more)

    return program


def test_above_the_background_threshold_pages_are_written_while_the_writer_goes_on() -> None:
    events, memory_, _ = ran(writer(15))  # 10 and 20 of 100 frames
    assert written(events) == [(0, 11)]  # the first above the threshold sets it off
    assert not [e for e in events if isinstance(e, ev.Block)]
    assert len(memory_.cache.dirty) == 4


def test_above_the_hard_threshold_the_writer_waits_until_there_are_fewer() -> None:
    events, _, outcome = ran(writer(60))
    waits = [e for e in events if isinstance(e, ev.Block)]
    assert {e.on for e in waits} == {"writeback"}
    assert max(unclean(events)) == 21
    # 60 pages at 21 a time, each time after a request of 1 ms: far slower than 60 copies of 400 ns.
    assert outcome.state.now > 2 * MS


def test_whoever_maps_the_file_waits_as_well() -> None:
    def program():
        yield Mmap("text", file="book", shared=True)
        yield ReadFile("book")
        yield touch(*[f"{page}w" for page in range(40)], region="text")

    events, _, _ = ran(program)
    assert max(unclean([e for e in events if e.t > 64 * MS])) == 21
    assert "writeback" in {e.on for e in events if isinstance(e, ev.Block)}


def test_without_the_wait_too_much_is_dirty() -> None:
    """A mutation: nobody is held up."""
    with patch("llmos.memory.writeback.hold_up", return_value=None), pytest.raises(AssertionError):
        test_above_the_hard_threshold_the_writer_waits_until_there_are_fewer()


def test_a_small_writer_waits_once_however_much_a_large_one_writes() -> None:
    """The large one is always let go first, and has made too much dirty when the small one's turn comes."""

    def modest():
        yield Compute(100_000)
        yield WriteFile("book", PAGE, offset=0)

    rules = CacheRules(dirty_background=10, dirty=10)
    events, _, _ = ran(writer(600, offset=PAGE), modest, rules=rules)
    waits = [e.task for e in events if isinstance(e, ev.Block) and e.on == "writeback"]
    assert waits.count(1) > 20
    assert waits.count(2) <= 1


def test_a_background_threshold_at_the_hard_one_is_half_of_it() -> None:
    rules = CacheRules(dirty_background=40, dirty=40)
    events, _, _ = ran(writer(21), rules=rules)
    assert written(events)[0] == (0, 21)
    events, _, _ = ran(writer(20), rules=rules)
    assert not written(events)


def test_anonymous_memory_leaves_less_for_dirty_pages() -> None:
    def program():
        yield touch(*[f"{page}w" for page in range(50)])
        yield WriteFile("book", 8 * PAGE)

    events, _, _ = ran(program)  # 10 % of the 50 frames that are free or of files
    assert written(events)[0] == (0, 6)


def test_fsync_writes_neighbours_together_and_waits_for_all() -> None:
    results, took = [], []

    def program():
        for first, pages in ((0, 3), (10, 2), (3, 1), (30, 1)):
            yield WriteFile("book", pages * PAGE, offset=first * PAGE)
        results.append((yield Fsync("book")))
        results.append((yield Fsync("book")))

    events, memory_, _ = ran(program)
    assert written(events) == [(0, 4), (10, 2), (30, 1)]
    assert results == [0, 0]
    assert not memory_.cache.dirty
    assert len(memory_.pager.pages) == 7  # they are clean, and stay
    blocked = next(e.t for e in events if isinstance(e, ev.Block))
    woken = next(e.t for e in events if isinstance(e, ev.Wake))
    took.append(woken - blocked)
    assert took == [3 * MS]  # three requests


def test_fsync_waits_for_what_is_being_written_already_and_for_no_other_file() -> None:
    def program():
        yield WriteFile("log", 2 * PAGE)
        yield WriteFile("book", 11 * PAGE)  # sets the flusher off: log first, being dirty for longest
        yield Fsync("book")

    files = [FileSpec(name=name, size_bytes=64 * PAGE, device="disk") for name in ("book", "log")]
    events, memory_, outcome = ran(program, files=files)
    names = [(e.file, e.pages) for e in events if isinstance(e, ev.Writeback)]
    assert names == [("log", 2), ("book", 11)]
    assert outcome.state.now >= 2 * MS
    assert not memory_.cache.dirty


def test_old_pages_are_written_at_the_first_look_after_they_have_expired() -> None:
    def program():
        yield Compute(7 * S)
        yield WriteFile("book", 2 * PAGE, offset=0)
        yield Sleep(60 * S)

    events, _, _ = ran(program)
    # Dirty from 7 s, old from 37 s on; looked for at every multiple of 5 s.
    assert [e.t for e in events if isinstance(e, ev.Writeback)] == [40 * S]


def test_a_page_that_is_changed_again_is_written_again() -> None:
    def program():
        yield Mmap("text", file="book", shared=True)
        for _ in range(3):
            yield touch("0w", "0w", region="text")
            yield Fsync("book")

    events, _, _ = ran(program)
    assert written(events) == [(0, 1)] * 3
    faults = [e.reason for e in events if isinstance(e, ev.Fault)]
    assert faults == ["not in the page cache: book"] + ["clean until now"] * 2


def test_dirty_pages_do_not_keep_a_run_alive() -> None:
    events, memory_, outcome = ran(writer(3))
    assert len(memory_.cache.dirty) == 3
    assert outcome.state.now < MS
    assert not written(events)


def test_a_part_of_a_page_is_read_first_and_a_whole_one_is_not() -> None:
    def program():
        yield WriteFile("book", PAGE, offset=0)
        yield WriteFile("book", PAGE, offset=10 * PAGE + 1)  # parts of 10 and 11
        yield WriteFile("book", 10, offset=64 * PAGE)  # beyond the end there is nothing to read

    events, memory_, _ = ran(program)
    assert [e.on for e in events if isinstance(e, ev.Block)] == ["disk", "disk"]
    assert memory_.files["book"].pages == 65
