"""How well a profile predicts what it has not seen.

- Interpolation: every fourth row of each curve is taken away and predicted from the rest; the ends
  stay, and the places differ from curve to curve, so that all sizes get their turn.
- Roofline x residual: each curve in turn is taken away whole and predicted from the others.
- An error is the relative difference of the predicted from the measured time; put it beside the
  profile's noise floor, below which no error means anything.
"""

from itertools import groupby

import msgspec

from llmos.costs.model import INTERPOLATED, RESIDUAL, CostModel
from llmos.costs.profile import Profile, Row, Spread

EVERY = 4


def holdout(profile: Profile) -> dict[str, Spread]:
    """The held-out errors of the profile, by way of predicting; without those it is too small for."""
    curves = _curves(profile)
    errors = {
        INTERPOLATED: _errors(
            profile, [row for i, rows in enumerate(curves) for row in _every_fourth(rows, i)]
        ),
        RESIDUAL: [
            error for rows in curves if _has_sisters(rows, curves) for error in _errors(profile, rows)
        ],
    }
    return {method: Spread.of(found) for method, found in errors.items() if found}


def _curves(profile: Profile) -> list[list[Row]]:
    rows = sorted(profile.rows, key=lambda row: (row.op.family, row.op.dims[1:], row.op.dims[0]))
    return [list(rows) for _, rows in groupby(rows, lambda row: (row.op.family, row.op.dims[1:]))]


def _every_fourth(rows: list[Row], turn: int) -> list[Row]:
    inner = rows[1:-1]
    return inner[turn % EVERY :: EVERY]


def _has_sisters(rows: list[Row], curves: list[list[Row]]) -> bool:
    """Whether there is another curve of the same family."""
    return sum(other[0].op.family == rows[0].op.family for other in curves) > 1


def _errors(profile: Profile, held_out: list[Row]) -> list[float]:
    ops = {row.op for row in held_out}
    rest = tuple(row for row in profile.rows if row.op not in ops)
    model = CostModel(msgspec.structs.replace(profile, rows=rest))
    return [abs(model.predict(row.op).seconds / row.seconds - 1) for row in held_out]
