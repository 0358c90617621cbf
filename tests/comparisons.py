"""Comparisons of the shipped scenarios: each is run once, however many tests look at it."""

from functools import cache

from llmos.scenario.compare import Comparison, compare
from llmos.scenario.load import load, shipped


@cache
def compared(name: str) -> Comparison:
    """What `[compare]` of the scenario of that name asks for; to be looked at, not to be changed."""
    return compare(load(shipped()[name]))
