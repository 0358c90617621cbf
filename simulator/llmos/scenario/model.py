"""What a scenario file may say: one pydantic model per table, each key with its description.

- The models check what one value or one table can tell. What needs more (does this device exist, has
  this policy such a parameter?) is checked by `llmos.scenario.build`.
- Amounts are read into whole nanoseconds, tokens and bytes; nothing keeps a unit.
- The JSON Schema for editors is made from these models: a description here is what an editor shows.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from llmos.costs.ops import DTYPE_BYTES, LARGEST
from llmos.errors import did_you_mean
from llmos.scenario import distributions
from llmos.scenario.distributions import Sizes, Times
from llmos.scenario.fields import (
    TAG,
    Count,
    Duration,
    FineDuration,
    Model,
    Name,
    PlainDuration,
    PositiveDuration,
    Priority,
    Rate,
    Tickets,
    Tokens,
    Yes,
)
from llmos.scenario.units import UnfitError, kind, shown, size_bytes

# --- the machine ------------------------------------------------------------------------------------


def _choice(value: Any) -> Any:
    if isinstance(value, str) and value:
        return {"policy": value}
    if not isinstance(value, dict):
        raise UnfitError(f"it should be a policy's name or a table with `policy`, not {kind(value)}")
    if not isinstance(value.get("policy"), str) or not value["policy"]:
        raise UnfitError(
            "the table needs `policy`, the name of a scheduler",
            hint='as in { policy = "rr", quantum = "5 ms" }',
        )
    return value


Choice = Annotated[
    dict[str, Any],
    BeforeValidator(_choice),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "object", "properties": {"policy": {"type": "string"}}, "required": ["policy"]},
            ]
        }
    ),
]
"""A scheduler: its name, or a table of its name and its parameters."""


class Costs(Model):
    """What the kernel's own work costs on a core; everything is free unless it is given."""

    context_switch: Duration = Field(default=0, description="Switching to another task.")
    syscall: Duration = Field(
        default=0, description="Entering the kernel for a system call; charged to the caller."
    )
    decision: Duration = Field(default=0, description="Asking the scheduler who runs next.")
    timer: Duration = Field(default=0, description="A timer interrupt: the end of a quantum or of a sleep.")
    io_interrupt: Duration = Field(default=0, description="The interrupt of a device that is done.")
    ipi: Duration = Field(default=0, description="Telling another core that there is work for it.")


class Cpu(Model):
    """Equal cores on one shared ready queue."""

    count: int = Field(default=1, ge=1, le=1024, description="Number of cores, 1 to 1024.")
    scheduler: Choice = Field(
        default={"policy": "fcfs"},
        description='Who runs next: a policy by name, your own ("mine.py:Mine"), or a table with parameters.',
    )
    costs: Costs = Field(default=Costs(), description="What the kernel's own work costs.")


class IterationCost(Model):
    """The time of one engine iteration: base + per_token x tokens + per_context_token x context."""

    base: FineDuration = Field(
        description="Time that every iteration takes, however small: reading the weights."
    )
    per_token: FineDuration = Field(description="Time for each token computed.")
    per_context_token: FineDuration = Field(
        default=0.0, description="Time for each token of context that is read."
    )

    @model_validator(mode="after")
    def _takes_time(self) -> IterationCost:
        if not (self.base or self.per_token):
            raise UnfitError("an iteration would take no time", hint="give `base` or `per_token` more than 0")
        return self


class Engine(Model):
    """An LLM engine that serves requests in batches."""

    slots: int = Field(default=8, ge=1, le=100_000, description="Requests in a batch at most.")
    token_budget: Tokens = Field(
        default=512, description="Tokens of an iteration at most; what decoding leaves goes to prompts."
    )
    scheduler: Choice = Field(
        default={"policy": "fcfs"},
        description="Who gets the slots: the same policies as on a core, in tokens.",
    )
    cost: IterationCost | None = Field(default=None, description="The time of an iteration, given as a law.")
    model: str | None = Field(
        default=None,
        description="Or a model's shape (tiny-20m, llama-3-8b, ...): the law is fitted to `profile`.",
    )
    dtype: str | None = Field(
        default=None, description="The type of the model's weights, if not its usual one."
    )

    @model_validator(mode="after")
    def _one_source_of_cost(self) -> Engine:
        if (self.cost is None) == (self.model is None):
            raise UnfitError(
                "an engine needs `cost` or `model`, one of them",
                hint='as in cost = { base = "5 ms", per_token = "20 us" }, or model = "tiny-20m"',
            )
        if self.dtype is not None and self.model is None:
            raise UnfitError("`dtype` belongs to `model`", hint="take it away")
        if self.token_budget < self.slots:
            raise UnfitError(
                f"a token budget of {self.token_budget} is less than a token for each of {self.slots} slots",
                hint="raise `token_budget` or lower `slots`",
            )
        return self


class Device(Model):
    """A device that tasks wait for."""

    name: Name = Field(description="What programs call it.")
    service: Duration = Field(
        default=0, description="Time that a request takes, unless the request says otherwise."
    )
    servers: int = Field(default=1, ge=0, le=10**6, description="Requests served at a time; 0 = any number.")


# --- programs ---------------------------------------------------------------------------------------

Repeats = Annotated[int, Field(ge=1, le=10**9)]
Dimension = Annotated[int, Field(ge=1, le=LARGEST)]
Dtype = Literal["fp32", "bf16", "fp16"]


class ComputeStep(Model):
    """Work on the core."""

    compute: Duration = Field(description="CPU time.")


class SleepStep(Model):
    """Do nothing for a while."""

    sleep: Duration = Field(description="How long.")


class IoStep(Model):
    """Wait for a device."""

    io: Name = Field(description="The device's name.")
    time: Duration | None = Field(
        default=None, description="How long the device takes, if not its own service time."
    )


class YieldStep(Model):
    """Give the core away and queue up again."""

    yield_: Yes = Field(alias="yield", description="true")


class ForkStep(Model):
    """Start child processes."""

    fork: Name = Field(description="The program that they run, one of [programs].")
    count: Count = Field(default=1, description="How many.")


class WaitStep(Model):
    """Wait for a child to terminate."""

    wait: Yes = Field(description="true")


class ExitStep(Model):
    """Terminate before the end of the program."""

    exit: Yes = Field(description="true")


class MatmulStep(Model):
    """Multiply matrices, for as long as the cost profile says."""

    matmul: Annotated[list[Dimension], Field(min_length=3, max_length=3)] = Field(
        description="Sizes [m, k, n] of an (m, k) by (k, n) product."
    )
    dtype: Dtype = Field(default="fp32", description="The type of the numbers.")
    count: Repeats = Field(default=1, description="How many times in a row.")


class VectorAddStep(Model):
    """Add two vectors, for as long as the cost profile says."""

    vector_add: int | str = Field(description='Length of a vector: its elements, or its size as in "64 MiB".')
    dtype: Dtype = Field(default="fp32", description="The type of the numbers.")
    count: Repeats = Field(default=1, description="How many times in a row.")

    @property
    def elements(self) -> int:
        """The length of one vector."""
        if isinstance(self.vector_add, int):
            return self.vector_add
        return size_bytes(self.vector_add) // DTYPE_BYTES[self.dtype]

    @model_validator(mode="after")
    def _has_elements(self) -> VectorAddStep:
        if not 1 <= self.elements <= LARGEST:
            raise UnfitError(f"a vector has 1 to 2**40 elements, not {shown(self.elements)}")
        return self


class RepeatStep(Model):
    """Do some steps again and again."""

    repeat: Repeats = Field(description="How many times.")
    do: list[Step] = Field(min_length=1, description="The steps.")


VERBS: Final[dict[str, type[Model]]] = {
    "compute": ComputeStep,
    "io": IoStep,
    "sleep": SleepStep,
    "yield": YieldStep,
    "fork": ForkStep,
    "wait": WaitStep,
    "exit": ExitStep,
    "matmul": MatmulStep,
    "vector_add": VectorAddStep,
    "repeat": RepeatStep,
}


def _step(value: Any) -> Any:
    if not isinstance(value, dict) or not VERBS.keys() & value.keys():
        near = did_you_mean(next(iter(value), ""), VERBS) if isinstance(value, dict) else ""
        raise UnfitError(
            'a step is a table with one of these keys, as in { compute = "5 ms" }',
            allowed=tuple(VERBS),
            hint=near,
        )
    return value


def _verb(value: dict[str, Any]) -> str:
    return TAG + next(key for key in value if key in VERBS)


Step = Annotated[
    Annotated[ComputeStep, Tag("~compute")]
    | Annotated[IoStep, Tag("~io")]
    | Annotated[SleepStep, Tag("~sleep")]
    | Annotated[YieldStep, Tag("~yield")]
    | Annotated[ForkStep, Tag("~fork")]
    | Annotated[WaitStep, Tag("~wait")]
    | Annotated[ExitStep, Tag("~exit")]
    | Annotated[MatmulStep, Tag("~matmul")]
    | Annotated[VectorAddStep, Tag("~vector_add")]
    | Annotated[RepeatStep, Tag("~repeat")],
    Discriminator(_verb),
    BeforeValidator(_step),
]
Steps = Annotated[list[Step], Field(min_length=1, max_length=100_000)]


class Program(Model):
    """A program by name, for `fork` and for tasks that share it."""

    steps: Steps = Field(description="What it does, in order.")


def _program(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise UnfitError(
            f"it should be a list of steps, the name of a program or path.py:function, not {kind(value)}"
        )
    return value


ProgramChoice = Annotated[
    Annotated[str, Tag("~name"), Field(min_length=1)] | Annotated[Steps, Tag("~steps")],
    Discriminator(lambda value: "~name" if isinstance(value, str) else "~steps"),
    BeforeValidator(_program),
]
"""Steps, the name of one of [programs], or path.py:function."""

# --- the work ---------------------------------------------------------------------------------------


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


class Poisson(Model):
    """Arrivals that know nothing of each other."""

    process: Literal["poisson"]
    rate: Rate = Field(description='Arrivals per time, on average, as in "20 /s".')


class Periodic(Model):
    """Arrivals like clockwork."""

    process: Literal["periodic"]
    every: PositiveDuration = Field(description="Time from one arrival to the next.")


class UniformGaps(Model):
    """Gaps between arrivals that are drawn alike from a range."""

    process: Literal["uniform"]
    min: Duration = Field(description="The shortest gap.")
    max: PositiveDuration = Field(description="The longest gap.")

    @model_validator(mode="after")
    def _in_order(self) -> UniformGaps:
        if self.min > self.max:
            raise UnfitError("`min` is larger than `max`", hint="swap them")
        return self


class AllAtOnce(Model):
    """Everything arrives at the start."""

    process: Literal["all-at-once"]


PROCESSES: Final = ("all-at-once", "periodic", "poisson", "uniform")


def _process(value: Any) -> Any:
    if value == "all-at-once":
        return {"process": value}
    name = value.get("process") if isinstance(value, dict) else value
    if not isinstance(value, dict) or name not in PROCESSES:
        hint = did_you_mean(name, PROCESSES) if isinstance(name, str) else ""
        raise UnfitError(
            'it should be a table such as { process = "poisson", rate = "20 /s" }',
            allowed=PROCESSES,
            hint=hint,
        )
    return value


Arrival = Annotated[
    Annotated[AllAtOnce, Tag("~arrive all-at-once")]
    | Annotated[Periodic, Tag("~arrive periodic")]
    | Annotated[Poisson, Tag("~arrive poisson")]
    | Annotated[UniformGaps, Tag("~arrive uniform")],
    Discriminator(lambda value: f"{TAG}arrive {value['process']}"),
    BeforeValidator(_process),
]


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


class Compare(Model):
    """What `llmos compare` does with this scenario when it is told nothing else."""

    schedulers: list[Choice] = Field(min_length=1, max_length=100, description="The schedulers side by side.")
    seeds: int = Field(
        default=1, ge=1, le=1000, description="How many seeds: the scenario's own, and the next ones."
    )
    metrics: list[str] = Field(
        default=[], max_length=100, description="The numbers to show, as in cpu.turnaround_mean_ns."
    )


class ScenarioModel(Model):
    """A question about a machine, the machine, and the work that it gets."""

    question: Annotated[str, Field(min_length=1, max_length=300)] = Field(
        description="The question that the scenario answers."
    )
    title: str = Field(default="", max_length=100, description="A short title.")
    seed: int = Field(default=1, ge=0, le=2**63 - 1, description="Where all random draws begin.")
    convention: Literal["textbook", "ostep", "linux"] = Field(
        default="textbook", description="Who goes first at one instant, where books differ."
    )
    tick: PlainDuration | None = Field(
        default=None, description='What a bare number of time means, as in textbook exercises: tick = "1 ms".'
    )
    until: PositiveDuration | None = Field(
        default=None, description="When the run ends, if work is left then."
    )
    max_events: int = Field(
        default=10_000_000,
        ge=1,
        le=10**9,
        description="The run ends after so many internal events, whatever happens.",
    )
    profile: str | None = Field(
        default=None,
        min_length=1,
        description="Whose costs: a profile's name, this-machine, or a .json file.",
    )
    cpu: Cpu | None = Field(default=None, description="The cores; with tasks and no [cpu] there is one.")
    engine: Engine | None = Field(default=None, description="The LLM engine.")
    device: list[Device] = Field(default=[], max_length=1000, description="Devices that tasks wait for.")
    programs: dict[str, Program] = Field(default={}, description="Programs by name.")
    task: list[Task] = Field(default=[], description="Tasks, one by one.")
    request: list[Request] = Field(default=[], description="Requests, one by one.")
    workload: list[Workload] = Field(
        default=[], max_length=1000, description="Tasks and requests by the dozen."
    )
    compare: Compare | None = Field(default=None, description="What to compare.")


TAGGED: Final[dict[str, type[Model]]] = {TAG + verb: model for verb, model in VERBS.items()} | {
    "~arrive all-at-once": AllAtOnce,
    "~arrive periodic": Periodic,
    "~arrive poisson": Poisson,
    "~choice": distributions.Choice,
    "~exponential": distributions.Exponential,
    "~lognormal": distributions.Lognormal,
    "~pareto": distributions.Pareto,
    "~uniform": distributions.Uniform,
    "~task": TaskWorkload,
    "~request": RequestWorkload,
}
"""The model behind each tag of a union."""
