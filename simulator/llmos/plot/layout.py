"""What a timeline shows and where, before anything is drawn: worlds, their lanes and rows.

- Lengths are inches, from the top left corner of the page's body; times are ns.
- A core is a row. An engine is a row per slot, or one area when its slots or spans are too many.
- A lane holds what happens at an instant: arrivals, missed deadlines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median

from llmos.plot.looks import COLOURS, Look, look
from llmos.plot.page import BODY_WIDTH
from llmos.plot.spans import Marks, pack
from llmos.plot.texts import HEADING, line
from llmos.plot.words import WORLDS, counted, time_unit
from llmos.trace.metrics import WORLDS as WORLD_OF
from llmos.trace.records import Mode, ProcessorState, Span, TaskState
from llmos.trace.state import State

LEFT, RIGHT = 0.85, 0.8
"""Room beside the rows for their names and for how busy they were."""
WIDE = BODY_WIDTH - LEFT - RIGHT
TALL = 7.0
"""Of all rows together, at most."""
ROW = (0.1, 0.42)
"""From row to row, at least and at most."""
THICK = 0.8
"""Of that, the band."""
LANE = 0.24
AREA = 1.3
MOST_SPANS = 600
"""In a row; more are folded into columns."""
MOST_COLUMNS = 1200
"""Of a folded row, and the most steps of an area."""
MOST_SLOTS = 16
"""With rows of their own."""
MOST_MARKS = 60
"""Of preemptions, per row."""
MOST_IN_KEY = 24
OUTSTANDING, MOST_OUTSTANDING = 4.0, 3
"""Of many tasks, those with so many times the median's time have colours of their own, if they are so few."""


@dataclass(slots=True)
class Row:
    """A core, or a slot of an engine."""

    cpu: int
    name: str
    note: str
    spans: list[Span]
    top: float = 0.0
    height: float = 0.0

    @property
    def folded(self) -> bool:
        """Whether it has too many spans to draw each of them."""
        return len(self.spans) > MOST_SPANS


@dataclass(slots=True)
class Lane:
    """What happened at which time, and to whom."""

    name: str
    groups: dict[int, list[str]]


@dataclass(slots=True)
class Part:
    """A world: its title, its lanes, and its processors' rows; `area` is an engine that has none."""

    title: str
    world: str
    lanes: list[Lane]
    rows: list[Row] = field(default_factory=list)
    area: ProcessorState | None = None
    top: float = 0.0
    height: float = 0.0


class Chart:
    """All that a timeline shows, and how times become places."""

    def __init__(self, state: State, marks: Marks) -> None:
        self.state = state
        self.marks = marks
        self.unit = time_unit(state.now)
        self.kinds = _kinds(state.tasks)
        """Task -> its number, which gives its look."""
        self.parts = _parts(state)
        self.named: set[int] = set()
        """Tasks whose name stands somewhere in the rows."""

    @property
    def rows(self) -> Iterable[Row]:
        """All rows from top to bottom."""
        return (row for part in self.parts for row in part.rows)

    @property
    def folded(self) -> bool:
        """Whether some row is folded into columns."""
        return any(row.folded for row in self.rows)

    @property
    def columns(self) -> int:
        """How many columns a folded row has: few enough that several spans share one."""
        most = max(len(row.spans) for row in self.rows)
        return min(MOST_COLUMNS, max(MOST_COLUMNS // 10, most // 10))

    @property
    def marked(self) -> bool:
        """Whether preemptions are drawn."""
        room = MOST_MARKS * sum(1 for _ in self.rows)
        return not self.folded and 0 < len(self.marks.preemptions) <= room

    @property
    def unnamed(self) -> list[int]:
        """Tasks that have run in some row and have no name there."""
        return sorted({span.pid for row in self.rows for span in row.spans} - self.named)

    def look(self, pid: int) -> Look:
        """Return how a task looks."""
        return look(self.kinds[pid])

    def x(self, ns: float) -> float:
        """Return a time in the axis' unit."""
        return ns / self.unit.size

    def inches(self, ns: float) -> float:
        """Return how wide a time is drawn."""
        return ns / self.state.now * WIDE


def _kinds(tasks: dict[int, TaskState]) -> dict[int, int]:
    """Return a number for each task; of many, the few that are far longer share their colours with none."""
    pids = sorted(tasks)
    if len(pids) <= len(COLOURS):
        return {pid: i for i, pid in enumerate(pids)}
    typical = median(task.cpu_ns for task in tasks.values())
    alone = [pid for pid in pids if tasks[pid].cpu_ns > OUTSTANDING * typical]
    alone = alone if len(alone) <= MOST_OUTSTANDING else []
    kinds = {pid: i for i, pid in enumerate(alone)}
    free = len(COLOURS) - len(alone)
    for i, pid in enumerate(pid for pid in pids if pid not in kinds):
        kinds[pid] = i // free * len(COLOURS) + len(alone) + i % free
    return kinds


def _parts(state: State) -> list[Part]:
    """Return the worlds from top to bottom, laid out."""
    by_cpu: dict[int, list[Span]] = {cpu: [] for cpu in state.processors}
    for span in state.spans or []:
        by_cpu[span.cpu].append(span)
    parts = []
    cores = [p for p in state.processors.values() if p.is_core]
    if cores:
        policies = ", ".join(dict.fromkeys(p.policy for p in cores))
        rows = [Row(p.id, p.name or f"cpu{p.id}", busy(state, p), by_cpu[p.id]) for p in cores]
        title = f"{WORLDS['cpu']}: {counted(len(cores), 'core')}, {policies}"
        parts.append(Part(title, "cpu", _lanes(state, "cpu"), rows))
    parts += [_engine(state, p, by_cpu[p.id]) for p in state.processors.values() if not p.is_core]
    _lay_out(parts)
    return parts


def _engine(state: State, engine: ProcessorState, spans: list[Span]) -> Part:
    about = f"{engine.name or 'engine'} of {counted(engine.slots, 'slot')}, {engine.policy}"
    part = Part(f"{WORLDS['llm']}: {about} ({busy(state, engine)})", "llm", _lanes(state, "llm"))
    packed = pack(spans) if engine.slots <= MOST_SLOTS else []
    if engine.slots > MOST_SLOTS or any(len(row) > MOST_SPANS for row in packed):
        part.area = engine
    else:
        packed += [[] for _ in range(engine.slots - len(packed))]
        part.rows = [Row(engine.id, f"slot {i}", "", row) for i, row in enumerate(packed)]
    return part


def busy(state: State, processor: ProcessorState) -> str:
    """Return how much of its time a processor worked: "87.5 % busy"."""
    share = 1 - processor.spent_ns[Mode.IDLE] / state.now
    return "100 % busy" if share == 1 else f"{min(share * 100, 99.9):.3g} % busy"


def _lanes(state: State, world: str) -> list[Lane]:
    """Return when tasks arrived and, if any were, when deadlines were missed."""
    arrivals: dict[int, list[str]] = {}
    missed: dict[int, list[str]] = {}
    for task in sorted(state.tasks.values(), key=lambda t: (t.arrival_ns, t.pid)):
        if WORLD_OF[task.world] == world:
            arrivals.setdefault(task.arrival_ns, []).append(task.name)
            for deadline in _missed(task, state.now):
                missed.setdefault(deadline, []).append(task.name)
    return [Lane("arrivals", arrivals)] + ([Lane("missed", dict(sorted(missed.items())))] if missed else [])


def _missed(task: TaskState, now: int) -> list[int]:
    """Return the deadlines that a task has missed."""
    if task.jobs:
        return [job.deadline_ns for job in task.jobs if job.missed and job.deadline_ns <= now]
    return [task.deadline_ns] if task.deadline_misses and task.deadline_ns is not None else []


def _lay_out(parts: Sequence[Part]) -> None:
    rows = sum(len(part.rows) for part in parts)
    height = min(ROW[1], max(ROW[0], TALL / max(rows, 1)))
    top = 0.0
    for part in parts:
        part.top = top
        top += line(HEADING) + LANE * len(part.lanes)
        for row in part.rows:
            row.top, row.height = top + height * (1 - THICK) / 2, height * THICK
            top += height
        top += AREA if part.area else 0
        part.height = top - part.top
        top += 0.18
