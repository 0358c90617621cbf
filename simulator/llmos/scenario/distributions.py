"""Distributions of burst lengths, prompt sizes and gaps, and drawing from them.

- A draw is the inverse of the distribution function at one `Random.random()`: one draw, one random
  number, so that workloads that share a seed stay comparable when a distribution changes.
- Logarithms and exponentials are computed in decimal arithmetic, which rounds alike everywhere;
  the C library's differ from machine to machine in the last bit, and the log must not.
- Draws are whole numbers (ns or tokens), at least 1, and between `min` and `max` where these are given.
"""

from __future__ import annotations

from bisect import bisect_right
from decimal import Context, Decimal
from functools import reduce
from itertools import accumulate
from random import Random
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from llmos.errors import did_you_mean
from llmos.scenario.fields import TAG, Model, Number, PositiveDuration, Tokens
from llmos.scenario.units import LONGEST_NS, UnfitError, kind

Q = TypeVar("Q")

_decimal = Context(prec=17, Emax=10**6, Emin=-(10**6))


class _Clipped(Model, Generic[Q]):
    min: Q | None = Field(default=None, description="Smaller draws become this.")
    max: Q | None = Field(default=None, description="Larger draws become this.")

    @model_validator(mode="after")
    def _in_order(self) -> _Clipped[Q]:
        if self.min is not None and self.max is not None and self.min > self.max:  # type: ignore[operator]
            raise UnfitError("`min` is larger than `max`", hint="swap them")
        return self


class Exponential(_Clipped[Q], Generic[Q]):
    """Many short ones, few long ones: the length of what may end at any moment."""

    distribution: Literal["exponential"]
    mean: Q = Field(description="Mean before `min` and `max` cut.")


class Lognormal(_Clipped[Q], Generic[Q]):
    """Sizes that vary by factors: half are below `median`, about 68 % within a factor of e**sigma of it."""

    distribution: Literal["lognormal"]
    median: Q = Field(description="Half of the draws are smaller.")
    sigma: Number = Field(ge=0, le=10, description="Standard deviation of the logarithm, 0 to 10.")


class Uniform(Model, Generic[Q]):
    """All values from `min` to `max` alike."""

    distribution: Literal["uniform"]
    min: Q = Field(description="The smallest value.")
    max: Q = Field(description="The largest value.")

    @model_validator(mode="after")
    def _in_order(self) -> Uniform[Q]:
        if self.min > self.max:  # type: ignore[operator]
            raise UnfitError("`min` is larger than `max`", hint="swap them")
        return self


class Pareto(Model, Generic[Q]):
    """A heavy tail between two bounds: most are near `min`, a few hold most of the work."""

    distribution: Literal["pareto"]
    alpha: Number = Field(
        ge=Decimal("0.01"),
        le=100,
        description="Weight of the tail: the smaller, the heavier; 1.1 is typical.",
    )
    min: Q = Field(description="The smallest value.")
    max: Q = Field(description="The largest value.")

    @model_validator(mode="after")
    def _in_order(self) -> Pareto[Q]:
        if self.min >= self.max:  # type: ignore[operator]
            raise UnfitError(
                "`min` is not smaller than `max`", hint="a bounded Pareto lies between two bounds"
            )
        return self


class Choice(Model, Generic[Q]):
    """One of several values."""

    distribution: Literal["choice"]
    values: list[Q] = Field(min_length=1, max_length=10_000, description="The values to choose from.")
    weights: list[int] | None = Field(
        default=None, description="How often each comes, relative to the others; left out: all alike."
    )

    @model_validator(mode="after")
    def _one_weight_each(self) -> Choice[Q]:
        weights = self.weights
        if weights is None:
            return self
        if len(weights) != len(self.values):
            raise UnfitError(
                f"{len(weights)} weights for {len(self.values)} values", hint="give one weight per value"
            )
        if min(weights) < 0 or not 0 < sum(weights) < 2**53:
            raise UnfitError("weights should be 0 or more, and not all 0")
        return self


KINDS: Final = ("choice", "exponential", "lognormal", "pareto", "uniform")


def _check(value: Any) -> Any:
    if isinstance(value, dict) and value.get("distribution") not in KINDS:
        name = value.get("distribution")
        what = "is missing" if name is None else f"should not be {kind(name)}"
        hint = did_you_mean(name, KINDS) if isinstance(name, str) else ""
        raise UnfitError(f"`distribution` {what}", allowed=KINDS, hint=hint)
    return value


def _tag(value: Any) -> str:
    return f"{TAG}{value['distribution']}" if isinstance(value, dict) else f"{TAG}value"


Times = Annotated[
    Annotated[PositiveDuration, Tag("~value")]
    | Annotated[Choice[PositiveDuration], Tag("~choice")]
    | Annotated[Exponential[PositiveDuration], Tag("~exponential")]
    | Annotated[Lognormal[PositiveDuration], Tag("~lognormal")]
    | Annotated[Pareto[PositiveDuration], Tag("~pareto")]
    | Annotated[Uniform[PositiveDuration], Tag("~uniform")],
    Discriminator(_tag),
    BeforeValidator(_check),
]
"""A time in ns, always the same or from a distribution."""

Sizes = Annotated[
    Annotated[Tokens, Tag("~value")]
    | Annotated[Choice[Tokens], Tag("~choice")]
    | Annotated[Exponential[Tokens], Tag("~exponential")]
    | Annotated[Lognormal[Tokens], Tag("~lognormal")]
    | Annotated[Pareto[Tokens], Tag("~pareto")]
    | Annotated[Uniform[Tokens], Tag("~uniform")],
    Discriminator(_tag),
    BeforeValidator(_check),
]
"""A number of tokens, always the same or from a distribution."""

Distribution = int | Choice[int] | Exponential[int] | Lognormal[int] | Pareto[int] | Uniform[int]


def draw(source: Distribution, random: Random, most: int = LONGEST_NS) -> int:
    """One value of `source`, from 1 to `most`; a constant takes no random number."""
    match source:
        case int():
            return source
        case Uniform():
            return source.min + int(random.random() * (source.max - source.min + 1))
        case Choice():
            weights = source.weights or [1] * len(source.values)
            total = list(accumulate(weights))
            return source.values[bisect_right(total, random.random() * total[-1])]
        case Pareto():
            # F(x) = (1 - (min/x)**alpha) / (1 - (min/max)**alpha), solved for x.
            tail = _exp(_ln(Decimal(source.min) / source.max) * source.alpha)
            value = source.min * _exp(-_ln(1 - Decimal(random.random()) * (1 - tail)) / source.alpha)
            return _clip(value, source.min, source.max)
        case Exponential():
            value = exponential(source.mean, random)
        case _:
            value = source.median * _exp(source.sigma * Decimal(normal(random)))
    low = 1 if source.min is None else source.min
    return _clip(value, low, most if source.max is None else source.max)


def exponential(mean: int | Decimal, random: Random) -> Decimal:
    """A draw from the exponential distribution with that mean."""
    return -mean * _ln(1 - Decimal(random.random()))


def normal(random: Random) -> float:
    """A draw from the standard normal distribution, to seven digits.

    Source: M. J. Wichura, Algorithm AS 241 (PPND7), Applied Statistics 37(3), 1988.
    """
    p = random.random() or 2.0**-54
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return q * _ratio(r, _CENTRE)
    r = float(_decimal.sqrt(-_ln(Decimal(min(p, 1 - p)))))
    tail = _ratio(r - 1.6, _NEAR) if r <= 5 else _ratio(r - 5, _FAR)
    return tail if q > 0 else -tail


_CENTRE = (
    (3.3871327179, 50.434271938, 159.29113202, 59.109374720),
    (1.0, 17.895169469, 78.757757664, 67.187563600),
)
_NEAR = ((1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103), (1.0, 0.73700164250, 0.12021132975))
_FAR = ((6.6579051150, 3.0812263860, 0.42868294337, 0.017337203997), (1.0, 0.24197894225, 0.012258202635))


def _ratio(x: float, polynomials: tuple[tuple[float, ...], tuple[float, ...]]) -> float:
    above, below = (reduce(lambda total, c: total * x + c, reversed(terms)) for terms in polynomials)
    return above / below


def _ln(x: Decimal) -> Decimal:
    return _decimal.ln(x)


def _exp(x: Decimal) -> Decimal:
    return _decimal.exp(x)


def _clip(value: Decimal, low: int, high: int) -> int:
    return low if value <= low else high if value >= high else round(value)
