"""How long the queue was and how busy the processors were, over time.

- Above, for each world: how many tasks were ready and had no processor, exact up to a few thousand
  changes, and the mean over columns of time beyond.
- Below it a band per core: the share of each column that it worked for tasks, and for the kernel. For
  an engine: how many of its slots were in use.
- A queue that grows while a processor idles is what these two together show.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmos.plot.layout import LEFT, WIDE, busy
from llmos.plot.looks import IDLE, KERNEL, QUIET, RULE, look
from llmos.plot.page import HEAD, head, nothing, page, round_numbers, style
from llmos.plot.spans import Array, level, marks, shares, stays
from llmos.plot.texts import SMALL, line, shorten
from llmos.plot.words import MEMBERS, WORLDS, Unit, caption_of, counted, duration, number, time_unit
from llmos.trace.events import Event
from llmos.trace.metrics import WORLDS as WORLD_OF
from llmos.trace.records import ProcessorState, Status
from llmos.trace.state import State

HEIGHT = 1.25
"""Of a queue's panel, in inches."""
TALL, ROW = 3.5, (0.1, 0.36)
"""Of all bands of a world together at most; from band to band at least and at most."""
THICK = 0.82
"""Of that, the band."""
COLUMNS = 300
MOST_CHANGES = 4000
BETWEEN = 0.22

Pieces = list[tuple[int, int]]


@dataclass(slots=True)
class _Band:
    """A processor's use of its time: each column's share for tasks, and for the kernel."""

    name: str
    note: str
    user: Array
    kernel: Array


@dataclass(slots=True)
class _World:
    title: str
    small: str
    waits: Pieces
    bands: list[_Band]

    @property
    def row(self) -> float:
        """The height from band to band, in inches."""
        return min(ROW[1], max(ROW[0], TALL / len(self.bands)))

    @property
    def height(self) -> float:
        """All of it, in inches."""
        return HEAD + HEIGHT + 0.08 + self.row * len(self.bands)


def queue(state: State, events: Iterable[Event]) -> Figure:
    """Return queue lengths and utilisation up to the state's time.

    state: one that has kept its spans (`State(keep_spans=True)`).
    events: the log that the state was folded from.
    """
    title = state.header.question or state.header.scenario
    if not state.now or not state.tasks:
        return nothing(title, caption_of(state.header), "Nothing to show: no task has arrived.")
    worlds = _worlds(state, list(events))
    with style():
        return _draw(state, title, worlds)


def _worlds(state: State, events: Sequence[Event]) -> list[_World]:
    waits: dict[str, Pieces] = {world: [] for world in WORLDS}
    for start, end, pid in stays(events)[Status.READY]:
        if start < state.now:
            waits[WORLD_OF[state.tasks[pid].world]].append((start, min(end, state.now)))
    bands: dict[str, list[_Band]] = {world: [] for world in WORLDS}
    kernel = marks(events).kernel
    for p in state.processors.values():
        bands["cpu" if p.is_core else "llm"].append(_band(state, p, kernel))
    return [
        _World(_title(state, world), _small_print(state, world, waits[world]), waits[world], bands[world])
        for world in WORLDS
        if bands[world]
    ]


def _title(state: State, world: str) -> str:
    mine = [p for p in state.processors.values() if p.is_core == (world == "cpu")]
    policies = ", ".join(dict.fromkeys(p.policy for p in mine))
    what = counted(len(mine), "core") if world == "cpu" else f"an engine of {counted(mine[0].slots, 'slot')}"
    return f"{WORLDS[world]}: {what}, {policies}"


def _small_print(state: State, world: str, waits: Pieces) -> str:
    mean = sum(end - start for start, end in waits) / state.now
    most = int(level(waits, np.array([start for start, _ in waits], float)).max()) if waits else 0
    return f"{MEMBERS[world]} in the ready queue: {number(mean)} on average, {most:,} at most"


def _band(state: State, p: ProcessorState, kernel: Sequence[tuple[int, int, int]]) -> _Band:
    pieces = [(s.start_ns, s.end_ns, 0) for s in state.spans or [] if s.cpu == p.id]
    pieces += [(start, end, 1) for start, end, cpu in kernel if cpu == p.id]
    user, system = shares(pieces, 2, state.now, COLUMNS)
    if p.is_core:
        return _Band(p.name or f"cpu{p.id}", busy(state, p), user, system)
    used = f"{number(float(user.mean()))} of {p.slots}"
    return _Band("slots in use", used, user / p.slots, system)


# --- drawing ------------------------------------------------------------------------------------------


def _draw(state: State, title: str, worlds: Sequence[_World]) -> Figure:
    heights = [world.height + BETWEEN for world in worlds]
    column = f"a column of the bands is {duration(state.now / COLUMNS)}"
    key = "dark: tasks, grey: kernel" if any(b.kernel.any() for w in worlds for b in w.bands) else ""
    sheet = page(title, caption_of(state.header, key, column), sum(heights) - BETWEEN + 0.42)
    paper, unit, top = sheet.paper(), time_unit(state.now), 0.0
    for world, height in zip(worlds, heights, strict=True):
        head(paper, 0, top, LEFT + WIDE, world.title, world.small)
        ax = sheet.axes(LEFT, top + HEAD, WIDE, HEIGHT)
        ax.set_label(f"queue of {world.title}")
        _queue(ax, world.waits, state.now, unit)
        ax.tick_params(axis="x", bottom=False, labelbottom=False)
        below = sheet.axes(LEFT, top + HEAD + HEIGHT + 0.08, WIDE, world.row * len(world.bands))
        below.set_label(f"use of {world.title}")
        _bands(below, world, state.now / unit.size)
        top += height
        if world is worlds[-1]:
            below.set_xlabel(f"time ({unit.name})")
        else:
            below.tick_params(axis="x", labelbottom=False)
    return sheet.figure


def _queue(ax: Axes, waits: Pieces, now: int, unit: Unit) -> None:
    changes = sorted({0, now, *(t for piece in waits for t in piece)})
    if len(changes) > MOST_CHANGES:
        times = np.linspace(0, now, COLUMNS + 1)
        [lengths] = shares([(*piece, 0) for piece in waits], 1, now, COLUMNS)
        lengths = np.append(lengths, lengths[-1])
    else:
        times = np.array(changes, float)
        lengths = level(waits, times)
    seen = look(0)
    ax.fill_between(times / unit.size, lengths, step="post", color=look(3).colour, linewidth=0, zorder=2)
    ax.plot(times / unit.size, lengths, drawstyle="steps-post", color=seen.ink, linewidth=1.0, label="queue")
    ax.set(xlim=(0, now / unit.size), ylim=(0, max(1.0, float(lengths.max())) * 1.06))
    ax.set_ylabel("waiting", color=QUIET)
    round_numbers(ax.xaxis, 8)
    round_numbers(ax.yaxis, 4)
    ax.grid(visible=True, axis="y", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)


def _bands(ax: Axes, world: _World, end: float) -> None:
    """Draw a band per processor, `world.row` inches from one to the next."""
    times = np.linspace(0, end, COLUMNS + 1)
    every = max(1, -int(-line(SMALL) // world.row))
    for i, band in enumerate(world.bands):
        foot, thick = (i + 0.5 + THICK / 2) * world.row, THICK * world.row
        user = foot - thick * np.append(band.user, band.user[-1])
        both = user - thick * np.append(band.kernel, band.kernel[-1])
        ax.fill_between([0, end], foot, foot - thick, color=IDLE, linewidth=0, zorder=1)
        for low, high, colour, name in (
            (np.full_like(user, foot), user, look(0).colour, "tasks"),
            (user, both, KERNEL, "kernel"),
        ):
            ax.fill_between(times, low, high, step="post", color=colour, linewidth=0, zorder=2, label=name)
        if i % every == 0:
            beside: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "size": SMALL, "va": "center"}
            name = shorten(band.name, LEFT - 0.12, SMALL, middle=True)
            ax.text(-0.01, foot - thick / 2, name, ha="right", **beside)
            ax.text(1.01, foot - thick / 2, band.note, ha="left", color=QUIET, **beside)
    ax.set(xlim=(0, end), ylim=(world.row * len(world.bands), 0), yticks=[])
    ax.spines["left"].set_visible(False)
    round_numbers(ax.xaxis, 8)
