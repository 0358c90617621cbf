"""What happened in a scenario, as a solution tells it: decisions, states over time, and a text chart.

- Everything is folded from the run's event log; the machine itself is not looked at.
- The ready queue at a decision is who was left in it, as the policy draws it (the log's `Queue`); if it
  draws nothing, in the order in which they became ready.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from llmos.errors import RunError
from llmos.exercise.base import TICK_NS, Table, ticks, time
from llmos.scenario.build import Choice, build
from llmos.scenario.load import load_text
from llmos.scenario.machine import run
from llmos.trace import events as ev
from llmos.trace.records import Shelf, Status, TaskState
from llmos.trace.state import State, check

CHART_TICKS: Final = 60
"""So many ticks go into a line of a chart."""

SIGNS: Final = {Status.RUNNING: "#", Status.READY: ".", Status.BLOCKED: "-"}


@dataclass(slots=True)
class Decision:
    """At `t` the policy chose `pid`, which ran until `end`, when `then` happened."""

    t: int
    cpu: int
    pid: int
    why: str
    waiting: list[Shelf] = field(default_factory=list)
    """The ready queue without those who were chosen."""
    end: int = -1
    then: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """From `start` to `end` nothing changed: the state of every task, and the core of those that run."""

    start: int
    end: int
    status: dict[int, Status]
    core: dict[int, int]
    """pid -> core, of the running tasks."""
    on: dict[int, str]
    """pid -> what it waits for, of the blocked tasks."""


@dataclass(slots=True)
class Story:
    """A run that has ended."""

    state: State
    decisions: list[Decision]
    moments: list[Moment]
    events: list[ev.Event]

    @property
    def tasks(self) -> list[TaskState]:
        """The tasks by pid."""
        return [task for _, task in sorted(self.state.tasks.items())]

    def name(self, pid: int) -> str:
        """The name of a task."""
        return self.state.tasks[pid].name

    def queue(self, decision: Decision) -> str:
        """The ready queue after a decision, for people: "B 3 ms, C 5 ms"."""
        shelves = [
            (f"{heading}: " if heading else "")
            + ", ".join(f"{self.name(pid)} {figure}".rstrip() for pid, figure in tasks)
            for heading, tasks in decision.waiting
            if tasks
        ]
        return "; ".join(shelves) or "-"


def tell(
    toml: str,
    name: str,
    scheduler: Choice | None = None,
    *,
    may_deadlock: bool = False,
    every_turn: bool = False,
) -> Story:
    """Run the scenario and tell what happened.

    every_turn: also those turns of one who is alone that change nothing: each of them takes a draw.

    Raises ScenarioError for a bad scenario or scheduler, and RunError when the run does not get to its end,
    unless that is a deadlock and `may_deadlock`.
    """
    spec = replace(build(load_text(toml, name=name), scheduler=scheduler), shows_queues=True)
    teller = _Teller()
    outcome = run(spec, [teller])
    wrong = check(outcome.state)
    stuck = not outcome.ok and not (may_deadlock and outcome.state.deadlocks)
    if stuck or wrong:
        raise RunError(f"the exercise cannot be solved: {outcome.reason}", hint="; ".join(wrong[:1]))
    return Story(outcome.state, teller.told(every_turn=every_turn), teller.moments, teller.events)


class _Teller:
    """A sink of a log: a state, and what is told so far."""

    def __init__(self) -> None:
        self.state = State()
        self.decisions: list[Decision] = []
        self.moments: list[Moment] = []
        self.events: list[ev.Event] = []
        self.open: dict[int, Decision] = {}
        """The last decision on each core, while it lasts."""
        self.fresh: list[Decision] = []
        """Decisions of this instant, whose queue is not told yet."""

    def __call__(self, events: Iterable[ev.Event], _data: bytes = b"") -> None:
        for event in events:
            if event.t > self.state.now:
                self.moments.append(self._moment(event.t))
            self.state.apply(event)
            self._hear(event)
            self.events.append(event)

    def _hear(self, event: ev.Event) -> None:
        match event:
            case ev.Dispatch() | ev.Renew():
                self._close(event, "goes on")
                decision = Decision(event.t, event.cpu, event.task, event.reason)
                self.open[event.cpu] = decision
                self.decisions.append(decision)
                self.fresh.append(decision)
            case ev.Preempt() | ev.Yield() | ev.Block() | ev.Exit():
                self._close(event, _how_it_ended(event))
            case ev.Queue(shelves=shelves):
                for decision in self.fresh:
                    decision.waiting = shelves or [("", [(pid, "") for pid in self.state.ready])]
                self.fresh.clear()
            case _:
                pass

    def _close(self, event: ev.Event, then: str) -> None:
        decision = self.open.pop(event.cpu, None)
        if decision is not None:
            decision.end, decision.then = event.t, then

    def told(self, *, every_turn: bool) -> list[Decision]:
        """The decisions that lasted; one that only says the same again may be joined to the one before."""
        out: list[Decision] = []
        for decision in self.decisions:
            last = next((d for d in reversed(out) if d.cpu == decision.cpu), None)
            if last and last.then == "goes on" and not every_turn and _is_more_of(decision, last):
                last.end, last.then = decision.end, decision.then
            elif decision.end > decision.t:
                out.append(decision)
        return out

    def _moment(self, end: int) -> Moment:
        tasks = self.state.tasks.values()
        return Moment(
            self.state.now,
            end,
            {t.pid: t.status for t in tasks},
            {t.pid: t.cpu for t in tasks if t.status is Status.RUNNING},
            {t.pid: t.on for t in tasks if t.status is Status.BLOCKED},
        )


def _is_more_of(decision: Decision, last: Decision) -> bool:
    """Whether nobody else is there, neither now nor before, and the reason is the same."""
    alone = not any(tasks for d in (decision, last) for _, tasks in d.waiting)
    return alone and (decision.pid, decision.why) == (last.pid, last.why)


def _how_it_ended(event: ev.Event) -> str:
    match event:
        case ev.Exit():
            return "done"
        case ev.Block(on="release"):
            return "job done"
        case ev.Block(on="sleep"):
            return "sleeps"
        case ev.Block():
            return f"waits for {event.on}"
        case ev.Yield():
            return "gives way"
        case _:
            return "quantum over" if event.reason == "quantum expired" else "preempted"


def decisions(story: Story) -> Table:
    """The decisions one by one, with their reasons."""
    several = len(story.state.processors) > 1
    rows = [
        [
            time(d.t),
            *([str(d.cpu)] if several else []),
            story.name(d.pid),
            d.why,
            story.queue(d),
            time(d.end - d.t),
            d.then,
        ]
        for d in story.decisions
    ]
    columns = ["time", *(["cpu"] if several else []), "runs", "why", "still ready", "for", "then"]
    return Table("Decision by decision", columns, rows, left=len(columns))


def decisions_data(story: Story) -> list[dict[str, Any]]:
    """The same for programs."""
    return [
        {
            "time": ticks(d.t),
            "cpu": d.cpu,
            "runs": story.name(d.pid),
            "why": d.why,
            "still_ready": [
                [heading, [[story.name(pid), figure] for pid, figure in tasks]]
                for heading, tasks in d.waiting
                if tasks
            ],
            "for": ticks(d.end - d.t),
            "then": d.then,
        }
        for d in story.decisions
    ]


# --- tick by tick ---------------------------------------------------------------------------------------


def by_tick(moments: Sequence[Moment]) -> Iterator[Moment]:
    """What fills the larger part of every tick, from tick 0 on."""
    if not moments:
        return
    i = 0
    for start in range(0, moments[-1].end, TICK_NS):
        end = start + TICK_NS
        while moments[i].end <= start:
            i += 1
        inside = moments[i : bisect_left(moments, end, lo=i, key=lambda m: m.start)]
        best = max(inside, key=lambda m: min(end, m.end) - max(start, m.start))
        yield Moment(start, end, best.status, best.core, best.on)


def chart(story: Story) -> list[str]:
    """A Gantt chart in letters: who has each core, and below it every task's own line."""
    cells = list(by_tick(story.moments))
    rows: list[tuple[str, str]] = []
    cores = sorted(story.state.processors)
    for cpu in cores:
        line = ""
        for moment in cells:
            pid = next((pid for pid, core in moment.core.items() if core == cpu), None)
            line += "." if pid is None else story.name(pid)[:1]
        rows.append((f"cpu{cpu}" if len(cores) > 1 else "cpu", line))
    rows += [(task.name, "".join(_sign(moment, task.pid) for moment in cells)) for task in story.tasks]
    return ruled(rows, len(cells))


def blank(names: Sequence[str], length: int, cpus: int = 1) -> list[str]:
    """The same chart, to be filled in by hand."""
    cores = [f"cpu{cpu}" for cpu in range(cpus)] if cpus > 1 else ["cpu"]
    return ruled([(name, "_" * length) for name in (*cores, *names)], length)


def _sign(moment: Moment, pid: int) -> str:
    return SIGNS.get(moment.status.get(pid, Status.NEW), " ")


def ruled(rows: Sequence[tuple[str, str]], length: int) -> list[str]:
    """The rows below a ruler, in pieces that fit on a page."""
    width = max(len(name) for name, _ in rows) + 1
    lines: list[str] = []
    for start in range(0, length, CHART_TICKS):
        stop = min(length, start + CHART_TICKS)
        if lines:
            lines.append("")
        figures = "".join(f"{t:<5}" for t in range(start, stop + 1, 5))
        lines.append(" " * width + figures.rstrip())
        marks = "".join("|" if t % 5 == 0 else "'" for t in range(start, stop + 1))
        lines.append(" " * width + marks)
        lines += [f"{name:<{width}}{line[start:stop]}".rstrip() for name, line in rows]
    return lines
