"""The processors: who is on each, and what it has spent its time on so far.

- The shares are of all time up to the cursor and add up to 100 %, but for rounding.
- Below an engine stand the requests that it has to do with: how many wait for a slot, how many are blocked,
  how many tokens have keys and values, and how far each of its batch has come.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from rich.style import Style
from textual.strip import Strip

from llmos.trace.records import Mode, ProcessorState, Status, TaskState
from llmos.trace.state import State
from llmos.tui import palette
from llmos.tui.tracks import Tracks
from llmos.tui.view import Listing, Part, View, chip, fit, line, loaded
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


def wanted_processors(tracks: Tracks) -> int:
    """Return how many lines the list would fill: of an engine's batch, eight at most."""
    return 1 + sum(1 if t.is_core else 3 + min(len(t.rows), 8) for t in tracks.tracks.values())


def list_processors(view: View, width: int, _height: int) -> Listing:
    """Return a heading, one line for each processor, and below an engine its requests."""
    state, more = view.timeline.state, view.timeline.under_way()
    head = fit("", 21 if width >= 56 else 13) + "".join(f"{mode:>7}" for mode, _, _ in _LOOKS)
    here = view.timeline.event.cpu if view.timeline.event else -1
    rows: list[Callable[[], Strip]] = []
    follow = 0
    for processor in state.processors.values():
        follow = len(rows) if processor.id == here else follow
        rows.append(partial(_processor, view, width, processor))
        if not processor.is_core:
            told = _of_engine(state, processor, more)
            rows += [partial(line, width, [(f"   {text}", palette.DIM)]) for text in told]
            rows += [partial(_member, view, width, task, more) for task in processor.running.values()]
    return Listing(rows, head=(line(width, [(head, palette.DIM)]),), follow=follow)


def _of_engine(state: State, engine: ProcessorState, more: dict[int, int]) -> list[str]:
    """Say what is outside of its batch, and what it has done."""
    requests = [task for task in state.tasks.values() if task.world == "request"]
    count = {status: sum(task.status is status for task in requests) for status in Status}
    kept = sum(_computed(task, more) for task in requests if task.status is not Status.TERMINATED)
    blocked = f", {count[Status.BLOCKED]} blocked" if count[Status.BLOCKED] else ""
    iterations = "1 iteration" if engine.iterations == 1 else f"{engine.iterations:,} iterations"
    return [
        f"{count[Status.READY]} waiting{blocked}, KV of {kept:,} tokens",
        f"{engine.tokens:,} tokens computed in {iterations}",
    ]


def _computed(task: TaskState, more: dict[int, int]) -> int:
    return task.computed + (more.get(task.pid, 0) if task.status is Status.RUNNING else 0)


def _member(view: View, width: int, task: TaskState, more: dict[int, int]) -> Strip:
    """Say how far a request of the batch has come: through its prompt, or with its output."""
    computed = _computed(task, more)
    if computed < task.prompt:
        done = f"prompt {computed} of {task.prompt} tokens"
    else:
        done = f"output {computed - task.prompt + 1} of {task.output} tokens"
    name = (f" {fit(task.name, 10)} ", palette.STRONG)
    return line(width, [("   ", palette.PLAIN), chip(view.timeline, task.pid), name, (done, palette.PLAIN)])


def _processor(view: View, width: int, processor: ProcessorState) -> Strip:
    parts = _on_it(view, processor, 21 if width >= 56 else 13)
    of_time = shares(processor)
    parts += [(f"{share:7.1%}", palette.PLAIN) for share in of_time]
    left = width - sum(len(text) for text, _ in parts) - 2
    if left >= _BAR:
        parts += [("  ", palette.PLAIN), *_bar(of_time)]
    if left >= _BAR + 30:
        told = f"  {processor.policy}, {processor.switches:,} switches, {processor.interrupts:,} interrupts"
        parts.append((told, palette.DIM))
    return line(width, parts)


def _on_it(view: View, processor: ProcessorState, width: int) -> list[Part]:
    """Say who is on it: the task's mark, and its name where there is room, or how full an engine is."""
    if not processor.is_core:
        count = len(processor.running)
        return [
            (" ", palette.PLAIN),
            (loaded(called(processor), count, processor.slots, width - 1), palette.STRONG),
        ]
    task = next(iter(processor.running.values()), None)
    mark: Part = (" · ", palette.DIM) if task is None else chip(view.timeline, task.pid)
    name = fit(f" {task.name}" if task else "", width - 12) if width > 13 else " "
    return [(f" {fit(called(processor), 7)} ", palette.PLAIN), mark, (name, palette.STRONG)]


def _bar(of_time: list[float]) -> list[Part]:
    """Draw the shares side by side."""
    ends, total = [], 0.0
    for share in of_time:
        total += share
        ends.append(round(total * _BAR))
    starts = [0, *ends]
    return [(sign * (b - a), style) for (_, sign, style), a, b in zip(_LOOKS, starts, ends, strict=False)]
