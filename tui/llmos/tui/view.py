"""What a painter gets to see, and how it writes lines.

- A painter is a function of a `View`, a size and a scroll offset; it returns the lines and the offset
  as far as there is something to scroll. It builds only the lines that are seen.
- Nothing here knows of textual's application or of widgets; a line is a `Strip`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

from llmos.tui import palette
from llmos.tui.timeline import Timeline
from llmos.tui.words import clean


@dataclass
class View:
    """A timeline and how it is looked at."""

    timeline: Timeline = field(default_factory=Timeline)
    title: str = ""
    playing: bool = False
    living_only: bool = False
    """Whether the table leaves out tasks that have terminated."""
    side: str = "queues"
    """Which view the pane with several of them shows."""
    speed_ns: int = 1_000_000
    """Simulated nanoseconds per second of real time."""
    cell_ns: int = 1_000_000
    """Simulated nanoseconds per cell of the chart."""
    message: str = ""
    """An answer to the last key, until the next one."""
    coming: str = ""
    """Why more events may come: "reading", "the run goes on"; "" if all are there."""
    trouble: str = ""
    """Why the events end before the end of the run; "" if they do not."""


Part = tuple[str, Style]
Lines = list[Strip]
Painter = Callable[[View, int, int, int | None], tuple[Lines, int]]
"""(view, width, height, offset) -> (lines, offset); an offset of None follows the cursor."""


class Listing(NamedTuple):
    """Lines to scroll through, each made only if it is seen; `head` stays on top of them."""

    rows: list[Callable[[], Strip]]
    head: tuple[Strip, ...] = ()
    follow: int = 0
    """The row of the last event."""


def line(width: int, parts: Iterable[Part], fill: Style = palette.PLAIN) -> Strip:
    """Join `parts`, with nothing in them that cannot be printed, and cut or fill up to `width` cells."""
    segments = [Segment(clean(text), style) for text, style in parts if text]
    return Strip(segments).adjust_cell_length(width, fill)


def fit(text: str, width: int, *, right: bool = False) -> str:
    """Clean `text` and make it `width` cells wide; what is too long ends in an ellipsis."""
    text = clean(text)
    size = cell_len(text)
    if size > width:
        return set_cell_size(text, width - 1) + "…" if width > 0 else ""
    return " " * (width - size) + text if right else text + " " * (width - size)


def loaded(name: str, now: int, slots: int, width: int) -> str:
    """Say how full an engine is in `width` cells: "engine 2/3"; rather than a figure, its name is cut."""
    figures = f" {now}/{slots}"
    return fit(fit(name, min(cell_len(clean(name)), max(width - len(figures), 0))) + figures, width)


def title_bar(width: int, title: str, more: str = "") -> Strip:
    """The line above a pane."""
    parts = [(f" {title} ", palette.TITLE), (f" {more}", palette.TITLE_FAINT)]
    return line(width, parts, palette.TITLE)


def chip(timeline: Timeline, pid: int) -> Part:
    """The mark of a task in its colour: the legend of the chart."""
    tracks = timeline.tracks
    return f" {tracks.marks.get(pid, '?')} ", palette.of_task(tracks.colours.get(pid, 0))


def padded(lines: Lines, width: int, height: int) -> Lines:
    """Cut or fill up to `height` lines."""
    blank = line(width, ())
    return lines[:height] + [blank] * (height - len(lines))


def window(offset: int | None, follow: int, total: int, height: int) -> int:
    """Return the first of `height` rows to show: `offset`, or else the page that row `follow` is on."""
    if offset is None:
        offset = follow // height * height if height > 0 else 0
    return max(0, min(offset, total - height))
