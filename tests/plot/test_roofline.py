"""The roofline: roofs meet the slope at their ridges, and points stand where their rates say."""

import pytest
from plot.figures import overlaps, panel, words

from llmos.costs.profile import load_profile
from llmos.plot.roofline import MOST_NAMED, Point, profile_roofline, rate, roofline

PEAKS, BANDWIDTH = {"fp32": 80e9, "bf16": 20e9}, 10e9


def point(group="eager", intensity=4.0, flops_per_s=30e9):
    return Point(group, intensity, flops_per_s, flops_per_s / 2, flops_per_s * 1.1)


def drawn(ax, label):
    [line] = [line for line in ax.lines if line.get_label().startswith(label)]
    return list(zip(*line.get_data(), strict=True))


def test_each_roof_begins_where_the_memory_is_as_fast():
    ax = panel(roofline("q", PEAKS, BANDWIDTH, [point()]), "roofline")
    (low, under), top = drawn(ax, "10 GB/s")
    assert under == pytest.approx(low * 10e9)
    assert top == (8, 80e9)
    assert drawn(ax, "fp32")[0] == (8, 80e9)
    assert drawn(ax, "bf16")[0] == (2, 20e9)
    assert drawn(ax, "bf16")[1][1] == 20e9


def test_a_point_is_where_it_was_measured_with_its_whisker():
    ax = panel(roofline("q", PEAKS, BANDWIDTH, [point(), point("int8", 9.0, 50e9)]), "roofline")
    assert drawn(ax, "eager") == [(4, 30e9)]
    assert drawn(ax, "int8") == [(9, 50e9)]
    [(first, second)] = [tuple(map(tuple, whisker.get_segments()[0])) for whisker in ax.collections[:1]]
    assert (first[1], second[1]) == pytest.approx((15e9, 33e9))


def test_all_is_named_and_nothing_covers_anything():
    points = [point(f"variant {i}", 2.0**i, 10e9 * (1 + i)) for i in range(4)]
    figure = roofline("How near?", PEAKS, BANDWIDTH, points, ["of this machine"])
    said = words(figure)
    for text in (
        "How near?",
        "of this machine",
        "fp32 80 GFLOP/s",
        "bf16 20 GFLOP/s",
        "10 GB/s",
        "variant 3",
    ):
        assert text in said
    assert overlaps(figure) == []


def test_of_many_groups_there_is_a_key_that_covers_nothing():
    points = [point(f"variant {i}", 2.0**i, 10e9) for i in range(MOST_NAMED + 5)]
    figure = roofline("How near?", PEAKS, BANDWIDTH, points, ["of this machine"])
    assert all(f"variant {i}" in words(figure) for i in range(MOST_NAMED + 5))
    assert overlaps(figure) == []


def test_points_and_roofs_are_inside_of_the_axes():
    points = [point(intensity=0.01, flops_per_s=1e6), point(intensity=1e4, flops_per_s=79e9)]
    ax = panel(roofline("q", PEAKS, BANDWIDTH, points), "roofline")
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    assert all(left < p.intensity < right and bottom < p.low and p.high < top for p in points)
    assert top > 80e9


def test_a_profile_has_its_rows_in_it():
    profile = load_profile("reference-cpu")
    figure = profile_roofline(profile)
    ax = panel(figure, "roofline")
    computing = [row for row in profile.rows if row.op.flops]
    markers = [line for line in ax.lines if line.get_linestyle() == "None"]
    assert sum(len(line.get_xdata()) for line in markers) == len(computing)
    assert "matmul int4" in words(figure)  # of so many families those that differ in dtype are one
    assert "matmul bf16" not in words(figure)
    assert "…" not in words(figure)
    assert profile.provenance in words(figure)
    assert overlaps(figure) == []


def test_a_data_sheet_has_no_points_and_says_so():
    assert "Nothing to show" in words(profile_roofline(load_profile("h100-data-sheet")))


@pytest.mark.parametrize(
    ("value", "written"),
    [(12.5e9, "12.5 GFLOP/s"), (1e15, "1 PFLOP/s"), (3.0, "3 FLOP/s"), (989e12, "989 TFLOP/s")],
)
def test_rates_are_written_in_the_largest_unit_that_they_fill(value, written):
    assert rate(value) == written
