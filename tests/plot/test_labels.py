"""Names at curves: each has a place of its own, also where the curves are one."""

from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from llmos.plot.labels import name_lines
from llmos.plot.page import style


@pytest.mark.parametrize("height", [0.08, 0.5])
@pytest.mark.parametrize("many", [4, 8])
def test_names_of_curves_that_lie_together_do_not_cover_each_other(many, height):
    """Tasks with little work beside one with much: all of theirs lie at the foot of the picture."""
    with style():
        figure = Figure(figsize=(8, 3.2), dpi=100)
        canvas = FigureCanvasAgg(figure)
        ax = figure.add_axes((0.1, 0.1, 0.8, 0.8))
        # Only their ends are high enough for a name beside them.
        path = ([0, 0.97, 0.97, 1], [0, 0, height, height])
        lines = [ax.plot(*path, label=f"light-{i}")[0] for i in range(many)]
        ax.set(xlim=(0, 1), ylim=(0, 1))
        name_lines(ax, lines)
        canvas.draw()
        boxes = [text.get_window_extent(canvas.get_renderer()) for text in ax.texts]
    assert len(boxes) == many
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    frame = ax.get_window_extent()
    assert all(frame.y0 <= box.y0 and box.y1 <= frame.y1 + 1 for box in boxes)
