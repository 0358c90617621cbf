"""Rate monotonic, heavy tasks before all others."""

from fractions import Fraction

from llmos.sched.base import CoreCount, Task
from llmos.sched.realtime import FIRST, heavy_reason, is_heavy, threshold_share
from llmos.sched.rm import RM


class RMUS(RM):
    """RM-US: heavy tasks run before all others, the others by their periods.

    On several cores one heavy task with a long period can be lost behind many light ones, although
    the cores are nearly idle (Dhall's effect). So a task that needs more than a certain share of a
    core gets the highest priority. Then m cores meet all deadlines whenever the tasks need at most
    m²/(3m-2) of them, which is more than a third.

    Parameters:
        cores: number of cores m; a task is heavy if it needs more than m/(3m-2) of one.
        threshold: the share itself, instead of m/(3m-2).
        ties: as in rm.

    Source: Andersson, Baruah and Jonsson 2001.
    Differs: a task that declares no worst-case execution time or no period is not heavy.
    """

    name = "rm-us"

    def __init__(self, cores: CoreCount = 2, threshold: float | None = None, ties: str = "ready") -> None:
        super().__init__(ties)
        self._share = threshold_share(threshold, cores, Fraction(max(cores, 1), max(3 * cores - 2, 1)))

    def key(self, task: Task) -> int:
        return FIRST if is_heavy(task, self._share) else super().key(task)

    def figure(self, task: Task, now: int) -> str:
        return ("heavy, " if is_heavy(task, self._share) else "") + super().figure(task, now)

    def reason(self, task: Task, now: int) -> str:
        return heavy_reason(task, self._share) if is_heavy(task, self._share) else super().reason(task, now)
