"""When a workload's tasks and requests arrive: the processes that a scenario may name."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from llmos.errors import did_you_mean
from llmos.scenario.fields import TAG, Duration, Model, Number, PositiveDuration, Rate
from llmos.scenario.units import UnfitError


class Poisson(Model):
    """Arrivals that know nothing of each other."""

    process: Literal["poisson"]
    rate: Rate | None = Field(default=None, description='Arrivals per time, on average, as in "20 /s".')
    load: Number | None = Field(
        default=None,
        gt=0,
        le=1000,
        description="In place of `rate`: the share of the processor's time that the work needs. Above 1 the "
        "queue grows. The rate follows from what the work costs on the machine.",
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Poisson:
        if (self.rate is None) == (self.load is None):
            raise UnfitError(
                "it needs `rate` or `load`, one of them", hint='as in rate = "20 /s", or load = 0.7'
            )
        return self


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
