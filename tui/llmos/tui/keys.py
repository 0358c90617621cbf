"""The keys: what each is bound to, what it is called on the screen, and what it does.

- The bindings, the help and the line of keys at the bottom are all made from this one table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple


class Key(NamedTuple):
    """Keys that do the same.

    `what` is what the help says, and `brief` what the bottom line says, in this order, while there is
    room. Where one of them is empty, that of the next key speaks for both.
    """

    bound: str
    """As textual calls them."""
    action: str
    shown: str
    what: str = ""
    brief: str = ""


KEYS: Final = (
    Key("space", "run_or_pause", "space", "run or pause", "run"),
    Key("left,comma", "step_back", "← or ,", "step back: undo the last event, exactly"),
    Key("right,full_stop", "step", "→ or .", "step: let the next event happen", "step"),
    Key("n", "next_switch", "n", "run to the next switch: another task is dispatched", "switch"),
    Key("N", "next_preemption", "N", "run to the next preemption", "preempt"),
    Key("g", "go_to", "g", "go to a time: 12 ms, 1.5 s, 1200000", "time"),
    Key("plus,equals_sign", "speed(1)", "+", ""),
    Key("minus", "speed(-1)", "-", "play faster, slower", "speed"),
    Key("question_mark", "help", "?", "this help", "help"),
    Key("q,ctrl+c", "quit", "q", "quit", "quit"),
    Key("v", "turn", "v", "show queues, what is shared, or cores", "view"),
    Key("left_square_bracket", "zoom(-1)", "[", ""),
    Key("right_square_bracket", "zoom(1)", "]", "let the chart show more time, less time", "zoom"),
    Key("home", "go_home", "home", "", "first"),
    Key("end", "go_end", "end", "go to the beginning, to the end", "last"),
    Key("t", "living_only", "t", "hide terminated tasks, or show them again"),
)

IN_PANES: Final = (
    ("tab", "go to the next pane; ↑ ↓ and the page keys scroll it"),
    ("esc", "let the pane follow the cursor again"),
)

SIGNS: Final = (
    ("► ◆ ‖ ■ □", "running, ready, blocked, terminated, zombie"),
    ("▸", "the last event, its task and its processor"),
    ("· ╎ ╪", "idle, a context switch, other kernel work"),
    ("▒", "several tasks, or one and idle time, in a cell: zoom in"),
    ("▁▄█", "how full the engine's batch is"),
)
"""What else is on the screen."""


def help_lines() -> list[tuple[str, str]]:
    """Return what the help says: (keys or signs, what they mean)."""
    return [*_paired((key.shown, key.what) for key in KEYS), *IN_PANES, *SIGNS]


def bottom_line() -> list[tuple[str, str]]:
    """Return what the bottom line says: (keys, what they do), the most wanted first."""
    return _paired((key.shown.split()[0], key.brief) for key in KEYS)


def _paired(keys: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    said, first = [], ""
    for key, text in keys:
        if text:
            said.append((f"{first} {key}".strip(), text))
        first = "" if text else key
    return said
