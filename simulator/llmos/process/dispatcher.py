"""The dispatcher: fills slots with ready tasks in the order that the policy says.

- A dispatcher is one ready queue and the slots that it fills: all cores of a machine or one of them
  (a core is one slot), or an LLM engine (a slot is a place in the batch). It is the only code that
  talks to a `Scheduler`.
- It checks everything that a policy answers; nonsense stops the run with a PolicyError.
- At a decision point it fills the free slots; then each newcomer for which there was no slot may
  take a running task's (`preempts`). At a tick every task is handed back and all slots are filled
  again.
- A task that is picked again for the slot it was on stays there: a `Renew`, not a context switch.
- A slot may refuse a task (affinity; a core that is kept for somebody). Then the policy is asked for
  the next one, and gets the refused ones back at the front of its queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from llmos.errors import PolicyError
from llmos.sched.base import Scheduler, Task, Why
from llmos.trace.events import Dispatch, Preempt, Queue, Renew, Tick, Yield

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmos.engine.order import Order
    from llmos.engine.simulation import Alarm, Simulation
    from llmos.trace.log import Log


MOST_SHOWN = 50
"""So many tasks of each shelf of a ready queue are shown."""


@dataclass(slots=True, eq=False, kw_only=True)
class Slot:
    """A place where one task can run: a core, or one place in an engine's batch."""

    cpu: int
    place: int = 0
    """Its number among the slots of its dispatcher."""
    task: Task | None = None
    task_since: int = -1
    """When (ns) it was dispatched."""
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

    def takes(self, task: Task) -> bool:
        """Whether `task` may run here."""
        return task.affinity is None or self.cpu in task.affinity


@dataclass(frozen=True, slots=True)
class Costs:
    """What the kernel's own work costs, in nanoseconds."""

    context_switch_ns: int = 0
    """Dispatching another task than the one that ran last on the core."""
    migration_ns: int = 0
    """Dispatching a task on another core than the one on which it ran last, in addition."""
    syscall_ns: int = 0
    decision_ns: int = 0
    """Asking the policy who runs next."""
    timer_ns: int = 0
    """Handling a timer interrupt: the end of a quantum or of a sleep."""
    io_interrupt_ns: int = 0
    ipi_ns: int = 0
    release_ns: int = 0
    """Releasing a job of a periodic task, on the core on which the task ran last."""
    completion_ns: int = 0
    """Ending a job of a periodic task."""
    context_load_ns: int = 0
    """Loading the context of a task: at every dispatch, and with `whole_entries` after an interrupt."""
    preemption_work_ns: int = 0
    """User work that a task must do again when it goes on after another one has run on its core."""
    migration_work_ns: int = 0
    """User work that a task must do again when it goes on on another core."""
    interrupt_context_ns: int = 0
    """Saving and restoring the context of a running task, for each interrupt that it suffers."""


@dataclass(slots=True)
class DecisionLock:
    """The lock under which the cores make their decisions one after another; times in ns."""

    free_at: int = 0

    def wait(self, now: int, hold_ns: int) -> int:
        """Take the lock for `hold_ns` as soon as it is free; return how long that takes."""
        wait = max(0, self.free_at - now)
        self.free_at = now + wait + hold_ns
        return wait


class Processor(Protocol):
    """What a dispatcher needs from the cores or the engine that it fills."""

    def request(self, dispatcher: Dispatcher) -> None:
        """Call `decide` in the decision phase of this instant, or as soon as the hardware allows."""

    def begin(self, slot: Slot, overhead_ns: int) -> None:
        """Run `slot.task` after `overhead_ns`."""

    def halt(self, slot: Slot) -> None:
        """Stop the task that runs in `slot`; its service is charged already."""

    def sync(self, dispatcher: Dispatcher) -> None:
        """Charge every running task of `dispatcher` for the service it has had until now."""

    def interrupt(self, cpu: int, irq: str, cost_ns: int, reason: str) -> int | None:
        """Keep processor `cpu` busy with an interrupt for `cost_ns`, and log it."""

    def tick(self, dispatcher: Dispatcher) -> None:
        """Call the dispatcher's `tick` now, or as soon as the hardware allows."""


class Dispatcher:
    """Moves tasks between the ready queue of one policy and its slots."""

    processor: Processor

    def __init__(
        self, sim: Simulation, log: Log, policy: Scheduler, slots: Sequence[Slot], order: Order, costs: Costs
    ) -> None:
        self.sim = sim
        self.emit = log.emit
        self.policy = policy
        self.slots = slots
        self.order = order
        self.costs = costs
        self.shows = log.shows_queues
        self.lock: DecisionLock | None = None
        self.choosy = False
        """Whether some slot may refuse a task, so that it must be asked."""
        self.ready: dict[int, Task] = {}
        """The tasks that the policy holds, by pid."""
        self.asked = False
        """Whether a decision has been asked for and not made yet; the processor sets it."""
        self.idle: Callable[[Dispatcher], None] | None = None
        """What to do when a decision leaves slots free, if anything."""
        self._free = dict(enumerate(slots))
        """The slots without a task, by place."""
        self._closed: set[int] = set()
        """The places of slots that are out of service."""
        self._disturbed: dict[int, Task] = {}
        """Tasks on whose core something has happened since the last decision, by place."""
        self._newcomers: dict[int, int] = {}
        """Tasks that became ready since the last decision: pid -> the cpu where the kernel heard of it."""
        # Bound once: these are asked at every dispatch.
        self._put, self._take, self._reason = policy.enqueue, policy.pick, policy.reason
        kind = type(policy)
        self._quantum = policy.quantum if kind.quantum is not Scheduler.quantum else None
        self.charge = policy.charge if kind.charge is not Scheduler.charge else None
        """The policy's `charge`, or None if it does not care."""
        self._ticks = kind.next_tick is not Scheduler.next_tick
        self._preempts = kind.preempts is not Scheduler.preempts
        self._tick_at: int | None = None
        self._tick_alarm: Alarm | None = None
        for place, slot in enumerate(slots):
            slot.place = place

    @property
    def running(self) -> int:
        """Number of slots that have a task."""
        return len(self.slots) - len(self._free) - len(self._closed)

    @property
    def is_open(self) -> bool:
        """Whether any of its slots is in service."""
        return len(self._closed) < len(self.slots)

    def has_work(self) -> bool:
        """Whether a task runs, or one is ready that may run in some slot that is in service."""
        if self.running or not self._closed:
            return bool(self.running or self.ready)
        cpus = {slot.cpu for slot in self.slots if slot.place not in self._closed}
        return any(cpus if task.affinity is None else cpus & task.affinity for task in self.ready.values())

    # --- what happens to tasks ----------------------------------------------------------------------

    def admit(self, task: Task, why: Why, cpu: int) -> None:
        """Make a new or woken task ready; `cpu` is where the kernel heard of it."""
        if self._tick_is_overdue():
            self.tick()
        if task.affinity is not None:
            self.choosy = True
        self.ready[task.pid] = task
        self._put(task, why, self.sim.now)
        self._newcomers[task.pid] = cpu
        self.processor.request(self)

    def expire(self, slot: Slot) -> None:
        """The quantum of the task in `slot` is over."""
        slot.local = True
        self._hand_back(slot, Why.EXPIRED, "quantum expired")
        if not self.asked:
            self.processor.request(self)

    def rotate(self, slot: Slot) -> None:
        """The turn of the task in `slot` is over, and it has no claim to the slot if it is picked again."""
        self.expire(slot)
        if slot.handed_back is not None:
            self._vacate(slot, slot.handed_back)

    def yielded(self, slot: Slot) -> None:
        """The task in `slot` gives it away."""
        task = self._leave(slot)
        slot.local = True
        self.emit(Yield(self.sim.now, slot.cpu, task.pid))
        self.ready[task.pid] = task
        self._put(task, Why.YIELDED, self.sim.now)
        self.processor.request(self)

    def remove(self, slot: Slot, why: Why) -> None:
        """The task in `slot` has blocked or exited."""
        slot.local = True
        self.policy.remove(self._leave(slot), why, self.sim.now)
        self.processor.request(self)

    def withdraw(self, task: Task) -> None:
        """Take a ready task out of the queue; who calls this says what becomes of it."""
        self._forget_where_it_was(task)
        self._take_out(task)

    def _take_out(self, task: Task) -> None:
        try:
            self.policy.withdraw(task, self.sim.now)
        except LookupError as error:
            raise self._broken("withdraw takes a ready task out of the queue", task) from error
        del self.ready[task.pid]
        self._newcomers.pop(task.pid, None)

    def first_for(self, slot: Slot) -> Task | None:
        """Return the first ready task, in the policy's order, that `slot` takes; it stays in the queue."""
        task = self._pick_for(slot)
        if task is not None:
            self.ready[task.pid] = task
            self._put(task, Why.PREEMPTED, self.sim.now)
        return task

    def depends_on(self, fact: str) -> bool:
        """Whether the policy must hear of a change of this fact of a task."""
        return self.policy.depends_on is None or fact in self.policy.depends_on

    def change(self, task: Task, alter: Callable[[], None], reason: str, why: Why = Why.CHANGED) -> None:
        """Let `alter` change what the policy knows of `task`, whatever state that is in.

        A running task is handed back as `why`: PREEMPTED if that should not cost it its place. But if it
        has used its quantum up (by a system call, say), that is over.
        """
        slot = next((slot for slot in self.slots if slot.task is task), None)
        if task.pid in self.ready:
            cpu = self._newcomers.get(task.pid, task.cpu)
            self._take_out(task)
            alter()
            self.admit(task, Why.CHANGED, cpu)
        elif slot is not None:
            self.processor.sync(self)
            alter()
            if not slot.in_kernel:
                self._take_back(slot, why, reason)
                slot.local = True
                self.processor.request(self)
        else:
            alter()

    def close(self, slot: Slot, reason: str) -> None:
        """Take `slot` out of service; its task goes back to the queue and may preempt another one."""
        if slot.task is not None:
            self.processor.sync(self)
            self._take_back(slot, Why.PREEMPTED, reason)
        was = slot.handed_back
        if was is not None:
            self._vacate(slot, was)
            self._newcomers.setdefault(was.pid, slot.cpu)
        slot.last = None
        del self._free[slot.place]
        self._closed.add(slot.place)
        self.processor.request(self)

    def open(self, slot: Slot) -> None:
        """Put `slot` into service again."""
        self._closed.remove(slot.place)
        self._free[slot.place] = slot
        slot.local = True
        if self._tick_is_overdue():
            self.tick()
        self.processor.request(self)

    def tick(self) -> None:
        """Hand all running tasks back to the policy and let it reorder them."""
        self._tick_alarm = self._tick_at = None
        self.processor.sync(self)
        running = [slot for slot in self.slots if slot.task and not slot.in_kernel]
        for slot in reversed(running):  # a preempted task goes to the front: the first slot's comes last
            self._hand_back(slot, Why.PREEMPTED, "")
        reason = self.policy.tick(self.sim.now)
        self.emit(Tick(self.sim.now, self.slots[0].cpu, reason=reason))
        for slot in running:
            slot.why_back = reason
        self.processor.request(self)

    # --- decisions ----------------------------------------------------------------------------------

    def decide(self) -> None:
        """Fill the free slots, let newcomers preempt, and arm the policy's next tick."""
        self.asked = False
        free = self._free
        if free:
            if len(free) == 1:
                (slot,) = free.values()
                self._fill_one(slot)
            elif self.choosy:
                for place in sorted(free):
                    self._fill_one(self.slots[place])
            else:
                self._fill([self.slots[place] for place in sorted(free)])
        if self._newcomers:
            if self._preempts and self.ready:
                self._let_newcomers_preempt()
            else:
                self._newcomers.clear()
        if self._disturbed:
            self._settle()
        if self._ticks:
            self._arm_tick()
        if self.shows:
            self.show()
        if self.idle and free and not self.ready:
            self.idle(self)

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
                    self._vacate(slot, slot.handed_back)
                task = next(rest, None)
                if task is not None:
                    self._place(slot, task)
            slot.local = False

    def _fill_one(self, slot: Slot) -> None:
        """Do the same for a single slot, which is the usual case and worth the speed."""
        task = None
        if self.ready:
            task = self._pick_for(slot) if self.choosy else self._pick()
            if self.choosy and task is not None and task is not slot.handed_back:
                self._forget_where_it_was(task)
        was = slot.handed_back
        if task is None or task is not was:
            if was is not None:
                self._vacate(slot, was)
            if task is not None:
                self._place(slot, task)
        else:
            self._keep(slot, task)
        slot.local = False

    def _let_newcomers_preempt(self) -> None:
        self.processor.sync(self)
        for pid in list(self._newcomers):
            # The room that one makes may go to another who is even more urgent: then it asks again.
            for _ in self.slots:
                if pid not in self.ready or not self._make_room(self.ready[pid]):
                    break
        if not any(slot.in_kernel for slot in self.slots):
            self._newcomers.clear()  # else they ask again when the others have left the kernel

    def _make_room(self, newcomer: Task) -> bool:
        """Take a slot from a running task for `newcomer`, if the policy says so; return whether it did."""
        slots = {slot.task.pid: slot for slot in self.slots if slot.task and not slot.in_kernel}
        if self.choosy:
            slots = {pid: slot for pid, slot in slots.items() if slot.takes(newcomer)}
        running = [slot.task for slot in slots.values() if slot.task]
        victim: object = self.policy.preempts(newcomer, running, self.sim.now) if running else None
        if victim is None:
            return False
        if not isinstance(victim, Task) or victim.pid not in slots:
            raise self._broken("preempts returns one of the running tasks, or None", victim)
        slot = slots[victim.pid]
        why = f"{newcomer.name} goes first: {self._reason(newcomer, self.sim.now)}"
        self._hand_back(slot, Why.PREEMPTED, why)
        self._fill_one(slot)
        return slot.task is not victim

    def _keep(self, slot: Slot, task: Task) -> None:
        """Let `task` go on in the slot where it was."""
        slot.task, slot.handed_back = task, None
        del self._free[slot.place]
        self.processor.halt(slot)
        decision = self._decision_ns()
        quantum = self._ask_quantum(slot, task)
        reason = self._reason(task, self.sim.now)
        self.emit(Renew(self.sim.now, slot.cpu, task.pid, reason, decision, quantum))
        self.processor.begin(slot, decision)

    def _place(self, slot: Slot, task: Task) -> None:
        """Dispatch `task` to the empty `slot`."""
        if not slot.local:
            self._tell(slot, task)
        now, cpu = self.sim.now, slot.cpu
        slot.task, slot.task_since = task, now
        del self._free[slot.place]
        switch = self.costs.context_load_ns
        if slot.last is not task:
            switch += self.costs.context_switch_ns
        if task.cpu != cpu:
            if task.cpu >= 0:
                switch += self.costs.migration_ns
            task.cpu = cpu
        slot.last = task
        quantum = self._ask_quantum(slot, task)
        decision = self._decision_ns() if self.costs.decision_ns else 0
        self.emit(Dispatch(now, cpu, task.pid, self._reason(task, now), decision, switch, quantum))
        self.processor.begin(slot, decision + switch)

    def _decision_ns(self) -> int:
        """Return what this decision costs, with the wait for the lock if there is one."""
        cost = self.costs.decision_ns
        return cost if self.lock is None else cost + self.lock.wait(self.sim.now, cost)

    def _tell(self, slot: Slot, task: Task) -> None:
        """Send an inter-processor interrupt if the kernel heard of `task` on another core."""
        origin = self._newcomers.get(task.pid, slot.cpu)
        if origin != slot.cpu:
            why = f"cpu {origin} has {task.name} for it"
            self.processor.interrupt(slot.cpu, "ipi", self.costs.ipi_ns, why)

    def _vacate(self, slot: Slot, was: Task) -> None:
        """Log the preemption of a task that was handed back and not picked again for its slot."""
        self.processor.halt(slot)
        slot.handed_back = None
        self.emit(Preempt(self.sim.now, slot.cpu, was.pid, slot.why_back))

    def _forget_where_it_was(self, task: Task) -> None:
        """Log the preemption of a task that goes elsewhere, if it was handed back at this instant."""
        for slot in self._free.values():
            if slot.handed_back is task:
                self._vacate(slot, task)

    def disturb(self, slot: Slot) -> None:
        """Note that the task in `slot` was interrupted by something that may change the decision."""
        if slot.task is not None and not slot.in_kernel:
            self._disturbed[slot.place] = slot.task
        self.processor.request(self)

    def _settle(self) -> None:
        """Let those go on who were interrupted for nothing, when their context is loaded again."""
        for place, task in self._disturbed.items():
            slot = self.slots[place]
            if slot.task is task and not slot.in_kernel and slot.task_since != self.sim.now:
                self.processor.sync(self)
                self.processor.halt(slot)
                cost = self.costs.context_load_ns
                left = slot.quantum_left or 0
                self.emit(Renew(self.sim.now, slot.cpu, task.pid, "nobody goes before it", cost, left))
                self.processor.begin(slot, cost)
        self._disturbed.clear()

    def _arm_tick(self) -> None:
        if self._closed and self._tick_is_overdue() and not self.has_work():
            return  # it has waited for a slot to be put into service, and goes on waiting
        at = self.policy.next_tick(self.sim.now)
        if at is not None and (type(at) is not int or at <= self.sim.now):
            raise self._broken("next_tick returns a time after now, or None", at)
        armed = at if self.has_work() else None
        if self._tick_alarm and armed != self._tick_at:
            self.sim.cancel(self._tick_alarm)
            self._tick_alarm = None
        self._tick_at = at
        if armed is not None and self._tick_alarm is None:
            self._tick_alarm = self.sim.at(armed, self.order.tick, self.processor.tick, self)

    def _tick_is_overdue(self) -> bool:
        """Whether the time of a tick has passed while there was nothing to reorder."""
        return self._tick_at is not None and self._tick_alarm is None and self._tick_at <= self.sim.now

    def show(self) -> None:
        """Log the ready queue as the policy draws it."""
        shelves = [
            (heading, [(task.pid, figure) for task, figure in tasks[:MOST_SHOWN]])
            for heading, tasks in self.policy.show(self.sim.now).items()
        ]
        self.emit(Queue(self.sim.now, self.slots[0].cpu, shelves=shelves))

    # --- the policy's answers, checked --------------------------------------------------------------

    def _pick(self) -> Task | None:
        task: object = self._take(self.sim.now)
        if task is None:
            return None
        if not isinstance(task, Task) or self.ready.pop(task.pid, None) is not task:
            raise self._broken("pick returns a task from the ready queue, each once, or None", task)
        return task

    def _pick_for(self, slot: Slot) -> Task | None:
        """Pick the first task in the policy's order that `slot` takes."""
        refused: list[Task] = []
        task = self._pick()
        while task is not None and not slot.takes(task):
            refused.append(task)
            task = self._pick() if self.ready else None
        for other in reversed(refused):
            self.ready[other.pid] = other
            self._put(other, Why.PREEMPTED, self.sim.now)
        return task

    def _ask_quantum(self, slot: Slot, task: Task) -> int:
        """Ask for the task's quantum and note it in the slot; 0 means that there is none."""
        quantum = self._quantum(task, self.sim.now) if self._quantum else None
        if quantum is None:
            slot.quantum_left = None
            return 0
        if type(quantum) is not int or quantum < 1:
            raise self._broken("quantum returns an int, at least 1, or None", quantum)
        slot.quantum_left = quantum
        return quantum

    def _take_back(self, slot: Slot, why: Why, reason: str) -> None:
        """Hand the running task of `slot` back as `why`; but if it has used its quantum up, that is over."""
        self.processor.halt(slot)
        used_up = slot.quantum_left is not None and slot.quantum_left <= 0
        self._hand_back(slot, Why.EXPIRED if used_up else why, reason)

    def _hand_back(self, slot: Slot, why: Why, reason: str) -> None:
        task = slot.handed_back = self._leave(slot)
        slot.why_back = reason
        self.ready[task.pid] = task
        self._put(task, why, self.sim.now)

    def _leave(self, slot: Slot) -> Task:
        task, slot.task = slot.task, None
        if task is None:
            raise RuntimeError("an empty slot cannot be left")  # a bug in llmos, not in a policy
        self._free[slot.place] = slot
        return task

    def _broken(self, contract: str, answer: object) -> PolicyError:
        shown = f"task {answer.name}" if isinstance(answer, Task) else repr(answer)[:80]
        return PolicyError(
            f"answered {shown}", policy=type(self.policy).__name__, contract=contract, time_ns=self.sim.now
        )
