"""The work of an exercise's tasks, as tables of a scenario; times in ticks.

- A task is a table: `name`, `arrival`, and a `burst` or a `program` of steps; periodic ones have a
  `period` and a number of `jobs`.
- A processor that these jobs share is never idle before the end, but for I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Final

from llmos.engine.streams import stream
from llmos.exercise.base import whole

NAMES: Final = "ABCDEFGHIJ"
DISK: Final = "disk"

Task = Mapping[str, Any]
Step = dict[str, Any]


def jobs(seed: int, count: int) -> list[Task]:
    """Jobs that arrive one after another, each with a length from 2 to 8 ticks."""
    lengths = stream(seed, "exercise/lengths")
    return _arriving(seed, [{"burst": whole(lengths, 2, 8)} for _ in range(count)])


def jobs_with_io(seed: int, count: int) -> list[Task]:
    """Jobs of two or three bursts each, which are alike, with I/O between them."""
    dice = stream(seed, "exercise/bursts")
    return _arriving(seed, [{"program": _regular(dice)} for _ in range(count)])


def processes(seed: int, count: int) -> list[Task]:
    """Processes that run, do I/O or sleep, and run again; the first of them does I/O."""
    dice = stream(seed, "exercise/steps")
    works: list[Task] = []
    for i in range(count):
        steps = [compute(whole(dice, 1, 4))]
        for _ in range(whole(dice, 0 if i else 1, 2)):
            steps += [_pause(dice, only_io=i == 0), compute(whole(dice, 1, 3))]
        works.append({"program": steps})
    return _arriving(seed, works)


def _pause(dice: Random, *, only_io: bool) -> Step:
    ticks = whole(dice, 2, 6)
    return io(ticks) if whole(dice, 1, 4) > 1 or only_io else sleep(ticks)


def _regular(dice: Random) -> list[Step]:
    usual, pieces = whole(dice, 2, 5), whole(dice, 2, 3)
    steps = [[compute(max(1, usual + whole(dice, -1, 1))), io(whole(dice, 2, 5))] for _ in range(pieces)]
    return [step for pair in steps for step in pair][:-1]


def _arriving(seed: int, works: Sequence[Task]) -> list[Task]:
    gaps = stream(seed, "exercise/arrivals")
    tasks: list[Task] = []
    arrival = work = 0
    for name, what in zip(NAMES, works, strict=False):
        tasks.append({"name": name, "arrival": arrival, **what})
        work += sum(bursts(what))
        arrival = min(arrival + whole(gaps, 0, 4), work)
    return tasks


def compute(ticks: int) -> Step:
    """A step of so much work on the processor."""
    return {"compute": ticks}


def io(ticks: int) -> Step:
    """A step that waits for the disk, which serves everybody at once."""
    return {"io": DISK, "time": ticks}


def sleep(ticks: int) -> Step:
    """A step that sleeps."""
    return {"sleep": ticks}


def devices(tasks: Sequence[Task]) -> list[Task]:
    """The devices that `tasks` use."""
    uses = any("io" in step for task in tasks for step in task.get("program", ()))
    return [{"name": DISK, "servers": 0}] if uses else []


def bursts(task: Task) -> list[int]:
    """What a task asks of the processor at a time, over all its jobs."""
    if "program" not in task:
        return [task["burst"]] * task.get("jobs", 1)
    return [step["compute"] for step in task["program"] if "compute" in step]


def away(task: Task) -> int:
    """The ticks that a task spends on I/O and sleep."""
    return sum(step.get("time", 0) + step.get("sleep", 0) for step in task.get("program", ()))


def in_words(program: Sequence[Step]) -> str:
    """A program for people: "run 3, I/O 4, run 2"."""
    words = {"compute": "run", "time": "I/O", "sleep": "sleep", "lock": "lock", "unlock": "unlock"}
    return ", ".join(f"{words[key]} {step[key]}" for step in program for key in words if key in step)
