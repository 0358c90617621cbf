"""The tables of a scenario that describe its machine: [cpu], [engine] and [[device]]."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from llmos.scenario.fields import Duration, FineDuration, Model, Name, Tokens
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
