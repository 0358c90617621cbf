"""The cores: who computes where, until when, and at what speed.

- A core runs one task until the earliest of three things: its burst is complete, its quantum is over,
  or its cache is warm. That is one alarm; there is no periodic tick.
- Kernel work (interrupts, system calls, decisions, context switches) delays user work: `free_at` is
  when the core is done with it. Several pieces follow one another.
- Service is time on the core: user work and system calls. Interrupts and switches are charged to
  nobody. Work is service times the core's rate; a burst is an amount of work.
- What a task does when its burst is complete is the kernel's affair (`llmos.process.kernel`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from llmos.process.dispatcher import Slot
from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmos.engine.order import Order
    from llmos.engine.simulation import Alarm, Simulation
    from llmos.process.cache import Cache
    from llmos.process.dispatcher import Costs, Dispatcher
    from llmos.process.task import Process
    from llmos.trace.log import Log

FULL = 1000
"""The rate of an ordinary core with nothing special: 1000 ns of work in 1000 ns."""


@dataclass(slots=True, eq=False, kw_only=True)
class Core(Slot):
    """One processor core. Times are absolute, in nanoseconds; rates are ns of work per 1000 ns."""

    dispatcher: Dispatcher = field(init=False)
    """Whose ready queue it serves."""
    speed: int = FULL
    cache: Cache | None = None
    free_at: int = 0
    """When the kernel work on it is done."""
    start: int = 0
    """When the task's user work that is not charged yet began (or will begin)."""
    rate: int = FULL
    """How fast its task works: its speed, times what a warm cache gives."""
    begun: int = 0
    """When the task's user work began at this rate, with `work` left: counted from there, so that
    charging in pieces rounds as charging at once."""
    work: int = 0
    alarm: Alarm | None = None
    plain: bool = field(init=False)
    """Whether it always works at the full rate."""

    def __post_init__(self) -> None:
        self.plain = self.speed == FULL and self.cache is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the cores of some courses and tools do differently; all off by default.

    `rotate_ns`: at every multiple of it, on one clock for all cores, every running task goes to the
    end of its queue (OSTEP's multi.py). `whole_ns`: a burst that ends inside such a step keeps the
    core to the step's end. `full_quantum`: a burst that ends early keeps the core for the rest of its
    quantum (OSTEP's lottery.py). `keep_on_io`: a task that waits for a device keeps its core idle
    (OSTEP's process-run.py, SWITCH_ON_END). `abort_on_miss`: a job that is not complete at its
    deadline is given up (SimSo). `serial_decisions`: the cores make decisions one after another,
    as under one lock (SimSo).
    """

    rotate_ns: int = 0
    whole_ns: int = 0
    full_quantum: bool = False
    keep_on_io: bool = False
    abort_on_miss: bool = False
    serial_decisions: bool = False


@dataclass(slots=True)
class Beat:
    """An action at every multiple of `every_ns`, which pauses while nobody is busy: a run can end."""

    sim: Simulation
    every_ns: int
    phase: int
    action: Callable[[], None]
    busy: Callable[[], bool]
    armed: bool = False

    def wake(self) -> None:
        """Go on at the next multiple."""
        if not self.armed:
            self.armed = True
            self.sim.at((self.sim.now // self.every_ns + 1) * self.every_ns, self.phase, self._strike)

    def _strike(self) -> None:
        self.armed = False
        self.action()
        if self.busy():
            self.wake()


class Cores:
    """All cores of a machine. It is the `Processor` of all their dispatchers."""

    proceed: Callable[[Core, Process], None]
    """What to do when a task's burst is complete; the kernel sets it."""

    def __init__(
        self, sim: Simulation, log: Log, cores: list[Core], order: Order, costs: Costs, rules: Rules
    ) -> None:
        self.sim = sim
        self.emit = log.emit
        self.cores = cores
        self.order = order
        self.costs = costs
        self.rules = rules
        self.dispatchers = list(dict.fromkeys(core.dispatcher for core in cores))
        for dispatcher in self.dispatchers:
            dispatcher.processor = self
        self._beats: list[Beat] = []
        if rules.rotate_ns:
            self.beat(rules.rotate_ns, order.ended, self._rotate)

    # --- Processor: what the dispatchers ask of the cores -------------------------------------------

    def request(self, dispatcher: Dispatcher) -> None:
        if not dispatcher.asked:
            dispatcher.asked = True
            self.sim.at(self.sim.now, self.order.decide, dispatcher.decide)

    def begin(self, slot: Slot, overhead_ns: int) -> None:
        core: Core = slot  # type: ignore[assignment]  # these slots are cores
        core.kept_for = None
        if overhead_ns:
            self._occupy(core, overhead_ns)
        self.resume(core)

    def halt(self, slot: Slot) -> None:
        core: Core = slot  # type: ignore[assignment]
        if core.alarm:
            self.sim.cancel(core.alarm)
            core.alarm = None

    def sync(self, dispatcher: Dispatcher) -> None:
        for core in dispatcher.slots:
            if core.task and not core.in_kernel:
                self._charge(core)  # type: ignore[arg-type]

    def interrupt(self, cpu: int, irq: str, cost_ns: int, reason: str) -> None:
        """Handle an interrupt on core `cpu`: its task pauses for `cost_ns` and the saving of its context."""
        core = self.cores[cpu]
        running = core.task is not None and core.alarm is not None and not core.in_kernel
        if running:
            cost_ns += self.costs.interrupt_context_ns
        self.emit(ev.Interrupt(self.sim.now, cpu, reason=reason, irq=irq, cost_ns=cost_ns))
        if cost_ns == 0:
            return
        if running:
            self._charge(core)
            self.halt(core)
        self._occupy(core, cost_ns)
        if running:
            self.resume(core)

    def tick(self, dispatcher: Dispatcher) -> None:
        dispatcher.tick()

    def beat(self, every_ns: int, phase: int, action: Callable[[], None]) -> None:
        """Call `action` at every multiple of `every_ns` at which the cores have something to do."""
        self._beats.append(Beat(self.sim, every_ns, phase, action, self._busy))

    def stir(self) -> None:
        """Note that there is something to do."""
        for beat in self._beats:
            beat.wake()

    def _busy(self) -> bool:
        return any(dispatcher.running or dispatcher.ready for dispatcher in self.dispatchers)

    def _rotate(self) -> None:
        """End the quantum of every running task, in the order of the cores."""
        for core in self.cores:
            if core.task and not core.in_kernel:
                self._charge(core)
                if core.task.remaining:  # else its burst ends now too
                    self.halt(core)
                    core.dispatcher.expire(core)

    # --- running ------------------------------------------------------------------------------------

    def resume(self, core: Core) -> None:
        """Let the core's task work from `free_at` on, until its burst or its quantum ends."""
        process: Process = core.task  # type: ignore[assignment]  # only called with a task
        now = self.sim.now
        start = core.start = core.free_at if core.free_at > now else now
        run = process.remaining if core.plain else self._at_its_rate(core, process)
        left = core.quantum_left
        if left is not None and (left < run or self.rules.full_quantum):
            run = left if left > 0 else 0
        elif self.rules.whole_ns:
            run += -(start + run) % self.rules.whole_ns
        core.alarm = self.sim.at(start + run, self.order.ended, self._ended, core)

    def _at_its_rate(self, core: Core, process: Process) -> int:
        """Set the rate of the core for `process`; return the time (ns) until its burst ends or it is warm."""
        rate = core.speed
        cold: int | None = None
        if core.cache:
            cold = core.cache.cold_left(process)
            if cold == 0:
                rate = rate * core.cache.warm_rate // FULL
        core.rate, core.begun, core.work = rate, core.start, process.remaining
        run = -(-process.remaining * FULL // rate)
        return min(run, cold) if cold else run

    def _charge(self, core: Core) -> None:
        """Account the user work done since `start`."""
        now = self.sim.now
        ran = now - core.start
        if ran <= 0:
            return
        core.start = now
        process: Process = core.task  # type: ignore[assignment]
        if core.rate == FULL:
            process.remaining -= ran
        else:
            process.remaining = core.work - (now - core.begun) * core.rate // FULL
        if process.remaining < 0:
            process.remaining = 0  # the core was kept longer than the burst needs
        process.attained += ran
        if core.quantum_left is not None:
            core.quantum_left -= ran
        if core.cache:
            core.cache.used(process, ran)
        charge = core.dispatcher.charge
        if charge:
            charge(process, ran, now)

    def serve(self, core: Core, service: int) -> None:
        """Charge the core's task for `service` in the kernel on its behalf (a system call)."""
        task = core.task
        if task is None:
            return
        task.attained += service
        if core.quantum_left is not None:
            core.quantum_left -= service
        charge = core.dispatcher.charge
        if charge:
            charge(task, service, self.sim.now)

    def _ended(self, core: Core) -> None:
        """The burst or the quantum of a core's task is over, or its cache is warm."""
        core.alarm = None
        self._charge(core)
        process: Process = core.task  # type: ignore[assignment]
        if core.cache:
            self._note_warmth(core, process)
        if process.remaining == 0:
            self.proceed(core, process)
        elif core.quantum_left is not None and core.quantum_left <= 0:
            self.timer(core)
        else:
            self.resume(core)

    def _note_warmth(self, core: Core, process: Process) -> None:
        if core.cache and core.cache.cold_left(process) == 0 and not core.cache.is_warm(process):
            evicted = core.cache.warm_up(process)
            self.emit(ev.Warm(self.sim.now, core.cpu, process.pid, "its working set is in the cache",
                              evicted=[other.pid for other in evicted]))  # fmt: skip

    def timer(self, core: Core) -> None:
        """Take the timer interrupt that ends a quantum."""
        cost = self.costs.timer_ns
        self.emit(ev.Interrupt(self.sim.now, core.cpu, -1, "end of quantum", "timer", cost))
        if cost:
            self.in_kernel(core, cost, partial(core.dispatcher.expire, core))
        else:
            core.dispatcher.expire(core)

    # --- kernel work --------------------------------------------------------------------------------

    def in_kernel(self, core: Core, cost_ns: int, then: Callable[[], None]) -> None:
        """Spend `cost_ns` in the kernel, with no preemption of this core, and then go on with `then`."""
        core.in_kernel = True
        self._occupy(core, cost_ns)
        self.sim.at(core.free_at, self.order.ended, self._out_of_kernel, core, then)

    def _out_of_kernel(self, core: Core, then: Callable[[], None]) -> None:
        if core.free_at > self.sim.now:  # an interrupt came in between and is served first
            self.sim.at(core.free_at, self.order.ended, self._out_of_kernel, core, then)
            return
        core.in_kernel = False
        core.start = self.sim.now
        then()
        self.request(core.dispatcher)  # newcomers may have waited for this core to leave the kernel

    def irq(self, cpu: int, irq: str, cost_ns: int, reason: str, then: Callable[[], None]) -> None:
        """Raise an interrupt on core `cpu`; its effect `then` comes when it has been handled."""
        self.interrupt(cpu, irq, cost_ns, reason)
        if cost_ns == 0:
            then()
        else:
            self.sim.at(self.cores[cpu].free_at, self.order.came, then)

    def _occupy(self, core: Core, cost_ns: int) -> None:
        """Keep `core` busy in the kernel for `cost_ns` from when it is free."""
        core.free_at = max(self.sim.now, core.free_at) + cost_ns
