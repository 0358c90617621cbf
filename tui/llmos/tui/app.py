"""The terminal UI: what the keys do, and when things are painted.

- `run_tui` is the only thing that others call.
- Thirty times a second: take what has come, let time pass if it is playing, paint. A key paints at once.
- Only lines that changed are painted again (`panes`).
- Everything happens in this process: folding an event takes microseconds and going back is bounded by
  checkpoints. Only a live run, which runs other people's code, has a process of its own (`source`).
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType

from llmos.errors import LlmosError
from llmos.scenario.machine import MachineSpec
from llmos.tui.chart import fitting_cell_ns, nice, paint_chart, wanted_rows
from llmos.tui.dialogs import GoTo, Help
from llmos.tui.eventlog import paint_log
from llmos.tui.keys import KEYS
from llmos.tui.palette import GROUND
from llmos.tui.panes import Board, Pane, Wishes
from llmos.tui.side import following, paint_side, wanted_lines
from llmos.tui.source import LiveRun, SavedLog, Source
from llmos.tui.status import paint_head, paint_status
from llmos.tui.table import paint_tasks
from llmos.tui.timeline import Timeline
from llmos.tui.view import View
from llmos.tui.words import clean, exact, parse_time

FRAME_S: Final = 1 / 30
READ_S: Final = 0.020
"""How long a frame may read events."""
AHEAD: Final = 500_000
"""So many events are read ahead of the cursor, no more: a run may be endless."""


def run_tui(source: str | Path | MachineSpec, *, title: str = "") -> int:
    """Show a saved log (its path) or a live run (its spec) until the user quits; return the exit code.

    Raises LogError if the file is no log, and LlmosError if there is no terminal to show it on.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):  # textual draws on stderr
        raise LlmosError(
            "the terminal UI needs a terminal to draw on",
            hint="without one, use: llmos run FILE, or llmos log FILE",
        )
    events: Source = (
        LiveRun(replace(source, shows_queues=True)) if isinstance(source, MachineSpec) else SavedLog(source)
    )
    try:
        app = TuiApp(events, title=title)
        app.run()
        return app.return_code or 0
    finally:
        events.close()


class TuiApp(App[None]):
    """A timeline, five panes that show it, and the keys that move its cursor."""

    TITLE = "llmos"
    ENABLE_COMMAND_PALETTE = False
    CSS = f"Screen {{ background: {GROUND}; overflow: hidden; }}"
    BINDINGS: ClassVar[list[BindingType]] = [Binding(key.bound, key.action, key.what) for key in KEYS]

    def __init__(self, source: Source, *, title: str = "") -> None:
        super().__init__()
        self.source = source
        self.view = View(title=title, coming=source.name)
        self._clock = 0.0
        """The time at the cursor while playing, in ns, with its fraction."""
        self._then = 0.0
        self._own_speed = self._own_zoom = False
        self.panes = [
            Pane("head", paint_head, can_focus=False),
            Pane("tasks", paint_tasks),
            Pane("chart", paint_chart),
            Pane("side", paint_side),
            Pane("log", paint_log, newest_last=True),
            Pane("status", paint_status, can_focus=False),
        ]
        self.board = Board(self.panes, self._wishes)

    @property
    def timeline(self) -> Timeline:
        """What is looked at."""
        return self.view.timeline

    def compose(self) -> ComposeResult:
        yield self.board

    def on_mount(self) -> None:
        """Read what there is at once, and begin to tick."""
        self._read(0.2)
        self.timeline.seek(1)
        self._then = time.monotonic()
        self.set_interval(FRAME_S, self._frame)
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self.exit)

    def _wishes(self) -> Wishes:
        tracks = self.timeline.tracks
        return Wishes(chart=wanted_rows(tracks), tasks=len(tracks.names), side=wanted_lines(tracks))

    # --- every frame --------------------------------------------------------------------------------

    def _frame(self) -> None:
        now = time.monotonic()
        passed, self._then = now - self._then, now
        changed = not self.source.done and self._read(READ_S)
        if self.view.playing:
            self._play(min(passed, 0.25))
            changed = True
        if changed:
            self.paint()

    def _read(self, seconds: float) -> bool:
        """Take what has come; say whether there is anything new to show."""
        source, timeline = self.source, self.timeline
        before = len(timeline)
        if before - timeline.k > AHEAD:
            return False
        deadline = time.monotonic() + seconds
        while events := source.poll():
            timeline.extend(events)
            if time.monotonic() > deadline:
                break
        if not before and timeline.events:
            timeline.seek(1)
        if source.done:
            cut_off = "" if timeline.complete else "the log ends early: it was cut off"
            self.view.coming, self.view.trouble = "", source.trouble or cut_off
        if source.done or not before:
            self._settle()
        return source.done or len(timeline) > before

    def _settle(self) -> None:
        """Choose a speed and a scale that suit the run, unless the user has."""
        end = self.timeline.end_ns
        if not self._own_speed:
            self.view.speed_ns = nice(max(end // 30, 1))
        if not self._own_zoom:
            width = next(pane for pane in self.panes if pane.id == "chart").size.width
            self.view.cell_ns = fitting_cell_ns(self.timeline.tracks, end, width or self.size.width)

    def _play(self, seconds: float) -> None:
        self._clock += seconds * self.view.speed_ns
        self.timeline.at_time(int(self._clock))
        if self._clock >= self.timeline.end_ns:
            self._clock = float(self.timeline.end_ns)
            self.view.playing = not self.source.done

    def paint(self) -> None:
        """Bring every pane up to date."""
        self.board.fit()
        for pane in self.panes:
            pane.show(self.view)

    def on_resize(self) -> None:
        """Fit the scale to the new width."""
        self.call_after_refresh(self._fitted)

    def _fitted(self) -> None:
        self._settle()
        self.paint()

    # --- keys ---------------------------------------------------------------------------------------

    def _arrived(self, message: str = "") -> None:
        """Stop playing and show where the cursor is now."""
        self.view.playing = False
        self.view.message = message
        self.paint()

    def action_run_or_pause(self) -> None:
        """Run, or pause."""
        view = self.view
        view.playing = not view.playing
        view.message = ""
        if view.playing and self.timeline.t >= self.timeline.end_ns and self.source.done:
            self._arrived("this is the end: press home to begin again")
        self._clock, self._then, self._own_speed = float(self.timeline.t), time.monotonic(), True
        self.paint()

    def action_step(self) -> None:
        """Let the next event happen."""
        at_end = self.timeline.k == len(self.timeline)
        self.timeline.step()
        self._arrived(self._no("event") if at_end else "")

    def action_step_back(self) -> None:
        """Undo the last event."""
        at_start = self.timeline.k <= 1
        self.timeline.back()
        self.timeline.seek(max(self.timeline.k, 1))
        self._arrived("this is the beginning" if at_start else "")

    def action_next_switch(self) -> None:
        """Go to just after the next dispatch of another task."""
        self._jump(self.timeline.next_switch(self.timeline.k), "switch")

    def action_next_preemption(self) -> None:
        """Go to just after the next preemption."""
        self._jump(self.timeline.next_preemption(self.timeline.k), "preemption")

    def _jump(self, k: int | None, what: str) -> None:
        if k is not None:
            self.timeline.seek(k)
        self._arrived("" if k is not None else self._no(what))

    def _no(self, what: str) -> str:
        return f"no further {what}" + ("" if self.source.done else " so far; more is to come")

    def action_go_home(self) -> None:
        """Go to the beginning."""
        self.timeline.seek(1)
        self._arrived()

    def action_go_end(self) -> None:
        """Go to the end, as far as it is there."""
        self.timeline.seek(len(self.timeline))
        self._arrived("" if self.source.done else "so far; more is to come")

    def action_go_to(self) -> None:
        """Ask for a time and go there."""
        self.view.playing = False
        self.paint()
        self.push_screen(GoTo(parse_time), self._go_to)

    def _go_to(self, t: int | None) -> None:
        if t is None:
            self.paint()
            return
        self.timeline.at_time(t)
        end = self.timeline.end_ns
        self._arrived(
            f"{'the log ends' if self.source.done else 'so far it has come to'} at {exact(end)}"
            if t > end
            else ""
        )

    def action_speed(self, direction: int) -> None:
        """Play faster or slower: 1, 2, 5, 10 ..."""
        speed = self.view.speed_ns
        self.view.speed_ns = nice(speed + 1) if direction > 0 else _slower(speed)
        self._own_speed = True
        self.view.message = ""
        self.paint()

    def action_zoom(self, direction: int) -> None:
        """Let a cell of the chart stand for half or twice the time."""
        cell = self.view.cell_ns
        self.view.cell_ns = (
            max(cell // 2, 1) if direction > 0 else min(cell * 2, max(self.timeline.end_ns, 1))
        )
        self._own_zoom = True
        self.paint()

    def action_living_only(self) -> None:
        """Leave terminated tasks out of the table, or show them again."""
        self.view.living_only = not self.view.living_only
        self.paint()

    def action_turn(self) -> None:
        """Show the next view of the pane that has several."""
        self.view.side = following(self.view.side)
        next(pane for pane in self.panes if pane.id == "side").action_follow()
        self.paint()

    def action_help(self) -> None:
        """Say what the keys and the signs mean."""
        self.push_screen(Help(clean(self.timeline.state.header.question)), lambda _: self.paint())


def _slower(speed: int) -> int:
    """Return the next smaller 1, 2 or 5 times a power of ten; at least 1."""
    power: int = 10 ** (len(str(speed)) - 1)
    return max(next(n * power // 10 for n in (50, 20, 10, 5) if n * power // 10 < speed), 1)
