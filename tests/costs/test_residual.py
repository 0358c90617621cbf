import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmos.costs.residual import ALL, Residual, _inverse_root


def law(m, k):
    """Seconds that no roofline has: a tenth of a power on top."""
    return (1e-6 + math.hypot(m * k * 1e-9, k * 1e-8)) * (m / k) ** 0.1


def parts(m, k):
    return 1e-6, m * k * 1e-9, k * 1e-8


def learned(sizes):
    return Residual(sizes, [parts(*each) for each in sizes], [law(*each) for each in sizes])


GRID = [(m, k) for m in (1, 4, 16, 64, 256) for k in (32, 128, 512, 2048)]


def test_a_smooth_law_is_found_between_its_rows():
    model = learned(GRID)
    for m, k in ((8, 64), (2, 1024), (100, 300)):
        assert model.predict((m, k), parts(m, k)).seconds == pytest.approx(law(m, k), rel=0.03)


def test_wrong_figures_of_a_data_sheet_are_put_right_by_the_rows():
    # All rows take 8 us to launch and compute at a fifth of the promised speed.
    sizes = [*GRID, (1000, 1000), (2000, 500)]
    taken = [8e-6 + math.hypot(5 * m * k * 1e-9, k * 1e-8) for m, k in sizes]
    model = Residual(sizes, [parts(*each) for each in sizes], taken)
    guess = model.predict((1024, 2048), parts(1024, 2048))
    assert guess.seconds == pytest.approx(8e-6 + 5 * 1024 * 2048 * 1e-9, rel=0.05)


def test_nearby_is_surer_than_far_away():
    model = learned(GRID)
    assert model.predict((16, 500), parts(16, 500)).unsure < 1
    assert model.predict((10**7, 3), parts(10**7, 3)).unsure > 1.5


def test_many_rows_are_answered_by_the_nearest():
    sizes = [(m, k) for m in range(1, 30) for k in range(100, 1100, 100)]
    assert len(sizes) > ALL
    assert learned(sizes).predict((17, 450), parts(17, 450)).seconds == pytest.approx(law(17, 450), rel=0.01)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_rows_are_enough(count):
    guess = learned(GRID[:count]).predict((5, 77), parts(5, 77))
    assert 0 < guess.seconds < math.inf
    assert guess.unsure >= 0


def test_what_costs_nothing_by_its_roofline_is_finite():
    model = Residual([(1,), (2,)], [(0.0, 0.0, 0.0)] * 2, [1e-6, 2e-6])
    assert 1e-6 < model.predict((1,), (0.0, 0.0, 0.0)).seconds < 2e-6


def test_another_order_of_the_rows_is_the_same_law():
    ahead, back = learned(GRID), learned(GRID[::-1])
    for m, k in ((8, 64), (3, 1000)):
        expected = pytest.approx(ahead.predict((m, k), parts(m, k)).seconds, rel=1e-3)
        assert back.predict((m, k), parts(m, k)).seconds == expected


def test_answers_have_six_digits():
    seconds = learned(GRID).predict((9, 99), parts(9, 99)).seconds
    assert seconds == float(f"{seconds:.5e}")


def test_an_answer_is_the_same_in_another_process():
    script = "import sys; sys.path.insert(0, sys.argv[1]); from test_residual import GRID, learned, parts;"
    script += "print(learned(GRID).predict((9, 99), parts(9, 99)))"
    command = [sys.executable, "-c", script, str(__file__).rpartition("/")[0]]
    environment = {"PYTHONPATH": ":".join(sys.path), "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    assert printed.strip() == str(learned(GRID).predict((9, 99), parts(9, 99)))


@settings(max_examples=50)
@given(st.integers(1, 12), st.integers(0, 2**32))
def test_the_inverse_root_is_one(count, seed):
    square = np.random.default_rng(seed).normal(size=(count, count))
    matrix = square @ square.T + np.eye(count)
    root = _inverse_root(matrix)
    assert np.allclose(root @ matrix @ root.T, np.eye(count))
    assert np.allclose(root, np.tril(root))


rows = st.lists(
    st.tuples(st.integers(1, 2**40), st.integers(1, 2**40), st.floats(1e-9, 1e5)), min_size=1, max_size=8
)


@settings(max_examples=50)
@given(rows, st.integers(1, 2**40))
def test_whatever_was_timed_an_answer_is_a_time(rows, size):
    sizes = [(m, k) for m, k, _ in rows]
    model = Residual(sizes, [parts(m, k) for m, k in sizes], [seconds for *_, seconds in rows])
    guess = model.predict((size, 3), parts(size, 3))
    assert 0 < guess.seconds < math.inf
    assert 0 <= guess.unsure < math.inf
