"""The two windows that come up over the panes: where to go, and help."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Final

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from llmos.tui.keys import help_lines
from llmos.tui.palette import BAR, GROUND, ORANGE, SKY, TEXT

_CSS: Final = f"""
GoTo, Help {{ align: center middle; background: {GROUND} 60%; }}
#box {{ width: 72; max-width: 100%; height: auto; max-height: 100%; padding: 0 2; }}
#box {{ background: {BAR}; color: {TEXT}; }}
#box Input {{ border: none; height: 1; padding: 0 1; margin: 1 0; background: {GROUND}; color: {TEXT}; }}
#wrong {{ color: {ORANGE}; height: auto; }}
#box Static {{ width: 100%; }}
"""


class GoTo(ModalScreen[int | None]):
    """Asks for a time until it gets one, or until escape."""

    CSS = _CSS
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "cancel")]

    def __init__(self, parse: Callable[[str], int]) -> None:
        super().__init__()
        self._parse = parse

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="box", can_focus=False):
            yield Static("Go to which time? For example 12 ms, 1.5 s, or nanoseconds.")
            yield Input(placeholder="12 ms")
            yield Static("enter goes there, esc stays here", id="wrong", markup=False)

    def on_mount(self) -> None:
        """Be ready to type."""
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Take the time, or say what is wrong with it."""
        try:
            self.dismiss(self._parse(event.value))
        except ValueError as error:
            self.query_one("#wrong", Static).update(str(error))


class Help(ModalScreen[None]):
    """Keys and signs; any of its keys closes it."""

    CSS = _CSS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter,space", "dismiss", "close")
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        text = Text()
        if self._question:
            text.append(f"{self._question}\n\n", style="bold")
        for key, what in help_lines():
            text.append(f"{key:>10}  ", style=f"bold {SKY}")
            text.append(f"{what}\n", style=TEXT)
        text.append("esc closes this", style=TEXT)
        with VerticalScroll(id="box"):
            yield Static(text)
