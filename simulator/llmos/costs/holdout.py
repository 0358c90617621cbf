"""How well a profile predicts what it has not seen.

- Interpolation: every fourth row of each curve is taken away and predicted from the rest; the ends
  stay, and the places differ from curve to curve, so that all sizes get their turn.
- Roofline x residual: every eighth curve of a family is taken away whole and predicted from the others,
  then every eighth from the next on, until each had its turn.
- Only what was predicted by that way counts. Of very many rows that are taken away together, some are
  predicted.
- An error is the relative difference of the predicted from the measured time; put it beside the
  profile's noise floor, below which no error means anything.
"""

from collections.abc import Iterable
from itertools import groupby

import msgspec

from llmos.costs.model import INTERPOLATED, RESIDUAL, Cost, CostModel
from llmos.costs.ops import Op
from llmos.costs.profile import Profile, Row, Spread

EVERY = 4
FOLDS = 8
MOST_ASKED = 100
"""Of the rows that are taken away together, so many are predicted, spread over all of them."""


FEWEST = 10
"""Errors of one kind of operation that are enough to speak of it."""


def holdout(profile: Profile) -> dict[str, Spread]:
    """The held-out errors of the profile, by way of predicting; without those it is too small for.

    Of all operations together, and of each kind that has enough of them ("interpolated: matmul").
    """
    spreads: dict[str, Spread] = {}
    for method, found in predictions(profile).items():
        if found:
            spreads[method] = Spread.of([error for _, _, error in found])
        of_kinds = by_kind((row.op, error) for row, _, error in found)
        spreads |= {f"{method}: {kind}": spread for kind, spread in of_kinds.items()}
    return spreads


def by_kind(errors: Iterable[tuple[Op, float]]) -> dict[str, Spread]:
    """The spread of the relative errors of each kind of operation that has enough of them."""
    of_kind: dict[str, list[float]] = {}
    for op, error in errors:
        of_kind.setdefault(op.kind, []).append(error)
    return {kind: Spread.of(of_kind[kind]) for kind in sorted(of_kind) if len(of_kind[kind]) >= FEWEST}


def predictions(profile: Profile) -> dict[str, list[tuple[Row, Cost, float]]]:
    """Rows that were held out, with what was predicted for each and its relative error."""
    curves = _curves(profile)
    inner = [row for i, rows in enumerate(curves) for row in _every_fourth(rows, i)]
    families = [list(members) for _, members in groupby(curves, lambda rows: rows[0].op.family)]
    turns = [_joined(members[i::FOLDS]) for members in families if len(members) > 1 for i in range(FOLDS)]
    return {
        INTERPOLATED: _predicted(profile, inner, INTERPOLATED),
        RESIDUAL: [each for rows in turns for each in _predicted(profile, rows, RESIDUAL)],
    }


def _curves(profile: Profile) -> list[list[Row]]:
    rows = sorted(profile.rows, key=lambda row: (row.op.family, row.op.dims[1:], row.op.dims[0]))
    return [list(rows) for _, rows in groupby(rows, lambda row: (row.op.family, row.op.dims[1:]))]


def _every_fourth(rows: list[Row], turn: int) -> list[Row]:
    inner = rows[1:-1]
    return inner[turn % EVERY :: EVERY]


def _joined(curves: list[list[Row]]) -> list[Row]:
    return [row for rows in curves for row in rows]


def _predicted(profile: Profile, held_out: list[Row], method: str) -> list[tuple[Row, Cost, float]]:
    ops = {row.op for row in held_out}
    families = {op.family for op in ops}
    rest = tuple(row for row in profile.rows if row.op.family in families and row.op not in ops)
    model = CostModel(msgspec.structs.replace(profile, rows=rest))
    step = -(-len(held_out) // MOST_ASKED) if method == RESIDUAL else 1  # A line costs next to nothing.
    pairs = [(row, model.predict(row.op)) for row in held_out[:: max(step, 1)]]
    return [
        (row, cost, abs(cost.seconds / row.seconds - 1))
        for row, cost in pairs
        if cost.source.startswith(method)
    ]
