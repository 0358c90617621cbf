"""Places: a fixed number of them, and a policy that decides who keeps one.

- The smallest mechanism a policy can be put into: a set of a TLB, the frames of an exam question, a cache
  whose miss ratio is wanted. The pager of `llmos.memory` does the same with shares, pins and writes.
- It checks the policy: one that names who is spared or not resident has broken its contract.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Container, Iterable
from typing import NamedTuple

from llmos.errors import PolicyError
from llmos.replacement.base import NONE, Key, ReplacementPolicy
from llmos.replacement.lru import Lru


class Reference(NamedTuple):
    """What a reference did: whether it hit, and who had to go (None if nobody)."""

    hit: bool
    victim: Key | None = None
    reason: str = ""


HIT = Reference(hit=True)
FREE = Reference(hit=False)

NOBODY = "it names no victim, though not all keys are spared"


class Places:
    """`capacity` places (at least 1), filled and emptied as `policy` says."""

    __slots__ = ("capacity", "on_hit", "policy", "resident")

    def __init__(self, capacity: int, policy: ReplacementPolicy) -> None:
        self.capacity = capacity
        self.policy = policy
        self.resident: dict[Key, None] = {}
        self.on_hit = policy.on_hit()
        """What is to be called with a resident key that is read."""

    def refer(
        self, key: Key, *, write: bool = False, spared: Container[Key] = NONE, why: bool = False
    ) -> Reference:
        """Refer to `key`, which becomes resident if it is not; `why`: with the reason for its victim."""
        policy = self.policy
        if key in self.resident:
            policy.accessed(key, write=write)
            return HIT
        done = FREE
        if len(self.resident) >= self.capacity:
            victim = self._victim(key, spared)
            done = Reference(hit=False, victim=victim, reason=policy.reason(victim) if why else "")
            del self.resident[victim]
            policy.evicted(victim)
        self.resident[key] = None
        policy.inserted(key, write=write)
        return done

    def misses(self, keys: Iterable[Key]) -> int:
        """Refer to all `keys`, as `refer` does for each, and return how many were not resident."""
        resident, on_hit, take = self.resident, self.on_hit, self.take
        missed = 0
        for key in keys:
            if key in resident:
                on_hit(key)
            else:
                missed += 1
                take(key)
        return missed

    def take(self, key: Key) -> Key | None:
        """Give a place to `key`, which has none; return who had to go, None if nobody."""
        policy, resident = self.policy, self.resident
        victim = None
        if len(resident) >= self.capacity:
            victim = chosen(policy, resident, NONE, key)
            if victim is None:
                raise _broken(policy, NOBODY)
            del resident[victim]
            policy.evicted(victim)
        resident[key] = None
        policy.inserted(key)
        return victim

    def remove(self, key: Key) -> None:
        """Empty the place of the resident `key`."""
        del self.resident[key]
        self.policy.removed(key)

    def _victim(self, key: Key, spared: Container[Key]) -> Key:
        """Return who must go for `key`. Raises LookupError if all are spared."""
        victim = chosen(self.policy, self.resident, spared, key)
        if victim is not None:
            return victim
        if not all(other in spared for other in self.resident):
            raise _broken(self.policy, NOBODY)
        raise LookupError(f"all {self.capacity} places are spared; there is none for {key!r}")


class LruPlaces:
    """`Places` under LRU, where speed counts: in the order in which they are resident they go."""

    __slots__ = ("capacity", "on_hit", "resident")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.resident: OrderedDict[Key, None] = OrderedDict()
        self.on_hit: Callable[[Key], object] = self.resident.move_to_end

    def take(self, key: Key) -> Key | None:
        """Give a place to `key`, which has none; return who had to go, None if nobody."""
        resident = self.resident
        victim = resident.popitem(last=False)[0] if len(resident) >= self.capacity else None
        resident[key] = None
        return victim

    def remove(self, key: Key) -> None:
        """Empty the place of the resident `key`."""
        del self.resident[key]


def places(capacity: int, policy: ReplacementPolicy) -> Places | LruPlaces:
    """Return `capacity` places under the fresh `policy`, for who needs no more than to take and to remove."""
    return LruPlaces(capacity) if type(policy) is Lru else Places(capacity, policy)


def chosen(
    policy: ReplacementPolicy, resident: Container[Key], spared: Container[Key], incoming: Key | None
) -> Key | None:
    """Ask `policy` for a victim and see that it is one.

    Raises PolicyError if it is spared or not resident.
    """
    victim = policy.victim(spared, incoming)
    if victim is None:
        return None
    try:
        there = victim in resident
    except TypeError:  # a list, say, is no key
        there = False
    if not there:
        raise _broken(policy, f"its victim {victim!r:.80} is not resident")
    if spared is not NONE and victim in spared:
        raise _broken(policy, f"its victim {victim!r} is spared (pinned or not its own)")
    return victim


def _broken(policy: ReplacementPolicy, what: str) -> PolicyError:
    contract = "`victim` names a resident key that is not in `spared`, or None"
    return PolicyError(what, policy=type(policy).__name__, contract=contract)
