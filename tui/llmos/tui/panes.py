"""Widgets: panes that store their lines and paint only those that changed, and the board they lie on.

- A pane asks its painter for all its lines and compares them with the stored ones: textual gets the
  changed ones to refresh, and takes them from the store. That is most of what makes it quick.
- `places` is the whole layout, as a plain function: it fits any size and never overlaps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Final, NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.strip import Strip
from textual.widget import Widget

from llmos.tui import palette
from llmos.tui.view import Lines, Painter, View

WIDE: Final = 116
"""From so many columns on, the queues stand beside the table."""


class Pane(Widget):
    """A part of the screen that a painter fills."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "scroll_rows(-1)", show=False),
        Binding("down", "scroll_rows(1)", show=False),
        Binding("pageup", "scroll_rows(-10)", show=False),
        Binding("pagedown", "scroll_rows(10)", show=False),
        Binding("escape", "follow", show=False),
    ]

    def __init__(
        self, name: str, painter: Painter, *, can_focus: bool = True, newest_last: bool = False
    ) -> None:
        super().__init__(id=name)
        self.can_focus = can_focus
        self._painter = painter
        self._sign = -1 if newest_last else 1
        """Which way a larger offset goes."""
        self._offset: int | None = None
        """How far it is scrolled; None follows the cursor."""
        self._shown_offset = 0
        self._view: View | None = None
        self._lines: Lines = []

    def show(self, view: View) -> None:
        """Paint `view` and refresh the lines that are different now."""
        self._view = view
        width, height = self.size
        if not width or not height:
            return
        # Pages that turn thirty times a second cannot be read: while it plays, a pane stays where it is.
        offset = self._shown_offset if view.playing and self._offset is None else self._offset
        lines, self._shown_offset = self._painter(view, width, height, offset)
        if self.screen.focused is self and lines:
            lines[0] = _focused(lines[0])
        old = self._lines
        changed = [y for y, new in enumerate(lines) if y >= len(old) or new != old[y]]
        self._lines = lines
        if changed:
            self.refresh(*(Region(0, y, width, 1) for y in changed))

    def render_lines(self, crop: Region) -> list[Strip]:
        """Hand out stored lines: textual's own way, through its style cache, takes most of a frame."""
        background = self.background_colors[1]
        strips = []
        for y in range(crop.y, crop.bottom):
            strip = self._lines[y] if y < len(self._lines) else Strip.blank(self.size.width, palette.PLAIN)
            for line_filter in self.get_line_filters():
                strip = strip.apply_filter(line_filter, background)
            strips.append(strip.crop(crop.x, crop.right))
        return strips

    def _again(self) -> None:
        if self._view is not None:
            self.show(self._view)

    def on_resize(self) -> None:
        """Paint for the new size."""
        self._lines = []
        self._again()

    def on_focus(self) -> None:
        """Show the focus."""
        self._again()

    def on_blur(self) -> None:
        """Show that the focus is elsewhere."""
        self._again()

    def action_scroll_rows(self, rows: int) -> None:
        """Scroll by `rows`, down if positive; a pane with nothing more to scroll goes on as it was."""
        shown, before = self._shown_offset, self._offset
        self._offset = max(shown + rows * self._sign, 0)
        self._again()
        if self._shown_offset == shown:
            self._offset = before

    def action_follow(self) -> None:
        """Follow the cursor again."""
        self._offset = None
        self._again()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Scroll with the wheel."""
        event.stop()
        self.action_scroll_rows(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Scroll with the wheel."""
        event.stop()
        self.action_scroll_rows(-3)


def _focused(bar: Strip) -> Strip:
    """Mark a title bar: a sign and a colour."""
    segments = list(bar)
    title = segments[0].text
    segments[0] = type(segments[0])(f"▌{title[1:]}", palette.TITLE_FOCUS)
    return Strip(segments, bar.cell_length)


class Wishes(NamedTuple):
    """How many lines the panes would fill."""

    chart: int
    tasks: int
    side: int


class Board(Widget):
    """The whole screen, with its panes laid out by `places`."""

    DEFAULT_CSS = "Board { width: 100%; height: 100%; }"

    def __init__(self, panes: Sequence[Pane], wishes: Callable[[], Wishes]) -> None:
        super().__init__()
        self._panes = panes
        self._places = _Places(wishes)

    @property
    def layout(self) -> Layout:
        """How the panes lie."""
        return self._places

    def compose(self) -> ComposeResult:
        yield from self._panes

    def fit(self) -> None:
        """Lay the panes out again if their wishes make a difference by now."""
        if self.is_mounted and self._places.of(self.size) != self._places.last:
            self._panes[0].refresh(layout=True)  # a child's wish makes textual forget its arrangement


class _Places(Layout):
    """Textual's way to ask for `places`."""

    name = "places"

    def __init__(self, wishes: Callable[[], Wishes]) -> None:
        self._wishes = wishes
        self.last: dict[str, Region] = {}

    def of(self, size: Size) -> dict[str, Region]:
        """The places on a board of this size."""
        return places(size.width, size.height, self._wishes())

    def arrange(
        self,
        parent: Widget,
        children: list[Widget],
        size: Size,
        greedy: bool = True,  # noqa: FBT001, FBT002  # so textual says
    ) -> ArrangeResult:
        where = self.last = self.of(size)
        return [
            WidgetPlacement(where[child.id], NULL_OFFSET, NULL_SPACING, child)
            for child in children
            if child.id in where
        ]


def places(width: int, height: int, wishes: Wishes) -> dict[str, Region]:
    """Return where each pane goes on a screen of this size; one for which there is no room is left out."""
    head = 1 if height >= 8 else 0
    status = min(height, 2 if height >= 10 else 1)
    body = height - head - status
    wide = width >= WIDE
    chart = min(wishes.chart + 2, max(body // 3, 4)) if body >= 8 else 0
    side = 1 + min(wishes.side, max(body // 5 - 1, 1)) if body >= 14 and not wide else 0
    rest = body - chart - side
    log = rest * 2 // 5 if rest >= 6 else 0
    wanted = wishes.tasks + wishes.side if wide else wishes.tasks
    tasks = min(rest - log, max(wanted, 4) + 2) if log else rest
    log = rest - tasks
    if wide:
        left = width - width * 3 // 8 - 1
        found = _stack(0, left, head, [("tasks", tasks)])
        found |= _stack(left + 1, width - left - 1, head, [("side", tasks)])
        found |= _stack(0, width, head + tasks, [("chart", chart), ("log", log)])
    else:
        found = _stack(0, width, head, [("tasks", tasks), ("chart", chart), ("side", side), ("log", log)])
    found |= _stack(0, width, 0, [("head", head)])
    found |= _stack(0, width, height - status, [("status", status)])
    return found


def _stack(x: int, width: int, y: int, heights: list[tuple[str, int]]) -> dict[str, Region]:
    """Put panes of these heights on top of one another; those of no height are left out."""
    found = {}
    for name, height in heights:
        if height > 0 and width > 0:
            found[name] = Region(x, y, width, height)
            y += height
    return found
