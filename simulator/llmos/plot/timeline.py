"""Who ran when: a band of time per core, and a row per slot of an engine.

- A task is a colour, a hatch and, where its name fits, a name; the others are in a key as long as that
  stays short. The pale ground is idle time.
- Rows of an engine are filled from the top, a request staying in its row while it can; the strip at
  the foot of a request lasts until its first token. An engine of many slots is one area: how many
  requests it serves.
- When a row has more spans than can be seen, each column of it shows the tasks' shares of that time.
- Arrivals and missed deadlines have lanes of their own above each world. With the run's events, also
  preemptions are marked and kernel work is told from idle time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from llmos.plot import key
from llmos.plot.layout import (
    AREA,
    LANE,
    LEFT,
    MOST_COLUMNS,
    MOST_IN_KEY,
    RIGHT,
    THICK,
    WIDE,
    Chart,
    Lane,
    Part,
    Row,
)
from llmos.plot.looks import COLOURS, IDLE, INK, KERNEL, QUIET, WHITE, look, rgb
from llmos.plot.page import BODY_WIDTH, nothing, page, round_numbers, style
from llmos.plot.spans import Array, level, marks, shares
from llmos.plot.texts import HEADING, POINTS, SMALL, clean, line, shorten, width_of
from llmos.plot.words import caption_of, counted, duration
from llmos.trace.events import Event
from llmos.trace.metrics import WORLDS as WORLD_OF
from llmos.trace.records import Mode, ProcessorState, Span, TaskState
from llmos.trace.state import State

LEVELS = 48
"""Of height in a folded row."""
MOST_ARROWS = 30
FEW_LETTERS = 6
"""What is left of a name says nothing, up to so many."""
LEAST = 6.0
"""The smallest name, in points."""


def gantt(state: State, events: Iterable[Event] = ()) -> Figure:
    """Return who ran when, up to the state's time.

    state: one that has kept its spans (`State(keep_spans=True)`).
    events: the log that the state was folded from; it adds preemptions and kernel work.
    """
    if not state.spans:
        return nothing(_title(state), caption_of(state.header), _why_nothing(state))
    with style():
        return _draw(Chart(state, marks(events)))


def _title(state: State) -> str:
    return state.header.question or state.header.scenario


def _why_nothing(state: State) -> str:
    if state.spans is None:
        return "Nothing to show: this state has not kept its spans. Fold the log with keep_spans=True."
    if not state.tasks:
        return "Nothing to show: no task has arrived."
    return f"Nothing to show: in {duration(state.now)} no task has run."


def _draw(chart: Chart) -> Figure:
    labels = _labels(chart)  # First of all: what has its name above needs no place in the key.
    lines = key.flow(key.entries(chart))
    below = chart.parts[-1].top + chart.parts[-1].height
    remarks = caption_of(chart.state.header, *_remarks(chart))
    sheet = page(_title(chart.state), remarks, below + 0.5 + len(lines) * key.LINE)
    ax = sheet.axes(LEFT, 0, WIDE, below)
    ax.set_label("gantt")
    for part in chart.parts:
        _part(ax, chart, part)
    for label in labels:
        ax.text(**label)
    ax.set(xlim=(0, chart.x(chart.state.now)), ylim=(below, 0), yticks=[])
    ax.spines["left"].set_visible(False)
    round_numbers(ax.xaxis, 8)
    ax.set_xlabel(f"time ({chart.unit.name})")
    key.draw(sheet.paper(), lines, below + 0.5)
    return sheet.figure


def _remarks(chart: Chart) -> list[str]:
    """Return what the caption must say so that nobody misreads the picture."""
    state, out = chart.state, []
    if chart.folded:
        out.append(
            f"a folded column is {duration(state.now / chart.columns)}, its colours the tasks' shares of it"
        )
    if len(chart.unnamed) > MOST_IN_KEY:
        out.append(
            f"{counted(len(state.tasks), 'task')}: colours repeat, the key has the longest without a name"
        )
    count = sum(task.preemptions for task in state.tasks.values())
    if count and not chart.marked:
        out.append(f"{counted(count, 'preemption')} (not marked)")
    cores = [p for p in state.processors.values() if p.is_core]
    spent = sum(p.spent_ns[Mode.KERNEL] + p.spent_ns[Mode.SWITCH] for p in cores)
    if spent and not chart.marks.kernel:
        out.append(f"pale also where the kernel works ({duration(spent)} in all)")
    if state.end and not state.end.ok:
        out.append(f"the run ended early: {state.end.reason}")
    return out


def _part(ax: Axes, chart: Chart, part: Part) -> None:
    """Draw a world: title, lanes, rows or area."""
    beside = partial(ax.text, transform=ax.get_yaxis_transform(), size=SMALL, va="center")
    title = shorten(part.title, BODY_WIDTH, HEADING, bold=True)
    beside(-LEFT / WIDE, part.top, title, size=HEADING, weight="bold", va="top")
    top = part.top + line(HEADING)
    for lane in part.lanes:
        beside(-0.01, top + LANE * 0.6, lane.name, ha="right", color=QUIET)
        _lane(ax, chart, lane, top + LANE * 0.6)
        top += LANE
    if part.area:
        _area(ax, chart, part.area, top)
    every = max(1, -(-line(SMALL) // (part.rows[0].height / THICK))) if part.rows else 1
    for i, row in enumerate(part.rows):
        if i % every == 0:
            middle = row.top + row.height / 2
            beside(-0.01, middle, shorten(row.name, LEFT - 0.12, SMALL, middle=True), ha="right")
            beside(1.01, middle, row.note, ha="left", color=QUIET)
        _ground(ax, chart, row.top, row.height)
        (_fold if row.folded else _bars)(ax, chart, row)
    if chart.marked:
        _preemptions(ax, chart, part)


def _ground(ax: Axes, chart: Chart, top: float, height: float) -> None:
    ax.add_patch(Rectangle((0, top), chart.x(chart.state.now), height, color=IDLE, linewidth=0, zorder=1))


# --- lanes --------------------------------------------------------------------------------------------


def _lane(ax: Axes, chart: Chart, lane: Lane, y: float) -> None:
    """Draw when something happened, and to whom where there is room for the names."""
    mark: dict[str, Any] = {"marker": 7, "s": 22, "color": INK}
    if lane.name == "missed":
        mark = {"marker": "X", "s": 34, "color": COLOURS[4], "edgecolors": WHITE}
    elif len(lane.groups) > MOST_ARROWS:
        mark |= {"marker": "|", "s": 40}
    times = [chart.x(t) for t in lane.groups]
    ax.scatter(times, [y] * len(times), linewidths=0.5, zorder=4, clip_on=False, label=lane.name, **mark)
    size, names = _lane_names(chart, lane)
    for t, name in zip(times, names, strict=True):
        if name:
            ax.annotate(
                name, (t, y), (5, 0), textcoords="offset points", size=size, color=QUIET, va="center",
                annotation_clip=False,
            )  # fmt: skip


def _lane_names(chart: Chart, lane: Lane) -> tuple[float, list[str]]:
    """Return the names at each time as far as the next one lets them, at the size that shows most."""
    starts = [chart.inches(t) for t in lane.groups]
    rooms = [end - start - 0.14 for start, end in zip(starts, [*starts[1:], WIDE + RIGHT], strict=True)]
    full = [", ".join(clean(name) for name in names[:MOST_IN_KEY]) for names in lane.groups.values()]
    found = []
    for size in (SMALL, SMALL - 1, LEAST):
        short = [shorten(name, max(room, 0.0), size) for name, room in zip(full, rooms, strict=True)]
        kept = [s if s == name or len(s) > FEW_LETTERS else "" for s, name in zip(short, full, strict=True)]
        found.append((size, kept))
    size, names = max(found, key=lambda each: sum(map(bool, each[1])))
    # A few names among many nameless marks would only puzzle.
    return size, names if sum(map(bool, names)) * 2 >= len(names) else [""] * len(names)


# --- rows ---------------------------------------------------------------------------------------------


def _bars(ax: Axes, chart: Chart, row: Row) -> None:
    """Draw every span of a row, one collection per task, with its hatch over it."""
    by_pid: dict[int, list[Span]] = {}
    for span in row.spans:
        by_pid.setdefault(span.pid, []).append(span)
    for pid, spans in by_pid.items():
        seen, task = chart.look(pid), chart.state.tasks[pid]
        boxes = [_box(chart, s.start_ns, s.end_ns, row.top, row.height) for s in spans]
        edges = [0.6 if chart.inches(s.end_ns - s.start_ns) * POINTS > 2 else 0.0 for s in spans]
        fill = PolyCollection(boxes, facecolors=seen.colour, edgecolors=WHITE, linewidths=edges, zorder=2)
        fill.set_label(f"task {task.name}")
        ax.add_collection(fill, autolim=False)
        if seen.hatch:
            over = PolyCollection(boxes, facecolors="none", edgecolors=seen.hatch_colour, linewidths=0)
            over.set(hatch=seen.hatch, zorder=2.1)
            ax.add_collection(over, autolim=False)
        if WORLD_OF[task.world] == "llm":
            _strip(ax, chart, row, task, spans)
    kernel = [(s, min(e, chart.state.now)) for s, e, cpu in chart.marks.kernel if cpu == row.cpu]
    if kernel:
        boxes = [_box(chart, start, end, row.top, row.height) for start, end in kernel]
        work = PolyCollection(boxes, facecolors=KERNEL, linewidths=0, zorder=2.3, label="kernel")
        ax.add_collection(work, autolim=False)


def _strip(ax: Axes, chart: Chart, row: Row, task: TaskState, spans: Sequence[Span]) -> None:
    """Draw the strip that lasts until a request's first token."""
    until = chart.state.now if task.first_token_ns is None else task.first_token_ns
    early = [(s.start_ns, min(s.end_ns, until)) for s in spans if s.start_ns < until]
    boxes = [_box(chart, s, e, row.top + row.height * 0.78, row.height * 0.22) for s, e in early]
    ax.add_collection(PolyCollection(boxes, facecolors=INK, linewidths=0, zorder=2.2), autolim=False)


def _box(chart: Chart, start_ns: int, end_ns: int, top: float, height: float) -> list[tuple[float, float]]:
    start, end = chart.x(start_ns), chart.x(end_ns)
    return [(start, top), (end, top), (end, top + height), (start, top + height)]


def _preemptions(ax: Axes, chart: Chart, part: Part) -> None:
    """Mark where a task was made to leave: at the end of its span."""
    ends = {(row.cpu, s.pid, s.end_ns): row for row in part.rows for s in row.spans}
    first = {row.cpu: row for row in reversed(part.rows)}
    found = [
        (chart.x(t), ends.get((cpu, pid, t), first[cpu]))
        for t, cpu, pid in chart.marks.preemptions
        if cpu in first
    ]
    if found:
        size = min(key.CUT_SIZE, 0.4 * found[0][1].height * POINTS)
        ax.scatter(
            [x for x, _ in found], [row.top + 0.18 * row.height for _, row in found], marker=key.CUT,
            s=size**2, color=INK, edgecolors=WHITE, linewidths=0.6, zorder=5, label="preempted",
        )  # fmt: skip


def _fold(ax: Axes, chart: Chart, row: Row) -> None:
    """Draw a row as columns in which every colour has the height of its share, idle time on top."""
    kinds = len(COLOURS)
    pieces = [(s.start_ns, s.end_ns, chart.kinds[s.pid] % kinds) for s in row.spans]
    pieces += [(s, e, kinds) for s, e, cpu in chart.marks.kernel if cpu == row.cpu]
    tops = np.cumsum(shares(pieces, kinds + 1, chart.state.now, chart.columns), axis=0)
    at = (np.arange(LEVELS) + 0.5) / LEVELS
    which = (tops[:, None, :] <= at[None, :, None]).sum(axis=0)
    colours = np.array([rgb(c) for c in (*COLOURS, KERNEL, IDLE)], np.uint8)
    extent = (0, chart.x(chart.state.now), row.top + row.height, row.top)
    ax.imshow(colours[which], extent=extent, origin="lower", aspect="auto", interpolation="nearest", zorder=2)


def _labels(chart: Chart) -> list[dict[str, Any]]:
    """Return the tasks' names for the spans in which they fit; note who has one."""
    out: list[dict[str, Any]] = []
    for row in chart.rows:
        largest = min(SMALL, row.height * POINTS * 0.62)
        for span in row.spans if largest >= LEAST and not row.folded else ():
            name = clean(chart.state.tasks[span.pid].name)
            room = chart.inches(span.end_ns - span.start_ns) - 0.05
            size = largest * min(1.0, room / width_of(name[:40], largest)) if name else 0.0
            if size < LEAST or len(name) > 40:
                continue
            chart.named.add(span.pid)
            seen = chart.look(span.pid)
            place = {"x": chart.x((span.start_ns + span.end_ns) / 2), "y": row.top + row.height / 2}
            ground = {"facecolor": seen.colour, "linewidth": 0, "pad": 1.0} if seen.hatch else None
            label = {"s": name, "size": size, "color": seen.on_it, "ha": "center", "va": "center"}
            out.append({**place, **label, "bbox": ground, "zorder": 3})
    return out


# --- an engine of many slots --------------------------------------------------------------------------


def _area(ax: Axes, chart: Chart, engine: ProcessorState, top: float) -> None:
    """Draw how many requests an engine serves: those before their first token below, the others above."""
    top, bottom = top + 0.08, top + AREA * 0.95
    _ground(ax, chart, top, bottom - top)
    times, early, late = _served(chart.state, engine)
    inches = (bottom - top) / engine.slots
    low, high = bottom - early * inches, bottom - (early + late) * inches
    whole = np.full_like(low, bottom)
    for seen, under, over, name in ((look(0), whole, low, "before"), (look(3), low, high, "after")):
        ax.fill_between(
            times / chart.unit.size, under, over, step="post", color=seen.colour, linewidth=0, zorder=2,
            label=name,
        )  # fmt: skip
    beside = partial(ax.text, -0.01, transform=ax.get_yaxis_transform(), size=SMALL, ha="right", va="center")
    beside(top, str(engine.slots))
    beside(bottom, "0")
    beside((top + bottom) / 2, "requests\nserved", color=QUIET)


def _served(state: State, engine: ProcessorState) -> tuple[Array, Array, Array]:
    """Return how many requests were served from each time on, before and after their first token."""
    early, late = [], []
    for span in state.spans or []:
        if span.cpu == engine.id:
            token = state.tasks[span.pid].first_token_ns
            until = span.end_ns if token is None else min(max(token, span.start_ns), span.end_ns)
            early += [(span.start_ns, until)] if until > span.start_ns else []
            late += [(until, span.end_ns)] if until < span.end_ns else []
    if len(early) + len(late) > MOST_COLUMNS:
        edges = np.linspace(0, state.now, MOST_COLUMNS + 1)
        pieces = [(*p, 0) for p in early] + [(*p, 1) for p in late]
        low, high = shares(pieces, 2, state.now, MOST_COLUMNS)
        return edges, np.append(low, low[-1]), np.append(high, high[-1])
    edges = np.array(sorted({0, state.now, *(t for piece in (*early, *late) for t in piece)}), float)
    return edges, level(early, edges), level(late, edges)
