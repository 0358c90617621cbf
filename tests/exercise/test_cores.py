"""Cores and caches: what the OSTEP homework answers, and what must add up."""

import json
from pathlib import Path

import pytest

from llmos.errors import LlmosError
from llmos.exercise.base import topics
from llmos.exercise.cores import Caches, Problem, exercise
from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.scenario.machine import run

ORACLES = Path(__file__).parents[1] / "oracles"
CASES = json.loads((ORACLES / "ostep_multi_cpu_cache.json").read_text())["cases"]
DRAWN_BY_THE_TOOL = "multi-040"  # three queues: whose queue is looked into is drawn by the tool's own dice


def pose(seed, **options):
    return topics()["cores"]().pose(seed, options)


def task(job):
    work = {"burst": job["length"]} if job["length"] else {"program": [{"compute": 0}]}
    return {"name": job["name"], **work, "working_set": f"{job['working_set']} KiB"}


@pytest.mark.parametrize(
    "case", [case for case in CASES if case["id"] != DRAWN_BY_THE_TOOL], ids=lambda case: case["id"]
)
def test_the_answer_is_that_of_the_ostep_homework(case):
    given, expected = case["input"], case["expected"]
    problem = Problem(
        seed=0,
        tasks=[task(job) for job in given["jobs"]],
        cpus=given["cpus"],
        queues="per-core" if given["per_cpu_queues"] else "shared",
        peek=given["peek_interval"] if given["per_cpu_queues"] else 0,
        quantum=given["quantum"],
        cache=Caches(size=given["cache_size"], warmup=given["warmup_time"], rate=given["warm_rate"]),
    )
    data = exercise(problem).solve().data
    assert data["end"] == expected["finish_time"]
    assert {job["name"]: job["finish"] for job in data["jobs"]} == expected["per_job_finish"]
    for core, wanted in zip(data["cores"], expected["cpu"], strict=True):
        shares = [round(100 * core[what] / data["end"], 2) for what in ("busy", "warm")]
        assert shares == [wanted["util"], wanted["warm"]]
    for cpu, schedule in enumerate(expected["schedule_by_cpu"]):
        wanted = [name for start, end, name in schedule for _ in range(start, end)]
        wanted += [None] * (data["end"] - len(wanted))
        assert [row[cpu] and row[cpu][0] for row in data["ticks"]] == [name or None for name in wanted]
    for cpu, changes in enumerate(expected["warm_set_changes_by_cpu"]):
        told = [(c["time"], sorted(c["inside"])) for c in data["caches"] if c["cpu"] == cpu and fits(c)]
        assert told == [(t + 1, names) for t, names in changes if t]


def fits(change):
    """Whether the cache is another one afterwards: a job that is too large leaves it as it was, if empty."""
    return change["evicted"] != [change["came"]]


@pytest.mark.parametrize("options", [{}, {"queues": "per-core"}, {"cpus": 3, "jobs": 5, "affinity": True}])
@pytest.mark.parametrize("seed", range(8))
def test_the_work_adds_up(seed, options):
    posed = pose(seed, **options)
    data, rate, size = posed.solve().data, posed.data["cache"]["rate"], posed.data["cache"]["size"]
    given = {job["name"]: job for job in posed.data["jobs"]}
    sets = {name: int(job["working_set"].split()[0]) for name, job in given.items()}
    for job in data["jobs"]:
        cells = [
            (t, cpu, warm, left)
            for t, row in enumerate(data["ticks"])
            for cpu, cell in enumerate(row)
            if cell
            for name, warm, left in [cell]
            if name == job["name"]
        ]
        assert len({t for t, *_ in cells}) == len(cells)  # never on two cores at once
        assert cells[-1][0] + 1 == job["finish"]
        assert [left > 0 for *_, left in cells] == [True] * (len(cells) - 1) + [False]
        done = sum(rate if warm else 1 for _, _, warm, _ in cells)
        assert given[job["name"]]["burst"] <= done < given[job["name"]]["burst"] + rate
        assert {cpu for _, cpu, *_ in cells} <= set(given[job["name"]].get("affinity", range(4)))
    assert all(sum(sets[name] for name in change["inside"]) <= size for change in data["caches"])
    assert data["end"] == max(job["finish"] for job in data["jobs"])


@pytest.mark.parametrize("seed", range(5))
def test_the_scenario_gives_the_same_answer(seed):
    posed = pose(seed)
    outcome = run(build(load_text(posed.toml)))
    assert outcome.ok
    finish = {t.name: t.finish_ns // 10**6 for t in outcome.state.tasks.values()}
    assert finish == {job["name"]: job["finish"] for job in posed.solve().data["jobs"]}


def test_a_seed_keeps_its_jobs_whatever_the_machine_is():
    jobs = [pose(3, **more).data["jobs"] for more in ({}, {"cpus": 4}, {"cache": 40}, {"quantum": 2})]
    assert all(each == jobs[0] for each in jobs)


def test_jobs_of_one_s_own():
    """The first of OSTEP's samples: 30 ms of work that need 200 KiB never become warm."""
    posed = pose(1, own="30:200, 5:0", cpus=2, queues="shared", quantum=10, warmup=10)
    assert posed.data["jobs"] == [
        {"name": "A", "burst": 30, "working_set": "200 KiB"},
        {"name": "B", "burst": 5, "working_set": "0 KiB"},
    ]
    data = posed.solve().data
    assert data["jobs"] == [{"name": "A", "finish": 30}, {"name": "B", "finish": 5}]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"own": "30"}, '"30" is not'),
        ({"own": "30:200,,"}, '"" is not'),
        ({"own": "0:5"}, '"0:5" is not'),
        ({"own": ", ".join(["3:4"] * 7)}, "1 to 6 jobs"),
        ({"peek": 3, "queues": "shared"}, "only one"),
        ({"peek": 3, "cpus": 3}, "a lot"),
        ({"peek": 3, "cpus": 1}, "no other"),
    ],
)
def test_what_nobody_could_solve_is_refused(options, says):
    with pytest.raises(LlmosError, match=says):
        pose(1, **options)
