"""The Gantt chart: time to the right, one row for each core and each slot of an engine.

- A run carries its task's name where it fits, else the task's mark. `·` is idle, `╎` a context switch,
  `╪` other kernel work, `▒` a mix, in the colours of the two that had most: several tasks, or one and idle.
- An engine has one row more: how full its batch was.
- The line of the cursor ends what is known; nothing is drawn to its right.
"""

from __future__ import annotations

from itertools import groupby
from typing import Final

from rich.style import Style
from textual.strip import Strip

from llmos.trace.records import Mode
from llmos.tui import palette
from llmos.tui.tracks import Cell, Row, Track, Tracks
from llmos.tui.view import Lines, Part, View, fit, line, loaded, padded, title_bar, window
from llmos.tui.words import clean, short

LABEL: Final = 12
_BARS: Final = " ▁▂▃▄▅▆▇█"
_MODES: Final = {Mode.IDLE: "·", Mode.SWITCH: "╎", Mode.KERNEL: "╪", Mode.USER: " "}


def rows_of(tracks: Tracks) -> list[tuple[Track, Row | None]]:
    """Return the rows of the chart; None stands for the row that shows how full an engine is."""
    rows: list[tuple[Track, Row | None]] = []
    for track in tracks.tracks.values():
        rows += [] if track.is_core else [(track, None)]
        rows += [(track, row) for row in track.rows]
    return rows


def wanted_rows(tracks: Tracks) -> int:
    """Return how many rows the chart would fill: of an engine's slots those in use, eight at most."""
    return sum(1 if t.is_core else 1 + min(len(t.rows), 8) for t in tracks.tracks.values())


def start_cell(count: int, width: int) -> int:
    """Return the cell at the left edge when `count` cells are over; it moves by a quarter of the width."""
    page = max(width // 4, 1)
    return 0 if count < width else -(-(count - width + 1) // page) * page


def fitting_cell_ns(tracks: Tracks, end_ns: int, width: int) -> int:
    """Return a scale that shows the whole run, or else one at which a typical run is four cells."""
    room = max(width - LABEL - 1, 1)
    whole = max(-(-end_ns // room), 1)
    typical = max(tracks.typical_ns() // 4, 1)
    return whole if whole <= 3 * typical else typical


def paint_chart(view: View, width: int, height: int, offset: int | None) -> tuple[Lines, int]:
    """Paint the chart up to the cursor."""
    timeline, tracks = view.timeline, view.timeline.tracks
    t, cell = timeline.t, max(view.cell_ns, 1)
    room = max(width - LABEL, 1)
    start = start_cell(-(-t // cell), room)
    cursor = min(-(-t // cell) - start, room - 1)
    all_rows = rows_of(tracks)
    rows = max(height - 2, 0)
    here = timeline.event.cpu if timeline.event else -1
    follow = next((i for i, (track, _) in enumerate(all_rows) if track.processor.id == here), 0)
    offset = window(offset, follow, len(all_rows), rows)
    shown = all_rows[offset : offset + rows]
    part = (
        f"rows {offset + 1}–{offset + len(shown)} of {len(all_rows)}   " if len(shown) < len(all_rows) else ""
    )
    legend = "· idle ╎ switch ╪ kernel ▒ mixed"
    lines = [title_bar(width, "CHART", f"{part}1 cell = {short(cell)}   {legend}")]
    for track, row in shown:
        processor = timeline.state.processors.get(track.processor.id)
        label = _label(track, row, len(processor.running) if processor else 0)
        parts = (
            _load(view, track, start, cell, cursor)
            if row is None
            else _run(tracks, tracks.cells(row, start * cell, cell, cursor, t), start * cell, cell)
        )
        mark: Part = ("▸" if track.processor.id == here and track.is_core else " ", palette.CURSOR)
        lines.append(line(width, [mark, (label, palette.DIM), *parts, ("│", palette.CURSOR)]))
    lines.append(_axis(width, room, start, cell, cursor))
    return padded(lines, width, height), offset


def _label(track: Track, row: Row | None, now: int) -> str:
    if row is None:
        return loaded(track.name, now, track.processor.slots, LABEL - 1)
    if track.is_core:
        return fit(track.name, LABEL - 1)
    return fit(f" slot {row.slot}", LABEL - 1)


def _run(tracks: Tracks, cells: list[Cell], t: int, cell_ns: int) -> list[Part]:
    """Write equal cells, from `t` on, as one piece with a name on it."""
    parts: list[Part] = []
    for cell, group in groupby(cells):
        length = sum(1 for _ in group)
        t += length * cell_ns
        if cell.fill is None:
            parts.append((" " * length, palette.PLAIN))
        elif cell.other is not None:
            parts.append(("▒" * length, _mixed(tracks, cell.fill, cell.other)))
        elif isinstance(cell.fill, Mode):
            parts.append((_MODES[cell.fill] * length, palette.DIM))
        else:
            parts.append((_written(tracks, cell.fill, t - 1, length), _look(tracks, cell.fill)))
    return parts


def _look(tracks: Tracks, pid: int) -> Style:
    return palette.of_task(tracks.colours.get(pid, 0))


def _mixed(tracks: Tracks, most: int | Mode, second: int) -> Style:
    ground = palette.GROUND if isinstance(most, Mode) else _look(tracks, most).bgcolor
    return Style(color=_look(tracks, second).bgcolor, bgcolor=ground)


def _written(tracks: Tracks, pid: int, t: int, length: int) -> str:
    name = clean(tracks.name(pid, t))
    text = name if 0 < len(name) < length and name.isascii() else clean(tracks.marks.get(pid, "?"))
    return fit(text, length)


def _load(view: View, track: Track, start: int, cell: int, cursor: int) -> list[Part]:
    """Show how full an engine was, as bars."""
    slots = max(track.processor.slots, 1)
    levels = view.timeline.tracks.load(track, start * cell, cell, cursor, view.timeline.t)
    bars = "".join(_BARS[min(-(-n * 8 // slots), 8)] if n >= 0 else " " for n in levels)
    return [(bars, Style(color=palette.GREEN, bgcolor=palette.GROUND))]


def _axis(width: int, room: int, start: int, cell: int, cursor: int) -> Strip:
    """The time axis: a mark and its time at round distances, where the cursor leaves room for it."""
    every = nice(12 * cell)
    text = [" "] * (LABEL + room)
    first = -(-start * cell // every) * every
    for at in range(first, (start + room) * cell, every):
        label = f"╵{short(at)}"
        x = LABEL + at // cell - start
        if x + len(label) <= len(text) and not x <= LABEL + cursor < x + len(label):
            text[x : x + len(label)] = label
    x = LABEL + cursor
    before, after = "".join(text[:x]), "".join(text[x + 1 :])
    return line(width, [(before, palette.DIM), ("▲", palette.CURSOR), (after, palette.DIM)])


def nice(at_least: int) -> int:
    """Return the smallest 1, 2 or 5 times a power of ten that is at least `at_least`."""
    power: int = 10 ** (len(str(max(at_least, 1))) - 1)
    return next(n * power for n in (1, 2, 5, 10) if n * power >= at_least)
