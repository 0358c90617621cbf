"""Texts, measured before they are drawn, in inches.

- Measured in DejaVu Sans, which comes with matplotlib: the same layout on every machine.
- What does not fit is cut and ends in "…"; what the font cannot write is a box.
"""

from __future__ import annotations

from functools import lru_cache

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path

FAMILY = "DejaVu Sans"
POINTS = 72.0
TITLE, HEADING, BODY, SMALL, CAPTION = 13.0, 10.0, 9.0, 8.0, 7.5
"""Sizes of text, in points."""


def line(size: float) -> float:
    """Return the height of a line of text of a size (points), in inches."""
    return 1.3 * size / POINTS


@lru_cache(maxsize=4096)
def width_of(text: str, size: float, *, bold: bool = False) -> float:
    """Return how wide a text will be, in inches; a little more than less."""
    font = FontProperties(family=FAMILY, size=size, weight="bold" if bold else "normal")
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, ismath=False)
    return 1.02 * float(width) / POINTS


def clean(text: str) -> str:
    """Return a text on one line, with a box for what the font cannot write."""
    known = _characters()
    return "".join(c if ord(c) in known else "\u25a1" for c in " ".join(str(text).split()))


@lru_cache(maxsize=1)
def _characters() -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family=FAMILY))).get_charmap())


def shorten(text: str, width: float, size: float, *, bold: bool = False, middle: bool = False) -> str:
    """Return `text`, or as much of its beginning (or of both ends) as `width` inches hold, with "…".

    "" when not even one letter fits.
    """
    text = clean(text)
    # No text is wider than the letters that could ever fit; so a novel costs no more than a line.
    if len(text) * size / POINTS < 400 and width_of(text, size, bold=bold) <= width:
        return text
    low, high = 0, min(len(text), int(40 * width * POINTS / size) + 1)
    while low < high:
        keep = (low + high + 1) // 2
        fits = width_of(_cut(text, keep, middle=middle), size, bold=bold) <= width
        low, high = (keep, high) if fits else (low, keep - 1)
    return _cut(text, low, middle=middle) if low else ""


def _cut(text: str, keep: int, *, middle: bool) -> str:
    tail = keep // 2 if middle else 0
    return text[: keep - tail].rstrip() + "…" + (text[-tail:].lstrip() if tail else "")


def wrap(text: str, width: float, size: float, most: int, *, bold: bool = False) -> list[str]:
    """Return `text` as at most `most` lines of `width` inches; what is too long ends in "…"."""
    words = clean(text).split(" ")
    lines = [""]
    for i, word in enumerate(words):
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or width_of(longer, size, bold=bold) <= width:
            lines[-1] = longer
        elif len(lines) < most:
            lines.append(word)
        else:
            lines[-1] += " " + " ".join(words[i:])
            break
    return [shorten(each, width, size, bold=bold) for each in lines]
