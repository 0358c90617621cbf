"""What tasks share: locks, semaphores, conditions, pipes and mailboxes; and the deadlocks among them.

- One line for each thing that has been used: who has it or how much there is of it, and who waits, the
  first of them first. It is `State.shared`, nothing else.
"""

from __future__ import annotations

from functools import partial

from rich.cells import cell_len
from textual.strip import Strip

from llmos.trace import events as ev
from llmos.trace.records import SharedState, Status
from llmos.trace.state import State
from llmos.tui import palette
from llmos.tui.view import Listing, Part, View, chip, fit, line
from llmos.tui.words import amount


def lasting(state: State) -> list[ev.Deadlock]:
    """Return the deadlocks that have not been broken (by a signal): all of the cycle still wait."""

    def waits(pid: int, lock: str) -> bool:
        task = state.tasks.get(pid)
        return task is not None and task.status is Status.BLOCKED and task.on == lock

    return [d for d in state.deadlocks if all(map(waits, d.cycle, d.locks))]


def list_shared(view: View, width: int, _height: int) -> Listing:
    """Return the deadlocks, and one line for each shared thing."""
    state = view.timeline.state
    things = list(state.shared.values())
    room = min(max((cell_len(thing.name) for thing in things), default=0), width // 3)
    rows = [partial(_deadlock, view, width, deadlock) for deadlock in lasting(state)]
    rows += [partial(_thing, view, width, thing, room) for thing in things]
    nothing = line(width, [(" no task has used anything shared yet", palette.DIM)])
    return Listing([*rows], head=() if things else (nothing,))


def _deadlock(view: View, width: int, deadlock: ev.Deadlock) -> Strip:
    parts: list[Part] = [(" DEADLOCK ", palette.ALARM)]
    for pid, lock in zip(deadlock.cycle, deadlock.locks, strict=False):
        parts += [chip(view.timeline, pid), (f" wants {fit(lock, min(cell_len(lock), 12))}, ", palette.ALARM)]
    parts[-1] = (parts[-1][0].removesuffix(", "), palette.ALARM)
    return line(width, parts)


def _thing(view: View, width: int, thing: SharedState, room: int) -> Strip:
    tasks = view.timeline.state.tasks
    roomy = width >= 60

    def named(pid: int) -> list[Part]:
        task = tasks.get(pid)
        name = f" {task.name}" if task and roomy else ""
        return [chip(view.timeline, pid), (f"{name} ", palette.STRONG)]

    parts: list[Part] = [
        (f" {fit(thing.name, room)} ", palette.PLAIN),
        (f"{fit(thing.kind, 9)} ", palette.DIM),
    ]
    if thing.holder >= 0:
        parts += [*named(thing.holder), ("has it ", palette.PLAIN)]
    else:
        parts.append(
            (f"{'free' if thing.kind == 'mutex' else amount(thing.kind, thing.level)} ", palette.PLAIN)
        )
    if thing.waiters:
        parts.append((" ‖ ", palette.STATES["blocked"][1]))
    for pid in thing.waiters:
        parts += named(pid)
    return line(width, parts)
