"""One of each replacement policy, for the tests that hold for all of them."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from llmos.replacement.aging import Aging
from llmos.replacement.base import ReplacementPolicy
from llmos.replacement.clock import Clock
from llmos.replacement.fifo import Fifo
from llmos.replacement.lfu import Lfu
from llmos.replacement.lru import Lru
from llmos.replacement.lru_k import LruK
from llmos.replacement.mfu import Mfu
from llmos.replacement.mru import Mru
from llmos.replacement.nru import Nru
from llmos.replacement.opt import Opt
from llmos.replacement.ostep_clock import OstepClock
from llmos.replacement.rand import RandomChoice
from llmos.replacement.second_chance import SecondChance
from llmos.replacement.wsclock import WSClock

MAKERS: dict[str, Callable[[int], ReplacementPolicy]] = {
    "fifo": lambda _: Fifo(),
    "lru": lambda _: Lru(),
    "mru": lambda _: Mru(),
    "lfu": lambda _: Lfu(),
    "mfu": lambda _: Mfu(),
    "random": lambda _: RandomChoice(dice()),
    "opt": lambda _: Opt(),
    "opt worst": lambda _: Opt(worst=True),
    "opt ties=first": lambda _: Opt(ties="first"),
    "clock": lambda _: Clock(),
    "clock bits=2": lambda _: Clock(bits=2),
    "clock load_counts": lambda _: Clock(load_counts=True),
    "ostep-clock": lambda _: OstepClock(dice(), clockbits=2),
    "second-chance": lambda _: SecondChance(),
    "nru": lambda _: Nru(period=5),
    "aging": lambda _: Aging(bits=3, period=2),
    "aging shift=false": lambda _: Aging(period=2, shift=False),
    "wsclock": lambda _: WSClock(tau=4),
    "lru-k": LruK,
    "lru-k k=3": lambda capacity: LruK(capacity, k=3, correlated=2, history=20),
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
