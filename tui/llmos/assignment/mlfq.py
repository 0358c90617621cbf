"""The exercises of the assignment "write MLFQ": endless, seeded, and each one worth its points.

- A topic is a rule of MLFQ. It names the mistakes that all its cases catch and those that none of
  them punishes, so that who got one rule wrong loses that rule's points and no others.
- `case(topic, seed)` draws work at random until it does just that. Same seed, same case, everywhere.
- The reference is `llmos.sched.mlfq`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from llmos.assignment.case import Case, Job, Play, Prompt, play
from llmos.engine.streams import stream
from llmos.errors import LlmosError
from llmos.process.program import MS
from llmos.sched.base import Scheduler, Task, Why
from llmos.sched.mlfq import MLFQ

Drawn = tuple[dict[str, Any], Sequence[Job] | Sequence[Prompt]]
CLASS: Final = "MLFQ"
"""What the student's class is called."""
TRIES: Final = 2000


@dataclass(frozen=True)
class Topic:
    """One rule: how its cases are drawn, which mistakes they catch and which they spare."""

    name: str
    points: int
    """For each case."""
    rule: str
    draw: Callable[[Random], Drawn]
    catches: tuple[str, ...]
    spares: tuple[str, ...] = ()


def reference(case: Case) -> Play:
    """Run `case` with the right policy."""
    return play(case, lambda: MLFQ(**case.parameters))


def case(topic: Topic, seed: int) -> Case:
    """Return the case of `topic` with this seed."""
    for attempt in range(TRIES):
        parameters, work = topic.draw(stream(seed, f"mlfq/{topic.name}/{attempt}"))
        drawn = Case(topic.name, topic.name, topic.rule, parameters, work, topic.points)
        if _is_just(drawn, topic):
            return drawn
    raise LlmosError(f"no case of {topic.name} was found for seed {seed}", hint="take another seed")


def _is_just(drawn: Case, topic: Topic) -> bool:
    right = _who_when(reference(drawn))
    for name in (*topic.catches, *topic.spares):
        wrong = _who_when(play(drawn, lambda name=name: MISTAKES[name](drawn.parameters)))  # type: ignore[misc]
        if (wrong == right) is (name in topic.catches):
            return False
    return True


def _who_when(played: Play) -> list[tuple[int, int]]:
    return [(decision.t, decision.task) for decision in played.decisions]


# --- mistakes that people make ------------------------------------------------------------------------


class _SinksToHead(MLFQ):
    """A task that sinks is put in front of the lower queue."""

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        before = self._accounts[task.pid].level if task.pid in self._accounts else 0
        super().enqueue(task, why, now)
        level = self._accounts[task.pid].level
        if level > before:
            self._queues[level].rotate(1)


class _NeverPreempts(MLFQ):
    """A newcomer waits for the end of the running task's quantum."""

    def preempts(self, newcomer: Task, running: Sequence[Task], now: int) -> Task | None:
        return None


class _PreemptedToTail(MLFQ):
    """A task that was preempted loses its place."""

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        super().enqueue(task, why, now)
        queue = self._queues[self._accounts[task.pid].level]
        if why is Why.PREEMPTED:
            queue.rotate(-1)


class _PreemptedIsRefilled(MLFQ):
    """A task that was preempted gets a whole quantum again."""

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        super().enqueue(task, why, now)
        if why is Why.PREEMPTED:
            account = self._accounts[task.pid]
            account.left = self._quantum[account.level]


class _LastMomentIsFree(MLFQ):
    """A task that blocks at the very end of its quantum does not sink."""

    def remove(self, task: Task, why: Why, now: int) -> None:
        account = self._accounts[task.pid]
        if why is Why.BLOCKED and account.left == 0:
            account.left = self._quantum[account.level]
        super().remove(task, why, now)


class _BoostForgetsSleepers(MLFQ):
    """The boost lifts the tasks in the queues and forgets those that are blocked."""

    def tick(self, now: int) -> str:
        ready = {task.pid for queue in self._queues for task in queue}
        sleepers = {pid: a for pid, a in self._accounts.items() if pid not in ready}
        before = {pid: (a.level, a.left, a.quanta) for pid, a in sleepers.items()}
        reason = super().tick(now)
        for pid, account in sleepers.items():
            account.level, account.left, account.quanta = before[pid]
        return reason


MISTAKES: Final[dict[str, Callable[[Any], Scheduler]]] = {
    "no quantum": lambda _: MLFQ(levels=1, quantum=10**12),
    "one queue": lambda p: MLFQ(levels=1, quantum=p["quantum"][0]),
    "sinks after one turn": lambda p: MLFQ(**p | {"allotment": 1}),
    "sinks to the head": lambda p: _SinksToHead(**p),
    "never preempts": lambda p: _NeverPreempts(**p),
    "preempted to the tail": lambda p: _PreemptedToTail(**p),
    "preempted is refilled": lambda p: _PreemptedIsRefilled(**p),
    "blocking refills": lambda p: MLFQ(**p, stay_after_io=True),
    "the last moment is free": lambda p: _LastMomentIsFree(**p),
    "no boost": lambda p: MLFQ(**p | {"boost": 0}),
    "boost forgets sleepers": lambda p: _BoostForgetsSleepers(**p),
}


# --- topics -------------------------------------------------------------------------------------------


def _parameters(quantum: list[int], allotment: list[int] | None = None, boost: int = 0) -> dict[str, Any]:
    levels = len(quantum)
    return {"levels": levels, "quantum": quantum, "allotment": allotment or [1] * levels, "boost": boost}


def _ms(draw: Random, low: int, high: int) -> int:
    # From random() alone, whose sequence Python promises to keep.
    return (low + int(draw.random() * (high - low + 1))) * MS


def _number(draw: Random, low: int, high: int) -> int:
    return low + int(draw.random() * (high - low + 1))


def _basics(draw: Random) -> Drawn:
    jobs = [Job(name, _ms(draw, 0, 8) if name != "A" else 0, (_ms(draw, 3, 15),)) for name in "ABCD"]
    return _parameters([_ms(draw, 2, 6)]), jobs


def _levels(draw: Random) -> Drawn:
    first = _ms(draw, 2, 4)
    allotment = [_number(draw, 1, 3) for _ in range(3)]
    jobs = [Job(name, 0, (_ms(draw, 8, 36),)) for name in "ABC"]
    return _parameters([first, 2 * first, 4 * first], allotment), jobs


def _preemption(draw: Random) -> Drawn:
    first = _ms(draw, 4, 6)
    long = Job("A", 0, (_ms(draw, 30, 50),))
    short = [Job(name, _ms(draw, 5, 40), (_ms(draw, 1, 4),)) for name in "BCD"]
    return _parameters([first, 2 * first, 4 * first]), [long, *short]


def _io(draw: Random) -> Drawn:
    first = _ms(draw, 4, 8)
    talks = Job("A", 0, _turns(draw, 6, first - MS))
    also = Job("B", _ms(draw, 0, 6), _turns(draw, 4, first))
    return _parameters([first, 2 * first]), [talks, also, Job("C", 0, (_ms(draw, 20, 40),))]


def _turns(draw: Random, count: int, most_ns: int) -> tuple[int, ...]:
    """Draw `count` bursts of 2 ms to `most_ns`, with waits of 3 to 9 ms between them."""
    turns = []
    for _ in range(count):
        turns += [_ms(draw, 2, most_ns // MS), _ms(draw, 3, 9)]
    return tuple(turns[:-1])


def _boost(draw: Random) -> Drawn:
    first = _ms(draw, 3, 5)
    boost = _ms(draw, 25, 40)
    sleeper = Job("A", 0, (first + _ms(draw, 1, 2), _ms(draw, 15, 40), _ms(draw, 6, 12)))
    jobs = [sleeper, *(Job(name, 0, (_ms(draw, 15, 40),)) for name in "BC")]
    return _parameters([first, 2 * first, 4 * first], boost=boost), jobs


def _llm(draw: Random) -> Drawn:
    arrivals = [0, 0, *(25 * _ms(draw, 0, 8) for _ in "CDE")]
    sizes = [(_number(draw, 4, 40), _number(draw, 4, 40)) for _ in arrivals]
    prompts = [Prompt(name, at, *size) for name, at, size in zip("ABCDE", arrivals, sizes, strict=True)]
    return _parameters([8, 16, 32]), prompts


TOPICS: Final = (
    Topic(
        "basics",
        2,
        "inside a queue tasks take turns: after its quantum a task goes to the end",
        _basics,
        catches=("no quantum",),
    ),
    Topic(
        "levels",
        4,
        "who has used up its allotment sinks to the end of the next lower queue",
        _levels,
        catches=("one queue", "sinks to the head", "sinks after one turn"),
    ),
    Topic(
        "preemption",
        3,
        "a newcomer in a higher queue takes the processor at once",
        _preemption,
        catches=("one queue", "never preempts"),
        spares=("sinks to the head",),
    ),
    Topic(
        "io",
        4,
        "blocking refills nothing: a task comes back to what was left of its quantum and allotment",
        _io,
        catches=(
            "blocking refills",
            "the last moment is free",
            "preempted to the tail",
            "preempted is refilled",
            "one queue",
            "sinks to the head",
            "never preempts",
        ),
    ),
    Topic(
        "boost",
        4,
        "at every multiple of the boost time all tasks go to the top, those that are blocked too",
        _boost,
        catches=("no boost", "boost forgets sleepers", "one queue", "sinks to the head"),
        spares=("never preempts", "blocking refills"),
    ),
    Topic(
        "llm",
        3,
        "the same policy orders the requests of an LLM engine: service is then counted in tokens",
        _llm,
        catches=("one queue", "sinks to the head", "never preempts"),
    ),
)
"""Five cases of each topic are 100 points."""
