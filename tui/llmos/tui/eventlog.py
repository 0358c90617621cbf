"""The event log with its reasons, the line on top and the status lines.

- The log ends with the event at the cursor; older ones are above it.
"""

from __future__ import annotations

from typing import Final

from rich.cells import cell_len
from rich.style import Style
from textual.strip import Strip

from llmos.trace import events as ev
from llmos.tui import palette
from llmos.tui.view import Lines, Part, View, chip, fit, line, padded, title_bar
from llmos.tui.words import clean, details, exact, short

_KEYS: Final = (
    ("space", "run"), ("← →", "step"), ("n", "switch"), ("N", "preempt"), ("g", "time"), ("+ -", "speed"),
    ("?", "help"), ("q", "quit"), ("[ ]", "zoom"), ("tab ↑ ↓", "scroll"), ("home", "first"), ("end", "last"),
)  # fmt: skip


def paint_log(view: View, width: int, height: int, offset: int | None) -> tuple[Lines, int]:
    """Paint the last events up to the cursor; `offset` counts how many newer ones are left out."""
    timeline = view.timeline
    rows = max(height - 1, 0)
    offset = max(0, min(offset or 0, timeline.k - rows))
    last = timeline.k - offset
    scrolled = f"{offset} newer below · " if offset else ""
    lines = [title_bar(width, "EVENTS", f"{scrolled}{timeline.k} so far")]
    lines += [_event(view, width, k) for k in range(max(last - rows, 0), last)]
    return padded(lines, width, height), offset


def _event(view: View, width: int, k: int) -> Strip:
    timeline = view.timeline
    event, current = timeline.events[k], k == timeline.k - 1
    tracks = timeline.tracks
    kind = ev.kind_of(event)
    room = 13 if timeline.end_ns < 10 * 10**9 else 16  # for a time to the nanosecond
    parts: list[Part] = [
        ("▸" if current else " ", palette.CURSOR),
        (fit(exact(event.t), room, right=True) + " ", palette.STRONG if current else palette.DIM),
    ]
    if event.task >= 0:
        name = fit(tracks.names.get(event.task, str(event.task)), 10)
        parts += [chip(timeline, event.task), (f" {name} ", palette.PLAIN)]
    else:
        parts.append((" " * 15, palette.PLAIN))
    track = tracks.tracks.get(event.cpu)
    where = f"{track.name}: " if track else f"{event.cpu}: " if event.cpu >= 0 else ""
    style: Style = palette.KINDS.get(kind, palette.PLAIN)
    parts.append((fit(kind.replace("_", " "), 11) + " ", style))
    text = where + details(event, tracks.names)
    parts.append(
        (fit(text.removesuffix(": "), max(width - 29 - room, 0)), palette.PLAIN if current else palette.DIM)
    )
    return line(width, parts)


def paint_head(view: View, width: int, height: int, _offset: int | None) -> tuple[Lines, int]:
    """Paint what is looked at, and the question that it answers."""
    header = view.timeline.state.header
    title = clean(view.title or header.scenario or "a run")
    name = f" llmos  {title}  "
    question = fit(header.question, max(width - cell_len(name) - 1, 0))
    parts = [(name, palette.HEAD), (question, palette.HEAD_FAINT)]
    return padded([line(width, parts, palette.HEAD)], width, height), 0


def paint_status(view: View, width: int, height: int, _offset: int | None) -> tuple[Lines, int]:
    """Paint the clock and the keys."""
    return padded([_clock(view, width), _keys(width)], width, height), 0


def _clock(view: View, width: int) -> Strip:
    timeline = view.timeline
    sign = "► playing" if view.playing else "■ paused "
    more = "+" if view.coming else ""
    parts: list[Part] = [
        (f" {sign} ", palette.TITLE_FOCUS if view.playing else palette.TITLE),
        (f" t = {exact(timeline.t)} ", palette.TITLE),
        (f" event {timeline.k:,} of {len(timeline):,}{more} ", palette.TITLE_FAINT),
        (f" {short(view.speed_ns)}/s ", palette.TITLE_FAINT),
    ]
    told = view.message or _trouble(view)
    if told:
        parts.append((f" {clean(told)}", palette.TITLE_ALARM))
    elif timeline.state.end:
        parts.append((f" end: {clean(timeline.state.end.reason)}", palette.TITLE))
    return line(width, parts, palette.TITLE)


def _trouble(view: View) -> str:
    """Say what is wrong with the log up to here."""
    violations = view.timeline.state.violations
    if violations:
        return f"! {len(violations)} contradictions in the log, the last {violations[-1]}"
    end = view.timeline.state.end
    if end and not end.ok:
        return f"! {end.reason}"
    return view.trouble or view.coming


def _keys(width: int) -> Strip:
    parts: list[Part] = []
    for key, what in _KEYS:
        width_left = width - sum(len(text) for text, _ in parts)
        if len(key) + len(what) + 3 <= width_left:
            parts += [(f" {key}", palette.KEY), (f" {what} ", palette.TITLE_FAINT)]
    return line(width, parts, palette.TITLE)
