"""A simulated engine held against a real one: every iteration, and how large the errors are.

- Left: predicted against measured time of each iteration, both axes logarithmic; on the line they are
  equal, and the band is 10 % either way.
- Right: which share of the errors is at most so large; of the predictions, and of measuring twice,
  which no prediction can beat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from llmos.plot.looks import QUIET, RULE, look
from llmos.plot.page import BODY_WIDTH, HEAD, decades, head, page, style

HEIGHT, BELOW = 3.0, 0.9
"""Of the axes, and of what is under them: labels, and the key of the second."""
LEFT, BETWEEN = 0.65, 0.3
BAND = 0.10
KINDS = ("decode", "prefill", "mixed")
MARKS = ("o", "^", "s")
SMALLEST_ERROR = 1e-3


def draw_validation(document: Mapping[str, Any]) -> Figure:
    """Return the picture of what `llmos validate --json` prints."""
    points = document["points"]["iteration"]
    measured, predicted, again = (np.array(points[name]) for name in ("measured", "predicted", "again"))
    pressure = document["pressure_percent"]
    facts = [
        f"{document['model']} {document['dtype']} on {document['device']} ({document['clock']})",
        f"{document['requests']} requests under {document['scheduler']}, seed {document['seed']}; pressure "
        + ("unknown" if pressure is None else f"{pressure:.1f} %"),
        f"profile: {document['profile']}",
    ]
    width = (BODY_WIDTH - 2 * LEFT - BETWEEN) / 2
    with style():
        sheet = page("Does the simulated engine take the time of the real one?", facts, HEAD + HEIGHT + BELOW)
        paper = sheet.paper()
        small = f"{len(measured)} iterations; band: {BAND:.0%} either way"
        head(paper, LEFT, 0, width, "Predicted against measured", small)
        _scatter(sheet.axes(LEFT, HEAD, width, HEIGHT), measured, predicted, points["kind"])
        left = 2 * LEFT + width + BETWEEN
        head(paper, left, 0, width, "How large the errors are", "share of iterations with at most this error")
        _errors(sheet.axes(left, HEAD, width, HEIGHT), predicted / measured - 1, again / measured - 1)
    return sheet.figure


def _scatter(ax: Axes, measured: Any, predicted: Any, kinds: Sequence[str]) -> None:
    ends = np.array([min(measured.min(), predicted.min()) / 1.2, max(measured.max(), predicted.max()) * 1.2])
    ends *= 1e9
    ax.fill_between(ends, ends * (1 - BAND), ends * (1 + BAND), color=RULE, lw=0, alpha=0.6, zorder=0)
    ax.plot(ends, ends, color=QUIET, lw=0.8, zorder=1)
    for i, kind in enumerate(KINDS):
        chosen = np.array([each == kind for each in kinds])
        if chosen.any():
            ax.scatter(
                measured[chosen] * 1e9, predicted[chosen] * 1e9, s=10, marker=MARKS[i], linewidths=0,
                color=look(i).colour, alpha=0.7, label=f"{kind} ({chosen.sum()})", zorder=2,
            )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="measured", ylabel="predicted")
    for axis in (ax.xaxis, ax.yaxis):
        decades(axis, timed=True)
    ax.legend(frameon=False, loc="upper left", handletextpad=0.2)


def _errors(ax: Axes, predicted: Any, again: Any) -> None:
    for i, (name, errors) in enumerate((("predicted", predicted), ("measured again", again))):
        sizes = np.sort(np.maximum(np.abs(errors), SMALLEST_ERROR))
        shares = np.arange(1, len(sizes) + 1) / len(sizes)
        label = f"{name}: median {np.median(np.abs(errors)):.1%}, p95 {np.quantile(np.abs(errors), 0.95):.1%}"
        ax.step(
            sizes, shares, where="post", color=look(i).ink, dashes=look(i).dash or (None, None), label=label
        )
    ax.set(xscale="log", ylim=(0, 1.02), xlabel="error")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.4g}" if x < 0.001 else f"{x:.1%}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0%}"))
    ax.grid(visible=True, color=RULE, lw=0.6)
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(-0.02, -0.13), borderaxespad=0)
