"""The work of a scenario: every task and request, listed, generated or read from a trace.

- Pids follow the file: first the listed tasks, then the workloads' tasks, then requests likewise.
- A run has at most `MOST_TASKS` of them, descendants included; more is a problem, not a long wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from llmos.costs.ops import Op
from llmos.errors import ScenarioError
from llmos.scenario import positions, workloads
from llmos.scenario.arrivals import Poisson
from llmos.scenario.machine import RequestSpec, TaskSpec
from llmos.scenario.offered import Offer
from llmos.scenario.programs import Code, Programs
from llmos.scenario.source import Findings, Scenario
from llmos.scenario.work_tables import RequestWorkload, Task, TaskWorkload
from llmos.scenario.workloads import MOST_TASKS, Row


@dataclass(slots=True)
class Work:
    """Tasks, requests, and the kernel operations they run with the places that ask for them."""

    tasks: list[TaskSpec] = field(default_factory=list)
    requests: list[RequestSpec] = field(default_factory=list)
    ops: dict[Op, positions.Path] = field(default_factory=dict)
    task_offers: list[Offer] = field(default_factory=list)
    request_offers: list[Offer] = field(default_factory=list)
    """The workloads that ask for a load; their arrivals are yet to be moved."""
    total: int = 0
    """Tasks and requests so far, descendants included."""

    def room_for(self, count: int, path: positions.Path, findings: Findings) -> bool:
        """Count `count` more, and say whether that is still within the limit."""
        self.total += count
        if self.total > MOST_TASKS:
            findings.add(path, f"with this there are more than {MOST_TASKS:,} tasks", hint="ask for fewer")
        return self.total <= MOST_TASKS


def gather(scenario: Scenario, seed: int, programs: Programs, findings: Findings) -> Work:
    """All work of the scenario, drawn with `seed`; what is wrong goes to `findings`."""
    work = Work()
    model = scenario.model
    codes = [task_code(task, ("task", i), programs) for i, task in enumerate(model.task)]
    for i, (task, code) in enumerate(zip(model.task, codes, strict=True)):
        if not work.room_for(task.count * code.processes * _jobs(task, model.until), ("task", i), findings):
            return work
    for i, request in enumerate(model.request):
        if not work.room_for(request.count, ("request", i), findings):
            return work
    for i, (task, code) in enumerate(zip(model.task, codes, strict=True)):
        work.ops = {**code.ops, **work.ops}
        work.tasks += _listed_tasks(task, i, code)
    for i, request in enumerate(model.request):
        work.requests += [
            RequestSpec(
                name=name, prompt=request.prompt, output=request.output, arrival_ns=request.arrival,
                priority=request.priority, tickets=request.tickets, client=request.client,
                deadline_ns=request.deadline, nice=request.nice, group=request.group,
            )
            for name in _copies(request.name or f"request{i + 1}", request.count)
        ]  # fmt: skip
    for i, workload in enumerate(model.workload):
        if not _add(workload, ("workload", i), work, scenario, seed, programs, findings):
            return work
    return work


def task_code(task: Task, path: positions.Path, programs: Programs) -> Code:
    """What the listed task at `path` runs."""
    if task.program is not None:
        code = programs.choice(task.program, (*path, "program"))
    else:
        code = programs.burst(task.burst or 1, task.io, path)
    return code if task.period is None else code.periodic()


def _add(
    workload: TaskWorkload | RequestWorkload, path: positions.Path, work: Work, scenario: Scenario, seed: int,
    programs: Programs, findings: Findings,
) -> bool:  # fmt: skip
    """Add what the workload brings; return whether there is room for more."""
    code = None
    if isinstance(workload, TaskWorkload) and workload.program is not None:
        code = programs.choice(workload.program, (*path, "program"))
        work.ops = {**code.ops, **work.ops}
    try:
        rows = workloads.rows(workload, seed, scenario.folder, scenario.model.tick)
    except ScenarioError as error:
        findings.problems += error.problems
        return True
    if not work.room_for(len(rows) * (code.processes if code else 1), path, findings):
        return False
    _note_offer(workload, path, work, len(rows))
    if isinstance(workload, RequestWorkload):
        work.requests += [
            RequestSpec(prompt=row["prompt"], output=row["output"], **_terms(workload, row, i))
            for i, row in enumerate(rows, start=1)
        ]
        return True
    for i, row in enumerate(rows, start=1):
        own = code or programs.burst(row["burst"], workload.io, path)
        place = _place(workload, row.get("burst"))
        work.tasks.append(TaskSpec(program=own.start, **_terms(workload, row, i), **place))
    return True


def _note_offer(
    workload: TaskWorkload | RequestWorkload, path: positions.Path, work: Work, count: int
) -> None:
    """Remember a workload whose `count` arrivals depend on what the work costs."""
    if isinstance(workload.arrival, Poisson) and workload.arrival.load is not None:
        is_task = isinstance(workload, TaskWorkload)
        first = len(work.tasks if is_task else work.requests)
        offer = Offer(path, Fraction(workload.arrival.load), workload.start, first, first + count)
        (work.task_offers if is_task else work.request_offers).append(offer)


def _terms(workload: TaskWorkload | RequestWorkload, row: Row, i: int) -> Row:
    """What the policies may know of the task of a row."""
    return {
        "name": row.get("name", f"{workload.name}-{i}"),
        "arrival_ns": row["arrival"],
        "priority": row.get("priority", workload.priority),
        "tickets": row.get("tickets", workload.tickets),
        "client": row.get("client", workload.client),
        "nice": workload.nice,
        "group": row.get("group", workload.group),
        "deadline_ns": row.get("deadline", workload.deadline),
    }


def _place(task: Task | TaskWorkload, burst: int | None) -> dict[str, Any]:
    """What only a task on a core has: where it may run, its cache and its declared time."""
    return {
        "affinity": None if task.affinity is None else frozenset(task.affinity),
        "working_set_bytes": task.working_set,
        "memory_limit_bytes": task.memory_limit,
        "oom_score_adj": task.oom_score_adj,
        "wcet_ns": burst if task.wcet is None else task.wcet,
    }


def _listed_tasks(task: Task, i: int, code: Code) -> list[TaskSpec]:
    return [
        TaskSpec(
            name=name, program=code.start, arrival_ns=task.arrival, priority=task.priority,
            tickets=task.tickets, client=task.client, deadline_ns=task.deadline, period_ns=task.period,
            jobs=task.jobs, nice=task.nice, group=task.group, **_place(task, task.burst),
        )
        for name in _copies(task.name or f"task{i + 1}", task.count)
    ]  # fmt: skip


def _copies(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}-{i}" for i in range(1, count + 1)]


def _jobs(task: Task, until: int | None) -> int:
    """How often a periodic task does its work, for counting what it forks; else 1."""
    if task.period is None:
        return 1
    return min(task.jobs or MOST_TASKS, (until or MOST_TASKS * task.period) // task.period + 1)
