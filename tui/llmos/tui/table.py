"""The process table.

- One line per task in the order of arrival; requests show the tokens done of those to do,
  tasks with memory their resident pages and how many faults they have had.
- A column is there if the log has something to say in it: nice values, groups, deadlines. Columns give
  way to a narrow terminal, the least telling first.
- A zombie is a task that has terminated and whose living parent has not waited for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

from llmos.trace.records import Status, TaskState
from llmos.trace.state import State
from llmos.tui import palette
from llmos.tui.view import Lines, Part, View, chip, fit, line, padded, title_bar, window
from llmos.tui.words import called, short


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
    return "" if task.cpu < 0 else called(processor) if processor else str(task.cpu)


def _turnaround(task: TaskState, state: State, _more: dict[int, int]) -> str:
    return short((state.now if task.finish_ns is None else task.finish_ns) - task.arrival_ns)


def _tokens(task: TaskState, _state: State, more: dict[int, int]) -> str:
    if task.world != "request":
        return ""
    done = task.computed + (more.get(task.pid, 0) if task.status is Status.RUNNING else 0)
    return f"{done}/{task.prompt + task.output - 1}"


def _pages(task: TaskState, state: State, _more: dict[int, int]) -> str:
    memory = state.memory.tasks.get(task.pid)
    return f"{memory.rss_pages:,}" if memory else ""


def _faults(task: TaskState, state: State, _more: dict[int, int]) -> str:
    memory = state.memory.tasks.get(task.pid)
    return f"{memory.minor_faults + memory.major_faults:,}" if memory else ""


def _due(task: TaskState, state: State, _more: dict[int, int]) -> str:
    job = task.jobs[-1] if task.jobs else None
    open_until = job.deadline_ns if job else task.deadline_ns
    over = task.finish_ns if job is None else job.finish_ns
    return "" if open_until is None or over is not None else short(open_until - state.now)


COLUMNS: Final = (
    Column("pid", 4, 4, lambda t, _s, _m: str(t.pid)),
    Column("name", 10, 0, lambda t, _s, _m: t.name, right=False),
    Column("state", 12, 1, lambda t, s, _m: _status(t, s), right=False),
    Column("kind", 7, 14, lambda t, _s, _m: t.world, right=False),
    Column("cpu", 6, 3, _cpu, right=False),
    Column("prio", 4, 6, lambda t, _s, _m: str(t.priority)),
    Column("nice", 4, 5, lambda t, _s, _m: str(t.nice)),
    Column("tickets", 7, 12, lambda t, _s, _m: str(t.tickets)),
    Column("group", 8, 8, lambda t, _s, _m: t.group, right=False),
    Column("due", 9, 7, _due),
    Column("missed", 6, 9, lambda t, _s, _m: str(t.deadline_misses or "")),
    Column("waited", 8, 11, lambda t, _s, _m: short(t.waiting_ns)),
    Column("cpu time", 8, 10, lambda t, _s, _m: short(t.cpu_ns)),
    Column("turnaround", 10, 13, _turnaround),
    Column("tokens", 9, 2, _tokens),
    Column("pages", 7, 2, _pages),
    Column("faults", 7, 2, _faults),
)
_OPTIONAL: Final = {
    "kind", "prio", "nice", "tickets", "group", "due", "missed", "tokens", "pages", "faults",
}  # fmt: skip
"""Columns that are there if `Tracks.facts` names them."""
_GONE: Final = str(Status.TERMINATED)
_MARK = 4
"""The sign of the current event and the task's mark."""
_REASON = 16
"""Less room than that is not worth a reason."""


def columns(facts: Collection[str], width: int) -> list[Column]:
    """Return the columns that have something to say and fit into `width`, in their order."""
    wanted = [column for column in COLUMNS if column.name not in _OPTIONAL or column.name in facts]
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
    chosen = columns(timeline.tracks.facts, width)
    rest = width - _MARK - sum(column.width + 1 for column in chosen)
    current = timeline.event.task if timeline.event else -1
    rows = height - 2
    tasks = [t for t in state.tasks.values() if not view.living_only or _status(t, state) != _GONE]
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
        status = _status(task, state)
        sign, style = palette.STATES[status]
        return [(f"{sign} " + fit(status, column.width - 2) + " ", style)]
    gone = task.status is Status.TERMINATED or (column.name == "cpu" and task.status is not Status.RUNNING)
    style = palette.DIM if gone else palette.STRONG if column.name == "name" else palette.PLAIN
    return [(fit(column.show(task, state, more), column.width, right=column.right) + " ", style)]


def _status(task: TaskState, state: State) -> str:
    """Return the task's state, in which a terminated one may be a zombie."""
    return "zombie" if state.is_zombie(task) else str(task.status)


def _why(task: TaskState) -> str:
    if task.status is Status.BLOCKED and task.on:
        return f"waits for {task.on}"
    return task.reason


def _counts(state: State) -> str:
    counts = Counter(dict.fromkeys(palette.STATES, 0))  # in this order
    counts.update(_status(task, state) for task in state.tasks.values())
    named = [f"{n} {status}" for status, n in counts.items() if n]
    return " · ".join([str(len(state.tasks)), *named])
