"""The kinds of values that a scenario's keys take, as pydantic types.

- Each reads what a person writes with `units`, and yields plain whole numbers: ns, tokens, bytes.
- The tick of the scenario comes in the validation context, as `tick_ns`.
- `Model` is the base of every table: unknown keys are errors, and "5" is not 5.
- A union is told apart by what stands in the file; its tags begin with "~", so that they can be
  told from keys in the place of an error.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema

from llmos.errors import did_you_mean
from llmos.scenario import units
from llmos.scenario.units import UnfitError

TAG: Final = "~"


class Model(BaseModel):
    """A table of a scenario file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _tick(info: ValidationInfo) -> int | None:
    return info.context.get("tick_ns") if info.context else None


def _duration(value: object, info: ValidationInfo) -> int:
    return units.duration_ns(value, _tick(info))


def _cost(value: object, info: ValidationInfo) -> int | str:
    return _measured(value) or units.duration_ns(value, _tick(info))


def _bandwidth(value: object) -> int | str:
    return _measured(value) or units.size_bytes(value)


def _measured(value: object) -> str:
    """The word "measured" if it is that, else nothing; raises UnfitError when it only looks like it."""
    if value != "measured" and isinstance(value, str) and (hint := did_you_mean(value, ["measured"])):
        raise UnfitError(f"{units.shown(value)} cannot be read", hint=hint)
    return "measured" if value == "measured" else ""


def _positive_duration(value: object, info: ValidationInfo) -> int:
    return _positive(units.duration_ns(value, _tick(info)))


def _plain_duration(value: object) -> int:
    return _positive(units.duration_ns(value))


def _positive(ns: int) -> int:
    if ns == 0:
        raise UnfitError("it should be more than 0")
    return ns


def _fine_duration(value: object, info: ValidationInfo) -> float:
    return float(units.fraction_ns(value, _tick(info)))


def _gap(value: object, info: ValidationInfo) -> Fraction:
    return units.gap_ns(value, _tick(info))


def _tokens(value: object) -> int:
    count = units.tokens(value)
    if count == 0:
        raise UnfitError("it should be at least 1 token")
    return count


def _speed(value: object) -> int:
    permille = units.number(value) * 1000
    if permille != int(permille) or not 1 <= permille <= 1_000_000:
        raise UnfitError("it should be 0.001 to 1000, in steps of 0.001", hint="1 is an ordinary core")
    return int(permille)


def _number(value: object) -> Decimal:
    return units.number(value)


def _only_true(value: object) -> object:
    if value is not True:
        raise UnfitError(f"it should be true, not {units.kind(value)}")
    return value


def _quantity(read: Callable[..., Any], *, text: list[str], number: str = "") -> tuple[Any, Any]:
    """The validator and the JSON Schema of an amount; `number` says what a bare number means."""
    described: dict[str, Any] = {"type": "string", "examples": text}
    if number:
        described = {"anyOf": [described, {"type": "number", "minimum": 0, "description": number}]}
    return BeforeValidator(read), WithJsonSchema(described)


_TICKS = "ticks, if the scenario declares a tick"

_reads, _schema = _quantity(_duration, text=["5 ms", "250 us", "1.5 s"], number=_TICKS)
Duration = Annotated[int, _reads, _schema]
"""A time in ns, 0 or more."""

_reads, _schema = _quantity(_cost, text=["5 us", "250 ns", "measured"], number=_TICKS)
Cost = Annotated[int | Literal["measured"], _reads, _schema]
"""A time in ns, 0 or more, or the one that the profile says was measured."""

_reads, _schema = _quantity(_positive_duration, text=["5 ms", "250 us", "1.5 s"], number=_TICKS)
PositiveDuration = Annotated[int, _reads, _schema]
"""A time in ns, at least 1."""

_reads, _schema = _quantity(_plain_duration, text=["1 ms", "1 s"])
PlainDuration = Annotated[int, _reads, _schema]
"""A time in ns, at least 1, that is not counted in ticks."""

_reads, _schema = _quantity(_fine_duration, text=["5 ms", "20 us", "0.5 ns"], number=_TICKS)
FineDuration = Annotated[float, _reads, _schema]
"""A time in ns, 0 or more, that may have a fraction."""

_reads, _schema = _quantity(_tokens, text=["16 tokens"], number="tokens")
Tokens = Annotated[int, _reads, _schema]
"""A number of tokens, at least 1."""

_reads, _schema = _quantity(_gap, text=["20 /s", "0.5 /ms"])
Rate = Annotated[Fraction, _reads, _schema]
"""A rate, kept as the mean gap in ns."""

_reads, _schema = _quantity(units.size_bytes, text=["64 KiB", "100 B"])
Size = Annotated[int, _reads, _schema]
"""A size in bytes."""

_reads, _schema = _quantity(_bandwidth, text=["500 MB", "measured"])
Bandwidth = Annotated[int | Literal["measured"], _reads, _schema]
"""A number of bytes a second, or the one that the profile says was measured."""

Number = Annotated[Decimal, BeforeValidator(_number), WithJsonSchema({"type": "number"})]
"""A number, exactly as written."""

Speed = Annotated[int, BeforeValidator(_speed), WithJsonSchema({"type": "number", "exclusiveMinimum": 0})]
"""A factor, in thousandths."""

Yes = Annotated[bool, BeforeValidator(_only_true), WithJsonSchema({"const": True})]

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Priority = Annotated[int, Field(ge=-(10**9), le=10**9)]
Tickets = Annotated[int, Field(ge=1, le=10**9)]
Nice = Annotated[int, Field(ge=-20, le=19)]
CoreNumber = Annotated[int, Field(ge=0, le=1023)]
