import math
from statistics import median

import msgspec
import numpy as np
import pytest

from llmos.costs.holdout import FEWEST, by_kind, holdout
from llmos.costs.model import CostModel
from llmos.costs.ops import Matmul, RmsNorm
from llmos.costs.profile import Spread

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def test_a_power_law_is_interpolated_without_error(make):
    found = holdout(make([(Matmul(m, 64, 64), 1e-5 * m**0.6) for m in SIZES]))
    assert found["interpolated"].p95 == pytest.approx(0, abs=1e-9)
    assert "roofline x residual" not in found, "a lone curve has no other to be predicted from"


def test_rows_at_a_constant_share_of_the_roofline_predict_each_other(make):
    ops = [Matmul(m, k, 512) for m in SIZES for k in (256, 512, 1024)]
    parts = [make().parts(op) for op in ops]
    rounded = [launch + math.hypot(compute, memory) for launch, compute, memory in parts]
    found = holdout(make([(op, 1.7 * seconds) for op, seconds in zip(ops, rounded, strict=True)]))
    assert found["roofline x residual"].p95 == pytest.approx(0, abs=1e-5)
    assert found["roofline x residual"].points == len(ops)


def test_a_cliff_that_the_rest_does_not_know_is_an_error(make):
    # The third of five rows takes twice of what the line through its neighbours says.
    seconds = {1: 1e-5, 2: 2e-5, 4: 8e-5, 8: 8e-5, 16: 16e-5}
    rows = [(Matmul(m, 64, 64), s) for m, s in seconds.items()]
    found = holdout(make([*rows, *((Matmul(m, 64, 32), s) for m, s in seconds.items())]))
    # Held out are the second row of one curve (2e-5, predicted at the root of 1e-5 * 8e-5) and the
    # third of the other (8e-5, predicted at the root of 2e-5 * 8e-5).
    assert found["interpolated"].points == 2
    assert found["interpolated"].median == pytest.approx((0.41421 + 0.5) / 2, abs=1e-4)


def test_held_out_rows_are_not_seen(make):
    # Were the rows still there they would be predicted exactly.
    rough = [(Matmul(m, 64, 64), 1e-5 * m * (3 if i % 2 else 1)) for i, m in enumerate(SIZES)]
    assert holdout(make(rough))["interpolated"].median > 0.5


def test_too_few_rows_have_no_held_out_error(make):
    assert holdout(make([(Matmul(1, 64, 64), 1e-5), (Matmul(2, 64, 64), 1e-5)])) == {}
    assert holdout(make()) == {}


def test_the_interval_holds_19_of_20_rows_that_were_never_seen(make):
    # Rows of random sizes, 10 % to either side of a law that is none of the model's: their spread is
    # learned from half of them, and put to the test on the other half.
    random = np.random.default_rng(5)
    sizes = np.exp(random.uniform(0, 8, (400, 3))).astype(int) + 1
    ops = list(dict.fromkeys(Matmul(*map(int, each)) for each in sizes))
    rows = [
        (op, make().roofline(op) * (op.k / op.n) ** 0.1 * math.exp(noise))
        for op, noise in zip(ops, random.normal(0, 0.1, len(ops)), strict=True)
    ]
    known = make(rows[::2])
    model = CostModel(msgspec.structs.replace(known, holdout=holdout(known)))
    costs = [(model.predict(op), seconds) for op, seconds in rows[1::2]]
    covered = sum(cost.low <= seconds <= cost.high for cost, seconds in costs) / len(costs)
    assert 0.90 <= covered <= 1.0
    assert median(cost.high / cost.seconds - 1 for cost, _ in costs) < 0.5, "wide enough to hold anything"


def test_a_kind_with_too_few_errors_has_no_spread():
    products = [(Matmul(m, 64, 64), 0.1) for m in range(1, FEWEST + 1)]
    norms = [(RmsNorm(m, 64), 0.5) for m in range(1, FEWEST)]
    assert by_kind([*norms, *products]) == {"matmul": Spread(0.1, 0.1, FEWEST)}


def test_a_kind_with_enough_rows_has_an_error_of_its_own_and_intervals_follow_it(make):
    # Products follow a law exactly, norms are off by a half every other row.
    products = [(Matmul(m, k, 64), 1e-5 * m**0.6) for m in SIZES for k in (16, 32, 64, 128, 256, 512, 1024)]
    norms = [
        (RmsNorm(m, h, "fp32"), 1e-6 * m * (1.5 if i % 2 else 1))
        for i, m in enumerate(SIZES)
        for h in (16, 32, 64, 128, 256, 512, 1024)
    ]
    profile = make([*products, *norms], noise=Spread(0.0, 0.0, 1))
    profile = msgspec.structs.replace(profile, holdout=holdout(profile))
    assert profile.holdout["interpolated: matmul"].p95 < 1e-9 < profile.holdout["interpolated"].p95
    assert profile.holdout["interpolated: rms_norm"].p95 > 0.3
    sure, unsure = (CostModel(profile).predict(op) for op in (Matmul(3, 64, 64), RmsNorm(3, 64, "fp32")))
    assert sure.high / sure.seconds < 1.001
    assert unsure.high / unsure.seconds > 1.3
