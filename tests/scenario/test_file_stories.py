"""The stories that the shipped scenarios about files and shares of memory tell: each keeps its promise.

One section per scenario. What is expected is worked out by hand in a comment, or by a few lines that know
nothing of the simulator.
"""

from itertools import pairwise

import pytest

from llmos.scenario.build import build
from llmos.scenario.load import load, load_text, shipped
from llmos.scenario.machine import run
from llmos.scenario.sweep import run_sweep
from llmos.trace import events as ev
from llmos.trace.memory import total

US, MS = 10**3, 10**6


def ran(name, *changes):
    """The last state, and the events, of a scenario of which some text is another one."""
    path = shipped()[name]
    text = path.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    events: list[ev.Event] = []
    spec = build(load_text(text, folder=path.parent))
    outcome = run(spec, [lambda batch, _data: events.extend(batch)])
    assert outcome.ok
    return outcome.state, events


def by_name(state):
    return {task.name: task for task in state.tasks.values()}


def turnarounds(state):
    return {name: task.finish_ns - task.arrival_ns for name, task in by_name(state).items()}


def memories(state):
    """Task -> what it did to the memory."""
    return {state.tasks[pid].name: memory for pid, memory in state.memory.tasks.items()}


def requests(events, service_ns, page_ns, pid=None):
    """The pages of each request to a device."""
    starts = (e for e in events if isinstance(e, ev.IoStart) and pid in (None, e.task))
    return [(e.service_ns - service_ns) // page_ns for e in starts]


# --- mmap-read ----------------------------------------------------------------------------------------


def test_mmap_read_by_hand():
    state, _ = ran("mmap-read")
    took = turnarounds(state)
    once = by_name(state)["read-once"]
    assert took["read-once"] - once.blocked_ns - once.waiting_ns == 64 * (400 + 100)
    assert took["map-once"] == 64 * (1000 + 100)
    assert took["read-4"] == 4 * 64 * (400 + 100)
    assert took["map-4"] == 64 * 1000 + 4 * 64 * 100
    for name, memory in memories(state).items():
        faults = 64 if name.startswith("map") else 0
        assert (memory.minor_faults, memory.major_faults, memory.most_rss_pages) == (faults, 0, faults)


def test_mmap_read_shares_what_was_read():
    state, events = ran("mmap-read")
    waited = {state.tasks[e.task].name for e in events if isinstance(e, ev.Block)}
    assert waited == {"read-once"}
    assert max(e.t for e in events if isinstance(e, ev.IoStart)) < 100 * US


def test_mmap_read_with_linux_s_fault_around():
    state, _ = ran("mmap-read", ("readahead = 32", "readahead = 32, fault_around = 16"))
    took, memory = turnarounds(state), memories(state)
    faults = memory["map-once"].minor_faults
    assert 64 // 16 <= faults <= 64 // 16 + 1  # the mapping need not begin at a multiple of 16
    assert took["map-once"] == faults * 1000 + 64 * 100
    assert took["map-4"] < took["read-4"] / 4


# --- readahead ----------------------------------------------------------------------------------------


def test_readahead_by_hand():
    # Linux: 4 pages for who begins with one, then twice as many each time, 32 at most. The marked page is
    # the first that was not asked for: the second of all, and then the first of each window.
    windows, first = [], 0
    for pages in (4, 8, 16, 32, 32, 32, 4):
        windows.append((first, pages))
        first += pages
    assert first == 128
    marks = {1: 1, **{start: k for k, (start, _) in enumerate(windows[1:-1], start=2)}}
    now, there = 0, {}

    def read(window):
        start, pages = windows[window]
        there.update(dict.fromkeys(range(start, start + pages), now + 900 * US + pages * 100 * US))

    read(0)
    for page in range(128):
        now = max(now, there[page])
        if page in marks:
            read(marks[page])
        now += 100 * US
    state, events = ran("readahead")
    took = turnarounds(state)
    assert took["viewer"] == now
    assert took["gambler"] == 128 * (900 + 100 + 100) * US
    assert took["clerk"] == 64 * ((900 + 100) + (900 + 4 * 100) + 200) * US
    names = {state.tasks[e.task].name for e in events if isinstance(e, ev.Readahead)}
    assert names == {"viewer", "clerk"}
    cache = state.memory.cache
    assert cache.read_ahead == 127 + 64 * 3  # all but who was asked for; three for each record
    assert cache.used_ahead == 127


def test_readahead_off_is_a_request_for_each_page():
    state, events = ran("readahead-off")
    assert set(turnarounds(state).values()) == {128 * (900 + 100 + 100) * US}
    assert requests(events, 900 * US, 100 * US) == [1] * 3 * 128
    assert state.memory.cache.read_ahead == 0


def test_readahead_wastes_nothing_of_who_says_that_he_jumps():
    advice = '{ advise = "records", advice = "random" },\n    { repeat = 64'
    state, _ = ran("readahead", ("{ repeat = 64", advice))
    assert turnarounds(state)["clerk"] == turnarounds(state)["gambler"]
    assert state.memory.cache.read_ahead == state.memory.cache.used_ahead == 127


# --- dirty-storm --------------------------------------------------------------------------------------


def test_dirty_storm_makes_the_writer_as_fast_as_the_disk():
    text = shipped()["dirty-storm"].read_text(encoding="utf-8")
    lines = text[text.index("[[workload]]") : text.index("[[sweep]]")]
    state, events = ran("dirty-storm", (lines, ""))
    written = requests(events, 1 * MS, 100 * US)
    # At the end 200 pages at most are not on the disk, and the disk never rests in between.
    least = (2000 - 200) * 100 * US
    assert least < by_name(state)["storm"].finish_ns < 2000 * 100 * US + len(written) * MS
    assert written[0] == 101  # the first page above 10 % sets it off
    level = dirty = most = 0
    for event in events:
        if isinstance(event, ev.Block):
            assert event.on == "writeback"
        if isinstance(event, ev.FileAccess):
            level += event.dirtied
        elif isinstance(event, ev.IoDone):
            level -= written[dirty]
            dirty += 1
        most = max(most, level)
    assert most == 201


def test_dirty_storm_lets_everybody_wait():
    state, events = ran("dirty-storm")
    quiet, _ = ran("dirty-storm", ("8000 KiB", "4 KiB"))
    waits = {}
    for event in events:
        if isinstance(event, ev.Block):
            waits.setdefault(state.tasks[event.task].name, []).append(event.on)
    storm = waits.pop("storm")
    assert set(storm) == {"writeback"}
    assert sum(on == ["writeback", "disk"] for on in waits.values()) >= 5
    cluster = (1000 + 101 * 100) * US
    for name, ns in turnarounds(state).items():
        if name != "storm":
            assert turnarounds(quiet)[name] == (10 + 1000 + 100) * US
            assert cluster < ns < 2 * (cluster + 1 * MS)


def test_dirty_storm_costs_either_the_storm_or_the_lines():
    rows = run_sweep(load(shipped()["dirty-storm"])).records()
    storm = [row["cpu.turnaround_max_ns"] for row in rows]
    line = [row["cpu.turnaround_p50_ns"] for row in rows]
    assert all(a > b for a, b in pairwise(storm))
    assert all(a < b for a, b in pairwise(line))


# --- weights-lru, weights-mru, weights-pinned ---------------------------------------------------------


def test_weights_lru_misses_everything():
    state, events = ran("weights-lru")
    assert total(state.memory).major_faults == 8 * 120
    assert state.now == 8 * 120 * (1 + 1) * MS + 8 * 120 * 100 * US
    assert requests(events, 1 * MS, 1 * MS) == [1] * 960


def test_weights_lru_with_a_page_less_than_the_loop():
    fits, _ = ran("weights-lru", ("frames = 100", "frames = 120"))
    lacks, _ = ran("weights-lru", ("frames = 100", "frames = 119"))
    assert [total(state.memory).major_faults for state in (fits, lacks)] == [120, 8 * 120]


def test_weights_mru_by_hand():
    # Token 1 leaves 0..98 and 119: each page from 100 on takes the frame of the one before it. Token r has
    # 20 misses, from page 101 - r on, and gives up the 20 pages from 100 - r on.
    state, events = ran("weights-mru")
    assert total(state.memory).major_faults == 120 + 7 * 20
    assert state.now == 260 * 2 * MS + 960 * 100 * US
    gone = [int(e.page.split(",")[1].strip(" )")) for e in events if isinstance(e, ev.Evict)]
    assert gone == [page for r in range(1, 9) for page in range(100 - r, 120 - r)]
    assert len(set(range(120)) - set(gone)) == 93


def test_weights_pinned_reads_more_pages_than_mru_in_fewer_requests():
    # Windows of 2, 4, 4 ... for 120 pages, and then of 4 for the 30 that are not locked.
    state, events = ran("weights-pinned")
    pages = requests(events, 1 * MS, 1 * MS)
    assert sum(pages) == 120 + 7 * 30
    assert len(pages) == (1 + 30) + 7 * 8
    assert state.memory.cache.wasted_ahead == 0
    mru, _ = ran("weights-mru")
    assert sum(pages) + len(pages) < state.now / MS < 0.8 * mru.now / MS
    locked = {str((1, page)) for page in range(90)}
    assert not [e for e in events if isinstance(e, ev.Evict) and e.page in locked]


def test_weights_pinned_with_windows_that_are_too_large_wastes_them():
    state, events = ran("weights-pinned", ("readahead = 4", "readahead = 8"))
    assert state.memory.cache.wasted_ahead > 30
    assert sum(requests(events, 1 * MS, 1 * MS)) > 330


# --- local-global, local-global-fixed -----------------------------------------------------------------


def test_local_global_by_hand():
    # Each key finds its 20 pages gone, the first but made; a page comes back in 1 ms.
    state, _ = ran("local-global")
    memory = memories(state)
    assert (memory["editor"].minor_faults, memory["editor"].major_faults) == (20, 9 * 20)
    assert memory["scanner"].major_faults == 1000
    references = 10 * 20 * (1 + 4 * 10)  # a walk of four levels at most
    assert 0 <= turnarounds(state)["editor"] - (10 * 100 + 9 * 20) * MS <= references + 9 * 20 * 41


def test_local_global_fixed_by_hand():
    state, _ = ran("local-global-fixed")
    memory = memories(state)
    assert (memory["editor"].minor_faults, memory["editor"].major_faults) == (20, 0)
    assert (memory["scanner"].major_faults, memory["scanner"].most_rss_pages) == (1000, 30)
    assert turnarounds(state)["editor"] - 10 * 100 * MS <= 10 * 20 * 41


def test_local_global_asks_what_somebody_needs():
    faults = {}
    for how in ("proportional", "working-set", "page-fault-frequency"):
        state, _ = ran("local-global", ('allocation = "global"', f'allocation = "{how}"'))
        faults[how] = memories(state)["editor"].major_faults
    assert faults == {
        "proportional": pytest.approx(180, abs=1), "working-set": 0, "page-fault-frequency": 0,
    }  # fmt: skip


def test_local_global_harms_nobody_who_comes_back_in_time():
    # In 30 ms the scanner brings 30 pages, and 40 frames are not the editor's.
    state, _ = ran("local-global", ('"100 ms"', '"30 ms"'))
    assert memories(state)["editor"].major_faults == 0
