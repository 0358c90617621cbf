"""Lottery scheduling."""

from collections import deque
from dataclasses import dataclass

from llmos.sched.base import SLICE, Dice, Scheduler, Service, Structure, Task, Why

PARTS = 1000
"""With compensation a ticket is divided into so many parts."""


class _Drum:
    """The tickets of all who take part, numbered in the order of their pids; all in O(log n).

    A Fenwick tree: `_sums[i]` is the sum of the last (i & -i) pids up to and with i - 1, so that
    every prefix is the sum of few entries. It doubles when a pid does not fit.
    """

    def __init__(self) -> None:
        self._sums = [0, 0]

    @property
    def total(self) -> int:
        return self._sums[-1]  # the size is a power of two, so the last entry sums up all

    def add(self, pid: int, tickets: int) -> None:
        """Give `tickets` more (or fewer, if negative) to `pid`."""
        while pid >= len(self._sums) - 1:
            total = self.total
            self._sums += [0] * (len(self._sums) - 1)
            self._sums[-1] = total
        i = pid + 1
        while i < len(self._sums):
            self._sums[i] += tickets
            i += i & -i

    def holder(self, ticket: int) -> int:
        """Return the first pid whose tickets, and those of all before it, are more than `ticket`."""
        before, step = 0, (len(self._sums) - 1) // 2
        while step:
            if self._sums[before + step] <= ticket:
                before += step
                ticket -= self._sums[before]
            step //= 2
        return before


@dataclass(slots=True)
class _Player:
    """What the policy remembers of a task."""

    used: int
    """Service in its latest turn."""
    before: int = 0
    """The same of the turn before, in case that this one does not come to pass."""
    stake: int = 0
    """What it has in the drum, or had before it was picked, in parts of a ticket."""
    ticket: int = 0
    """The ticket with which it won last, out of `total`."""
    total: int = 0


class Lottery(Scheduler):
    """Lottery: every quantum one ticket is drawn from those of all ready tasks; its holder runs.

    So each task gets, in the long run, the share of the processor that its tickets promise, and no
    accounts are needed: a task that comes or goes just brings or takes its tickets. The price is
    chance. Over few draws shares are far off (the error grows with the square root of the number of
    draws, where that of stride stays within a quantum), and how long a task waits is anybody's guess.
    A task that blocks early does not get its share, unless it is compensated.

    Parameters:
        draws: draws to use up first, in place of random ones (to replay an exercise); the winning
            ticket is the draw modulo the number of tickets in the drum.
        quantum: service per turn.
        compensation: a task that used only a fraction f of its quantum has 1 / f times its tickets
            until it next wins.

    Source: Waldspurger and Weihl 1994; OSTEP ch. 9. Tickets are numbered in the order of the pids.
    Differs: tickets are not grouped in currencies or lent to others.
    """

    depends_on = frozenset({"tickets"})

    def __init__(
        self,
        rng: Dice,
        draws: list[int] | None = None,
        quantum: Service = SLICE,
        compensation: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        if draws and min(draws) < 0:
            raise ValueError("draws: they are 0 or more")
        self._rng = rng
        self._draws = deque(draws or [])
        self._quantum = quantum
        self._parts = PARTS if compensation else 1
        self._drum = _Drum()
        self._ready: dict[int, Task] = {}
        self._players: dict[int, _Player] = {}

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        player = self._players.get(task.pid)
        if player is None:
            player = self._players[task.pid] = _Player(self._quantum)
        elif why is Why.PREEMPTED:  # it won, but for a core that it may not run on
            player.used = player.before
        player.stake = self._stake(task, player)
        self._ready[task.pid] = task
        self._drum.add(task.pid, player.stake)

    def pick(self, now: int) -> Task | None:
        if not self._ready:
            return None
        total = self._drum.total
        ticket = self._draws.popleft() % total if self._draws else int(self._rng.random() * total)
        task = self._ready[self._drum.holder(ticket)]
        self.withdraw(task, now)
        player = self._players[task.pid]
        player.ticket, player.total = ticket, total
        player.before, player.used = player.used, 0
        return task

    def quantum(self, task: Task, now: int) -> int:
        return self._quantum

    def charge(self, task: Task, service: int, now: int) -> None:
        self._players[task.pid].used += service

    def remove(self, task: Task, why: Why, now: int) -> None:
        if why is Why.EXITED:
            del self._players[task.pid]

    def withdraw(self, task: Task, now: int) -> None:
        del self._ready[task.pid]
        self._drum.add(task.pid, -self._players[task.pid].stake)

    def reason(self, task: Task, now: int) -> str:
        player = self._players[task.pid]
        return f"won with ticket {player.ticket // self._parts} of {player.total // self._parts}"

    def show(self, now: int) -> Structure:
        tasks = [self._ready[pid] for pid in sorted(self._ready)]
        shares = [self._players[task.pid].stake // self._parts for task in tasks]
        return {"": [(t, f"{n} ticket{'s' * (n != 1)}") for t, n in zip(tasks, shares, strict=True)]}

    def _stake(self, task: Task, player: _Player) -> int:
        """Return the task's tickets, more of them if it gave up a part of its latest quantum."""
        stake = task.tickets * self._parts
        if self._parts > 1 and player.used < self._quantum:
            return stake * self._quantum // max(player.used, 1)
        return stake
