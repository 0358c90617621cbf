"""Draws: the right distribution, one random number each, the same on every machine."""

import math
from decimal import Decimal
from random import Random
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from llmos.scenario.distributions import Sizes, draw, normal

ADAPTER = TypeAdapter(Sizes)


def source(**table):
    return ADAPTER.validate_python(table)


class Fixed(Random):
    """A random number that is always the same."""

    def __init__(self, u):
        super().__init__(0)
        self.u = u
        self.calls = 0

    def random(self):
        self.calls += 1
        return self.u


# Quantile functions from any book on probability.
QUANTILES = {
    "exponential": ({"distribution": "exponential", "mean": 10**6}, lambda u: -(10**6) * math.log1p(-u)),
    "uniform": ({"distribution": "uniform", "min": 1000, "max": 10**6}, lambda u: 1000 + u * (10**6 - 1000)),
    "lognormal": (
        {"distribution": "lognormal", "median": 10**6, "sigma": Decimal("0.75")},
        lambda u: 10**6 * math.exp(0.75 * NormalDist().inv_cdf(u)),
    ),
    "pareto": (
        {"distribution": "pareto", "alpha": Decimal("1.5"), "min": 1000, "max": 10**6},
        # x**-a runs evenly from min**-a to max**-a
        lambda u: (1000**-1.5 + u * (10**-9 - 1000**-1.5)) ** (-1 / 1.5),
    ),
}


@pytest.mark.parametrize("name", QUANTILES)
@pytest.mark.parametrize("u", [2**-53, 1e-9, 0.001, 0.05, 0.3, 0.5, 0.7, 0.95, 0.999, 1 - 1e-9, 1 - 2**-53])
def test_a_draw_is_the_quantile_of_one_random_number(name, u):
    table, quantile = QUANTILES[name]
    random = Fixed(u)
    assert draw(source(**table), random) == pytest.approx(quantile(u), rel=2e-6, abs=1)
    assert random.calls == 1


@given(st.floats(2**-53, 1 - 2**-53))
def test_the_normal_quantile_has_seven_digits(u):
    assert normal(Fixed(u)) == pytest.approx(NormalDist().inv_cdf(u), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("u", "value"), [(0.0, 5), (0.24, 5), (0.25, 7), (0.99, 7)])
def test_a_choice_goes_by_weights(u, value):
    assert draw(source(distribution="choice", values=[5, 6, 7], weights=[1, 0, 3]), Fixed(u)) == value


def test_a_choice_without_weights_is_even():
    drawn = [draw(source(distribution="choice", values=[1, 2, 3, 4]), Fixed(u)) for u in (0.1, 0.3, 0.6, 0.9)]
    assert drawn == [1, 2, 3, 4]


def test_a_constant_takes_no_random_number():
    random = Fixed(0.5)
    assert draw(ADAPTER.validate_python(7), random) == 7
    assert random.calls == 0


@pytest.mark.parametrize("u", [0.0, 0.5, 1 - 2**-53])
def test_draws_stay_between_min_and_max(u):
    for table in (
        {"distribution": "exponential", "mean": 100, "min": 90, "max": 110},
        {"distribution": "lognormal", "median": 100, "sigma": 10, "min": 90, "max": 110},
        {"distribution": "uniform", "min": 90, "max": 110},
        {"distribution": "pareto", "alpha": 1, "min": 90, "max": 110},
    ):
        assert 90 <= draw(source(**table), Fixed(u)) <= 110
    assert draw(source(distribution="exponential", mean=1), Fixed(0.0)) == 1
    assert (
        draw(source(distribution="lognormal", median=10**9, sigma=10), Fixed(1 - 2**-53), most=10**9) == 10**9
    )


def test_the_mean_of_many_draws():
    # The standard error of the mean of 4000 draws is mean / 63.
    random = Random(1)
    mean = sum(draw(source(distribution="exponential", mean=10**6), random) for _ in range(4000)) / 4000
    assert mean == pytest.approx(10**6, rel=0.06)


@pytest.mark.parametrize(
    "table",
    [
        {"distribution": "uniform", "min": 5, "max": 4},
        {"distribution": "pareto", "alpha": 1, "min": 5, "max": 5},
        {"distribution": "pareto", "alpha": 0, "min": 5, "max": 6},
        {"distribution": "pareto", "alpha": Decimal("NaN"), "min": 5, "max": 6},
        {"distribution": "exponential", "mean": 5, "min": 7, "max": 6},
        {"distribution": "exponential", "mean": 0},
        {"distribution": "lognormal", "median": 5, "sigma": 11},
        {"distribution": "lognormal", "median": 5, "sigma": "1"},
        {"distribution": "choice", "values": []},
        {"distribution": "choice", "values": [1, 2], "weights": [1]},
        {"distribution": "choice", "values": [1, 2], "weights": [0, 0]},
        {"distribution": "choice", "values": [1, 2], "weights": [-1, 2]},
        {"distribution": "weibull"},
        {},
        [],
        True,
    ],
)
def test_what_is_no_distribution(table):
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(table)
