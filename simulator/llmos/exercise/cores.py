"""The topic cores: who runs on which core, and how fast, where each core has a cache.

- A job is cold on a core until it has worked there for the time of a warm-up; then it is warm, and
  works faster. The working sets of the warm jobs fit into the cache of the core.
- All cores hand on at the same instants, and a job that is done keeps its core to the end of the ms.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, ClassVar, Final

from llmos.engine.streams import stream
from llmos.errors import LlmosError
from llmos.exercise import caches, toml, work
from llmos.exercise.base import (
    Exercise,
    Listing,
    Option,
    Part,
    Table,
    Text,
    Topic,
    one_of,
    refuse_both,
    whole,
)
from llmos.exercise.story import ruled
from llmos.exercise.work import Task

SHARED: Final = "shared"
PER_CORE: Final = "per-core"
MOST: Final = 6
"""Jobs in an exercise."""


@dataclass(frozen=True, kw_only=True)
class Caches:
    """The cache of each core: KiB, ticks until a job is warm, and the work of a warm job in a tick."""

    size: int
    warmup: int
    rate: int

    def table(self) -> dict[str, Any]:
        """What a scenario says of it."""
        return {"size": f"{self.size} KiB", "warmup": self.warmup, "warm_rate": self.rate}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The jobs as tables of the scenario, times in ticks, and the machine."""

    seed: int
    tasks: Sequence[Task]
    cpus: int
    queues: str
    peek: int
    """How often a core whose queue is empty looks into another one's; 0 = never."""
    quantum: int
    cache: Caches

    def toml(self) -> str:
        """The problem as a scenario."""
        title = f"Cores and caches, exercise {self.seed}"
        peek = {"peek": self.peek} if self.peek else {}
        scenario = {
            "question": "When is each job done, and where is it warm?",
            "title": title,
            "seed": self.seed,
            "convention": "ostep",
            "tick": "1 ms",
            "cpu": {
                "count": self.cpus,
                "scheduler": "fcfs",
                "queues": self.queues,
                **peek,
                "cache": self.cache.table(),
                "rules": {"rotate": self.quantum, "whole": 1},
            },
            "task": self.tasks,
        }
        return toml.write(scenario, title)


class Cores(Topic):
    """Who runs on which core, where each has a cache, and what it is to be warm there."""

    options: ClassVar[tuple[Option, ...]] = (
        Option(name="jobs", low=1, high=MOST, help="Number of jobs [3]."),
        Option(name="own", help='Jobs of your own, their lengths and working sets in KiB: "30:200, 20:50".'),
        Option(name="cpus", low=1, high=4, help="Number of cores [2]."),
        Option(name="queues", choices=(SHARED, PER_CORE), help="One ready queue, or one per core."),
        Option(
            name="peek", low=0, high=50, help="How often a core looks into the other queue, in ms; 0 = never."
        ),
        Option(name="quantum", low=1, high=50, help="Every so many ms all cores hand on."),
        Option(name="cache", low=1, high=1000, help="Size of each cache, in KiB [100]."),
        Option(name="warmup", low=1, high=50, help="Work until a job is warm, in ms."),
        Option(name="rate", low=1, high=10, help="Work that a warm job does in a ms [2]."),
        Option(name="affinity", flag=True, help="Some jobs may run on some cores only."),
    )

    def pose(self, seed: int, options: Mapping[str, Any]) -> Exercise:
        dice = stream(seed, "exercise/cores")
        queues, quantum, warmup = one_of(dice, (SHARED, PER_CORE)), whole(dice, 3, 5), whole(dice, 2, 5)
        cpus = options.get("cpus") or 2
        peek = options.get("peek")
        queues = options.get("queues") or (PER_CORE if peek else queues)
        peek = whole(dice, 3, 6) if peek is None and cpus == 2 and queues == PER_CORE else peek or 0
        _check_peek(peek, cpus, queues)
        own = options.get("own")
        refuse_both("own", options, "jobs")
        tasks = _read(own) if own else _jobs(stream(seed, "exercise/cores/jobs"), options.get("jobs") or 3)
        if options.get("affinity"):
            tasks = _bound(stream(seed, "exercise/cores/affinity"), tasks, cpus)
        return exercise(
            Problem(
                seed=seed,
                tasks=tasks,
                cpus=cpus,
                queues=queues,
                peek=peek,
                quantum=options.get("quantum") or quantum,
                cache=Caches(
                    size=options.get("cache") or 100,
                    warmup=options.get("warmup") or warmup,
                    rate=options.get("rate") or 2,
                ),
            )
        )


def _check_peek(peek: int, cpus: int, queues: str) -> None:
    """Refuse what cannot be solved by hand.

    Raises LlmosError if there is no other queue, or if a lot would say which.
    """
    if peek and queues == SHARED:
        raise LlmosError(
            "--peek looks into another queue, but there is only one", hint="add --queues per-core"
        )
    if peek and cpus != 2:
        raise LlmosError(
            f"--peek looks into the other queue, but {cpus} cores have no other one"
            if cpus == 1
            else f"with {cpus} cores a lot would say into whose queue to --peek, and nobody could solve that",
            hint="leave --cpus away, or --peek",
        )


def _jobs(dice: Random, count: int) -> list[Task]:
    """Jobs of 4 to 16 ticks, whose working sets are a part of a cache each."""
    return [_job(i, whole(dice, 4, 16), 10 * whole(dice, 2, 9)) for i in range(count)]


def _read(text: str) -> list[Task]:
    """The jobs of "30:200, 20:50".

    Raises LlmosError for anything else, for no job and for more than MOST.
    """
    said = [job.strip() for job in text.split(",")]
    found = [re.fullmatch(r"([1-9][0-9]{0,2}):([0-9]{1,4})", job) for job in said]
    tasks = [_job(i, int(job[1]), int(job[2])) for i, job in enumerate(found) if job]
    if len(tasks) < len(said) or len(tasks) > MOST:
        wrong = next((job for job, ok in zip(said, found, strict=True) if not ok), text)
        raise LlmosError(
            f'"{wrong}" is not 1 to {MOST} jobs with a length (1 to 999 ms) and a working set in KiB',
            hint='write them as in "30:200, 20:50"',
        )
    return tasks


def _job(i: int, length: int, size: int) -> Task:
    return {"name": work.NAMES[i], "burst": length, "working_set": f"{size} KiB"}


def _bound(dice: Random, tasks: Sequence[Task], cpus: int) -> list[Task]:
    """The same jobs, of which the first and some others are bound to a core or two."""
    out: list[Task] = []
    for i, task in enumerate(tasks):
        first, bound = whole(dice, 0, cpus - 1), whole(dice, 1, 3) == 1
        cores = sorted({first, whole(dice, 0, cpus - 1)} if cpus > 2 else {first})
        out.append({**task, "affinity": cores} if bound or i == 0 else task)
    return out


def exercise(problem: Problem) -> Exercise:
    """The exercise about `problem`."""
    names = [task["name"] for task in problem.tasks]
    total = sum(sum(work.bursts(task)) for task in problem.tasks)
    cores = [f"cpu{cpu}" for cpu in range(problem.cpus)]
    length = -(-total // problem.cpus) + problem.quantum
    machine = "1 core" if problem.cpus == 1 else f"{problem.cpus} cores"
    return Exercise(
        topic="cores",
        seed=problem.seed,
        title=f"Cores and caches, exercise {problem.seed}: {machine}",
        statement=_statement(problem),
        questions=[
            "Who runs on each core in each ms, cold or warm?",
            "When is each job done?",
            "Until the last job is done, for how many ms is each core busy, and for how many warm?",
            "Whose working sets are in each cache, and when does that change?",
        ],
        worksheet=[
            Listing("", ruled([(core, "_" * length) for core in cores], length)),
            Table("", ("job", "done"), [(name, "") for name in names]),
            Table("", ("core", "busy", "warm", "in its cache"), [(core, "", "", "") for core in cores]),
        ],
        toml=problem.toml(),
        data={
            "cpus": problem.cpus,
            "queues": problem.queues,
            "peek": problem.peek,
            "quantum": problem.quantum,
            "cache": {"size": problem.cache.size, "warmup": problem.cache.warmup, "rate": problem.cache.rate},
            "jobs": list(problem.tasks),
        },
        solve=partial(
            caches.solve, problem.toml(), f"cores-{problem.seed}", problem.tasks, problem.cache.rate
        ),
    )


def _statement(problem: Problem) -> list[Part]:
    q, cache = problem.quantum, problem.cache
    return [
        Text("These jobs arrive at 0, in this order. All times are in ms; nothing else takes time."),
        _table(problem),
        Text(_queueing(problem)),
        Text(
            f"At {q}, {2 * q}, {3 * q}, ... every running job goes to the end of its queue, those of the "
            "first cores first; then idle cores choose, again from the first to the last. A job that is "
            "done in the middle of a ms keeps its core to the end of it."
        ),
        Text(
            f"Each core has a cache of {cache.size} KiB. A job is cold on a core until it has run there "
            f"for {cache.warmup} ms, all its turns together; then its working set is in that cache and "
            f"it is warm. A cold job does 1 ms of its work in a ms, a warm one {cache.rate}."
        ),
        Text(
            "Where the working sets in a cache are larger than it, those that have been in it the longest "
            "are evicted, one after another, until the rest fits. A job that is evicted is cold, and its "
            "warm-up begins again. A job that is done leaves its working set behind."
        ),
    ]


def _table(problem: Problem) -> Table:
    bound = any("affinity" in task for task in problem.tasks)
    rows = [
        [
            task["name"],
            str(sum(work.bursts(task))),
            str(task["working_set"]),
            *([_where(task)] if bound else []),
        ]
        for task in problem.tasks
    ]
    columns = ("job", "length", "working set", *(["runs on"] if bound else []))
    return Table("", columns, rows)


def _where(task: Task) -> str:
    return ", ".join(f"cpu{core}" for core in task["affinity"]) if "affinity" in task else "any"


def _queueing(problem: Problem) -> str:
    if problem.cpus == 1:
        return "One core takes them from a ready queue: first come, first served."
    chosen = " that may run there" if any("affinity" in task for task in problem.tasks) else ""
    if problem.queues == SHARED:
        return f"{problem.cpus} cores take the first job{chosen} of one ready queue."
    said = (
        f"{problem.cpus} cores have a ready queue each, and run the first job in it. The jobs are dealt "
        "out to the queues in turn"
    )
    said += ", each to one of those it may run on that has been dealt the fewest. " if chosen else ". "
    if problem.peek:
        p = problem.peek
        said += (
            f"At {p}, {2 * p}, {3 * p}, ... a core whose queue is empty, even if it is busy, takes the "
            f"first job{chosen} out of the other core's queue, cpu0 before cpu1; that is after the running "
            "jobs have gone to the end, if it is the same instant."
        )
    else:
        said += "No job moves to another queue."
    return said
