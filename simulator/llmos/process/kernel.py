"""The kernel: processes are born, make system calls, wait, wake up and die.

- A program is advanced from call to call. `Compute` is work for the core; every other call enters the
  kernel, takes its cost, and then has its effect: a function of `llmos.process.syscalls`, one per kind
  of call.
- While a call lasts its task cannot be preempted.
- Who is blocked knows how to be taken out of what it waits for (`Process.unblock`), for signals.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

from llmos.errors import PolicyError
from llmos.memory.records import Touching
from llmos.process import deadlock, hotplug, periodic, signals, sync, syscalls, touching
from llmos.process.program import Compute, EndJob, Exit, Io, Touch, Work
from llmos.sched.base import Why
from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmos.costs.model import CostModel
    from llmos.engine.simulation import Simulation
    from llmos.memory.memory import Memory
    from llmos.process.balance import Balance
    from llmos.process.cores import Core, Cores
    from llmos.process.dispatcher import Dispatcher
    from llmos.process.program import Call, Program
    from llmos.process.shared import Shared
    from llmos.process.task import Process
    from llmos.storage.device import Device
    from llmos.trace.log import Log

ZERO_TIME_CALLS = 10_000
"""So many calls in a row that take no time are a bug in the program."""


class Kernel:
    """All processes of a machine, and what they share."""

    def __init__(
        self,
        sim: Simulation,
        log: Log,
        cores: Cores,
        balance: Balance,
        *,
        devices: Mapping[str, Device],
        shared: Mapping[str, Shared],
        cost_model: CostModel | None,
        next_pid: Callable[[], int],
        most_in_group: Mapping[str, int],
        seed: int = 0,
    ) -> None:
        self.sim = sim
        self.emit = log.emit
        self.cores = cores
        self.balance = balance
        self.order = cores.order
        self.costs = cores.costs
        self.rules = cores.rules
        self.devices = devices
        self.shared = shared
        """Mutexes, semaphores, conditions, pipes and mailboxes, by name."""
        self.owned = [s for s in shared.values() if isinstance(s, sync.Semaphore) and s.owned]
        self.cost_model = cost_model
        self.next_pid = next_pid
        self.most_in_group = most_in_group
        """How many processes a cgroup may have, where that is limited."""
        self.seed = seed
        self.memory: Memory | None = None
        """The machine's memory, if it is modelled."""
        self.processes: dict[int, Process] = {}
        self.unfinished = 0
        self.in_group: Counter[str] = Counter()
        """Processes of each cgroup that live or are zombies."""
        cores.proceed = self.proceed
        cores.reach = signals.reach
        cores.leave = partial(hotplug.leave, self)

    @property
    def dispatchers(self) -> Sequence[Dispatcher]:
        """All ready queues."""
        return self.cores.dispatchers

    def core_of(self, process: Process) -> Core | None:
        """Return the core that has `process`, if it runs."""
        slots = process.dispatcher.slots if process.dispatcher else ()
        return next((slot for slot in slots if slot.task is process), None)  # type: ignore[return-value]

    # --- life of a process --------------------------------------------------------------------------

    def arrive(self, process: Process, cpu: int = 0) -> None:
        """Create `process` now, on the word of core `cpu`: it becomes ready."""
        now = self.sim.now
        process.arrival_ns = now
        self.processes[process.pid] = process
        self.unfinished += 1
        self.in_group[process.group] += 1
        if process.relative_deadline_ns is not None and process.period is None:
            process.deadline_ns = now + process.relative_deadline_ns
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
                nice=process.nice,
                group=process.group,
            )
        )
        periodic.begin(self, process)
        touching.born(self, process)
        self.fetch(process, None)
        self.balance.place(process)
        if process.period and (self.costs.release_ns or self.rules.whole_entries):
            why = f"the first job of {process.name} is due"
            self.cores.irq(cpu, "release", self.costs.release_ns, why, partial(self._released, process, cpu))
        else:
            self.ready(process, Why.ARRIVAL, cpu)

    def _released(self, process: Process, cpu: int) -> None:
        """Let a periodic process compete, now that the release of its first job has been handled."""
        self.ready(process, Why.ARRIVAL, cpu)
        if process.pending:
            signals.reach(process)

    def is_queued(self, process: Process) -> bool:
        """Whether `process` is in a ready queue; what has just come may wait for its first release."""
        return process.dispatcher is not None and process.pid in process.dispatcher.ready

    def ready(self, process: Process, why: Why, cpu: int) -> None:
        """Put `process` into the ready queue of its dispatcher."""
        if process.dispatcher is None:
            raise RuntimeError(f"{process.name} has no ready queue")  # a bug in llmos
        process.dispatcher.admit(process, why, self.cores.instead_of(cpu))
        self.cores.stir()

    def block(
        self, core: Core, process: Process, on: str, reason: str, unblock: Callable[[], None] | None
    ) -> None:
        """Take `process` off its core until `wake`; `unblock` cuts its wait short (None: it cannot be)."""
        process.blocked = True
        process.unblock = unblock
        self.emit(ev.Block(self.sim.now, core.cpu, process.pid, reason, on))
        core.dispatcher.remove(core, Why.BLOCKED)

    def wake(self, process: Process, reason: str, result: object = None) -> None:
        """Make a blocked process ready; `result` is what its call returns."""
        process.unblock = None
        if process.stopped:
            process.missed_wake = (reason, result)
            return
        self.fetch(process, result)
        self.get_ready(process, reason)
        if process.pending:
            signals.reach(process)

    def get_ready(self, process: Process, reason: str) -> None:
        """Make a blocked process ready whose next call is known already."""
        process.blocked, process.unblock = False, None
        cpu = self.cores.instead_of(max(0, process.cpu))
        self.emit(ev.Wake(self.sim.now, cpu, process.pid, reason))
        self.balance.place_again(process)
        self.ready(process, Why.WAKEUP, cpu)

    def exit(self, core: Core, process: Process, reason: str) -> None:
        """Let `process` terminate; its parent hears of it, its children are nobody's."""
        sync.give_all_back(self, process)
        touching.gone(self, core, process)
        periodic.end(self, process)
        process.gone = True
        if core.cache:
            core.cache.forget(process)
        self.emit(ev.Exit(self.sim.now, core.cpu, process.pid, reason))
        core.dispatcher.remove(core, Why.EXITED)
        self.unfinished -= 1
        if not self.unfinished:
            self.cores.rest()
        for pid in process.zombies:
            self.forget(self.processes[pid])
        for pid in process.children:
            self.processes[pid].parent = None
        parent = process.parent
        if parent is None:
            self.forget(process)
            return
        parent.children.discard(process.pid)
        parent.zombies.append(process.pid)
        syscalls.child_died(self, core, parent, process)

    def forget(self, process: Process) -> None:
        """Let a terminated process go, for which nobody will wait any more."""
        process.parent = None
        self.in_group[process.group] -= 1

    def change(self, process: Process, fact: str, alter: Callable[[], None], reason: str) -> None:
        """Change the `fact` of `process` that is its "priority" or its "nice" value."""
        if process.dispatcher is None or process.gone:
            return
        if process.dispatcher.depends_on(fact):
            process.dispatcher.change(process, alter, reason)
        else:
            alter()
        cpu = max(0, process.cpu)
        self.emit(
            ev.Change(self.sim.now, cpu, process.pid, reason, priority=process.priority, nice=process.nice)
        )

    # --- programs -----------------------------------------------------------------------------------

    def fetch(self, process: Process, result: object) -> None:
        """Advance the program to its next call; the value of the last one is `result`."""
        if isinstance(process.call, Touching) and not (process.call.done or process.doomed):
            return  # it goes on where it waited for a page
        call = Exit() if process.doomed else self._next_call(process, result)
        if isinstance(call, Work):
            if self.cost_model is None:
                raise self.bad_program(process, "it needs a cost profile; set `profile` in the scenario")
            ns = self.cost_model.predict(call.op).ns * call.count
            call = Io(call.device, ns) if call.device else Compute(ns)
        if isinstance(call, Touch):
            call = touching.begin(self, process, call)
        process.call = call
        process.remaining = process.burst = call.ns if isinstance(call, Compute) else 0
        if isinstance(call, Touching):
            process.remaining, call.owed_ns = call.owed_ns, 0

    def _next_call(self, process: Process, result: object) -> Call:
        try:
            return process.program.send(result)
        except StopIteration:
            pass
        except Exception as error:
            name = type(error).__name__
            raise self.bad_program(process, f"its program failed: {name}: {error}") from error
        if not process.interrupted:
            return Exit()
        below = process.interrupted.pop()  # a signal handler is done
        process.program = below.program
        if below.call is None:
            return self._next_call(process, -1)
        if isinstance(below.call, Touching):
            below.call.owed_ns = below.remaining
        if isinstance(below.call, Compute):
            return Compute(below.remaining)
        return below.call

    def proceed(self, core: Core, process: Process) -> None:
        """Go on with the program of the core's task until it computes, leaves the core or takes time."""
        for _ in range(ZERO_TIME_CALLS):
            call = process.call
            if isinstance(call, Compute):
                if process.remaining:
                    if core.quantum_left is not None and core.quantum_left <= 0:
                        self.cores.timer(core)
                    else:
                        self.cores.resume(core)
                    return
                self.fetch(process, None)
                continue
            if isinstance(call, Touching):
                if not touching.go_on(self, core, process, call):
                    return
                continue
            name = type(call).__name__.lower()
            cost = self.costs.syscall_ns + touching.price(self, process, call)
            if isinstance(call, EndJob):  # the job is complete; what it costs to note that comes after it
                periodic.complete(self, core, process)
                cost = self.costs.completion_ns
            self.emit(ev.Syscall(self.sim.now, core.cpu, process.pid, name=name, cost_ns=cost))
            if cost:
                self.cores.in_kernel(core, cost, partial(self._after_syscall, core, process, call, cost))
                return
            if not self._perform(core, process, call):
                return
        raise self.bad_program(process, f"it made {ZERO_TIME_CALLS:,} calls without spending any time")

    def _after_syscall(self, core: Core, process: Process, call: Call | None, cost: int) -> bool:
        self.cores.serve(core, cost)
        return self._perform(core, process, call)

    def _perform(self, core: Core, process: Process, call: Call | None) -> bool:
        """Let a system call take effect; return whether the task is still on the core."""
        effect = syscalls.EFFECTS.get(type(call))
        if effect is None:
            raise self.bad_program(process, f"it yielded {call!r:.80}, which is no system call")
        return effect(self, core, process, call)

    def run_program(self, process: Process, make: Callable[[], Program]) -> Program:
        """Make the generator of a program; what it lacks is the program's fault."""
        try:
            program = make()
            program.send  # noqa: B018  # is it a generator?
        except Exception as error:
            raise self.bad_program(process, f"{make!r:.80} is no program: {error}") from error
        return program

    # --- the end ------------------------------------------------------------------------------------

    def blocked(self, most: int = 5) -> list[str]:
        """Name tasks that wait for ever, and for what; at most `most` of them."""
        waiting = (p for p in self.processes.values() if p.blocked or hotplug.is_stranded(self, p))
        return [f"{process.name} ({self._wants(process)})" for process in islice(waiting, most)]

    def _wants(self, process: Process) -> str:
        """Say what a process waits for, and who has it."""
        if process.stopped:
            return "stopped"
        if not process.blocked:
            return "all its cores are offline"
        call, mutex = process.call, process.waits_on
        if mutex is not None and mutex.owner is not None:
            return f"waits for {mutex.name}, which {mutex.owner.name} has"
        semaphore = deadlock.taken_from(self, process)
        if semaphore is not None and semaphore.holders:
            names = " and ".join(holder.name for holder in semaphore.holders)
            return f"waits for {semaphore.name}, taken by {names}"
        what = (getattr(call, kind, "") for kind in ("semaphore", "condition", "pipe", "mailbox"))
        return f"{type(call).__name__.lower()} {next(filter(None, what), '')}".rstrip()

    def bad_program(self, process: Process, message: str) -> PolicyError:
        """Return the error that blames the program of `process`."""
        return PolicyError(f"task {process.name}: {message}", time_ns=self.sim.now)
