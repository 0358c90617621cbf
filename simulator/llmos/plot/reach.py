"""What a reference takes against the reach of the TLB: where the working set fits, walks end.

- Reach = entries of the swept level times the size of a page; the axis is logarithmic, in powers of two.
- Above: the mean time of a reference, through TLB and page table, page faults apart (these do not depend on
  the TLB). Below: the share of references that missed in that level.
- Every combination of other keys that vary is a curve.
"""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from llmos.errors import LlmosError
from llmos.plot.load import Curve, curves_of, panel
from llmos.plot.page import BODY_WIDTH, HEAD, head, nothing, page, style
from llmos.plot.results import Results, scaled
from llmos.plot.texts import BODY, shorten, width_of
from llmos.plot.words import in_words, wording

HEIGHT = 2.0
LEFT, BETWEEN = 0.65, 0.3
LONGEST_NAME = 1.4
TIME = "memory.access_mean_ns"
MISSES = {"first": "memory.tlb_first_miss_ratio"}
"""By the level that varies; who misses in a last one misses in all."""
ENTRIES = "entries"
SIZES = (("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0))


def eat(results: Results, page_bytes: int = 0) -> Figure:
    """Return the time of a reference, and how often the TLB missed, against its reach.

    results: a sweep over the entries of a level, as in `memory.tlb.first.entries`.
    page_bytes: the size of a page; 0 = not known, and the reach is in pages.

    Raises LlmosError when no such key varies.
    """
    keys = [name for name in results.keys if name.rpartition(".")[2] == ENTRIES and "tlb" in name.split(".")]
    if len(keys) != 1:
        hint = 'sweep one level of the TLB, as in --set "memory.tlb.first.entries=16,64,256"'
        what = f"several levels vary: {', '.join(keys)}" if keys else "no number of TLB entries varies"
        raise LlmosError(
            f"effective access time is drawn against the reach of the TLB, and {what}", hint=hint
        )
    [key] = keys
    scale = scaled(results.keys[key])
    if scale is None:
        raise LlmosError(f'the values of "{key}" are no numbers', hint="sweep numbers of entries")
    reach = [entries * (page_bytes or 1) for entries in scale[0]]
    numbers = dict(zip(results.keys[key], reach, strict=True))
    metrics = (TIME, MISSES.get(key.split(".")[-2], "memory.tlb_miss_ratio"))
    panels = {name: curves for name in metrics if (curves := curves_of(results, name, key, numbers))}
    title = results.question or "How much does the reach of the TLB matter?"
    if not panels:
        return nothing(title, results.caption(), f"Nothing to show: no run has {' or '.join(metrics)}.")
    with style():
        return _draw(results, title, panels, key, page_bytes)


# --- drawing ------------------------------------------------------------------------------------------


def _draw(results: Results, title: str, panels: dict[str, list[Curve]], key: str, page_bytes: int) -> Figure:
    tall = HEAD + HEIGHT
    about = f"pages of {size(page_bytes)}" if page_bytes else ""
    sheet = page(title, results.caption(about), len(panels) * (tall + BETWEEN) - BETWEEN + 0.42)
    names = {
        shorten(c.name, LONGEST_NAME, BODY, bold=True, middle=True) for each in panels.values() for c in each
    }
    right = max(width_of(name, BODY, bold=True) for name in names) + 0.15
    width, paper = BODY_WIDTH - LEFT - right, sheet.paper()
    for i, (name, curves) in enumerate(panels.items()):
        words = wording(name)[1]
        unit = words.unit([m.mean for c in curves for m in c.means])
        title = in_words(name)
        head(paper, LEFT, i * (tall + BETWEEN), width, title[:1].upper() + title[1:], words.small_print(unit))
        ax = sheet.axes(LEFT, i * (tall + BETWEEN) + HEAD, width, HEIGHT)
        ax.set_label(name)
        panel(ax, curves, unit, timed=words.kind == "time")
        _reach(ax, page_bytes)
        if i == len(panels) - 1:
            level = key.split(".")[-2]
            ax.set_xlabel(f"reach of the {level} level of the TLB" + ("" if page_bytes else " (pages)"))
        else:
            ax.tick_params(axis="x", labelbottom=False)
    return sheet.figure


def _reach(ax: Axes, page_bytes: int) -> None:
    """Make the horizontal axis one of powers of two."""
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(LogLocator(base=2, numticks=12))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: size(x) if page_bytes else f"{x:,.4g}"))


def size(n: float) -> str:
    """Write a size with the largest unit that it fills: "64 KiB"."""
    name, power = next(((name, power) for name, power in SIZES if n >= 1 << power), SIZES[-1])
    return f"{n / (1 << power):,.4g} {name}"
