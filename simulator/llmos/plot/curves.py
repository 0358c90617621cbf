"""Distributions: which share of the tasks had at most how much of a quantity.

- One curve per scheduler, one panel per world. A curve jumps at each sample; from a thousand samples
  on it goes through a thousand of their quantiles.
- The horizontal axis is logarithmic when the samples span more than two decades; what is smaller than
  its left end (a zero) is at its left end.
- Names stand at the curves, where these are farthest apart. Schedulers with the very same samples
  share a curve and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from llmos.errors import LlmosError, did_you_mean
from llmos.plot.labels import name_lines
from llmos.plot.looks import QUIET, RULE, Look, look
from llmos.plot.page import BODY_WIDTH, HEAD, decades, head, nothing, page, round_numbers, style
from llmos.plot.texts import BODY, shorten
from llmos.plot.words import MEMBERS, WORLDS, Unit, caption, counted, name_of, time_unit
from llmos.scenario.compare import Comparison
from llmos.trace.metrics import QUANTITIES, quantities, samples
from llmos.trace.state import State

HEIGHT = 3.0
LEFT = 0.55
BETWEEN = 0.75
MOST_POINTS = 1000
LOG_FROM = 100.0
"""Ratio of the largest to the smallest sample above which the axis is logarithmic."""
MOST_DECADES = 6
LONGEST_NAME, LONGEST_JOINED = 1.6, 3.0
SHORT = {"response": ("response", "ttft")}
"""What a quantity without a world means in each of the two."""

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Curve:
    name: str
    look: Look
    values: Points
    """Sorted."""


@dataclass(frozen=True, slots=True)
class _Source:
    """What both kinds of input come down to."""

    title: str
    caption: Callable[..., list[str]]
    """Takes remarks."""
    samples: list[tuple[str, dict[str, list[float]]]]
    """Scheduler -> "cpu.response" -> samples."""


def cdf(runs: Comparison | Mapping[str, State], quantity: str = "turnaround") -> Figure:
    """Return the distributions of a quantity under each scheduler.

    runs: a comparison, or each scheduler's name with the last state of its run.
    quantity: "cpu.waiting", "llm.ttft", ...; without a world, that of both: "turnaround", and
        "response", which is the time to the first token of a request.

    Raises LlmosError when there is no such quantity; the message names those there are.
    """
    names = _names(quantity)
    source = _from_comparison(runs) if isinstance(runs, Comparison) else _from_states(runs, names)
    panels = {name: curves for name in names if (curves := _curves(source, name))}
    if not panels:
        wanted = " or ".join(name_of(n.partition(".")[2], n.partition(".")[0]).lower() for n in names)
        return nothing(source.title, source.caption(), f"Nothing to show: no run has a {wanted}.")
    with style():
        return _draw(source, panels)


def check_quantity(quantity: str) -> None:
    """Raise LlmosError when there is no such quantity."""
    _names(quantity)


def _names(quantity: str) -> list[str]:
    world, _, own = quantity.rpartition(".")
    there = [*QUANTITIES, *(f"{w}.{q}" for w in WORLDS for q in quantities(w))]
    if quantity not in there:
        names = f"there are: {', '.join(QUANTITIES)}; with cpu. or llm. before them"
        hint = did_you_mean(quantity, there) or names
        raise LlmosError(f'unknown quantity "{quantity}"', hint=hint)
    if world:
        return [quantity]
    return [f"{w}.{q}" for w, q in zip(WORLDS, SHORT.get(own, (own, own)), strict=True)]


def _from_comparison(comparison: Comparison) -> _Source:
    return _Source(
        comparison.question or comparison.scenario,
        partial(caption, comparison.scenario, comparison.seeds, comparison.convention, comparison.profile),
        [(column.name, column.samples) for column in comparison.columns],
    )


def _from_states(states: Mapping[str, State], names: Sequence[str]) -> _Source:
    headers = [state.header for state in states.values()]
    scenarios = ", ".join(dict.fromkeys(h.scenario for h in headers if h.scenario))
    conventions = ", ".join(dict.fromkeys(h.convention for h in headers if h.convention))
    profiles = ", ".join(dict.fromkeys(h.profile for h in headers if h.profile))
    return _Source(
        next((h.question for h in headers if h.question), scenarios),
        partial(caption, scenarios, [h.seed for h in headers], conventions, profiles),
        [(name, {n: samples(s, *n.split(".")) for n in names}) for name, s in states.items()],
    )


def _curves(source: _Source, quantity: str) -> list[_Curve]:
    """Return the curves of one panel; schedulers with the very same samples share one."""
    curves: dict[bytes, _Curve] = {}
    for i, (name, there) in enumerate(source.samples):
        values = np.sort(np.array([v for v in there.get(quantity, []) if isfinite(v)], float))
        if not values.size:
            continue
        same = curves.get(values.tobytes())
        label = shorten(name, LONGEST_NAME, BODY, middle=True)
        joined = f"{same.name} = {label}" if same else label
        curves[values.tobytes()] = _Curve(joined, same.look if same else look(i), values)
    return [replace(c, name=shorten(c.name, LONGEST_JOINED, BODY, bold=True)) for c in curves.values()]


# --- drawing ------------------------------------------------------------------------------------------


def _draw(source: _Source, panels: Mapping[str, list[_Curve]]) -> Figure:
    logarithmic = {name: _is_log(curves) for name, curves in panels.items()}
    zeros = any(logarithmic[n] and c.values[0] < _left(panels[n]) for n in panels for c in panels[n])
    note = "the left end of an axis holds all that is smaller, zeros too" if zeros else ""
    sheet = page(source.title, source.caption(note), HEAD + HEIGHT + 0.42)
    width = (BODY_WIDTH - LEFT - BETWEEN * (len(panels) - 1) - 0.1) / len(panels)
    paper = sheet.paper()
    for i, (name, curves) in enumerate(panels.items()):
        world, _, quantity = name.partition(".")
        x = LEFT + i * (width + BETWEEN)
        head(
            paper, x, 0, width, f"{name_of(quantity, world)} of {WORLDS[world]}", _small_print(curves, world)
        )
        ax = sheet.axes(x, HEAD, width, HEIGHT)
        ax.set_label(name)
        ax.set_ylabel(f"share of {MEMBERS[world]}", color=QUIET)
        _panel(ax, curves, timed=bool(QUANTITIES[quantity][1]), logarithmic=logarithmic[name])
        name_lines(ax, ax.lines)
    return sheet.figure


def _small_print(curves: Sequence[_Curve], world: str) -> str:
    sizes = sorted({c.values.size for c in curves})
    many = counted(sizes[-1], MEMBERS[world][:-1])
    if len(sizes) > 1:
        many = f"{sizes[0]:,} to {many}"
    return f"{many} under each policy; further left is better"


def _left(curves: Sequence[_Curve]) -> float:
    """Return the left end of a logarithmic axis."""
    above = np.concatenate([c.values[c.values > 0] for c in curves])
    return float(max(above.min(), above.max() / 10**MOST_DECADES)) / 1.25


def _is_log(curves: Sequence[_Curve]) -> bool:
    values = np.concatenate([c.values for c in curves])
    above = values[values > 0]
    return bool(above.size) and bool(values.min() >= 0) and bool(above.max() > LOG_FROM * above.min())


def _panel(ax: Axes, curves: Sequence[_Curve], *, timed: bool, logarithmic: bool) -> None:
    longest = max(float(c.values[-1]) for c in curves)
    if logarithmic:
        unit = Unit("", 1)
        ax.set_xscale("log")
        ax.set_xlim(_left(curves), longest * 1.25)
        decades(ax.xaxis, timed=timed)
        ax.set_xlabel("logarithmic scale", color=QUIET)
    else:
        unit = time_unit(longest) if timed else Unit("", 1)
        lowest = min(0.0, *(float(c.values[0]) for c in curves), 0.0)
        ax.set_xlim(lowest / unit.size, (longest or 1.0) / unit.size * 1.04)
        round_numbers(ax.xaxis, 6)
        ax.set_xlabel(unit.name)
    ax.set_ylim(0, 1.02)
    shares = [0, 0.25, 0.5, 0.75, 0.9, 1]
    ax.set_yticks(shares, [f"{share:.0%}".replace("%", " %") for share in shares])
    ax.grid(visible=True, axis="y", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
    for curve in curves:
        x, y = steps(curve.values)
        left, right = ax.get_xlim()
        # What is at the left end, or has no place on a logarithmic axis, is there from the start.
        below = float(np.mean(curve.values / unit.size <= left))
        seen = x / unit.size > left
        x = np.concatenate([[left], x[seen] / unit.size, [right]])
        y = np.concatenate([[below], y[seen], [1.0]])
        [drawn] = ax.plot(x, y, drawstyle="steps-post", color=curve.look.ink, linewidth=1.7, label=curve.name)
        if curve.look.dash:
            drawn.set_dashes(curve.look.dash)


def steps(values: Points) -> tuple[Points, Points]:
    """Return where the distribution of sorted `values` jumps (at most MOST_POINTS times), and to what."""
    n = len(values)
    at = np.unique(np.linspace(0, n - 1, min(n, MOST_POINTS)).round().astype(int))
    return values[at], (at + 1) / n
