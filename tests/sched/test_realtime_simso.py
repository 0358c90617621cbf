"""Real-time schedules that SimSo computed: every end of a job, every miss, and who ran when."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from machines import cores, execute

from llmos.process.cores import Rules
from llmos.process.program import Compute, EndJob
from llmos.scenario.machine import TaskSpec
from llmos.sched.dm import DM
from llmos.sched.edf import EDF
from llmos.sched.edf_us import EDFUS
from llmos.sched.partition import partition
from llmos.sched.periodic import PeriodicTask
from llmos.sched.priority import Priority
from llmos.sched.rm import RM
from llmos.trace import events as ev

CASES = json.loads((Path(__file__).parents[1] / "oracles" / "simso_realtime.json").read_text())["cases"]
MS = 1_000_000

LEFT_OUT = {"simso-052"}  # LLREF, which is not here

# What each of SimSo's schedulers is called here; its global and its one-core versions differ in ties.
POLICIES = {
    "EDF": lambda: EDF(ties="pid"),
    "EDF_mono": EDF,
    "RM": lambda: RM(ties="queue"),
    "RM_mono": RM,
    "P_RM": RM,
    "DM": lambda: DM(ties="queue"),
    "FP": Priority,
    "EDF_US": lambda: EDFUS(threshold=0.5, ties="queue"),
}


def periodic(name, given):
    wcet = round(given["C"] * MS)

    def program():
        while True:
            yield Compute(wcet)
            yield EndJob()

    return TaskSpec(
        name=name,
        program=program,
        arrival_ns=round(given.get("O", 0) * MS),
        period_ns=round(given["T"] * MS),
        deadline_ns=round(given.get("D", given["T"]) * MS),
        wcet_ns=wcet,
        priority=-given.get("prio", 0),
    )


def machine(given, tasks, count):
    until = given["duration_ms"] * MS + 1  # what ends at the very end has ended
    # What is released at the very end of a job is announced before that end.
    spec = cores(POLICIES[given["scheduler"]], *tasks, count=count, until_ns=until, convention="textbook")
    rules = Rules(abort_on_miss=given.get("abort", True))
    return replace(spec, cpu=replace(spec.cpu, rules=rules))


def parts(given):
    """The machines of the case: one, or one for each core of a partition."""
    tasks = [periodic(f"T{i}", task) for i, task in enumerate(given["tasks"], start=1)]
    if given["scheduler"] != "P_RM":
        return [machine(given, tasks, given["cpus"])]
    # SimSo deals the tasks out in their order, each to the emptiest core, full or not.
    sizes = [PeriodicTask(task.name, task.wcet_ns, task.period_ns) for task in tasks]
    dealt = partition(sizes, given["cpus"], fit="worst", decreasing=False, admission="none")
    return [
        machine(given, [t for t, core in zip(tasks, dealt.cores, strict=True) if core == i], 1)
        for i in range(given["cpus"])
    ]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case["id"]) for case in CASES if case["id"] not in LEFT_OUT]
)
def test_simso(case):
    given, expected = case["input"], case["expected"]
    for cpu, part in enumerate(parts(given), start=1):
        ran = execute(part)
        names = {pid: task.name for pid, task in ran.outcome.state.tasks.items()}
        jobs = {name: expected["per_task"][name]["jobs"] for name in names.values()}
        assert answers(ran, names, given) == wanted(jobs, given)
        if part.cpu.count == 1:
            end = given["duration_ms"] * MS
            gantt = expected["gantt"][f"CPU{cpu}"]
            pieces = [(round(s * MS), round(e * MS), label.split("_")[0]) for s, e, label in gantt]
            assert [(s, min(e, end), name) for s, e, name in ran.runs if s < end] == joined(pieces)


def wanted(jobs, given):
    """Per job: release, deadline, when it was complete (None: aborted, or never), whether it was late."""
    rows = {}
    for name, mine in jobs.items():
        for number, job in enumerate(mine, start=1):
            complete = job["end"] is not None and not job["aborted"]
            rows[name, number] = (
                round(job["activation"] * MS),
                round(job["deadline"] * MS),
                round(job["end"] * MS) if complete else None,
                job["missed"],
            )
    return rows if given["cpus"] == 1 or given["scheduler"] == "P_RM" else without_names(rows, given)


def answers(ran, names, given):
    """The same of our own run. SimSo counts a deadline as missed only if the job has ended."""
    ends = {(names[e.task], e.job): e.t for e in ran.of(ev.Complete)}
    late = {(names[e.task], e.job) for e in ran.of(ev.Miss)}
    aborting = given.get("abort", True)
    rows = {}
    for e in ran.of(ev.Release):
        key = names[e.task], e.job
        ended = key in ends or (aborting and e.deadline <= given["duration_ms"] * MS)
        rows[key] = (e.t, e.deadline, ends.get(key), key in late and ended)
    return rows if given["cpus"] == 1 or given["scheduler"] == "P_RM" else without_names(rows, given)


def without_names(rows, given):
    """On several cores SimSo's equals queue up in the order in which its cores take interrupts.

    So tasks that are alike may change places.
    """
    sizes = [(task["C"], task["T"]) for task in given["tasks"]]
    return sorted(
        (sizes[int(name[1:]) - 1], row[:2], row[2] is None, row[2] or 0, row[3])
        for (name, _), row in rows.items()
    )


def joined(runs):
    """Join contiguous pieces of one task."""
    out = []
    for start, end, name in runs:
        if out and out[-1][1:] == (start, name):
            out[-1] = (out[-1][0], end, name)
        else:
            out.append((start, end, name))
    return out
