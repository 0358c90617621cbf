"""Deadlocks: tasks that wait for one another, so that none of them can ever go on.

- The wait-for graph leads from a task that waits to those who could release it: the holder of a mutex,
  the holders of a semaphore's units, a child that is waited for. One of them is enough.
- So a task is deadlocked if nobody is reached from it who is not waiting himself. What is between tasks
  that any task could end (a message, a notification) does not count as waiting here.
- Who has taken a unit of a semaphore and not added one is its holder. But anybody may add one, so a
  circle through a semaphore is certain only if that is `owned`, or when nothing can happen any more.

Source: Silberschatz, Galvin, Gagne, Operating System Concepts, ch. 8.6; Holt, Computing Surveys 1972.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmos.process.program import Down
from llmos.trace.events import Deadlock

if TYPE_CHECKING:
    from llmos.process.cores import Core
    from llmos.process.kernel import Kernel
    from llmos.process.sync import Semaphore
    from llmos.process.task import Process


def look_for_it(kernel: Kernel, core: Core, process: Process) -> None:
    """Log the deadlock that `process` has closed by waiting, if it has."""
    circle = _circle(kernel, process)
    if circle:
        _log(kernel, core.cpu, circle)


def look_at_the_end(kernel: Kernel) -> None:
    """Log the circles through semaphores that are certain now, as nothing can happen any more."""
    named: set[int] = set()
    for process in kernel.processes.values():
        circle = _circle(kernel, process, at_the_end=True)
        unsure = [task for task in circle if (taken := taken_from(kernel, task)) and not taken.owned]
        if unsure and named.isdisjoint(task.pid for task in circle):
            named.update(task.pid for task in circle)
            _log(kernel, -1, circle)


def taken_from(kernel: Kernel, process: Process) -> Semaphore | None:
    """Return the semaphore that `process` waits for, if it does."""
    if not process.blocked or process.frozen or not isinstance(process.call, Down):
        return None
    semaphore: Semaphore = kernel.shared[process.call.semaphore]  # type: ignore[assignment]  # `down` knows
    return semaphore if process in semaphore.waiters else None


def _circle(kernel: Kernel, process: Process, *, at_the_end: bool = False) -> list[Process]:
    """Return the shortest circle through `process`, beginning with it, if it is deadlocked; else nothing."""
    reached, came_from = [process], {process.pid: process}
    closes: Process | None = None
    for task in reached:  # which grows
        others = _releasers(kernel, task, at_the_end=at_the_end)
        if others is None:
            return []
        for other in others:
            if other is process and closes is None:
                closes = task
            if other.pid not in came_from:
                came_from[other.pid] = task
                reached.append(other)
    if closes is None:
        return []
    circle = [closes]
    while circle[-1] is not process:
        circle.append(came_from[circle[-1].pid])
    return circle[::-1]


def _releasers(kernel: Kernel, task: Process, *, at_the_end: bool) -> list[Process] | None:
    """Return who could release `task`; None if it does not wait, or anybody could."""
    if task.waits_on is not None and task.waits_on.owner is not None:
        return [task.waits_on.owner]
    semaphore = taken_from(kernel, task)
    if semaphore is not None and (semaphore.owned or at_the_end):
        return semaphore.holders
    if task.waits_for is not None:
        pids = sorted(task.children) if task.waits_for == -1 else [task.waits_for]
        return [kernel.processes[pid] for pid in pids]
    return [] if at_the_end else None


def _log(kernel: Kernel, cpu: int, circle: list[Process]) -> None:
    names = [_waits_for(kernel, task) for task in circle]
    said = ", ".join(f"{task.name} waits for {name}" for task, name in zip(circle, names, strict=True))
    pids = [task.pid for task in circle]
    kernel.emit(Deadlock(kernel.sim.now, cpu, pids[0], said, cycle=pids, locks=names))


def _waits_for(kernel: Kernel, task: Process) -> str:
    semaphore = taken_from(kernel, task)
    if semaphore is not None:
        return semaphore.name
    return task.waits_on.name if task.waits_on else "child"
