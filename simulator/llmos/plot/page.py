"""The page that every figure stands on: title, body, caption; and saving it.

- A page is laid out in inches before anything is drawn, with texts measured in DejaVu Sans, which
  comes with matplotlib: the same layout on every machine, and no text over another.
- Whatever the user's matplotlib settings are, ours apply while a figure is built or saved, and theirs
  are back afterwards.
- The same figure gives the same bytes: no dates, and fixed identifiers in SVG.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path

from llmos.errors import LlmosError
from llmos.files import write_whole
from llmos.plot.looks import INK, QUIET, RULE

WIDTH = 9.0
"""Of a page, in inches: at 100 dots each, the width of a README."""
DPI = 200
MARGIN = 0.2
POINTS = 72.0
TITLE, HEADING, BODY, SMALL, CAPTION = 13.0, 10.0, 9.0, 8.0, 7.5
"""Sizes of text, in points."""
MOST_TITLE_LINES, MOST_CAPTION_LINES = 3, 6
FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}

FAMILY = "DejaVu Sans"
STYLE: dict[str, Any] = {
    "font.family": [FAMILY],
    "font.size": BODY,
    "text.parse_math": False,  # A task may be called "$1".
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "axes.labelsize": SMALL,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "grid.color": RULE,
    "hatch.linewidth": 0.6,
    "svg.hashsalt": "llmos",
    "xtick.color": QUIET,
    "xtick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "ytick.color": QUIET,
    "ytick.labelcolor": INK,
    "ytick.labelsize": SMALL,
}


def style() -> AbstractContextManager[None]:
    """Our settings for the time of a block, over matplotlib's defaults."""
    return matplotlib.style.context(["default", STYLE])


@dataclass(frozen=True, slots=True)
class Page:
    """A figure with a title above and a caption below; `top` and `bottom` bound its body (inches)."""

    figure: Figure
    top: float
    bottom: float
    left: float = MARGIN
    right: float = WIDTH - MARGIN

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Return axes at a place in the body: inches from its top left corner."""
        w, h = self.figure.get_size_inches()
        box = ((self.left + left) / w, (h - self.top - top - height) / h, width / w, height / h)
        return self.figure.add_axes(box)

    def paper(self) -> Axes:
        """Return axes over the whole body whose data are inches from its top left corner, y downwards."""
        h = self.figure.get_size_inches()[1]
        width, height = self.right - self.left, h - self.top - self.bottom
        ax = self.axes(0, 0, width, height)
        ax.set(xlim=(0, width), ylim=(height, 0), label="paper")
        ax.set_axis_off()
        return ax


BODY_WIDTH = WIDTH - 2 * MARGIN


def page(title: str, caption: Sequence[str], body_height: float) -> Page:
    """Return a page whose body is `body_height` inches high. Empty captions are left out."""
    titles = wrap(title, BODY_WIDTH, TITLE, bold=True, most=MOST_TITLE_LINES) if clean(title) else []
    below = [line for text in caption if clean(text) for line in wrap(text, BODY_WIDTH, CAPTION)]
    below = below[:MOST_CAPTION_LINES]
    top = MARGIN + len(titles) * line(TITLE) + (0.12 if titles else 0)
    bottom = MARGIN + len(below) * line(CAPTION) + (0.08 if below else 0)
    height = top + body_height + bottom
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white", label=" ".join(titles))
    FigureCanvasAgg(figure)
    left = MARGIN / WIDTH
    for i, text in enumerate(titles):
        y = 1 - (MARGIN + i * line(TITLE)) / height
        figure.text(left, y, text, size=TITLE, weight="bold", va="top")
    for i, text in enumerate(reversed(below)):
        y = (MARGIN * 0.75 + i * line(CAPTION)) / height
        figure.text(left, y, text, size=CAPTION, color=QUIET, va="bottom")
    return Page(figure, top, bottom)


def nothing(title: str, caption: Sequence[str], why: str) -> Figure:
    """Return a page that says why there is nothing on it."""
    lines = wrap(why, BODY_WIDTH - 1, HEADING)
    with style():
        sheet = page(title, caption, 1.0 + len(lines) * line(HEADING))
        ax = sheet.paper()
        ax.text(0.5, 0.5, "\n".join(lines), transform=ax.transAxes, size=HEADING, color=QUIET, ha="center",
                va="center")  # fmt: skip
    return sheet.figure


def save(figure: Figure, path: str | Path) -> None:
    """Write `figure` to `path`, as PNG, SVG or PDF by its suffix, whole or not at all.

    Raises LlmosError when the suffix is another one, or the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise LlmosError(
            f'a figure cannot be written as "{suffix}"' if suffix else "the name of a figure needs a suffix",
            file=path,
            hint=f"allowed: {', '.join(FORMATS)}",
        )
    about: dict[str, Any] = {"Title": clean(str(figure.get_label())) or "llmos"}
    if suffix == ".png":
        about |= {"Software": "llmos"}
    else:
        about |= {"Creator": "llmos"} | ({"Date": None} if suffix == ".svg" else {"CreationDate": None})
    data = BytesIO()
    with style():
        figure.savefig(data, format=FORMATS[suffix], dpi=DPI, metadata=about)
    write_whole(path, data.getvalue())


# --- texts, measured before they are drawn ------------------------------------------------------------


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
    if len(text) * size / POINTS < 40 * WIDTH and width_of(text, size, bold=bold) <= width:
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


def wrap(
    text: str, width: float, size: float, *, bold: bool = False, most: int = MOST_CAPTION_LINES
) -> list[str]:
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
