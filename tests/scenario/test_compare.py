"""Schedulers side by side: same work, one value per seed, honest failures."""

import pytest

from llmos.errors import LlmosError, ScenarioError
from llmos.scenario.build import build
from llmos.scenario.check import metric_names
from llmos.scenario.compare import Column, Comparison, compare, estimate
from llmos.scenario.load import load, load_text, shipped
from llmos.scenario.machine import run
from llmos.trace.metrics import metrics

BOOK = """\
question = "Silberschatz's example?"
tick = "1 ms"
[[task]]
name = "P1"
burst = 24
[[task]]
count = 2
name = "P"
burst = 3
[compare]
schedulers = ["fcfs", "sjf", { policy = "rr", quantum = 4 }]
"""


def test_the_mean_waiting_times_of_the_book():
    # Silberschatz, Operating System Concepts: 17 for FCFS, 3 for the short ones first, 5.67 for RR, q = 4.
    result = compare(load_text(BOOK))
    waiting = [column.values["cpu.waiting_mean_ns"][0] / 1e6 for column in result.columns]
    assert waiting == pytest.approx([17, 3, 17 / 3])
    assert [column.scheduler for column in result.columns] == ["fcfs", "sjf", "rr quantum=4"]
    assert (result.seeds, result.question) == ([1], "Silberschatz's example?")


def test_each_seed_has_its_value_and_all_tasks_their_samples():
    told = []
    result = compare(load_text(BOOK), ["rr", "fcfs"], [3, 4], lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for column in result.columns:
        assert {len(values) for values in column.values.values()} == {2}
        assert len(column.samples["cpu.turnaround"]) == 6
        assert len(column.hashes) == 2


def test_a_scheduler_that_does_not_fit_is_told_before_the_first_run():
    told = []
    with pytest.raises(ScenarioError, match="rrr"):
        compare(load_text(BOOK), ["fcfs", "rrr"], [1], lambda done, total: told.append(done))
    assert not told


def test_a_run_that_does_not_end_well_is_no_column():
    with pytest.raises(LlmosError, match="event limit"):
        compare(load_text("max_events = 3\n" + BOOK), ["rr"])


def test_nothing_to_compare():
    with pytest.raises(LlmosError, match="nothing to compare"):
        compare(load_text(BOOK.partition("[compare]")[0]))


@pytest.mark.parametrize("name", ["two-worlds", "mlfq-gaming"])
def test_every_metric_of_a_run_is_a_name_that_a_scenario_may_ask_for(name):
    scenario = load(shipped()[name])
    assert metrics(run(build(scenario)).state).keys() <= set(metric_names(scenario))


# --- paired differences -------------------------------------------------------------------------------

# Student, "The probable error of a mean", Biometrika 6 (1908), table I: hours of sleep that two drugs
# added, on the same ten patients. R's t.test(extra ~ group, data = sleep, paired = TRUE) publishes the
# interval: mean difference 1.58, 95 % confidence interval 0.7001142 to 2.4598858 (t = 4.0621, 9 df).
# Welch's test of the same numbers, unpaired, finds nothing: -0.2054832 to 3.3654832.
HYOSCYAMINE = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
HYOSCINE = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def sleep(first=HYOSCYAMINE, second=HYOSCINE, seeds=10):
    columns = [Column("hyoscyamine", {"extra": first}), Column("hyoscine", {"extra": second})]
    return Comparison("sleep", "?", "", list(range(seeds)), columns)


def test_the_difference_of_student_s_sleepers():
    compared = sleep()
    difference = compared.difference(compared.columns[1], "extra")
    assert difference.mean == pytest.approx(1.58)
    assert difference.mean - difference.half_width == pytest.approx(0.7001142, abs=2e-4)
    assert difference.mean + difference.half_width == pytest.approx(2.4598858, abs=2e-4)
    assert (difference.n, difference.excludes_zero) == (10, True)
    assert not estimate(HYOSCYAMINE).excludes_zero  # 0.75 +- 1.28
    assert compared.difference(compared.columns[0], "extra") is None


def test_without_its_partner_a_number_has_no_difference():
    for first, second in ((HYOSCYAMINE[1:], HYOSCINE), (HYOSCYAMINE, []), (HYOSCYAMINE[1:], HYOSCINE[1:])):
        compared = sleep(first, second)
        assert compared.difference(compared.columns[1], "extra") is None
    assert sleep().difference(sleep().columns[1], "nothing") is None


def test_one_seed_has_a_difference_and_no_interval():
    compared = sleep([3.0], [5.0], seeds=1)
    difference = compared.difference(compared.columns[1], "extra")
    assert (difference.mean, difference.half_width, difference.excludes_zero) == (2.0, None, False)


@pytest.mark.parametrize(
    ("freedom", "t"),
    [(1, 12.706), (9, 2.262), (30, 2.042), (40, 2.021), (60, 2.000), (120, 1.980), (10**6, 1.960)],
)
def test_the_quantiles_of_every_table_of_student_s_t(freedom, t):
    n = freedom + 1
    values = [0.0, 1.0] * (n // 2) + [0.5] * (n % 2)
    deviation = (sum((v - 0.5) ** 2 for v in values) / freedom) ** 0.5
    assert estimate(values).half_width == pytest.approx(t * deviation / n**0.5, rel=5e-4)


def test_the_same_work_makes_pairs():
    text = """\
question = "?"
[[workload]]
kind = "task"
name = "w"
count = 30
arrival = { process = "poisson", rate = "20 /s" }
burst = { distribution = "exponential", mean = "10 ms" }
"""
    compared = compare(load_text(text), ["fcfs", "srtf"], range(8))
    name = "cpu.turnaround_mean_ns"
    fcfs, srtf = compared.columns
    difference = compared.difference(srtf, name)
    apart = [b - a for a, b in zip(fcfs.values[name], srtf.values[name], strict=True)]
    assert all(each <= 0 for each in apart)  # SRTF is optimal for the mean (Schrage 1968)
    assert difference.mean == pytest.approx(sum(apart) / 8)
    assert difference.half_width < estimate(fcfs.values[name]).half_width
    assert compared.convention == "textbook"
