"""The topic scheduling: a few jobs, a policy, and the question who runs when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

from llmos.engine.order import CONVENTIONS
from llmos.engine.streams import stream
from llmos.exercise import kinds, periodic, work
from llmos.exercise.answer import MEASURES, solve
from llmos.exercise.base import Exercise, Listing, Option, Part, Table, Text, Topic, one_of
from llmos.exercise.kinds import Policy
from llmos.exercise.problem import Posed, Problem
from llmos.exercise.rules import policy_parts
from llmos.exercise.story import blank
from llmos.exercise.ties import ties
from llmos.exercise.work import Task

FIRST: Final = ("fcfs", "sjf", "srtf", "rr")
"""The seed picks one of these when no policy is asked for."""

JOB_BY_JOB: Final = (
    "What are the response (first run - arrival), the turnaround (finish - arrival) and the waiting time "
    "(in the ready queue) of each job?"
)

TITLES: Final = {"name": "job", "burst": "length"}


class Scheduling(Topic):
    """Who runs when under a scheduling policy, and what that means for each task."""

    options: ClassVar[tuple[Option, ...]] = (
        Option(name="policy", many=True, help='Scheduler: rr, "rr quantum=3", mine.py; several compare.'),
        Option(
            name="jobs",
            low=1,
            high=10,
            help="Number of jobs [4; 3 with I/O], or of periodic tasks [processors + 2].",
        ),
        Option(name="cpus", low=1, high=4, help="Number of processors [1]."),
        Option(name="convention", choices=tuple(CONVENTIONS), help="The rule for ties [textbook]."),
    )

    def pose(self, seed: int, options: Mapping[str, Any]) -> Exercise:
        asked = options.get("policy") or (one_of(stream(seed, "exercise/which"), FIRST),)
        found = [kinds.find(text) for text in asked]
        cpus = options.get("cpus") or max(policy.cpus for policy in found)
        tasks = draw(seed, found, options.get("jobs"), cpus)
        return exercise(
            Problem(
                seed=seed,
                policies=[Posed(policy, kinds.choice(policy, seed, cpus, tasks)) for policy in found],
                tasks=tasks,
                convention=options.get("convention") or "textbook",
                cpus=cpus,
            )
        )


def draw(seed: int, policies: Sequence[Policy], count: int | None, cpus: int) -> Sequence[Task]:
    """Tasks with everything that one of the policies looks at."""
    if any(policy.periodic for policy in policies):
        constrained = any(policy.constrained for policy in policies)
        tasks = periodic.draw(seed, count or 2 + cpus, cpus, constrained=constrained)
    elif any(policy.learns for policy in policies):
        tasks = work.jobs_with_io(seed, count or 3)
    else:
        tasks = work.jobs(seed, count or 4)
    return kinds.with_facts(tasks, policies, seed)


def exercise(problem: Problem) -> Exercise:
    """The exercise about `problem`."""
    names = [task["name"] for task in problem.tasks]
    worksheet: list[Part] = []
    for posed in problem.policies:
        worksheet += [Listing(posed.label, blank(names, problem.length, problem.cpus)), _form(problem, names)]
    return Exercise(
        topic="scheduling",
        seed=problem.seed,
        title=f"Scheduling, exercise {problem.seed}: {', '.join(problem.labels)}",
        statement=_statement(problem),
        questions=_questions(problem),
        worksheet=worksheet,
        toml=problem.toml(),
        data={
            "policies": problem.labels,
            "convention": problem.convention,
            "cpus": problem.cpus,
            "tasks": list(problem.tasks),
        },
        solve=partial(solve, problem),
    )


def _statement(problem: Problem) -> list[Part]:
    tasks, cpus = problem.tasks, problem.cpus
    what = "the jobs of these periodic tasks" if problem.periodic else "these jobs"
    who = (
        "One processor does"
        if cpus == 1
        else f"{cpus} processors with one ready queue (the first that is free takes the next job) do"
    )
    parts: list[Part] = [
        Text(f"{who} {what}. All times are in ms, and nothing but the jobs' own work takes time."),
        _table(tasks),
    ]
    if problem.periodic:
        parts.append(Text(periodic.rules(tasks)))
    if problem.has_io:
        parts.append(Text("I/O needs no processor, and the disk serves any number of jobs at once."))
    if notes := kinds.notes(tasks):
        parts.append(Text(notes))
    for posed in problem.policies:
        parts += policy_parts(posed.choice)
    asked = [posed.policy for posed in problem.policies]
    return [*parts, Text(ties(asked, problem.convention, blocks=problem.has_io))]


def _table(tasks: Sequence[Task]) -> Table:
    keys = [key for key in tasks[0] if key not in ("jobs", "wcet")]
    rows = [
        [work.in_words(task[key]) if key == "program" else str(task[key]) for key in keys] for task in tasks
    ]
    titles = TITLES | ({"name": "task"} if "period" in tasks[0] else {})
    return Table("", [titles.get(key, key) for key in keys], rows)


def _questions(problem: Problem) -> list[str]:
    each = " for each of the policies" if len(problem.policies) > 1 else ""
    if problem.periodic:
        return periodic.questions(each)
    asked = [
        f"Draw the Gantt chart{each}: who runs when?",
        JOB_BY_JOB,
        "What are their means?",
    ]
    if each:
        asked.append("Which policy has the smallest mean response, which the smallest mean turnaround? Why?")
    return asked


def _form(problem: Problem, names: Sequence[str]) -> Table:
    """The empty table of results."""
    if problem.periodic:
        jobs = [(task["name"], job) for task in problem.tasks for job in range(1, task["jobs"] + 1)]
        return Table("", ("job", "finish", "response", "late?"), [(f"{n} {j}", "", "", "") for n, j in jobs])
    columns = ("job", "first run", "finish", *MEASURES)
    return Table("", columns, [(name, "", "", "", "", "") for name in (*names, "mean")])
