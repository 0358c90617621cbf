"""The table of a scenario that says what to vary: [[sweep]].

- A sweep has one key and its values: listed, or spread evenly over a range.
- The points of a range are exact decimals, the same on every machine: whole numbers if
  the ends are, whole nanoseconds, or six significant digits. Points that round to the same are one.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from llmos.scenario.fields import Model
from llmos.scenario.units import BYTES, NS, UnfitError, kind

MOST_VALUES: Final = 10_000
"""Of one key."""

_AMOUNT = re.compile(r"\s*([+-]?(?:[0-9][0-9_]*(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)\s*(\D*)")
_EXACT: Final = Context(prec=34)
_SHOWN: Final = Context(prec=6)


def _end(value: object) -> Any:
    fits = isinstance(value, int | str | Decimal) and not isinstance(value, bool)
    if not fits or (isinstance(value, str) and (len(value) > 100 or not _AMOUNT.fullmatch(value))):
        raise UnfitError(f'it should be a number or an amount such as "5 ms", not {kind(value)}')
    number, _ = _split(value)
    if not number.is_finite() or abs(number.adjusted()) > 18:
        raise UnfitError(f"{kind(value)} is more than anything here can be")
    return value


End = Annotated[
    Any,
    BeforeValidator(_end),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "string", "examples": ["5 ms", "20 /s"]}]}),
]


class Range(Model):
    """Values spread evenly between two ends, which belong to them."""

    from_: End = Field(alias="from", description="The first value.")
    to: End = Field(description="The last value.")
    steps: int = Field(ge=2, le=MOST_VALUES, description="How many values, both ends counted.")
    scale: Literal["linear", "log"] = Field(
        default="linear", description="Equal steps, or with log equal ratios."
    )

    @model_validator(mode="after")
    def _one_unit(self) -> Range:
        first, last, _ = self._ends()
        if self.scale == "log" and not (first > 0 and last > 0):
            raise UnfitError("a log scale needs ends above 0", hint='take scale = "linear"')
        return self

    def values(self) -> list[Any]:
        """The values, in order."""
        first, last, unit = self._ends()
        whole = first == first.to_integral_value() and last == last.to_integral_value()
        finest = _finest(unit, whole=whole)
        values = [_number(first if i == 0 else self._at(first, last, i), finest) for i in range(self.steps)]
        values[-1] = _number(last, finest)
        texts = [f"{value:f} {unit}" if unit else value for value in dict.fromkeys(values)]
        return [int(v) if isinstance(v, Decimal) and not unit and whole else v for v in texts]

    def _ends(self) -> tuple[Decimal, Decimal, str]:
        """The ends in the smaller one's unit."""
        (first, unit), (last, other) = _split(self.from_), _split(self.to)
        if unit == other:
            return first, last, unit
        for sizes in (NS, BYTES):
            if unit in sizes and other in sizes:
                least = min(unit, other, key=sizes.__getitem__)
                return first * (sizes[unit] // sizes[least]), last * (sizes[other] // sizes[least]), least
        raise UnfitError(
            f'"{self.from_}" and "{self.to}" differ in their unit', hint="write both with the same one"
        )

    def _at(self, first: Decimal, last: Decimal, i: int) -> Decimal:
        part = _EXACT.divide(Decimal(i), Decimal(self.steps - 1))
        if self.scale == "log":
            return _EXACT.multiply(first, _EXACT.power(_EXACT.divide(last, first), part))
        return _EXACT.add(first, _EXACT.multiply(_EXACT.subtract(last, first), part))


class Sweep(Model):
    """A key, and the values that it takes one after the other."""

    key: Annotated[str, Field(min_length=1, max_length=300)] = Field(
        description="What is varied: cpu.scheduler, task[0].burst, workload.batch.arrival.rate."
    )
    values: list[Any] | None = Field(
        default=None, min_length=1, max_length=MOST_VALUES, description="Its values, one after the other."
    )
    range: Range | None = Field(default=None, description="Or a range that its values are spread over.")
    label: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="The name of its column in the results; left out: the key.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Sweep:
        if (self.values is None) == (self.range is None):
            raise UnfitError(
                "a sweep needs `values` or `range`, one of them",
                hint='as in values = ["fcfs", "rr"], or range = { from = 1, to = 8, steps = 8 }',
            )
        return self

    @property
    def size(self) -> int:
        """How many values there are at most."""
        return self.range.steps if self.range else len(self.values or [])

    def all(self) -> list[Any]:
        """The values, listed or spread."""
        return self.range.values() if self.range else list(self.values or [])


def _split(value: Any) -> tuple[Decimal, str]:
    """The number and the unit of the end of a range."""
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    return (Decimal(match[1]), match[2].strip()) if match else (Decimal(value), "")


def _finest(unit: str, *, whole: bool) -> Decimal | None:
    """What values with that unit are multiples of; None: they have six significant digits."""
    if unit in NS:  # the finest decimal of the unit that is whole nanoseconds
        places = max(k for k in range(12) if NS[unit] % 10**k == 0)
        return Decimal(1).scaleb(-places)
    if unit in BYTES:
        return Decimal(1) / min(BYTES[unit], 1024 if "i" in unit else 1000)
    return Decimal(1) if whole and not unit.startswith(("/", "per")) else None


def _number(value: Decimal, finest: Decimal | None) -> Decimal:
    if finest is None:
        rounded = _SHOWN.plus(value)
    else:
        rounded = _EXACT.multiply(_EXACT.divide(value, finest).to_integral_value(), finest)
    return rounded.normalize(_EXACT)
