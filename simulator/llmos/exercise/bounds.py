"""What theory says about periodic tasks before anything runs: utilisation, bounds, response times.

- A bound is told only where it holds: for its policy, its number of processors, and its deadlines.
- All tasks release their first job at time 0, the worst moment for fixed priorities: if that job is in
  time, all are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Final

from llmos.exercise.base import Listing, Part, Text, number
from llmos.exercise.work import Task

FIXED: Final = {"rm": "period", "dm": "deadline"}
"""Policies with fixed priorities: the key of a task that orders them, small ones first."""


@dataclass(frozen=True, slots=True)
class Load:
    """The tasks and their processors in numbers."""

    tasks: Sequence[Task]
    cpus: int

    @property
    def shares(self) -> list[Fraction]:
        """What each task asks of a processor."""
        return [Fraction(task["burst"], task["period"]) for task in self.tasks]

    @property
    def total(self) -> Fraction:
        """The utilisation: what all of them ask for."""
        return sum(self.shares, Fraction(0))

    @property
    def implicit(self) -> bool:
        """Whether every deadline is the end of the period."""
        return all(deadline(task) == task["period"] for task in self.tasks)


def deadline(task: Task) -> int:
    """The time from a release to its deadline, in ticks."""
    ticks: int = task.get("deadline", task["period"])
    return ticks


def parts(tasks: Sequence[Task], policies: Sequence[str], cpus: int) -> list[Part]:
    """The utilisation as a sum, and what it tells about each of `policies`."""
    load = Load(tasks, cpus)
    terms = " + ".join(f"{task['burst']}/{task['period']}" for task in tasks)
    total = str(load.total) + (f" = {number(load.total)}" if load.total.denominator > 1 else "")
    said = [f"Utilisation U = {terms} = {total}."]
    if load.total > cpus:
        have = "the processor has" if cpus == 1 else f"{cpus} processors have"
        said.append(f"That is more than {have}: no policy meets all deadlines for ever.")
    out: list[Part] = [Text(" ".join(said))]
    if load.total <= cpus:
        told = dict.fromkeys(BOUNDS[name](load) for name in policies if name in BOUNDS)
        out += [Text(text) for text in told if text]
    if cpus == 1:
        out += [response_times(tasks, name) for name in policies if name in FIXED]
    return out


def _edf(load: Load) -> str:
    if load.cpus > 1:
        return ""
    if load.implicit:
        return "U is at most 1: earliest deadline first and least laxity first meet every deadline."
    density = sum((Fraction(t["burst"], min(deadline(t), t["period"])) for t in load.tasks), Fraction(0))
    said = f"With deadlines in place of periods the sum is {number(density)}"
    if density <= 1:
        return f"{said}, at most 1: earliest deadline first and least laxity first meet every deadline."
    return f"{said}, above 1, which proves nothing: look at the chart."


def _rm(load: Load) -> str:
    if load.cpus > 1 or not load.implicit:
        return ""
    n = len(load.tasks)
    bound = n * (2 ** (1 / n) - 1)
    first = f"Liu and Layland's bound for {n} tasks is {n} (2^(1/{n}) - 1) = {bound:.3f}, and U is"
    if float(load.total) <= bound:
        return f"{first} not above it: rate monotonic meets every deadline."
    product = prod(share + 1 for share in load.shares)
    factors = " x ".join(str(share + 1) for share in load.shares)
    second = f"{first} above it. The hyperbolic bound: {factors} = {number(product)}"
    if product <= 2:
        return f"{second}, at most 2: rate monotonic meets every deadline."
    return f"{second}, above 2. So neither proves anything, and response times must tell."


def _heavy(numerator: Callable[[int], Fraction], words: str) -> Callable[[Load], str]:
    """A bound on several processors: `numerator` of their number m, in `words`."""

    def tell(load: Load) -> str:
        bound = numerator(load.cpus)
        declared = all("wcet" in task for task in load.tasks)  # else the policy knows no heavy ones
        if not (load.implicit and declared) or load.cpus == 1:
            return ""
        said = f"With heavy tasks first, {load.cpus} processors meet every deadline up to U = {words}"
        verdict = "U is not above it" if load.total <= bound else "U is above it, which proves nothing"
        return f"{said} = {number(bound)}; {verdict}."

    return tell


BOUNDS: Final[dict[str, Callable[[Load], str]]] = {
    "edf": _edf,
    "llf": _edf,
    "rm": _rm,
    "edf-us": _heavy(lambda m: Fraction(m * m, 2 * m - 1), "m^2 / (2m - 1)"),
    "rm-us": _heavy(lambda m: Fraction(m * m, 3 * m - 2), "m^2 / (3m - 2)"),
}
"""What to say of tasks that do not ask for more than there is, by policy."""


def response_times(tasks: Sequence[Task], policy: str) -> Part:
    """The worst response of each task under fixed priorities, by the usual iteration.

    R = C + the sum over all tasks of higher priority of ceil(R / T) C, from R = C on until it stays. It
    knows no equals, of whom now the one waits and now the other.
    """

    def key(task: Task) -> int:
        return int(task["period"]) if policy == "rm" else deadline(task)

    if len({key(task) for task in tasks}) < len(tasks):
        what = FIXED[policy]
        return Text(f"Two tasks have the same {what} and wait for each other under {policy}: see the chart.")
    order = sorted(tasks, key=key)
    lines = []
    for i, task in enumerate(order):
        steps = iterate(task, order[:i])
        verdict = "in time" if steps[-1] <= deadline(task) else "too late"
        lines.append(f"{task['name']}: {' -> '.join(map(str, steps))}, due at {deadline(task)}: {verdict}")
    title = f"Worst responses under {policy}: R = C + sum of ceil(R / T) C over those before it"
    return Listing(title, lines)


def iterate(task: Task, before: Sequence[Task]) -> list[int]:
    """The steps of the iteration, until it stays or the deadline is passed."""
    steps = [task["burst"]]
    while steps[-1] <= deadline(task):
        new = task["burst"] + sum(-(-steps[-1] // other["period"]) * other["burst"] for other in before)
        if new == steps[-1]:
            break
        steps.append(new)
    return steps
