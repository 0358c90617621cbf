"""Periodic tasks before they run: dealing them out to cores, and the tests that fit a machine.

- A test needs each task's declared worst-case execution time (`wcet`, or its `burst`).
- A machine with one queue is tested as a whole; one with a queue per core, core by core, as far as its
  tasks are bound to cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmos.errors import LlmosError
from llmos.scenario.machine_tables import Partition as PartitionTable
from llmos.scenario.source import Findings
from llmos.scenario.spec import CpuSpec, MachineSpec, TaskSpec
from llmos.sched.feasibility import explain
from llmos.sched.partition import Partition, partition
from llmos.sched.periodic import PeriodicTask, Verdict


def periodic_task(task: TaskSpec) -> PeriodicTask:
    """The task as the tests see it.

    Raises LlmosError if its execution time is not declared.
    """
    if task.period_ns is None or task.wcet_ns is None:
        raise LlmosError(
            f"task {task.name} does not say how long a job of it may take",
            hint='declare it, as in wcet = "5 ms"',
        )
    return PeriodicTask(task.name, task.wcet_ns, task.period_ns, task.deadline_ns)


def deal(tasks: list[TaskSpec], cores: int, how: PartitionTable, findings: Findings) -> None:
    """Bind each periodic task of `tasks` to the core that it gets; a task that fits nowhere is a finding."""
    path = ("cpu", "partition")
    places = [i for i, task in enumerate(tasks) if task.period_ns is not None]
    try:
        dealt = _deal([tasks[i] for i in places], cores, how)
    except LlmosError as error:
        findings.add(path, error.message, hint=error.hint)
        return
    if not dealt.ok:
        findings.add(path, "; ".join(dealt.refusals), hint="give more cores, or another `fit` or `admission`")
        return
    for i, core in zip(places, dealt.cores, strict=True):
        if core is not None:
            tasks[i] = replace(tasks[i], affinity=frozenset({core}))


def verdicts(spec: MachineSpec) -> list[tuple[str, list[Verdict]]]:
    """The tests that fit the machine's cores and policy: (what was tested, verdicts).

    Raises LlmosError if there are no periodic tasks, or no test fits.
    """
    periodic = [task for task in spec.tasks if task.period_ns is not None]
    if spec.cpu is None or not periodic:
        raise LlmosError("there are no periodic tasks", hint='give tasks a period, as in period = "20 ms"')
    policy = spec.cpu.policy.name.split()[0]
    if not spec.cpu.per_core:
        return [(_cores(spec.cpu), explain(_in_order(periodic, policy), policy, spec.cpu.count))]
    by_core: dict[int, list[TaskSpec]] = {core: [] for core in range(spec.cpu.count)}
    for task in periodic:
        bound = task.affinity or frozenset()
        if len(bound) != 1:
            hint = "give it one core as `affinity`, or add cpu.partition"
            raise LlmosError(f"task {task.name} is not bound to a core, so no core can be tested", hint=hint)
        by_core[next(iter(bound))].append(task)
    return [
        (f"core {core}", explain(_in_order(mine, policy), policy)) for core, mine in by_core.items() if mine
    ]


def _deal(tasks: Sequence[TaskSpec], cores: int, how: PartitionTable) -> Partition:
    return partition(
        [periodic_task(task) for task in tasks],
        cores,
        fit=how.fit,
        decreasing=how.decreasing,
        admission=how.admission,
    )


def _in_order(tasks: Sequence[TaskSpec], policy: str) -> list[PeriodicTask]:
    """The tasks, for fixed priorities the most urgent first."""
    if policy == "priority":
        tasks = sorted(tasks, key=lambda task: task.priority)
    return [periodic_task(task) for task in tasks]


def _cores(cpu: CpuSpec) -> str:
    return "one core" if cpu.count == 1 else f"{cpu.count} cores, one queue"
