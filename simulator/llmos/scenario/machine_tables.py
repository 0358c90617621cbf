"""The tables of a scenario that describe its machine: [cpu], [engine] and [[device]]."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from llmos.costs.variants import GRAPHS
from llmos.scenario.fields import (
    Bandwidth,
    Cost,
    Duration,
    FineDuration,
    Model,
    Name,
    PositiveDuration,
    Size,
    Speed,
    Tokens,
)
from llmos.scenario.op_tables import Weights
from llmos.scenario.policies import parse_choice
from llmos.scenario.units import UnfitError, kind


def _choice(value: Any) -> Any:
    if isinstance(value, str) and value.strip():
        return parse_choice(value)
    if not isinstance(value, dict):
        raise UnfitError(f"it should be a policy's name or a table with `policy`, not {kind(value)}")
    if not isinstance(value.get("policy"), str) or not value["policy"]:
        raise UnfitError(
            "the table needs `policy`, the name of a scheduler",
            hint='as in { policy = "rr", quantum = "5 ms" }',
        )
    return value


POLICY_SCHEMA: Final = {"format": "policy", "type": "string"}
"""Stands for a policy's name; `json_schema` puts the names there are in its place."""

Choice = Annotated[
    dict[str, Any],
    BeforeValidator(_choice),
    WithJsonSchema(
        {
            "anyOf": [
                POLICY_SCHEMA,
                {"type": "object", "properties": {"policy": POLICY_SCHEMA}, "required": ["policy"]},
            ]
        }
    ),
]
"""A scheduler: its name, or a table of its name and its parameters."""


class Costs(Model):
    """What the kernel's own work costs on a core; everything is free unless it is given."""

    context_switch: Cost = Field(default=0, description="Switching to another task.")
    migration: Duration = Field(
        default=0, description="In addition, for a task that ran on another core before."
    )
    syscall: Cost = Field(
        default=0, description="Entering the kernel for a system call; charged to the caller."
    )
    decision: Duration = Field(default=0, description="Asking the scheduler who runs next.")
    timer: Duration = Field(default=0, description="A timer interrupt: the end of a quantum or of a sleep.")
    io_interrupt: Duration = Field(default=0, description="The interrupt of a device that is done.")
    ipi: Cost = Field(default=0, description="Telling another core that there is work for it.")
    release: Duration = Field(default=0, description="Releasing a job of a periodic task.")
    completion: Duration = Field(default=0, description="Ending a job of a periodic task.")
    context_load: Duration = Field(default=0, description="Loading the context of a task, at every dispatch.")
    preemption_work: Duration = Field(
        default=0,
        description="User work that a task must do again when it goes on after another ran on its core.",
    )
    migration_work: Duration = Field(
        default=0, description="User work that a task must do again when it goes on on another core."
    )
    interrupt_context: Duration = Field(
        default=0,
        description="Saving and restoring the context of a running task, for each interrupt that it suffers.",
    )


class Cache(Model):
    """The cache of each core: a task that has worked there for a while works faster there."""

    size: Size = Field(description="Its size; the working sets of the warm tasks fit into it.")
    warmup: PositiveDuration = Field(description="Time on the core until a task is warm.")
    warm_rate: Speed = Field(description="How much faster a warm task works: 2 is twice as fast.")


class Partition(Model):
    """Periodic tasks dealt out to cores for good, before the run."""

    fit: Literal["first", "best", "worst"] = Field(
        default="first", description="Which core that admits a task gets it: the first, fullest or emptiest."
    )
    decreasing: bool = Field(
        default=True, description="Whether the tasks with the greatest share are dealt out first."
    )
    admission: Literal["utilisation", "demand", "liu-layland", "rm", "dm", "none"] = Field(
        default="utilisation", description="The test that the tasks of a core must pass."
    )


class Rules(Model):
    """What the cores of some courses and tools do differently."""

    rotate: Duration = Field(
        default=0,
        description="At every multiple of this time, on one clock for all cores, every running task goes to "
        "the end of its queue; 0 = never.",
    )
    whole: Duration = Field(
        default=0, description="A burst that ends inside such a step keeps the core to the end of it; 0 = no."
    )
    full_quantum: bool = Field(
        default=False, description="A burst that ends early keeps the core for the rest of its quantum."
    )
    keep_on_io: bool = Field(
        default=False, description="A task that waits for a device keeps its core, which idles."
    )
    abort_on_miss: bool = Field(
        default=False, description="A job that is not complete at its deadline is given up."
    )
    whole_entries: bool = Field(
        default=False,
        description="The kernel is entered and left as a whole: what comes meanwhile is handled before it "
        "leaves, and whoever runs then has its context loaded.",
    )
    serial_decisions: bool = Field(
        default=False, description="The cores make their decisions one after another, under one lock."
    )


class Cpu(Model):
    """The cores, on one shared ready queue or each on its own."""

    count: int = Field(default=1, ge=1, le=1024, description="Number of cores, 1 to 1024.")
    scheduler: Choice = Field(
        default={"policy": "fcfs"},
        description='Who runs next: a policy by name, your own ("mine.py:Mine"), or a table with parameters.',
    )
    costs: Costs = Field(default=Costs(), description="What the kernel's own work costs.")
    queues: Literal["shared", "per-core"] = Field(
        default="shared", description="One ready queue for all cores, or one for each."
    )
    placement: Literal["deal", "least"] = Field(
        default="deal",
        description="Which core's queue a new task joins: in turn, or the least loaded (also at wake-up).",
    )
    partition: Partition | None = Field(
        default=None, description="Deal the periodic tasks out to the cores for good."
    )
    steal: bool = Field(
        default=False, description="A core with nothing to do takes a task of the longest queue."
    )
    peek: Duration = Field(
        default=0,
        description="How often a core whose queue is empty looks into another one, drawn by lot; 0 = never.",
    )
    balance: Duration = Field(
        default=0, description="How often the longest queues give tasks to the shortest; 0 = never."
    )
    speeds: list[Speed] = Field(
        default=[],
        max_length=1024,
        description="The speed of each core; 1 is an ordinary one. Left out: all 1.",
    )
    cache: Cache | None = Field(default=None, description="The cache of each core, if it is modelled.")
    rules: Rules = Field(default=Rules(), description="Rules of some courses and tools.")

    @model_validator(mode="after")
    def _consistent(self) -> Cpu:
        if self.speeds and len(self.speeds) != self.count:
            raise UnfitError(
                f"{len(self.speeds)} speeds for {self.count} cores", hint="give one for each core"
            )
        if self.partition and self.queues == "shared":
            raise UnfitError("a partition needs a queue for each core", hint='add queues = "per-core"')
        moving = [name for name in ("steal", "peek", "balance") if getattr(self, name)]
        if moving and self.queues == "shared":
            raise UnfitError(
                f"`{moving[0]}` moves tasks between queues, but there is only one",
                hint='add queues = "per-core", or take it away',
            )
        return self


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


class Speculative(Model):
    """Speculative decoding: a small model guesses the next tokens, the engine's own checks them at once."""

    draft: str = Field(description="The shape of the model that guesses (tiny-20m, qwen3-0.6b, ...).")
    tokens: int = Field(default=4, ge=0, le=64, description="Tokens that it guesses in a round; 0 = none.")
    acceptance: Annotated[float, Field(ge=0, le=1)] = Field(
        description="The probability that a guess is right; what comes after a wrong one is lost."
    )


OF_MODEL: Final = (
    "dtype", "weights", "pruned", "graph", "tensor_parallel", "all_reduce", "speculative"
)  # fmt: skip
"""Keys of [engine] that say how its model is run."""


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
        description="Or a model's shape (tiny-20m, llama-3-8b, ...): its times come from `profile`.",
    )
    dtype: str | None = Field(
        default=None, description="The type of the model's weights, if not its usual one."
    )
    weights: Weights | None = Field(
        default=None, description="How the weights of the model's layers are stored, if not dense."
    )
    pruned: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="The share of heads and MLP channels that the model does without."
    )
    graph: Literal[*GRAPHS] = Field(  # type: ignore[valid-type]
        default="eager",
        description="How operations are launched: one by one; a recorded iteration at once, filled up to 1, "
        "2, 4, 8, ... requests; one by one but for those that a compiler has fused.",
    )
    tensor_parallel: int = Field(
        default=1, ge=1, le=4096, description="So many devices share each layer of the model."
    )
    all_reduce: Literal["ring", "tree"] = Field(
        default="ring",
        description="How these add up what each has: a ring sends least, a tree in fewest steps.",
    )
    speculative: Speculative | None = Field(
        default=None, description="Speculative decoding, if a draft model guesses ahead."
    )

    @model_validator(mode="after")
    def _one_source_of_cost(self) -> Engine:
        if (self.cost is None) == (self.model is None):
            raise UnfitError(
                "an engine needs `cost` or `model`, one of them",
                hint='as in cost = { base = "5 ms", per_token = "20 us" }, or model = "tiny-20m"',
            )
        for name in OF_MODEL:
            if name in self.model_fields_set and self.model is None:
                raise UnfitError(f"`{name}` belongs to `model`", hint="take it away")
        if self.token_budget < self.slots:
            raise UnfitError(
                f"a token budget of {self.token_budget} is less than a token for each of {self.slots} slots",
                hint="raise `token_budget` or lower `slots`",
            )
        return self


class Device(Model):
    """A device that tasks wait for."""

    name: Name = Field(description="What programs call it.")
    service: Cost = Field(
        default=0, description="Time that a request takes, unless the request says otherwise."
    )
    servers: int = Field(default=1, ge=0, le=10**6, description="Requests served at a time; 0 = any number.")
    bandwidth: Bandwidth = Field(
        default=0,
        description="Bytes a second, for pages that it transfers beyond the service time; 0 = at once.",
    )
