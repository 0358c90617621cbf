"""What the pages say in words about the numbers that they show."""

from pathlib import Path

import pytest
from comparisons import compared

from llmos.scenario.compare import compare, estimate
from llmos.scenario.load import find, load_text

ROOT = Path(__file__).parents[2]


def means(result, metric):
    """Scheduler -> mean over the seeds."""
    return {column.scheduler: estimate(column.values[metric]).mean for column in result.columns}


@pytest.fixture
def two_worlds():
    return compared("two-worlds")


@pytest.mark.parametrize("world", ["cpu", "llm"])
def test_readme_fcfs_is_worst_and_srtf_best_in_turnaround(two_worlds, world):
    turnaround = means(two_worlds, f"{world}.turnaround_mean_ns")
    assert max(turnaround, key=turnaround.get) == "fcfs"
    assert min(turnaround, key=turnaround.get) == "srtf"


@pytest.mark.parametrize("metric", ["cpu.response_mean_ns", "llm.ttft_mean_ns"])
def test_readme_mlfq_answers_first(two_worlds, metric):
    answers = means(two_worlds, metric)
    assert min(answers, key=answers.get) == "mlfq"


def test_tutorial_sjf_does_not_help_and_srtf_does():
    turnaround = means(compared("convoy"), "cpu.turnaround_mean_ns")
    assert turnaround["sjf"] == turnaround["fcfs"]
    assert turnaround["srtf"] < turnaround["fcfs"] / 2


def test_tutorial_round_robin_is_worst_for_equals():
    text = find("convoy").read_text(encoding="utf-8").replace("\nburst = 5\n", "\nburst = 100\n")
    turnaround = means(compare(load_text(text)), "cpu.turnaround_mean_ns")
    assert max(turnaround, key=turnaround.get) == "rr quantum=5"


def test_concepts_turns_in_a_wide_batch_make_everybody_late():
    text = """
    question = "Does it pay to take turns in a wide batch?"
    [engine]
    slots = 16
    token_budget = 64
    cost = { base = "10 ms", per_token = "10 us" }
    [[request]]
    prompt = 10
    output = 100
    count = 32
    """
    rule = ["fcfs", "rr quantum=16 tokens"]
    turnaround = means(compare(load_text(text), rule), "llm.turnaround_mean_ns")
    assert turnaround["rr quantum=16 tokens"] > turnaround["fcfs"]
