"""Periodic tasks dealt out to cores for good: each core then schedules its own, alone.

- The tasks are taken one by one, in their order or the greatest share first, and each goes to a core
  that admits it: the first one, the fullest (best fit) or the emptiest (worst fit); of equals the
  lowest number.
- A core admits a task if a test of feasibility for one core still passes with it.
- Nothing migrates, so what is known of one core holds. The price is packing: cores may be left
  half empty although the next task fits nowhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeVar

from llmos.errors import LlmosError, did_you_mean
from llmos.sched.feasibility import edf_demand, edf_utilisation, liu_layland, response_time_analysis
from llmos.sched.periodic import (
    PeriodicTask,
    TaskSet,
    Verdict,
    deadline_monotonic,
    rate_monotonic,
    sum_of_shares,
    utilisation,
)

T = TypeVar("T")

Load = tuple[Fraction, int]
"""How full a core is, and its number."""

FITS: Final[Mapping[str, Callable[[Load], tuple[Fraction, int]]]] = {
    "first": lambda load: (Fraction(0), load[1]),
    "best": lambda load: (-load[0], load[1]),
    "worst": lambda load: load,
}
"""What the cores are tried in the order of."""


def _anything(tasks: TaskSet) -> Verdict:
    return Verdict(True, "no test", (f"{sum_of_shares(tasks)}",), "")


ADMISSIONS: Final[Mapping[str, Callable[[TaskSet], Verdict]]] = {
    "utilisation": edf_utilisation,
    "demand": edf_demand,
    "liu-layland": liu_layland,
    "rm": lambda tasks: response_time_analysis(rate_monotonic(tasks)),
    "dm": lambda tasks: response_time_analysis(deadline_monotonic(tasks)),
    "none": _anything,
}
"""When a core admits a task: the test that its tasks must then pass, by name."""


@dataclass(frozen=True, slots=True)
class Partition:
    """Which core each task got."""

    tasks: tuple[PeriodicTask, ...]
    cores: tuple[int | None, ...]
    """The core of each of `tasks`, from 0; None: it fits nowhere, or was not tried any more."""
    count: int
    """Number of cores."""
    refusals: tuple[str, ...] = ()
    """Why the task that fits nowhere fits no core, one line for each."""

    @property
    def ok(self) -> bool:
        """Whether every task has a core."""
        return None not in self.cores

    def on(self, core: int) -> tuple[PeriodicTask, ...]:
        """The tasks of `core`, in their order."""
        return tuple(task for task, place in zip(self.tasks, self.cores, strict=True) if place == core)

    def __str__(self) -> str:
        lines = []
        for core in range(self.count):
            mine = self.on(core)
            names = ", ".join(task.name for task in mine)
            lines.append(f"core {core}: {names}; {sum_of_shares(mine)}" if mine else f"core {core}: empty")
        return "\n".join([*lines, *self.refusals])


def partition(
    tasks: TaskSet, cores: int, *, fit: str = "first", decreasing: bool = True, admission: str = "utilisation"
) -> Partition:
    """Deal `tasks` out to `cores` cores (at least 1); it ends at the first task that fits nowhere.

    fit: "first", "best" or "worst". decreasing: the greatest share first (equals in their order), else
    in the order of `tasks`. admission: the test that a core must pass, a key of ADMISSIONS:
    "utilisation" (U <= 1, for EDF), "demand" (EDF with early deadlines), "liu-layland" (RM), "rm" or
    "dm" (response times), or "none".

    Raises LlmosError if there is no such fit or admission.
    Source: Dhall and Liu 1978; Lopez et al. 2004 compare the heuristics.
    """
    if cores < 1:
        raise LlmosError(f"there are {cores} cores", hint="give at least 1")
    preference, test = _named(FITS, fit, "fit"), _named(ADMISSIONS, admission, "admission")
    turns = list(range(len(tasks)))
    if decreasing:
        turns.sort(key=lambda i: -tasks[i].share)
    places: list[int | None] = [None] * len(tasks)
    held: list[list[PeriodicTask]] = [[] for _ in range(cores)]
    for i in turns:
        tries = sorted(((utilisation(held[core]), core) for core in range(cores)), key=preference)
        place = next((core for _, core in tries if test([*held[core], tasks[i]]).ok), None)
        if place is None:
            refusals = tuple(_refusal(tasks[i], core, test([*held[core], tasks[i]])) for core in range(cores))
            return Partition(tuple(tasks), tuple(places), cores, refusals)
        held[place].append(tasks[i])
        places[i] = place
    return Partition(tuple(tasks), tuple(places), cores)


def _refusal(task: PeriodicTask, core: int, verdict: Verdict) -> str:
    return f"{task.name} does not fit core {core}: {'; '.join(verdict.explanation)}"


def _named(table: Mapping[str, T], name: str, what: str) -> T:
    if name not in table:
        raise LlmosError(
            f'there is no {what} "{name}"; there are {", ".join(table)}', hint=did_you_mean(name, list(table))
        )
    return table[name]
