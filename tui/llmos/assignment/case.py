"""A case: a small machine and its work as plain data, to be run with one policy or another.

- A case is told in words (`words`), run (`play`), and judged by its decisions: who was dispatched
  when, from the simulator's own log.
- It is either a core that runs jobs or an LLM engine that serves requests; the policy is not told.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmos.errors import LlmosError
from llmos.process.program import Call, Compute, Io
from llmos.scenario.machine import (
    CpuSpec,
    DeviceSpec,
    EngineSpec,
    MachineSpec,
    PolicySpec,
    RequestSpec,
    TaskSpec,
    run,
)
from llmos.sched.base import Scheduler
from llmos.serving.pacing import Law
from llmos.trace.events import Dispatch, Event


def clock(ns: int) -> str:
    """Write a time as a clock of milliseconds shows it."""
    return f"{ns / 10**6:.6g} ms"


@dataclass(frozen=True, slots=True)
class Job:
    """A process: computes and waits for the disk by turns, for so many ns each; it ends computing."""

    name: str
    arrival_ns: int
    turns_ns: tuple[int, ...]

    def words(self) -> str:
        """Tell it for people."""
        does = [f"{'waits' if i % 2 else 'computes'} {clock(ns)}" for i, ns in enumerate(self.turns_ns)]
        return f"{self.name} arrives at {clock(self.arrival_ns)}, {', '.join(does)}"

    def program(self) -> Generator[Call, Any, None]:
        """Return what the process does."""
        for i, ns in enumerate(self.turns_ns):
            yield Io("disk", ns) if i % 2 else Compute(ns)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A request to the LLM engine, in tokens."""

    name: str
    arrival_ns: int
    prompt: int
    output: int

    def words(self) -> str:
        """Tell it for people."""
        return (
            f"{self.name} arrives at {clock(self.arrival_ns)}, "
            f"has {self.prompt} tokens to read and {self.output} to write"
        )


SLOTS, TOKEN_BUDGET = 2, 32
ITERATION = Law(10_000_000.0, 500_000.0)
"""The engine of all cases: 10 ms for each iteration and 0.5 ms for each token in it."""


@dataclass(frozen=True)
class Case:
    """One exercise: what the policy is made with, and what there is to do."""

    name: str
    topic: str
    rule: str
    """The rule that the case is about, in a sentence."""
    parameters: Mapping[str, Any]
    work: Sequence[Job] | Sequence[Prompt]
    points: int = 0
    hidden: bool = False

    @property
    def in_engine(self) -> bool:
        """Whether it plays in an LLM engine."""
        return isinstance(self.work[0], Prompt)

    def words(self) -> list[str]:
        """Tell the case for people, one line each."""
        unit = "tokens" if self.in_engine else "ns"
        told = [f"{name} = {_parameter(name, value, unit)}" for name, value in self.parameters.items()]
        if self.in_engine:
            told.append(f"an engine with {SLOTS} slots and {TOKEN_BUDGET} tokens per iteration")
        return [", ".join(told), *(item.words() for item in self.work)]


@dataclass(frozen=True)
class Play:
    """What happened: the simulator's log, whether all tasks are done, and what went wrong."""

    events: list[Event] = field(default_factory=list)
    done: bool = False
    error: LlmosError | None = None
    end: str = ""
    """Why the run ended, in words."""

    @property
    def decisions(self) -> list[Dispatch]:
        """Who was dispatched when."""
        return [event for event in self.events if isinstance(event, Dispatch)]


def play(case: Case, make: Callable[[], Scheduler], max_events: int = 100_000) -> Play:
    """Run `case` with the policy that `make` makes; a policy that breaks its contract ends it."""
    events: list[Event] = []
    try:
        outcome = run(_machine(case, make, max_events), [lambda batch, _data: events.extend(batch)])
    except LlmosError as error:
        return Play(events, error=error, end=error.message)
    end = outcome.reason
    if end.startswith("event limit"):
        end += "; is a quantum very small, or next_tick very near?"
    return Play(events, done=outcome.ok, end=end)


def _machine(case: Case, make: Callable[[], Scheduler], max_events: int) -> MachineSpec:
    policy = PolicySpec(name=case.topic, make=make)
    jobs = [item for item in case.work if isinstance(item, Job)]
    prompts = [item for item in case.work if isinstance(item, Prompt)]
    return MachineSpec(
        scenario=case.name,
        convention="ostep",
        cpu=CpuSpec(policy=policy) if jobs else None,
        engine=EngineSpec(policy=policy, pacing=ITERATION, slots=SLOTS, token_budget=TOKEN_BUDGET)
        if prompts
        else None,
        devices=[DeviceSpec(name="disk", service_ns=0, servers=0)],
        tasks=[TaskSpec(name=job.name, program=job.program, arrival_ns=job.arrival_ns) for job in jobs],
        requests=[
            RequestSpec(name=p.name, arrival_ns=p.arrival_ns, prompt=p.prompt, output=p.output)
            for p in prompts
        ],
        max_events=max_events,
    )


def _parameter(name: str, value: object, unit: str) -> str:
    """Write a parameter for people: a list with the service unit of this world, a boost as a time."""
    if name == "quantum" and isinstance(value, list):
        return " / ".join(clock(q) if unit == "ns" else f"{q} {unit}" for q in value)
    if name == "boost" and isinstance(value, int):
        return clock(value) if value else "never"
    return " / ".join(map(str, value)) if isinstance(value, list) else str(value)
