"""Process states: what the OSTEP homework answers, and what must add up."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from llmos.errors import LlmosError
from llmos.exercise import kinds
from llmos.exercise.base import topics
from llmos.exercise.processes import Problem, exercise
from llmos.exercise.work import away, bursts

ORACLES = Path(__file__).parents[1] / "oracles"
CASES = json.loads((ORACLES / "ostep_process_states_io.json").read_text())["cases"]


def steps(instructions, io):
    """The homework's instructions: I/O takes a tick to issue and one to end, and `io` ticks in between."""
    out = []
    for instruction in instructions:
        if out and "compute" in out[-1]:
            out[-1] = {"compute": out[-1]["compute"] + 1}
        else:
            out.append({"compute": 1})
        if instruction == "io":
            out.append({"io": "disk", "time": io})
    return out


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_the_states_are_those_of_the_ostep_homework(case):
    argv, programs = case["argv"], case["input"]["programs"]
    io = int(argv[argv.index("-L") + 1]) if "-L" in argv else 5
    tasks = [
        {"name": f"P{pid}", "arrival": 0, "program": steps(instructions, io)}
        for pid, instructions in programs.items()
    ]
    choice = {"policy": "in-turn", "io_first": "IO_RUN_IMMEDIATE" in argv}
    keep_core = "SWITCH_ON_END" in argv
    policy = kinds.find("in-turn")
    problem = Problem(
        seed=0, policy=policy, choice=choice, tasks=tasks, convention="ostep", keep_core=keep_core
    )
    data = exercise(problem).solve().data
    words = {"RUN": "running", "READY": "ready", "BLOCKED": "blocked", "DONE": "done"}
    rows = [row.split("|")[1 : 1 + len(programs)] for row in case["expected"]["rows"]]
    expected = [[words[cell.split(":")[0]] for cell in row] for row in rows]
    assert [list(tick["states"].values()) for tick in data["ticks"]] == expected
    assert data["end"] == case["expected"]["total_time"]
    assert data["busy"] == {"cpu": case["expected"]["cpu_busy"], "io": case["expected"]["io_busy"]}


def test_the_oracle_has_every_rule():
    said = {word for case in CASES for word in case["argv"]}
    assert {"SWITCH_ON_END", "IO_RUN_IMMEDIATE"} <= said


@pytest.mark.parametrize("seed", range(10))
def test_the_options_are_what_the_answer_goes_by(seed):
    def pose(**options):
        return topics()["processes"]().pose(seed, options)

    for tick in pose(keep_core=True).solve().data["ticks"]:
        assert not (tick["cpu"] and tick["io"])  # the disk and the processor never work at once
    first = pose(io_first=True)
    assert first.data["policy"] == "in-turn io_first=true"
    ticks = first.solve().data["ticks"]
    for before, after in pairwise(ticks):
        woken = [n for n, s in before["states"].items() if s == "blocked" != after["states"][n]]
        if len(woken) == 1:
            assert after["cpu"] == woken[0]


@pytest.mark.parametrize("policy", ["fcfs", "rr", "srtf"])
@pytest.mark.parametrize("seed", range(15))
def test_every_tick_of_a_process_is_in_one_state(policy, seed):
    posed = topics()["processes"]().pose(seed, {"policy": policy})
    data = posed.solve().data
    for task in posed.data["processes"]:
        states = [tick["states"][task["name"]] for tick in data["ticks"]]
        [life] = [life for life in data["processes"] if life["name"] == task["name"]]
        assert states.count("running") == life["running"] == sum(bursts(task))
        assert states.count("blocked") == life["blocked"] == away(task)
        assert states.count("ready") == life["ready"]
        on_disk = sum(step.get("time", 0) for step in task["program"])
        assert sum(task["name"] in tick["io"] for tick in data["ticks"]) == on_disk
        assert states[: task["arrival"]] == ["-"] * task["arrival"]
        assert states[life["finish"] :] == ["done"] * (data["end"] - life["finish"])
    for tick in data["ticks"]:
        running = [name for name, state in tick["states"].items() if state == "running"]
        assert running == ([tick["cpu"]] if tick["cpu"] else [])
        assert all(tick["states"][name] == "blocked" for name in tick["io"])


def test_somebody_does_io_in_every_exercise():
    posed = [topics()["processes"]().pose(seed, {}) for seed in range(20)]
    assert all(any("io" in s for s in p.data["processes"][0]["program"]) for p in posed)


@pytest.mark.parametrize(
    ("policy", "fact"),
    [("priority", "priority"), ("lottery", "tickets"), ("multilevel", "group"), ("bsd", "nice")],
)
def test_processes_have_what_the_policy_looks_at(policy, fact):
    posed = topics()["processes"]().pose(1, {"policy": policy})
    assert len({process[fact] for process in posed.data["processes"]}) > 1
    assert fact in posed.statement[1].columns
    assert posed.solve().data["end"]


def test_a_policy_about_deadlines_is_refused():
    with pytest.raises(LlmosError, match="edf looks at deadlines"):
        topics()["processes"]().pose(1, {"policy": "edf"})


def test_of_several_that_wake_at_once_whoever_began_to_wait_first_goes_first():
    """At 4 B has come, and A and C wake up: C has slept since 1, A has waited for the disk since 3."""
    tasks = [
        {"name": "C", "arrival": 0, "program": [{"compute": 1}, {"sleep": 3}, {"compute": 1}]},
        {"name": "A", "arrival": 1, "program": [{"compute": 2}, {"io": "disk", "time": 1}, {"compute": 1}]},
        {"name": "B", "arrival": 4, "program": [{"compute": 1}]},
    ]
    problem = Problem(seed=0, policy=kinds.find("fcfs"), choice={"policy": "fcfs"}, tasks=tasks)
    posed = exercise(problem)
    assert [tick["cpu"] for tick in posed.solve().data["ticks"]] == ["C", "A", "A", "", "B", "C", "A"]
    assert "newcomers queue up first; then whose I/O or sleep began first" in posed.statement[-1].text
