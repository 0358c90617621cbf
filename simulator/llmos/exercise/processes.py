"""The topic processes: who runs, waits or is blocked in each ms, when processes do I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

from llmos.errors import LlmosError
from llmos.exercise import kinds, toml, work
from llmos.exercise.base import (
    Exercise,
    Listing,
    Option,
    Part,
    Solution,
    Table,
    Text,
    Topic,
    ticks,
    time,
)
from llmos.exercise.rules import policy_parts, takes_draws
from llmos.exercise.story import Moment, Story, by_tick, chart, decisions, decisions_data, tell
from llmos.exercise.ties import ties
from llmos.exercise.work import DISK, Task
from llmos.scenario.policies import label
from llmos.trace.records import Status

STATES: Final = {
    Status.RUNNING: "running",
    Status.READY: "ready",
    Status.BLOCKED: "blocked",
    Status.TERMINATED: "done",
}
NOT_YET: Final = "-"
IO_FIRST: Final = "in-turn io_first=true"
"""The policy that lets whoever is back from I/O run at once."""
KEEPS: Final = "A process that does I/O keeps the processor meanwhile: nobody else may run until it goes on."


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The processes as tables of the scenario, times in ticks, and the policy of their processor."""

    seed: int
    policy: kinds.Policy
    choice: Mapping[str, Any]
    tasks: Sequence[Task]
    convention: str = "textbook"
    keep_core: bool = False
    """Whether a process that waits for the disk keeps the processor."""

    def toml(self) -> str:
        """The problem as a scenario."""
        title = f"Process states, exercise {self.seed}"
        keeps = {"rules": {"keep_on_io": True}} if self.keep_core else {}
        scenario = {
            "question": "Which state is each process in, and is anything busy?",
            "title": title,
            "seed": self.seed,
            "convention": self.convention,
            "tick": "1 ms",
            "cpu": {"scheduler": self.choice, **keeps},
            "device": work.devices(self.tasks),
            "task": self.tasks,
        }
        return toml.write({key: value for key, value in scenario.items() if value != []}, title)


class Processes(Topic):
    """In which state processes are over time, when they do I/O, and what is busy."""

    options: ClassVar[tuple[Option, ...]] = (
        Option(name="jobs", low=1, high=6, help="Number of processes [3]."),
        Option(name="policy", help="Scheduler [fcfs]."),
        Option(name="keep_core", flag=True, help="Who waits for the disk keeps the processor, idle."),
        Option(name="io_first", flag=True, help="Who is back from I/O runs at once, in the policy in-turn."),
    )

    def pose(self, seed: int, options: Mapping[str, Any]) -> Exercise:
        policy = kinds.without_deadlines(kinds.find(_policy(options)))
        tasks = kinds.with_facts(work.processes(seed, options.get("jobs") or 3), [policy], seed)
        return exercise(
            Problem(
                seed=seed,
                policy=policy,
                choice=kinds.choice(policy, seed, 1, tasks),
                tasks=tasks,
                keep_core=bool(options.get("keep_core")),
            )
        )


def _policy(options: Mapping[str, Any]) -> str:
    """The policy that is asked for."""
    asked = options.get("policy")
    if not options.get("io_first"):
        return asked or "fcfs"
    if asked not in (None, "in-turn"):
        raise LlmosError(
            f"--io-first belongs to the policy in-turn, not to {asked}", hint="leave one of the two away"
        )
    return IO_FIRST


def exercise(problem: Problem) -> Exercise:
    """The exercise about `problem`."""
    names = [task["name"] for task in problem.tasks]
    length = sum(sum(work.bursts(task)) + work.away(task) for task in problem.tasks)
    empty = [[str(t), *("" for _ in names), "", ""] for t in range(length)]
    policy = label(problem.choice)
    return Exercise(
        topic="processes",
        seed=problem.seed,
        title=f"Process states, exercise {problem.seed}: {policy}",
        statement=_statement(problem),
        questions=[
            f"In which state is each process in each ms ({', '.join(STATES.values())}), and who does I/O?",
            "For how long is the CPU busy until the last process is done, and for how long the disk?",
            "How long is each process running, ready and blocked?",
        ],
        worksheet=[Table("", ("time", *names, "CPU", "I/O"), empty, left=len(names) + 3)],
        toml=problem.toml(),
        data={
            "policy": policy,
            "convention": problem.convention,
            "keep_core": problem.keep_core,
            "processes": list(problem.tasks),
        },
        solve=partial(solve, problem),
    )


def _statement(problem: Problem) -> list[Part]:
    facts = [key for key in problem.tasks[0] if key not in ("name", "arrival", "program")]
    rows = [
        [
            task["name"],
            str(task["arrival"]),
            *(str(task[key]) for key in facts),
            work.in_words(task["program"]),
        ]
        for task in problem.tasks
    ]
    columns = ("process", "arrival", *facts, "program")
    said = kinds.notes(problem.tasks)
    return [
        Text("These processes share one processor. All times are in ms; nothing else takes time."),
        Table("", columns, rows, left=len(columns)),
        Text(
            "A process that does I/O or sleeps is blocked; it needs no processor meanwhile, and is ready "
            "again when that is over. The disk serves any number of processes at once."
        ),
        *([Text(KEEPS)] if problem.keep_core else []),
        *([Text(said)] if said else []),
        *policy_parts(problem.choice),
        Text(ties([problem.policy], problem.convention, blocks=True)),
    ]


# --- the answer -----------------------------------------------------------------------------------------


def solve(problem: Problem) -> Solution:
    """Run the processes and tell what each of them does, ms by ms.

    Raises RunError when the run does not get to its end.
    """
    story = tell(problem.toml(), f"processes-{problem.seed}", every_turn=takes_draws(problem.choice))
    names = {task.pid: task.name for task in story.tasks}
    every = [_tick(moment, names) for moment in by_tick(story.moments)]
    table = [
        [str(t["time"]), *t["states"].values(), t["cpu"] or NOT_YET, " ".join(t["io"]) or NOT_YET]
        for t in every
    ]
    busy = {"cpu": sum(bool(t["cpu"]) for t in every), "io": sum(bool(t["io"]) for t in every)}
    lives = [
        [t.name, time(t.finish_ns), time(t.cpu_ns), time(t.waiting_ns), time(t.blocked_ns)]
        for t in story.tasks
    ]
    columns = ("time", *names.values(), "CPU", "I/O")
    return Solution(
        parts=[
            Table("Millisecond by millisecond", columns, table, left=len(columns)),
            decisions(story),
            Listing("Gantt chart (# runs, . is ready, - is blocked)", chart(story)),
            Text(" ".join(_share(what, n, len(every)) for what, n in busy.items())),
            Table("Process by process", ("process", "finish", "running", "ready", "blocked"), lives),
        ],
        data={
            "ticks": every,
            "busy": busy,
            "end": len(every),
            "decisions": decisions_data(story),
            "processes": _lives(story),
        },
    )


def _tick(moment: Moment, names: Mapping[int, str]) -> dict[str, Any]:
    """What everybody does in one tick."""
    return {
        "time": ticks(moment.start),
        "states": {
            name: STATES[moment.status[pid]] if pid in moment.status else NOT_YET
            for pid, name in names.items()
        },
        "cpu": next((names[pid] for pid in moment.core), ""),
        "io": [names[pid] for pid, on in sorted(moment.on.items()) if on == DISK],
    }


def _share(what: str, busy: int, end: int) -> str:
    name = {"cpu": "The CPU", "io": "The disk"}[what]
    return f"{name} is busy for {busy} of {end} ms, {busy / end:.0%}."


def _lives(story: Story) -> list[dict[str, Any]]:
    return [
        {
            "name": task.name,
            "finish": ticks(task.finish_ns or 0),
            "running": ticks(task.cpu_ns),
            "ready": ticks(task.waiting_ns),
            "blocked": ticks(task.blocked_ns),
        }
        for task in story.tasks
    ]
