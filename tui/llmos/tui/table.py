"""The process table and the ready queue.

- One line per task in the order of arrival; requests show the tokens done of those to do.
- Columns give way to a narrow terminal, the least telling first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from rich.style import Style

from llmos.trace.state import State, Status, TaskState
from llmos.tui import palette
from llmos.tui.view import Lines, Part, View, chip, fit, line, padded, title_bar, window
from llmos.tui.words import short


@dataclass(frozen=True)
class Column:
    """A column: what it shows of a task; `rank` says who stays longest (0) on a narrow terminal."""

    name: str
    width: int
    rank: int
    show: Callable[[TaskState, State, dict[int, int]], str]
    right: bool = True


def _cpu(task: TaskState, state: State, _more: dict[int, int]) -> str:
    processor = state.processors.get(task.cpu)
    return "" if task.cpu < 0 else processor.name if processor and processor.name else str(task.cpu)


def _turnaround(task: TaskState, state: State, _more: dict[int, int]) -> str:
    return short((state.now if task.finish_ns is None else task.finish_ns) - task.arrival_ns)


def _tokens(task: TaskState, _state: State, more: dict[int, int]) -> str:
    if task.world != "request":
        return ""
    done = task.computed + (more.get(task.pid, 0) if task.status is Status.RUNNING else 0)
    return f"{done}/{task.prompt + task.output - 1}"


COLUMNS: Final = (
    Column("pid", 4, 5, lambda t, _s, _m: str(t.pid)),
    Column("name", 10, 0, lambda t, _s, _m: t.name, right=False),
    Column("state", 12, 1, lambda t, _s, _m: t.status, right=False),
    Column("kind", 7, 9, lambda t, _s, _m: t.world, right=False),
    Column("cpu", 6, 4, _cpu, right=False),
    Column("prio", 4, 8, lambda t, _s, _m: str(t.priority)),
    Column("waited", 8, 6, lambda t, _s, _m: short(t.waiting_ns)),
    Column("cpu time", 8, 3, lambda t, _s, _m: short(t.cpu_ns)),
    Column("turnaround", 10, 7, _turnaround),
    Column("tokens", 9, 2, _tokens),
)
_MARK = 4
"""The sign of the current event and the task's mark."""
_REASON = 16
"""Less room than that is not worth a reason."""


def columns(state: State, width: int) -> list[Column]:
    """Return the columns that fit into `width`, in their order."""
    worlds = {processor.is_core for processor in state.processors.values()}
    unwanted = {"kind"} if len(worlds) < 2 else set()
    unwanted |= set() if False in worlds else {"tokens"}
    wanted = [column for column in COLUMNS if column.name not in unwanted]
    left = width - _MARK
    chosen = []
    for column in sorted(wanted, key=lambda c: c.rank):
        if left >= column.width + 1:
            left -= column.width + 1
            chosen.append(column)
    wide = {"name": 10} if left >= 40 else {}  # where there is room, longer names
    return [replace(c, width=c.width + wide.get(c.name, 0)) for c in wanted if c in chosen]


def paint_tasks(view: View, width: int, height: int, offset: int | None) -> tuple[Lines, int]:
    """Paint the process table."""
    timeline, state = view.timeline, view.timeline.state
    chosen = columns(state, width)
    rest = width - _MARK - sum(column.width + 1 for column in chosen)
    current = timeline.event.task if timeline.event else -1
    rows = height - 2
    tasks = [t for t in state.tasks.values() if not (view.living_only and t.status is Status.TERMINATED)]
    follow = next((i for i, task in enumerate(tasks) if task.pid == current), 0)
    offset = window(offset, follow, len(tasks), rows)
    head = " " * _MARK + "".join(fit(c.name, c.width, right=c.right) + " " for c in chosen)
    head += "reason" if rest >= _REASON else ""
    more = timeline.under_way()
    hidden = " (hidden)" if len(tasks) < len(state.tasks) else ""
    lines = [title_bar(width, "TASKS", _counts(state) + hidden), line(width, [(head, palette.DIM)])]
    for task in tasks[offset : offset + max(rows, 0)]:
        parts: list[Part] = [("▸" if task.pid == current else " ", palette.CURSOR), chip(timeline, task.pid)]
        for column in chosen:
            parts += _field(column, task, state, more)
        if rest >= _REASON:
            parts.append((fit(_why(task), rest), palette.DIM))
        lines.append(line(width, parts))
    if not state.tasks and rows > 0:
        lines.append(line(width, [("    no task has arrived yet", palette.DIM)]))
    return padded(lines, width, height), offset


def _field(column: Column, task: TaskState, state: State, more: dict[int, int]) -> list[Part]:
    if column.name == "state":
        sign, style = palette.STATES[task.status]
        return [(f"{sign} " + fit(task.status, column.width - 2) + " ", style)]
    gone = task.status is Status.TERMINATED
    style = palette.DIM if gone else palette.STRONG if column.name == "name" else palette.PLAIN
    return [(fit(column.show(task, state, more), column.width, right=column.right) + " ", style)]


def _why(task: TaskState) -> str:
    if task.status is Status.BLOCKED and task.on:
        return f"waits for {task.on}"
    return task.reason


def _counts(state: State) -> str:
    counts = dict.fromkeys(Status, 0)
    for task in state.tasks.values():
        counts[task.status] += 1
    named = [f"{n} {status}" for status, n in counts.items() if n]
    return " · ".join([str(len(state.tasks)), *named])


# --- the ready queue ----------------------------------------------------------------------------------


def paint_ready(view: View, width: int, height: int, offset: int | None) -> tuple[Lines, int]:
    """Paint the ready tasks as they became ready: a list, or one line for each world where it is low."""
    state = view.timeline.state
    bar = title_bar(width, "READY", f"{len(state.ready)}   as they became ready")
    if height < 5:
        return padded([bar, *_queues(view, width)], width, height), 0
    rows = height - 1
    offset = window(offset, 0, len(state.ready), rows)
    lines = [bar]
    for task in islice(state.ready.values(), offset, offset + rows):
        name = fit(task.name, 9)
        since = fit(f"for {short(state.now - task.since_ns)}", 12)
        lines.append(
            line(
                width,
                [
                    (" ", palette.PLAIN),
                    chip(view.timeline, task.pid),
                    (f" {name} ", palette.STRONG),
                    (f"{since} ", palette.PLAIN),
                    (fit(task.reason, max(width - 28, 0)), palette.DIM),
                ],
            )
        )
    if not state.ready:
        lines.append(line(width, [(" nobody waits for a processor", palette.DIM)]))
    return padded(lines, width, height), offset


def _queues(view: View, width: int) -> Lines:
    """One line for each world: those who wait, side by side."""
    state = view.timeline.state
    worlds = {"process": "cores", "request": "engine"}
    kinds = {p.is_core for p in state.processors.values()}
    lines = []
    for world, name in worlds.items():
        if (world == "process") not in kinds:
            continue
        parts: list[Part] = [(f" {name:7}", palette.DIM)]
        waiting = (task for task in state.ready.values() if task.world == world)
        for task in islice(waiting, width // 6 + 1):
            parts += _queued(view, task)
        if len(parts) == 1:
            parts.append(("nobody waits", palette.DIM))
        lines.append(line(width, parts))
    return lines


def _queued(view: View, task: TaskState) -> list[Part]:
    plain: Style = palette.PLAIN
    since = short(view.timeline.t - task.since_ns)
    return [
        chip(view.timeline, task.pid),
        (f" {fit(task.name, min(len(task.name), 10))} ", plain),
        (f"{since}  ", palette.DIM),
    ]
