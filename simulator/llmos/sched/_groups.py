"""Control groups: a scheduler that holds schedulers, one for each group of tasks.

- Groups share the processor by weight; inside each, a policy of its own decides. Any policy will do.
- What the outer level does, the inner policies do not see. A task that loses the processor because it
  is another group's turn is *paused*: its policy goes on believing that it runs, and it goes on with
  what was left of its quantum when its group has its turn again.
- A quota bounds a group's service per period; a group without any left is throttled until the next.
- A scenario builds it from its table of groups, so it is no policy to be listed (hence the file's name).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llmos.sched.base import SLICE, Scheduler, Structure, Task, Why
from llmos.sched.weights import FINE, NICE_0, Clock

DEFAULT_WEIGHT = 100
"""The weight of a group that says nothing; it counts as much as a task of nice 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What a group is entitled to: cpu.weight (1 to 10,000) and cpu.max (`quota` per `period_ns`).

    `quota` is service: nanoseconds on cores, all together, or tokens in an engine.
    """

    weight: int = DEFAULT_WEIGHT
    quota: int | None = None
    period_ns: int = 100_000_000

    def __post_init__(self) -> None:
        if not 1 <= self.weight <= 10_000:
            raise ValueError(f"weight: it must be 1 to 10,000, not {self.weight:,}")
        if self.quota is not None and self.quota < 1:
            raise ValueError(f"quota: it must be at least 1, not {self.quota}")
        if self.period_ns < 1:
            raise ValueError(f"period_ns: it must be at least 1, not {self.period_ns}")


@dataclass(slots=True)
class _Turn:
    """What a task that runs, or is paused, may still use."""

    inner: int | None
    """Service left of the quantum that its group's policy gave; None = no limit."""
    granted: int | None = None
    """Service left of what it may use before this level looks again; None = no limit."""
    begun: bool = False
    """Whether it was asked for its quantum: else it was picked, but its slot refused it."""


class _Member:
    """A group at work: its policy, its virtual time, its budget and its tasks."""

    def __init__(self, order: int, name: str, group: Group, inner: Scheduler) -> None:
        self.order = order
        self.name = name
        self.group = group
        self.inner = inner
        self.clock = Clock(group.weight * NICE_0 // DEFAULT_WEIGHT)
        self.ready = 0
        """Tasks in its policy's queue."""
        self.paused: deque[Task] = deque()
        self.running: dict[int, Task] = {}
        self.newcomers: list[Task] = []
        """Who became ready while somebody was paused, and has not been asked for yet."""
        self.used = 0
        """Service used in this period."""
        self.period_end = 0
        self.inner_tick: int | None = None

    @property
    def title(self) -> str:
        """What people call it."""
        return f"group {self.name}" if self.name else "those of no group"

    @property
    def active(self) -> int:
        """Tasks that are ready, paused or running."""
        return self.ready + len(self.paused) + len(self.running)

    def refill(self, now: int) -> None:
        """Begin a new period if the last one is over; what was used too much is paid back."""
        if self.group.quota is None or now < self.period_end:
            return
        period = self.group.period_ns
        over = (now - self.period_end) // period + 1
        self.used = max(0, self.used - over * self.group.quota)
        self.period_end = (now // period + 1) * period


class Groups(Scheduler):
    """Groups of tasks share the processor by weight, however many tasks each of them has.

    Without groups, who starts more tasks gets more of the processor. Here the group whose virtual time
    is smallest has its turn, for at most `quantum`, and its own policy says which of its tasks. A group
    that wakes up behind a running one preempts it; rest is not saved up. With a single group the
    schedule is that of its policy alone.

    Parameters:
        groups: the groups by name; a task of another group gets one with the default weight.
        inner: makes the policy of one group.
        quantum: service per turn of a group.

    Source: kernel/sched/fair.c, entities for groups; cpu.weight and cpu.max in
    Documentation/admin-guide/cgroup-v2.rst.
    Differs: one level of groups. Periods begin at multiples of their length. A group's budget is one for
    all processors, not dealt out in slices.
    """

    def __init__(
        self, groups: Mapping[str, Group], inner: Callable[[], Scheduler], quantum: int = SLICE
    ) -> None:
        self._make_inner = inner
        inside = inner().depends_on
        self.depends_on = None if inside is None else inside | {"group"}
        self._quantum = quantum
        self._members: dict[str, _Member] = {}
        for name, group in groups.items():
            self._add(name, group)
        self._home: dict[int, _Member] = {}
        self._turns: dict[int, _Turn] = {}
        self._victim: Task | None = None
        """Whom an inner policy has just told to make room."""
        self._present = 0
        """The virtual time at which the last turn began."""

    # --- the contract -------------------------------------------------------------------------------

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        member = self._home.get(task.pid)
        if member is None or task.pid not in member.running:
            self._join(task, why, now)
            return
        del member.running[task.pid]
        if task.group != member.name:
            self._give_up(member, task, Why.PREEMPTED, now)
            self.withdraw(task, now)
            self._join(task, why, now)
        elif self._is_cut_short(task, why):
            if why is Why.PREEMPTED:
                member.paused.appendleft(task)
            else:
                member.paused.append(task)
        else:
            self._give_up(member, task, why, now)

    def pick(self, now: int) -> Task | None:
        waiting = [m for m in self._members.values() if (m.ready or m.paused) and not self._throttled(m)]
        for member in sorted(waiting, key=lambda m: (m.clock.vruntime, m.order)):
            task = self._pick_from(member, now)
            if task is not None:
                turn = self._turns.get(task.pid)
                if turn is None:
                    turn = self._turns[task.pid] = _Turn(member.inner.quantum(task, now))
                turn.granted = _least(turn.inner, self._grant(member))  # reserved before the next pick
                member.running[task.pid] = task
                self._present = max(self._present, member.clock.vruntime)
                return task
        return None

    def quantum(self, task: Task, now: int) -> int | None:
        turn = self._turns[task.pid]
        turn.begun = True
        return turn.granted

    def charge(self, task: Task, service: int, now: int) -> None:
        member = self._home[task.pid]
        member.inner.charge(task, service, now)
        member.clock.used += service
        member.used += service
        turn = self._turns[task.pid]
        if turn.inner is not None:
            turn.inner -= service
        if turn.granted is not None:
            turn.granted -= service

    def preempts(self, newcomer: Task, running: Sequence[Task], now: int) -> Task | None:
        member = self._home[newcomer.pid]
        peers = [task for task in running if task.pid in member.running]
        if peers:
            self._victim = member.inner.preempts(newcomer, peers, now)
            return self._victim
        if member.active > 1 or self._throttled(member):
            return None  # its group waits already
        last = max(running, key=lambda task: self._home[task.pid].clock.vruntime)
        return last if member.clock.vruntime < self._home[last.pid].clock.vruntime else None

    def remove(self, task: Task, why: Why, now: int) -> None:
        member = self._home[task.pid]
        del member.running[task.pid]
        self._turns.pop(task.pid, None)
        member.inner.remove(task, why, now)
        if why is Why.EXITED:
            del self._home[task.pid]

    def next_tick(self, now: int) -> int | None:
        times = []
        for member in self._members.values():
            member.inner_tick = member.inner.next_tick(now)
            if member.inner_tick is not None:
                times.append(member.inner_tick)
            if member.group.quota is not None and member.active:
                times.append(max(member.period_end, now + 1))
        return min(times, default=None)

    def tick(self, now: int) -> str:
        reasons = []
        for member in self._members.values():
            if member.inner_tick is not None and member.inner_tick <= now:
                member.inner_tick = None
                for task in reversed(member.paused):
                    self._give_up(member, task, Why.PREEMPTED, now)
                member.paused.clear()
                reasons.append(member.inner.tick(now))
            if member.group.quota is not None and member.period_end <= now:
                member.refill(now)
                reasons.append(f"new period of {member.title}")
        return "; ".join(reasons)

    def withdraw(self, task: Task, now: int) -> None:
        member = self._home[task.pid]
        if task in member.paused:
            member.paused.remove(task)
            self._give_up(member, task, Why.PREEMPTED, now)
        if task in member.newcomers:
            member.newcomers.remove(task)
        member.inner.withdraw(task, now)
        member.ready -= 1

    def reason(self, task: Task, now: int) -> str:
        member = self._home[task.pid]
        vruntime = task.amount(member.clock.vruntime // FINE)
        turn = f"{member.title} at {vruntime} of virtual time"
        if task.pid not in member.running and self._victim is None:
            return turn  # its own policy was not asked
        return f"{turn}: {member.inner.reason(task, now)}"

    def show(self, now: int) -> Structure:
        shelves: dict[str, Sequence[tuple[Task, str]]] = {}
        for member in self._members.values():
            quota = member.group.quota
            over = quota is not None and member.used >= quota
            name = member.name or "no group"
            name += " (throttled)" * over
            if member.paused:
                shelves[f"{name}: paused"] = [(task, "has begun") for task in member.paused]
            for heading, tasks in member.inner.show(now).items():
                shelves[f"{name}: {heading}" if heading else name] = tasks
        return shelves

    # --- groups and their tasks ---------------------------------------------------------------------

    def _add(self, name: str, group: Group) -> _Member:
        member = self._members[name] = _Member(len(self._members), name, group, self._make_inner())
        return member

    def _join(self, task: Task, why: Why, now: int) -> None:
        """Let a task that did not run join the queue of its group."""
        member = self._members.get(task.group) or self._add(task.group, Group())
        if self._home.setdefault(task.pid, member) is not member:
            self._home[task.pid] = member
            why = Why.ARRIVAL  # its new group has never seen it
        if not member.active:
            member.refill(now)
            member.clock.restart(max(member.clock.vruntime, self._present), member.clock.weight)
        if member.paused:
            member.newcomers.append(task)
        member.inner.enqueue(task, why, now)
        member.ready += 1

    def _is_cut_short(self, task: Task, why: Why) -> bool:
        """Whether this level, and not its group's policy, has ended the turn of a task that has begun."""
        turn, told = self._turns[task.pid], task is self._victim
        if not turn.begun:
            return False
        if why is Why.PREEMPTED:
            self._victim = None
            return not told
        spent = turn.granted is not None and turn.granted <= 0
        return why is Why.EXPIRED and spent and (turn.inner is None or turn.inner > 0)

    def _give_up(self, member: _Member, task: Task, why: Why, now: int) -> None:
        """Let the policy of its group know that `task` does not run any more."""
        self._turns.pop(task.pid, None)
        member.inner.enqueue(task, why, now)
        member.ready += 1

    def _pick_from(self, member: _Member, now: int) -> Task | None:
        """Let a paused task go on, or ask the group's policy."""
        for newcomer in member.newcomers:
            if member.paused:
                victim = member.inner.preempts(newcomer, list(member.paused), now)
                if victim is not None:
                    member.paused.remove(victim)
                    self._give_up(member, victim, Why.PREEMPTED, now)
        member.newcomers.clear()
        while member.paused:
            task = member.paused.popleft()
            left = self._turns[task.pid].inner
            if left is None or left > 0:
                return task
            self._give_up(member, task, Why.EXPIRED, now)
        picked = member.inner.pick(now)
        if picked is not None:
            member.ready -= 1
        return picked

    # --- quota --------------------------------------------------------------------------------------

    def _grant(self, member: _Member) -> int | None:
        """Return what a task of `member` may use before this level looks again; None = no limit."""
        alone = len(self._members) == 1 and member.group.quota is None
        return None if alone else _least(self._quantum, self._budget(member))

    def _budget(self, member: _Member) -> int | None:
        """Return what is left of the quota, less what was granted to running tasks; None = no quota."""
        if member.group.quota is None:
            return None
        granted = sum(self._turns[pid].granted or 0 for pid in member.running)
        return member.group.quota - member.used - granted

    def _throttled(self, member: _Member) -> bool:
        budget = self._budget(member)
        return budget is not None and budget <= 0


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)
