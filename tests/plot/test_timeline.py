"""Gantt charts: the rectangles are the spans, idle time and marks are where the log has them."""

import dataclasses
import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import POLICIES, cores, engine, execute, overheads, requests, task, tasks
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.colors import to_hex
from plot.figures import overlaps, panel, words

from llmos.plot import gantt, save
from llmos.plot.looks import IDLE, KERNEL, look
from llmos.plot.words import time_unit
from llmos.process.dispatcher import Costs
from llmos.process.program import Compute, EndJob, Io
from llmos.scenario.machine import RequestSpec
from llmos.sched.edf import EDF
from llmos.sched.fcfs import FCFS
from llmos.sched.rr import RoundRobin
from llmos.sched.srtf import SRTF
from llmos.trace.events import Preempt
from llmos.trace.records import Mode
from llmos.trace.state import State, fold

MS = 1_000_000


def chart(ran, *, events=True):
    return panel(gantt(ran.outcome.state, ran.events if events else ()), "gantt")


def boxes(ax, label):
    """(start, end, row) of every rectangle with a label, in the axis' unit and from the top down."""
    found = []
    for collection in ax.collections:
        if isinstance(collection, PolyCollection) and str(collection.get_label()).startswith(label):
            for path in collection.get_paths():
                (x0, y0), (x1, y1) = path.vertices.min(axis=0), path.vertices.max(axis=0)
                found.append((x0, x1, round((y0 + y1) / 2, 3)))
    return sorted(found)


def grounds(ax):
    """The middles of the idle grounds, from the top down."""
    pale = [patch for patch in ax.patches if to_hex(patch.get_facecolor()).upper() == IDLE]
    return sorted(round(patch.get_y() + patch.get_height() / 2, 3) for patch in pale)


def marks(ax, label):
    """Where the marks with a label are."""
    found = [c for c in ax.collections if isinstance(c, PathCollection) and c.get_label() == label]
    return sorted((float(x), float(y)) for c in found for x, y in c.get_offsets())


def test_the_rectangles_are_the_spans():
    ran = execute(
        cores(lambda: RoundRobin(10 * MS), task("A", 25 * MS), task("B", 30 * MS, at=3 * MS), count=2)
    )
    state, ax = ran.outcome.state, chart(ran)
    rows = grounds(ax)
    expected = sorted((s.start_ns / MS, s.end_ns / MS, rows[s.cpu]) for s in state.spans)
    assert boxes(ax, "task") == pytest.approx(expected)
    assert boxes(ax, "task A") == pytest.approx(
        sorted(
            (s.start_ns / MS, s.end_ns / MS, rows[s.cpu])
            for s in state.spans
            if state.tasks[s.pid].name == "A"
        )
    )


@settings(max_examples=25)
@given(st.lists(tasks, max_size=6), st.integers(1, 3), st.sampled_from(sorted(POLICIES)), overheads)
def test_any_small_machine_can_be_drawn_and_nothing_of_it_is_lost(work, count, policy, costs):
    ran = execute(cores(POLICIES[policy], *work, count=count, costs=costs))
    state = ran.outcome.state
    figure = gantt(state, ran.events)
    figure.draw_without_rendering()
    if not state.spans:
        assert "Nothing to show" in words(figure)
        return
    ax, unit = panel(figure, "gantt"), time_unit(state.now)
    rows = grounds(ax)
    expected = sorted((s.start_ns / unit.size, s.end_ns / unit.size, rows[s.cpu]) for s in state.spans)
    assert boxes(ax, "task") == pytest.approx(expected)
    worked = sum(end - start for start, end, _ in boxes(ax, "kernel")) * unit.size
    spent = sum(p.spent_ns[Mode.KERNEL] + p.spent_ns[Mode.SWITCH] for p in state.processors.values())
    assert worked == pytest.approx(spent)


@settings(max_examples=15)
@given(st.lists(requests, max_size=8), st.integers(1, 20), st.sampled_from(sorted(POLICIES)))
def test_any_small_engine_can_be_drawn(work, slots, policy):
    ran = execute(engine(POLICIES[policy], *work, slots=slots))
    figure = gantt(ran.outcome.state, ran.events)
    figure.draw_without_rendering()
    spans = ran.outcome.state.spans
    if spans and slots <= 16:
        unit = time_unit(ran.outcome.state.now)
        drawn = [(start, end) for start, end, _ in boxes(panel(figure, "gantt"), "task")]
        assert drawn == pytest.approx(sorted((s.start_ns / unit.size, s.end_ns / unit.size) for s in spans))


@settings(max_examples=10)
@given(st.integers(0, 200), st.lists(tasks, min_size=1, max_size=4))
def test_a_run_can_be_drawn_at_any_time(until, work):
    ran = execute(cores(POLICIES["mlfq"], *work))
    state = State(keep_spans=True)
    state([event for event in ran.events if event.t <= until])
    gantt(state, ran.events).draw_without_rendering()


def test_requests_in_one_row_do_not_overlap_and_rows_are_slots():
    work = [RequestSpec(name=f"r{i}", prompt=20, output=5 * i + 1, arrival_ns=300 * i) for i in range(8)]
    ran = execute(engine(FCFS, *work, slots=3))
    ax = chart(ran)
    assert len(grounds(ax)) == 3
    for row in grounds(ax):
        there = sorted((start, end) for start, end, y in boxes(ax, "task") if y == row)
        assert all(a[1] <= b[0] for a, b in pairwise(there))
    assert "slot 0" in words(ax.figure)


def test_an_engine_of_many_slots_is_an_area_of_how_many_it_serves():
    work = [RequestSpec(name=f"r{i}", prompt=20, output=10, arrival_ns=100 * i) for i in range(30)]
    ran = execute(engine(FCFS, *work, slots=20))
    state, ax = ran.outcome.state, chart(ran)
    areas = {c.get_label(): c for c in ax.collections if c.get_label() in {"before", "after"}}
    assert set(areas) == {"before", "after"}
    ground = next(patch for patch in ax.patches if to_hex(patch.get_facecolor()).upper() == IDLE)
    per_request = ground.get_height() / 20
    surface = (
        sum(area(c.get_paths()[0].vertices) for c in areas.values()) * time_unit(state.now).size / per_request
    )
    assert surface == pytest.approx(sum(s.end_ns - s.start_ns for s in state.spans))


def area(vertices):
    x, y = vertices[:, 0], vertices[:, 1]
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_idle_time_is_visible():
    ran = execute(cores(FCFS, task("A", 10, at=50)))
    ax = chart(ran)
    [ground] = [patch for patch in ax.patches if to_hex(patch.get_facecolor()).upper() == IDLE]
    assert (ground.get_x(), ground.get_width()) == (0, 60)
    assert "idle" in words(ax.figure)
    assert "16.7 % busy" in words(ax.figure)


def test_preemptions_are_marked_where_they_happened():
    ran = execute(cores(SRTF, task("long", 20 * MS), task("short", 2 * MS, at=7 * MS)))
    ax = chart(ran)
    assert [event.t for event in ran.of(Preempt)] == [7 * MS]
    assert [x for x, _ in marks(ax, "preempted")] == [7]
    assert "preempted" in words(ax.figure)


def test_without_events_the_caption_says_what_is_not_marked():
    ran = execute(cores(SRTF, task("long", 20), task("short", 2, at=7), costs=Costs(context_switch_ns=1)))
    text = words(chart(ran, events=False).figure)
    assert "1 preemption (not marked)" in text
    assert "pale also where the kernel works (3 ns in all)" in text
    assert "pale" not in words(chart(ran).figure)


def test_kernel_work_is_told_from_idle_time():
    ran = execute(cores(FCFS, task("A", 10), task("B", 10), costs=Costs(context_switch_ns=3)))
    ax = chart(ran)
    assert [(start, end) for start, end, _ in boxes(ax, "kernel")] == [(0, 3), (13, 16)]
    [drawn] = [c for c in ax.collections if c.get_label() == "kernel"]
    assert to_hex(drawn.get_facecolor()[0]).upper() == KERNEL


def test_missed_deadlines_are_marked_at_the_deadline():
    def job():
        while True:
            yield Compute(6)
            yield EndJob()

    late = task("late", 10, at=1, deadline_ns=4)
    periodic = dataclasses.replace(task("periodic"), program=job, period_ns=5, jobs=2)
    ax = chart(execute(cores(EDF, late, periodic)))
    times = [x for x, _ in marks(ax, "missed")]
    assert times == [5.0, 10.0]  # 1 + 4 and the first job's end of period; then the second job's.
    assert "missed" in words(ax.figure)


def test_arrivals_are_marked_with_names():
    ax = chart(execute(cores(FCFS, task("A", 50), task("B", 50, at=40), task("C", 50, at=40))))
    assert [x for x, _ in marks(ax, "arrivals")] == [0, 40]
    assert "B, C" in words(ax.figure)


def test_a_task_is_named_in_its_spans_or_in_the_key():
    ran = execute(cores(lambda: RoundRobin(10), task("wide", 1000), task("narrow-one", 10, at=500)))
    figure = gantt(ran.outcome.state, ran.events)
    inside = [text.get_text() for text in panel(figure, "gantt").texts]
    key = [text.get_text() for text in panel(figure, "paper").texts]
    assert "wide" in inside
    assert "wide" not in key
    assert "narrow-one" in key


def test_a_name_stays_inside_its_span():
    ran = execute(cores(lambda: RoundRobin(30), *(task(f"task-{i}", 40 + 30 * i) for i in range(6))))
    figure = gantt(ran.outcome.state)
    figure.draw_without_rendering()
    ax = panel(figure, "gantt")
    rooms = {(round(x0, 6), round(x1, 6)) for x0, x1, _ in boxes(ax, "task")}
    for text in ax.texts:
        if text.get_text().startswith("task-") and "," not in text.get_text() and text.get_ha() == "center":
            box = text.get_window_extent().transformed(ax.transData.inverted())
            assert any(x0 <= box.x0 and box.x1 <= x1 for x0, x1 in rooms), text.get_text()


def test_one_task_far_longer_than_the_many_has_a_colour_to_itself():
    short = [task(f"s{i}", 10 + i % 3, at=20 * i) for i in range(40)]
    ran = execute(cores(SRTF, task("thesis", 400), *short))
    ax = chart(ran)
    fills = [c for c in ax.collections if str(c.get_label()).startswith("task ")]
    thesis = {to_hex(c.get_facecolor()[0]) for c in fills if c.get_label() == "task thesis"}
    others = {to_hex(c.get_facecolor()[0]) for c in fills if c.get_label() != "task thesis"}
    assert thesis.isdisjoint(others)
    assert len(others) == 7
    assert "thesis" in words(ax.figure)


def test_very_many_spans_are_folded_into_columns_that_keep_the_time():
    long = [task(name, 3000, at=at) for name, at in (("A", 0), ("B", 1000), ("C", 6000))]
    ran = execute(cores(lambda: RoundRobin(2), *long))
    state, figure = ran.outcome.state, gantt(ran.outcome.state, ran.events)
    assert len(state.spans) > 1000
    [image] = panel(figure, "gantt").images
    pixels = np.asarray(image.get_array()).reshape(-1, 3)
    for pid in state.tasks:
        colour = tuple(int(look(pid - 1).colour[i : i + 2], 16) for i in (1, 3, 5))
        share = (pixels == colour).all(axis=1).mean()
        assert share == pytest.approx(state.tasks[pid].cpu_ns / state.now, abs=0.02)
    assert "a folded column is" in words(figure)
    assert {"A", "B", "C"} <= {text.get_text() for text in panel(figure, "paper").texts}


def test_a_hundred_thousand_spans_make_a_small_file(tmp_path):
    ran = execute(cores(lambda: RoundRobin(1), task("A", 50_000), task("B", 50_000)))
    assert len(ran.outcome.state.spans) == 100_000
    save(gantt(ran.outcome.state), tmp_path / "many.svg")
    assert (tmp_path / "many.svg").stat().st_size < 300_000
    ET.parse(tmp_path / "many.svg")  # noqa: S314  # our own file


@pytest.mark.parametrize(
    ("end_ns", "unit"), [(800, "ns"), (80_000, "µs"), (80_000_000, "ms"), (8_000_000_000, "s"), (10**15, "s")]
)
def test_the_time_axis_has_a_fitting_unit(end_ns, unit):
    ax = chart(execute(cores(FCFS, task("A", end_ns))))
    assert ax.get_xlabel() == f"time ({unit})"
    assert ax.get_xlim()[1] * time_unit(end_ns).size == pytest.approx(end_ns)


def test_it_says_question_scenario_seed_convention_profile_and_policy():
    spec = cores(
        FCFS, task("A", 5), question="Who waits?", scenario="queue", seed=9, profile="made up, error 3 %"
    )
    text = words(gantt(execute(spec).outcome.state))
    for expected in (
        "Who waits?",
        "Scenario queue",
        "seed 9",
        "convention ostep",
        "made up, error 3 %",
        "1 core, test",
    ):
        assert expected in text


def test_a_run_that_ended_early_says_so():
    def stuck():
        yield Compute(5)
        yield Io("disk", 10**12)

    spec = dataclasses.replace(cores(FCFS, dataclasses.replace(task("A"), program=stuck)), max_events=3)
    assert "ended early: event limit" in words(gantt(execute(spec).outcome.state))


def test_nothing_to_show_is_said():
    ran = execute(cores(FCFS, task("A", 5)))
    assert "has not kept its spans" in words(gantt(fold(ran.events)))
    assert "no task has arrived" in words(gantt(State(keep_spans=True)))
    assert "no task has run" in words(gantt(execute(cores(FCFS, task("A"))).outcome.state))


BUSY = [task(f"a-rather-long-task-name-{i}", 3 + i, Io("disk", 4), 20, at=2 * i) for i in range(7)]
MACHINES = {
    "one core": cores(lambda: RoundRobin(4), *BUSY),
    "64 cores, 300 tasks": cores(FCFS, *(task(f"t{i}", 50 + i % 90, at=i) for i in range(300)), count=64),
    "overheads": cores(SRTF, *BUSY, costs=Costs(*[1] * 6)),
    "deadlines": cores(EDF, *(dataclasses.replace(each, deadline_ns=15) for each in BUSY)),
    "slots": engine(
        FCFS, *(RequestSpec(name=f"r{i}", prompt=9, output=9 * i + 1) for i in range(12)), slots=8
    ),
    "area": engine(
        FCFS, *(RequestSpec(name=f"r{i}", prompt=9, output=9 * i + 1) for i in range(12)), slots=80
    ),
    "strange names": cores(
        FCFS, *(task(name, 20) for name in ("$x^2$", "a\nb\tc", "\x00", "\U0001f9ff" * 9, "w" * 500))
    ),
}


@pytest.mark.parametrize("name", MACHINES)
def test_no_text_covers_another(name):
    ran = execute(dataclasses.replace(MACHINES[name], question="Why? " * 30, profile="a profile " * 40))
    assert overlaps(gantt(ran.outcome.state, ran.events)) == []


@pytest.mark.parametrize("name", ["overheads", "slots", "area", "strange names"])
def test_all_formats_can_be_written(name, tmp_path):
    ran = execute(MACHINES[name])
    figure = gantt(ran.outcome.state, ran.events)
    for suffix in ("svg", "pdf"):
        save(figure, tmp_path / f"a.{suffix}")
    ET.parse(tmp_path / "a.svg")  # noqa: S314  # our own file
