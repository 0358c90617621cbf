"""The topic forks: processes fork, exit and wait, and a tree says whose children they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

from llmos.engine.streams import stream
from llmos.exercise import toml
from llmos.exercise.base import (
    TICK_NS,
    Exercise,
    Listing,
    Option,
    Part,
    Solution,
    Table,
    Text,
    Topic,
    refuse_both,
)
from llmos.exercise.family import INIT, MOST, Action, after, draw, read
from llmos.exercise.story import tell
from llmos.trace.records import Status, TaskState
from llmos.trace.state import State

ALIVE: Final = "alive"
WAITS: Final = "waits"
ZOMBIE: Final = "zombie"
GONE: Final = "gone"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What the processes do, one action in each tick from 1 on; the first to act is the first process."""

    seed: int
    actions: Sequence[Action]
    shows_trees: bool = False
    """Whether the trees are given and the actions are asked for."""

    @property
    def title(self) -> str:
        """What it is called."""
        return f"Forks, exercise {self.seed}"

    def toml(self) -> str:
        """The problem as a scenario: everybody sleeps until his next action.

        Raises LlmosError if an action cannot happen.
        """
        first = self.actions[0].who
        programs = after(self.actions, first).programs
        scenario = {
            "question": "Whose child is everybody, and who is a zombie?",
            "title": self.title,
            "seed": self.seed,
            "tick": "1 ms",
            "programs": {name: {"steps": steps} for name, steps in programs.items() if name != first},
            "task": [{"name": first, "program": programs[first]}],
        }
        return toml.write({key: value for key, value in scenario.items() if value != {}}, self.title)


class Forks(Topic):
    """Whose child is everybody when processes fork, exit and wait, and who is a zombie."""

    options: ClassVar[tuple[Option, ...]] = (
        Option(name="actions", low=1, high=MOST, help="Number of actions [8]."),
        Option(name="forks", low=0, high=100, help="How many of them are forks, in percent [about 60]."),
        Option(name="do", help='Actions of your own: "A forks B, B exits, A waits".'),
        Option(name="trees", flag=True, help="Show the trees and ask for the actions."),
    )

    def pose(self, seed: int, options: Mapping[str, Any]) -> Exercise:
        percent = 60 if options.get("forks") is None else options["forks"]
        dice = stream(seed, "exercise/forks")
        asked = options.get("do")
        refuse_both("do", options, "actions", "forks")
        actions = read(asked) if asked else draw(dice, options.get("actions") or 8, percent)
        return exercise(Problem(seed=seed, actions=actions, shows_trees=bool(options.get("trees"))))


def exercise(problem: Problem) -> Exercise:
    """The exercise about `problem`.

    Raises LlmosError if an action cannot happen.
    """
    scenario, actions = problem.toml(), list(map(str, problem.actions))
    rows = [[str(t), "" if problem.shows_trees else action, ""] for t, action in enumerate(actions, start=1)]
    return Exercise(
        topic="forks",
        seed=problem.seed,
        title=f"{problem.title}: {len(actions)} actions",
        statement=_statement(problem, actions),
        questions=[
            "Which action was it each time?"
            if problem.shows_trees
            else "What is the tree after each action?",
            "In the end, who is alive, who is a zombie, and who is an orphan?",
            "Which pid has each process, and which has its parent in the end?",
        ],
        worksheet=[
            Table("", ("time", "action", "tree afterwards"), rows, left=3),
            Table("", ("process", "pid", "forked by", "in the end", "parent then"), [[""] * 5] * 3, left=5),
        ],
        toml=scenario,
        data={"trees": _trees(problem)} if problem.shows_trees else {"actions": actions},
        solve=partial(solve, problem),
    )


def _statement(problem: Problem, actions: Sequence[str]) -> list[Part]:
    first = problem.actions[0].who
    parts: list[Part] = [
        Text(
            f"At first there is process {first}, with pid 1, a child of {INIT}; the next pids are 2, 3, ..."
        ),
        Text(
            "A process that exits is a zombie until its parent has waited for it. A process that waits is "
            "blocked until it has a zombie; with several, it is for the oldest. When a parent exits, its "
            f"children are orphans, and {INIT} takes them: it waits for each as soon as it exits."
        ),
    ]
    if problem.shows_trees:
        return [*parts, Text("One action in each ms has led to these trees:"), *_listings(_trees(problem))]
    return [
        *parts,
        Listing("One action in each ms:", [f"{t:>2}  {a}" for t, a in enumerate(actions, start=1)]),
    ]


# --- the answer -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Person:
    """A process at one instant."""

    name: str
    pid: int
    forked_by: str
    parent: str
    """Whose child it is now; "" if it is gone."""
    state: str
    orphan: bool
    """Whether it lives and its parent does not."""

    def __str__(self) -> str:
        notes = ["orphan"] * self.orphan + [self.state] * (self.state != ALIVE)
        return f"{self.name} ({', '.join(notes)})" if notes else self.name


def solve(problem: Problem) -> Solution:
    """Run the actions, and tell whose child everybody is after each of them.

    Raises RunError when the run does not get to its end.
    """
    said, every = list(map(str, problem.actions)), list(_instants(problem))
    trees = [_tree(people) for people in every]
    pids = {person.name: f"{person.name}, pid {person.pid}" for person in every[-1]}
    rows = [
        [
            p.name,
            str(p.pid),
            p.forked_by,
            p.state + (", orphan" if p.orphan else ""),
            pids.get(p.parent, p.parent or "-"),
        ]
        for p in every[-1]
    ]
    return Solution(
        parts=[
            *_listings(trees, said),
            Table("In the end", ("process", "pid", "forked by", "is", "child of"), rows, left=5),
        ],
        data={
            "steps": [
                {"time": t, "action": action, "tree": tree, "processes": list(map(_data, people))}
                for t, (action, tree, people) in enumerate(
                    zip(said, trees[1:], every[1:], strict=True), start=1
                )
            ],
        },
    )


def _instants(problem: Problem) -> Iterator[list[Person]]:
    """Everybody at 0 and after each action, as the log of the run says."""
    story = tell(problem.toml(), f"forks-{problem.seed}")
    state, rest = State(), iter(story.events)
    event = next(rest)
    for t in range(len(problem.actions) + 1):
        while event.t <= t * TICK_NS:
            state.apply(event)
            event = next(rest)
        yield [_person(state, pid) for pid in sorted(state.tasks)]


def _person(state: State, pid: int) -> Person:
    task = state.tasks[pid]
    parent = state.tasks.get(task.parent)
    forked_by = parent.name if parent else INIT
    now = _state(state, task)
    left = parent is not None and parent.status is Status.TERMINATED and now != GONE
    return Person(task.name, pid, forked_by, "" if now == GONE else INIT if left else forked_by, now, left)


def _state(state: State, task: TaskState) -> str:
    if task.status is Status.TERMINATED:
        return ZOMBIE if state.is_zombie(task) else GONE
    return WAITS if task.status is Status.BLOCKED and task.on == "child" else ALIVE


def _trees(problem: Problem) -> list[list[str]]:
    return list(map(_tree, _instants(problem)))


def _tree(people: Sequence[Person]) -> list[str]:
    """The tree in text, from init on."""
    return [INIT, *_branches(people, INIT, "")]


def _branches(people: Sequence[Person], parent: str, indent: str) -> Iterator[str]:
    children = [person for person in people if person.parent == parent]
    for child in children:
        yield f"{indent}+- {child}"
        yield from _branches(people, child.name, indent + ("   " if child is children[-1] else "|  "))


def _listings(trees: Sequence[Sequence[str]], said: Sequence[str] = ()) -> list[Part]:
    titles = ["0", *(f"{t}  {action}" for t, action in enumerate(said, start=1))]
    if not said:
        titles = list(map(str, range(len(trees))))
    return [Listing(title, tree) for title, tree in zip(titles, trees, strict=True)]


def _data(person: Person) -> dict[str, Any]:
    return {
        "name": person.name,
        "pid": person.pid,
        "forked_by": person.forked_by,
        "parent": person.parent,
        "is": person.state,
        "orphan": person.orphan,
    }
