"""One of each replacement policy, for the tests that hold for all of them."""

import random
from collections.abc import Callable, Sequence
from typing import Any

from llmos.replacement.aging import Aging
from llmos.replacement.arc import Arc
from llmos.replacement.base import ReplacementPolicy
from llmos.replacement.clock import Clock
from llmos.replacement.fifo import Fifo
from llmos.replacement.lfu import Lfu
from llmos.replacement.lirs import Lirs
from llmos.replacement.lru import Lru
from llmos.replacement.lru_k import LruK
from llmos.replacement.mfu import Mfu
from llmos.replacement.mglru import Mglru
from llmos.replacement.mru import Mru
from llmos.replacement.nru import Nru
from llmos.replacement.opt import Opt
from llmos.replacement.ostep_clock import OstepClock
from llmos.replacement.rand import RandomChoice
from llmos.replacement.s3_fifo import S3Fifo
from llmos.replacement.second_chance import SecondChance
from llmos.replacement.sieve import Sieve
from llmos.replacement.slru import Slru
from llmos.replacement.two_lists import TwoLists
from llmos.replacement.two_q import TwoQ
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
MAKERS |= {
    "arc": Arc,
    "2q": TwoQ,
    "slru": Slru,
    "slru segments=2": lambda capacity: Slru(capacity, segments=2),
    "lirs": Lirs,
    "lirs trial=0.5": lambda capacity: Lirs(capacity, trial=0.5),
    "sieve": lambda _: Sieve(),
    "s3-fifo": S3Fifo,
    "s3-fifo threshold=1": lambda capacity: S3Fifo(capacity, small=0.5, threshold=1),
    "two-lists": TwoLists,
    "two-lists ratio=3": lambda capacity: TwoLists(capacity, ratio=3),
    "mglru": Mglru,
    "mglru mapped=false": lambda capacity: Mglru(capacity, mapped=False, batch=1),
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
