"""Miss-ratio curves: each is where its numbers say, and is named."""

import numpy as np
import pytest
from plot.figures import overlaps, panel, words

from llmos.errors import LlmosError
from llmos.plot import miss_ratio
from llmos.scenario.mrc import Curve

SIZES = (1, 4, 16, 64)


def curve(name, ratios, half=(0.0, 0.0, 0.0, 0.0)):
    return Curve(name, SIZES, ratios, half)


LRU = curve("lru", (0.9, 0.6, 0.2, 0.1))
OPT = curve("opt", (0.8, 0.4, 0.15, 0.1))


def test_a_curve_goes_through_its_points_and_has_its_name():
    figure = miss_ratio([LRU, OPT], "How often?", "12 references")
    ax = panel(figure, "miss ratio")
    assert [tuple(line.get_ydata()) for line in ax.lines] == [LRU.ratios, OPT.ratios]
    assert [tuple(line.get_xdata()) for line in ax.lines] == [SIZES, SIZES]
    assert ax.get_ylim()[0] == 0
    assert all(text in words(figure) for text in ("How often?", "12 references", "lru", "opt"))
    assert overlaps(figure) == []


def test_the_same_answers_share_a_curve():
    ax = panel(miss_ratio([LRU, curve("mine.py", LRU.ratios)], "q"), "miss ratio")
    assert [line.get_label() for line in ax.lines] == ["lru = mine.py"]


def test_a_sample_has_its_band():
    half = (0.05, 0.04, 0.03, 0.02)
    ax = panel(miss_ratio([curve("lru", LRU.ratios, half), OPT], "q"), "miss ratio")
    [band] = ax.collections
    corners = band.get_paths()[0].vertices
    for size, ratio, width in zip(SIZES, LRU.ratios, half, strict=True):
        at = sorted(set(np.round(corners[corners[:, 0] == size][:, 1], 9)))
        assert (at[0], at[-1]) == pytest.approx((ratio - width, ratio + width))


def test_one_size_and_no_misses_are_drawn():
    figure = miss_ratio([Curve("lru", (8,), (0.0,), (0.0,))], "q")
    assert "lru" in words(figure)


def test_a_band_that_nobody_knows_is_not_drawn():
    ax = panel(miss_ratio([curve("lru", LRU.ratios, (float("nan"),) * 4)], "q"), "miss ratio")
    assert len(ax.lines) == 1


def test_too_many_curves_are_refused():
    with pytest.raises(LlmosError, match="too many"):
        miss_ratio([curve(str(i), LRU.ratios) for i in range(11)], "q")
