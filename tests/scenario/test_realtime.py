"""Partitions and feasibility tests, from a scenario file."""

import json

import pytest
from commandline import llmos, ok, refused

from llmos.errors import LlmosError, ScenarioError
from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.scenario.machine import run
from llmos.scenario.realtime import verdicts

DHALL = """
question = "Do two cores do for two light tasks and a heavy one?"
tick = "1 ms"
until = 110
[cpu]
count = 2
scheduler = "{policy}"
{more}
[[task]]
name = "light"
count = 2
period = 10
burst = 2
[[task]]
name = "heavy"
period = 11
burst = 10
"""


def spec(policy="edf", more=""):
    return build(load_text(DHALL.format(policy=policy, more=more)))


def misses(machine):
    return sum(task.deadline_misses for task in run(machine).state.tasks.values())


def test_a_partition_cures_dhalls_effect():
    """Dhall and Liu 1978: one queue misses at U = 1.31 of 2; a core for the heavy task does not."""
    assert misses(spec()) > 0
    dealt = spec(more='queues = "per-core"\npartition = {}')
    assert misses(dealt) == 0
    heavy = next(task for task in dealt.tasks if task.name == "heavy")
    lights = {task.affinity for task in dealt.tasks if task.name != "heavy"}
    assert heavy.affinity not in lights


def test_the_tests_are_made_core_by_core_where_tasks_are_bound():
    tested = verdicts(spec(more='queues = "per-core"\npartition = {}'))
    assert [what for what, _ in tested] == ["core 0", "core 1"]
    assert all(verdict.ok for _, answers in tested for verdict in answers)
    ((what, (verdict,)),) = verdicts(spec())
    assert what == "2 cores, one queue"
    assert verdict.ok is not True


def test_what_fits_nowhere_is_named():
    with pytest.raises(ScenarioError, match="light-1 does not fit core 0"):
        build(
            load_text(
                DHALL.format(policy="edf", more='queues = "per-core"\npartition = {}').replace(
                    "count = 2\nscheduler", "count = 1\nscheduler"
                )
            )
        )


def test_a_task_that_declares_no_time_cannot_be_tested():
    text = DHALL.format(policy="rm", more="").replace("burst = 10", "program = [{ compute = 10 }]")
    with pytest.raises(LlmosError, match="heavy does not say how long"):
        verdicts(build(load_text(text)))
    verdicts(build(load_text(text.replace("program =", "wcet = 10\nprogram ="))))


def test_the_command_shows_the_arithmetic(tmp_path):
    (tmp_path / "dhall.toml").write_text(DHALL.format(policy="rm", more="").replace("count = 2\nsch", "sch"))
    assert "U = 1/5 + 1/5 + 10/11" in ok(llmos(tmp_path, "feasible", "dhall.toml"))
    tested = json.loads(ok(llmos(tmp_path, "feasible", "dhall.toml", "--json")))["tested"]
    assert [test["ok"] for test in tested[0]["tests"]] == [False, False, False]
    refused(llmos(tmp_path, "feasible", "convoy"), "no periodic tasks")
