"""Earliest deadline first, heavy tasks before all others."""

from fractions import Fraction

from llmos.sched.edf import EDF
from llmos.sched.realtime import HeavyFirst


class EDFUS(HeavyFirst, EDF):
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

    @staticmethod
    def heavy_share(cores: int) -> Fraction:
        return Fraction(cores, 2 * cores - 1)
