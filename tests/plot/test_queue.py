"""Queue and use: the area under the queue is the time that was waited, that of a band the time worked."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import POLICIES, cores, engine, execute, overheads, requests, task, tasks
from matplotlib.collections import PolyCollection
from plot.figures import overlaps, words

from llmos.plot import queue, save
from llmos.plot.queue import MOST_CHANGES, THICK
from llmos.plot.words import time_unit
from llmos.process.dispatcher import Costs
from llmos.scenario.machine import RequestSpec
from llmos.sched.fcfs import FCFS
from llmos.sched.rr import RoundRobin
from llmos.trace.records import Mode
from llmos.trace.state import State

MS = 1_000_000


def drawn(spec):
    ran = execute(spec)
    return ran.outcome.state, queue(ran.outcome.state, ran.events)


def axes(figure, label):
    return next(ax for ax in figure.axes if ax.get_label().startswith(label))


def waited(ax):
    """The area under the curve."""
    [line] = ax.lines
    t, n = (np.asarray(values, float) for values in line.get_data())
    return float((np.diff(t) * n[:-1]).sum())


def worked(ax, label):
    """The area of the bands with a label, as time."""
    [row] = {round(ax.get_ylim()[0] / len(ax.texts[::2]), 6)}
    total = 0.0
    for band in ax.collections:
        if isinstance(band, PolyCollection) and band.get_label() == label:
            for path in band.get_paths():
                x, y = path.vertices.T
                total += abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())) / 2
    return total / (row * THICK)


def test_two_tasks_of_which_one_waits():
    _, figure = drawn(cores(FCFS, task("A", 10 * MS), task("B", 30 * MS)))
    [line] = axes(figure, "queue").lines
    assert np.column_stack(line.get_data()).tolist() == [[0, 1], [10, 0], [40, 0]]
    assert "0.250 on average, 1 at most" in words(figure)
    assert "100 % busy" in words(figure)


@settings(max_examples=10)
@given(
    st.lists(tasks, min_size=1, max_size=6), st.integers(1, 3), st.sampled_from(sorted(POLICIES)), overheads
)
def test_areas_are_times(work, count, policy, costs):
    state, figure = drawn(cores(POLICIES[policy], *work, count=count, costs=costs))
    if not state.now:
        assert "Nothing to show" in words(figure)
        return
    size = time_unit(state.now).size
    total = sum(t.waiting_ns for t in state.tasks.values())
    assert waited(axes(figure, "queue")) * size == pytest.approx(total)
    spent = [p.spent_ns for p in state.processors.values()]
    use = axes(figure, "use")
    assert worked(use, "tasks") * size == pytest.approx(sum(s[Mode.USER] for s in spent), abs=1e-6)
    kernel = sum(s[Mode.KERNEL] + s[Mode.SWITCH] for s in spent)
    assert worked(use, "kernel") * size == pytest.approx(kernel, abs=1e-6)


@settings(max_examples=6)
@given(st.lists(requests, min_size=1, max_size=8), st.integers(1, 20), st.sampled_from(sorted(POLICIES)))
def test_an_engines_band_is_the_slots_in_use(work, slots, policy):
    state, figure = drawn(engine(POLICIES[policy], *work, slots=slots))
    size = time_unit(state.now).size
    total = sum(t.cpu_ns for t in state.tasks.values())
    assert worked(axes(figure, "use"), "tasks") * size * slots == pytest.approx(total)
    assert waited(axes(figure, "queue")) * size == pytest.approx(
        sum(t.waiting_ns for t in state.tasks.values())
    )


def test_very_many_changes_are_folded_and_no_wait_is_lost():
    state, figure = drawn(cores(lambda: RoundRobin(1), *(task(f"t{i}", 2500 + i) for i in range(3))))
    ax = axes(figure, "queue")
    assert len(ax.lines[0].get_xdata()) < MOST_CHANGES < state.events
    size = time_unit(state.now).size
    assert waited(ax) * size == pytest.approx(sum(t.waiting_ns for t in state.tasks.values()))


def test_worlds_stand_one_below_the_other_over_the_same_time():
    spec = dataclasses.replace(
        cores(FCFS, task("A", 50_000)),
        engine=engine(FCFS).engine,
        requests=[RequestSpec(name="r", prompt=10, output=10)],
    )
    _, figure = drawn(spec)
    found = [ax for ax in figure.axes if ax.get_label() != "paper"]
    assert len(found) == 4
    assert len({ax.get_xlim() for ax in found}) == 1
    assert [ax.get_position().y0 for ax in found] == sorted(
        (ax.get_position().y0 for ax in found), reverse=True
    )


def test_nothing_to_show_is_said():
    assert "Nothing to show" in words(queue(State(keep_spans=True), []))


@pytest.mark.parametrize("count", [1, 7, 64])
def test_no_text_covers_another_and_all_formats_can_be_written(count, tmp_path):
    work = [task(f"t{i}", 20 + i, at=i) for i in range(90)]
    spec = cores(lambda: RoundRobin(4), *work, count=count, costs=Costs(*[1] * 6))
    _, figure = drawn(dataclasses.replace(spec, question="Why? " * 30, profile="a profile " * 40))
    assert overlaps(figure) == []
    for suffix in ("png", "svg", "pdf"):
        save(figure, tmp_path / f"a.{suffix}")
