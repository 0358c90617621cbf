"""The pane with several views: the ready queues, what is shared, the processors. A key turns it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from llmos.tui import palette
from llmos.tui.processors import list_processors, wanted_processors
from llmos.tui.queues import list_queues
from llmos.tui.shared import lasting, list_shared
from llmos.tui.tracks import Tracks
from llmos.tui.view import Lines, Listing, Part, View, line, padded, window

VIEWS: Final[dict[str, Callable[[View, int, int], Listing]]] = {
    "queues": list_queues,
    "shared": list_shared,
    "cores": list_processors,
}


def following(name: str) -> str:
    """Return the view that comes after the one called `name`."""
    names = list(VIEWS)
    return names[(names.index(name) + 1) % len(names)]


def wanted_lines(tracks: Tracks) -> int:
    """Return how many lines the views would like to have at least."""
    queues = sum(tracks.shelves.values()) or len({track.is_core for track in tracks.tracks.values()})
    return max(queues, len(tracks.shared), wanted_processors(tracks))


def paint_side(view: View, width: int, height: int, offset: int | None) -> tuple[Lines, int]:
    """Paint the title with the names of all views, and the one that is chosen."""
    rows, head, follow = VIEWS[view.side](view, width, height - 1)
    room = max(height - 1 - len(head), 0)
    offset = window(follow if offset is None else offset, 0, len(rows), room)
    shown = [make() for make in rows[offset : offset + room]]
    part = f"  lines {offset + 1}–{offset + len(shown)} of {len(rows)}" if len(shown) < len(rows) else ""
    lines = [line(width, [*_title(view), (part, palette.TITLE_FAINT)], palette.TITLE), *head, *shown]
    return padded(lines, width, height), offset


def _title(view: View) -> list[Part]:
    state = view.timeline.state
    parts: list[Part] = [(" ", palette.TITLE)]
    for name in VIEWS:
        chosen = name == view.side
        parts.append(
            (f"{name.upper() if chosen else name} ", palette.TITLE if chosen else palette.TITLE_FAINT)
        )
    parts.append(("v", palette.KEY))
    if lasting(state):
        parts.append(("  DEADLOCK", palette.TITLE_ALARM))
    elif view.side == "queues":
        order = "" if state.queues else ", oldest first"
        parts.append((f"  {len(state.ready)} ready{order}", palette.TITLE_FAINT))
    return parts
