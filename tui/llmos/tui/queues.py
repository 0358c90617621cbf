"""The ready queues: each as its policy draws it, a shelf under each heading.

- What is shown is `State.queues`, nothing else: the policy's own order and figures, as of its last
  decision. A task that has left the queue since then is dim; those that came since then are listed last.
- A log without such drawings shows the ready tasks of each world, in the order of becoming ready.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice, takewhile
from typing import Final, NamedTuple

from rich.cells import cell_len
from textual.strip import Strip

from llmos.trace.records import ProcessorState, Status
from llmos.trace.state import State
from llmos.tui import palette
from llmos.tui.view import Listing, Part, View, chip, fit, line
from llmos.tui.words import called, short

MOST: Final = 50
"""Of a plain queue so many tasks are shown."""
ROOMY: Final = 60
"""From so many columns on, headings stand beside their shelves and not above them."""


class Shelf(NamedTuple):
    """A part of a ready queue: pids in order, each with the figure that orders it."""

    heading: str
    entries: list[tuple[int, str]]
    cpu: int = -1
    """The first processor that it serves, if that is known."""


def shelves(state: State) -> list[Shelf]:
    """Return all ready queues of a machine, from top to bottom."""
    worlds = {"process": "cores", "request": "engine"}
    by_world = {w: [p for p in state.processors.values() if p.is_core == (w == "process")] for w in worlds}
    there = {world: processors for world, processors in by_world.items() if processors}
    found = []
    for world, processors in there.items():
        name = worlds[world] if len(there) > 1 else ""
        found += _drawn(state, world, processors, name) or _plain(state, world, name)
    return found


def _drawn(state: State, world: str, processors: list[ProcessorState], name: str) -> list[Shelf]:
    """Return the queues of one world as their policies draw them; none if no policy does."""
    queues = [(p, state.queues[p.id]) for p in processors if p.id in state.queues]
    if not any(drawing for _, drawing in queues):
        return []
    found = []
    for processor, drawing in queues:
        owner = called(processor) if len(queues) > 1 else name
        for heading, entries in drawing or [("", [])]:
            found.append(Shelf(f"{owner} {heading}".strip(), entries, processor.id))
    known = {pid for shelf in found for pid, _ in shelf.entries}
    latest = takewhile(lambda task: task.since_ns == state.now, reversed(state.ready.values()))
    coming = [(t.pid, t.reason) for t in latest if t.world == world and t.pid not in known]
    return [*found, Shelf("just came", coming[::-1])] if coming else found


def _plain(state: State, world: str, name: str) -> list[Shelf]:
    waiting = (task for task in state.ready.values() if task.world == world)
    return [Shelf(name, [(t.pid, f"for {short(state.now - t.since_ns)}") for t in islice(waiting, MOST)])]


def list_queues(view: View, width: int, height: int) -> Listing:
    """Return the shelves, entries side by side; where there is no room for all, without the empty ones."""
    found = shelves(view.timeline.state)
    rows = list(_rows(view, found, width))
    if len(rows) > height:
        rows = list(_rows(view, [shelf for shelf in found if shelf.entries] or found, width))
    here = view.timeline.event.cpu if view.timeline.event else -1
    follow = next((i for i, row in enumerate(rows) if row.cpu == here), 0)
    return Listing([partial(_line, view, width, row) for row in rows], follow=follow)


class _Row(NamedTuple):
    cpu: int
    heading: str
    entries: list[tuple[int, str]]
    label: int
    name: int
    figure: int
    """The widths of the label and of an entry's parts."""


def _rows(view: View, found: list[Shelf], width: int) -> Iterator[_Row]:
    tasks = view.timeline.state.tasks
    entries = [entry for shelf in found for entry in shelf.entries]
    label = max((cell_len(shelf.heading) + 2 for shelf in found), default=0) if width >= ROOMY else 0
    label = min(max(label, 1), width // 3)
    name = min(max((cell_len(tasks[pid].name) for pid, _ in entries if pid in tasks), default=0), 10)
    figure = max((cell_len(text) for _, text in entries), default=0)
    figure = max(min(figure, width - label - name - 6), 0)
    each = max((width - label) // (name + figure + 6), 1)
    for heading, pids, cpu in found:
        above = heading and width < ROOMY
        if above:
            yield _Row(cpu, f"{heading}{'' if pids else ': nobody'}", [], width, 0, 0)
        for i in range(0, len(pids) if above else max(len(pids), 1), each):
            beside = "" if above or i else heading
            yield _Row(cpu, beside, pids[i : i + each], label, name, figure)


def _line(view: View, width: int, row: _Row) -> Strip:
    parts: list[Part] = [(fit(f" {row.heading}", row.label), palette.HEADING)]
    state = view.timeline.state
    for pid, figure in row.entries:
        task = state.tasks.get(pid)
        here = task is not None and task.status is Status.READY
        parts += [
            chip(view.timeline, pid),
            (" " + fit(task.name if task else str(pid), row.name), palette.STRONG if here else palette.DIM),
            (" " + fit(figure, row.figure) + " ", palette.PLAIN if here else palette.DIM),
        ]
    if not row.entries and row.label < width:
        parts.append(("nobody" if row.heading else "nobody waits for a processor", palette.DIM))
    return line(width, parts)
