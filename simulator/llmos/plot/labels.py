"""Names written at curves, instead of a legend that sends the eye to and fro.

- `name_ends` writes them in a column behind the curves, `name_lines` among them.
- A name stands close to its own curve, as far from the others as it can, and inside the axes.
- Where curves are so dense that there is no such place, it stands on its curve, or hides as little of
  the others as it can. Two names never share a place while there is another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from llmos.plot.looks import WHITE
from llmos.plot.texts import BODY, POINTS, line, width_of

Points = NDArray[np.float64]
Boxes = NDArray[np.float64]
"""A row for each: left, lower, right and upper end, in pixels."""
GAP = 4.0
"""Between a name and its curve, in points."""
ENOUGH = 25.0
"""Free room that needs no more, in points."""
APART = 8.0
"""Between the dots that stand for a curve, in pixels."""
MOST_SPOTS = 60
"""Along a curve."""
STOREYS = 9
"""Above a curve, and below it: so many names find places where as many curves are one."""
AT_ONCE = 64
"""Spots whose distances are computed together: few enough to stay in the processor's cache."""


def name_lines(ax: Axes, lines: Sequence[Line2D]) -> None:
    """Write the label of each line at it, in its colour. The axes' limits must be final."""
    dot = ax.get_figure().dpi / POINTS  # type: ignore[union-attr]
    paths = [_dots(ax, drawn) for drawn in lines]
    taken = np.empty((0, 4))
    for i, drawn in enumerate(lines):
        name = str(drawn.get_label())
        size = (width_of(name, BODY, bold=True) * POINTS * dot, line(BODY) * POINTS * dot)
        others = np.concatenate([np.empty((0, 2)), *(p for j, p in enumerate(paths) if j != i)])
        spots = _spots(ax, paths[i], size, dot)
        away = _nearest(spots, paths[i])[0] / dot
        spot = int(np.argmax(_rooms(spots, others, taken, dot) - 1.5 * np.abs(away - GAP)))
        left, low, right, high = spots[spot]
        taken = np.concatenate([taken, spots[spot : spot + 1]])
        x, y = ax.transAxes.inverted().transform(((left + right) / 2, (low + high) / 2))
        ground = {"facecolor": WHITE, "linewidth": 0, "pad": 0.5} if away[spot] <= 0 else None
        text = ax.text(x, y, name, transform=ax.transAxes, size=BODY, weight="bold", bbox=ground)
        text.set(color=drawn.get_color(), ha="center", va="center")
        text.set_path_effects([withStroke(linewidth=2.5, foreground=WHITE)])


def name_ends(ax: Axes, lines: Sequence[Line2D]) -> None:
    """Write the label of each line right of the axes, at the height of its end, none over another."""
    if not lines:
        return
    dot = ax.get_figure().dpi / POINTS  # type: ignore[union-attr]
    frame, step = ax.get_window_extent(), line(BODY) * POINTS * dot
    ends = [float(ax.transData.transform(np.column_stack(each.get_data()))[-1, 1]) for each in lines]
    order = sorted(range(len(lines)), key=lambda i: ends[i])
    places = spread([ends[i] for i in order], step)
    places += max(0.0, frame.y0 - float(places[0])) - max(0.0, float(places[-1]) - frame.y1)
    for i, y in zip(order, places, strict=True):
        ax.text(
            1.015, (y - frame.y0) / frame.height, str(lines[i].get_label()), transform=ax.transAxes,
            size=BODY, weight="bold", color=lines[i].get_color(), va="center",
        )  # fmt: skip


def spread(wishes: Sequence[float], step: float) -> Points:
    """Return places at least `step` apart that are, by least squares, nearest to ascending `wishes`.

    Source: pool adjacent violators, of what is left when each place is moved back by its steps.
    """
    pools: list[tuple[float, int]] = []
    for i, wish in enumerate(wishes):
        mean, n = wish - i * step, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, n = (before * many + mean * n) / (many + n), many + n
        pools.append((mean, n))
    means = [mean for mean, n in pools for _ in range(n)]
    return np.asarray(np.array(means) + step * np.arange(len(means)), float)


def _dots(ax: Axes, drawn: Line2D) -> Points:
    """Return dots along a drawn curve, a few pixels apart, in pixels."""
    corners = ax.transData.transform(np.column_stack(drawn.get_data()))
    if drawn.get_drawstyle() == "steps-post":  # First to the right, then up.
        between = np.column_stack([corners[1:, 0], corners[:-1, 1]])
        corners = np.concatenate([np.stack([corners[:-1], between], axis=1).reshape(-1, 2), corners[-1:]])
    out = []
    for a, b in pairwise(corners):
        out.append(np.linspace(a, b, 2 + int(max(np.abs(b - a)) / APART)))
    dots = np.concatenate(out or [corners])
    # Many steps of less than a pixel are one place.
    return np.unique((dots / APART).round(), axis=0) * APART


def _spots(ax: Axes, path: Points, size: tuple[float, float], dot: float) -> Boxes:
    """Return where a name of a size (pixels) could stand: beside, above, below or on its curve."""
    frame = ax.get_window_extent()
    width, height = size
    middle = (path[:, 1] > frame.y0 + 0.06 * frame.height) & (path[:, 1] < frame.y0 + 0.97 * frame.height)
    path = path[middle] if middle.any() else path
    x, y = path[:: max(1, len(path) // MOST_SPOTS)].T[:, :, None]
    lefts = np.hstack([x + GAP * dot, x - GAP * dot - width, x - width / 2])
    above = y + GAP * dot + height * np.arange(STOREYS)
    lows = np.hstack([y - height / 2, above, y - (above - y) - height])
    left, low = (each.ravel() for each in np.broadcast_arrays(lefts[:, :, None], lows[:, None, :]))
    # A name that would stick out moves in.
    left = np.minimum(np.maximum(left, frame.x0 + 2 * dot), frame.x1 - width)
    low = np.minimum(np.maximum(low, frame.y0 + 2 * dot), frame.y1 - height)
    return np.column_stack([left, low, left + width, low + height])


def _rooms(spots: Boxes, others: Points, taken: Boxes, dot: float) -> Points:
    """Return how much room each spot has (points), less for what it hides; none where a name stands."""
    far, hidden = _nearest(spots, others)
    room = np.minimum(far / dot, ENOUGH) - hidden * APART / dot
    s, t = spots[:, None, :], taken[None, :, :] + GAP * dot * np.array([-1, 0, 1, 0])
    apart = (
        (s[..., 0] >= t[..., 2])
        | (t[..., 0] >= s[..., 2])
        | (s[..., 1] >= t[..., 3])
        | (t[..., 1] >= s[..., 3])
    )
    return np.where(apart.all(axis=1), room, -np.inf)


def _nearest(spots: Boxes, dots: Points) -> tuple[Points, Points]:
    """Return how far each spot is from the nearest dot (pixels), and how many dots are under it."""
    x, y = dots[:, 0], dots[:, 1]
    far, under = np.empty(len(spots)), np.empty(len(spots))
    for i in range(0, len(spots), AT_ONCE):
        left, low, right, high = (column[:, None] for column in spots[i : i + AT_ONCE].T)
        dx, dy = np.maximum(left - x, x - right).clip(0), np.maximum(low - y, y - high).clip(0)
        squares = dx * dx + dy * dy
        far[i : i + AT_ONCE] = np.sqrt(squares.min(axis=1, initial=np.inf))
        under[i : i + AT_ONCE] = (squares <= 0).sum(axis=1)
    return far, under
