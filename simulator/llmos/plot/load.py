"""A metric against what was swept, one curve per scheduler: the hockey stick of queueing.

- The horizontal axis is a swept key whose values are amounts: the one that is called load or rate, or
  else the one with the most values. Every combination of the other keys is a curve.
- A point is the mean over the seeds; its whisker is the 95 % confidence interval. One seed has none.
- The vertical axis is logarithmic when the means span more than a factor of fifty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from llmos.errors import LlmosError
from llmos.plot.labels import name_ends
from llmos.plot.looks import RULE, look
from llmos.plot.page import BODY_WIDTH, HEAD, decades, head, nothing, page, round_numbers, style
from llmos.plot.results import Results, scaled
from llmos.plot.texts import BODY, POINTS, SMALL, shorten, width_of
from llmos.plot.words import Unit, in_words, wording
from llmos.scenario.compare import Estimate

HEIGHT = 3.0
LEFT, BETWEEN, BETWEEN_ROWS = 0.6, 0.65, 0.62
MOST_CURVES = 10
MOST_IN_ROW = 2
LOG_FROM = 50.0
LONGEST_NAME = 1.7
APART = 2.2
"""From whisker to whisker where they would cover each other, in points."""
MARKS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
USUAL_AXES = ("load", "rate")
SPEAKING = ("scheduler", "policy", "profile", "model", "weights")
"""Keys whose values say by themselves what they are."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Means of a metric at several values of a key, each with its interval."""

    name: str
    x: list[float]
    means: list[Estimate]


def load_curve(results: Results, metrics: Sequence[str] = (), keys: Sequence[str] = ()) -> Figure:
    """Return each of `metrics` against one key, a curve for each combination of the others.

    keys: the one across; left out, one that is called load or rate, or else has the most values.

    Raises LlmosError when there is no such metric or key, or nothing that could be an axis.
    """
    names = results.chosen(metrics)
    results.check_keys(keys)
    if len(keys) > 1:
        raise LlmosError("one key goes across", hint=f"name one of: {', '.join(keys)}; or draw a heatmap")
    [key] = keys or [_axis(results)]
    scale = scaled(results.keys[key])
    if scale is None:
        raise LlmosError(
            f'the values of "{key}" are no amounts', hint="draw a heatmap, or name another --key"
        )
    numbers = dict(zip(results.keys[key], scale[0], strict=True))
    panels = {name: curves_of(results, name, key, numbers) for name in names}
    title = results.question or f"How does {key} change the {in_words(names[0])}?"
    if not any(panels.values()):
        return nothing(title, results.caption(), f"Nothing to show: no run has {' or '.join(names)}.")
    with style():
        return _draw(results, title, panels, f"{key} ({scale[1]})" if scale[1] else key)


def _axis(results: Results) -> str:
    amounts = [name for name, values in results.keys.items() if scaled(values)]
    if not amounts:
        hint = f"sweep a load or another number; these vary: {', '.join(results.keys) or 'none'}"
        raise LlmosError("no key of these results is an amount that varies", hint=hint)
    usual = [name for name in amounts if name.rpartition(".")[2] in USUAL_AXES]
    return (usual or sorted(amounts, key=lambda name: -len(results.keys[name])))[0]


def curves_of(results: Results, metric: str, key: str, numbers: dict[Any, float]) -> list[Curve]:
    """Return a metric against `key`, whose values are these `numbers`: a curve for each of the other keys'.

    Raises LlmosError when they are too many to tell apart.
    """
    others = [name for name in results.keys if name != key]
    means = results.means(metric, [*others, key])
    out = []
    for place in product(*(results.keys[name] for name in others)):
        points = [(numbers[v], means[*place, v]) for v in results.keys[key] if (*place, v) in means]
        if points:
            out.append(Curve(curve_name(others, place), [x for x, _ in points], [m for _, m in points]))
    if len(out) > MOST_CURVES:
        raise LlmosError(
            f"{len(out)} curves in one picture are too many to tell apart: {', '.join(others)} vary",
            hint=f"sweep fewer values (at most {MOST_CURVES} curves), or draw a heatmap",
        )
    return out


def curve_name(keys: Sequence[str], values: Sequence[Any]) -> str:
    """Return what a combination of values is called: "rr", "slots = 4", "rr, slots = 4"."""
    parts = []
    for key, value in zip(keys, values, strict=True):
        last = key.rpartition(".")[2]
        parts.append(str(value) if last in SPEAKING else f"{last} = {value}")
    return ", ".join(parts)


# --- drawing ------------------------------------------------------------------------------------------


def _draw(results: Results, title: str, panels: dict[str, list[Curve]], label: str) -> Figure:
    several = any(m.half_width is not None for curves in panels.values() for c in curves for m in c.means)
    note = "point: mean over the seeds, whisker: its 95 % confidence interval" if several else ""
    columns = min(MOST_IN_ROW, len(panels))
    rows = -(-len(panels) // columns)
    tall = HEAD + HEIGHT
    sheet = page(title, results.caption(note), rows * tall + (rows - 1) * BETWEEN_ROWS + 0.42)
    names = {
        shorten(c.name, LONGEST_NAME, BODY, bold=True, middle=True) for each in panels.values() for c in each
    }
    right = max(width_of(name, BODY, bold=True) for name in names) + 0.15
    width = (BODY_WIDTH - LEFT - BETWEEN * (columns - 1)) / columns - right
    paper = sheet.paper()
    for i, (name, curves) in enumerate(panels.items()):
        x, y = LEFT + i % columns * (width + right + BETWEEN), i // columns * (tall + BETWEEN_ROWS)
        words = wording(name)[1]
        unit = words.unit([m.mean for c in curves for m in c.means])
        head(paper, x, y, width + right, f"{words.members}: {in_words(name)}", words.small_print(unit))
        ax = sheet.axes(x, y + HEAD, width, HEIGHT)
        ax.set_label(name)
        if curves:
            panel(ax, curves, unit, timed=words.kind == "time")
        ax.set_xlabel(shorten(label, width, SMALL, middle=True))
    return sheet.figure


def panel(ax: Axes, curves: Sequence[Curve], unit: Unit, *, timed: bool) -> None:
    """Draw curves with their whiskers, and their names behind them."""
    means = [m.mean for c in curves for m in c.means]
    logarithmic = min(means) > 0 and max(means) > LOG_FROM * min(means)
    size = 1.0 if logarithmic and timed else unit.size
    drawn = []
    for i, curve in enumerate(curves):
        seen, y = look(i), [m.mean / size for m in curve.means]
        half = [(m.half_width or 0.0) / size for m in curve.means]
        name = shorten(curve.name, LONGEST_NAME, BODY, bold=True, middle=True)
        [line] = ax.plot(
            curve.x, y, color=seen.ink, linewidth=1.6, label=name, marker=MARKS[i], markersize=4.5
        )
        line.set_dashes(seen.dash or (None, None))
        if any(half):
            # A logarithmic axis has no place for what is not above zero.
            low = [min(h, 0.999 * v) if logarithmic else h for h, v in zip(half, y, strict=True)]
            bars = ax.vlines(curve.x, np.subtract(y, low), np.add(y, half), color=seen.ink, linewidth=0.9)
            aside = (i - (len(curves) - 1) / 2) * APART / POINTS
            bars.set(transform=bars.get_transform() + _moved(ax, aside), label=f"whiskers of {name}")
        if curve.name:  # else it is the only one
            drawn.append(line)
    if logarithmic:
        ax.set_yscale("log")
        decades(ax.yaxis, timed=timed)
    else:
        ax.set_ylim(min(0.0, *(v / size for v in means)), ax.get_ylim()[1])
        round_numbers(ax.yaxis, 6)
    round_numbers(ax.xaxis, 6)
    ax.grid(visible=True, axis="y", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
    name_ends(ax, drawn)


def _moved(ax: Axes, inches: float) -> ScaledTranslation:
    return ScaledTranslation(inches, 0, ax.get_figure().dpi_scale_trans)  # type: ignore[union-attr]
