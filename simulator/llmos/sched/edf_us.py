"""Earliest deadline first, heavy tasks before all others."""

from fractions import Fraction

from llmos.sched.base import CoreCount, Task
from llmos.sched.edf import EDF
from llmos.sched.realtime import FIRST, heavy_reason, is_heavy, threshold_share


class EDFUS(EDF):
    """EDF-US: heavy tasks run before all others, the others by their deadlines.

    On several cores one heavy task can be lost behind many light ones that are due a little earlier,
    although the cores are nearly idle (Dhall's effect). So a task that needs more than a certain share
    of a core gets the highest priority. Then m cores meet all deadlines whenever the tasks need at
    most m²/(2m-1) of them, which is more than half; plain earliest deadline first promises no more
    than one core's worth, however many there are.

    Parameters:
        cores: number of cores m; a task is heavy if it needs more than m/(2m-1) of one.
        threshold: the share itself, instead of m/(2m-1).
        ties: as in edf.

    Source: Srinivasan and Baruah 2002; with threshold = 0.5, Baker 2005.
    Differs: a task that declares no worst-case execution time or no period is not heavy.
    """

    name = "edf-us"

    def __init__(self, cores: CoreCount = 2, threshold: float | None = None, ties: str = "ready") -> None:
        super().__init__(ties)
        self._share = threshold_share(threshold, cores, Fraction(max(cores, 1), max(2 * cores - 1, 1)))

    def key(self, task: Task) -> int:
        return FIRST if is_heavy(task, self._share) else super().key(task)

    def figure(self, task: Task, now: int) -> str:
        return ("heavy, " if is_heavy(task, self._share) else "") + super().figure(task, now)

    def reason(self, task: Task, now: int) -> str:
        return heavy_reason(task, self._share) if is_heavy(task, self._share) else super().reason(task, now)
