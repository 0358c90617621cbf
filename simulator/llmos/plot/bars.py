"""Policies side by side: one panel per metric, one row of panels per world.

- A bar is the mean over the seeds, from zero; its whisker is the 95 % confidence interval. One seed
  has none.
- A policy looks the same in every panel, so that one can be followed from CPU tasks to requests.
- Each panel says its unit and which direction is better. The best mean is bold; whether it is better by
  more than chance, the whiskers tell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from llmos.errors import LlmosError, did_you_mean
from llmos.plot.looks import INK, QUIET, WHITE, look
from llmos.plot.page import BODY_WIDTH, Page, nothing, page, style
from llmos.plot.texts import BODY, HEADING, SMALL, clean, line, shorten, width_of
from llmos.plot.words import SUBJECTS, Unit, Wording, caption, is_metric, number, wording
from llmos.scenario.compare import Comparison, Estimate, estimate

DEFAULT = {
    "cpu": ("cpu.response_mean_ns", "cpu.turnaround_mean_ns", "cpu.slowdown_p95"),
    "llm": ("llm.ttft_mean_ns", "llm.turnaround_mean_ns", "llm.slowdown_p95"),
    "memory": ("memory.major_faults", "memory.faults_per_1000", "memory.effective_access_mean_ns"),
}
"""Per world: how soon it begins, how soon it is done, and whether somebody starves for that; of the memory:
how often a reference faults, and what it costs in the end."""
MOST_PANELS = 4
"""In one row."""
NAMES = (0.9, 1.7)
"""The least and the most room for the schedulers' names, in inches."""
BETWEEN, BETWEEN_ROWS = 0.3, 0.2
BAR = 0.27
"""From bar to bar, in inches."""
THICK = 0.72
"""Of that, the bar."""

Answers = list[Estimate | None]


@dataclass(frozen=True, slots=True)
class _Panel:
    metric: str
    title: str
    words: Wording
    answers: Answers


def comparison(comparison: Comparison, metrics: Sequence[str] | None = None) -> Figure:
    """Return bars for `metrics` ("cpu.response_mean_ns").

    Left out: for those that the scenario asks for, or else for three of each world that ran.

    Raises LlmosError when there is no such metric; the message names those that there are.
    """
    there = {name: None for column in comparison.columns for name in column.values}
    if not there:
        return _nothing(comparison, "no policy has a result to compare.")
    chosen = _chosen(there, comparison.asked if metrics is None else metrics)
    if not chosen:
        return _nothing(
            comparison, f"there are results, but none of the usual ones. Ask for {', '.join(there)}."
        )
    rows = [_panels(comparison, row) for row in _rows(chosen)]
    with style():
        sheet = _draw(comparison, rows, _caption(comparison, *_remarks(rows)))
    return sheet.figure


def _caption(comparison: Comparison, *remarks: str) -> list[str]:
    return caption(comparison.scenario, comparison.seeds, comparison.convention, comparison.profile, *remarks)


def _nothing(comparison: Comparison, why: str) -> Figure:
    return nothing(comparison.question, _caption(comparison), f"Nothing to show: {why}")


def _chosen(there: dict[str, None], metrics: Sequence[str]) -> list[str]:
    if not metrics:
        return [name for names in DEFAULT.values() for name in names if name in there]
    for name in metrics:
        if name not in there and not is_metric(name):
            hint = did_you_mean(name, there) or f"there are: {', '.join(there)}"
            raise LlmosError(f'unknown metric "{name}"', hint=hint)
    return list(dict.fromkeys(metrics))


def _rows(metrics: Sequence[str]) -> list[list[str]]:
    """Return the metrics by world, a few in each row."""
    worlds: dict[str, list[str]] = {}
    for name in metrics:
        worlds.setdefault(name.partition(".")[0], []).append(name)
    return [
        names[i : i + MOST_PANELS] for names in worlds.values() for i in range(0, len(names), MOST_PANELS)
    ]


def _panels(comparison: Comparison, row: Sequence[str]) -> list[_Panel]:
    return [_Panel(name, *wording(clean(name)), _answers(comparison, name)) for name in row]


def _answers(comparison: Comparison, metric: str) -> Answers:
    """Return each scheduler's estimate, None where it has no number."""
    numbers = ([v for v in column.values.get(metric, []) if isfinite(v)] for column in comparison.columns)
    return [estimate(values) if values else None for values in numbers]


def best(answers: Answers, better: str) -> set[int]:
    """Return which answers have the best mean; none if that is all of them, or if neither way is better."""
    means = {i: a.mean if better == "lower" else -a.mean for i, a in enumerate(answers) if a is not None}
    first = {i for i, mean in means.items() if mean == min(means.values())}
    return first if better and len(first) < len(means) else set()


def _remarks(rows: Sequence[Sequence[_Panel]]) -> list[str]:
    """Return what the caption says about bars, whiskers and bold numbers."""
    panels = [panel for row in rows for panel in row]
    several = any(a and a.half_width is not None for panel in panels for a in panel.answers)
    out = ["bar: mean over the seeds, whisker: its 95 % confidence interval"] if several else []
    if any(best(panel.answers, panel.words.better) for panel in panels):
        out.append("bold: the best mean" if several else "bold: the best")
    return out


# --- drawing ------------------------------------------------------------------------------------------


def _draw(comparison: Comparison, rows: Sequence[Sequence[_Panel]], caption: Sequence[str]) -> Page:
    names = [clean(column.name) for column in comparison.columns]
    left = min(max(NAMES[0], *(width_of(n[:200], BODY) + 0.1 for n in names)), NAMES[1])
    left = max(left, *(width_of(_world(row), HEADING, bold=True) + 0.15 for row in rows))
    panels = max(map(len, rows))
    width = (BODY_WIDTH - left - BETWEEN * (panels - 1)) / panels
    prints = [[_small_print(p, width) for p in row] for row in rows]
    heads = [line(HEADING) + max(map(len, texts)) * line(SMALL) + 0.06 for texts in prints]
    bars = BAR * len(names)
    tops = [0.0]
    for head in heads:
        tops.append(tops[-1] + head + bars + BETWEEN_ROWS)
    sheet = page(comparison.question or comparison.scenario, caption, tops[-1] - BETWEEN_ROWS + 0.08)
    paper = sheet.paper()
    for row, texts, head, (top, _) in zip(rows, prints, heads, pairwise(tops), strict=True):
        paper.text(0, top, _world(row), size=HEADING, weight="bold", va="top")
        for i, name in enumerate(names):
            short = shorten(name, left - 0.1, BODY, middle=True)
            paper.text(left - 0.1, top + head + (i + 0.5) * BAR, short, size=BODY, ha="right", va="center")
        for i, (panel, text) in enumerate(zip(row, texts, strict=True)):
            x = left + i * (width + BETWEEN)
            size = HEADING if width_of(panel.title[:200], HEADING) <= width else SMALL
            paper.text(x, top, shorten(panel.title, width, size), size=size, va="top")
            for j, each in enumerate(text):
                y = top + line(HEADING) + j * line(SMALL)
                paper.text(x, y, each, size=SMALL, color=QUIET, va="top")
            _bars(sheet.axes(x, top + head, width, bars), width, panel, names)
    return sheet


def _small_print(panel: _Panel, width: float) -> list[str]:
    """Return statistic, unit and direction on one line, or on two when they do not fit."""
    text = panel.words.small_print(_unit(panel))
    parts = [text] if width_of(text, SMALL) <= width else text.split(", ")
    return [shorten(part, width, SMALL) for part in parts]


def _world(row: Sequence[_Panel]) -> str:
    return SUBJECTS.get(row[0].words.world, row[0].words.world)


def _unit(panel: _Panel) -> Unit:
    return panel.words.unit([abs(a.mean) for a in panel.answers if a])


def _bars(ax: Axes, width: float, panel: _Panel, names: Sequence[str]) -> None:
    """Draw one panel, `width` inches wide: bars from the top down, a number at the end of each."""
    unit, bold = _unit(panel), best(panel.answers, panel.words.better)
    ends: list[float] = []
    for i, (answer, name) in enumerate(zip(panel.answers, names, strict=True)):
        mean = answer.mean / unit.size if answer else 0.0
        half = (answer.half_width or 0.0) / unit.size if answer else 0.0
        seen = look(i)
        [bar] = ax.barh(i, mean, THICK, color=seen.colour, zorder=2)
        bar.set(label=name, hatch=seen.hatch, edgecolor=seen.hatch_colour, linewidth=0)
        if half:
            whisker = ax.errorbar(
                mean, i, xerr=half, fmt="none", ecolor=INK, elinewidth=1.1, capsize=2.5, zorder=3
            )
            for part in (*whisker.lines[1], *whisker.lines[2]):
                part.set_path_effects([withStroke(linewidth=2.6, foreground=WHITE)])
        ends.append(max(mean + half, 0.0))
    texts = [number(a.mean / unit.size) if a else "no result" for a in panel.answers]
    wide = [width_of(text, BODY, bold=True) + 0.12 for text in texts]
    scale = min((width - w) / end for w, end in zip(wide, ends, strict=True) if end) if any(ends) else 1.0
    for i, (text, answer) in enumerate(zip(texts, panel.answers, strict=True)):
        weight = "bold" if i in bold else "normal"
        colour = INK if answer else QUIET
        ax.text(ends[i] + 0.06 / scale, i, text, size=BODY, weight=weight, color=colour, va="center")
    lowest = min([a.mean / unit.size for a in panel.answers if a], default=0.0)
    ax.set(xlim=(min(0.0, lowest), width / scale), ylim=(len(names) - 0.5, -0.5), xticks=[], yticks=[])
    ax.set_label(panel.metric)
    ax.spines["bottom"].set_visible(False)
