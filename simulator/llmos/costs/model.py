"""Predicting the time of an operation from a profile, with an interval and a source.

- `predict` answers in this order: the exact row; between two near rows of the same curve, a straight
  line in log-log; the roofline times a residual learned from the rows; the roofline alone.
- `source` says which of these it was, from which profile, and whether that was measured.
- The interval is where a repeat of the same measurement on the same machine should fall, 19 times
  out of 20. It comes from the profile's own held-out errors and noise floor, and is wider where the
  rows say little.
- The same profile and operation give the same answer to the nanosecond, whatever was asked before.
- Answers are kept: asking again is one look-up in a dict.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from llmos.costs.ops import Op
from llmos.costs.profile import Profile, Row

if TYPE_CHECKING:
    from llmos.costs.residual import Parts, Residual

EXACT = "exact row"
INTERPOLATED = "interpolated"
RESIDUAL = "roofline x residual"
ROOFLINE = "roofline"

# Relative errors where a profile says nothing better. A data-sheet roofline can be a factor of two
# off: against a public table of 9,240 bf16 matmuls on an H100, 95 % took 0.90 to 2.12 times of it.
UNKNOWN_ERROR = {EXACT: 0.10, INTERPOLATED: 0.25, RESIDUAL: 0.50, ROOFLINE: 1.25}
# A line is drawn between rows whose running sizes are at most this many times apart. On a public table
# of H100 matmuls it was 3 % off (median) up to here, and more than 10 % from twice as much on.
WIDEST_GAP = 4
# A device is taken to compute whole tiles if that makes its rows e**5 times as likely, which is called very
# strong evidence. Source: R. E. Kass, A. E. Raftery, Bayes Factors, JASA 90(430), 1995.
SURE = 5.0


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
    """Predictions from one profile; nothing is changed in it."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._answers: dict[Op, Cost] = {}
        self._residuals: dict[tuple[str, ...], tuple[Residual, bool]] = {}

    @cached_property
    def _rows(self) -> dict[Op, Row]:
        return {row.op: row for row in self.profile.rows}

    @cached_property
    def _families(self) -> dict[tuple[str, ...], list[Row]]:
        families: dict[tuple[str, ...], list[Row]] = {}
        for row in sorted(self.profile.rows, key=lambda row: (row.op.dims[1:], row.op.dims[0])):
            families.setdefault(row.op.family, []).append(row)
        return families

    @cached_property
    def _curves(self) -> "dict[tuple[str, ...], dict[tuple[int, ...], _Curve]]":
        return {family: _curves(rows) for family, rows in self._families.items()}

    def predict(self, op: Op) -> Cost:
        """The cost of running `op` once, its inputs not in any cache.

        Raises ProfileError when the profile knows nothing of the operation's dtype, or of its link.
        """
        answer = self._answers.get(op)
        if answer is None:
            answer = self._answers[op] = self._predict(op)
        return answer

    def _predict(self, op: Op) -> Cost:
        if row := self._rows.get(op):
            error = self._error(EXACT, op)
            low, high = min(row.low, row.seconds / (1 + error)), max(row.high, row.seconds * (1 + error))
            return Cost(row.seconds, low, high, self._source(EXACT))
        if op.family not in self._families:
            return self._cost(op, self.profile.roofline(op), ROOFLINE)
        curve = self._curves[op.family].get(op.dims[1:])
        if curve is not None and (between := curve.at(op.dims[0])):
            return self._cost(op, between, INTERPOLATED)
        residual, tiled = self._residual(op.family)
        guess = residual.predict(op.dims, self.profile.parts(op, tiled=tiled))
        seconds = curve.within(op.dims[0], guess.seconds) if curve else guess.seconds
        return self._cost(op, seconds, RESIDUAL, guess.unsure)

    def _residual(self, family: tuple[str, ...]) -> "tuple[Residual, bool]":
        """What the family's rows teach, and whether by them the device computes whole tiles."""
        if family not in self._residuals:
            exact, tiled = (self._learned(family, tiled=tiled) for tiled in (False, True))
            sure = exact.unlikely - tiled.unlikely > SURE
            self._residuals[family] = (tiled, True) if sure else (exact, False)
        return self._residuals[family]

    def _learned(self, family: tuple[str, ...], *, tiled: bool) -> "Residual":
        rows = self._families[family]
        return _learned(
            tuple((row.op.dims, self.profile.parts(row.op, tiled=tiled), row.seconds) for row in rows)
        )

    def _cost(self, op: Op, seconds: float, method: str, unsure: float = 1.0) -> Cost:
        error = self._error(method, op) * max(unsure, 1.0)
        return Cost(seconds, seconds / (1 + error), seconds * (1 + error), self._source(method))

    def _error(self, method: str, op: Op) -> float:
        """How far off such predictions were, of this kind of operation if enough of them were held out."""
        floor = self.profile.noise_of.get(op.kind) or self.profile.noise
        noise = floor.p95 if floor else 0.0
        if method == EXACT and noise:
            return noise
        held_out = self.profile.holdout
        known = held_out.get(f"{method}: {op.kind}") or held_out.get(method)
        return max(known.p95 if known else UNKNOWN_ERROR[method], noise)

    def _source(self, method: str) -> str:
        return f"{method} ({self.profile.provenance})"


@dataclass(frozen=True, slots=True)
class _Curve:
    """Rows that differ in the running size only, sorted by it."""

    sizes: list[int]
    seconds: list[float]

    def at(self, size: int) -> float | None:
        """Seconds on the straight line, in log-log, between the rows around `size`, if those are near."""
        right = bisect_left(self.sizes, size)
        if not 0 < right < len(self.sizes) or self.sizes[right] > WIDEST_GAP * self.sizes[right - 1]:
            return None
        x0, x1 = math.log(self.sizes[right - 1]), math.log(self.sizes[right])
        y0, y1 = math.log(self.seconds[right - 1]), math.log(self.seconds[right])
        return math.exp(y0 + (y1 - y0) * ((math.log(size) - x0) / (x1 - x0)))

    def within(self, size: int, seconds: float) -> float:
        """The time nearest to `seconds` that is between those of the rows around `size`."""
        right = bisect_left(self.sizes, size)
        around = self.seconds[max(right - 1, 0) : right + 1]
        least = min(around) if right > 0 else 0.0
        most = max(around) if right < len(self.sizes) else math.inf
        return min(max(seconds, least), most)


@lru_cache(maxsize=32)  # A sweep asks the same for every run, and learning takes a tenth of a second.
def _learned(rows: "tuple[tuple[tuple[int, ...], Parts, float], ...]") -> "Residual":
    from llmos.costs.residual import Residual  # And numpy, which many runs do without.

    sizes, parts, seconds = zip(*rows, strict=True)
    return Residual(sizes, parts, seconds)


def _curves(rows: Sequence[Row]) -> dict[tuple[int, ...], _Curve]:
    curves: dict[tuple[int, ...], _Curve] = {}
    for row in rows:
        curve = curves.setdefault(row.op.dims[1:], _Curve([], []))
        curve.sizes.append(row.op.dims[0])
        curve.seconds.append(row.seconds)
    return curves
