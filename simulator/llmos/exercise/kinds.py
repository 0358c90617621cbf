"""What matters to a policy: which facts of a task it looks at, and small parameters for it.

- A fact matters when the policy's own code reads it (`task.tickets`), so a new policy file is known
  without being named here. `FACTS` says how each is drawn, what scenarios call it and what it means.
- A policy that looks at deadlines or periods is posed with periodic tasks, any other with jobs.
- A parameter of service (a quantum) shrinks with the exercise: 10 ms become `slice_` ticks. All others
  keep their default, unless `PARAMETERS` knows better numbers for a policy.
- A fact that scenarios cannot write is left out.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from random import Random
from typing import Any, Final, get_args, get_type_hints

from llmos.engine.streams import stream
from llmos.errors import LlmosError
from llmos.exercise.base import one_of, shuffled, whole
from llmos.exercise.work import bursts
from llmos.scenario import policies
from llmos.scenario.work_tables import Task as TaskTable
from llmos.sched import base as sched

Tasks = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact of a task that some policies look at: its key in a scenario, and what it means."""

    key: str
    draw: Callable[[Random, int], list[Any]]
    """One value for each of so many tasks."""
    note: str


def _odd_one_out(dice: Random, count: int) -> list[int]:
    """Nice values: 0, but for one task that gives way more, or less, than the others."""
    odd = whole(dice, 0, count - 1)
    value = one_of(dice, (-5, 5))
    return [value if i == odd else 0 for i in range(count)]


CLASSES: Final = ("foreground", "background")
"""The groups of tasks, the urgent ones first."""


def _classes(dice: Random, count: int) -> list[str]:
    """Groups of tasks: the first is a background task, and somebody in the foreground comes later."""
    drawn = [one_of(dice, CLASSES) for _ in range(count)]
    return [CLASSES[-1], *drawn[2:], CLASSES[0]] if count > 1 else drawn


TICKETS: Final = (1, 2, 4, 5)
"""Whatever is divided by them comes out even, so that sums by hand are those of the simulator."""

FACTS: Final[Mapping[str, Fact]] = {
    "priority": Fact(
        "priority", lambda dice, n: shuffled(dice, range(1, n + 1)), "a small priority is an urgent one"
    ),
    "tickets": Fact(
        "tickets",
        lambda dice, n: [one_of(dice, TICKETS) for _ in range(n)],
        "tickets are shares of the processor",
    ),
    "nice": Fact("nice", _odd_one_out, "nice is how much a task gives way (0 is usual)"),
    "group": Fact("group", _classes, "the group is the queue that a task belongs to"),
}
"""By the name of the field of `sched.base.Task`."""

DEADLINES: Final = frozenset({"deadline_ns", "relative_deadline_ns", "period_ns", "wcet_ns"})

NOT_BY_HAND: Final = {"cfs": {"nice"}, "eevdf": {"nice"}}
"""What an exercise leaves out, by policy: weights of 1.25 to the power of nice leave no whole numbers."""

LEARNS_FROM_BURSTS: Final = frozenset({"sjf-predicted"})
"""Policies that judge a task by its earlier bursts, so that its program must have several."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that is asked for: what a person says of it, and what it reads of a task."""

    name: str
    cls: type[sched.Scheduler]
    given: Mapping[str, Any]
    reads: frozenset[str]
    """Fields of a task that its methods look at."""
    knows: frozenset[str]
    """The same, with those that the functions look at which it calls."""

    @property
    def periodic(self) -> bool:
        """Whether it is about deadlines."""
        return bool(self.reads & DEADLINES)

    @property
    def constrained(self) -> bool:
        """Whether deadlines should differ from the ends of the periods."""
        return "relative_deadline_ns" in self.reads

    @property
    def learns(self) -> bool:
        """Whether tasks should have several bursts."""
        return self.name in LEARNS_FROM_BURSTS

    @property
    def takes_turns(self) -> bool:
        """Whether it has quanta, so that it matters who queues up first when one is over."""
        return self.cls.quantum is not sched.Scheduler.quantum

    @property
    def cpus(self) -> int:
        """The number of processors that it is interesting on."""
        cores = inspect.signature(self.cls).parameters.get("cores")
        return 2 if cores is not None and cores.default != 1 else 1


def find(text: str) -> Policy:
    """The policy of `text`: "rr", "rr quantum=3", "mine.py:Mine".

    Raises ScenarioError if there is no such policy or parameter.
    """
    given = policies.parse_choice(text)
    policies.policy_spec(given, "cpu", tick_ns=1)
    name = given["policy"]
    cls = policies.describe(name).cls
    own, called = _reads(cls)
    left_out = NOT_BY_HAND.get(name, set[str]())
    return Policy(name, cls, given, own - left_out, (own | called) - left_out)


def facts(of: frozenset[str]) -> list[Fact]:
    """The facts among the fields `of` that a scenario can write."""
    return [fact for field, fact in FACTS.items() if field in of and can_write(fact.key)]


def notes(tasks: Tasks) -> str:
    """What the facts in the table of `tasks` mean, "" if there are none."""
    said = [fact.note for fact in FACTS.values() if fact.key in tasks[0]]
    return f"Here {', and '.join(said)}." if said else ""


def with_facts(tasks: Tasks, asked: Sequence[Policy], seed: int) -> Tasks:
    """The same tasks, with all that one of the policies looks at and they do not say yet."""
    for fact in facts(frozenset[str]().union(*(policy.knows for policy in asked))):
        if fact.key not in tasks[0]:
            values = fact.draw(stream(seed, f"exercise/{fact.key}"), len(tasks))
            tasks = [{**task, fact.key: value} for task, value in zip(tasks, values, strict=True)]
    return tasks


def without_deadlines(policy: Policy) -> Policy:
    """The policy, for tasks that have no deadlines.

    Raises LlmosError if it is about those.
    """
    if policy.periodic:
        raise LlmosError(
            f"{policy.name} looks at deadlines, and here nobody has any",
            hint=f"llmos exercise scheduling --policy {policy.name}, or another policy",
        )
    return policy


def can_write(key: str) -> bool:
    """Whether a scenario's [[task]] has this key."""
    return key in TaskTable.model_fields


# --- parameters -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """What parameters may depend on; `slice_` is what 10 ms become, in ticks."""

    dice: Random
    slice_: int
    tasks: Tasks


def _draws(at: Setting) -> dict[str, Any]:
    """Numbers out of the drum, enough for every turn."""
    turns = sum(-(-burst // at.slice_) for task in at.tasks for burst in bursts(task))
    return {"quantum": at.slice_, "draws": [whole(at.dice, 0, 99) for _ in range(turns)]}


PARAMETERS: Final[Mapping[str, Callable[[Setting], Mapping[str, Any]]]] = {
    "bsd": lambda at: {"tick": 1, "slice_ticks": 2 * at.slice_ - 2, "decay": 16},
    "cfs": lambda _: {"latency": 12, "min_granularity": 2, "wakeup_granularity": 1},
    "eevdf": lambda _: {"base_slice": 4, "tick": 1},
    "lottery": _draws,
    "mlfq": lambda at: {
        "levels": 3,
        "quantum": [at.slice_ - 1, 2 * at.slice_ - 2, 4 * at.slice_ - 4],
        "boost": one_of(at.dice, (0, 12, 16, 20)),
    },
    "multilevel": lambda at: {
        "queues": list(CLASSES),
        "quantum": at.slice_,
        "fcfs": [CLASSES[-1]],
    },
    "priority": lambda at: {"preemptive": one_of(at.dice, (True, False))},
    "sjf-predicted": lambda _: {"alpha": Decimal("0.5"), "first_guess": 4},
}
"""Parameters of a policy, in ticks, where its defaults are too large or too dull for an exercise."""


def choice(policy: Policy, seed: int, cpus: int, tasks: Tasks) -> dict[str, Any]:
    """The policy and its parameters as a scenario says them; what a person gave stands."""
    dice = stream(seed, f"exercise/policy/{policy.name}")
    setting = Setting(dice, whole(dice, 2, 3), tasks)
    drawn = _shrunk(policy.cls, setting.slice_)
    drawn |= {"cores": cpus} if cpus > 1 else {}
    drawn |= PARAMETERS[policy.name](setting) if policy.name in PARAMETERS else {}
    known = inspect.signature(policy.cls).parameters
    return {"policy": policy.name} | {k: v for k, v in drawn.items() if k in known} | dict(policy.given)


def _shrunk(cls: type[sched.Scheduler], slice_: int) -> dict[str, Any]:
    """Every parameter of service, with its default at the scale of an exercise."""
    hints = get_type_hints(cls.__init__, include_extras=True)
    return {
        p.name: max(1, round(Fraction(p.default * slice_, sched.SLICE)))
        for p in inspect.signature(cls).parameters.values()
        if type(p.default) is int and p.default > 0 and _is_service(hints.get(p.name))
    }


def _is_service(hint: Any) -> bool:
    return hint == sched.Service or any(option == sched.Service for option in get_args(hint))


# --- reading a policy's code ----------------------------------------------------------------------------


def _reads(cls: type[sched.Scheduler]) -> tuple[frozenset[str], frozenset[str]]:
    """The fields of a task that the methods of `cls` look at, and the functions that they call."""
    fields = frozenset(sched.Task.__dataclass_fields__)
    own: set[str] = set()
    called: set[str] = set()
    for base in cls.__mro__:
        if base.__module__ not in (sched.__name__, "abc", "builtins"):
            tree = _tree(base)
            own |= set(_looks(tree))
            module = vars(sys.modules[base.__module__])
            for node in ast.walk(tree):
                function = module.get(node.id) if isinstance(node, ast.Name) else None
                if inspect.isfunction(function):
                    called |= set(_looks(_tree(function)))
    return fields & own, fields & called


def _tree(what: Any) -> ast.AST:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(what)))
    except (OSError, TypeError, SyntaxError):  # code without a file: nothing is known of it
        return ast.Module(body=[], type_ignores=[])


def _looks(tree: ast.AST) -> Iterator[str]:
    """Every attribute of what is a task: `task.x`, `account.task.x`, `a.x` where `a: Task`."""
    tasks = {"task", "newcomer"}
    parameters = (node for node in ast.walk(tree) if isinstance(node, ast.arg))
    tasks |= {node.arg for node in parameters if _says_task(node.annotation)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            of = node.value
            name = of.id if isinstance(of, ast.Name) else of.attr if isinstance(of, ast.Attribute) else ""
            if name in tasks:
                yield node.attr


def _says_task(annotation: ast.expr | None) -> bool:
    return isinstance(annotation, ast.Name) and annotation.id == "Task"
