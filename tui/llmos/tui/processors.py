"""The processors: who is on each, and what it has spent its time on so far.

- The shares are of all time up to the cursor and add up to 100 %, but for rounding.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from rich.style import Style
from textual.strip import Strip

from llmos.trace.records import Mode, ProcessorState
from llmos.tui import palette
from llmos.tui.view import Listing, Part, View, chip, fit, line
from llmos.tui.words import called

_LOOKS: Final = (
    (Mode.USER, "█", Style(color=palette.GREEN, bgcolor=palette.GROUND)),
    (Mode.KERNEL, "▓", Style(color=palette.VERMILION, bgcolor=palette.GROUND)),
    (Mode.SWITCH, "▒", Style(color=palette.YELLOW, bgcolor=palette.GROUND)),
    (Mode.IDLE, "·", palette.DIM),
)
_BAR: Final = 20


def shares(processor: ProcessorState) -> list[float]:
    """Return what part of the time so far went to the user, the kernel, switches and idling."""
    total = max(sum(processor.spent_ns.values()), 1)
    return [processor.spent_ns[mode] / total for mode, _, _ in _LOOKS]


def list_processors(view: View, width: int, _height: int) -> Listing:
    """Return a heading and one line for each processor."""
    processors = view.timeline.state.processors
    head = fit("", 21 if width >= 56 else 13) + "".join(f"{mode:>7}" for mode, _, _ in _LOOKS)
    here = view.timeline.event.cpu if view.timeline.event else -1
    return Listing(
        [partial(_processor, view, width, processor) for processor in processors.values()],
        head=(line(width, [(head, palette.DIM)]),),
        follow=list(processors).index(here) if here in processors else 0,
    )


def _processor(view: View, width: int, processor: ProcessorState) -> Strip:
    parts: list[Part] = [(f" {fit(called(processor), 7)} ", palette.PLAIN), *_on_it(view, processor)]
    if width >= 56:
        parts.append((_named(processor), palette.STRONG))
    of_time = shares(processor)
    parts += [(f"{share:7.1%}", palette.PLAIN) for share in of_time]
    left = width - sum(len(text) for text, _ in parts) - 2
    if left >= _BAR:
        parts += [("  ", palette.PLAIN), *_bar(of_time)]
    if left >= _BAR + 30:
        told = f"  {processor.policy}, {processor.switches:,} switches, {processor.interrupts:,} interrupts"
        parts.append((told, palette.DIM))
    return line(width, parts)


def _on_it(view: View, processor: ProcessorState) -> list[Part]:
    """Say who is on it: the task's mark, or how full an engine is."""
    if not processor.is_core:
        return [(fit(f"{len(processor.running)}/{processor.slots}", 4), palette.STRONG)]
    pid = next(iter(processor.running), None)
    return [(" ·  ", palette.DIM)] if pid is None else [chip(view.timeline, pid), (" ", palette.PLAIN)]


def _named(processor: ProcessorState) -> str:
    if not processor.is_core:
        return fit("", 8)
    return fit(next((task.name for task in processor.running.values()), ""), 8)


def _bar(of_time: list[float]) -> list[Part]:
    """Draw the shares side by side."""
    ends, total = [], 0.0
    for share in of_time:
        total += share
        ends.append(round(total * _BAR))
    starts = [0, *ends]
    return [(sign * (b - a), style) for (_, sign, style), a, b in zip(_LOOKS, starts, ends, strict=False)]
