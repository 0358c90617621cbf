"""Working sets: how many pages a task needs, over its time and against the window.

- The working set at a reference is the pages of the last `window` references of the task: its own time,
  in which no waiting counts.
- Above: its size over that time. Below: its average against every window there could be, exactly; where
  the curve bends, a longer window adds only what is not needed again. The dot is the window above.
- Tasks that make the very same references share a curve.
- A memory smaller than the sum of the working sets thrashes.

Source: P. J. Denning, The working set model for program behavior, CACM 11 (1968); the average from the
gaps between references: Denning and Schwartz, Properties of the working-set model, CACM 15 (1972).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmos.plot.faults import why_nothing
from llmos.plot.labels import name_lines
from llmos.plot.looks import QUIET, RULE, look
from llmos.plot.page import BODY_WIDTH, HEAD, decades, head, nothing, page, round_numbers, style
from llmos.plot.spans import Array
from llmos.plot.texts import BODY, shorten
from llmos.plot.words import caption_of, counted
from llmos.trace.events import Event, Reference
from llmos.trace.state import State

HEIGHT = 1.9
LEFT = 0.6
BETWEEN = 0.62
MOST_CURVES = 6
MOST_POINTS = 1500
LONGEST_NAME = 3.0
MOST_JOINED = 2
"""Tasks with one curve, each with its name."""
PART, LEAST_WINDOW = 20, 4
"""Without a wish the window is that part of the longest task's references, and at least so many."""


@dataclass(frozen=True, slots=True)
class _Task:
    name: str
    gaps: Array
    """References to the next one of the same page, or to the end."""


def working_set(state: State, events: Iterable[Event], window: int | None = None) -> Figure:
    """Return the working sets of the tasks.

    events: the log that the state was folded from, with its references.
    window: in references of a task; left out: a twentieth of the longest task's.
    """
    title, header = state.header.question or state.header.scenario, state.header
    pages: dict[int, list[int]] = {}
    for event in events:
        if isinstance(event, Reference):
            pages.setdefault(event.task, []).append(event.page)
    if not pages:
        return nothing(title, caption_of(header), f"Nothing to show: {_why_nothing(state)}")
    curves = _alike({pid: gaps(pages[pid]) for pid in sorted(pages)})
    own = sorted(sorted(curves, key=lambda pids: -len(pages[pids[0]]))[:MOST_CURVES])
    tasks = [_Task(_name([state.tasks[pid].name for pid in pids]), curves[pids]) for pids in own]
    window = window or max(LEAST_WINDOW, max(map(len, pages.values())) // PART)
    left_out = len(pages) - sum(map(len, own))
    with style():
        return _draw(state, title, tasks, window, left_out)


def _alike(gaps: dict[int, Array]) -> dict[tuple[int, ...], Array]:
    """Return the gaps by the tasks that have the very same ones: they share a curve."""
    alike: dict[bytes, list[int]] = {}
    for pid, mine in gaps.items():
        alike.setdefault(mine.tobytes(), []).append(pid)
    return {tuple(pids): gaps[pids[0]] for pids in alike.values()}


def _name(names: Sequence[str]) -> str:
    if len(names) <= MOST_JOINED:
        return " = ".join(names)
    return f"{names[0]} and {len(names) - 1} others"


def _why_nothing(state: State) -> str:
    if any(task.accesses for task in state.memory.tasks.values()):
        return "the log has no references. Write it with: llmos run SCENARIO --references --log FILE."
    return why_nothing(state)


def gaps(pages: Sequence[int]) -> Array:
    """Return after how many references each page of `pages` comes again; the last time: to the end."""
    out, after = np.empty(len(pages)), dict[int, int]()
    for i in range(len(pages) - 1, -1, -1):
        out[i] = after.get(pages[i], len(pages)) - i
        after[pages[i]] = i
    return out


def over_time(gaps: Array, window: int) -> Array:
    """Return the size of the working set after each reference: who leaves it is not referred to in time."""
    n = len(gaps)
    stays = np.minimum(gaps, window).astype(int)
    change = np.ones(n + 1)
    np.subtract.at(change, np.minimum(np.arange(n) + stays, n), 1)
    return np.asarray(np.cumsum(change[:n]), float)


def averages(gaps: Array, windows: Array) -> Array:
    """Return the average size of the working set for each of `windows`."""
    ordered = np.sort(gaps)
    total = np.concatenate([[0.0], np.cumsum(ordered)])
    shorter = np.searchsorted(ordered, windows, side="right")
    return np.asarray((total[shorter] + windows * (len(gaps) - shorter)) / len(gaps), float)


# --- drawing ------------------------------------------------------------------------------------------


def _draw(state: State, title: str, tasks: Sequence[_Task], window: int, left_out: int) -> Figure:
    others = f"{counted(left_out, 'other task')} not shown" if left_out else ""
    tall = HEAD + HEIGHT
    sheet = page(title, caption_of(state.header, others), 2 * tall + BETWEEN + 0.42)
    paper, width = sheet.paper(), BODY_WIDTH - LEFT - 0.1
    small = f"pages of the last {counted(window, 'reference')} of the task"
    head(paper, LEFT, 0, width, "Working set", small)
    above = sheet.axes(LEFT, HEAD, width, HEIGHT)
    above.set_label("over time")
    _over_time(above, tasks, window)
    head(paper, LEFT, tall + BETWEEN, width, "Average working set", f"dot: the window of {window:,} above")
    below = sheet.axes(LEFT, tall + BETWEEN + HEAD, width, HEIGHT)
    below.set_label("against the window")
    _against(below, tasks, window)
    return sheet.figure


def _over_time(ax: Axes, tasks: Sequence[_Task], window: int) -> None:
    for i, task in enumerate(tasks):
        size = over_time(task.gaps, window)
        at = np.unique(np.linspace(0, len(size) - 1, min(len(size), MOST_POINTS)).round().astype(int))
        _curve(ax, i, task.name, at + 1, size[at], "steps-post")
    ax.set_xlim(0, max(len(task.gaps) for task in tasks))
    round_numbers(ax.xaxis, 8)
    ax.set_xlabel("references of the task")
    _finish(ax)


def _against(ax: Axes, tasks: Sequence[_Task], window: int) -> None:
    longest = max(len(task.gaps) for task in tasks)
    ax.set_xscale("log")
    ax.set_xlim(1, max(longest, window, 2))
    for i, task in enumerate(tasks):
        windows = np.unique(np.geomspace(1, max(longest, 2), 300).round())
        _curve(ax, i, task.name, windows, averages(task.gaps, windows))
        [there] = averages(task.gaps, np.array([float(window)]))
        ax.scatter(
            [window], [there], s=24, color=look(i).ink, zorder=4, clip_on=False, label=f"{task.name}'s"
        )
    decades(ax.xaxis, timed=False)
    ax.set_xlabel("window in references (logarithmic scale)", color=QUIET)
    _finish(ax)


def _curve(ax: Axes, i: int, name: str, x: Array, y: Array, drawstyle: str = "default") -> None:
    seen = look(i)
    short = shorten(name, LONGEST_NAME, BODY, bold=True, middle=True)
    [drawn] = ax.plot(x, y, color=seen.ink, linewidth=1.6, label=short, drawstyle=drawstyle)
    drawn.set_dashes(seen.dash or (None, None))


def _finish(ax: Axes) -> None:
    ax.set_ylim(0, 1.12 * max(float(np.max(drawn.get_ydata())) for drawn in ax.lines))
    ax.set_ylabel("pages", color=QUIET)
    round_numbers(ax.yaxis, 5)
    ax.grid(visible=True, axis="y", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
    name_lines(ax, ax.lines)
