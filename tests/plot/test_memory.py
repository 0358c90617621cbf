"""Pictures of memory: what is drawn is what the log says, counted another way."""

from collections import deque
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import PolyCollection
from plot.figures import overlaps, panel, words

from llmos.errors import LlmosError
from llmos.memory.space import layout
from llmos.plot import Results, eat, faults, memory, residents, save, working_set
from llmos.plot.residency import Clock, sizes, stays
from llmos.plot.working_set import averages, gaps, over_time
from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.scenario.machine import run
from llmos.trace.events import Fault, Reference
from llmos.trace.metrics import metrics

BOOK = (7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1)
MACHINE = """\
question = "How many faults?"
[memory]
frames = {frames}
swap = "1 MiB"
swap_device = "disk"
tlb = {{ first = {{ entries = 4 }}, second = {{ entries = 8 }} }}
[[device]]
name = "disk"
service = "1 ms"
"""
TASK = '[[task]]\nname = "{name}"\nprogram = [{{ touch = "heap", pages = {pages} }}]\n'


def scenario(frames, **tasks):
    text = MACHINE.format(frames=frames)
    return load_text(text + "".join(TASK.format(name=n, pages=list(pages)) for n, pages in tasks.items()))


def ran(frames, *, references=True, **tasks):
    """The last state and the events of tasks that touch their heaps."""
    events = []
    spec = replace(build(scenario(frames, **tasks)), shows_references=references)
    return run(spec, [lambda batch, _data: events.extend(batch)]).state, events


def lru(pages, frames):
    """The pages in memory after each reference, by LRU, from first principles."""
    recent, out = [], []
    for page in pages:
        recent = [page, *(p for p in recent if p != page)][:frames]
        out.append(set(recent))
    return out


# --- residents ----------------------------------------------------------------------------------------


def test_the_book_s_table_under_lru():
    # Silberschatz, Operating System Concepts, ch. 10: 12 faults with three frames.
    state, events = ran(3, A=BOOK)
    clock = Clock([e for e in events if isinstance(e, Reference)], state.now)
    base = min(stay.page for stay in stays(events, clock))
    here = stays(events, clock)
    assert len(here) == 12
    for i, expected in enumerate(lru(BOOK, 3)):
        assert {s.page - base for s in here if s.start <= i < s.end} == expected
    assert base == layout().heap.start
    ax = panel(residents(state, events), "residents of A")
    assert [label.get_text() for label in ax.get_yticklabels()] == [f"heap {n}" for n in (0, 1, 2, 3, 4, 7)]
    [bars] = [c for c in ax.collections if isinstance(c, PolyCollection)]
    assert len(bars.get_paths()) == 12
    marks = {c.get_label(): len(c.get_offsets()) for c in ax.collections if c is not bars}
    assert marks == {"hits": 8, "faults": 12}


FILES = """\
question = "?"
device = [{ name = "disk", service = "1 ms" }]
file = [{ name = "book", size = "256 KiB", device = "disk" }]
[programs.child]
steps = [{ touch = "heap", pages = ["1w", "11w"] }, { sleep = "1 ms" }]
"""
WAYS = {
    "around": """\
[memory]
size = "1 MiB"
page_cache = { fault_around = 16 }
[[task]]
program = [
    { read_file = "book" }, { mmap = "b", file = "book" }, { touch = "b", pages = [3, 40, 4, 20] },
    { touch = "heap", pages = [0, "1w"] }, { truncate = "book", size = "20 KiB" }, { sleep = "1 ms" },
    { touch = "b", pages = [2] }, { munmap = "b" }, { sleep = "1 ms" },
]
""",
    "few frames": """\
[memory]
frames = 20
swap = "1 MiB"
swap_device = "disk"
page_cache = { fault_around = 16 }
[[task]]
program = [
    { mmap = "b", file = "book" }, { touch = "b", pattern = "zipf", pages = 60, count = 300, write = 0.3 },
    { touch = "heap", pattern = "zipf", pages = 60, count = 300, write = 0.3 },
]
""",
    "heap": """\
[memory]
size = "1 MiB"
[[task]]
program = [
    { touch = "heap", pattern = "sequential", pages = 30 }, { brk = "40 KiB" }, { sleep = "1 ms" },
    { fork = "child" }, { sleep = "2 ms" }, { touch = "heap", pages = ["2w"] }, { sleep = "1 ms" },
]
""",
    "huge": """\
[memory]
size = "16 MiB"
huge_pages = "always"
khugepaged = { scan = "1 ms" }
[[task]]
program = [
    { touch = "heap", pattern = "sequential", pages = 100 }, { sleep = "3 ms" },
    { mmap = "m", size = "4 MiB" }, { touch = "m", pages = ["1000w"] }, { sleep = "1 ms" },
    { munmap = "m" }, { sleep = "1 ms" }, { touch = "heap", pages = [1] },
]
""",
}


@pytest.mark.parametrize("way", WAYS)
def test_the_map_has_as_many_pages_as_each_resident_set(way):
    """The events tell the resident sets as numbers, and page by page: the two must agree."""
    events = []
    spec = replace(build(load_text(FILES + WAYS[way])), shows_references=False)
    state = run(spec, [lambda batch, _data: events.extend(batch)]).state
    here = stays(events, Clock([], state.now))
    told = sizes(events)
    times = sorted({e.t for e in events} | {state.now})
    most = 0
    for t, after in pairwise(times):
        for pid, series in told.items():
            pages = [count for at, count in series if at <= t][-1]
            assert sum(s.pid == pid and s.start <= t and s.end >= after for s in here) == pages, (t, pid)
            most = max(most, pages)
    assert most > 10


def test_a_map_of_many_stays_is_folded_and_says_so(monkeypatch):
    state, events = ran(3, A=BOOK)
    monkeypatch.setitem(residents.__globals__, "MOST_STAYS", 5)
    figure = residents(state, events)
    [image] = panel(figure, "residents of A").images
    columns, _ = residents.__globals__["FOLDED"]
    shown = (np.asarray(image.get_array()) < 255).any(axis=2)
    for i, expected in enumerate(lru(BOOK, 3)):
        assert shown[:, int((i + 0.5) * columns / len(BOOK))].sum() == len(expected)
    assert "folded into columns" in words(figure)


def test_without_references_the_map_shows_time():
    state, events = ran(3, references=False, A=BOOK, B=(1, 2, 3))
    figure = residents(state, events)
    assert "time (ms)" in words(figure)
    assert "cross" not in words(figure)
    assert not overlaps(figure)


# --- resident sets and faults -------------------------------------------------------------------------


def test_resident_sets_are_stacked_below_the_line_of_the_frames():
    state, events = ran(4, references=False, A=BOOK, B=(1, 2, 3, 4, 1, 2, 5))
    figure = memory(state, events)
    ax = panel(figure, "resident sets")
    tops = [max(y for path in layer.get_paths() for y in path.vertices[:, 1]) for layer in ax.collections]
    assert max(tops) == 4
    [line] = ax.lines
    assert set(line.get_ydata()) == {4}
    assert "4 frames" in words(figure)
    assert not overlaps(figure)


def test_far_more_frames_than_pages_are_told_and_not_drawn():
    state, events = ran(1000, references=False, A=BOOK)
    figure = memory(state, events)
    assert not panel(figure, "resident sets").lines
    assert "1,000 frames" in words(figure)


def test_every_fault_is_in_a_column_of_its_task():
    state, events = ran(3, references=False, A=BOOK, B=(1, 2, 3, 4, 1, 2, 5))
    figure = faults(state, events)
    for pid, task in state.tasks.items():
        ax = panel(figure, f"faults of {task.name}")
        for kind in ("major", "minor"):
            [stairs] = [patch for patch in ax.patches if patch.get_label() == kind]
            values, _, foot = stairs.get_data()
            there = sum(isinstance(e, Fault) and e.task == pid and e.what == kind for e in events)
            assert (values - foot).sum() == there
    assert not overlaps(figure)


def test_the_least_of_many_tasks_share_a_panel():
    state, events = ran(8, references=False, **{f"t{i}": range(1 + i) for i in range(9)})
    titles = [ax.get_label() for ax in faults(state, events).axes if ax.get_label().startswith("faults")]
    assert titles == [*(f"faults of t{i}" for i in range(4, 9)), "faults of 4 other tasks"]


# --- working sets -------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.integers(1, 70))
def test_a_working_set_is_the_pages_of_the_last_references(pages, window):
    last: deque[int] = deque(maxlen=window)
    sizes = []
    for page in pages:
        last.append(page)
        sizes.append(len(set(last)))
    assert over_time(gaps(pages), window).tolist() == sizes
    [mean] = averages(gaps(pages), np.array([float(window)]))
    assert mean == pytest.approx(sum(sizes) / len(sizes))


def test_the_working_set_of_the_book():
    # Silberschatz, ch. 10, the working-set model: {1, 2, 5, 6, 7} at t1, {3, 4} at t2, for a window of 10.
    pages = [2, 6, 1, 5, 7, 7, 7, 7, 5, 1, 6, 2, 3, 4, 1, 2, 3, 4, 4, 4, 3, 4, 3, 4, 4, 4, 1, 3, 2, 3, 4]
    size = over_time(gaps(pages), 10)
    assert size[pages.index(1) + 7] == 5
    assert size[25] == 2


def test_tasks_with_the_same_references_share_a_curve():
    state, events = ran(30, A=BOOK, B=BOOK, C=BOOK, D=(1, 2, 1))
    figure = working_set(state, events, window=5)
    names = [drawn.get_label() for drawn in panel(figure, "over time").lines]
    assert names == ["A and 2 others", "D"]
    assert "last 5 references" in words(figure)
    assert not overlaps(figure)


def test_a_log_without_references_says_how_to_get_them():
    state, events = ran(30, references=False, A=BOOK)
    assert "--references" in words(working_set(state, events))


@pytest.mark.parametrize("kind", [faults, memory, residents, working_set])
def test_a_machine_without_memory_has_nothing_to_show(kind, tmp_path):
    events = []
    spec = build(load_text('question = "q"\n[[task]]\nname = "A"\nburst = "1 ms"\n'))
    state = run(spec, [lambda batch, _data: events.extend(batch)]).state
    figure = kind(state, events)
    assert "models no memory" in words(figure)
    save(figure, tmp_path / "nothing.png")


# --- effective access time ----------------------------------------------------------------------------


def tlb_sweep(key="memory.tlb.first.entries"):
    return [
        {"point": i, "seed": 1, key: entries, "ok": True, "memory.access_mean_ns": 40.0 - i,
         "memory.tlb_first_miss_ratio": 0.5 / (1 + i), "memory.tlb_miss_ratio": 0.1}
        for i, entries in enumerate((4, 16, 64))
    ]  # fmt: skip


def test_access_time_stands_against_entries_times_the_page():
    figure = eat(Results(tlb_sweep()), 4096)
    [line] = panel(figure, "memory.access_mean_ns").lines
    assert line.get_xdata().tolist() == [16384, 65536, 262144]
    assert line.get_ydata().tolist() == [40, 39, 38]
    [ratio] = panel(figure, "memory.tlb_first_miss_ratio").lines
    assert ratio.get_ydata()[0] == pytest.approx(50)
    assert {"16 KiB", "256 KiB", "reach of the first level of the TLB"} <= set(words(figure).split("\n"))
    assert "_child" not in words(figure)
    assert not overlaps(figure)
    assert "(pages)" in words(eat(Results(tlb_sweep("memory.tlb.second.entries"))))


def test_a_sweep_of_something_else_has_no_reach():
    with pytest.raises(LlmosError, match="no number of TLB entries varies"):
        eat(Results(tlb_sweep("memory.frames")))


# --- named numbers ------------------------------------------------------------------------------------


def test_the_numbers_of_the_book_under_lru():
    state, _ = ran(3, A=BOOK)
    numbers = metrics(state)
    assert numbers["memory.accesses"] == 20
    assert numbers["memory.minor_faults"] + numbers["memory.major_faults"] == 12
    assert numbers["memory.minor_faults"] == len(set(BOOK))
    assert numbers["memory.faults_per_1000"] == 600
    assert numbers["memory.evictions"] == 12 - 3


def test_the_effective_access_time_is_all_the_time_that_a_touching_task_takes():
    # It does nothing but touch: its time is that of its references, of their faults and of the waits for
    # them, less the device's interrupts (which cost nothing here).
    state, _ = ran(3, A=BOOK)
    [task] = state.tasks.values()
    assert metrics(state)["memory.effective_access_mean_ns"] * 20 == pytest.approx(task.finish_ns)
    assert metrics(state)["memory.access_mean_ns"] * 20 == pytest.approx(task.cpu_ns)
