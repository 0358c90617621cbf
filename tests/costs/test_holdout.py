import pytest

from llmos.costs.holdout import holdout
from llmos.costs.ops import Matmul

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def test_a_power_law_is_interpolated_without_error(make):
    found = holdout(make([(Matmul(m, 64, 64), 1e-5 * m**0.6) for m in SIZES]))
    assert found["interpolated"].p95 == pytest.approx(0, abs=1e-9)
    assert "roofline x residual" not in found, "a lone curve has no other to be predicted from"


def test_rows_at_a_constant_share_of_the_roofline_predict_each_other(make):
    ops = [Matmul(m, k, 512) for m in SIZES for k in (256, 512, 1024)]
    found = holdout(make([(op, 1.7 * make().roofline(op)) for op in ops]))
    assert found["roofline x residual"].p95 == pytest.approx(0, abs=1e-9)
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
