"""A map of the resident sets: page number against time, a bar where a page was in memory.

- A panel per task, a row per page that ever was in memory, in the order of their numbers; between rows
  whose numbers do not follow one another there is a thin line. A page is called by its region and its place
  there, as programs call it: "heap 7".
- With the references in the log (`--references`), time is counted in them, and each is a dot on its page:
  dark if the page was there, a cross if it faulted. The picture is then the table of an exam.
- More stays than can be told apart are folded: the darker a spot, the more of its pages were there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from llmos.plot.faults import why_nothing
from llmos.plot.looks import COLOURS, INK, RULE, WHITE, look, mix, rgb
from llmos.plot.page import BODY_WIDTH, HEAD, head, nothing, page, round_numbers, style
from llmos.plot.residency import FAR, Clock, Stay, stays
from llmos.plot.texts import POINTS, SMALL, line, shorten
from llmos.plot.words import Unit, caption_of, counted, duration, time_unit
from llmos.trace.events import Event, Reference, Region
from llmos.trace.state import State

LEFT = 0.85
BETWEEN = 0.2
ROW = 0.2
"""From row to row, in inches, at most."""
TALL = 6.0
"""Of all rows together, at most."""
LEAST_TALL = 0.35
MOST_PANELS = 5
MOST_NAMES = 16
"""Of rows, in a panel."""
MOST_STAYS = 8000
MOST_DOTS = 2500
FOLDED = (900, 240)
"""Columns and rows of a folded panel, at most."""
HEAP = 0x500
"""Where every heap begins."""
THICK = 0.76
"""Of a row, the bar."""
APART = 0.06
"""Rows at least so high, in inches, have space between them."""


@dataclass(frozen=True, slots=True)
class _Panel:
    name: str
    small: str
    pages: list[int]
    """The number of each row's page."""
    names: list[str]
    stays: list[Stay]
    dots: list[tuple[int, Reference]]
    """(number of the reference, the reference)."""


def residents(state: State, events: Iterable[Event]) -> Figure:
    """Return when each page was in memory, up to the state's time.

    events: the log that the state was folded from; with its references, these are shown too.
    """
    title, header, log = state.header.question or state.header.scenario, state.header, list(events)
    clock = Clock([e for e in log if isinstance(e, Reference)], state.now)
    found = stays(log, clock)
    if not found:
        return nothing(title, caption_of(header), f"Nothing to show: {why_nothing(state)}")
    with style():
        return _draw(state, title, clock, _panels(state, log, found, clock))


def _panels(state: State, log: Sequence[Event], found: Sequence[Stay], clock: Clock) -> list[_Panel]:
    by_task: dict[int, list[Stay]] = {}
    for stay in found:
        by_task.setdefault(stay.pid, []).append(stay)
    pids = sorted(by_task, key=lambda pid: (-len(by_task[pid]), pid))[:MOST_PANELS]
    few = len(clock.references) <= MOST_DOTS
    mapped = [e for e in log if isinstance(e, Region) and e.call == "mmap"]
    panels = []
    for pid in sorted(pids):
        mine = by_task[pid]
        dots = [(i, r) for i, r in enumerate(clock.references) if r.task == pid] if few else []
        pages = sorted({stay.page for stay in mine} | {r.page for _, r in dots})
        small = f"{counted(len(pages), 'page')}, which came {counted(len(mine), 'time')}"
        regions = sorted(mapped, key=lambda e: e.task == pid)  # its own over those of others, as its parent's
        names = [_name(page, regions) for page in pages]
        panels.append(_Panel(state.tasks[pid].name, small, pages, names, mine, dots))
    return panels


def _name(page: int, mapped: Sequence[Region]) -> str:
    """Return what a page is called; of several regions that it was in the last one counts."""
    for region in reversed(mapped):
        if region.page <= page < region.page + region.pages:
            return f"{region.name} {page - region.page}"
    return f"heap {page - HEAP}" if HEAP <= page < HEAP + FAR else f"page {page}"


# --- drawing ------------------------------------------------------------------------------------------


def _draw(state: State, title: str, clock: Clock, panels: Sequence[_Panel]) -> Figure:
    unit = Unit("references", 1) if clock.counts else time_unit(state.now)
    rows = sum(len(panel.pages) for panel in panels)
    heights = [max(LEAST_TALL, min(ROW, TALL / rows) * len(panel.pages)) for panel in panels]
    total = sum(heights) + len(panels) * (HEAD + BETWEEN) - BETWEEN
    sheet = page(title, caption_of(state.header, *_remarks(state, clock, panels)), total + 0.42)
    width, paper, top = BODY_WIDTH - LEFT - 0.1, sheet.paper(), 0.0
    for panel, height in zip(panels, heights, strict=True):
        head(paper, LEFT, top, width, panel.name, panel.small)
        ax = sheet.axes(LEFT, top + HEAD, width, height)
        ax.set_label(f"residents of {panel.name}")
        _map(ax, panel, clock, unit, height)
        top += HEAD + height + BETWEEN
        if panel is panels[-1]:
            ax.set_xlabel("references made" if clock.counts else f"time ({unit.name})")
        else:
            ax.tick_params(axis="x", labelbottom=False)
    return sheet.figure


def _remarks(state: State, clock: Clock, panels: Sequence[_Panel]) -> list[str]:
    out = [
        f"{counted(state.header.frames, 'frame')}, {state.header.replacement}",
        "bar: the page is in memory",
    ]
    if any(panel.dots for panel in panels):
        out.append("dot: a reference, cross: one that faulted")
    elif clock.counts:
        out.append(f"{counted(len(clock.references), 'reference')} (not marked)")
    others = len(state.memory.tasks) - len(panels)
    if others > 0:
        out.append(f"{counted(others, 'other task')} not shown")
    if any(len(panel.stays) > MOST_STAYS for panel in panels):
        column = (
            f"{clock.end / FOLDED[0]:,.3g} references" if clock.counts else duration(clock.end / FOLDED[0])
        )
        out.append(f"folded into columns of {column}: dark where all pages of a spot are in")
    return out


def _map(ax: Axes, panel: _Panel, clock: Clock, unit: Unit, height: float) -> None:
    rows = {number: i for i, number in enumerate(panel.pages)}
    end = clock.end / unit.size
    if len(panel.stays) > MOST_STAYS:
        _fold(ax, panel, rows, unit, end)
    else:
        _bars(ax, panel, rows, unit, apart=height / len(rows) >= APART)
    for i, (number, after) in enumerate(pairwise(panel.pages), start=1):
        if after != number + 1:
            ax.axhline(i - 0.5, color=RULE, linewidth=0.8, zorder=1)
    _dots(ax, panel, rows, height / max(1, len(rows)))
    ax.set(xlim=(0, end), ylim=(len(rows) - 0.5, -0.5))
    every = max(1, -int(-line(SMALL) * len(rows) // height), len(rows) // MOST_NAMES)
    names = [shorten(name, LEFT - 0.1, SMALL, middle=True) for name in panel.names[::every]]
    ax.set_yticks(range(0, len(rows), every), names)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    round_numbers(ax.xaxis, 8)


def _bars(ax: Axes, panel: _Panel, rows: dict[int, int], unit: Unit, *, apart: bool) -> None:
    """Draw a bar for each stay; where rows are thin, they touch."""
    boxes, half = [], (THICK if apart else 1.0) / 2
    for stay in panel.stays:
        left, right, y = stay.start / unit.size, stay.end / unit.size, rows[stay.page]
        low, high = y - half, y + half
        boxes.append([(left, low), (right, low), (right, high), (left, high)])
    edge = 0.4 if apart else 0.0
    bars = PolyCollection(boxes, facecolors=look(3).colour, edgecolors=WHITE, linewidths=edge, zorder=2)
    bars.set_label("resident")
    ax.add_collection(bars, autolim=False)


def _fold(ax: Axes, panel: _Panel, rows: dict[int, int], unit: Unit, end: float) -> None:
    columns, most = FOLDED
    tall = min(most, len(rows))
    wide = np.zeros((tall, columns + 1))
    for stay in panel.stays:
        y = rows[stay.page] * tall // len(rows)
        wide[y, int(stay.start / unit.size / end * columns)] += 1
        wide[y, min(columns, -int(-stay.end / unit.size / end * columns // 1))] -= 1
    in_each = np.bincount([i * tall // len(rows) for i in range(len(rows))], minlength=tall)
    part = np.clip(np.cumsum(wide, axis=1)[:, :columns] / in_each[:, None], 0, 1)
    steps = np.array([rgb(mix(WHITE, COLOURS[0], step / 8)) for step in range(9)], np.uint8)
    extent = (0, end, len(rows) - 0.5, -0.5)
    ax.imshow(
        steps[(part * 8).round().astype(int)], extent=extent, aspect="auto", interpolation="nearest", zorder=2
    )


def _dots(ax: Axes, panel: _Panel, rows: dict[int, int], row: float) -> None:
    """Draw the references in the middle of their time, as large as a row (inches) lets them be."""
    size = min(5.0, 0.45 * row * POINTS)
    for hit, marker, colour, name in ((True, "o", INK, "hits"), (False, "X", COLOURS[4], "faults")):
        places = [(i + 0.5, rows[r.page]) for i, r in panel.dots if r.hit is hit]
        if places:
            x, y = zip(*places, strict=True)
            area = (size if hit else 1.5 * size) ** 2
            ax.scatter(x, y, s=area, marker=marker, color=colour, linewidths=0, zorder=3, label=name)
