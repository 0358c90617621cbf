"""How much of the memory each task had, over time: resident sets, one upon the other.

- The dashed line is the number of frames, where it is near enough to be seen.
- A page that several tasks have counts for each of them, so that the whole may be above that line.
- Of many tasks those with the largest resident sets have colours of their own, the others share one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from llmos.plot import key
from llmos.plot.faults import why_nothing
from llmos.plot.layout import LEFT
from llmos.plot.looks import COLOURS, INK, QUIET, RULE, WHITE, Look, look
from llmos.plot.page import BODY_WIDTH, HEAD, head, nothing, page, round_numbers, style
from llmos.plot.residency import Size, sizes
from llmos.plot.spans import Array
from llmos.plot.texts import SMALL, shorten
from llmos.plot.words import Unit, caption_of, counted, time_unit
from llmos.trace.events import Event
from llmos.trace.state import State

HEIGHT = 2.8
MOST_CHANGES = 4000
COLUMNS = 1000
FAR = 3.0
"""So many times what is ever resident, the frames are out of sight."""


@dataclass(frozen=True, slots=True)
class _Layer:
    name: str
    look: Look
    pages: Array


def memory(state: State, events: Iterable[Event]) -> Figure:
    """Return each task's resident set over time, up to the state's time.

    events: the log that the state was folded from.
    """
    title, header = state.header.question or state.header.scenario, state.header
    series = {pid: found for pid, found in sizes(events).items() if max(n for _, n in found)}
    if not series or not state.now:
        return nothing(title, caption_of(header), f"Nothing to show: {why_nothing(state)}")
    times = _times(series, state.now)
    with style():
        return _draw(state, title, times, _layers(state, series, times))


def _times(series: dict[int, list[Size]], now: int) -> Array:
    changes = sorted({0, now, *(t for found in series.values() for t, _ in found if t <= now)})
    few = len(changes) <= MOST_CHANGES
    return np.array(changes, float) if few else np.linspace(0, now, COLUMNS + 1)


def _layers(state: State, series: dict[int, list[Size]], times: Array) -> list[_Layer]:
    """Return the tasks from the lowest up; the least of many together, on top."""
    pages = {pid: _at(found, times) for pid, found in series.items()}
    pids = sorted(pages, key=lambda pid: (-float(pages[pid].max()), pid))
    own = sorted(pids if len(pids) <= len(COLOURS) else pids[: len(COLOURS) - 1])
    layers = [_Layer(state.tasks[pid].name, look(i), pages[pid]) for i, pid in enumerate(own)]
    if rest := pids[len(own) :]:
        together = np.sum([pages[pid] for pid in rest], axis=0)
        layers.append(_Layer(counted(len(rest), "other task"), look(len(own)), together))
    return layers


def _at(series: Sequence[Size], times: Array) -> Array:
    """Return how many pages there were at each of `times`."""
    when, pages = np.array(series, float).T
    return np.asarray(pages[np.searchsorted(when, times, side="right") - 1], float)


# --- drawing ------------------------------------------------------------------------------------------


def _draw(state: State, title: str, times: Array, layers: Sequence[_Layer]) -> Figure:
    entries = [
        key.Entry("task", shorten(e.name, key.LONGEST_NAME, SMALL, middle=True), e.look) for e in layers
    ]
    lines = key.flow(entries)
    policy = f"replacement {state.header.replacement}" if state.header.replacement else ""
    sheet = page(title, caption_of(state.header, policy), HEAD + HEIGHT + 0.5 + len(lines) * key.LINE)
    paper, width, unit = sheet.paper(), BODY_WIDTH - LEFT - 0.1, time_unit(state.now)
    most = float(np.sum([layer.pages for layer in layers], axis=0).max())
    small = f"{counted(int(most), 'page')} at most, summed over the tasks"
    if state.header.frames:
        small += f"; the memory has {counted(state.header.frames, 'frame')}"
    head(paper, LEFT, 0, width, "Resident sets", small)
    ax = sheet.axes(LEFT, HEAD, width, HEIGHT)
    ax.set_label("resident sets")
    _stack(ax, times / unit.size, layers)
    _frames(ax, state.header.frames, most)
    ax.set_xlim(0, state.now / unit.size)
    _axes(ax, unit)
    key.draw(paper, lines, HEAD + HEIGHT + 0.5)
    return sheet.figure


def _stack(ax: Axes, x: Array, layers: Sequence[_Layer]) -> None:
    foot = np.zeros_like(x)
    for layer in layers:
        top = foot + layer.pages
        ax.fill_between(
            x, foot, top, step="post", facecolor=layer.look.colour, hatch=layer.look.hatch,
            edgecolor=layer.look.hatch_colour, linewidth=0, label=layer.name, zorder=2,
        )  # fmt: skip
        foot = top


def _frames(ax: Axes, frames: int, most: float) -> None:
    seen = 0 < frames <= FAR * most
    ax.set_ylim(0, 1.12 * max(most, frames if seen else 0.0))
    if seen:
        drawn = ax.axhline(frames, color=INK, linewidth=1.2, dashes=(5, 3), zorder=4, label="frames")
        drawn.set_path_effects([withStroke(linewidth=3.0, foreground=WHITE)])
        ax.text(
            0.995, frames, counted(frames, "frame"), transform=ax.get_yaxis_transform(), size=SMALL,
            ha="right", va="bottom", color=INK,
        )  # fmt: skip


def _axes(ax: Axes, unit: Unit) -> None:
    round_numbers(ax.xaxis, 8)
    round_numbers(ax.yaxis, 5)
    ax.set_xlabel(f"time ({unit.name})")
    ax.set_ylabel("pages", color=QUIET)
    ax.grid(visible=True, axis="y", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
