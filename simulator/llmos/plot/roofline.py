"""The roofline: what a machine can compute against how much an operation computes for each byte it moves.

- Both axes are logarithmic. The slope is the memory: bandwidth times FLOPs per byte. A level roof is the
  most FLOP/s of one kind of arithmetic. Where they meet is the ridge: left of it only bytes count.
- A point is an operation; its whisker goes from its slowest decile to its fastest sample. Points of one
  group look alike, and the group's name stands at them.

Source: S. Williams, A. Waterman, D. Patterson, Roofline, CACM 52(4), 2009.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from llmos.costs.ops import DTYPE_BYTES, Op, show_family
from llmos.costs.profile import Profile
from llmos.plot.labels import name_ends, name_lines
from llmos.plot.load import MARKS
from llmos.plot.looks import QUIET, RULE, look
from llmos.plot.page import BODY_WIDTH, nothing, page, style
from llmos.plot.texts import BODY, SMALL, line, shorten

HEIGHT = 4.2
LEFT, RIGHT = 0.75, 1.5
MOST_FAMILIES = 16
"""Families of a profile that are groups of their own; if it has more, those that differ in dtype are one."""
MOST_NAMED = 6
"""Groups with their names at their points; more have them in a key below."""
COLUMNS = 4
LONGEST_NAME = 1.9
RATES = (("PFLOP/s", 1e15), ("TFLOP/s", 1e12), ("GFLOP/s", 1e9), ("MFLOP/s", 1e6), ("FLOP/s", 1.0))


@dataclass(frozen=True, slots=True)
class Point:
    """One operation: FLOPs per byte, and FLOP/s with their interval; `group` is what it is one of."""

    group: str
    intensity: float
    flops_per_s: float
    low: float
    high: float


def roofline(
    title: str,
    peak_flops: Mapping[str, float],
    bandwidth_bytes_per_s: float,
    points: Sequence[Point],
    caption: Sequence[str] = (),
) -> Figure:
    """Return the roofs of a machine, by kind of arithmetic, with the operations under them."""
    if not points:
        return nothing(title, caption, "Nothing to show: none of these operations computes anything.")
    groups = list(dict.fromkeys(point.group for point in points))
    key = -(-(1 + len(groups)) // COLUMNS) * line(BODY) + 0.1 if len(groups) > MOST_NAMED else 0.0
    with style():
        sheet = page(title, caption, HEIGHT + 0.42 + key)
        ax = sheet.axes(LEFT, 0, BODY_WIDTH - LEFT - RIGHT, HEIGHT)
        ax.set_label("roofline")
        _axes(ax, peak_flops, bandwidth_bytes_per_s, points)
        slope = _roofs(ax, peak_flops, bandwidth_bytes_per_s)
        lines = _points(ax, groups, points)
        if key:
            _key(ax, [slope, *lines])
        else:
            name_lines(ax, [slope, *lines])
    return sheet.figure


def profile_roofline(profile: Profile) -> Figure:
    """Return the roofline of a profile, with its measured rows, a group for each family of operations."""
    families = {show_family(row.op) for row in profile.rows}
    shown = show_family if len(families) <= MOST_FAMILIES else _of_any_dtype
    points = [
        Point(shown(row.op), row.op.flops / row.op.bytes, row.op.flops / row.seconds,
              row.op.flops / row.high, row.op.flops / row.low)
        for row in profile.rows
        if row.op.flops and row.op.link == "memory"
    ]  # fmt: skip
    return roofline(
        f"How near do operations come to what {profile.device} can do?",
        {name: rate * profile.compute_efficiency for name, rate in profile.peak_flops.items()},
        profile.bandwidth_bytes_per_s * profile.memory_efficiency,
        points,
        [f"{profile.provenance}; {profile.clock}"],
    )


def _of_any_dtype(op: Op) -> str:
    """Return the family without its dtype: "matmul int4"."""
    return " ".join(word for word in show_family(op).split() if word not in DTYPE_BYTES).replace("_", " ")


def _axes(ax: Axes, peaks: Mapping[str, float], bandwidth: float, points: Sequence[Point]) -> None:
    ridges = [peak / bandwidth for peak in peaks.values()]
    xs, ys = [point.intensity for point in points], [point.low for point in points]
    low, high = min([*xs, *ridges]) / 2, max([*xs, *ridges]) * 2
    ax.set(xscale="log", yscale="log", xlim=(low, high))
    ax.set_ylim(min([*ys, low * bandwidth]) / 1.5, 2 * max([*peaks.values(), *(p.high for p in points)]))
    ax.set_xlabel("FLOPs per byte moved", color=QUIET)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(numticks=8))
        axis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.4g}"))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: rate(y)))
    ax.grid(visible=True, color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)


def _roofs(ax: Axes, peaks: Mapping[str, float], bandwidth: float) -> Line2D:
    """Draw the slope as far as the highest ridge, which it returns, and a roof from each ridge on."""
    left, right = ax.get_xlim()
    highest = max(peaks.values())
    [slope] = ax.plot(
        [left, highest / bandwidth], [left * bandwidth, highest], color=QUIET, linewidth=1.4,
        label=f"{bandwidth / 1e9:,.4g} GB/s",
    )  # fmt: skip
    level = []
    for name, peak in peaks.items():
        label = shorten(f"{name} {rate(peak)}", RIGHT, BODY, bold=True)
        level += ax.plot([peak / bandwidth, right], [peak, peak], color=QUIET, linewidth=1.4, label=label)
    name_ends(ax, level)
    return slope


def _points(ax: Axes, groups: Sequence[str], points: Sequence[Point]) -> list[Line2D]:
    """Draw the points of each group with their whiskers; return the groups."""
    lines = []
    for i, group in enumerate(groups):
        seen, members = look(i), sorted((p for p in points if p.group == group), key=lambda p: p.intensity)
        xs = [p.intensity for p in members]
        ax.vlines(xs, [p.low for p in members], [p.high for p in members], color=seen.ink, linewidth=0.9)
        size = SMALL if len(groups) > MOST_NAMED else BODY
        name = shorten(group, LONGEST_NAME, size, bold=size == BODY, middle=True)
        lines += ax.plot(
            xs, [p.flops_per_s for p in members], linestyle="none", color=seen.ink, label=name,
            marker=MARKS[i % len(MARKS)], markersize=5 if len(members) < 40 else 3,
        )  # fmt: skip
    return lines


def _key(ax: Axes, lines: Sequence[Line2D]) -> None:
    """Write all groups below the axes, each behind its mark."""
    ax.legend(
        handles=lines, loc="upper left", bbox_to_anchor=(-0.1, -0.1), ncols=COLUMNS, frameon=False,
        fontsize=SMALL, handletextpad=0.2, columnspacing=1.2, borderpad=0,
    )  # fmt: skip


def rate(flops_per_s: float) -> str:
    """Write a rate with the largest unit that it fills: "12.5 GFLOP/s"."""
    name, size = next(((name, size) for name, size in RATES if flops_per_s >= size), RATES[-1])
    return f"{flops_per_s / size:,.3g} {name}"
