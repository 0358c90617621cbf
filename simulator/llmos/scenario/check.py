"""What is wrong with a scenario that no table can tell by itself.

- Policies and their parameters, programs, devices, names, trace files, metrics: all are looked up.
- Nothing is drawn, timed or run, so that a check is quick; `build` finds the rest.
"""

from __future__ import annotations

from collections.abc import Iterable

from llmos.errors import did_you_mean
from llmos.scenario import memory, outside, positions, traces
from llmos.scenario.build import policy_of, worlds
from llmos.scenario.programs import Programs
from llmos.scenario.source import Findings, Scenario
from llmos.scenario.work import task_code
from llmos.scenario.work_tables import TaskWorkload
from llmos.trace.metrics import SUBJECTS, names


def check(scenario: Scenario, findings: Findings) -> None:
    """Note the problems between the tables of a scenario, and between it and the files it names."""
    if scenario.model.remove and scenario.model.extends is None:
        findings.add(("remove",), "`remove` belongs to `extends`", hint="take it away")
    _there_is_work(scenario, findings)
    _names(scenario, findings)
    _work(scenario, findings)
    _policies(scenario, findings)
    outside.check(scenario, findings)
    memory.check(scenario, findings)


def metric_names(scenario: Scenario | None = None, varied: Iterable[str] = ()) -> list[str]:
    """The names of all numbers that a run of `scenario` (of any, if left out) may yield.

    varied: dotted keys that get values in addition; an engine or a memory may come with them.
    """
    if scenario is None:
        return [name for subject in SUBJECTS for name in names(subject)]
    here = worlds(scenario)
    added = {key.partition(".")[0].strip() for key in varied}
    there = {
        "cpu": "cpu" in here,
        "llm": "engine" in here or "engine" in added,
        "memory": scenario.model.memory is not None or "memory" in added,
    }
    return [name for subject in SUBJECTS if there[subject] for name in names(subject)]


def _there_is_work(scenario: Scenario, findings: Findings) -> None:
    model = scenario.model
    if not (model.task or model.request or model.workload):
        findings.add((), "there is nothing to run", hint="add a [[task]], a [[request]] or a [[workload]]")
    if model.engine is None:
        requests: list[positions.Path] = [("request", 0)] if model.request else []
        requests += [("workload", i) for i, w in enumerate(model.workload) if w.kind == "request"]
        if requests:
            hint = 'add [engine] with cost = { base = "5 ms", per_token = "20 us" }'
            findings.add(requests[0], "a request needs an engine to run on", hint=hint)


def _names(scenario: Scenario, findings: Findings) -> None:
    model = scenario.model
    for tables in (("task", "request", "workload"), ("device",)):
        seen: set[str] = set()
        for table in tables:
            for i, item in enumerate(getattr(model, table)):
                if item.name in seen:
                    findings.add(
                        (table, i, "name"), f'the name "{item.name}" is taken', hint="give it another"
                    )
                if item.name is not None:
                    seen.add(item.name)


def _work(scenario: Scenario, findings: Findings) -> None:
    model = scenario.model
    programs = Programs(scenario, findings)
    for i, task in enumerate(model.task):
        task_code(task, ("task", i), programs)
        if task.period is not None and task.jobs is None and model.until is None:
            hint = "give the task `jobs`, or the scenario `until`"
            findings.add(("task", i, "period"), "its jobs would never end", hint=hint)
    for i, workload in enumerate(model.workload):
        path = ("workload", i)
        if isinstance(workload, TaskWorkload):
            if workload.program is not None:
                programs.choice(workload.program, (*path, "program"))
            else:
                programs.burst(1, workload.io, path)
        if workload.trace is not None:
            traces.look_for(scenario.folder / workload.trace, (*path, "trace"), findings)


def _policies(scenario: Scenario, findings: Findings) -> None:
    model = scenario.model
    here = worlds(scenario)
    if model.cpu is not None:
        policy_of(scenario, model.cpu.scheduler, "cpu", ("cpu", "scheduler"), findings)
    if model.engine is not None:
        policy_of(scenario, model.engine.scheduler, "engine", ("engine", "scheduler"), findings)
    if model.compare is None:
        return
    for i, choice in enumerate(model.compare.schedulers):
        for world in here:
            policy_of(scenario, choice, world, ("compare", "schedulers", i), findings)
    for i, choice in enumerate(model.compare.replacements):
        memory.replacement_of(scenario, choice, ("compare", "replacements", i), findings)
    known = metric_names(scenario)
    for i, name in enumerate(model.compare.metrics):
        if name not in known:
            hint = did_you_mean(name, known) or "write world.quantity_statistic, as in cpu.turnaround_mean_ns"
            findings.add(("compare", "metrics", i), f'there is no metric "{name[:60]}" here', hint=hint)
