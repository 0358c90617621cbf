"""Comparison bars: what is drawn is what was measured, and everything that is needed to read it is said."""

import math
import statistics

import pytest
from plot.figures import METRICS, NAMES, compared, overlaps, panel, texts, words

from llmos.errors import LlmosError
from llmos.plot import comparison
from llmos.plot.bars import best
from llmos.scenario.compare import Column, Comparison, Estimate

MS = 1e6


def one_panel(values, metric="cpu.turnaround_mean_ns", **more):
    """The panel of one metric; `values` is scheduler -> one value per seed."""
    columns = [Column(name, {metric: list(numbers)}) for name, numbers in values.items()]
    return panel(comparison(Comparison("s", "q", "p", [0], columns), [metric], **more), metric)


def widths(ax):
    return {bar.get_label(): bar.get_width() for bar in ax.patches if bar.get_label() in {*NAMES, "mine"}}


def whiskers(ax):
    """Half the length of each whisker, from the top down."""
    return [(line.get_segments()[0][1, 0] - line.get_segments()[0][0, 0]) / 2 for line in ax.collections]


def test_a_bar_is_the_mean_over_the_seeds():
    ax = one_panel({"fcfs": [2 * MS, 4 * MS, 9 * MS], "rr": [1 * MS, 1 * MS, 1 * MS]})
    assert widths(ax) == pytest.approx({"fcfs": 5, "rr": 1})


def test_bars_begin_at_zero():
    ax = one_panel({"fcfs": [1000 * MS], "rr": [1001 * MS]})
    assert ax.get_xlim()[0] == 0
    assert all(bar.get_x() == 0 for bar in ax.patches)


def test_a_whisker_is_the_95_percent_interval():
    values = [3 * MS, 5 * MS, 7 * MS]
    ax = one_panel({"fcfs": values})
    # Student's t for two degrees of freedom is 4.303.
    assert whiskers(ax) == pytest.approx([4.303 * statistics.stdev(values) / MS / math.sqrt(3)])


def test_one_seed_has_no_whisker_and_the_caption_claims_none():
    result = compared(seeds=[3])
    figure = comparison(result)
    assert all(not ax.collections for ax in figure.axes)
    assert "confidence" not in words(figure)
    assert "confidence" in words(comparison(compared()))


def test_each_world_is_a_row_of_panels_in_the_order_asked_for():
    figure = comparison(compared(), METRICS)
    assert [ax.get_label() for ax in figure.axes if ax.get_label() != "paper"] == list(METRICS)
    tops = {name: round(panel(figure, name).get_position().y1, 3) for name in METRICS}
    assert tops[METRICS[0]] == tops[METRICS[1]] > tops[METRICS[2]] == tops[METRICS[3]]
    assert "CPU tasks" in words(figure)
    assert "LLM requests" in words(figure)


def test_without_a_wish_it_shows_what_there_is_of_the_usual_metrics():
    figure = comparison(compared(metrics=["llm.ttft_mean_ns", "cpu.waiting_max_ns"]))
    assert [ax.get_label() for ax in figure.axes[1:]] == ["llm.ttft_mean_ns"]


def test_a_scheduler_looks_the_same_in_every_panel():
    figure = comparison(compared(), METRICS)
    looks = [
        [(bar.get_facecolor(), bar.get_hatch()) for bar in panel(figure, name).patches[:4]]
        for name in METRICS
    ]
    assert all(each == looks[0] for each in looks)
    assert len(set(looks[0])) == 4


def test_it_says_question_scenario_seeds_profile_units_and_direction():
    text = words(
        comparison(compared(metrics=[*METRICS, "cpu.throughput_per_s"]), [*METRICS, "cpu.throughput_per_s"])
    )
    for expected in ("Who is first?", "Scenario test", "seeds 0–4", "reference-cpu, measured; error 2 %",
                     "mean in ms, lower is better", "per s, higher is better", *NAMES):  # fmt: skip
        assert expected in text


def test_every_bar_has_its_value_beside_it():
    ax = one_panel({"fcfs": [12.34 * MS], "rr": [1.5 * MS], "mlfq": [0.0]})
    assert [text.get_text() for text in ax.texts] == ["12.3", "1.50", "0"]


def test_the_unit_fits_the_largest():
    assert widths(one_panel({"fcfs": [2.5e9], "rr": [1e6]})) == pytest.approx({"fcfs": 2.5, "rr": 0.001})
    assert widths(one_panel({"fcfs": [900.0]})) == pytest.approx({"fcfs": 900})


def test_a_share_is_in_percent():
    ax = one_panel({"fcfs": [0.25]}, "cpu.utilisation")
    assert widths(ax) == pytest.approx({"fcfs": 25})


def exact(mean):
    return Estimate(mean, None, 1)


def about(mean, half):
    return Estimate(mean, half, 5)


@pytest.mark.parametrize(
    ("answers", "better", "expected"),
    [
        ([exact(3), exact(1), exact(2)], "lower", {1}),
        ([exact(3), exact(1), exact(2)], "higher", {0}),
        ([exact(3), exact(1), exact(2)], "", set()),
        ([exact(1), exact(1)], "lower", set()),  # Nobody is better than the other.
        ([exact(5)], "lower", set()),
        ([exact(5), None], "lower", set()),
        ([None, exact(5), exact(4)], "lower", {2}),
        ([exact(2), exact(1), exact(1)], "lower", {1, 2}),
        ([about(10, 1), about(12, 9)], "lower", {0}),
        ([about(10, 1), about(12, 9)], "higher", {1}),
    ],
)
def test_the_best_is_the_best_mean_in_the_direction_that_is_better(answers, better, expected):
    assert best(answers, better) == expected


def test_the_best_is_bold():
    ax = one_panel({"fcfs": [3 * MS], "rr": [1 * MS], "mlfq": [2 * MS]})
    assert [text.get_weight() for text in ax.texts] == ["normal", "bold", "normal"]


def test_a_missing_or_infinite_number_is_no_bar():
    columns = [
        Column("fcfs", {"cpu.slowdown_p95": [math.inf]}),
        Column("rr", {}),
        Column("mlfq", {"cpu.slowdown_p95": [math.nan, 4.0]}),
    ]
    figure = comparison(Comparison("s", "q", "p", [0, 1], columns), ["cpu.slowdown_p95"])
    ax = panel(figure, "cpu.slowdown_p95")
    assert [text.get_text() for text in ax.texts] == ["no result", "no result", "4"]
    assert widths(ax) == {"fcfs": 0, "rr": 0, "mlfq": 4}


def test_nothing_to_compare_is_said():
    assert "Nothing to show" in words(comparison(Comparison("s", "Why?", "p", [], [])))
    assert "Nothing to show" in words(comparison(Comparison("s", "Why?", "p", [1], [Column("rr")])))
    assert "Why?" in words(comparison(Comparison("s", "Why?", "p", [], [])))


def test_a_metric_that_a_run_could_have_but_had_not_is_a_panel_without_results():
    figure = comparison(compared(), ["cpu.deadline_misses"])
    assert words(figure).count("no result") == 4


def test_an_unknown_metric_is_an_error_with_a_cure():
    with pytest.raises(LlmosError, match=r"cpu\.response_mean_ns"):
        comparison(compared(), ["cpu.respnse_mean_ns"])


@pytest.mark.parametrize(
    "result",
    [
        compared(),
        compared(names=["fcfs"]),
        compared(names=[f"/home/somebody/course/schedulers/version_{i}.py:MyScheduler" for i in range(12)]),
        compared(question="Why " + "very " * 100 + "long?", profile="a profile " * 60),
        compared(metrics=[f"cpu.{q}_p95_ns" for q in ("response", "turnaround", "waiting", "tpot", "ttft")]),
    ],
    ids=["four", "one", "long names", "long question", "many metrics"],
)
def test_no_text_covers_another(result):
    assert overlaps(comparison(result, list(result.columns[0].values))) == []


def test_what_is_written_is_written_as_it_is():
    result = compared(names=["a$b$", "c_d^2", "tab\there", "snow \u2603, \U0001f9ff"], question="Is $x < y$?")
    figure = comparison(result)
    text = words(figure)
    assert not any(each.get_parse_math() for each in texts(figure))
    for expected in ("a$b$", "c_d^2", "tab here", "Is $x < y$?"):
        assert expected in text


def test_what_the_scenario_asks_for_is_drawn_unless_somebody_asks_for_more():
    """Dhall's tasks miss deadlines; their response times are all but the same."""
    values = {"cpu.response_mean_ns": [1 * MS], "cpu.deadline_misses": [4.0]}
    asked = Comparison("s", "q", "p", [0], [Column("edf", values)], asked=["cpu.deadline_misses"])
    assert [ax.get_label() for ax in comparison(asked).axes if ax.get_label() in values] == [
        "cpu.deadline_misses"
    ]
    other = comparison(asked, ["cpu.response_mean_ns"])
    assert [ax.get_label() for ax in other.axes if ax.get_label() in values] == ["cpu.response_mean_ns"]
