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
from llmos.process.program import Compute
from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmos.engine.order import Order
    from llmos.engine.simulation import Alarm, Simulation
    from llmos.process.cache import Cache
    from llmos.process.dispatcher import Costs, Dispatcher
    from llmos.process.task import Process
    from llmos.sched.base import Task
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
    kept_for: Process | None = None
    """The only task that may run here, while it waits for a device and keeps its core."""
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
    effects: list[Callable[[], None]] = field(default_factory=list)
    """What interrupts will do that are being handled, where they are handled together."""
    ran: Process | None = None
    """The task that ran here last, where that costs the next one work."""
    alarm: Alarm | None = None
    online: bool = True
    offline_until: int = 0
    """Until when it shall be offline; it cannot go while it is inside the kernel."""
    plain: bool = field(init=False)
    """Whether it always works at the full rate."""

    def __post_init__(self) -> None:
        self.plain = self.speed == FULL and self.cache is None

    def takes(self, task: Task) -> bool:
        process: Process = task  # type: ignore[assignment]  # tasks on cores are processes
        if self.kept_for is not None or process.keeps is not None:
            return self.kept_for is process
        return process.affinity is None or self.cpu in process.affinity


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the cores of some courses and tools do differently; all off by default.

    - `rotate_ns`: at every multiple of it, on one clock for all cores, every running task goes to the end
      of its queue (OSTEP's multi.py).
    - `whole_ns`: a burst keeps the core to the end of such a step, and for one at least, but never longer
      than its quantum (multi.py).
    - `full_quantum`: a burst that ends early keeps the core for the rest of its quantum (lottery.py).
    - `keep_on_io`: a task that waits for a device keeps its core idle (process-run.py, SWITCH_ON_END).
    - `abort_on_miss`: a job that is not complete at its deadline is given up (SimSo).
    - `whole_entries`: the kernel is entered and left as a whole: interrupts that come while it is in are
      handled before it leaves, and whoever runs then has its context loaded, even if it ran before (SimSo).
    - `serial_decisions`: the cores make decisions one after another, as under one lock (SimSo).
    """

    rotate_ns: int = 0
    whole_ns: int = 0
    full_quantum: bool = False
    keep_on_io: bool = False
    abort_on_miss: bool = False
    whole_entries: bool = False
    serial_decisions: bool = False


@dataclass(slots=True, eq=False)
class Beat:
    """An action at every multiple of `every_ns`, which pauses while it `goes_on` no more: a run can end."""

    sim: Simulation
    every_ns: int
    phase: int
    action: Callable[[], None]
    goes_on: Callable[[], bool]
    alarm: Alarm | None = None

    def __post_init__(self) -> None:
        self.sim.asides.add(self._strike)

    def wake(self) -> None:
        """Go on at the next multiple."""
        if self.alarm is None:
            at = (self.sim.now // self.every_ns + 1) * self.every_ns
            self.alarm = self.sim.at(at, self.phase, self._strike)

    def rest(self) -> None:
        """Do not even come at the next multiple."""
        if self.alarm is not None:
            self.sim.cancel(self.alarm)
            self.alarm = None

    def _strike(self) -> None:
        self.alarm = None
        self.action()
        if self.goes_on():
            self.wake()


class Cores:
    """All cores of a machine. It is the `Processor` of all their dispatchers."""

    proceed: Callable[[Core, Process], None]
    """What to do when a task's burst is complete; the kernel sets it."""
    reach: Callable[[Process], None]
    """Let happen what is pending for a task that leaves the kernel; the kernel sets it."""
    leave: Callable[[Core], None]
    """Let a core go offline; the kernel sets it."""

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
        self._pads = bool(rules.whole_ns or rules.full_quantum)
        self._repeats = bool(costs.preemption_work_ns or costs.migration_work_ns)
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
        if core.kept_for is not None:
            self.keep_no_more(core.kept_for)
        if overhead_ns:
            self._occupy(core, overhead_ns)
        if self._repeats:
            self._repeat_work(core)
        self.resume(core)

    def _repeat_work(self, core: Core) -> None:
        """Add what a task must do again that was interrupted in the middle of its burst."""
        process: Process = core.task  # type: ignore[assignment]
        if process.remaining < process.burst:
            again = 0
            if process.ran_on is not core:
                again = self.costs.migration_work_ns
            elif core.ran is not process:
                again = self.costs.preemption_work_ns
            process.remaining += again
            process.burst += again
        process.ran_on, core.ran = core, process

    def halt(self, slot: Slot) -> None:
        core: Core = slot  # type: ignore[assignment]
        if core.alarm:
            self.sim.cancel(core.alarm)
            core.alarm = None

    def sync(self, dispatcher: Dispatcher) -> None:
        for core in dispatcher.slots:
            if core.task and not core.in_kernel:
                self._charge(core)  # type: ignore[arg-type]

    def interrupt(self, cpu: int, irq: str, cost_ns: int, reason: str) -> int:
        """Handle an interrupt on core `cpu`: its task pauses for `cost_ns` and the saving of its context.

        Return when (ns) it is handled.
        """
        cpu = self.instead_of(cpu)
        core = self.cores[cpu]
        running = core.task is not None and core.alarm is not None and not core.in_kernel
        if running and not core.effects:  # else its context is saved already
            cost_ns += self.costs.interrupt_context_ns
        self.emit(ev.Interrupt(self.sim.now, cpu, reason=reason, irq=irq, cost_ns=cost_ns))
        if cost_ns == 0:
            return self.sim.now
        if running:
            self._charge(core)
            self.halt(core)
        self._occupy(core, cost_ns)
        if running:
            self.resume(core)
        return core.free_at

    def tick(self, dispatcher: Dispatcher) -> None:
        dispatcher.tick()

    def beat(
        self, every_ns: int, phase: int, action: Callable[[], None], *, while_idle: bool = False
    ) -> None:
        """Call `action` at every multiple of `every_ns` at which the cores have something to do.

        `while_idle`: also while all tasks wait, if something is to come that may end that.
        """
        goes_on = self._is_alive if while_idle else self.busy
        self._beats.append(Beat(self.sim, every_ns, phase, action, goes_on))

    def stir(self) -> None:
        """Note that there is something to do."""
        for beat in self._beats:
            beat.wake()

    def rest(self) -> None:
        """Note that all tasks are done: the run must not go on until the next beat."""
        for beat in self._beats:
            beat.rest()

    def busy(self) -> bool:
        """Whether a task runs, or one is ready that can."""
        return any(dispatcher.has_work() for dispatcher in self.dispatchers)

    def _is_alive(self) -> bool:
        return self.busy() or self.sim.expects()

    def instead_of(self, cpu: int) -> int:
        """Return the core that does what core `cpu` should do: the first one online if that is offline."""
        return cpu if self.cores[cpu].online else next(core.cpu for core in self.cores if core.online)

    def _rotate(self) -> None:
        """Send every running task to the end of its queue, in the order of the cores."""
        for core in self.cores:
            if core.task and not core.in_kernel:
                self._charge(core)
                if core.task.remaining:  # else its burst ends now too
                    core.dispatcher.rotate(core)

    def keep_no_more(self, process: Process) -> None:
        """Let others have the core that is kept for `process`, if one is."""
        if process.keeps is not None:
            self.request(process.keeps.dispatcher)
            process.keeps.kept_for = None
            process.keeps = None

    # --- running ------------------------------------------------------------------------------------

    def resume(self, core: Core) -> None:
        """Let the core's task work from `free_at` on, until its burst or its quantum ends."""
        process: Process = core.task  # type: ignore[assignment]  # only called with a task
        now = self.sim.now
        start = core.start = core.free_at if core.free_at > now else now
        run = process.remaining if core.plain else self._at_its_rate(core, process)
        left = core.quantum_left
        if left is not None and left < run:
            run = left if left > 0 else 0
        if self._pads and isinstance(process.call, Compute):
            run = self._padded(start, run, left)
        core.alarm = self.sim.at(start + run, self.order.ended, self._ended, core)

    def _padded(self, start: int, run: int, left: int | None) -> int:
        """Return for how long a burst keeps its core by the rules, if it needs it for `run`."""
        whole = self.rules.whole_ns
        if whole:
            run = run + -(start + run) % whole or whole
        if left is None:
            return run
        return max(0, left if self.rules.full_quantum else min(run, left))

    def _at_its_rate(self, core: Core, process: Process) -> int:
        """Set the rate of the core for `process`; return the time (ns) until its burst ends or it is warm."""
        rate, cold = core.speed, 0
        if core.cache:
            cold = core.cache.cold_left(process)
            if not cold:
                self._warm(core, core.cache, process, 0)  # without a warm-up it is warm from the first
            if core.cache.is_warm(process):
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
            self._warm(core, core.cache, process, ran)
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
        if process.remaining == 0:
            self.proceed(core, process)
        elif core.quantum_left is not None and core.quantum_left <= 0:
            self.timer(core)
        else:
            self.resume(core)

    def _warm(self, core: Core, cache: Cache, process: Process, ran: int) -> None:
        """Note that `process` has worked in the core's cache for `ran`, and whether it is warm now."""
        cache.used(process, ran)
        if cache.cold_left(process) == 0 and not cache.is_warm(process):
            evicted = [other.pid for other in cache.warm_up(process)]
            reason = "its working set is in the cache"
            self.emit(ev.Warm(self.sim.now, core.cpu, process.pid, reason, evicted))

    def timer(self, core: Core) -> None:
        """Take the timer interrupt that ends a quantum."""
        cost = self.costs.timer_ns
        self.emit(ev.Interrupt(self.sim.now, core.cpu, -1, "end of quantum", "timer", cost))
        if cost:
            self.in_kernel(core, cost, partial(self._expire, core))
        else:
            core.dispatcher.expire(core)

    def _expire(self, core: Core) -> bool:
        core.dispatcher.expire(core)
        return False

    # --- kernel work --------------------------------------------------------------------------------

    def in_kernel(self, core: Core, cost_ns: int, then: Callable[[], bool]) -> None:
        """Spend `cost_ns` in the kernel, with no preemption of this core, and then do `then`.

        It returns whether the task goes on with its program.
        """
        core.in_kernel = True
        self._occupy(core, cost_ns)
        self.sim.at(core.free_at, self.order.ended, self._out_of_kernel, core, then)

    def _out_of_kernel(self, core: Core, then: Callable[[], bool]) -> None:
        if core.free_at > self.sim.now:  # an interrupt came in between and is served first
            self.sim.at(core.free_at, self.order.ended, self._out_of_kernel, core, then)
            return
        core.in_kernel = False
        core.start = self.sim.now
        process: Process = core.task  # type: ignore[assignment]
        goes_on = then()
        if process.pending:
            self.reach(process)
        if core.offline_until > self.sim.now:
            self.leave(core)
        if goes_on and core.task is process:
            self.proceed(core, process)
        self.request(core.dispatcher)  # newcomers may have waited for this core to leave the kernel

    def irq(self, cpu: int, irq: str, cost_ns: int, reason: str, then: Callable[[], None]) -> None:
        """Raise an interrupt on core `cpu`; its effect `then` comes when it has been handled."""
        cpu = self.instead_of(cpu)
        handled = self.interrupt(cpu, irq, cost_ns, reason)
        if self.rules.whole_entries:
            core = self.cores[cpu]
            core.effects.append(then)
            if len(core.effects) == 1:
                self.sim.at(handled, self.order.came, self._have_effect, core)
        elif handled == self.sim.now:
            then()
        else:
            self.sim.at(handled, self.order.came, then)

    def _have_effect(self, core: Core) -> None:
        """Let interrupts have their effects when all that have come meanwhile are handled too, and ask."""
        if core.free_at > self.sim.now:
            self.sim.at(core.free_at, self.order.came, self._have_effect, core)
            return
        effects, core.effects = core.effects, []
        for effect in effects:
            effect()
        core.dispatcher.disturb(core)

    def _occupy(self, core: Core, cost_ns: int) -> None:
        """Keep `core` busy in the kernel for `cost_ns` from when it is free."""
        core.free_at = max(self.sim.now, core.free_at) + cost_ns
