"""The worked answer of a scheduling problem: decision by decision, then job by job, then the means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from llmos.exercise import bounds, periodic, rules
from llmos.exercise.base import (
    TICK_NS,
    Heading,
    Listing,
    Part,
    Solution,
    Table,
    Text,
    number,
    ticks,
    time,
)
from llmos.exercise.problem import Problem
from llmos.exercise.story import Story, chart, decisions, decisions_data, tell
from llmos.trace.metrics import response_ns, turnaround_ns, waiting_ns
from llmos.trace.records import TaskState

MEASURES: Final = {"response": response_ns, "turnaround": turnaround_ns, "waiting": waiting_ns}


def solve(problem: Problem) -> Solution:
    """Run the problem under every policy and work the answers out.

    Raises RunError when a run does not get to its end.
    """
    text = problem.toml()
    parts: list[Part | Heading] = []
    data: list[dict[str, Any]] = []
    if problem.periodic:
        parts += bounds.parts(problem.tasks, [p.policy.name for p in problem.policies], problem.cpus)
    legend = "# runs, . is ready"
    if problem.periodic or problem.has_io:
        legend += ", - waits for " + ("its next job" if problem.periodic else "I/O")
    for posed in problem.policies:
        story = tell(
            text, f"scheduling-{problem.seed}", posed.choice, every_turn=rules.takes_draws(posed.choice)
        )
        parts += [
            Heading(posed.label),
            decisions(story),
            Listing(f"Gantt chart ({legend})", chart(story)),
            *(periodic.results(story) if problem.periodic else _results(story)),
        ]
        data.append({"policy": posed.label, **_data(story, periodically=problem.periodic)})
    if len(problem.policies) > 1:
        parts += _compared(data)
    return Solution(parts=parts, data={"policies": data})


# --- job by job -----------------------------------------------------------------------------------------


def _results(story: Story) -> list[Part]:
    columns = ("job", "first run", "finish", *MEASURES)
    sums = [_mean(name, [measure(task) or 0 for task in story.tasks]) for name, measure in MEASURES.items()]
    return [Table("Job by job", columns, [_row(task) for task in story.tasks]), Listing("Means", sums)]


def _row(task: TaskState) -> list[str]:
    arrival, first, finish = time(task.arrival_ns), time(task.first_run_ns), time(task.finish_ns)
    turnaround = time(turnaround_ns(task))
    blocked = f" - {time(task.blocked_ns)}" if task.blocked_ns else ""
    return [
        task.name,
        first,
        finish,
        f"{first} - {arrival} = {time(response_ns(task))}",
        f"{finish} - {arrival} = {turnaround}",
        f"{turnaround} - {time(task.cpu_ns)}{blocked} = {time(waiting_ns(task))}",
    ]


def _mean(name: str, values: Sequence[int]) -> str:
    """A mean, worked out as a sum."""
    terms, count = " + ".join(map(time, values)), len(values)
    mean = number(Fraction(sum(values), count * TICK_NS))
    return f"{name:<10} ({terms}) / {count} = {time(sum(values))} / {count} = {mean}"


def _compared(data: Sequence[Mapping[str, Any]]) -> list[Part | Heading]:
    """The means of all policies, and which is best."""
    names = list(data[0]["means"])
    rows = [[each["policy"], *(number(each["means"][name]) for name in names)] for each in data]
    best = []
    for name in names:
        least = min(each["means"][name] for each in data)
        who = " and ".join(each["policy"] for each in data if each["means"][name] == least)
        best.append(Text(f"Smallest {name}: {who}, with {number(least)}."))
    return [Heading("All policies"), Table("", ("policy", *names), rows), *best]


# --- for programs ---------------------------------------------------------------------------------------


def _data(story: Story, *, periodically: bool) -> dict[str, Any]:
    spans = sorted(story.state.spans or [], key=lambda span: (span.start_ns, span.cpu))
    out: dict[str, Any] = {
        "decisions": decisions_data(story),
        "gantt": [[ticks(s.start_ns), ticks(s.end_ns), s.cpu, story.name(s.pid)] for s in spans],
    }
    if periodically:
        return out | periodic.data(story)
    out["tasks"] = [
        {
            "name": task.name,
            "first_run": ticks(task.first_run_ns or 0),
            "finish": ticks(task.finish_ns or 0),
            **{name: ticks(measure(task) or 0) for name, measure in MEASURES.items()},
        }
        for task in story.tasks
    ]
    sums = {name: sum(measure(task) or 0 for task in story.tasks) for name, measure in MEASURES.items()}
    count = len(story.tasks) * TICK_NS
    return out | {"means": {f"mean {name}": total / count for name, total in sums.items()}}
