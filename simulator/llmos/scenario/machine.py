"""Putting a machine together from its specification, and running it.

- `run(spec, sinks)` builds a fresh machine, runs it and returns an `Outcome`. The same spec gives the
  same log, byte for byte.
- The log is flushed on the way and closed by an `End` event that says why the run ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from llmos.engine.order import CONVENTIONS
from llmos.engine.simulation import Simulation, Stop
from llmos.engine.streams import stream
from llmos.errors import LlmosError
from llmos.memory.buddy import Buddy
from llmos.memory.commit import Commit
from llmos.memory.files import File
from llmos.memory.memory import Memory
from llmos.memory.oom import KILLERS
from llmos.memory.page_cache import PageCache
from llmos.memory.pager import Pool
from llmos.memory.swap import Swap
from llmos.memory.swappiness import ByKind
from llmos.plugins import blame
from llmos.process import deadlock, hotplug, signals, touching
from llmos.process.balance import Balance
from llmos.process.cache import Cache
from llmos.process.cores import FULL, Core, Cores
from llmos.process.dispatcher import Costs, DecisionLock, Dispatcher, Slot
from llmos.process.kernel import Kernel
from llmos.process.task import Period, Process
from llmos.scenario.spec import (
    CacheSpec,
    CpuSpec,
    DeviceSpec,
    EngineSpec,
    Injection,
    MachineSpec,
    MemorySpec,
    PolicySpec,
    RequestSpec,
    SharedSpec,
    TaskSpec,
)
from llmos.serving.engine import Engine
from llmos.serving.request import Request
from llmos.storage.device import Device
from llmos.trace import events as ev
from llmos.trace.log import Log, Sink
from llmos.trace.state import State
from llmos.version import VERSION


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run went: its last state, the hash of its log and what the engine room counted."""

    state: State
    log_sha256: str
    ok: bool
    reason: str
    simpy_events: int
    log_events: int


def run(
    spec: MachineSpec,
    sinks: Sequence[Sink] = (),
    *,
    keep_spans: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Outcome:
    """Run `spec` to its end; `progress` gets the simulated time (ns) now and then.

    Raises PolicyError if a policy or a program breaks its contract. Then, and on Ctrl-C, what has
    happened so far is in the log, which ends with an `End` event that says so.
    """
    state = State(keep_spans=keep_spans)
    machine = _Machine(spec, [state, *sinks])

    def pulse() -> None:
        machine.log.flush(machine.sim.now)
        if progress:
            progress(machine.sim.now)

    try:
        stop = machine.sim.run_until(spec.until_ns, spec.max_events, pulse=pulse)
    except KeyboardInterrupt:
        machine.close(ok=False, reason="interrupted")
        raise
    except LlmosError as error:
        machine.close(ok=False, reason=error.message)
        raise
    except Exception as error:
        blamed = blame(error, time_ns=machine.sim.now)
        if blamed is None:
            raise
        machine.close(ok=False, reason=blamed.message)
        raise blamed from error
    ok, reason = machine.verdict(stop)
    machine.close(ok=ok, reason=reason)
    return Outcome(
        state=state,
        log_sha256=machine.log.sha256,
        ok=ok,
        reason=reason,
        simpy_events=machine.sim.events,
        log_events=machine.log.events,
    )


class _Machine:
    """The parts, put together."""

    def __init__(self, spec: MachineSpec, sinks: list[Sink]) -> None:
        self.spec = spec
        self.sim = Simulation()
        self.log = Log(
            _header(spec), sinks, shows_queues=spec.shows_queues, shows_references=spec.shows_references
        )
        self.order = CONVENTIONS[spec.convention]
        self.pids = count(1)
        self.kernel = self._build_kernel(spec.cpu) if spec.cpu else None
        self.engine = self._build_engine(spec.engine) if spec.engine else None
        came = self.order.came
        for task in spec.tasks:
            self.sim.at(task.arrival_ns, came, self._process, next(self.pids), task)
        for request in spec.requests:
            self.sim.at(request.arrival_ns, came, self._request, next(self.pids), request)
        for injection in spec.injections:
            self.sim.at(injection.at_ns, came, self._inject, injection, 1)

    def _build_kernel(self, cpu: CpuSpec) -> Kernel:
        devices = {
            d.name: Device(
                self.sim,
                self.log,
                self.order,
                name=d.name,
                service_ns=d.service_ns,
                servers=d.servers,
                bytes_per_s=d.bytes_per_s,
            )
            for d in self.spec.devices
        }
        cores = Cores(self.sim, self.log, self._build_cores(cpu), self.order, cpu.costs, cpu.rules)
        lots = stream(self.spec.seed, "balance")
        kernel = Kernel(
            self.sim, self.log, cores, Balance(self.sim, self.log, cores, cpu.balancing, lots),
            devices=devices,
            shared={shared.name: shared.make() for shared in self.spec.shared},
            cost_model=self.spec.cost_model,
            next_pid=lambda: next(self.pids),
            most_in_group=self.spec.most_in_group,
            seed=self.spec.seed,
        )  # fmt: skip
        if self.spec.memory:
            touching.attach(kernel, self._build_memory(self.spec.memory, cpu.count, devices))
        return kernel

    def _build_memory(self, spec: MemorySpec, cores: int, devices: Mapping[str, Device]) -> Memory:
        files = {
            f.name: File(f.name, inode, -(-f.size_bytes // spec.page_bytes), f.device)
            for inode, f in enumerate(spec.files, start=1)
        }

        def pool(name: str, limit: int | None) -> Pool:
            make = partial(spec.replacement.make, spec.frames if limit is None else limit)
            return Pool(name, make() if spec.swappiness is None else ByKind(make, spec.swappiness), limit)

        return Memory(
            self.sim, self.log,
            frames=Buddy(spec.frames),
            page_bytes=spec.page_bytes,
            costs=spec.costs,
            make_pool=pool,
            make_table=spec.table,
            tlbs=[spec.tlb() for _ in range(cores)],
            swap=Swap(spec.swap_pages, spec.swap_device) if spec.swap_pages else None,
            devices=devices,
            files=files,
            grain_ns=spec.grain_ns if cores == 1 else min(spec.grain_ns, 10_000),
            page_cluster=spec.page_cluster,
            oom_score=KILLERS[spec.oom],
            huge=spec.huge,
            compacts=spec.compacts,
            merging=spec.merging,
            sharing=spec.sharing,
            marks=spec.watermarks,
            commit=Commit(
                frames=spec.frames, swap_pages=spec.swap_pages, mode=spec.overcommit,
                ratio=spec.overcommit_ratio,
            ),
            thrashing=spec.thrashing,
            load_control=spec.load_control,
            cache=PageCache(spec.page_cache, partial(stream, self.spec.seed)),
        )  # fmt: skip

    def _build_cores(self, cpu: CpuSpec) -> list[Core]:
        """The cores, on one ready queue or each on its own."""
        cores = [
            Core(
                cpu=i,
                speed=cpu.speeds[i] if cpu.speeds else FULL,
                cache=Cache(size_bytes=c.size_bytes, warmup_ns=c.warmup_ns, warm_rate=c.warm_rate)
                if (c := cpu.cache)
                else None,
            )
            for i in range(cpu.count)
        ]
        lock = DecisionLock() if cpu.rules.serial_decisions else None
        for group in [[core] for core in cores] if cpu.per_core else [cores]:
            dispatcher = Dispatcher(self.sim, self.log, cpu.policy.make(), group, self.order, cpu.costs)
            dispatcher.lock = lock
            for core in group:
                core.dispatcher = dispatcher
        return cores

    def _build_engine(self, engine: EngineSpec) -> Engine:
        cpu = self.spec.cpu.count if self.spec.cpu else 0
        slots = [Slot(cpu=cpu) for _ in range(engine.slots)]
        dispatcher = Dispatcher(self.sim, self.log, engine.policy.make(), slots, self.order, Costs())
        return Engine(
            self.sim, self.log, dispatcher, self.order, cpu=cpu, token_budget=engine.token_budget,
            pacing=engine.pacing, memory=engine.memory() if engine.memory else None,
            skip=engine.skip,
        )  # fmt: skip

    def _process(self, pid: int, task: TaskSpec) -> None:
        period = None
        deadline = task.deadline_ns
        if task.period_ns is not None:
            deadline = task.period_ns if deadline is None else deadline
            period = Period(every_ns=task.period_ns, deadline_ns=deadline, jobs=task.jobs)
        process = Process(
            pid=pid,
            **_terms(task),
            program=task.program(),
            period=period,
            relative_deadline_ns=deadline,
            period_ns=task.period_ns,
            wcet_ns=task.wcet_ns,
            affinity=task.affinity,
            working_set_bytes=task.working_set_bytes,
            memory_limit_bytes=task.memory_limit_bytes,
            oom_score_adj=task.oom_score_adj,
        )
        if self.kernel is None:
            raise LlmosError(f"task {task.name} has no core to run on; give the machine a [cpu]")
        self.kernel.arrive(process)

    def _inject(self, injection: Injection, number: int) -> None:
        """Let something happen from outside, and again if anything else can still happen."""
        kernel = self.kernel
        if kernel is None:
            return
        alive = self._is_alive(kernel)
        self._happen(kernel, injection)
        # What is injected without end must not keep a run alive in which nothing else can happen.
        if number < injection.count and self._is_alive(kernel) and (alive or kernel.cores.busy()):
            self.sim.at(
                self.sim.now + injection.every_ns, self.order.came, self._inject, injection, number + 1
            )

    def _is_alive(self, kernel: Kernel) -> bool:
        return kernel.cores.busy() or self.sim.expects(but=self._inject)

    def _happen(self, kernel: Kernel, injection: Injection) -> None:
        if injection.signal:
            target = signals.find(kernel, injection.name)
            if target is not None:
                signals.deliver(kernel, target, injection.signal, "injected", max(0, target.cpu))
        elif injection.fails:
            kernel.devices[injection.device].fail(injection.fails)
        elif injection.device:
            kernel.devices[injection.device].pause(injection.cost_ns)
        elif injection.offline:
            hotplug.take_offline(kernel, kernel.cores.cores[injection.cpu], injection.cost_ns)
        else:
            kernel.cores.interrupt(injection.cpu, injection.name, injection.cost_ns, "injected")

    def _request(self, pid: int, spec: RequestSpec) -> None:
        request = Request(
            pid=pid,
            **_terms(spec),
            prompt=spec.prompt,
            output=spec.output,
            ids=list(spec.ids),
            relative_deadline_ns=spec.deadline_ns,
        )
        if self.engine is None:
            raise LlmosError(f"request {spec.name} has no engine to run on; give the machine an [engine]")
        self.engine.arrive(request)

    def verdict(self, stop: Stop) -> tuple[bool, str]:
        """Return whether the run did what it set out to do, and a sentence about its end."""
        left = sum(part.unfinished for part in (self.kernel, self.engine) if part)
        if stop is Stop.TIME_LIMIT:
            return True, f"time limit reached, with {_unfinished(left)}"
        if stop is Stop.EVENT_LIMIT:
            return False, f"event limit of {self.spec.max_events:,} reached, with {_unfinished(left)}"
        if left:
            if self.kernel:
                deadlock.look_at_the_end(self.kernel)
            stuck = ", ".join(self.kernel.blocked() if self.kernel else []) or "the policy picks none of them"
            return False, f"nothing can ever happen again, with {_unfinished(left)}: {stuck}"
        return True, "all tasks are done"

    def close(self, *, ok: bool, reason: str) -> None:
        """Write the last event of the log."""
        end = self.sim.now
        if reason.startswith("time limit"):
            end = self.spec.until_ns
        self.log.flush(end)
        self.log.emit(ev.End(end, reason=reason, ok=ok))
        self.log.flush(end)  # what was logged ahead of the end does not happen any more


def _terms(spec: TaskSpec | RequestSpec) -> dict[str, Any]:
    """What a policy may know of a task and of a request alike."""
    return {name: getattr(spec, name) for name in ("name", "priority", "tickets", "client", "nice", "group")}


def _unfinished(tasks: int) -> str:
    return f"{tasks:,} task{'s' if tasks != 1 else ''} unfinished"


def _header(spec: MachineSpec) -> ev.Run:
    processors = []
    if spec.cpu:
        processors += [
            ev.Processor(
                i,
                "core",
                spec.cpu.policy.name,
                f"cpu{i}",
                speed=spec.cpu.speeds[i] / FULL if spec.cpu.speeds else 1.0,
            )
            for i in range(spec.cpu.count)
        ]
    if spec.engine:
        e = spec.engine
        processors.append(
            ev.Processor(len(processors), "engine", e.policy.name, "engine", e.slots, e.token_budget)
        )
    return ev.Run(
        0,
        version=VERSION,
        scenario=spec.scenario,
        question=spec.question,
        seed=spec.seed,
        convention=spec.convention,
        profile=spec.profile,
        processors=processors,
        frames=spec.memory.frames if spec.memory else 0,
        page_bytes=spec.memory.page_bytes if spec.memory else 0,
        replacement=spec.memory.replacement.name if spec.memory else "",
    )


__all__ = [
    "CacheSpec", "CpuSpec", "DeviceSpec", "EngineSpec", "Injection", "MachineSpec", "Outcome", "PolicySpec",
    "RequestSpec", "SharedSpec", "TaskSpec", "run",
]  # fmt: skip
