"""The tables of a scenario that bring work: [[task]], [[request]] and [[workload]]."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from llmos.scenario.arrivals import AllAtOnce, Arrival, Poisson
from llmos.scenario.distributions import Sizes, Times
from llmos.scenario.fields import (
    TAG,
    CoreNumber,
    Count,
    Duration,
    Model,
    Name,
    Nice,
    PositiveDuration,
    Priority,
    Size,
    Tickets,
    Tokens,
)
from llmos.scenario.program_tables import ProgramChoice
from llmos.scenario.units import UnfitError


class BurstIo(Model):
    """I/O that cuts a burst into pieces."""

    every: PositiveDuration = Field(
        description="CPU time after which the task does I/O; none after the last piece."
    )
    device: Name | None = Field(
        default=None, description="The device's name; left out: a device that serves everybody at once."
    )
    time: Duration | None = Field(
        default=None, description="How long each I/O takes, if not the device's own service time."
    )

    @model_validator(mode="after")
    def _takes_known_time(self) -> BurstIo:
        if self.device is None and self.time is None:
            raise UnfitError(
                "it needs `time`, `device` or both", hint='as in io = { every = "9 ms", time = "3 ms" }'
            )
        return self


class _Terms(Model):
    """What the policies may know of a task or a request."""

    priority: Priority = Field(default=0, description="For priority scheduling; smaller is more urgent.")
    tickets: Tickets = Field(default=1, description="Share of the processor, for stride scheduling.")
    nice: Nice = Field(
        default=0, description="How much it gives way to others, -20 to 19, for cfs, eevdf and bsd."
    )
    group: str = Field(
        default="", max_length=64, description="Its cgroup, or its class in a multilevel queue."
    )
    client: str = Field(
        default="", max_length=64, description="Who is charged for the service; tasks of a client share."
    )
    deadline: PositiveDuration | None = Field(
        default=None, description="Time after the arrival (or a job's release) by which it should be done."
    )


class _Work(_Terms):
    """What a task does: a burst, or a program."""

    io: BurstIo | None = Field(default=None, description="I/O that cuts `burst` into pieces.")
    program: ProgramChoice | None = Field(
        default=None,
        description="Steps, the name of one of [programs], or path.py:function; in place of `burst`.",
    )
    affinity: list[CoreNumber] | None = Field(
        default=None, min_length=1, description="The cores that it may run on; left out: all."
    )
    working_set: Size = Field(default=0, description="Cache that it needs, where cores have caches.")
    memory_limit: Size | None = Field(
        default=None, gt=0, description="Memory that it, and each of its children, may have; left out: any."
    )
    oom_score_adj: int = Field(
        default=0, ge=-1000, le=1000,
        description="How much rather the OOM killer kills it, in thousandths of all memory; -1000 = never.",
    )  # fmt: skip
    wcet: PositiveDuration | None = Field(
        default=None,
        description="Declared worst-case execution time, for policies that plan; left out: `burst`.",
    )


class Task(_Work):
    """A process that arrives, runs on a core and terminates."""

    name: Name | None = Field(
        default=None, description="Its name in plots and tables; left out: task1, task2, ..."
    )
    arrival: Duration = Field(default=0, description="When it arrives.")
    burst: PositiveDuration | None = Field(
        default=None, description="CPU time that it needs, in place of `program`."
    )
    period: PositiveDuration | None = Field(
        default=None,
        description="A job of this work is released every so often; `deadline` counts from each release.",
    )
    jobs: Count | None = Field(
        default=None, description="Number of jobs of a periodic task; left out: without end."
    )
    count: Count = Field(default=1, description="Copies of this task: name-1, name-2, ...")

    @model_validator(mode="after")
    def _consistent(self) -> Task:
        _one_kind_of_work(self.burst, self.program, self.io)
        if self.jobs is not None and self.period is None:
            raise UnfitError("`jobs` belongs to `period`", hint='give it a period, as in period = "20 ms"')
        return self


class Request(_Terms):
    """A request to the LLM engine."""

    name: Name | None = Field(
        default=None, description="Its name in plots and tables; left out: request1, request2, ..."
    )
    arrival: Duration = Field(default=0, description="When it arrives.")
    prompt: Tokens = Field(description="Tokens to read.")
    output: Tokens = Field(description="Tokens to write.")
    count: Count = Field(default=1, description="Copies of this request: name-1, name-2, ...")


class _Workload(Model):
    """Tasks or requests that are generated, or read from a trace."""

    name: Name = Field(description="Its name: of its random stream, and of its tasks: name-1, name-2, ...")
    count: Count | None = Field(
        default=None, description="How many, at most; with a trace, how many of its rows."
    )
    start: Duration = Field(default=0, description="When it begins; added to every arrival of a trace.")
    until: PositiveDuration | None = Field(
        default=None, description="When it ends: nothing arrives at or after this time."
    )
    arrival: Arrival | None = Field(
        default=None, description="When they arrive; the first one a gap after `start`."
    )
    trace: str | None = Field(
        default=None,
        min_length=1,
        description="A .csv or .jsonl file to read arrivals and sizes from, in place of `arrival`.",
    )
    columns: dict[str, str] = Field(
        default={},
        description='Names of the trace\'s columns where they differ: { prompt = "ContextTokens" }.',
    )

    def _check_source(self, *sizes: str) -> None:
        """Check that the work is either generated or read."""
        given = [name for name in ("arrival", *sizes) if getattr(self, name) is not None]
        if self.trace is not None:
            if given:
                raise UnfitError(
                    f"`trace` stands in place of `{given[0]}`", hint=f"take `trace` or `{given[0]}` away"
                )
            return
        if self.columns:
            raise UnfitError("`columns` belongs to `trace`", hint="take it away")
        if self.arrival is None:
            raise UnfitError(
                "it needs `arrival` or `trace`",
                hint='as in arrival = { process = "poisson", rate = "20 /s" }',
            )
        if isinstance(self.arrival, Poisson) and self.arrival.load is not None and self.until is not None:
            raise UnfitError("`until` needs a rate, not a load", hint="give `count`")
        if self.count is None and (self.until is None or isinstance(self.arrival, AllAtOnce)):
            raise UnfitError("it would never end", hint="give `count`, or with gaps between arrivals `until`")


class TaskWorkload(_Workload, _Work):
    """Many tasks of one sort."""

    kind: Literal["task"]
    burst: Times | None = Field(default=None, description="CPU time of each, in place of `program`.")

    @model_validator(mode="after")
    def _consistent(self) -> TaskWorkload:
        self._check_source("burst", "program")
        if self.trace is None:
            _one_kind_of_work(self.burst, self.program, self.io)
        return self


class RequestWorkload(_Workload, _Terms):
    """Many requests of one sort."""

    kind: Literal["request"]
    prompt: Sizes | None = Field(default=None, description="Tokens of each to read.")
    output: Sizes | None = Field(default=None, description="Tokens of each to write.")

    @model_validator(mode="after")
    def _consistent(self) -> RequestWorkload:
        self._check_source("prompt", "output")
        if self.trace is None and (self.prompt is None or self.output is None):
            raise UnfitError("a request needs `prompt` and `output`", hint="as in prompt = 200, output = 50")
        return self


def _one_kind_of_work(burst: object, program: object, io: object) -> None:
    if (burst is None) == (program is None):
        raise UnfitError("a task needs `burst` or `program`, one of them", hint='as in burst = "24 ms"')
    if io is not None and burst is None:
        raise UnfitError("`io` belongs to `burst`", hint="write I/O into the program, as a step")


def _workload(value: Any) -> Any:
    if not isinstance(value, dict) or value.get("kind") not in ("task", "request"):
        raise UnfitError(
            'it should be a table with kind = "task" or kind = "request"', allowed=("task", "request")
        )
    return value


Workload = Annotated[
    Annotated[TaskWorkload, Tag("~task")] | Annotated[RequestWorkload, Tag("~request")],
    Discriminator(lambda value: TAG + value["kind"]),
    BeforeValidator(_workload),
]
