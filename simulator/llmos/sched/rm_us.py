"""Rate monotonic, heavy tasks before all others."""

from fractions import Fraction

from llmos.sched.realtime import HeavyFirst
from llmos.sched.rm import RM


class RMUS(HeavyFirst, RM):
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

    @staticmethod
    def heavy_share(cores: int) -> Fraction:
        return Fraction(cores, 3 * cores - 2)
