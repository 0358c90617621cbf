"""From a scenario to a machine.

- `build` resolves policies and programs, draws the workloads, reads traces and looks costs up. All
  problems are raised at once, each at its place in the file.
- The same scenario and seed give the same machine; another scheduler gets the very same work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from llmos.costs.model import CostModel
from llmos.costs.profile import Profile, load_profile
from llmos.engine.simulation import FOREVER
from llmos.errors import ProfileError, ScenarioError
from llmos.process.balance import Balancing
from llmos.process.cores import Rules
from llmos.process.dispatcher import Costs
from llmos.scenario import offered, outside, policies, positions, realtime
from llmos.scenario.engine import pacing_of
from llmos.scenario.machine_tables import Cpu
from llmos.scenario.measured import Measures
from llmos.scenario.memory import memory_of, replacement_of
from llmos.scenario.policies import World
from llmos.scenario.programs import DEFAULT_DEVICE, Programs
from llmos.scenario.source import Findings, Scenario
from llmos.scenario.spec import CacheSpec, CpuSpec, DeviceSpec, EngineSpec, MachineSpec, PolicySpec
from llmos.scenario.work import Work, gather
from llmos.serving.pacing import Foreseen

MOST_MODELS: Final = 4
"""Of so many profiles what they cost is kept from one build to the next."""

Choice = str | Mapping[str, Any]
FindPolicy = Callable[[Choice, World], PolicySpec | None]


def build(
    scenario: Scenario,
    *,
    seed: int | None = None,
    scheduler: Choice | None = None,
    replacement: Choice | None = None,
    profile: str | None = None,
    folder: Path = Path(),
) -> MachineSpec:
    """The machine that a scenario describes, and its work.

    `seed` and `profile` stand in place of the scenario's own; `scheduler` replaces the policies of
    the cores and of the engine alike, `replacement` that of the frames; paths in them start at `folder`.
    Raises ScenarioError with all problems.
    """
    model = scenario.model
    findings = Findings(scenario.file, scenario.lines)
    programs = Programs(scenario, findings)
    seed = model.seed if seed is None else seed
    work = gather(scenario, seed, programs, findings)
    costs, source = _costs(_profile_of(scenario) if profile is None else profile, findings)
    _price(work, costs, findings)
    measures = Measures(costs.profile if costs else None, findings)

    asked = Findings(None, {})  # what is wrong with these policies is not in the file

    def policy(own: Choice, world: World) -> PolicySpec | None:
        if scheduler is None:
            return policy_of(scenario, own, world, (world, "scheduler"), findings, seed=seed)
        return policy_of(scenario, scheduler, world, ("scheduler",), asked, folder, seed=seed)

    outside.check_targets(scenario, work, findings)
    if model.cpu and model.cpu.partition:
        realtime.deal(work.tasks, model.cpu.count, model.cpu.partition, findings)
    cpu, engine = _cpu(scenario, policy, measures), _engine(scenario, policy, costs, findings)
    frames = None
    if replacement is not None:
        frames = replacement_of(scenario, replacement, ("replacement",), asked, folder, seed=seed)
    memory = memory_of(scenario, seed, measures, frames)
    devices = _devices(scenario, programs, measures)
    findings.problems += asked.problems
    _pace(work, cpu, engine, costs, findings)
    findings.raise_any()
    return MachineSpec(
        scenario=scenario.name,
        question=model.question,
        seed=seed,
        convention=model.convention,
        profile=source or ("given in the scenario" if engine else ""),
        cpu=cpu,
        engine=engine,
        memory=memory,
        devices=devices,
        shared=outside.shared(model),
        most_in_group=outside.most_in_group(model),
        injections=outside.injections(model),
        tasks=work.tasks,
        requests=work.requests,
        until_ns=model.until or FOREVER,
        max_events=model.max_events,
        cost_model=costs,
    )


def _pace(
    work: Work, cpu: CpuSpec | None, engine: EngineSpec | None, costs: CostModel | None, findings: Findings
) -> None:
    """Move the arrivals of the workloads that ask for a load, now that costs are known."""
    if findings.problems:
        return
    for offer in work.task_offers:
        try:
            offered.pace_tasks(work.tasks, offer, cpu.count if cpu else 1, costs)
        except offered.EndlessError:
            hint = "give `rate` in place of `load`"
            findings.add((*offer.path, "arrival"), "the program is too long to add its work up", hint=hint)
    for offer in work.request_offers:
        if engine and isinstance(engine.pacing, Foreseen):
            offered.pace_requests(work.requests, offer, engine.pacing, engine.slots)


def policy_of(
    scenario: Scenario,
    choice: Choice,
    world: World,
    path: positions.Path,
    findings: Findings,
    folder: Path | None = None,
    *,
    seed: int = 0,
) -> PolicySpec | None:
    """The policy that `choice`, which stands at `path`, means in `world`; None if it has problems.

    Its files are in `folder`, if not in the scenario's own. `seed` is the run's, for policies that draw.
    """
    folder = scenario.folder if folder is None else folder
    try:
        return policies.policy_spec(
            choice, world, folder=folder, tick_ns=scenario.model.tick, seed=seed,
            cores=cpu.count if world == "cpu" and (cpu := scenario.model.cpu) else None,
        )  # fmt: skip
    except ScenarioError as error:
        findings.add_error(path, error)
        return None


def worlds(scenario: Scenario) -> list[World]:
    """The worlds that a scenario has: cores, an engine, or both."""
    model = scenario.model
    has_tasks = bool(model.task) or any(workload.kind == "task" for workload in model.workload)
    has: dict[World, bool] = {"cpu": model.cpu is not None or has_tasks, "engine": model.engine is not None}
    return [world for world, there in has.items() if there]


def _cpu(scenario: Scenario, policy: FindPolicy, measures: Measures) -> CpuSpec | None:
    if "cpu" not in worlds(scenario):
        return None
    cpu = scenario.model.cpu or Cpu()
    found = policy(cpu.scheduler, "cpu")
    if found is None:
        return None
    cache = None
    if cpu.cache:
        given = cpu.cache
        cache = CacheSpec(size_bytes=given.size, warmup_ns=given.warmup, warm_rate=given.warm_rate)
    return CpuSpec(
        policy=outside.grouped(found, scenario.model, "cpu"),
        count=cpu.count,
        costs=Costs(**{f"{name}_ns": measures.ns(ns, ("cpu", "costs", name)) for name, ns in cpu.costs}),
        rules=Rules(
            rotate_ns=cpu.rules.rotate,
            whole_ns=cpu.rules.whole,
            **cpu.rules.model_dump(exclude={"rotate", "whole"}),
        ),
        per_core=cpu.queues == "per-core",
        balancing=Balancing(
            placement=cpu.placement, steal=cpu.steal, peek_ns=cpu.peek, balance_ns=cpu.balance
        ),
        speeds=tuple(cpu.speeds),
        cache=cache,
    )


def _engine(
    scenario: Scenario, policy: FindPolicy, costs: CostModel | None, findings: Findings
) -> EngineSpec | None:
    engine = scenario.model.engine
    if engine is None:
        return None
    found = policy(engine.scheduler, "engine")
    pacing = pacing_of(engine, costs, findings)
    if found is None or pacing is None:
        return None
    found = outside.grouped(found, scenario.model, "engine")
    return EngineSpec(policy=found, pacing=pacing, slots=engine.slots, token_budget=engine.token_budget)


def _devices(scenario: Scenario, programs: Programs, measures: Measures) -> list[DeviceSpec]:
    devices = [
        DeviceSpec(
            name=d.name,
            service_ns=measures.ns(d.service, ("device", i, "service")),
            servers=d.servers,
            bytes_per_s=measures.bytes_per_s(d.bandwidth, ("device", i, "bandwidth")),
        )
        for i, d in enumerate(scenario.model.device)
    ]
    if programs.uses_default_device and DEFAULT_DEVICE not in programs.devices:
        devices.append(DeviceSpec(name=DEFAULT_DEVICE, service_ns=0, servers=0))
    return devices


def _profile_of(scenario: Scenario) -> str | None:
    """The scenario's own profile; a path starts at the scenario's folder."""
    name = scenario.model.profile
    is_path = name is not None and (name.endswith(".json") or "/" in name or "\\" in name)
    return str(scenario.folder / name) if name is not None and is_path else name


def _costs(name: str | None, findings: Findings) -> tuple[CostModel | None, str]:
    """The cost model of the profile called `name`, and its source in words."""
    if name is None:
        return None, ""
    try:
        profile = load_profile(name)
    except ProfileError as error:
        findings.add_error(("profile",), error)
        return None, ""
    return _model_of(profile), _source(profile)


_models: list[CostModel] = []
"""Those asked for last, the latest first."""


def _model_of(profile: Profile) -> CostModel:
    """The cost model of `profile`: builds share one, which keeps its answers for the next run."""
    found = next((model for model in _models if model.profile is profile), None) or CostModel(profile)
    _models[:] = [found, *(model for model in _models if model is not found)][:MOST_MODELS]
    return found


def source_of(scenario: Scenario, profile: str | None = None) -> str:
    """The standing of the profile that a scenario's costs come from, and its errors; "" if there is none.

    Raises ProfileError when that profile cannot be read.
    """
    name = _profile_of(scenario) if profile is None else profile
    return "" if name is None else _source(load_profile(name))


def _source(profile: Profile) -> str:
    """The profile's standing and its errors, for captions."""
    errors = [
        f"{method} {spread.median:.1%} (p95 {spread.p95:.1%})"
        for method, spread in profile.holdout.items()
        if ":" not in method  # of all kinds of operations together
    ]
    return profile.provenance + (f"; error: {', '.join(errors)}" if errors else "")


def _price(work: Work, costs: CostModel | None, findings: Findings) -> None:
    """See to it that every kernel operation has a price."""
    for op, path in work.ops.items():
        if costs is None:
            if not any(problem.key == "profile" for problem in findings.problems):
                hint = 'add profile = "reference-cpu" at the top'
                findings.add(path, "the time of a kernel operation comes from a profile", hint=hint)
            return
        try:
            costs.predict(op)
        except ProfileError as error:
            findings.add_error(path, error)
