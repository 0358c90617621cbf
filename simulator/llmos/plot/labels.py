"""Names written at curves, instead of a legend that sends the eye to and fro.

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
from llmos.plot.page import BODY, POINTS, line, width_of

Points = NDArray[np.float64]
Box = tuple[float, float, float, float]
"""Left, lower, right and upper end, in pixels."""
GAP = 4.0
"""Between a name and its curve, in points."""
ENOUGH = 25.0
"""Free room that needs no more, in points."""


def name_lines(ax: Axes, lines: Sequence[Line2D]) -> None:
    """Write the label of each line at it, in its colour. The axes' limits must be final."""
    dot = ax.get_figure().dpi / POINTS  # type: ignore[union-attr]
    paths = [_dots(ax, drawn) for drawn in lines]
    taken: list[Box] = []
    for i, drawn in enumerate(lines):
        name = str(drawn.get_label())
        size = (width_of(name, BODY, bold=True) * POINTS * dot, line(BODY) * POINTS * dot)
        others = np.concatenate([p for j, p in enumerate(paths) if j != i] or [np.empty((0, 2))])
        spots = _spots(ax, paths[i], size, dot)
        rooms = [_room(spot, paths[i], others, taken, dot) for spot in spots]
        spot = spots[int(np.argmax(rooms))]
        taken.append(spot)
        x, y = ax.transAxes.inverted().transform(((spot[0] + spot[2]) / 2, (spot[1] + spot[3]) / 2))
        on_line = _distance(spot, paths[i]) <= 0
        ground = {"facecolor": WHITE, "linewidth": 0, "pad": 0.5} if on_line else None
        text = ax.text(x, y, name, transform=ax.transAxes, size=BODY, weight="bold", bbox=ground)
        text.set(color=drawn.get_color(), ha="center", va="center")
        text.set_path_effects([withStroke(linewidth=2.5, foreground=WHITE)])


def _spots(ax: Axes, path: Points, size: tuple[float, float], dot: float) -> list[Box]:
    """Return where a name of a size (pixels) could stand: beside, above, below or on its curve."""
    frame = ax.get_window_extent()
    width, height = size
    middle = (path[:, 1] > frame.y0 + 0.06 * frame.height) & (path[:, 1] < frame.y0 + 0.97 * frame.height)
    path = path[middle] if middle.any() else path
    spots = []
    for x, y in path[:: max(1, len(path) // 150)]:
        for left in (x + GAP * dot, x - GAP * dot - width, x - width / 2):
            for low in (y - height / 2, y + GAP * dot, y - height - GAP * dot):
                # A name that would stick out moves in.
                left_in = min(max(left, frame.x0 + 2 * dot), frame.x1 - width)
                low_in = min(max(low, frame.y0 + 2 * dot), frame.y1 - height)
                spots.append((left_in, low_in, left_in + width, low_in + height))
    return spots


def _dots(ax: Axes, drawn: Line2D) -> Points:
    """Return dots along a drawn curve, a few pixels apart, in pixels."""
    corners = ax.transData.transform(np.column_stack(drawn.get_data()))
    out = []
    for (x0, y0), (x1, y1) in pairwise(corners):
        # First to the right, then up.
        across, up = max(2, int(abs(x1 - x0) / 4)), max(2, int(abs(y1 - y0) / 4))
        out.append(np.column_stack([np.linspace(x0, x1, across), np.full(across, y0)]))
        out.append(np.column_stack([np.full(up, x1), np.linspace(y0, y1, up)]))
    return np.concatenate(out)


def _room(spot: Box, own: Points, others: Points, taken: Sequence[Box], dot: float) -> float:
    """Return how well a name stands at `spot`: room around it, near its own curve (points)."""
    if any(spot[0] < t[2] and t[0] < spot[2] and spot[1] < t[3] and t[1] < spot[3] for t in taken):
        return -float("inf")
    room = min(_distance(spot, others) / dot, ENOUGH) - _hidden(spot, others) / dot
    return room - 1.5 * abs(_distance(spot, own) / dot - GAP)


def _hidden(spot: Box, dots: Points) -> int:
    """Return how many dots are under a name."""
    x, y = dots[:, 0], dots[:, 1]
    return int(((x >= spot[0]) & (x <= spot[2]) & (y >= spot[1]) & (y <= spot[3])).sum())


def _distance(spot: Box, dots: Points) -> float:
    if not len(dots):
        return float("inf")
    dx = np.maximum(np.maximum(spot[0] - dots[:, 0], dots[:, 0] - spot[2]), 0)
    dy = np.maximum(np.maximum(spot[1] - dots[:, 1], dots[:, 1] - spot[3]), 0)
    return float(np.hypot(dx, dy).min())
