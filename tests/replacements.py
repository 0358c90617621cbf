"""One of each replacement policy, for the tests that hold for all of them."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from llmos.replacement.base import ReplacementPolicy
from llmos.replacement.fifo import Fifo
from llmos.replacement.lru import Lru

MAKERS: dict[str, Callable[[int], ReplacementPolicy]] = {
    "fifo": lambda _: Fifo(),
    "lru": lambda _: Lru(),
}
NAMES = list(MAKERS)


def make(name: str, capacity: int, future: Sequence[Any] = ()) -> ReplacementPolicy:
    """Return a fresh policy called `name`, which knows the `future` if it must."""
    policy = MAKERS[name](capacity)
    if policy.offline:
        policy.foresee(future)
    return policy


def dice() -> random.Random:
    """Return a random stream that is the same each time."""
    return random.Random(7)
