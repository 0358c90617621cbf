"""Predicting the time of an operation from a profile, with an interval and a source.

- `predict` answers in this order: the exact row; between two rows of the same curve, a straight line
  in log-log; the roofline times a residual learned from the rows; the roofline alone.
- `source` says which of these it was, from which profile, and whether that was measured.
- The interval is where a repeat of the same measurement on the same machine should fall, 19 times
  out of 20. It comes from the profile's own held-out errors and noise floor.
- The same profile and operation give the same answer to the nanosecond, whatever was asked before.
- Answers are kept: asking again is one look-up in a dict.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property

from llmos.costs.ops import Op
from llmos.costs.profile import Profile, Row

EXACT = "exact row"
INTERPOLATED = "interpolated"
RESIDUAL = "roofline x residual"
ROOFLINE = "roofline"

# Relative errors where a profile says nothing better. A data-sheet roofline can be a factor of two
# off: against a public table of 9,240 bf16 matmuls on an H100, 95 % took 0.90 to 2.12 times of it.
UNKNOWN_ERROR = {EXACT: 0.10, INTERPOLATED: 0.25, RESIDUAL: 0.50, ROOFLINE: 1.25}
NEIGHBOURS_FADE = 3.0  # A curve twice as far away (in log sizes) counts 2**3 times less.


@dataclass(frozen=True, slots=True)
class Cost:
    """A predicted time in seconds, the interval `low` to `high` around it, and its source."""

    seconds: float
    low: float
    high: float
    source: str

    @property
    def ns(self) -> int:
        """The time in whole nanoseconds, at least 1."""
        return max(1, round(self.seconds * 1e9))


class CostModel:
    """Predictions from one profile; nothing is changed in it, and no more is computed than is asked for."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._answers: dict[Op, Cost] = {}

    @cached_property
    def _rows(self) -> dict[Op, Row]:
        return {row.op: row for row in self.profile.rows}

    @cached_property
    def _families(self) -> "dict[tuple[str, ...], _Family]":
        return _families(self.profile)

    def predict(self, op: Op) -> Cost:
        """The cost of running `op` once, its inputs not in any cache.

        Raises ProfileError when the profile knows nothing of the operation's dtype.
        """
        answer = self._answers.get(op)
        if answer is None:
            answer = self._answers[op] = self._predict(op)
        return answer

    def _predict(self, op: Op) -> Cost:
        if row := self._rows.get(op):
            error = self._error(EXACT)
            low, high = min(row.low, row.seconds / (1 + error)), max(row.high, row.seconds * (1 + error))
            return Cost(row.seconds, low, high, self._source(EXACT))
        roofline = self.profile.roofline(op)
        family = self._families.get(op.family)
        if family is None:
            return self._cost(roofline, ROOFLINE)
        curve = family.get(op.dims[1:])
        if curve is not None and curve.first <= op.dims[0] <= curve.last:
            return self._cost(math.exp(_line(curve.sizes, curve.seconds, math.log(op.dims[0]))), INTERPOLATED)
        return self._cost(roofline * math.exp(_residual(family, op)), RESIDUAL)

    def _cost(self, seconds: float, method: str) -> Cost:
        error = self._error(method)
        return Cost(seconds, seconds / (1 + error), seconds * (1 + error), self._source(method))

    def _error(self, method: str) -> float:
        noise = self.profile.noise.p95 if self.profile.noise else 0.0
        if method == EXACT and noise:
            return noise
        known = self.profile.holdout.get(method)
        return max(known.p95 if known else UNKNOWN_ERROR[method], noise)

    def _source(self, method: str) -> str:
        return f"{method} ({self.profile.provenance})"


@dataclass(frozen=True, slots=True)
class _Curve:
    """Rows that differ in the running size only, sorted by it; logarithms but for first and last."""

    first: int
    last: int
    sizes: list[float]
    seconds: list[float]
    residuals: list[float]  # measured over roofline


_Family = dict[tuple[int, ...], _Curve]


def _families(profile: Profile) -> dict[tuple[str, ...], _Family]:
    rows: dict[tuple[str, ...], dict[tuple[int, ...], list[Row]]] = {}
    for row in sorted(profile.rows, key=lambda row: (row.op.family, row.op.dims)):
        family = rows.setdefault(row.op.family, {})
        family.setdefault(row.op.dims[1:], []).append(row)
    return {
        key: {rest: _curve(profile, members) for rest, members in family.items()}
        for key, family in rows.items()
    }


def _curve(profile: Profile, rows: list[Row]) -> _Curve:
    return _Curve(
        first=rows[0].op.dims[0],
        last=rows[-1].op.dims[0],
        sizes=[math.log(row.op.dims[0]) for row in rows],
        seconds=[math.log(row.seconds) for row in rows],
        residuals=[math.log(row.seconds / profile.roofline(row.op)) for row in rows],
    )


def _line(xs: list[float], ys: list[float], x: float) -> float:
    """The value at `x` of the broken line through the points; level beyond its ends."""
    right = bisect_left(xs, x)
    if right == 0:
        return ys[0]
    if right == len(xs):
        return ys[-1]
    x0, x1, y0, y1 = xs[right - 1], xs[right], ys[right - 1], ys[right]
    return y0 + (y1 - y0) * ((x - x0) / (x1 - x0))


def _residual(family: _Family, op: Op) -> float:
    """The log of measured time over roofline at `op`, from the curves around it.

    Each curve answers for the running size (level beyond its ends); near curves count more.
    """
    size, *rest = (math.log(dim) for dim in op.dims)
    total = weights = 0.0
    for dims, curve in family.items():
        answer = _line(curve.sizes, curve.residuals, size)
        distance = math.sqrt(sum((a - math.log(b)) ** 2 for a, b in zip(rest, dims, strict=True)))
        if distance == 0:
            return answer
        weight = distance**-NEIGHBOURS_FADE
        total += weight * answer
        weights += weight
    return total / weights
