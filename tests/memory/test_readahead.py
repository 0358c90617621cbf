"""Readahead: windows worked out by hand from Linux's formulas, and what holds for every reader."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memories import machine, memory, play, touch

from llmos.memory.page_cache import CacheRules
from llmos.memory.readahead import Readahead, Window, first_size, next_size
from llmos.process.program import Advise, DropCaches, Fsync, Mmap, ReadFile, Truncate, WriteFile
from llmos.trace import events as ev

PAGE = 4096


class Reader:
    """A reader of a file of which nothing is cached: who reads a page has it for ever."""

    def __init__(self, readahead: Readahead, cached: set[int] | None = None) -> None:
        self.readahead = readahead
        self.cached = set() if cached is None else cached
        self.marks: set[int] = set()
        self.windows: list[tuple[int, int, int | None]] = []

    def read(self, first: int, pages: int = 1) -> None:
        for index in range(first, first + pages):
            wanted = first + pages - index
            if index not in self.cached:
                self._take(self.readahead.missed(index, wanted, self.cached.__contains__))
            elif index in self.marks:
                self.marks.remove(index)
                self._take(self.readahead.marked(index, wanted, self.cached.__contains__))
            assert index in self.cached, "whoever asks for a page gets it"
            self.readahead.previous = index

    def _take(self, window: Window | None) -> None:
        if window is not None:
            new = set(range(window.start, window.start + window.pages)) - self.cached
            self.cached |= new
            if window.marker in new:
                self.marks.add(window.marker)
            self.windows.append((window.start, window.pages, window.marker))


@pytest.mark.parametrize(
    ("most", "sizes"),
    # 4n if n <= most/32, 2n if n <= most/4, else most; n is the request, rounded up to a power of two
    [
        (32, {1: 4, 2: 4, 3: 8, 4: 8, 5: 16, 8: 16, 9: 32, 32: 32}),
        (1024, {1: 4, 32: 128, 33: 128, 300: 1024}),
    ],
)
def test_the_first_window_is_linuxs(most: int, sizes: dict[int, int]) -> None:
    assert {wanted: first_size(wanted, most) for wanted in sizes} == sizes


@pytest.mark.parametrize(
    ("most", "steps"),
    # four times as large below most/16, then twice, up to most
    [(32, [1, 4, 8, 16, 32, 32]), (128, [4, 16, 32, 64, 128, 128]), (512, [4, 16, 64, 128, 256, 512, 512])],
)
def test_windows_grow_as_linuxs_do(most: int, steps: list[int]) -> None:
    assert [next_size(size, most) for size in steps[:-1]] == steps[1:]


@pytest.mark.parametrize(
    ("request_pages", "windows"),
    [
        (1, [(0, 4, 1), (4, 8, 4), (12, 16, 12), (28, 32, 28), (60, 32, 60), (92, 32, 92)]),
        (5, [(0, 16, 5), (16, 32, 16), (48, 32, 48), (80, 32, 80)]),
        (8, [(0, 16, 8), (16, 32, 16), (48, 32, 48), (80, 32, 80)]),
        (16, [(0, 32, 16), (32, 32, 32), (64, 32, 64), (96, 32, 96)]),
        (32, [(0, 32, 16), (32, 32, 32), (64, 32, 64), (96, 32, 96)]),
    ],
)
def test_a_sequential_reader_gets_growing_windows_before_he_needs_them(
    request_pages: int, windows: list[tuple[int, int, int]]
) -> None:
    reader = Reader(Readahead(32))
    for first in range(0, 65, request_pages):
        reader.read(first, request_pages)
    assert reader.windows == windows[: len(reader.windows)]
    assert len(reader.windows) >= 3


def test_a_random_read_gets_what_it_asks_for_and_leaves_the_stream_alone() -> None:
    reader = Reader(Readahead(32))
    reader.read(0)
    state = (reader.readahead.start, reader.readahead.size, reader.readahead.ahead)
    reader.read(50)
    reader.read(70, 3)
    # Page 71 follows page 70, but it has come with it: nothing is missing.
    assert reader.windows[1:] == [(50, 1, None), (70, 3, None)]
    assert (reader.readahead.start, reader.readahead.size, reader.readahead.ahead) == state


def test_cached_pages_before_a_miss_are_the_trace_of_a_reader() -> None:
    reader = Reader(Readahead(32), set(range(46, 50)))
    reader.read(50)  # 4 pages before it and 1 wanted
    assert reader.windows == [(50, 5, 54)]
    reader = Reader(Readahead(32), set(range(10)))
    reader.read(10)  # cached from the beginning: twice as many
    assert reader.windows == [(10, 21, 30)]


def test_the_mark_of_another_reader_leads_to_the_next_hole() -> None:
    reader = Reader(Readahead(32), set(range(100, 108)))
    reader.marks.add(100)
    reader.read(100)  # 8 pages to the hole and 1 wanted, twice
    assert reader.windows == [(108, 18, 108)]


@pytest.mark.parametrize(("most", "advice", "pages"), [(0, "normal", 1), (32, "random", 6)])
def test_without_readahead_nothing_comes_unasked(most: int, advice: Any, pages: int) -> None:
    reader = Reader(Readahead(most, advice))
    reader.read(0, 6)
    assert {(size, mark) for _, size, mark in reader.windows} == {(pages, None)}
    assert reader.cached == set(range(6))


@given(
    reads=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 50)), max_size=30),
    most=st.sampled_from([0, 1, 8, 32, 128]),
    advice=st.sampled_from(["normal", "sequential", "random"]),
)
def test_every_reader_gets_his_pages_in_bounded_windows(
    reads: list[tuple[int, int]], most: int, advice: Any
) -> None:
    reader = Reader(Readahead(most, advice))
    for first, pages in reads:
        reader.read(first, pages)
    limit = max(reader.readahead.limit, most, 1)
    assert all(1 <= pages <= limit for _, pages, _ in reader.windows)
    assert all(mark is None or start <= mark < start + pages for start, pages, mark in reader.windows)


# --- in a machine: it changes when something is read, never what ----------------------------------------

places = st.integers(0, 80).map(lambda page: page * PAGE // 2)
sizes = st.integers(1, 30 * PAGE)
steps = st.one_of(
    st.builds(ReadFile, st.just("book"), sizes, st.none() | places),
    st.builds(WriteFile, st.just("book"), sizes, st.none() | places),
    st.builds(ReadFile, st.just("book"), sizes, random=st.just(True)),
    st.builds(ReadFile, st.just("book"), sizes, places, direct=st.just(True)),
    st.builds(Advise, st.just("book"), st.sampled_from(["normal", "sequential", "random"])),
    st.builds(Truncate, st.just("book"), st.integers(20 * PAGE, 90 * PAGE)),
    st.just(Fsync("book")),
    st.just(DropCaches()),
    st.lists(st.integers(0, 19), min_size=1, max_size=20),
)


def what_is_read(program: Any, frames: int, policy: str, rules: CacheRules) -> Any:
    """The results of a program's calls, the pages that it read and wrote in order, and its references."""
    results: list[Any] = []

    def noted():
        calls, result = program(), None
        while True:
            try:
                call = calls.send(result)
            except StopIteration:
                return
            result = yield call
            results.append(None if isinstance(call, DropCaches) else result)

    spec = machine(memory(frames, policy, page_cache=rules), noted, shows_references=True)
    outcome, events, memory_ = play(spec)
    assert outcome.reason == "all tasks are done"
    pages = [
        (e.what, page)
        for e in events
        if isinstance(e, ev.FileAccess) and e.what in {"read", "write", "direct read"}
        for page in range(e.page, e.page + e.pages)
    ]
    references = [(e.page, e.write) for e in events if isinstance(e, ev.Reference)]
    return results, pages, references, memory_.files["book"].pages


@given(
    steps=st.lists(steps, max_size=12),
    frames=st.integers(6, 100),
    policy=st.sampled_from(["lru", "fifo", "mru", "clock", "arc"]),
    readahead=st.sampled_from([4, 32, 64]),
    around=st.sampled_from([1, 4, 16]),
)
@settings(max_examples=40)
def test_readahead_never_changes_what_is_read(
    steps: list[Any], frames: int, policy: str, readahead: int, around: int
) -> None:
    def program():
        yield Mmap("text", 20 * PAGE, file="book", shared=True)
        for step in steps:
            yield touch(*step, f"{step[0]}w", region="text") if isinstance(step, list) else step

    plain = what_is_read(program, frames, policy, CacheRules())
    ahead = CacheRules(readahead_pages=readahead, fault_around_pages=around)
    assert what_is_read(program, frames, policy, ahead) == plain
