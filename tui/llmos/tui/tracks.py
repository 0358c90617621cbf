"""Who was where and when, as rows to draw: one for each core, one for each slot of an engine.

- A fold over the log: `apply` takes the events in order, once. A row at an earlier time is what lies
  left of that time, so that rewinding needs no other fold.
- A piece is a stay of a task in a row, from its dispatch until it leaves; the kernel's work (`overhead`)
  lies on top of it and takes its time.
- It also notes what kinds of facts the log has at all: which columns, how many shelves and shared things
  are worth room on a screen, so that panes do not change their size while the cursor moves.
- `cells` answers what fills each cell of a row when a cell stands for so many nanoseconds. It looks at
  the first `LOOK` pieces of a cell, so that a drawing costs the same however long the log is, and keeps
  the cells that are over.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from string import ascii_letters, digits
from typing import Final, NamedTuple

from llmos.trace import events as ev
from llmos.trace.records import Mode
from llmos.tui.words import called

LOOK: Final = 12
COLOURS: Final = 7
MOST_KNOWN: Final = 5000
"""So many cells of a row are kept, at most."""


@dataclass(slots=True)
class Piece:
    """A stay of task `pid`, [start_ns, end_ns); end_ns is None while it lasts."""

    start_ns: int
    pid: int
    end_ns: int | None = None


class Work(NamedTuple):
    """Kernel work on a processor, [start_ns, end_ns)."""

    start_ns: int
    end_ns: int
    mode: Mode


class Cell(NamedTuple):
    """What fills most of a cell: a pid, a mode in which no task works, or None where nothing is known."""

    fill: int | Mode | None
    other: int | None = None
    """The next one, if other tasks together had at least a third of it."""


@dataclass(slots=True)
class Row:
    """A core, or one slot of an engine."""

    cpu: int
    slot: int
    pieces: list[Piece] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """When the pieces begin."""
    cell_ns: int = 0
    cells: dict[int, Cell] = field(default_factory=dict)
    """Cells of `cell_ns` that are over, by their begin: nothing changes them any more."""


@dataclass(slots=True)
class Track:
    """A processor: its rows, its kernel work, and how many tasks were on it since when."""

    processor: ev.Processor
    rows: list[Row] = field(default_factory=list)
    overhead: list[Work] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """When the pieces of kernel work begin."""
    places: dict[int, Row] = field(default_factory=dict)
    """Where each task is that is on it now, by pid."""
    load: list[tuple[int, int]] = field(default_factory=list)
    """(since when, how many tasks)."""

    @property
    def is_core(self) -> bool:
        """Whether it is a core, with one row, and no engine."""
        return self.processor.kind == "core"

    @property
    def name(self) -> str:
        """What to call it."""
        return called(self.processor)


class Tracks:
    """All rows of a machine, and for each task a letter and a colour to know it by."""

    def __init__(self) -> None:
        self.tracks: dict[int, Track] = {}
        self.names: dict[int, str] = {}
        """What each task was called when it arrived."""
        self.renamed: dict[int, list[tuple[int, str]]] = {}
        """(since when, what it is called) of those that became other programs."""
        self.facts: set[str] = set()
        """Which facts about tasks, beyond those that all have, the log tells: "nice", "group" ..."""
        self.shelves: dict[int, int] = {}
        """The most shelves that each ready queue has had, by processor."""
        self.shared: set[str] = set()
        self.marks: dict[int, str] = {}
        """One letter for each task; no two living ones have the same while there are any left."""
        self.colours: dict[int, int] = {}
        """The number of a colour for each task, the one that the fewest living ones have."""
        self._free_marks = dict.fromkeys(ascii_letters[26:] + digits + ascii_letters[:26])
        self._worn = [0] * COLOURS
        self._over: set[int] = set()

    def apply(self, event: ev.Event) -> None:
        """Note what `event` says about tasks, places and what else there is."""
        match event:
            case ev.Run():
                self.tracks = {p.id: Track(p, [Row(p.id, 0)]) for p in event.processors}
                engines = {track.is_core for track in self.tracks.values()}
                self.facts |= ({"tokens"} if False in engines else set()) | (
                    {"kind"} if len(engines) > 1 else set()
                )
            case ev.Arrive():
                self._name(event)
                self._note(prio=event.priority, nice=event.nice, group=event.group)
                self._note(tickets=event.tickets != 1, due=event.deadline >= 0)
            case ev.Exec():
                self.renamed.setdefault(event.task, []).append((event.t, event.name))
            case ev.Change():
                self._note(prio=event.priority, nice=event.nice)
            case ev.Release():
                self._note(due=True)
            case ev.Miss():
                self._note(missed=True)
            case ev.Fault() | ev.Region():
                self._note(pages=True, faults=True)
            case ev.Queue():
                self.shelves[event.cpu] = max(self.shelves.get(event.cpu, 0), len(event.shelves), 1)
            case ev.Share():
                self.shared.add(event.name)
            case ev.Exit():
                self._forget(event.task)
        track = self.tracks.get(event.cpu)
        if track is not None:
            self._place(track, event)

    def _note(self, **facts: object) -> None:
        self.facts.update(name for name, fact in facts.items() if fact)

    def _place(self, track: Track, event: ev.Event) -> None:
        """Note who is where, and what the kernel does there."""
        match event:
            case ev.Dispatch():
                self._enter(track, event)
            case ev.Preempt() | ev.Yield() | ev.Block() | ev.Exit() | ev.Abort():
                self._leave(track, event.task, event.t)
            case ev.Renew():
                _work(track, event.t, event.decision_ns, Mode.KERNEL)
            case _:
                _work(track, event.t, ev.kernel_ns(event), Mode.KERNEL)

    def name(self, pid: int, t: int) -> str:
        """Return what a task was called at `t`."""
        name = self.names.get(pid, str(pid))
        if pid in self.renamed:
            earlier = [new for since, new in self.renamed[pid] if since <= t]
            name = earlier[-1] if earlier else name
        return name

    def _name(self, event: ev.Arrive) -> None:
        """Give a task its mark, a letter of its name if one of them is left, and its colour."""
        pid, name = event.task, event.name
        if pid in self.names:
            return
        self.names[pid] = name
        last = name[-1:]
        wanted = [*(last if last.isdigit() else ""), *name, *self._free_marks]
        mark = next((c for c in wanted if c in self._free_marks), "")
        self._free_marks.pop(mark, None)
        self.marks[pid] = mark or (ascii_letters + digits)[pid % 62]
        self.colours[pid] = self._worn.index(min(self._worn))
        self._worn[self.colours[pid]] += 1

    def _forget(self, pid: int) -> None:
        """Let another task have the mark and the colour of one that has terminated."""
        if pid in self.names and pid not in self._over:
            self._over.add(pid)
            self._free_marks[self.marks[pid]] = None
            self._worn[self.colours[pid]] -= 1

    def _enter(self, track: Track, event: ev.Dispatch) -> None:
        _work(track, event.t, event.decision_ns, Mode.KERNEL)
        _work(track, event.t, event.switch_ns, Mode.SWITCH)
        self._leave(track, event.task, event.t)
        taken = {row.slot for row in track.places.values()}
        row = next((row for row in track.rows if row.slot not in taken), None)
        if row is None:
            row = Row(track.processor.id, len(track.rows))
            track.rows.append(row)
        row.pieces.append(Piece(event.t, event.task))
        row.starts.append(event.t)
        track.places[event.task] = row
        _count(track, event.t)

    def _leave(self, track: Track, pid: int, t: int) -> None:
        row = track.places.pop(pid, None)
        if row is not None:
            row.pieces[-1].end_ns = t
            _count(track, t)

    # --- looking ------------------------------------------------------------------------------------

    def cells(self, row: Row, start_ns: int, cell_ns: int, count: int, until_ns: int) -> list[Cell]:
        """Return what fills `count` cells of `row` from `start_ns` on; nothing is known after `until_ns`."""
        track, known = self.tracks[row.cpu], row.cells
        if row.cell_ns != cell_ns or len(known) > MOST_KNOWN:
            row.cell_ns = cell_ns
            known.clear()
        out = []
        for a in range(start_ns, start_ns + count * cell_ns, cell_ns):
            if a >= until_ns:
                out.append(Cell(None))
            elif a + cell_ns > until_ns:  # it goes on
                out.append(_cell(row, track, a, until_ns))
            else:
                if a not in known:
                    known[a] = _cell(row, track, a, a + cell_ns)
                out.append(known[a])
        return out

    def load(self, track: Track, start_ns: int, cell_ns: int, count: int, until_ns: int) -> list[int]:
        """Return how many tasks were on a processor at the beginning of each cell; -1 after `until_ns`."""
        out = []
        for i in range(count):
            a = start_ns + i * cell_ns
            at = bisect_right(track.load, a, key=lambda step: step[0]) - 1
            out.append(-1 if a >= until_ns else track.load[at][1] if at >= 0 else 0)
        return out

    def typical_ns(self) -> int:
        """Return the median length of a processor's first stays, of the quickest one; 0 if there are none."""
        medians = []
        for track in self.tracks.values():
            pieces = [piece for row in track.rows for piece in row.pieces[:1000]]
            lengths = sorted(p.end_ns - p.start_ns for p in pieces if p.end_ns is not None)
            medians += lengths[len(lengths) // 2 :][:1]
        return min(medians, default=0)


def _work(track: Track, t: int, cost_ns: int, mode: Mode) -> None:
    """Note kernel work that begins at `t`, or when the work before it is done."""
    if cost_ns > 0:
        start = max(t, track.overhead[-1].end_ns if track.overhead else 0)
        track.overhead.append(Work(start, start + cost_ns, mode))
        track.starts.append(start)


def _count(track: Track, t: int) -> None:
    if track.load and track.load[-1][0] == t:
        track.load.pop()
    track.load.append((t, len(track.places)))


def _cell(row: Row, track: Track, a: int, b: int) -> Cell:
    """Return what fills [a, b), or the part of it that its first pieces cover."""
    here = max(bisect_right(row.starts, a) - 1, 0)
    there = max(bisect_right(track.starts, a) - 1, 0)
    for starts, first in ((row.starts, here), (track.starts, there)):
        if first + LOOK < len(starts):
            b = max(a + 1, min(b, starts[first + LOOK]))
    shares: dict[int | Mode, int] = {Mode.IDLE: b - a}
    for piece in row.pieces[here : here + LOOK]:
        if piece.start_ns >= b:
            break
        inside = (b if piece.end_ns is None else min(b, piece.end_ns)) - max(a, piece.start_ns)
        if inside > 0:
            shares[piece.pid] = shares.get(piece.pid, 0) + inside
            shares[Mode.IDLE] -= inside
    for work in track.overhead[there : there + LOOK]:
        if work.start_ns >= b:
            break
        inside = min(b, work.end_ns) - max(a, work.start_ns)
        if inside > 0:  # it takes its time from the task that it interrupts, or from idle time
            shares[work.mode] = shares.get(work.mode, 0) + inside
            key = _at(row, max(a, work.start_ns))
            shares[key] = shares.get(key, 0) - inside
    fill = max(shares, key=shares.__getitem__)
    others = [key for key, ns in shares.items() if ns > 0 and key != fill and not isinstance(key, Mode)]
    several = others and 3 * sum(shares[key] for key in others) >= b - a
    return Cell(fill, max(others, key=shares.__getitem__) if several else None)


def _at(row: Row, t: int) -> int | Mode:
    """Return who is in `row` at `t`."""
    i = bisect_right(row.starts, t) - 1
    if i < 0:
        return Mode.IDLE
    piece = row.pieces[i]
    return piece.pid if piece.end_ns is None or t < piece.end_ns else Mode.IDLE
