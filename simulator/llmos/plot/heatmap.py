"""A metric at every point of two swept keys: a number in each cell, and its colour.

- The first key is the horizontal axis, the second the vertical one. Other keys that vary have a panel
  for each combination, all with the same colours.
- Darker is more; the colours go by ratios when the means span more than a factor of fifty. The best
  mean of a panel has a frame.
- A cell without any run that went well is hatched.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import log
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from llmos.errors import LlmosError
from llmos.plot.load import curve_name
from llmos.plot.looks import COLOURS, INK, QUIET, RULE, WHITE, lightness, mix
from llmos.plot.page import BODY_WIDTH, HEAD, head, nothing, page, style
from llmos.plot.results import Results
from llmos.plot.texts import BODY, SMALL, shorten, width_of
from llmos.plot.words import Unit, Wording, in_words, number, wording
from llmos.scenario.compare import Estimate

CELL, HIGHER_CELL = 0.3, 0.42
"""The height of a cell, and of one with an interval, in inches."""
WIDEST = 1.3
"""Of a cell."""
LEFT = (0.5, 1.5)
"""The least and the most room for the names of the rows."""
BETWEEN, BETWEEN_ROWS = 0.3, 0.3
BELOW = 0.42
"""Room for the names of the columns and of their key."""
MOST_PANELS = 12
MOST_IN_ROW = 3
RATIO = 50.0
LEAST = 6.0
"""The smallest number, in points."""
PALE = "#EDF4FA"

Means = dict[tuple[Any, ...], Estimate]


def heatmap(results: Results, metrics: Sequence[str] = (), keys: Sequence[str] = ()) -> Figure:
    """Return a metric over two keys (left out: the first two that vary).

    Raises LlmosError when there is no such metric or key, or fewer than two vary.
    """
    [metric, *more] = results.chosen(metrics)
    if more and metrics:
        raise LlmosError("a heatmap shows one metric", hint=f"name one of: {', '.join(metrics)}")
    results.check_keys(keys)
    first = list(dict.fromkeys([*keys, *results.keys]))
    if len(first) < 2:
        hint = f"this varies: {first[0]}; draw it as load" if first else "no key varies"
        raise LlmosError("a heatmap needs two keys that vary", hint=hint)
    across, up, *others = first
    means = results.means(metric, first)
    panels = {
        place: {(x, y): mean for (x, y, *rest), mean in means.items() if tuple(rest) == place}
        for place in product(*(results.keys[name] for name in others))
    }
    if len(panels) > MOST_PANELS:
        hint = f"sweep fewer values of {', '.join(others)}: at most {MOST_PANELS} combinations"
        raise LlmosError(f"{len(panels)} panels are too many for one picture", hint=hint)
    title = results.question or f"How do {across} and {up} change the {in_words(metric)}?"
    if not any(panels.values()):
        return nothing(title, results.caption(), f"Nothing to show: no run has {metric}.")
    with style():
        return _draw(results, title, metric, first, panels)


# --- drawing ------------------------------------------------------------------------------------------


def _draw(
    results: Results, title: str, metric: str, keys: Sequence[str], panels: dict[tuple[Any, ...], Means]
) -> Figure:
    across, up, *others = keys
    words = wording(metric)[1]
    every = [mean for means in panels.values() for mean in means.values()]
    unit = words.unit([mean.mean for mean in every])
    several = any(mean.half_width is not None for mean in every)
    note = "mean over the seeds ± its 95 % confidence interval" if several else ""
    frame = "frame: the best mean" if words.better else ""
    columns = min(MOST_IN_ROW, len(panels))
    rows, cells = -(-len(panels) // columns), results.keys[across]
    names = [str(value) for value in results.keys[up]]
    left = min(max(LEFT[0], *(width_of(n[:200], SMALL) + 0.35 for n in names)), LEFT[1])
    width = (BODY_WIDTH - (left + BETWEEN) * columns + BETWEEN - 0.05) / columns
    width = min(width, WIDEST * len(cells))
    high = (HIGHER_CELL if several else CELL) * len(names)
    tall = HEAD + high + BELOW
    sheet = page(title, results.caption(note, frame), rows * tall + (rows - 1) * BETWEEN_ROWS)
    paper = sheet.paper()
    for i, (place, means) in enumerate(panels.items()):
        x, y = left + i % columns * (left + width + BETWEEN), i // columns * (tall + BETWEEN_ROWS)
        about = f"{words.members}: {in_words(metric)}"
        what = curve_name(others, place) if others else about
        small = ", ".join([about, words.small_print(unit)][not others :])
        head(paper, x, y, BODY_WIDTH - x if len(panels) == 1 else width, what, small)
        ax = sheet.axes(x, y + HEAD, width, high)
        ax.set_label(f"{metric} {what}" if others else metric)
        _cells(ax, means, cells, results.keys[up], (words, unit, width / len(cells), [m.mean for m in every]))
        labels = [shorten(str(v), width / len(cells) - 0.05, SMALL, middle=True) for v in cells]
        ax.set_xticks(range(len(cells)), labels)
        ax.set_yticks(range(len(names)), [shorten(n, left - 0.3, SMALL, middle=True) for n in names])
        ax.set_xlabel(shorten(across, width, SMALL, middle=True), color=QUIET)
        if i % columns == 0:
            ax.set_ylabel(shorten(up, high + 0.2, SMALL, middle=True), color=QUIET)
    return sheet.figure


def _cells(
    ax: Axes,
    means: Means,
    across: Sequence[Any],
    up: Sequence[Any],
    scale: tuple[Wording, Unit, float, Sequence[float]],
) -> None:
    """Draw a panel; `scale`: the metric, its unit, a cell's width in inches, and all means."""
    words, unit, wide, every = scale
    best = _best(means, words.better)
    texts = {place: number(mean.mean / unit.size) for place, mean in means.items()}
    halves = {place: _half(mean, unit) for place, mean in means.items()}
    widest = max([width_of(text, BODY) for text in [*texts.values(), *halves.values()] if text], default=1.0)
    size = BODY * min(1.0, (wide - 0.1) / widest)
    for x, y in product(range(len(across)), range(len(up))):
        mean = means.get((across[x], up[y]))
        colour = _colour(mean.mean, every) if mean else WHITE
        cell = Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor=WHITE, linewidth=1.0, zorder=1)
        if mean is None:
            cell.set(hatch="///", edgecolor=RULE)
        elif (across[x], up[y]) == best:
            frame = Rectangle(
                (x - 0.46, y - 0.44), 0.92, 0.88, fill=False, edgecolor=INK, linewidth=1.6, zorder=3
            )
            ax.add_patch(frame)
        ax.add_patch(cell)
        if mean and size >= LEAST:
            place = (across[x], up[y])
            looks: dict[str, Any] = {
                "color": WHITE if lightness(colour) < 55 else INK,
                "ha": "center",
                "zorder": 4,
            }
            ax.text(x, y - 0.17 * bool(halves[place]), texts[place], size=size, va="center", **looks)
            ax.text(x, y + 0.24, halves[place], size=max(LEAST, size * 0.8), va="center", **looks)
    ax.set(xlim=(-0.5, len(across) - 0.5), ylim=(len(up) - 0.5, -0.5))
    ax.tick_params(length=0)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)


def _half(mean: Estimate, unit: Unit) -> str:
    """Write half an interval, with the two digits that it deserves."""
    half = (mean.half_width or 0.0) / unit.size
    return f"± {half:.2g}" if 1e-4 <= half < 100 else f"± {number(half)}" if half else ""


def _best(means: Means, better: str) -> tuple[Any, ...] | None:
    """Return the place of the best mean, if there is one that is better than another."""
    sign = {"lower": 1, "higher": -1}.get(better, 0)
    different = {mean.mean for mean in means.values()}
    return min(means, key=lambda place: sign * means[place].mean) if sign and len(different) > 1 else None


def _colour(value: float, every: Sequence[float]) -> str:
    low, high = min(every), max(every)
    if high == low:
        return PALE
    if low > 0 and high > RATIO * low:
        value, low, high = log(value), log(low), log(high)
    return mix(PALE, COLOURS[0], (value - low) / (high - low))
