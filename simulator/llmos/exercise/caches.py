"""The worked answer of the topic cores: tick by tick, and what is in each cache when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from llmos.exercise import work
from llmos.exercise.base import Listing, Part, Solution, Table, Text, ticks, time
from llmos.exercise.story import Moment, Story, by_tick, ruled, tell
from llmos.exercise.work import Task
from llmos.trace import events as ev

IDLE = "-"


@dataclass(frozen=True, slots=True)
class Cell:
    """What a core does in one tick: the job, whether it is warm, and its work that is left afterwards."""

    job: str
    warm: bool
    left: int

    def __str__(self) -> str:
        return f"{self.job} {'warm' if self.warm else 'cold'} {self.left}"

    @property
    def letter(self) -> str:
        """The job in a chart: a capital where it is warm."""
        return self.job[:1].upper() if self.warm else self.job[:1].lower()


@dataclass(frozen=True, slots=True)
class Change:
    """At `t` (ns) the working set of a job came into a cache, which holds `inside` since then."""

    t: int
    cpu: int
    came: str
    evicted: Sequence[str]
    inside: Sequence[str]
    """Jobs, the one that came last first."""


def solve(text: str, name: str, tasks: Sequence[Task], rate: int) -> Solution:
    """Run the jobs of the scenario `text`, and tell what each core does, ms by ms.

    Raises RunError when the run does not get to its end.
    """
    story = tell(text, name)
    cores = sorted(story.state.processors)
    changes = list(_changes(story))
    lengths = {task["name"]: sum(work.bursts(task)) for task in tasks}
    rows = list(_rows(story, cores, changes, lengths, rate))
    shares = [_share(rows, core) for core in cores]
    return Solution(
        parts=[*_parts(story, cores, rows), *_sums(story, cores, rows, changes, shares)],
        data={
            "ticks": [[cell and [cell.job, cell.warm, cell.left] for cell in row] for row in rows],
            "end": len(rows),
            "jobs": [{"name": task.name, "finish": ticks(task.finish_ns or 0)} for task in story.tasks],
            "cores": [{"cpu": core, **share} for core, share in zip(cores, shares, strict=True)],
            "caches": [
                {"time": ticks(c.t), "cpu": c.cpu, "came": c.came, "evicted": c.evicted, "inside": c.inside}
                for c in changes
            ],
            "moves": [
                {"time": ticks(e.t), "job": story.name(e.task), "from": e.origin, "to": e.cpu}
                for e in story.events
                if isinstance(e, ev.Migrate)
            ],
        },
    )


# --- what the log says ----------------------------------------------------------------------------------


def _changes(story: Story) -> Iterator[Change]:
    """The caches, whenever one of them changes."""
    inside: dict[int, list[str]] = {}
    for e in story.events:
        if isinstance(e, ev.Warm):
            gone = [story.name(pid) for pid in e.evicted]
            came = story.name(e.task)
            here = [came, *inside.get(e.cpu, [])]
            inside[e.cpu] = [name for name in here if name not in gone]
            yield Change(e.t, e.cpu, came, gone, inside[e.cpu])


def _inside(changes: Sequence[Change], cpu: int, t: int) -> Sequence[str]:
    """Whose working sets are in the cache of `cpu` from `t` on."""
    return next((c.inside for c in reversed(changes) if c.cpu == cpu and c.t <= t), ())


def _rows(
    story: Story, cores: Sequence[int], changes: Sequence[Change], lengths: Mapping[str, int], rate: int
) -> Iterator[list[Cell | None]]:
    """What every core does in each tick; None where it is idle."""
    left = dict(lengths)
    end = max(task.finish_ns or 0 for task in story.tasks)  # the clock of the cores may strike once more
    for moment in by_tick([m for m in story.moments if m.start < end]):
        row: list[Cell | None] = []
        for core in cores:
            name = _on(story, moment, core)
            if name:
                warm = name in _inside(changes, core, moment.start)
                left[name] = max(0, left[name] - (rate if warm else 1))
                row.append(Cell(name, warm, left[name]))
            else:
                row.append(None)
        yield row


def _on(story: Story, moment: Moment, core: int) -> str:
    return next((story.name(pid) for pid, cpu in moment.core.items() if cpu == core), "")


def _share(rows: Sequence[Sequence[Cell | None]], core: int) -> dict[str, int]:
    cells = [row[core] for row in rows]
    return {"busy": sum(c is not None for c in cells), "warm": sum(c is not None and c.warm for c in cells)}


# --- for people -----------------------------------------------------------------------------------------


def _parts(story: Story, cores: Sequence[int], rows: Sequence[Sequence[Cell | None]]) -> list[Part]:
    names = [f"cpu{core}" for core in cores]
    moves = [_moves(story, t) for t in range(len(rows))]
    columns = ("time", *names, *(["first of all"] if any(moves) else []))
    told = [
        [str(t), *(str(cell or IDLE) for cell in row), moves[t]][: len(columns)] for t, row in enumerate(rows)
    ]
    lines = [
        (name, "".join(cell.letter if (cell := row[core]) else "." for row in rows))
        for core, name in zip(cores, names, strict=True)
    ]
    return [
        Text("Each ms: the job, whether it is cold or warm, and how much of its work is left afterwards."),
        Table("Millisecond by millisecond", columns, told, left=len(columns)),
        Listing("Gantt chart (small letters are cold, capitals are warm)", ruled(lines, len(rows))),
    ]


def _moves(story: Story, t: int) -> str:
    """Which jobs were taken out of another queue at the begin of tick `t`."""
    moved = [e for e in story.events if isinstance(e, ev.Migrate) and ticks(e.t) == t]
    return ", ".join(f"cpu{e.cpu} takes {story.name(e.task)}" for e in moved)


def _sums(
    story: Story,
    cores: Sequence[int],
    rows: Sequence[object],
    changes: Sequence[Change],
    shares: Sequence[Mapping[str, int]],
) -> list[Part]:
    end = len(rows)
    told = [
        [time(c.t), f"cpu{c.cpu}", c.came, " ".join(c.evicted) or IDLE, " ".join(c.inside) or IDLE]
        for c in changes
    ]
    columns = ("time", "core", "warmed up", "evicted", "in the cache")
    jobs = [[task.name, time(task.finish_ns)] for task in story.tasks]
    busy = [
        [f"cpu{core}", *(f"{share[what]} of {end} = {share[what] / end:.0%}" for what in ("busy", "warm"))]
        for core, share in zip(cores, shares, strict=True)
    ]
    return [
        Table("The caches", columns, told, left=len(columns)) if told else Text("Nobody becomes warm."),
        Table("Jobs", ("job", "done"), jobs),
        Table("Cores", ("core", "busy", "warm"), busy),
    ]
