"""The page that every figure stands on: title, body, caption; and saving it.

- A page is laid out in inches before anything is drawn, so that no text covers another.
- Whatever the user's matplotlib settings are, ours apply while a figure is built or saved, and theirs
  are back afterwards.
- The same figure gives the same bytes: no dates, and fixed identifiers in SVG.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from llmos.errors import LlmosError
from llmos.files import write_whole
from llmos.plot.looks import INK, QUIET, RULE
from llmos.plot.texts import BODY, CAPTION, FAMILY, HEADING, SMALL, TITLE, clean, line, shorten, wrap
from llmos.plot.words import duration, number

WIDTH = 9.0
"""Of a page, in inches: at 100 dots each, the width of a README."""
DPI = 200
MARGIN = 0.2
MOST_TITLE_LINES, MOST_CAPTION_LINES = 3, 6
FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}

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
    titles = wrap(title, BODY_WIDTH, TITLE, MOST_TITLE_LINES, bold=True) if clean(title) else []
    below = [
        each
        for text in caption
        if clean(text)
        for each in wrap(text, BODY_WIDTH, CAPTION, MOST_CAPTION_LINES)
    ]
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


HEAD = line(HEADING) + line(SMALL) + 0.1
"""Room for a panel's title and its small print."""


def head(paper: Axes, left: float, top: float, width: float, title: str, small: str) -> None:
    """Write a panel's title and its small print on a page's paper."""
    title = shorten(title, width, HEADING, bold=True)
    paper.text(left, top, title, size=HEADING, weight="bold", va="top")
    paper.text(left, top + line(HEADING), shorten(small, width, SMALL), size=SMALL, color=QUIET, va="top")


def round_numbers(axis: Axis, most: int) -> None:
    """Give an axis at most about so many ticks, at round numbers."""
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.6g}"))


def decades(axis: Axis, *, timed: bool) -> None:
    """Give a logarithmic axis a tick at powers of ten, as times (ns) or as numbers."""
    axis.set_major_locator(LogLocator(numticks=7))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda x, _: duration(x) if timed else number(x)))


def nothing(title: str, caption: Sequence[str], why: str) -> Figure:
    """Return a page that says why there is nothing on it."""
    lines = wrap(why, BODY_WIDTH - 1, HEADING, MOST_CAPTION_LINES)
    with style():
        sheet = page(title, caption, 1.0 + len(lines) * line(HEADING))
        ax = sheet.paper()
        ax.text(0.5, 0.5, "\n".join(lines), transform=ax.transAxes, size=HEADING, color=QUIET, ha="center",
                va="center")  # fmt: skip
    return sheet.figure


def check_path(path: str | Path) -> None:
    """See to it that a figure can be written to `path`, before anything has run.

    Raises LlmosError when its suffix is another one, or it is a folder.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise LlmosError(
            f'a figure cannot be written as "{suffix}"' if suffix else "the name of a figure needs a suffix",
            file=path,
            hint=f"allowed: {', '.join(FORMATS)}",
        )
    if path.is_dir():
        raise LlmosError("this is a folder; name a file", file=path)


def save(figure: Figure, path: str | Path) -> None:
    """Write `figure` to `path`, as PNG, SVG or PDF by its suffix, whole or not at all.

    Raises LlmosError when the suffix is another one, or the file cannot be written.
    """
    check_path(path)
    suffix = Path(path).suffix.lower()
    about: dict[str, Any] = {"Title": clean(str(figure.get_label())) or "llmos"}
    if suffix == ".png":
        about |= {"Software": "llmos"}
    else:
        about |= {"Creator": "llmos"} | ({"Date": None} if suffix == ".svg" else {"CreationDate": None})
    data = BytesIO()
    with style():
        figure.savefig(data, format=FORMATS[suffix], dpi=DPI, metadata=about)
    write_whole(path, data.getvalue())
