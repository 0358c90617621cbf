"""The colours: Okabe and Ito's, which people with any colour vision tell apart, on a dark ground.

- No meaning by colour alone: tasks have a letter, states a word and a sign, modes a pattern.

Source: Okabe & Ito, "Color Universal Design", 2008.
"""

from __future__ import annotations

from typing import Final

from rich.style import Style

GROUND: Final = "#10151c"
BAR: Final = "#1f2a37"
TEXT: Final = "#d7dee6"
FAINT: Final = "#7d8b99"

ORANGE: Final = "#e69f00"
SKY: Final = "#56b4e9"
GREEN: Final = "#009e73"
YELLOW: Final = "#f0e442"
BLUE: Final = "#0072b2"
VERMILION: Final = "#d55e00"
PURPLE: Final = "#cc79a7"


def _on(background: str, colour: str, *, bold: bool = False) -> Style:
    return Style(color=colour, bgcolor=background, bold=bold)


PLAIN: Final = _on(GROUND, TEXT)
STRONG: Final = _on(GROUND, "#ffffff", bold=True)
DIM: Final = _on(GROUND, FAINT)
ALARM: Final = _on(GROUND, ORANGE, bold=True)
CURSOR: Final = _on(GROUND, YELLOW, bold=True)

HEADING: Final = _on(GROUND, SKY)

TITLE: Final = _on(BAR, TEXT, bold=True)
TITLE_FAINT: Final = _on(BAR, "#9fb0c0")
TITLE_FOCUS: Final = _on(BAR, YELLOW, bold=True)
TITLE_ALARM: Final = _on(BAR, ORANGE, bold=True)
KEY: Final = _on(BAR, SKY, bold=True)

HEAD: Final = _on(BLUE, "#ffffff", bold=True)
HEAD_FAINT: Final = _on(BLUE, "#e3eef7")

TASKS: Final = tuple(
    _on(background, "#ffffff" if background == BLUE else "#000000", bold=True)
    for background in (SKY, ORANGE, GREEN, YELLOW, PURPLE, VERMILION, BLUE)
)
"""The looks of tasks, by the number of their colour."""

STATES: Final = {
    "new": ("○", DIM),
    "ready": ("◆", _on(GROUND, SKY)),
    "running": ("►", _on(GROUND, "#3fd0a6", bold=True)),
    "blocked": ("‖", _on(GROUND, ORANGE)),
    "terminated": ("■", DIM),
    "zombie": ("□", _on(GROUND, PURPLE)),
}

KINDS: Final = {
    "dispatch": _on(GROUND, "#3fd0a6", bold=True),
    "preempt": _on(GROUND, VERMILION, bold=True),
    "miss": _on(GROUND, VERMILION, bold=True),
    "block": _on(GROUND, ORANGE),
    "wake": _on(GROUND, SKY),
    "arrive": _on(GROUND, SKY, bold=True),
    "tick": _on(GROUND, YELLOW),
    "exit": _on(GROUND, PURPLE),
    "first_token": _on(GROUND, YELLOW),
    "found": _on(GROUND, SKY),
    "lost": _on(GROUND, VERMILION, bold=True),
    "abort": _on(GROUND, VERMILION, bold=True),
    "deadlock": _on(GROUND, VERMILION, bold=True),
    "share": _on(GROUND, YELLOW),
    "signal": _on(GROUND, PURPLE, bold=True),
    "suspend": _on(GROUND, ORANGE),
    "migrate": _on(GROUND, SKY, bold=True),
}


def of_task(number: int) -> Style:
    """Return the look of a task whose colour has this number (from 0)."""
    return TASKS[number % len(TASKS)]
