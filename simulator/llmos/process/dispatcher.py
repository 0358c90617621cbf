"""The dispatcher: fills slots with ready tasks in the order that the policy says.

- One dispatcher serves the cores of a machine (each is one slot) and another an LLM engine (a slot
  is a place in the batch). It is the only code that talks to a `Scheduler`.
- It checks everything that a policy answers; nonsense stops the run with a PolicyError.
- At a decision point it fills the free slots; then each newcomer for which there was no slot may
  take a running task's (`preempts`). At a tick every task is handed back and all slots are filled
  again.
- A task that is picked again for the slot it was on stays there: a `Renew`, not a context switch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from llmos.errors import PolicyError
from llmos.sched.base import Scheduler, Task, Why
from llmos.trace.events import Dispatch, Interrupt, Preempt, Renew, Tick, Yield

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmos.engine.order import Order
    from llmos.engine.simulation import Alarm, Simulation
    from llmos.trace.log import Log


@dataclass(slots=True, eq=False, kw_only=True)
class Slot:
    """A place where one task can run: a core, or one place in an engine's batch."""

    cpu: int
    task: Task | None = None
    handed_back: Task | None = None
    """The task that was here until just now and may be picked again."""
    why_back: str = ""
    last: Task | None = None
    """The task that ran here last; another one costs a context switch."""
    quantum_left: int | None = None
    local: bool = False
    """Whether it became free by an event of its own, so that no other processor has to tell it."""
    in_kernel: bool = False
    """Whether its task is inside the kernel and cannot be preempted."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What the kernel's own work costs, in nanoseconds."""

    context_switch_ns: int = 0
    syscall_ns: int = 0
    decision_ns: int = 0
    timer_ns: int = 0
    io_interrupt_ns: int = 0
    ipi_ns: int = 0


class Processor(Protocol):
    """What the dispatcher needs from the cores or the engine that it fills."""

    def request(self) -> None:
        """Call `decide` in the decision phase of this instant, or as soon as the hardware allows."""

    def begin(self, slot: Slot, overhead_ns: int) -> None:
        """Run `slot.task` after `overhead_ns`."""

    def halt(self, slot: Slot) -> None:
        """Stop the task that runs in `slot`; its service is charged already."""

    def sync(self) -> None:
        """Charge every running task for the service it has had until now."""

    def interrupt(self, cpu: int, cost_ns: int) -> None:
        """Keep processor `cpu` busy with an interrupt for `cost_ns`."""

    def tick(self) -> None:
        """Call the dispatcher's `tick` now, or as soon as the hardware allows."""


class Dispatcher:
    """Moves tasks between the ready queue of one policy and the slots of one processor."""

    def __init__(
        self, sim: Simulation, log: Log, policy: Scheduler, slots: Sequence[Slot], order: Order, costs: Costs
    ) -> None:
        self.sim = sim
        self.emit = log.emit
        self.policy = policy
        self.slots = slots
        self.order = order
        self.costs = costs
        self.processor: Processor
        self.ready: dict[int, Task] = {}
        """The tasks that the policy holds, by pid."""
        self._newcomers: dict[int, int] = {}
        """Tasks that became ready since the last decision: pid -> the cpu where the kernel heard of it."""
        self._ticks = type(policy).next_tick is not Scheduler.next_tick
        self._preempts = type(policy).preempts is not Scheduler.preempts
        self._tick_at: int | None = None
        self._tick_alarm: Alarm | None = None

    # --- what happens to tasks ----------------------------------------------------------------------

    def admit(self, task: Task, why: Why, cpu: int) -> None:
        """Make a new or woken task ready; `cpu` is where the kernel heard of it."""
        if self._tick_at is not None and self._tick_alarm is None and self._tick_at <= self.sim.now:
            self.tick()  # its time passed while there was nothing to reorder
        self._enqueue(task, why)
        self._newcomers[task.pid] = cpu
        self.processor.request()

    def expire(self, slot: Slot) -> None:
        """The quantum of the task in `slot` is over."""
        self._hand_back(slot, Why.EXPIRED, "quantum expired")
        slot.local = True
        self.processor.request()

    def yielded(self, slot: Slot) -> None:
        """The task in `slot` gives it away."""
        task = self._leave(slot)
        slot.local = True
        self.emit(Yield(self.sim.now, slot.cpu, task.pid))
        self._enqueue(task, Why.YIELDED)
        self.processor.request()

    def remove(self, slot: Slot, why: Why) -> None:
        """The task in `slot` has blocked or exited."""
        slot.local = True
        self.policy.remove(self._leave(slot), why, self.sim.now)
        self.processor.request()

    def tick(self) -> None:
        """Hand all running tasks back to the policy and let it reorder them."""
        self._tick_alarm = self._tick_at = None
        self.processor.sync()
        running = [slot for slot in self.slots if slot.task and not slot.in_kernel]
        for slot in reversed(running):  # a preempted task goes to the front: the first slot's comes last
            self._hand_back(slot, Why.PREEMPTED, "")
        reason = self.policy.tick(self.sim.now)
        self.emit(Tick(self.sim.now, self.slots[0].cpu, reason=reason))
        for slot in running:
            slot.why_back = reason
        self.processor.request()

    # --- decisions ----------------------------------------------------------------------------------

    def decide(self) -> None:
        """Fill the free slots, let newcomers preempt, and arm the policy's next tick."""
        free = [slot for slot in self.slots if slot.task is None]
        if len(free) == 1:
            self._fill_one(free[0])
        elif free:
            self._fill(free)
        if self._newcomers:
            if self._preempts and self.ready:
                self._let_newcomers_preempt()
            else:
                self._newcomers.clear()
        if self._ticks:
            self._arm_tick()

    def _fill(self, free: list[Slot]) -> None:
        """Give the free slots to the tasks that the policy picks, each to its own if it just left it."""
        picks: dict[int, Task] = {}
        while self.ready and len(picks) < len(free):
            task = self._pick()
            if task is None:
                break
            picks[task.pid] = task
        for slot in free:
            was = slot.handed_back
            if was is not None and was.pid in picks:
                self._keep(slot, picks.pop(was.pid))
        rest = iter(picks.values())
        for slot in free:
            if slot.task is None:
                if slot.handed_back is not None:
                    self._vacate(slot)
                task = next(rest, None)
                if task is not None:
                    self._place(slot, task)
            slot.local = False

    def _fill_one(self, slot: Slot) -> None:
        """Do the same for a single slot, which is the usual case and worth the speed."""
        task = self._pick() if self.ready else None
        if task is not None and task is slot.handed_back:
            self._keep(slot, task)
        else:
            if slot.handed_back is not None:
                self._vacate(slot)
            if task is not None:
                self._place(slot, task)
        slot.local = False

    def _let_newcomers_preempt(self) -> None:
        self.processor.sync()
        for pid in list(self._newcomers):
            slots = {slot.task.pid: slot for slot in self.slots if slot.task and not slot.in_kernel}
            if pid not in self.ready or not slots:
                continue
            newcomer, running = self.ready[pid], [slot.task for slot in slots.values() if slot.task]
            victim: object = self.policy.preempts(newcomer, running, self.sim.now)
            if victim is None:
                continue
            if not isinstance(victim, Task) or victim.pid not in slots:
                raise self._broken("preempts returns one of the running tasks, or None", victim)
            slot = slots[victim.pid]
            why = f"{newcomer.name} goes first: {self.policy.reason(newcomer, self.sim.now)}"
            self._hand_back(slot, Why.PREEMPTED, why)
            self._fill_one(slot)
        if not any(slot.in_kernel for slot in self.slots):
            self._newcomers.clear()  # else they ask again when the others have left the kernel

    def _keep(self, slot: Slot, task: Task) -> None:
        """Let `task` go on in the slot where it was."""
        slot.task, slot.handed_back = task, None
        self.processor.halt(slot)
        decision = self.costs.decision_ns
        quantum = self._quantum(slot, task)
        reason = self.policy.reason(task, self.sim.now)
        self.emit(Renew(self.sim.now, slot.cpu, task.pid, reason, decision, quantum))
        self.processor.begin(slot, decision)

    def _place(self, slot: Slot, task: Task) -> None:
        """Dispatch `task` to the empty `slot`."""
        now = self.sim.now
        if not slot.local:
            self._tell(slot, task)
        slot.task = task
        costs = self.costs
        switch = 0 if slot.last is task else costs.context_switch_ns
        slot.last = task
        quantum = self._quantum(slot, task)
        reason = self.policy.reason(task, now)
        self.emit(Dispatch(now, slot.cpu, task.pid, reason, costs.decision_ns, switch, quantum))
        self.processor.begin(slot, costs.decision_ns + switch)

    def _tell(self, slot: Slot, task: Task) -> None:
        """Send an inter-processor interrupt if the kernel heard of `task` on another core."""
        origin = self._newcomers.get(task.pid, slot.cpu)
        if origin != slot.cpu:
            cost = self.costs.ipi_ns
            why = f"cpu {origin} has {task.name} for it"
            self.emit(Interrupt(self.sim.now, slot.cpu, reason=why, irq="ipi", cost_ns=cost))
            self.processor.interrupt(slot.cpu, cost)

    def _vacate(self, slot: Slot) -> None:
        """Log the preemption of a task that was handed back and not picked again for its slot."""
        self.processor.halt(slot)
        if slot.handed_back is not None:
            self.emit(Preempt(self.sim.now, slot.cpu, slot.handed_back.pid, slot.why_back))
            slot.handed_back = None

    def _arm_tick(self) -> None:
        at = self.policy.next_tick(self.sim.now)
        if at is not None and (type(at) is not int or at <= self.sim.now):
            raise self._broken("next_tick returns a time after now, or None", at)
        busy = bool(self.ready) or any(slot.task for slot in self.slots)
        armed = at if busy else None
        if self._tick_alarm and armed != self._tick_at:
            self.sim.cancel(self._tick_alarm)
            self._tick_alarm = None
        self._tick_at = at
        if armed is not None and self._tick_alarm is None:
            self._tick_alarm = self.sim.at(armed, self.order.tick, self._on_tick)

    def _on_tick(self, _alarm: Alarm) -> None:
        self.processor.tick()

    # --- the policy's answers, checked --------------------------------------------------------------

    def _enqueue(self, task: Task, why: Why) -> None:
        self.ready[task.pid] = task
        self.policy.enqueue(task, why, self.sim.now)

    def _pick(self) -> Task | None:
        task: object = self.policy.pick(self.sim.now)
        if task is None:
            return None
        if not isinstance(task, Task) or self.ready.pop(task.pid, None) is not task:
            raise self._broken("pick returns a task from the ready queue, each once, or None", task)
        return task

    def _quantum(self, slot: Slot, task: Task) -> int:
        """Ask for the task's quantum and note it in the slot; 0 means that there is none."""
        quantum = self.policy.quantum(task, self.sim.now)
        if quantum is None:
            slot.quantum_left = None
            return 0
        if type(quantum) is not int or quantum < 1:
            raise self._broken("quantum returns an int, at least 1, or None", quantum)
        slot.quantum_left = quantum
        return quantum

    def _hand_back(self, slot: Slot, why: Why, reason: str) -> None:
        task = slot.handed_back = self._leave(slot)
        slot.why_back = reason
        self.ready[task.pid] = task
        self.policy.enqueue(task, why, self.sim.now)

    def _leave(self, slot: Slot) -> Task:
        task, slot.task = slot.task, None
        if task is None:
            raise RuntimeError("an empty slot cannot be left")  # a bug in llmos, not in a policy
        return task

    def _broken(self, contract: str, answer: object) -> PolicyError:
        shown = f"task {answer.name}" if isinstance(answer, Task) else repr(answer)[:80]
        return PolicyError(
            f"answered {shown}", policy=type(self.policy).__name__, contract=contract, time_ns=self.sim.now
        )
