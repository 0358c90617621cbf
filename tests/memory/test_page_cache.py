"""The page cache: who shares, what goes, what it costs; and what always holds where files are used."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memories import machine, memory, play, touch

from llmos.memory.page_cache import CacheRules
from llmos.memory.records import Costs
from llmos.process.program import (
    Advise,
    Compute,
    DropCaches,
    Fork,
    Fsync,
    Mlock,
    Mmap,
    ReadFile,
    Sleep,
    Truncate,
    Wait,
    WriteFile,
)
from llmos.scenario.spec import FileSpec
from llmos.trace import events as ev
from llmos.trace.records import Mode

PAGE = 4096
LINUX = CacheRules(readahead_pages=32, fault_around_pages=16)


def ran(*programs: Any, frames: int = 100, policy: str = "lru", rules: CacheRules | None = None, **more: Any):
    """Run `programs`; return the events, the memory, and what the log tells of the page cache."""
    spec = machine(memory(frames, policy, page_cache=rules or CacheRules(), **more), *programs)
    outcome, events, memory_ = play(spec)
    cache = outcome.state.memory.cache
    assert cache.dirty == len(memory_.cache.dirty)
    assert cache.used_ahead + cache.wasted_ahead + len(memory_.cache.ahead) == cache.read_ahead
    return events, memory_, cache


def faults(events: list[ev.Event], task: int = 1) -> list[str]:
    return [e.what for e in events if isinstance(e, ev.Fault) and e.task == task]


def blocked_on(events: list[ev.Event], task: int = 1) -> list[str]:
    return [e.on for e in events if isinstance(e, ev.Block) and e.task == task]


def test_copying_is_the_kernels_time_as_a_fault_is() -> None:
    def reads():
        yield ReadFile("book", 8 * PAGE)
        yield ReadFile("book", 8 * PAGE, offset=0)
        yield Compute(1_000)

    outcome, events, _ = play(machine(memory(100), reads))
    (task,), (core,) = outcome.state.tasks.values(), outcome.state.processors.values()
    assert core.spent_ns[Mode.KERNEL] == 16 * Costs().copy_page_ns
    assert task.cpu_ns == core.spent_ns[Mode.USER] == 1_000
    assert task.first_run_ns == 1_000_000  # when the first page was there, and its copying began
    assert [(e.t, e.pages, e.cost_ns) for e in events if isinstance(e, ev.FileAccess)][-2:] == [
        (8 * 1_000_000 + 7 * 400, 1, 400),
        (8 * 1_000_000 + 8 * 400, 8, 8 * 400),
    ]


def test_who_reads_what_another_has_read_does_not_wait_and_a_mapping_shares_it() -> None:
    def first():
        assert (yield ReadFile("book", 8 * PAGE)) == 8 * PAGE

    def second():
        yield Sleep(100_000_000)
        yield ReadFile("book", 8 * PAGE)
        yield Mmap("text", file="book", protection="r")
        yield touch(*range(8), region="text")

    events, memory_, cache = ran(first, second)
    assert blocked_on(events) == ["disk"] * 8
    assert blocked_on(events, 2) == ["sleep"]
    assert faults(events, 2) == ["minor"] * 8
    assert (cache.hits, cache.misses) == (16, 8)
    assert len(memory_.pager.pages) == 8  # not 16, nor 24


def test_what_a_mapping_has_written_is_read_without_the_device() -> None:
    def program():
        yield Mmap("text", file="book", shared=True)
        yield touch("0w", "1w", region="text")
        yield ReadFile("book", 2 * PAGE)

    events, memory_, cache = ran(program)
    assert faults(events) == ["major", "major"]
    assert blocked_on(events) == ["disk", "disk"]
    assert set(memory_.cache.dirty) == {(1, 0), (1, 1)}
    assert cache.hits == 2


def test_a_page_that_was_only_read_faults_once_more_when_it_is_written() -> None:
    def program():
        yield Mmap("text", file="book", shared=True)
        yield touch(0, 0, "0w", "0w", region="text")

    events, _, cache = ran(program)
    assert [e.reason for e in events if isinstance(e, ev.Fault)] == [
        "not in the page cache: book", "clean until now",
    ]  # fmt: skip
    assert cache.dirty == 1


def test_a_read_costs_a_copy_for_each_page_and_one_call() -> None:
    def program():
        yield ReadFile("book", 10 * PAGE)
        yield ReadFile("book", 10 * PAGE, offset=0)

    events, _, _ = ran(program, rules=LINUX, costs=Costs(copy_page_ns=700))
    reads = [e for e in events if isinstance(e, ev.FileAccess) and e.pages == 10]
    assert [e.hits for e in reads] == [0, 10]
    # One request of 1 ms for the first window; then ten copies, twice.
    assert [(e.t, e.cost_ns) for e in reads] == [(1_000_000, 7_000), (1_000_000 + 7_000, 7_000)]


def test_a_position_is_each_process_own_and_a_write_beyond_the_end_makes_the_file_longer() -> None:
    results = []

    def program():
        results.append((yield ReadFile("book", 60 * PAGE)))
        results.append((yield ReadFile("book", 10 * PAGE)))
        results.append((yield ReadFile("book", 10 * PAGE)))
        results.append((yield WriteFile("book", 2 * PAGE)))
        results.append((yield ReadFile("book", offset=0)))

    def other():
        yield Sleep(1_000_000_000)
        results.append((yield ReadFile("book", PAGE)))
        results.append((yield ReadFile("book")))

    _, memory_, _ = ran(program, other)
    assert [size // PAGE for size in results] == [60, 4, 0, 2, 66, 1, 65]
    assert memory_.files["book"].pages == 66


def test_readahead_is_used_or_wasted() -> None:
    def reader():
        yield ReadFile("book", PAGE)  # 3 pages come with it
        yield ReadFile("book", PAGE)  # marked: 8 more
        yield Sleep(100_000_000)
        yield DropCaches()

    _, _, cache = ran(reader, rules=LINUX)
    assert (cache.read_ahead, cache.used_ahead, cache.wasted_ahead) == (11, 1, 10)


def test_random_advice_reads_nothing_ahead() -> None:
    def reader():
        yield Advise("book", "random")
        yield ReadFile("book", PAGE)
        yield ReadFile("book", PAGE)

    _, memory_, cache = ran(reader, rules=LINUX)
    assert cache.read_ahead == 0
    assert memory_.cache.resident == 2


def test_a_fault_maps_what_is_there_around_it() -> None:
    def program():
        yield ReadFile("book")
        yield Mmap("text", file="book", protection="r")
        yield touch(*range(64), region="text")

    events, _, _ = ran(program, rules=CacheRules(fault_around_pages=16))
    mapped = [e.pages for e in events if isinstance(e, ev.Fault)]
    assert sum(mapped) == 64
    assert len(mapped) in {4, 5}  # the region need not begin at a multiple of 16
    assert set(faults(events)) == {"minor"}
    events, _, _ = ran(program)
    assert faults(events) == ["minor"] * 64


def test_direct_io_leaves_no_pages_and_sees_what_is_dirty() -> None:
    def program():
        yield ReadFile("book", 4 * PAGE, offset=0, direct=True)
        yield WriteFile("book", 4 * PAGE, offset=0)
        yield ReadFile("book", 4 * PAGE, offset=0, direct=True)
        yield WriteFile("book", 4 * PAGE, offset=2 * PAGE, direct=True)

    events, memory_, cache = ran(program)
    wrote = [e.t for e in events if isinstance(e, ev.Writeback)]
    direct = [e for e in events if isinstance(e, ev.FileAccess) and e.what.startswith("direct")]
    assert cache.direct == 12
    assert len(wrote) == 1
    assert direct[0].t < wrote[0] <= direct[1].t
    assert set(memory_.pager.pages) == {(1, 0), (1, 1)}  # 2 and 3 were dropped: the device knows better
    assert [(e.reason, e.pages) for e in events if isinstance(e, ev.Drop)] == [("direct I/O", 2)]


def test_drop_caches_takes_what_is_clean_and_unmapped() -> None:
    dropped = []

    def program():
        yield ReadFile("book", 8 * PAGE)
        yield WriteFile("book", 2 * PAGE, offset=0)
        yield Mmap("text", file="book", protection="r")
        yield touch(2, 3, region="text")
        dropped.append((yield DropCaches()))
        yield Fsync("book")
        dropped.append((yield DropCaches()))

    _, memory_, _ = ran(program)
    assert dropped == [4, 2]
    assert set(memory_.pager.pages) == {(1, 2), (1, 3)}


@pytest.mark.parametrize("page", ["3", "3w"])
def test_who_touches_what_a_truncated_file_had_gets_a_bus_error(page: str) -> None:
    def cutter():
        yield Sleep(50_000_000)
        yield Truncate("book", 2 * PAGE)

    def victim():
        yield Mmap("text", file="book")
        yield touch("1", page, region="text")
        yield Sleep(100_000_000)
        yield touch(1, region="text")
        yield touch(page, region="text")

    events, memory_, _ = ran(cutter, victim)
    assert faults(events, 2)[-1] == "bus"
    assert [e.reason.split(":")[0] for e in events if isinstance(e, ev.Exit)] == ["program ended", "BUS"]
    assert set(memory_.pager.pages) == {(1, 1)}


def test_a_page_that_comes_after_its_file_was_cut_off_is_not_mapped() -> None:
    def cutter():
        yield Sleep(500_000)  # the page takes 1 ms
        yield Truncate("book", PAGE)

    def victim():
        yield Mmap("text", file="book", protection="r")
        yield touch(5, region="text")

    events, memory_, _ = ran(cutter, victim)
    assert faults(events, 2) == ["major", "bus"]
    assert not memory_.pager.pages


def test_files_and_anonymous_memory_compete_for_the_same_frames() -> None:
    def program():
        yield touch(*[f"{page}w" for page in range(6)])
        yield ReadFile("book", 20 * PAGE)
        yield touch(*range(6))

    events, memory_, _ = ran(program, frames=10)
    assert faults(events)[6:] == ["major"] * 6  # the file has driven them out
    assert sum(isinstance(key, tuple) for key in memory_.pager.pages) <= 10


# --- weights: a file that is read again and again from its beginning to its end -------------------------


def misses(policy: str, frames: int, pages: int, times: int) -> int:
    """What textbook LRU and MRU miss in a cyclic scan, from a list and nothing else."""
    stack: list[int] = []  # the last used page comes last
    count = 0
    for page in list(range(pages)) * times:
        if page in stack:
            stack.remove(page)
        else:
            count += 1
            if len(stack) == frames:
                stack.pop(0 if policy == "lru" else -1)
        stack.append(page)
    return count


def scan(pages: int, times: int, locked: int = 0):
    def program():
        yield Mmap("weights", pages * PAGE, file="book", protection="r")
        if locked:
            yield Mmap("pinned", locked * PAGE, file="book", protection="r")
            yield Mlock("pinned")
            yield touch(*range(locked), region="pinned")
        for _ in range(times):
            yield touch(*range(pages), region="weights")

    return program


@pytest.mark.parametrize("policy", ["lru", "mru"])
def test_weights_are_scanned_in_a_circle(policy: str) -> None:
    _, _, cache = ran(scan(30, 4), frames=20, policy=policy)
    assert cache.misses == misses(policy, 20, 30, 4)
    assert (cache.misses == 120) == (policy == "lru")


def test_pinned_weights_stay_and_the_rest_is_scanned_beside_them() -> None:
    events, _, cache = ran(scan(30, 4, locked=12), frames=20)
    # Twelve pages are read once; eighteen go through the other eight frames, four times.
    assert cache.misses == 12 + 4 * 18
    evicted = {e.page for e in events if isinstance(e, ev.Evict)}
    assert not evicted & {f"(1, {index})" for index in range(12)}


@pytest.mark.parametrize("policy", ["lru", "mru", "sieve"])
def test_readahead_spares_a_scan_most_of_its_waits(policy: str) -> None:
    plain, _, _ = ran(scan(64, 3), frames=40, policy=policy)
    ahead, _, cache = ran(scan(64, 3), frames=40, policy=policy, rules=LINUX)
    assert len(blocked_on(ahead)) * 3 < len(blocked_on(plain))
    assert cache.used_ahead > cache.wasted_ahead


# --- what always holds ----------------------------------------------------------------------------------

places = st.integers(0, 80).map(lambda page: page * PAGE // 2)
sizes = st.integers(1, 20 * PAGE)
names = st.sampled_from(["book", "log"])
calls = st.one_of(
    st.builds(ReadFile, names, sizes, st.none() | places, direct=st.booleans()),
    st.builds(WriteFile, names, sizes, st.none() | places, direct=st.booleans()),
    st.builds(Truncate, names, st.integers(0, 90 * PAGE)),
    st.builds(Fsync, names),
    st.just(DropCaches()),
    st.integers(1, 5_000_000).map(Compute),
    st.lists(st.tuples(st.integers(0, 15), st.booleans()), min_size=1, max_size=12),
    st.just("fork"),
)


def user(steps: list[Any], *, shared: bool) -> Any:
    def program():
        yield Mmap("text", 16 * PAGE, file="book", shared=shared)
        for step in steps:
            if step == "fork":
                yield Fork(child)
            elif isinstance(step, list):
                yield touch(*[f"{page}{'w' * write}" for page, write in step], region="text")
            else:
                yield step
        yield Wait()

    return program


def child():
    yield touch("0w", 1, region="text")
    yield ReadFile("log")


@given(
    users=st.lists(st.tuples(st.lists(calls, max_size=8), st.booleans()), min_size=1, max_size=3),
    frames=st.integers(6, 40),
    policy=st.sampled_from(["lru", "fifo", "mru", "clock", "wsclock", "arc"]),
    rules=st.sampled_from(
        [CacheRules(), LINUX, CacheRules(readahead_pages=8, dirty=100, dirty_background=50)]
    ),
    cores=st.integers(1, 2),
)
@settings(max_examples=25)
def test_frames_are_conserved_and_dirty_pages_counted(
    users: Any, frames: int, policy: str, rules: CacheRules, cores: int
) -> None:
    files = [FileSpec(name=name, size_bytes=64 * PAGE, device="disk") for name in ("book", "log")]
    has = memory(frames, policy, page_cache=rules, files=files)
    outcome, _, memory_ = play(
        machine(has, *[user(steps, shared=shared) for steps, shared in users], cores=cores)
    )
    assert outcome.reason == "all tasks are done"
    cache, state = memory_.cache, outcome.state.memory.cache
    resident = {key: page for key, page in memory_.pager.pages.items() if isinstance(key, tuple)}
    assert memory_.pager.frames.free_frames + len(resident) == frames
    assert cache.resident == len(resident)
    assert {key for key, page in resident.items() if page.dirty} == set(cache.dirty)
    assert cache.ahead | cache.markers <= set(resident)
    assert (state.dirty, cache.writing, cache.held) == (len(cache.dirty), 0, [])
    assert all(key[1] < memory_.files_by_inode[key[0]].pages for key in resident)


def test_a_cache_that_forgets_to_count_is_caught() -> None:
    """A mutation: what has lost its frame is held for dirty, and for read ahead."""
    with patch("llmos.memory.page_cache.PageCache.gone", return_value=False), pytest.raises(AssertionError):
        test_readahead_is_used_or_wasted()
