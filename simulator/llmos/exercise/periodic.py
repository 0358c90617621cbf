"""Periodic tasks in a scheduling exercise: their numbers, and what became of every job.

- A job that is complete at its very deadline is in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import lcm
from operator import lt
from random import Random
from typing import Any, Final

from llmos.engine.streams import stream
from llmos.exercise.base import TICK_NS, Part, Table, Text, one_of, shuffled, ticks, time, whole
from llmos.exercise.kinds import can_write
from llmos.exercise.story import Story
from llmos.exercise.work import NAMES, Task

FAMILIES: Final = ((4, 6, 12), (3, 4, 6, 12), (4, 5, 10, 20), (6, 8, 12, 24), (4, 10, 20), (6, 9, 18))
"""Periods that come round again soon."""


def draw(seed: int, count: int, cpus: int, *, constrained: bool) -> list[Task]:
    """Tasks that ask for two thirds of the processors or more, each with jobs up to the common period.

    The longest period is the first, so that the names also say who is released first of several: a release
    is planned when the one before it happens. `constrained`: whether deadlines may come before the end of
    the period; no two are alike, as far as that can be.
    """
    dice = stream(seed, "exercise/periodic")
    family = shuffled(dice, one_of(dice, FAMILIES))
    periods = sorted((family[i % len(family)] for i in range(count)), reverse=True)
    load = Fraction(whole(dice, 65, 95) * cpus, 100)
    while sum(Fraction(1, period) for period in periods) > load:
        periods = [2 * period for period in periods]
    bursts = _bursts(dice, periods, load)
    deadlines = _deadlines(dice, periods, bursts)
    tasks: list[Task] = []
    for i, (name, period, burst) in enumerate(zip(NAMES, periods, bursts, strict=False)):
        task: dict[str, Any] = {"name": name, "period": period, "burst": burst}
        if can_write("wcet"):
            task["wcet"] = burst
        if constrained:
            task["deadline"] = deadlines[i]
        task["jobs"] = lcm(*periods) // period
        tasks.append(task)
    return tasks


def _bursts(dice: Random, periods: Sequence[int], load: Fraction) -> list[int]:
    """Add ticks to anybody's burst until all of them together ask for `load` processors."""
    bursts = [1] * len(periods)
    while sum(map(Fraction, bursts, periods)) < load and any(map(lt, bursts, periods)):
        i = whole(dice, 0, len(bursts) - 1)
        bursts[i] = min(bursts[i] + 1, periods[i])
    return bursts


def _deadlines(dice: Random, periods: Sequence[int], bursts: Sequence[int]) -> list[int]:
    """Draw relative deadlines, each within its period and another one than those of the shorter periods."""
    drawn: list[int] = []
    for period, burst in zip(reversed(periods), reversed(bursts), strict=True):
        possible = range(min(period, burst + 1), period + 1)
        drawn.append(one_of(dice, [d for d in possible if d not in drawn] or possible))
    return drawn[::-1]


def rules(tasks: Sequence[Task]) -> str:
    """What the table of tasks means."""
    due = "as the table says" if "deadline" in tasks[0] else "when the next one comes"
    end = tasks[0]["period"] * tasks[0]["jobs"]
    return (
        f"Every task releases a job at time 0 and then once per period; the job is due {due}. "
        f"Do all jobs that are released before time {end}, however late."
    )


def questions(each: str) -> list[str]:
    """What is asked."""
    return [
        "What is the utilisation, and what do the bounds that you know say?",
        f"Draw the Gantt chart{each}: who runs when?",
        "Which jobs miss their deadline, and by how much?",
        "What is the worst response time (finish - release) of each task?",
    ]


def results(story: Story) -> list[Part]:
    """Every job's response, and each task's worst."""
    rows, worst, late = [], [], []
    for task in story.tasks:
        for job in task.jobs:
            finish, release = time(job.finish_ns), time(job.release_ns)
            response = (job.finish_ns or 0) - job.release_ns
            over = (job.finish_ns or 0) - job.deadline_ns
            if job.missed:
                late.append(f"{task.name} {job.job} by {time(over)}")
            fate = f"missed by {time(over)}" if job.missed else "met"
            rows.append(
                [f"{task.name} {job.job}", release, time(job.deadline_ns), finish,
                 f"{finish} - {release} = {time(response)}", fate]
            )  # fmt: skip
        worst.append(f"{task.name} {time(max((j.finish_ns or 0) - j.release_ns for j in task.jobs))}")
    columns = ("job", "release", "deadline", "finish", "response", "deadline is")
    missed = f"Missed: {', '.join(late)}." if late else "No deadline is missed."
    return [Table("Job by job", columns, rows), Text(missed), Text(f"Worst response: {', '.join(worst)}.")]


def data(story: Story) -> dict[str, Any]:
    """The same for programs; `means` is what policies are compared by."""
    rows: list[dict[str, Any]] = [
        {
            "name": task.name, "job": job.job, "release": ticks(job.release_ns),
            "deadline": ticks(job.deadline_ns), "finish": ticks(job.finish_ns or 0), "missed": job.missed,
        }
        for task in story.tasks
        for job in task.jobs
    ]  # fmt: skip
    responses = [(job.finish_ns or 0) - job.release_ns for task in story.tasks for job in task.jobs]
    return {
        "jobs": rows,
        "means": {
            "number of misses": sum(row["missed"] for row in rows),
            "mean response": sum(responses) / (len(responses) * TICK_NS),
        },
    }
