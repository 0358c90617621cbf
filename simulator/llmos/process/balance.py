"""Which ready queue a task joins, where there is one per core; and how work moves between them.

- With one shared queue there is nothing to choose.
- A new task goes to the core that has been dealt the fewest so far, or to the least loaded one. A task
  that wakes up goes back to where it ran, unless it may not, or that core is busy and another is idle
  (`least`).
- A core that has nothing to do may steal: at once, or when it looks around every so often. Now and
  then the longest queue may give tasks to the shortest.
- What waits for a core that goes offline moves to the others, if it may run there.
- The load of a core is the number of its tasks, ready and running.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from llmos.sched.base import Why
from llmos.trace import events as ev

if TYPE_CHECKING:
    from random import Random

    from llmos.engine.simulation import Simulation
    from llmos.process.cores import Cores
    from llmos.process.dispatcher import Dispatcher
    from llmos.process.task import Process
    from llmos.trace.log import Log


@dataclass(frozen=True, slots=True, kw_only=True)
class Balancing:
    """How tasks are spread over per-core queues; times in ns, 0 = never.

    `placement`: "deal" or "least". `steal`: an idle core takes work at once. `peek_ns`: at every
    multiple of it each core whose queue is empty looks into the queue of another one, drawn by lot,
    and takes its first task (OSTEP's multi.py). `balance_ns`: how often queues are evened out.
    """

    placement: Literal["deal", "least"] = "deal"
    steal: bool = False
    peek_ns: int = 0
    balance_ns: int = 0


class Balance:
    """Spreads the tasks of a machine over its ready queues."""

    def __init__(self, sim: Simulation, log: Log, cores: Cores, balancing: Balancing, lots: Random) -> None:
        self.sim = sim
        self.emit = log.emit
        self.queues = cores.dispatchers
        self.how = balancing
        self.lots = lots
        self._dealt = dict.fromkeys(self.queues, 0)
        if len(self.queues) == 1:
            return
        if balancing.steal:
            for queue in self.queues:
                queue.idle = self.steal
        if balancing.peek_ns:
            cores.beat(balancing.peek_ns, cores.order.tick, self._peek)
        if balancing.balance_ns:
            cores.beat(balancing.balance_ns, cores.order.tick, self._even_out)

    def place(self, process: Process) -> None:
        """Choose the queue of a new task."""
        deals = self.how.placement == "deal"
        chosen = min(self._allowed(process), key=self._dealt.__getitem__ if deals else _load)
        self._dealt[chosen] += 1
        process.dispatcher = chosen
        self._call_idle_cores(chosen)

    def place_again(self, process: Process) -> None:
        """Choose the queue of a task that wakes up."""
        if len(self.queues) == 1 or process.keeps is not None:
            return
        allowed, was = self._allowed(process), process.dispatcher
        if was is None or was not in allowed:
            process.dispatcher = min(allowed, key=_load)
        elif self.how.placement == "least" and _load(was):
            idle = next((queue for queue in allowed if not _load(queue)), was)
            process.dispatcher = idle
        if process.dispatcher is not None:
            self._call_idle_cores(process.dispatcher)

    def steal(self, thief: Dispatcher) -> None:
        """Give a core that has nothing to do the first task that it may have of the longest queue."""
        # What the other core is about to run itself is left to it, or the two would steal for ever.
        victims = [queue for queue in self.queues if _load(queue) > len(queue.slots)]
        for victim in sorted(victims, key=lambda queue: -len(queue.ready)):
            if self._take(thief, victim, "was idle"):
                return

    def move_away(self) -> None:
        """Move the tasks of cores that are offline to cores that are online, where they may run there."""
        online = self._online()
        for queue in self.queues:
            if not queue.is_open:
                why = f"takes over from cpu {queue.slots[0].cpu}"
                while any(self._take(other, queue, why) for other in sorted(online, key=_load)):
                    pass

    def _online(self) -> list[Dispatcher]:
        return [queue for queue in self.queues if queue.is_open]

    def _peek(self) -> None:
        for thief in self._online():
            if not thief.ready:
                others = [queue for queue in self.queues if queue is not thief]
                self._take(thief, self.lots.choice(others), "had an empty queue")

    def _even_out(self) -> None:
        queues = self._online()
        for _ in range(sum(len(queue.ready) for queue in queues)):
            longest, shortest = max(queues, key=_load), min(queues, key=_load)
            if _load(longest) - _load(shortest) < 2 or not self._take(shortest, longest, "had less to do"):
                return

    def _take(self, thief: Dispatcher, victim: Dispatcher, why: str) -> bool:
        task = victim.first_for(thief.slots[0]) if victim.ready else None
        if task is None:
            return False
        process: Process = task  # type: ignore[assignment]  # tasks on cores are processes
        victim.withdraw(process)
        process.dispatcher = thief
        to, origin = thief.slots[0].cpu, victim.slots[0].cpu
        self.emit(ev.Migrate(self.sim.now, to, process.pid, f"cpu {to} {why}", origin=origin))
        if victim.shows:
            victim.show()  # it does not decide now, and would be shown with the task that it has lost
        thief.admit(process, Why.CHANGED, to)
        return True

    def _allowed(self, process: Process) -> list[Dispatcher]:
        """The queues that `process` may join: of cores that are online, if there are any."""
        if len(self.queues) == 1:
            return self.queues
        cpus, queues = process.affinity, self.queues
        allowed = queues if cpus is None else [queue for queue in queues if queue.slots[0].cpu in cpus]
        return [queue for queue in allowed if queue.is_open] or allowed

    def _call_idle_cores(self, busy: Dispatcher) -> None:
        """Let idle cores look for work, now that `busy` gets more than it can do at once."""
        if self.how.steal and _load(busy):
            for queue in self.queues:
                if not _load(queue):
                    queue.processor.request(queue)


def _load(queue: Dispatcher) -> int:
    return len(queue.ready) + queue.running
