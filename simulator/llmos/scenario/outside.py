"""What stands around the tasks of a scenario: shared things, cgroups, and what happens from outside."""

from __future__ import annotations

from llmos.engine.simulation import FOREVER
from llmos.errors import did_you_mean
from llmos.scenario.model import ScenarioModel
from llmos.scenario.policies import SLICE_TOKENS, World
from llmos.scenario.source import Findings, Scenario
from llmos.scenario.spec import Injection, PolicySpec, SharedSpec
from llmos.scenario.work import Work
from llmos.sched._groups import Group, Groups
from llmos.sched.base import SLICE

WITHOUT_END = 10**9
"""So often happens what happens again and again: until the run ends."""


def shared(model: ScenarioModel) -> list[SharedSpec]:
    """The mutexes, semaphores, conditions, pipes and mailboxes of the scenario."""
    return [
        *(
            SharedSpec(name=m.name, kind="mutex", size=m.ceiling or 0, protocol=m.protocol)
            for m in model.mutex
        ),
        *(SharedSpec(name=s.name, kind="semaphore", size=s.value, owned=s.owned) for s in model.semaphore),
        *(SharedSpec(name=c.name, kind="condition") for c in model.condition),
        *(SharedSpec(name=p.name, kind="pipe", size=p.capacity) for p in model.pipe),
        *(SharedSpec(name=m.name, kind="mailbox", size=m.capacity) for m in model.mailbox),
    ]


def grouped(policy: PolicySpec, model: ScenarioModel, world: World) -> PolicySpec:
    """The policy inside each of the cgroups, if work of this world names one.

    Quotas are times, so an engine has none.
    """
    cgroups, kind = model.cgroup, "task" if world == "cpu" else "request"
    work = [*getattr(model, kind), *(workload for workload in model.workload if workload.kind == kind)]
    if not any(entry.group for entry in work) or not cgroups:
        return policy
    groups = {
        c.name: Group(weight=c.weight, quota=c.quota if world == "cpu" else None, period_ns=c.period)
        for c in cgroups
    }
    quantum = SLICE if world == "cpu" else SLICE_TOKENS
    return PolicySpec(name=policy.name, make=lambda: Groups(groups, policy.make, quantum))


def most_in_group(model: ScenarioModel) -> dict[str, int]:
    """How many processes a cgroup may have, where that is limited."""
    return {cgroup.name: cgroup.processes for cgroup in model.cgroup if cgroup.processes is not None}


def injections(model: ScenarioModel) -> list[Injection]:
    """What happens from outside."""
    return [
        Injection(
            name=i.task or i.interrupt or "",
            at_ns=i.at,
            every_ns=i.every or FOREVER,
            count=i.count or (1 if i.every is None else WITHOUT_END),
            cpu=i.cpu if i.offline is None else i.offline,
            cost_ns=i.time,
            signal=i.signal or "",
            device=i.pause or i.fail or "",
            fails=(i.requests or 1) if i.fail else 0,
            offline=i.offline is not None,
        )
        for i in model.inject
    ]


def check(scenario: Scenario, findings: Findings) -> None:
    """Check that names are used once, and that the groups, cores and devices that are named are there."""
    model = scenario.model
    seen: dict[str, str] = {}
    for kind in ("mutex", "semaphore", "condition", "pipe", "mailbox"):
        for i, thing in enumerate(getattr(model, kind)):
            if thing.name in seen:
                findings.add((kind, i, "name"), f'the name "{thing.name}" is taken by a {seen[thing.name]}')
            seen[thing.name] = kind
    _check_groups(scenario, findings)
    _check_cores(scenario, findings)
    devices = {device.name for device in model.device}
    count = model.cpu.count if model.cpu else 1
    for i, inject in enumerate(model.inject):
        for key in ("pause", "fail"):
            name = getattr(inject, key)
            if name is not None and name not in devices:
                hint = did_you_mean(name, devices) or "declare it under [[device]]"
                findings.add(("inject", i, key), f'there is no device "{name}"', hint=hint)
        for key in ("cpu", "offline"):
            core = getattr(inject, key)
            if core is not None and core >= count:
                findings.add(("inject", i, key), f"there is no core {core}; the last one is {count - 1}")
        if inject.offline is not None and count == 1:
            findings.add(
                ("inject", i, "offline"), "the only core cannot go offline", hint="add cores: count = 2"
            )


def check_targets(scenario: Scenario, work: Work, findings: Findings) -> None:
    """Check that the tasks that get signals are there, now that all names are known."""
    tasks = {task.name for task in work.tasks}
    for i, inject in enumerate(scenario.model.inject):
        if inject.task is not None and inject.task not in tasks:
            hint = did_you_mean(inject.task, tasks)
            findings.add(("inject", i, "task"), f'there is no task "{inject.task}"', hint=hint)


def _check_groups(scenario: Scenario, findings: Findings) -> None:
    known = [cgroup.name for cgroup in scenario.model.cgroup]
    for i, name in enumerate(known):
        if name in known[:i]:
            findings.add(("cgroup", i, "name"), f'there are two cgroups called "{name}"')
    if not known:
        return
    for kind in ("task", "request", "workload"):
        for i, entry in enumerate(getattr(scenario.model, kind)):
            if entry.group and entry.group not in known:
                hint = did_you_mean(entry.group, known) or "declare it under [[cgroup]]"
                findings.add((kind, i, "group"), f'there is no cgroup "{entry.group}"', hint=hint)


def _check_cores(scenario: Scenario, findings: Findings) -> None:
    count = scenario.model.cpu.count if scenario.model.cpu else 1
    for kind in ("task", "workload"):
        for i, entry in enumerate(getattr(scenario.model, kind)):
            for j, core in enumerate(getattr(entry, "affinity", None) or ()):
                if core >= count:
                    findings.add(
                        (kind, i, "affinity", j), f"there is no core {core}; the last one is {count - 1}"
                    )
