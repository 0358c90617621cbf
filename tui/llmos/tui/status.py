"""The line on top, and the clock and the keys at the bottom."""

from __future__ import annotations

from rich.cells import cell_len
from textual.strip import Strip

from llmos.tui import palette
from llmos.tui.keys import bottom_line
from llmos.tui.shared import lasting
from llmos.tui.view import Lines, Part, View, fit, line, padded
from llmos.tui.words import clean, cycle, exact, short


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
        (f" event {timeline.number:,} of {len(timeline.steps):,}{more} ", palette.TITLE_FAINT),
        (f" {short(view.speed_ns)}/s ", palette.TITLE_FAINT),
    ]
    told = view.message or _trouble(view)
    if told:
        parts.append((f" {told}", palette.TITLE_ALARM))
    elif timeline.state.end:
        parts.append((f" end: {timeline.state.end.reason}", palette.TITLE))
    return line(width, parts, palette.TITLE)


def _trouble(view: View) -> str:
    """Say what is wrong with the log up to here."""
    violations = view.timeline.state.violations
    if violations:
        return f"! {len(violations)} contradictions in the log, the last {violations[-1]}"
    state = view.timeline.state
    if deadlocks := lasting(state):
        return f"! deadlock: {cycle(deadlocks[-1], lambda pid: view.timeline.tracks.name(pid, state.now))}"
    if state.end and not state.end.ok:
        return f"! {state.end.reason}"
    return view.trouble or view.coming


def _keys(width: int) -> Strip:
    parts: list[Part] = []
    for key, what in bottom_line():
        width_left = width - sum(len(text) for text, _ in parts)
        if len(key) + len(what) + 3 <= width_left:
            parts += [(f" {key}", palette.KEY), (f" {what} ", palette.TITLE_FAINT)]
    return line(width, parts, palette.TITLE)
