"""Earliest eligible virtual deadline first, the scheduler of Linux 6.12."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from llmos.sched.base import CoreCount, Scheduler, Service, Structure, Task, Why
from llmos.sched.weights import FINE, NICE_0, Clock, virtual, weight


@dataclass(slots=True, eq=False, kw_only=True)
class _Entity(Clock):
    """What the policy knows of a task. Virtual times are in parts, as the clock's."""

    task: Task
    deadline: int = 0
    lag: int = 0
    """How far it was behind the average when it left."""
    to_deadline: int | None = None
    """How far it was from its deadline when it was withdrawn."""
    turn: int = 0
    """The number of its entry in the queue; 0 = it is not there. Entries with other numbers are stale."""
    protected: bool = False
    """Whether it is still running on the slice for which it was picked."""
    in_debt: bool = False
    """Whether it is blocked, but stays in the queue until the others have caught up."""


class _Queue:
    """The waiting tasks in two heaps: the eligible ones by deadline, the early ones by vruntime.

    As the average grows, early tasks become eligible. When somebody joins or leaves it may fall a
    little: then an entry goes back when it comes to the top. So a decision costs O(log n).
    """

    def __init__(self) -> None:
        self._early: list[tuple[int, int, _Entity]] = []
        self._eligible: list[tuple[int, int, _Entity]] = []
        self._turn = count(1)

    def push(self, entity: _Entity) -> None:
        entity.turn = next(self._turn)
        heappush(self._early, (entity.vruntime, entity.turn, entity))

    def best(self, total: int, load: int) -> _Entity | None:
        """Return the eligible task with the earliest deadline, the average being total / load."""
        early, eligible = self._early, self._eligible
        while early:
            vruntime, turn, entity = early[0]
            if turn == entity.turn:
                if vruntime * load > total:
                    break
                heappush(eligible, (entity.deadline, turn, entity))
            heappop(early)
        while eligible:
            _, turn, entity = eligible[0]
            if turn == entity.turn:
                if entity.vruntime * load <= total:
                    return entity
                heappush(early, (entity.vruntime, turn, entity))
            heappop(eligible)
        return None

    def first(self) -> _Entity | None:
        """Return the task that will be eligible first; asked when `best` has found none."""
        return self._early[0][-1] if self._early else None


class EEVDF(Scheduler):
    """EEVDF: among the tasks that have not had more than their share, the one that is due first runs.

    As in CFS, a task's virtual runtime grows with its service over its weight. The average of all,
    by weight, is where a task would be that had exactly its share; lag is how far it is behind. A task
    with negative lag has had too much and is not eligible. Every request for a slice has a virtual
    deadline: the shorter the slice, the sooner it is due. So a task cannot have more by asking for
    less, but it can have it sooner, and nobody's lag is ever more than a slice.

    Parameters:
        base_slice: service that a task asks for at a time.
        run_to_parity: whether a task that is still eligible keeps its place until the slice is over.
        tick: the least bound on the lag that a sleeper keeps (else two slices).
        cores: cores of the machine; the slice is scaled by 1 + log2 of it, at most 4.

    Source: Linux 6.12, kernel/sched/fair.c: entity_eligible, pick_eevdf, update_deadline, place_entity,
    update_entity_lag; Stoica and Abdel-Wahab 1995.
    Differs: two heaps stand for the augmented tree; a slice ends on time, not at a timer tick; sums need
    no zero point, for they cannot overflow; virtual time is kept finer than nanoseconds. All tasks have
    the same slice. If several slots share the queue and no waiting task is eligible, the first that will
    be runs, so that no slot is idle.
    """

    depends_on = frozenset({"nice"})

    def __init__(
        self,
        base_slice: Service = 700_000,
        run_to_parity: bool = True,  # noqa: FBT001, FBT002
        tick: Service = 4_000_000,
        cores: CoreCount = 1,
    ) -> None:
        if cores < 1:
            raise ValueError(f"cores: there must be at least 1, not {cores}")
        self._slice = base_slice * min(cores, 8).bit_length()  # 1 + ilog2
        self._run_to_parity = run_to_parity
        self._most_lag = max(2 * self._slice, tick)
        self._entities: dict[int, _Entity] = {}
        self._queue = _Queue()
        self._running: dict[int, _Entity] = {}
        self._coming: list[tuple[Task, Why]] = []
        """Who joined since the last decision. They are placed at the next, when the running task has
        been charged and the average is where it should be."""
        self._load = 0
        """The weights of all who compete: the queue, those in debt included, and the running."""
        self._total = 0
        """Their virtual times by weight: the average is total / load."""
        self._last_average = 0

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        entity = self._running.pop(task.pid, None)
        if entity is None:
            self._coming.append((task, why))
            return
        if entity.weight != weight(task.nice):
            self._leave(entity, comes_back=True)
            self._join(entity)
        if why is Why.YIELDED:
            entity.deadline += self._virtual_slice(entity.weight)
        self._queue.push(entity)

    def pick(self, now: int) -> Task | None:
        self._place_newcomers()
        while entity := self._queue.best(self._total, self._load) or self._queue.first():
            entity.turn = 0
            if not entity.in_debt:
                entity.protected = True
                self._running[entity.task.pid] = entity
                return entity.task
            self._settle(entity)
        return None

    def quantum(self, task: Task, now: int) -> int:
        """Return the service until the deadline: then the slice that was asked for has been had."""
        entity = self._entities[task.pid]
        ahead = (entity.deadline - entity.start) * entity.weight
        return max(-(-ahead // (NICE_0 * FINE)) - entity.used, 1)

    def charge(self, task: Task, service: int, now: int) -> None:
        entity = self._entities[task.pid]
        before = entity.vruntime
        entity.used += service
        after = entity.vruntime
        self._total += (after - before) * entity.weight
        if after >= entity.deadline:
            entity.deadline = after + self._virtual_slice(entity.weight)
            entity.protected = False

    def preempts(self, newcomer: Task, running: Sequence[Task], now: int) -> Task | None:
        self._place_newcomers()
        best = self._queue.best(self._total, self._load)
        exposed = [entity for entity in map(self._of, running) if self._exposed(entity)]
        if best is None or best.task is not newcomer or not exposed:
            return None
        worst = max(exposed, key=lambda entity: (not self._eligible(entity), entity.deadline))
        return worst.task if not self._eligible(worst) or best.deadline < worst.deadline else None

    def remove(self, task: Task, why: Why, now: int) -> None:
        entity = self._running.pop(task.pid)
        if why is Why.BLOCKED and not self._eligible(entity):
            entity.in_debt = True
            self._queue.push(entity)
            return
        self._leave(entity)
        if why is Why.EXITED:
            del self._entities[task.pid]

    def withdraw(self, task: Task, now: int) -> None:
        self._place_newcomers()
        entity = self._entities[task.pid]
        entity.turn = 0
        self._leave(entity, comes_back=True)

    def reason(self, task: Task, now: int) -> str:
        entity = self._entities[task.pid]
        if not self._eligible(entity):
            return f"no task is eligible, and this one is the first to be; {self._figure(entity)}"
        return f"earliest deadline of the eligible; {self._figure(entity)}"

    def show(self, now: int) -> Structure:
        queued = [e for e in self._entities.values() if e.turn and not e.in_debt]
        ready = sorted((e for e in queued if self._eligible(e)), key=lambda e: (e.deadline, e.turn))
        early = sorted((e for e in queued if not self._eligible(e)), key=lambda e: (e.vruntime, e.turn))
        return {
            "eligible": [(e.task, self._figure(e)) for e in ready],
            "not yet eligible": [(e.task, self._figure(e)) for e in early],
            "joining": [(task, why.value) for task, why in self._coming],
        }

    # --- who competes -------------------------------------------------------------------------------

    def _place_newcomers(self) -> None:
        for task, why in self._coming:
            self._place(task, why)
        self._coming.clear()

    def _place(self, task: Task, why: Why) -> None:
        entity = self._entities.get(task.pid)
        if entity is None:
            entity = self._entities[task.pid] = _Entity(weight=weight(task.nice), task=task)
            if why is Why.ARRIVAL:  # it competes with the others for only half a slice at first
                entity.to_deadline = self._virtual_slice(entity.weight) // 2
        elif entity.in_debt:
            if entity.vruntime * self._load >= self._total and entity.weight == weight(task.nice):
                entity.in_debt = False  # it still owes: it waits where it is
                return
            self._settle(entity)
        self._join(entity)
        self._queue.push(entity)

    def _settle(self, entity: _Entity) -> None:
        """Let a blocked task go whose debt is paid; it cannot have earned anything meanwhile."""
        entity.in_debt = False
        entity.turn = 0
        self._leave(entity)
        entity.lag = min(entity.lag, 0)

    def _join(self, entity: _Entity) -> None:
        """Place `entity` where it has the lag that it left with, though it moves the average."""
        new = weight(entity.task.nice)
        lag = entity.lag * entity.weight // new
        vruntime = self._last_average
        if self._load:
            lag = lag * (self._load + new) // self._load
            vruntime = self._total // self._load - lag
        ahead = self._virtual_slice(new)
        if entity.to_deadline is not None:
            ahead = entity.to_deadline * entity.weight // new
            entity.to_deadline = None
        entity.restart(vruntime, new)
        entity.deadline = vruntime + ahead
        self._load += new
        self._total += vruntime * new

    def _leave(self, entity: _Entity, *, comes_back: bool = False) -> None:
        """Take `entity` out of the average, and note its lag; `comes_back` also its deadline."""
        self._last_average = self._total // self._load
        most = virtual(self._most_lag * FINE, entity.weight)
        entity.lag = min(max(self._last_average - entity.vruntime, -most), most)
        if comes_back:
            entity.to_deadline = entity.deadline - entity.vruntime
        self._load -= entity.weight
        self._total -= entity.vruntime * entity.weight

    # --- small questions ----------------------------------------------------------------------------

    def _of(self, task: Task) -> _Entity:
        return self._entities[task.pid]

    def _eligible(self, entity: _Entity) -> bool:
        """Whether it is not ahead of the average; compared without division."""
        return entity.vruntime * self._load <= self._total

    def _exposed(self, entity: _Entity) -> bool:
        """Whether a newcomer may take its place, if that is due sooner."""
        return not (self._run_to_parity and entity.protected and self._eligible(entity))

    def _virtual_slice(self, weight: int) -> int:
        return virtual(self._slice * FINE, weight)

    def _figure(self, entity: _Entity) -> str:
        lag = (self._total - entity.vruntime * self._load) * entity.weight // (self._load * NICE_0 * FINE)
        amount = entity.task.amount
        return f"due {amount(entity.deadline // FINE)}, lag {amount(lag)}"
