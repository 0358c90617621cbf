"""A policy that draws gets its random stream from the run, and nobody can give or see it."""

import pytest

from llmos.engine.streams import stream
from llmos.errors import ScenarioError
from llmos.scenario.build import build
from llmos.scenario.load import load
from llmos.scenario.policies import describe, policy_spec
from llmos.sched.base import Task, Why


def winners(policy, n=40):
    """Who wins n draws among three."""
    tasks = [Task(pid=pid, name="", tickets=10) for pid in range(3)]
    for task in tasks:
        policy.enqueue(task, Why.ARRIVAL, 0)
    out = []
    for _ in range(n):
        task = policy.pick(0)
        out.append(task.pid)
        policy.enqueue(task, Why.EXPIRED, 0)
    return out


def test_the_stream_is_the_runs_and_fresh_each_time():
    spec = policy_spec("lottery", "cpu", seed=5)
    dice = stream(5, "scheduler")
    expected = [int(dice.random() * 30) // 10 for _ in range(40)]
    assert winners(spec.make()) == expected
    assert winners(spec.make()) == expected
    assert winners(policy_spec("lottery", "cpu", seed=6).make()) != expected


def test_the_stream_is_no_parameter():
    assert [p.name for p in describe("lottery").parameters] == ["draws", "quantum", "compensation"]
    with pytest.raises(ScenarioError) as caught:
        policy_spec({"policy": "lottery", "rng": 3}, "cpu")
    assert [p.key for p in caught.value.problems] == ["rng"]
    assert policy_spec("lottery", "cpu").name == "lottery"


def test_recorded_draws_come_first():
    # OSTEP draws from 0 to 1,000,000 inclusive.
    spec = policy_spec("lottery draws=[1000000, 0, 29]", "cpu")
    assert winners(spec.make(), 3) == [1, 0, 2]  # 1,000,000 % 30 = 10
    with pytest.raises(ScenarioError) as caught:
        policy_spec("lottery draws=[1000001]", "cpu")
    assert "at most 1,000,000" in caught.value.problems[0].message


def test_a_name_of_its_own_and_a_default_that_is_not_there():
    assert policy_spec("sjf-predicted alpha=0.3 first_guess=5 ms", "cpu").name.startswith("sjf-predicted")
    with pytest.raises(ScenarioError, match="weight from 0 to 1"):
        policy_spec("sjf-predicted alpha=1.5", "cpu")
    assert {p.name: p.default for p in describe("multilevel").parameters} == {
        "queues": "system, interactive, batch",
        "quantum": "10 ms, 32 tokens in an engine",
        "fcfs": "none",
    }


def test_the_seed_of_a_scenario_reaches_its_scheduler(tmp_path):
    text = 'question = "Who wins?"\nseed = 5\n[cpu]\nscheduler = "lottery"\n'
    (tmp_path / "lots.toml").write_text(text + '[[task]]\nname = "a"\nburst = "1 ms"\n')
    scenario = load(tmp_path / "lots.toml")
    own, other = build(scenario), build(scenario, seed=6)
    assert winners(own.cpu.policy.make()) == winners(policy_spec("lottery", "cpu", seed=5).make())
    assert winners(other.cpu.policy.make()) == winners(policy_spec("lottery", "cpu", seed=6).make())
