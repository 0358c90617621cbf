"""Schedulers side by side: same work, one value per seed, honest failures."""

import pytest

from llmos.errors import LlmosError, ScenarioError
from llmos.scenario.build import build
from llmos.scenario.check import metric_names
from llmos.scenario.compare import compare
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
    worlds = ["cpu", "engine"] if name == "two-worlds" else ["cpu"]
    assert metrics(run(build(load(shipped()[name]))).state).keys() <= set(metric_names(worlds))
