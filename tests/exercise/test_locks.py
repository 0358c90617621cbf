"""Locks: a deadlock and a priority inversion worked out by hand, and what holds for every run."""

from itertools import pairwise

import pytest

from llmos.errors import LlmosError
from llmos.exercise import kinds
from llmos.exercise.base import topics
from llmos.exercise.locks import Problem, exercise
from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.scenario.machine import run

PRIORITY = {"policy": "priority", "preemptive": True}


def pose(seed, **options):
    return topics()["locks"]().pose(seed, options)


def solved(*tasks, protocols=("none", "inherit"), choice=PRIORITY):
    tables = [
        {"name": name, "arrival": arrival, "priority": priority, "program": program}
        for name, arrival, priority, program in tasks
    ]
    policy = kinds.find(choice["policy"])
    problem = Problem(seed=0, tasks=tables, policy=policy, choice=choice, protocols=protocols)
    return exercise(problem).solve().data["protocols"]


def program(*steps):
    """A number is work, "x" takes the mutex x, "-x" gives it back."""
    return [
        {"compute": s} if isinstance(s, int) else {"unlock": s[1:]} if s[0] == "-" else {"lock": s}
        for s in steps
    ]


def finishes(answer):
    return {task["name"]: task["finish"] for task in answer["tasks"]}


def test_two_locks_in_two_orders_are_a_deadlock():
    """A has x from 1; B comes at 2, has y from 3, wants x at 5; A works 5 to 6 and wants y."""
    a = ("A", 0, 2, program(1, "x", 2, "y", 1, "-y", "-x"))
    b = ("B", 2, 1, program(1, "y", 2, "x", 1, "-x", "-y"))
    for answer in solved(a, b):  # to inherit a priority is no cure
        assert answer["deadlocks"] == [{"time": 6, "cycle": ["A", "B"], "mutexes": ["y", "x"]}]
        assert finishes(answer) == {"A": None, "B": None}


def test_one_order_for_all_is_the_cure():
    """A has x from 1; B wants it at 3; A has y from 4, is done with both at 5 and B has x until 8."""
    a = ("A", 0, 2, program(1, "x", 2, "y", 1, "-y", "-x"))
    b = ("B", 2, 1, program(1, "x", 2, "y", 1, "-y", "-x"))
    [answer] = solved(a, b, protocols=["none"])
    assert answer["deadlocks"] == []
    assert finishes(answer)["B"] == 8
    waits = [(m["time"], m["holder"], m["waiters"]) for m in answer["mutexes"] if m["waiters"]]
    assert waits[0] == (3, "A", ["B"])


def test_without_inheritance_one_in_the_middle_keeps_the_most_urgent_waiting():
    """Low has x from 1 to 4 of its work; High (from 2) wants it at 3; Middle comes at 3 with 5.

    Without: Middle 3-8, Low 8-10, High 10-11. With: Low 3-5, High 5-6, Middle 6-11.
    """
    low = ("Low", 0, 3, program(1, "x", 3, "-x", 1))
    high = ("High", 2, 1, program(1, "x", 1, "-x"))
    middle = ("Middle", 3, 2, program(5))
    without, inherits = solved(low, high, middle)
    assert finishes(without) == {"Low": 12, "High": 11, "Middle": 8}
    assert finishes(inherits) == {"Low": 12, "High": 6, "Middle": 11}


@pytest.mark.parametrize("jobs", [2, 3])
@pytest.mark.parametrize("seed", range(12))
def test_a_mutex_has_one_holder_and_who_is_stuck_is_in_or_behind_a_circle(seed, jobs):
    posed = pose(seed, jobs=jobs)
    for answer in posed.solve().data["protocols"]:
        holder, waits = {}, {}
        for m in answer["mutexes"]:
            before = holder.get(m["mutex"])
            if before is not None and m["holder"] != before:
                assert m["task"] == before  # only its holder can give it away
                assert m["holder"] is None
            assert m["holder"] not in m["waiters"]
            holder[m["mutex"]] = m["holder"]
            waits[m["mutex"]] = m["waiters"]
        stuck = {task["name"] for task in answer["tasks"] if task["finish"] is None}
        assert stuck == {name for waiters in waits.values() for name in waiters}
        assert bool(stuck) == bool(answer["deadlocks"])
        for deadlock in answer["deadlocks"]:
            cycle = deadlock["cycle"]
            for name, mutex, other in zip(cycle, deadlock["mutexes"], [*cycle[1:], cycle[0]], strict=True):
                assert name in waits[mutex]
                assert holder[mutex] == other


def test_there_are_exercises_with_and_without_a_deadlock():
    ends = [bool(pose(seed, protocol="none").solve().data["protocols"][0]["deadlocks"]) for seed in range(20)]
    assert 0 < sum(ends) < 15


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("protocol", ["none", "inherit"])
def test_the_scenario_gives_the_same_answer(seed, protocol):
    posed = pose(seed, protocol=protocol)
    outcome = run(build(load_text(posed.toml)))
    [answer] = posed.solve().data["protocols"]
    ends = {
        t.name: None if t.finish_ns is None else t.finish_ns // 10**6 for t in outcome.state.tasks.values()
    }
    assert ends == finishes(answer)
    assert outcome.ok == (not answer["deadlocks"])


def test_a_policy_that_there_is_not_is_refused():
    with pytest.raises(LlmosError, match="there is no scheduler"):
        pose(1, policy="priorty")


def test_a_policy_about_deadlines_is_refused():
    with pytest.raises(LlmosError, match="edf looks at deadlines"):
        pose(1, policy="edf")


@pytest.mark.parametrize("seed", range(10))
def test_whoever_takes_or_gives_a_mutex_works_before_the_next_step(seed):
    """With two things at one instant it would be anybody's guess whether one is preempted in between."""
    for table in pose(seed).data["tasks"]:
        steps = ["compute" in step for step in table["program"]]
        assert steps[0]
        assert steps[-1]
        assert all(a or b for a, b in pairwise(steps))


@pytest.mark.parametrize("seed", range(10))
def test_who_is_done_with_the_work_is_done(seed):
    """A task that ended by giving back a mutex used to lose the processor and to end long after its work."""
    for answer in pose(seed, protocol="inherit").solve().data["protocols"]:
        last = {d["runs"]: d["time"] + d["for"] for d in answer["decisions"]}
        for name, finish in finishes(answer).items():
            assert finish in (None, last[name])
