"""Service received over time: who got how much, and how much the tickets would have given.

- A curve per task: time on a core, or tokens computed by an engine, summed up from its arrival to its
  end (a dot). Same slope, same share; a level stretch is a wait. Clients have a curve each where there
  are several, and so has each workload where there are too many tasks.
- Where tickets differ, a thin line shows what they would have given: at every moment what is served is
  shared by the tickets of those who want it (ready or running). On several cores nobody can use more
  than one at a time; what is left goes to the others.

Source: generalized processor sharing, A. Parekh and R. Gallager, 1993.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmos.plot.labels import name_lines
from llmos.plot.looks import QUIET, RULE, WHITE, look, mix
from llmos.plot.page import BODY_WIDTH, HEAD, head, nothing, page, round_numbers, style
from llmos.plot.spans import Array, stays
from llmos.plot.texts import BODY, shorten
from llmos.plot.words import MEMBERS, WORLDS, Unit, caption_of, counted, time_unit
from llmos.trace.events import Event, Iterate
from llmos.trace.metrics import WORLDS as WORLD_OF
from llmos.trace.records import Status, TaskState
from llmos.trace.state import State

HEIGHT = 3.2
LEFT, BETWEEN = 0.65, 0.85
MOST_CURVES = 8
MOST_TIMES = 2000
LONGEST_NAME = 1.6
OTHERS = "others"
IDEAL = "ideal of "

Piece = tuple[int, int, float]
"""From when, until when, how much in all."""


@dataclass(slots=True)
class _Curve:
    name: str
    served: Array
    begin_ns: int
    end_ns: int | None
    """When it was done, if it was."""
    ideal: Array | None = None


@dataclass(slots=True)
class _Panel:
    world: str
    times: Array
    curves: list[_Curve]


def service(state: State, events: Iterable[Event]) -> Figure:
    """Return the service that each task has received, up to the state's time.

    state: one that has kept its spans (`State(keep_spans=True)`).
    events: the log that the state was folded from.
    """
    title = state.header.question or state.header.scenario
    log = list(events)
    panels = [panel for world in WORLDS if (panel := _panel(state, log, world))]
    if not panels:
        return nothing(title, caption_of(state.header), "Nothing to show: no task has run.")
    with style():
        return _draw(state, title, panels)


def _panel(state: State, events: Sequence[Event], world: str) -> _Panel | None:
    served = _served(state, events, world)
    if not served or not state.now:
        return None
    tasks = [task for task in state.tasks.values() if WORLD_OF[task.world] == world]
    groups = _groups(tasks, served)
    changes = {0, state.now, *(t for pieces in served.values() for piece in pieces for t in piece[:2])}
    changes |= {t for task in tasks for t in (task.arrival_ns, task.finish_ns) if t is not None}
    few = len(changes) <= MOST_TIMES
    times = np.array(sorted(changes), float) if few else np.linspace(0, state.now, MOST_TIMES)
    curves = []
    for name, members in groups.items():
        pieces = [piece for task in members for piece in served.get(task.pid, [])]
        ends = [task.finish_ns for task in members if task.finish_ns is not None]
        end = max(ends) if len(ends) == len(members) else None
        curves.append(_Curve(name, summed(pieces, times), min(t.arrival_ns for t in members), end))
    if len({task.tickets for task in tasks}) > 1 and OTHERS not in groups:
        cores = sum(p.is_core for p in state.processors.values()) if world == "cpu" else 0
        for curve, ideal in zip(curves, _ideals(curves, groups, events, times, cores), strict=True):
            curve.ideal = ideal
    return _Panel(world, times, curves)


def _served(state: State, events: Sequence[Event], world: str) -> dict[int, list[Piece]]:
    """Return task -> what it was served: ns on a core, tokens in an engine."""
    out: dict[int, list[Piece]] = {}
    if world == "cpu":
        for s in state.spans or []:
            if state.processors[s.cpu].is_core:
                out.setdefault(s.pid, []).append((s.start_ns, s.end_ns, s.end_ns - s.start_ns))
        return out
    for event in events:
        if isinstance(event, Iterate) and event.start < event.t <= state.now:
            for pid, tokens in [*event.prefill, *((pid, event.count) for pid in event.decode)]:
                out.setdefault(pid, []).append((event.start, event.t, tokens))
    return out


def _groups(tasks: Sequence[TaskState], served: dict[int, list[Piece]]) -> dict[str, list[TaskState]]:
    """Return who has a curve of their own: clients, tasks or workloads; the least of many together."""
    ways: list[Callable[[TaskState], str]] = [
        lambda task: task.client or task.name,
        lambda task: task.name,
        lambda task: re.sub(r"-\d+$", "", task.name),
    ]
    by_client = len({task.client for task in tasks} - {""}) > 1
    groups: dict[str, list[TaskState]] = {}
    for way in ways if by_client else ways[1:]:
        groups = {}
        for task in tasks:
            groups.setdefault(way(task), []).append(task)
        if len(groups) <= MOST_CURVES:
            return groups
    amounts = {
        name: sum(amount for task in members for _, _, amount in served.get(task.pid, []))
        for name, members in groups.items()
    }
    largest = sorted(groups, key=lambda name: -amounts[name])[: MOST_CURVES - 1]
    rest = [task for name, members in groups.items() if name not in largest for task in members]
    return {name: groups[name] for name in groups if name in largest} | {OTHERS: rest}


def summed(pieces: Sequence[Piece], times: Array) -> Array:
    """Return how much of `pieces`, each spread evenly over its time, there was up to each of `times`."""
    if not pieces:
        return np.zeros_like(times)
    start, end, amount = np.array(pieces, float).T
    rate = amount / (end - start)
    at = np.concatenate([start, end])
    order = np.argsort(at, kind="stable")
    at, slope = at[order], np.cumsum(np.concatenate([rate, -rate])[order])
    total = np.concatenate([[0.0], np.cumsum(slope[:-1] * np.diff(at))])
    return np.asarray(np.interp(times, at, total), float)


# --- what the tickets would have given ----------------------------------------------------------------


def _ideals(
    curves: Sequence[_Curve],
    groups: dict[str, list[TaskState]],
    events: Sequence[Event],
    times: Array,
    cores: int,
) -> list[Array]:
    there = stays(events)
    wanted: dict[int, list[tuple[int, int]]] = {}
    for start, end, pid in [*there[Status.READY], *there[Status.RUNNING]]:
        wanted.setdefault(pid, []).append((start, end))
    weights, members = [], []
    for tasks in groups.values():
        pieces = [(a, b, b - a) for task in tasks for a, b in wanted.get(task.pid, [])]
        members.append(np.diff(summed(pieces, times)))
        if len({task.client for task in tasks} - {""}) == 1:  # The client has the tickets, not its tasks.
            pieces = [(a, b, (b - a) * tasks[0].tickets) for a, b in _union((a, b) for a, b, _ in pieces)]
        else:
            pieces = [(a, b, (b - a) * t.tickets) for t in tasks for a, b in wanted.get(t.pid, [])]
        weights.append(np.diff(summed(pieces, times)))
    total = np.diff(np.sum([curve.served for curve in curves], axis=0))
    most = np.array(members) if cores > 1 else np.full((len(curves), len(total)), np.inf)
    return [np.concatenate([[0.0], np.cumsum(row)]) for row in fair(total, np.array(weights), most)]


def _union(pieces: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for start, end in sorted(pieces):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def fair(total: Array, weights: Array, most: Array) -> Array:
    """Share each column of `total` by `weights` `(who, columns)`; nobody gets more than `most`.

    What somebody cannot use goes to the others by their weights, as long as there are others.
    """
    given, left, still = np.zeros_like(weights), total.copy(), weights.copy()
    for _ in range(len(weights)):
        among = still.sum(axis=0)
        part = np.divide(still, among, out=np.zeros_like(still), where=among > 0)
        more = np.minimum(part * left, most - given)
        given, left = given + more, left - more.sum(axis=0)
        still = np.where(given < most * (1 - 1e-9), still, 0.0)
    return given


# --- drawing ------------------------------------------------------------------------------------------


def _draw(state: State, title: str, panels: Sequence[_Panel]) -> Figure:
    ideal = any(curve.ideal is not None for panel in panels for curve in panel.curves)
    note = "thin: what its tickets would have given it" if ideal else ""
    sheet = page(title, caption_of(state.header, note), HEAD + HEIGHT + 0.42)
    width = (BODY_WIDTH - LEFT * len(panels) - (BETWEEN - LEFT) * (len(panels) - 1) - 0.1) / len(panels)
    paper = sheet.paper()
    for i, panel in enumerate(panels):
        x = LEFT + i * (width + BETWEEN)
        mine = [p for p in state.processors.values() if p.is_core == (panel.world == "cpu")]
        policies = ", ".join(dict.fromkeys(p.policy for p in mine))
        where = counted(len(mine), "core") if panel.world == "cpu" else "the engine"
        head(
            paper,
            x,
            0,
            width,
            f"{WORLDS[panel.world]} on {where}, {policies}",
            "same slope, same share; a dot: done",
        )
        ax = sheet.axes(x, HEAD, width, HEIGHT)
        ax.set_label(f"service of {panel.world}")
        _curves(ax, panel, time_unit(state.now))
    return sheet.figure


def _curves(ax: Axes, panel: _Panel, unit: Unit) -> None:
    most = max(
        float(values[-1]) for c in panel.curves for values in (c.served, c.ideal) if values is not None
    )
    size = time_unit(most) if panel.world == "cpu" else Unit("tokens", 1)
    what = f"time received ({size.name})" if panel.world == "cpu" else f"tokens of {MEMBERS['llm']}"
    x = panel.times / unit.size
    for i, curve in enumerate(panel.curves):
        end = panel.times[-1] if curve.end_ns is None else curve.end_ns
        there = (panel.times >= curve.begin_ns) & (panel.times <= end)
        ink, dash = look(i).ink, look(i).dash or (None, None)
        if curve.ideal is not None:
            pale = mix(ink, WHITE, 0.35)
            ax.plot(
                x[there], curve.ideal[there] / size.size, color=pale, linewidth=0.8, label=IDEAL + curve.name
            )
        name = shorten(curve.name, LONGEST_NAME, BODY, bold=True, middle=True)
        y = curve.served[there] / size.size
        ax.plot(x[there], y, color=ink, linewidth=1.7, label=name, dashes=dash)
        if curve.end_ns is not None and there.any():
            ax.scatter(
                x[there][-1:], y[-1:], s=22, color=ink, zorder=4, clip_on=False, label=f"end of {name}"
            )
    ax.set(xlim=(0, x[-1]), ylim=(0, (most or 1.0) / size.size * 1.04))
    round_numbers(ax.xaxis, 6)
    round_numbers(ax.yaxis, 6)
    ax.set_xlabel(f"time ({unit.name})")
    ax.set_ylabel(what, color=QUIET)
    ax.grid(visible=True, axis="y", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
    name_lines(ax, [drawn for drawn in ax.lines if not str(drawn.get_label()).startswith(IDEAL)])
