"""The key below a timeline: tasks whose name found no room above, and what the marks mean.

- A key of more than two dozen tasks would explain nothing: it holds those that had the most time, and
  the caption says so.
- Entries stand side by side and go on in the next line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.markers import MarkerStyle
from matplotlib.patches import Rectangle
from matplotlib.path import Path

from llmos.plot.layout import LEFT, MOST_IN_KEY, Chart
from llmos.plot.looks import IDLE, INK, KERNEL, Look, look
from llmos.plot.page import BODY_WIDTH
from llmos.plot.texts import SMALL, line, shorten, width_of
from llmos.trace.records import Mode

CUT = MarkerStyle(Path([(0, -0.5), (0, 0.5), (-0.9, 0), (0, -0.5)], closed=True))
"""A preemption's mark: an arrow head back from where the task was cut off."""
CUT_SIZE = 9.0
"""Its height in points, where there is room."""
LINE = line(SMALL) * 1.25
SWATCH = 0.22
BETWEEN = 0.17
LONGEST_NAME = 1.5
LONGEST = 5
"""Tasks in a key that cannot hold all."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the key: a swatch or mark of this kind, and what it means."""

    kind: str
    text: str
    look: Look | None = None

    @property
    def width(self) -> float:
        """Its width with the space behind it, in inches."""
        return SWATCH + 0.06 + width_of(self.text, SMALL) + BETWEEN


def entries(chart: Chart) -> list[Entry]:
    """Return what must be explained."""
    state, out = chart.state, []
    folded = all(row.folded for row in chart.rows)
    for pid in _explained(chart):
        name = shorten(state.tasks[pid].name, LONGEST_NAME, SMALL, middle=True)
        out.append(Entry("folded" if folded else "task", name, chart.look(pid)))
    if any(part.area for part in chart.parts):
        out += [Entry("area", "before the first token", look(0)), Entry("area", "after it", look(3))]
    if any(part.world == "llm" and part.rows for part in chart.parts):
        out.append(Entry("strip", "until the first token"))
    if chart.marked:
        out.append(Entry("preempted", "preempted"))
    if chart.marks.kernel:
        out.append(Entry("kernel", "kernel"))
    if any(p.spent_ns[Mode.IDLE] or not p.is_core for p in state.processors.values()):
        out.append(Entry("idle", "idle"))
    return out


def _explained(chart: Chart) -> list[int]:
    """Return the tasks without a name above; of too many, those that had the most time."""
    pids = chart.unnamed
    if len(pids) > MOST_IN_KEY:
        pids = sorted(pids, key=lambda pid: (-chart.state.tasks[pid].cpu_ns, pid))[:LONGEST]
    return sorted(pids)


def flow(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Return the entries in lines no wider than the page."""
    lines: list[list[Entry]] = [[]]
    used = LEFT
    for entry in entries:
        if lines[-1] and used + entry.width > BODY_WIDTH:
            lines.append([])
            used = LEFT
        lines[-1].append(entry)
        used += entry.width
    return lines


def draw(paper: Axes, lines: Sequence[Sequence[Entry]], top: float) -> None:
    """Draw the key on a page's paper, from `top` inches downwards."""
    for i, entries in enumerate(lines):
        x, y = LEFT, top + (i + 0.5) * LINE
        for entry in entries:
            _swatch(paper, entry, x, y)
            paper.text(x + SWATCH + 0.06, y, entry.text, size=SMALL, va="center")
            x += entry.width


def _swatch(paper: Axes, entry: Entry, x: float, y: float) -> None:
    if entry.kind == "preempted":
        paper.scatter([x + SWATCH - 0.02], [y], marker=CUT, s=CUT_SIZE**2, color=INK)
        return
    low, high = (y + 0.02, 0.035) if entry.kind == "strip" else (y - 0.055, 0.11)
    plain = {"idle": IDLE, "kernel": KERNEL, "strip": INK}.get(entry.kind, INK)
    patch = Rectangle((x, low), SWATCH, high, linewidth=0)
    patch.set_facecolor(entry.look.colour if entry.look else plain)
    if entry.look and entry.kind == "task":
        patch.set(hatch=entry.look.hatch, edgecolor=entry.look.hatch_colour)
    paper.add_patch(patch)
