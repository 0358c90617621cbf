"""Page faults over time: a panel per task, a column per stretch of time.

- Dark: major faults, which wait for a device; pale above them: minor ones, done at once.
- A first column that towers over the others is a cold start; columns that never fall are a memory too
  small for the working set.
- Of many tasks those with the most faults have panels, the others share one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmos.plot.looks import QUIET, RULE, look
from llmos.plot.page import BODY_WIDTH, HEAD, head, nothing, page, round_numbers, style
from llmos.plot.spans import Array
from llmos.plot.words import Unit, caption_of, counted, duration, time_unit
from llmos.trace.events import Event, Fault
from llmos.trace.state import State

COLUMNS = 80
HEIGHT = 1.0
LEFT = 0.6
BETWEEN = 0.16
MOST_PANELS = 6


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    small: str
    major: Array
    minor: Array


def faults(state: State, events: Iterable[Event]) -> Figure:
    """Return the page faults of each task over time, up to the state's time.

    events: the log that the state was folded from.
    """
    title, header = state.header.question or state.header.scenario, state.header
    found = [e for e in events if isinstance(e, Fault) and e.what in {"minor", "major"} and e.t < state.now]
    if not found:
        return nothing(title, caption_of(header), f"Nothing to show: {why_nothing(state)}")
    panels = [_panel(state, name, pids, found) for name, pids in _groups(state, found).items()]
    with style():
        return _draw(state, title, panels)


def why_nothing(state: State) -> str:
    """Return why there is nothing to show of a run's memory."""
    return "no page fault has happened." if state.header.frames else "this machine models no memory."


def _groups(state: State, found: Sequence[Fault]) -> dict[str, list[int]]:
    """Return the panels: a task each, and the least of many together."""
    counts: dict[int, int] = {}
    for fault in found:
        counts[fault.task] = counts.get(fault.task, 0) + 1
    pids = sorted(counts, key=lambda pid: (-counts[pid], pid))
    own = pids if len(pids) <= MOST_PANELS else pids[: MOST_PANELS - 1]
    groups = {f"{state.tasks[pid].name}\0{pid}": [pid] for pid in sorted(own)}
    rest = pids[len(own) :]
    return groups | ({f"{counted(len(rest), 'other task')}\0": rest} if rest else {})


def _panel(state: State, name: str, pids: Sequence[int], found: Sequence[Fault]) -> _Panel:
    edges, mine = np.linspace(0, state.now, COLUMNS + 1), set(pids)
    counts = []
    for what in ("major", "minor"):
        times = [fault.t for fault in found if fault.task in mine and fault.what == what]
        counts.append(np.asarray(np.histogram(times, edges)[0], float))
    major, minor = (int(count.sum()) for count in counts)
    small = f"{counted(major, 'major fault')}, {minor:,} minor"
    references = sum(state.memory.tasks[pid].accesses for pid in pids if pid in state.memory.tasks)
    if references:
        small += f", in {counted(references, 'reference')}"
    return _Panel(name.partition("\0")[0], small, *counts)


# --- drawing ------------------------------------------------------------------------------------------


def _draw(state: State, title: str, panels: Sequence[_Panel]) -> Figure:
    column = f"a column is {duration(state.now / COLUMNS)}"
    policy = f"{counted(state.header.frames, 'frame')}, {state.header.replacement}"
    sheet = page(
        title,
        caption_of(state.header, policy, "dark: major faults, pale: minor ones", column),
        len(panels) * (HEAD + HEIGHT + BETWEEN) - BETWEEN + 0.42,
    )
    unit, width = time_unit(state.now), BODY_WIDTH - LEFT - 0.1
    paper = sheet.paper()
    for i, panel in enumerate(panels):
        top = i * (HEAD + HEIGHT + BETWEEN)
        head(paper, LEFT, top, width, panel.title, panel.small)
        ax = sheet.axes(LEFT, top + HEAD, width, HEIGHT)
        ax.set_label(f"faults of {panel.title}")
        _columns(ax, panel, state.now, unit)
        if panel is panels[-1]:
            ax.set_xlabel(f"time ({unit.name})")
        else:
            ax.tick_params(axis="x", labelbottom=False)
    return sheet.figure


def _columns(ax: Axes, panel: _Panel, now: int, unit: Unit) -> None:
    edges = np.linspace(0, now, COLUMNS + 1) / unit.size
    both = panel.major + panel.minor
    none = np.zeros_like(both)
    for name, foot, high, seen in (
        ("major", none, panel.major, look(0)),
        ("minor", panel.major, both, look(3)),
    ):
        ax.stairs(high, edges, baseline=foot, fill=True, color=seen.colour, linewidth=0, label=name, zorder=2)
    ax.set(xlim=(0, now / unit.size), ylim=(0, 1.06 * float(both.max())))
    ax.set_ylabel("faults", color=QUIET)
    round_numbers(ax.xaxis, 8)
    round_numbers(ax.yaxis, 3)
    ax.grid(visible=True, axis="y", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
