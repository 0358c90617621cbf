"""Distributions: the curves are the empirical distributions, and each is named where it is."""

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import cores, execute, task
from plot.figures import NAMES, compared, overlaps, panel, words

from llmos.errors import LlmosError
from llmos.plot import cdf
from llmos.plot.curves import MOST_POINTS, steps
from llmos.scenario.compare import Column, Comparison
from llmos.sched.fcfs import FCFS
from llmos.sched.srtf import SRTF
from llmos.trace.state import State


def of(samples, quantity="cpu.turnaround"):
    """The panel for scheduler -> samples."""
    columns = [Column(name, {}, {quantity: list(values)}) for name, values in samples.items()]
    return panel(cdf(Comparison("s", "q", "p", [0], columns), quantity), quantity)


def at(line, x):
    """The height of a curve at x."""
    xs, ys = line.get_data()
    return float(np.asarray(ys)[np.searchsorted(xs, x, side="right") - 1])


def test_a_curve_is_the_share_of_samples_up_to_there():
    [line] = of({"fcfs": [4e6, 1e6, 2e6, 2e6]}).lines
    assert [at(line, ms) for ms in (0.5, 1, 1.9, 2, 3.9, 4)] == [0, 0.25, 0.25, 0.75, 0.75, 1]


@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=3000))
def test_thinned_steps_stay_on_the_distribution(values):
    ordered = np.sort(np.array(values, float))
    x, y = steps(ordered)
    assert len(x) <= MOST_POINTS
    assert (x[0], x[-1], y[-1]) == (ordered[0], ordered[-1], 1.0)
    ranks = np.searchsorted(ordered, x, side="right") / len(values)
    left = np.searchsorted(ordered, x, side="left") / len(values)
    assert ((left < y + 1e-12) & (y <= ranks + 1e-12)).all()


def test_the_axis_is_logarithmic_beyond_two_decades():
    assert of({"a": [1e6, 99e6]}).get_xscale() == "linear"
    assert of({"a": [1e6, 101e6]}).get_xscale() == "log"
    assert of({"a": [1e6, 2e6], "b": [300e6]}).get_xscale() == "log"


def test_zeros_are_counted_at_the_left_end_of_a_logarithmic_axis():
    figure = cdf(
        Comparison("s", "q", "p", [0], [Column("a", {}, {"cpu.response": [0, 0, 1e3, 1e6]})]), "cpu.response"
    )
    ax = panel(figure, "cpu.response")
    assert at(ax.lines[0], ax.get_xlim()[0]) == 0.5
    assert "zeros" in words(figure)


def test_without_a_world_each_world_has_a_panel():
    figure = cdf(compared(), "response")
    assert [ax.get_label() for ax in figure.axes if ax.get_label() != "paper"] == ["cpu.response", "llm.ttft"]
    assert "Time to first token of LLM requests" in words(figure)
    figure = cdf(compared(), "turnaround")
    assert "End-to-end time of LLM requests" in words(figure)


def test_each_curve_is_named_instead_of_a_legend():
    ax = panel(cdf(compared(), "cpu.response"), "cpu.response")
    assert sorted(text.get_text() for text in ax.texts) == sorted(NAMES)
    assert ax.get_legend() is None
    colours = {line.get_label(): line.get_color() for line in ax.lines}
    assert {text.get_text(): text.get_color() for text in ax.texts} == colours


def test_a_name_is_nearer_to_its_curve_than_to_any_other():
    ax = of(
        {
            name: [random.Random(1).uniform(1, 9) * 1e6 * (i + 1) for _ in range(40)]
            for i, name in enumerate(NAMES)
        }
    )
    ax.figure.draw_without_rendering()
    paths = {line.get_label(): dense(ax, line) for line in ax.lines}
    for text in ax.texts:
        box = text.get_window_extent()
        far = {name: gap(box, path) for name, path in paths.items()}
        assert min(far, key=far.get) == text.get_text(), far
        assert far[text.get_text()] > 0  # Beside it, not on it: here is room.


def test_a_name_does_not_cover_its_own_curve():
    ax = of({"flat": [0.0] * 50 + [50e6, 90e6]})
    ax.figure.draw_without_rendering()
    [text], [line] = ax.texts, ax.lines
    assert 0 < gap(text.get_window_extent(), dense(ax, line)) < 30


def dense(ax, line):
    xs, ys = (np.asarray(values, float) for values in line.get_data())
    fine = np.linspace(xs[0], xs[-1], 2000)
    heights = ys[np.searchsorted(xs, fine, side="right") - 1]
    level = ax.transData.transform(np.column_stack([fine, heights]))
    return np.concatenate([np.linspace(a, b, 5) for a, b in pairwise(level)])


def gap(box, path):
    dx = np.maximum(np.maximum(box.x0 - path[:, 0], path[:, 0] - box.x1), 0)
    dy = np.maximum(np.maximum(box.y0 - path[:, 1], path[:, 1] - box.y1), 0)
    return np.hypot(dx, dy).min()


def test_the_very_same_curve_is_drawn_once_under_both_names():
    ax = of({"fcfs": [1e6, 2e6], "rr": [5e6, 6e6], "sjf": [2e6, 1e6]})
    assert [line.get_label() for line in ax.lines] == ["fcfs = sjf", "rr"]


def test_curves_differ_in_dash_as_well_as_in_colour():
    ax = panel(cdf(compared(), "cpu.response"), "cpu.response")
    assert len({line.get_color() for line in ax.lines}) == 4
    assert len({str(line._unscaled_dash_pattern) for line in ax.lines}) == 4


def test_states_of_runs_will_do():
    def run(policy):
        about = {"scenario": "two", "question": "Who waits?", "seed": 3, "profile": "none"}
        spec = cores(policy, task("long", 50), task("short", 5, at=1), **about)
        return execute(spec).outcome.state

    figure = cdf({"fcfs": run(FCFS), "srtf": run(SRTF)}, "turnaround")
    text = words(figure)
    for expected in ("Who waits?", "Scenario two", "seed 3", "convention ostep", "Costs: none", "2 tasks"):
        assert expected in text
    lines = {line.get_label(): line for line in panel(figure, "cpu.turnaround").lines}
    assert (at(lines["fcfs"], 49), at(lines["fcfs"], 50)) == (0, 0.5)
    assert (at(lines["srtf"], 4), at(lines["srtf"], 5)) == (0, 0.5)


@pytest.mark.parametrize(
    "runs",
    [{}, {"rr": State()}, Comparison("s", "q", "p", [], []), Comparison("s", "q", "p", [1], [Column("a")])],
)
def test_nothing_measured_is_said(runs):
    assert "Nothing to show" in words(cdf(runs, "ttft"))


def test_an_unknown_quantity_is_an_error_with_a_cure():
    with pytest.raises(LlmosError, match="turnaround"):
        cdf(compared(), "turnarond")
    with pytest.raises(LlmosError, match="unknown quantity"):
        cdf(compared(), "gpu.ttft")


@pytest.mark.parametrize(
    "result",
    [
        compared(),
        compared(names=["fcfs"]),
        compared(names=[f"/home/somebody/course/schedulers/v{i}.py:Mine" for i in range(6)]),
    ],
    ids=["four", "one", "long names"],
)
@pytest.mark.parametrize("quantity", ["turnaround", "llm.ttft"])
def test_no_text_covers_another(result, quantity):
    assert overlaps(cdf(result, quantity)) == []


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.lists(
            st.one_of(st.just(0), st.integers(0, 10**18), st.floats(0, 1e18, allow_subnormal=False)),
            max_size=20,
        ),
        max_size=5,
    )
)
@settings(max_examples=15)
def test_any_samples_can_be_drawn(samples):
    columns = [Column(name, {}, {"cpu.turnaround": values}) for name, values in samples.items()]
    cdf(Comparison("s", "q", "p", [0], columns), "turnaround").draw_without_rendering()
