"""The event log with its reasons.

- It ends with the event at the cursor; older ones are above it. Drawings of queues are in their pane.
"""

from __future__ import annotations

from rich.style import Style
from textual.strip import Strip

from llmos.trace import events as ev
from llmos.tui import palette
from llmos.tui.view import Lines, Part, View, chip, fit, line, padded, title_bar
from llmos.tui.words import details, exact


def paint_log(view: View, width: int, height: int, offset: int | None) -> tuple[Lines, int]:
    """Paint the last events up to the cursor; `offset` counts how many newer ones are left out."""
    timeline = view.timeline
    rows = max(height - 1, 0)
    number = timeline.number
    offset = max(0, min(offset or 0, number - rows))
    last = number - offset
    scrolled = f"{offset} newer below · " if offset else ""
    lines = [title_bar(width, "EVENTS", f"{scrolled}{number} so far")]
    shown = timeline.steps[max(last - rows, 0) : last]
    lines += [_event(view, width, timeline.events[k]) for k in shown]
    return padded(lines, width, height), offset


def _event(view: View, width: int, event: ev.Event) -> Strip:
    timeline, tracks = view.timeline, view.timeline.tracks
    current = event is timeline.event
    kind = ev.kind_of(event)
    room = 13 if timeline.end_ns < 10 * 10**9 else 16  # for a time to the nanosecond
    parts: list[Part] = [
        ("▸" if current else " ", palette.CURSOR),
        (fit(exact(event.t), room, right=True) + " ", palette.STRONG if current else palette.DIM),
    ]
    if event.task >= 0:
        name = fit(tracks.name(event.task, event.t), 10)
        parts += [chip(timeline, event.task), (f" {name} ", palette.PLAIN)]
    else:
        parts.append((" " * 15, palette.PLAIN))
    track = tracks.tracks.get(event.cpu)
    where = f"{track.name}: " if track else f"{event.cpu}: " if event.cpu >= 0 else ""
    style: Style = palette.KINDS.get(kind, palette.PLAIN)
    parts.append((fit(kind.replace("_", " "), 11) + " ", style))
    text = where + details(event, lambda pid: tracks.name(pid, event.t))
    parts.append(
        (fit(text.removesuffix(": "), max(width - 29 - room, 0)), palette.PLAIN if current else palette.DIM)
    )
    return line(width, parts)
