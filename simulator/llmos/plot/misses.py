"""Miss-ratio curves: the share of references that miss against the number of pages that fit.

- One curve per policy; its name stands at it. The horizontal axis is logarithmic.
- The band around a curve from a sample is its 95 % band.
- Lower is better; where a curve falls, that many pages more are worth having.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from llmos.errors import LlmosError
from llmos.plot.labels import name_lines
from llmos.plot.looks import QUIET, RULE, look
from llmos.plot.page import BODY_WIDTH, decades, page, style
from llmos.plot.texts import BODY, shorten
from llmos.scenario.mrc import Curve

HEIGHT = 3.6
LEFT = 0.6
MOST_CURVES = 10
LONGEST_NAME, LONGEST_JOINED = 1.8, 3.4


def miss_ratio(curves: Sequence[Curve], title: str, about: str = "") -> Figure:
    """Return the curves of several policies over the same sizes; `about` goes into the caption.

    Raises LlmosError when they are too many to tell apart.
    """
    if len(curves) > MOST_CURVES:
        hint = f"draw at most {MOST_CURVES}; a .csv file takes them all"
        raise LlmosError(f"{len(curves)} curves in one picture are too many to tell apart", hint=hint)
    with style():
        sheet = page(title, [about], HEIGHT + 0.42)
        ax = sheet.axes(LEFT, 0, BODY_WIDTH - LEFT - 0.1, HEIGHT)
        ax.set_label("miss ratio")
        ax.set_ylabel("references that miss", color=QUIET)
        ax.set_xlabel("pages that fit (logarithmic scale)", color=QUIET)
        _panel(ax, curves)
    return sheet.figure


def _panel(ax: Axes, curves: Sequence[Curve]) -> None:
    sizes = [size for curve in curves for size in curve.sizes]
    ax.set_xscale("log")
    ax.set_xlim(min(sizes) / 1.05, max(sizes) * 1.05 + (min(sizes) == max(sizes)))
    decades(ax.xaxis, timed=False)
    ax.set_ylim(0, 1.05 * max((r for curve in curves for r in curve.ratios if r > 0), default=1.0))
    ax.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.4g} %"))
    ax.grid(visible=True, axis="y", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
    for i, (curve, name) in enumerate(_named(curves)):
        seen, ratios, half = look(i), np.array(curve.ratios), np.array(curve.half_widths)
        if half.any():
            ax.fill_between(
                curve.sizes, ratios - half, ratios + half, color=seen.colour, alpha=0.2, linewidth=0
            )
        marker = "o" if len(curve.sizes) == 1 else None
        [line] = ax.plot(curve.sizes, ratios, color=seen.ink, linewidth=1.7, label=name, marker=marker)
        line.set_dashes(seen.dash or (None, None))
    name_lines(ax, ax.lines)


def _named(curves: Sequence[Curve]) -> list[tuple[Curve, str]]:
    """Return the curves to draw with their names; policies with the very same answers share one."""
    named: dict[tuple[float, ...], tuple[Curve, str]] = {}
    for curve in curves:
        name = shorten(curve.policy, LONGEST_NAME, BODY, bold=True, middle=True)
        same = named.get(curve.ratios)
        named[curve.ratios] = (same[0], f"{same[1]} = {name}") if same else (curve, name)
    return [(curve, shorten(name, LONGEST_JOINED, BODY, bold=True)) for curve, name in named.values()]
