"""The cores and the kernel that runs on them.

- A core runs one task until the earlier of two things: its burst is complete, or its quantum is
  over. That is one alarm; there is no periodic tick.
- Kernel work (interrupts, system calls, decisions, context switches) delays user work: `free_at` is
  when the core is done with it. Several pieces follow one another.
- A system call takes its cost, then has its effect; while it lasts the task cannot be preempted.
- Service is user work and system calls. Interrupts and switches are charged to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from llmos.errors import PolicyError
from llmos.process.dispatcher import Slot
from llmos.process.program import (
    Compute,
    EndJob,
    Exit,
    Fork,
    Io,
    Sleep,
    Wait,
    Work,
    YieldCpu,
)
from llmos.process.task import Process
from llmos.sched.base import Why
from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llmos.costs.model import CostModel
    from llmos.engine.order import Order
    from llmos.engine.simulation import Alarm, Simulation
    from llmos.process.dispatcher import Costs, Dispatcher
    from llmos.process.program import Call
    from llmos.storage.device import Device
    from llmos.trace.log import Log

ZERO_TIME_CALLS = 10_000
"""So many calls in a row that take no time are a bug in the program."""


@dataclass(slots=True, eq=False, kw_only=True)
class Core(Slot):
    """One processor core. Times are absolute, in nanoseconds."""

    free_at: int = 0
    """When the kernel work on it is done."""
    start: int = 0
    """When the task's user work that is not charged yet began (or will begin)."""
    alarm: Alarm | None = None


class Cores:
    """All cores of a machine, on one ready queue, and the processes that run on them."""

    def __init__(
        self,
        sim: Simulation,
        log: Log,
        dispatcher: Dispatcher,
        cores: list[Core],
        order: Order,
        costs: Costs,
        devices: Mapping[str, Device],
        cost_model: CostModel | None,
        next_pid: Callable[[], int],
    ) -> None:
        self.sim = sim
        self.emit = log.emit
        self.dispatcher = dispatcher
        self.cores = cores
        self.order = order
        self.costs = costs
        self.devices = devices
        self.cost_model = cost_model
        self.next_pid = next_pid
        self.processes: dict[int, Process] = {}
        self.unfinished = 0
        self._asked = False
        dispatcher.processor = self

    # --- life of a process --------------------------------------------------------------------------

    def arrive(self, process: Process) -> None:
        """Create `process` now: it becomes ready, or waits for its first job's work."""
        now = self.sim.now
        process.arrival_ns = now
        self.processes[process.pid] = process
        self.unfinished += 1
        relative = process.relative_deadline_ns
        if relative is not None and process.period is None:
            process.deadline_ns = now + relative
            self._watch_deadline(process, job=0, deadline=now + relative)
        self.emit(
            ev.Arrive(
                now,
                task=process.pid,
                name=process.name,
                parent=process.parent.pid if process.parent else -1,
                priority=process.priority,
                tickets=process.tickets,
                client=process.client,
                deadline=-1 if process.deadline_ns is None else process.deadline_ns,
            )
        )
        if process.period:
            self._release(process)
        self._fetch(process, None)
        self.dispatcher.admit(process, Why.ARRIVAL, process.last_cpu)

    def _wake(self, process: Process, reason: str, result: object = None) -> None:
        self._fetch(process, result)
        self.emit(ev.Wake(self.sim.now, process.last_cpu, process.pid, reason))
        self.dispatcher.admit(process, Why.WAKEUP, process.last_cpu)

    def _block(self, core: Core, process: Process, on: str, reason: str) -> None:
        self.emit(ev.Block(self.sim.now, core.cpu, process.pid, reason, on))
        self.dispatcher.remove(core, Why.BLOCKED)

    def _exit(self, core: Core, process: Process) -> None:
        self._meet_deadline(process)
        self.emit(ev.Exit(self.sim.now, core.cpu, process.pid, "program ended"))
        self.dispatcher.remove(core, Why.EXITED)
        self.unfinished -= 1
        parent = process.parent
        if parent is None:
            return
        parent.children -= 1
        if parent.waiting_for in (-1, process.pid):
            parent.waiting_for = None
            self._wake(parent, f"child {process.name} terminated", process.pid)
        else:
            parent.zombies.append(process.pid)

    # --- Processor: what the dispatcher asks of the cores -------------------------------------------

    def request(self) -> None:
        if not self._asked:
            self._asked = True
            self.sim.at(self.sim.now, self.order.decide, self._decide)

    def begin(self, slot: Slot, overhead_ns: int) -> None:
        core: Core = slot  # type: ignore[assignment]  # these slots are cores
        now = self.sim.now
        core.free_at = (max(now, core.free_at)) + overhead_ns
        self._resume(core)

    def halt(self, slot: Slot) -> None:
        core: Core = slot  # type: ignore[assignment]
        if core.alarm:
            self.sim.cancel(core.alarm)
            core.alarm = None

    def sync(self) -> None:
        for core in self.cores:
            if core.task and not core.in_kernel:
                self._charge(core)

    def interrupt(self, cpu: int, cost_ns: int) -> None:
        """Handle an interrupt on core `cpu`: its task pauses for `cost_ns`."""
        core = self.cores[cpu]
        now = self.sim.now
        if cost_ns == 0:
            return
        running = core.task is not None and core.alarm is not None and not core.in_kernel
        if running:
            self._charge(core)
            self.halt(core)
        core.free_at = max(core.free_at, now) + cost_ns
        if running:
            self._resume(core)

    def tick(self) -> None:
        self.dispatcher.tick()

    # --- running ------------------------------------------------------------------------------------

    def _decide(self, _alarm: Alarm) -> None:
        self._asked = False
        self.dispatcher.decide()

    def _resume(self, core: Core) -> None:
        """Let the core's task work from `free_at` on, until its burst or its quantum ends."""
        process: Process = core.task  # type: ignore[assignment]  # only called with a task
        process.last_cpu = core.cpu
        now = self.sim.now
        start = core.start = max(now, core.free_at)
        left = core.quantum_left
        run = process.remaining
        if left is not None and left < run:
            run = max(0, left)
        core.alarm = self.sim.at(start + run, self.order.ended, self._ended, core)

    def _charge(self, core: Core) -> None:
        """Account the user work done since `start`."""
        now = self.sim.now
        ran = now - core.start
        if ran <= 0:
            return
        core.start = now
        task: Process = core.task  # type: ignore[assignment]
        task.remaining -= ran
        self._serve(core, task, ran)

    def _serve(self, core: Core, task: Process, service: int) -> None:
        task.attained += service
        if core.quantum_left is not None:
            core.quantum_left -= service
        self.dispatcher.policy.charge(task, service, self.sim.now)

    def _ended(self, alarm: Alarm) -> None:
        """The burst or the quantum of a core's task is over."""
        core: Core = alarm.value
        core.alarm = None
        self._charge(core)
        process: Process = core.task  # type: ignore[assignment]
        if process.remaining == 0:
            self._proceed(core, process)
        else:
            self._timer(core)

    def _timer(self, core: Core) -> None:
        """Take the timer interrupt that ends a quantum."""
        cost = self.costs.timer_ns
        self.emit(ev.Interrupt(self.sim.now, core.cpu, -1, "end of quantum", "timer", cost))
        if cost:
            self._in_kernel(core, cost, partial(self.dispatcher.expire, core))
        else:
            self.dispatcher.expire(core)

    def _in_kernel(self, core: Core, cost_ns: int, then: Callable[[], None]) -> None:
        """Spend `cost_ns` in the kernel, with no preemption of this core, and then go on with `then`."""
        core.in_kernel = True
        core.free_at = max(core.free_at, self.sim.now) + cost_ns
        self.sim.at(core.free_at, self.order.ended, self._out_of_kernel, (core, then))

    def _out_of_kernel(self, alarm: Alarm) -> None:
        core, then = alarm.value
        if core.free_at > self.sim.now:  # an interrupt came in between and is served first
            self.sim.at(core.free_at, self.order.ended, self._out_of_kernel, (core, then))
            return
        core.in_kernel = False
        then()
        self.request()  # newcomers may have waited for this core to leave the kernel

    # --- programs -----------------------------------------------------------------------------------

    def _fetch(self, process: Process, result: object) -> None:
        """Advance the program to its next call; the value of the last one is `result`."""
        try:
            call = process.program.send(result)
        except StopIteration:
            call = Exit()
        except Exception as error:
            name = type(error).__name__
            raise self._bad_program(process, f"its program failed: {name}: {error}") from error
        if isinstance(call, Work):
            if self.cost_model is None:
                raise self._bad_program(process, "it needs a cost profile; set `profile` in the scenario")
            call = Compute(self.cost_model.predict(call.op).ns * call.count)
        process.call = call
        process.remaining = process.burst = call.ns if isinstance(call, Compute) else 0

    def _proceed(self, core: Core, process: Process) -> None:
        """Go on with the program of the core's task until it computes, leaves the core or takes time."""
        for _ in range(ZERO_TIME_CALLS):
            call = process.call
            if isinstance(call, Compute):
                if process.remaining:
                    if core.quantum_left is not None and core.quantum_left <= 0:
                        self._timer(core)
                    else:
                        self._resume(core)
                    return
                self._fetch(process, None)
                continue
            name = type(call).__name__.lower()
            cost = 0 if isinstance(call, EndJob) else self.costs.syscall_ns
            self.emit(ev.Syscall(self.sim.now, core.cpu, process.pid, name=name, cost_ns=cost))
            if cost:
                self._in_kernel(core, cost, partial(self._after_syscall, core, process, call, cost))
                return
            if not self._perform(core, process, call):
                return
        raise self._bad_program(process, f"it made {ZERO_TIME_CALLS:,} calls without spending any time")

    def _after_syscall(self, core: Core, process: Process, call: Call | None, cost: int) -> None:
        self._serve(core, process, cost)
        if self._perform(core, process, call):
            self._proceed(core, process)

    def _perform(self, core: Core, process: Process, call: Call | None) -> bool:
        """Let a system call take effect; return whether the task is still on the core."""
        match call:
            case Exit():
                self._exit(core, process)
            case Io(device, ns):
                self._io(core, process, device, ns)
            case Sleep(ns):
                self._block(core, process, "sleep", "sleeps")
                self.sim.at(self.sim.now + ns, self.order.came, self._slept, process)
            case YieldCpu():
                self._fetch(process, None)
                self.dispatcher.yielded(core)
            case EndJob():
                self._end_job(core, process)
            case Fork():
                self._fetch(process, self._fork(core, process, call))
                return True
            case Wait(pid):
                return self._wait(core, process, pid)
            case _:
                raise self._bad_program(process, f"it yielded {call!r:.80}, which is no system call")
        return False

    def _io(self, core: Core, process: Process, name: str, ns: int | None) -> None:
        device = self.devices.get(name)
        if device is None:
            known = ", ".join(sorted(self.devices)) or "none"
            raise self._bad_program(process, f"it uses the device {name!r}; the machine has: {known}")
        self._block(core, process, name, f"waits for {name}")

        def done() -> None:
            self._irq(process.last_cpu, "io", self.costs.io_interrupt_ns, f"{name} is done",
                      lambda: self._wake(process, f"{name} is done"))  # fmt: skip

        device.submit(process.pid, ns, done)

    def _slept(self, alarm: Alarm) -> None:
        process: Process = alarm.value
        self._irq(process.last_cpu, "timer", self.costs.timer_ns, "sleep is over",
                  lambda: self._wake(process, "sleep is over"))  # fmt: skip

    def _irq(self, cpu: int, irq: str, cost_ns: int, reason: str, then: Callable[[], None]) -> None:
        """Raise an interrupt on core `cpu`; its effect `then` comes when it has been handled."""
        self.emit(ev.Interrupt(self.sim.now, cpu, reason=reason, irq=irq, cost_ns=cost_ns))
        if cost_ns == 0:
            then()
            return
        self.interrupt(cpu, cost_ns)
        self.sim.at(self.cores[cpu].free_at, self.order.came, lambda _alarm: then())

    def _fork(self, core: Core, parent: Process, call: Fork) -> int:
        pid = self.next_pid()
        child = Process(
            pid=pid,
            name=call.name or f"{parent.name}.{pid}",
            priority=parent.priority,
            tickets=parent.tickets,
            client=parent.client,
            program=call.program(),
            parent=parent,
            last_cpu=core.cpu,
        )
        parent.children += 1
        self.arrive(child)
        return pid

    def _wait(self, core: Core, process: Process, pid: int | None) -> bool:
        zombie = next((z for z in process.zombies if pid in (None, z)), None)
        if zombie is not None:
            process.zombies.remove(zombie)
            self._fetch(process, zombie)
            return True
        if not process.children:
            self._fetch(process, -1)  # nobody to wait for: return at once, like ECHILD
            return True
        process.waiting_for = -1 if pid is None else pid
        self._block(core, process, "child", "waits for a child")
        return False

    # --- deadlines and periodic jobs ----------------------------------------------------------------

    def _release(self, process: Process) -> None:
        """Release the next job of a periodic task and set the alarm for the one after it."""
        period, now = process.period, self.sim.now
        if period is None:
            return
        period.released += 1
        deadline = now + period.deadline_ns
        self.emit(ev.Release(now, task=process.pid, job=period.released, deadline=deadline))
        period.deadlines.append(deadline)
        process.deadline_ns = period.deadlines[0]
        self._watch_deadline(process, period.released, deadline)
        if period.jobs is None or period.released < period.jobs:
            self.sim.at(now + period.every_ns, self.order.came, self._on_release, process)
        if period.waiting:
            period.waiting = False
            self._wake(process, f"job {period.released} is released")

    def _on_release(self, alarm: Alarm) -> None:
        self._release(alarm.value)

    def _end_job(self, core: Core, process: Process) -> None:
        period = process.period
        if period is None:
            raise self._bad_program(process, "EndJob is for periodic tasks; give it a `period`")
        period.completed += 1
        self.emit(ev.Complete(self.sim.now, core.cpu, process.pid, job=period.completed))
        period.deadlines.popleft()
        self._meet_deadline(process)
        if period.jobs is not None and period.completed == period.jobs:
            self._exit(core, process)
            return
        self._block(core, process, "release", "waits for its next job")
        if period.deadlines:
            process.deadline_ns = period.deadlines[0]
            self._wake(process, f"job {period.completed + 1} is already there")
        else:
            period.waiting = True

    def _watch_deadline(self, process: Process, job: int, deadline: int) -> None:
        # In the last phase: what is complete at its very deadline is in time.
        alarm = self.sim.at(deadline, self.order.decide, self._missed, (process, job, deadline))
        process.miss_alarms.append(alarm)

    def _missed(self, alarm: Alarm) -> None:
        process, job, deadline = alarm.value
        self.emit(ev.Miss(self.sim.now, task=process.pid, reason="not complete", job=job, deadline=deadline))

    def _meet_deadline(self, process: Process) -> None:
        """Cancel the alarm of the deadline that is due next (it may have gone off already)."""
        if process.miss_alarms:
            self.sim.cancel(process.miss_alarms.popleft())

    def blocked(self, most: int = 5) -> list[str]:
        """Name tasks that are blocked, and on what; at most `most` of them."""
        waiting = (
            p
            for p in self.processes.values()
            if p.call is not None and not isinstance(p.call, Compute | Exit)
        )
        return [f"{p.name} ({type(p.call).__name__.lower()})" for p in islice(waiting, most)]

    def _bad_program(self, process: Process, message: str) -> PolicyError:
        return PolicyError(f"task {process.name}: {message}", time_ns=self.sim.now)
