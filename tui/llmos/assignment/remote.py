"""A scheduler that lives in another process: each call of the contract is one question there.

- It tells what a policy may see of a task, and nothing of what is to come: not how much work is
  left, no deadline, no other task.
- Whether an answer keeps the contract is the dispatcher's business, as for every policy. Only a
  task that does not exist is found out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmos.assignment.box import CONTRACT, Box, MisbehaviourError
from llmos.sched.base import Scheduler, Task, Why

SEEN = ("pid", "name", "arrival_ns", "priority", "tickets", "client", "attained", "upfront", "unit")
"""What is told of a task."""
LATEST = 10**15
"""No quantum and no time (in ns) beyond this is taken for an answer: eleven days."""


class Remote(Scheduler):
    """The policy in `box`, which has been loaded."""

    def __init__(self, box: Box) -> None:
        self._ask = box.ask
        self._tasks: dict[int, Task] = {}

    def enqueue(self, task: Task, why: Why, now: int) -> None:
        self._tasks[task.pid] = task
        self._ask("enqueue", task=_seen(task), why=str(why), now=now)

    def pick(self, now: int) -> Task | None:
        return self._task("pick", self._ask("pick", now=now))

    def quantum(self, task: Task, now: int) -> int | None:
        return _number("quantum", self._ask("quantum", task=_seen(task), now=now))

    def charge(self, task: Task, service: int, now: int) -> None:
        self._ask("charge", task=_seen(task), service=service, now=now)

    def preempts(self, newcomer: Task, running: Sequence[Task], now: int) -> Task | None:
        seen = [_seen(task) for task in running]
        return self._task("preempts", self._ask("preempts", task=_seen(newcomer), running=seen, now=now))

    def remove(self, task: Task, why: Why, now: int) -> None:
        self._ask("remove", task=_seen(task), why=str(why), now=now)

    def next_tick(self, now: int) -> int | None:
        return _number("next_tick", self._ask("next_tick", now=now))

    def tick(self, now: int) -> str:
        return str(self._ask("tick", now=now))

    def reason(self, task: Task, now: int) -> str:
        return str(self._ask("reason", task=_seen(task), now=now))

    def _task(self, call: str, answer: object) -> Task | None:
        if answer is None:
            return None
        task = self._tasks.get(answer) if type(answer) is int else None
        if task is None:
            raise MisbehaviourError(
                f"{call} answered a task that does not exist; the contract: {CONTRACT[call]}"
            )
        return task


def _seen(task: Task) -> dict[str, Any]:
    return {name: getattr(task, name) for name in SEEN}


def _number(call: str, answer: object) -> int | None:
    if answer is None:
        return None
    if type(answer) is not int or abs(answer) > LATEST:
        raise MisbehaviourError(
            f"{call} answered {answer}; the contract: {CONTRACT[call]}, at most {LATEST:,}"
        )
    return answer
