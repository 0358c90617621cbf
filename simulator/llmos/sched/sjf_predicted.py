"""Shortest job first, with predicted bursts."""

from dataclasses import dataclass
from fractions import Fraction

from llmos.sched.base import SLICE, Ordered, Service, Task, Why

GRAIN = 2**20
"""Predictions are kept in so many parts of a unit of service."""


@dataclass(slots=True)
class _Account:
    """What is known of a task, both in grains: its predicted burst, and its present one so far."""

    predicted: int
    used: int = 0


class PredictedSJF(Ordered):
    """Shortest predicted job first: SJF without an oracle; it guesses a burst from those before it.

    When a burst of length t ends, the guess for the next one is alpha * t + (1 - alpha) * (the guess
    for this one): an exponential average, in which older bursts count less and less. With alpha 1
    only the last burst counts, with alpha 0 the first guess stands for ever. It does well by tasks
    that are regular. A task that changes its ways is misjudged for a few bursts, and without
    preemption everybody behind it waits for all of the mistake.

    Parameters:
        alpha: weight of the latest burst, 0 to 1.
        first_guess: length predicted for a task's first burst.
        preemptive: whether a newcomer that is predicted to need less than a running task still does
            takes its place; one that has outrun its prediction keeps it.

    Source: Silberschatz, Operating System Concepts, CPU scheduling. A burst ends when the task blocks,
    not when it is preempted or yields. Ties go to the earlier arrival, then to the smaller pid.
    Differs: a prediction is kept to a millionth of a unit of service, rounded down; a task that blocks
    without having run teaches nothing.
    """

    depends_on = frozenset[str]()
    name = "sjf-predicted"

    def __init__(
        self,
        alpha: float = 0.5,
        first_guess: Service = SLICE,
        preemptive: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        super().__init__()
        if not 0 <= alpha <= 1:
            raise ValueError(f"alpha: it is a weight from 0 to 1, not {alpha}")
        self._new, self._all = Fraction(str(alpha)).as_integer_ratio()  # 0.3 is 3/10 here
        self._first_guess = first_guess * GRAIN
        self.preemptive = preemptive
        self._accounts: dict[int, _Account] = {}

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        if task.pid not in self._accounts:
            self._accounts[task.pid] = _Account(self._first_guess)
        super().enqueue(task, why, now)

    def key(self, task: Task) -> int:
        account = self._accounts[task.pid]
        return max(account.predicted - account.used, 0)

    def charge(self, task: Task, service: int, now: int) -> None:
        self._accounts[task.pid].used += service * GRAIN

    def remove(self, task: Task, why: Why, now: int) -> None:
        if why is Why.EXITED:
            del self._accounts[task.pid]
            return
        account = self._accounts[task.pid]
        if account.used:
            old = self._all - self._new
            account.predicted = (self._new * account.used + old * account.predicted) // self._all
            account.used = 0

    def figure(self, task: Task, now: int) -> str:
        return task.amount(self.key(task) // GRAIN)

    def reason(self, task: Task, now: int) -> str:
        return f"shortest prediction, {self.figure(task, now)}"
