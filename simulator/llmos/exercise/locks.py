"""The topic locks: tasks with priorities take mutexes, and some wait for others, perhaps for ever."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, ClassVar, Final

from llmos.engine.streams import stream
from llmos.exercise import kinds, toml, work
from llmos.exercise.base import (
    Exercise,
    Heading,
    Listing,
    Option,
    Part,
    Solution,
    Table,
    Text,
    Topic,
    one_of,
    shuffled,
    ticks,
    time,
    whole,
)
from llmos.exercise.rules import policy_parts, takes_draws
from llmos.exercise.story import Story, blank, chart, decisions, decisions_data, tell
from llmos.exercise.ties import ties
from llmos.exercise.work import Step, Task
from llmos.scenario.policies import label
from llmos.trace import events as ev

PROTOCOLS: Final = {
    "none": "without priority inheritance",
    "inherit": "with priority inheritance",
}
BOTH: Final = "both"
MUTEXES: Final = ("x", "y")
MANY: Final = (1, 2, 2)
FEW: Final = (0, 0, 1, 2)
"""How many of them a task takes: the first two tasks, and those that come later."""

FIRST_THINGS_FIRST: Final = (
    "At one instant, first whoever runs does what his program says next; then the next to run is chosen."
)
INHERITS: Final = (
    "With priority inheritance, who has a mutex also has the priority of the most urgent task that waits "
    "for it, if that is more urgent than his own."
)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The tasks as tables of the scenario, times in ticks, their policy, and what mutexes do about it."""

    seed: int
    tasks: Sequence[Task]
    policy: kinds.Policy
    choice: Mapping[str, Any]
    protocols: Sequence[str]

    def toml(self, protocol: str) -> str:
        """The problem with this protocol as a scenario."""
        title = f"Locks, exercise {self.seed}"
        scenario = {
            "question": "Who waits for whom, and does anybody wait for ever?",
            "title": title,
            "seed": self.seed,
            "tick": "1 ms",
            "cpu": {"scheduler": self.choice},
            "mutex": [{"name": name, "protocol": protocol} for name in MUTEXES],
            "task": self.tasks,
        }
        return toml.write(scenario, title)


class Locks(Topic):
    """Who waits for whom when tasks take mutexes, and whether they wait for ever."""

    options: ClassVar[tuple[Option, ...]] = (
        Option(name="jobs", low=2, high=3, help="Number of tasks [3]."),
        Option(name="policy", help="Scheduler [priority preemptive=true]."),
        Option(
            name="protocol", choices=(*PROTOCOLS, BOTH), help="Whether mutexes hand priorities on [both]."
        ),
    )

    def pose(self, seed: int, options: Mapping[str, Any]) -> Exercise:
        policy = kinds.without_deadlines(kinds.find(options.get("policy") or "priority preemptive=true"))
        tasks = kinds.with_facts(draw(seed, options.get("jobs") or 3), [policy], seed)
        protocol = options.get("protocol") or BOTH
        return exercise(
            Problem(
                seed=seed,
                tasks=tasks,
                policy=policy,
                choice=kinds.choice(policy, seed, 1, tasks),
                protocols=list(PROTOCOLS) if protocol == BOTH else [protocol],
            )
        )


# --- the tasks ------------------------------------------------------------------------------------------


def draw(seed: int, count: int) -> list[Task]:
    """Tasks that lock; the first is the least urgent, so that the others find it at work."""
    dice = stream(seed, "exercise/locks")
    urgent = [count, *shuffled(dice, range(1, count))]
    tasks: list[Task] = []
    arrival = 0
    for i, priority in enumerate(urgent):
        locks = shuffled(dice, MUTEXES)[: one_of(dice, FEW if i > 1 else MANY)]
        tasks.append(
            {
                "name": work.NAMES[i],
                "arrival": arrival,
                "priority": priority,
                "program": _program(dice, locks),
            }
        )
        arrival += whole(dice, 1, 3)
    return tasks


def _program(dice: Random, locks: Sequence[str]) -> list[Step]:
    """Work, and more of it after each of `locks` is taken, and after each is given back, the last one first.

    So nobody takes or gives two things at once: whether he is preempted in between would be anybody's guess.
    """
    if not locks:
        return [work.compute(whole(dice, 3, 5))]
    steps = [work.compute(1)]
    for mutex in locks:
        steps += [{"lock": mutex}, work.compute(whole(dice, 2, 4))]
    for mutex in reversed(locks):
        steps += [{"unlock": mutex}, work.compute(whole(dice, 1, 2))]
    return steps


# --- the problem ----------------------------------------------------------------------------------------


def exercise(problem: Problem) -> Exercise:
    """The exercise about `problem`."""
    names = [task["name"] for task in problem.tasks]
    length = sum(sum(work.bursts(task)) for task in problem.tasks)
    sheet: list[Part] = []
    for protocol in problem.protocols:
        sheet += [
            Listing(PROTOCOLS[protocol], blank(names, length)),
            Table("", ("task", "done", "waited for"), [(name, "", "") for name in names]),
        ]
    each = ", without and with inheritance" if len(problem.protocols) > 1 else ""
    return Exercise(
        topic="locks",
        seed=problem.seed,
        title=f"Locks, exercise {problem.seed}: {label(problem.choice)}",
        statement=_statement(problem),
        questions=[
            f"Draw the Gantt chart{each}: who runs when?",
            "Who waits for which mutex, from when to when, and who has it meanwhile?",
            "Is there a deadlock? If so: when, and who waits for whom?",
            "When is each task done? Does a less urgent task keep a more urgent one from it?",
        ],
        worksheet=sheet,
        toml=problem.toml(problem.protocols[0]),
        data={
            "policy": label(problem.choice),
            "protocols": list(problem.protocols),
            "tasks": list(problem.tasks),
        },
        solve=partial(solve, problem),
    )


def _statement(problem: Problem) -> list[Part]:
    columns = [key for key in problem.tasks[0] if key not in ("name", "program")]
    rows = [[task["name"], *(str(task[key]) for key in columns)] for task in problem.tasks]
    programs = [f"{task['name']}  {work.in_words(task['program'])}" for task in problem.tasks]
    return [
        Text(
            "These tasks share one processor and the mutexes "
            f"{' and '.join(MUTEXES)}. All times are in ms; to lock and unlock takes no time."
        ),
        Table("", ("task", *columns), rows),
        Text(kinds.notes(problem.tasks)),
        Listing("", programs),
        Text(
            "Who wants a mutex that another task has is blocked until it is given to him. Of several, the "
            "most urgent one gets it."
        ),
        *([Text(INHERITS)] if "inherit" in problem.protocols else []),
        *policy_parts(problem.choice),
        Text(f"{FIRST_THINGS_FIRST} {ties([problem.policy], 'textbook')}"),
    ]


# --- the answer -----------------------------------------------------------------------------------------


def solve(problem: Problem) -> Solution:
    """Run the tasks with each protocol, and tell who has what and who waits for whom.

    Raises RunError when a run ends early, but for a deadlock.
    """
    parts: list[Part | Heading] = []
    data: list[dict[str, Any]] = []
    for protocol in problem.protocols:
        story = tell(
            problem.toml(protocol),
            f"locks-{problem.seed}",
            may_deadlock=True,
            every_turn=takes_draws(problem.choice),
        )
        rows = list(_doings(story))
        ends = [[t.name, time(t.finish_ns), time(t.waiting_ns), time(t.blocked_ns)] for t in story.tasks]
        parts += [
            Heading(PROTOCOLS[protocol]),
            decisions(story),
            Table("The mutexes", ("time", "task", "what happens", "wait for whom"), rows, left=4),
            Listing("Gantt chart (# runs, . is ready, - is blocked)", chart(story)),
            Text(_verdict(story)),
            Table("Task by task", ("task", "done", "ready", "blocked"), ends),
        ]
        data.append({"protocol": protocol, **_data(story)})
    return Solution(parts=parts, data={"protocols": data})


def _doings(story: Story) -> Iterator[list[str]]:
    """Whatever happens to the mutexes and by them to priorities, and who waits for whom then."""
    holder: dict[str, int] = {}
    waiters: dict[str, list[int]] = {}
    for e in story.events:
        if isinstance(e, ev.Share):
            holder[e.name], waiters[e.name] = e.holder, e.waiters
            yield [time(e.t), story.name(e.task), _did(e), _waits(story, holder, waiters)]
        elif isinstance(e, ev.Change):
            yield [time(e.t), story.name(e.task), f"has priority {e.priority}", ""]


def _did(e: ev.Share) -> str:
    if e.task in e.waiters:
        return f"waits for {e.name}"
    return f"{'has' if e.holder == e.task else 'gives back'} {e.name}"


def _waits(story: Story, holder: Mapping[str, int], waiters: Mapping[str, Sequence[int]]) -> str:
    """Who waits for whom: "B for A"."""
    edges = [(pid, holder[name]) for name in holder for pid in waiters[name] if holder[name] != -1]
    return ", ".join(f"{story.name(pid)} for {story.name(other)}" for pid, other in edges)


def _verdict(story: Story) -> str:
    if not story.state.deadlocks:
        return "There is no deadlock: everybody is done in the end."
    first = story.state.deadlocks[0]
    names = [story.name(pid) for pid in first.cycle]
    others = [*names[1:], names[0]]
    said = ", ".join(
        f"{name} waits for {lock}, which {other} has"
        for name, lock, other in zip(names, first.locks, others, strict=True)
    )
    return f"Deadlock at {time(first.t)}: {said}. They wait for ever."


def _data(story: Story) -> dict[str, Any]:
    return {
        "decisions": decisions_data(story),
        "mutexes": [
            {
                "time": ticks(e.t),
                "task": story.name(e.task),
                "mutex": e.name,
                "holder": story.name(e.holder) if e.holder != -1 else None,
                "waiters": [story.name(pid) for pid in e.waiters],
            }
            for e in story.events
            if isinstance(e, ev.Share)
        ],
        "deadlocks": [
            {"time": ticks(d.t), "cycle": [story.name(pid) for pid in d.cycle], "mutexes": d.locks}
            for d in story.state.deadlocks
        ],
        "tasks": [
            {
                "name": t.name,
                "finish": None if t.finish_ns is None else ticks(t.finish_ns),
                "ready": ticks(t.waiting_ns),
                "blocked": ticks(t.blocked_ns),
            }
            for t in story.tasks
        ],
    }
