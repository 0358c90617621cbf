"""The replacement contract: who must go when all places are taken.

- A policy orders *keys*: pages in frames, entries of a TLB, pages of a file in the page cache, KV
  blocks, weights. A key is anything that can be a key of a dict; the policy never looks inside.
- The mechanism owns residence: it knows what is where, counts hits and misses, charges the time and
  writes dirty pages back. It tells the policy what comes, what is used and what goes.
- A miss with all places taken is `victim`, `evicted`, `inserted`, in this order; one with a free place is
  just `inserted`. A hit is `accessed`, or what `on_hit` has returned for it.
- `spared` are keys that must not go now: pinned, in use, or another task's. A policy never names one
  of them, nor a key that is not resident.
- Time is counted in references, as textbooks do: every `inserted` and every `accessed` is one.

A policy is a plain object: it can be tested with a list of numbers and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Hashable, Iterable, Mapping, Sequence
from functools import partial

from llmos.parameters import Capacity, Dice

Key = Hashable

Structure = Mapping[str, Sequence[tuple[Key, str]]]
"""What a policy keeps, as people draw it: heading -> keys in order, each with the figure that counts."""

NONE: Container[Key] = frozenset()
"""Nobody is spared."""


class ReplacementPolicy:
    """A policy that orders resident keys."""

    offline = False
    """Whether it must be told the future (`foresee`) before the first reference."""

    def inserted(self, key: Key, *, write: bool = False) -> None:
        """Note that `key` has become resident, by a reference that missed."""
        raise NotImplementedError

    def accessed(self, key: Key, *, write: bool = False) -> None:
        """Note that the resident `key` was referenced; `write` makes it dirty."""
        raise NotImplementedError

    def on_hit(self, *, write: bool = False) -> Callable[[Key], object]:
        """Return what `accessed` does, as a function of the key alone, for who calls it millions of times.

        A policy may return something quicker than its `accessed`, if that does the same.
        """
        return partial(self.accessed, write=True) if write else self.accessed

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        """Name the resident key that must go; None if all are spared.

        `incoming` is the key that needs the place, None if the place is wanted for itself. The policy
        may be asked again without having been obeyed.
        """
        raise NotImplementedError

    def removed(self, key: Key) -> None:
        """Forget the resident `key`, which has gone for good (unmapped, freed, invalidated)."""
        raise NotImplementedError

    def evicted(self, key: Key) -> None:
        """Note that the resident `key` had to make room, and may be back.

        A policy that remembers whom it has evicted does that here; the others just forget.
        """
        self.removed(key)

    def cleaned(self, key: Key) -> None:
        """Note that the resident `key` was written back and is not dirty any more."""

    def to_clean(self) -> Collection[Key]:
        """Return (once) the dirty keys that `victim` has passed over and wants written back meanwhile."""
        return ()

    def resized(self, capacity: int) -> None:
        """Note that there are `capacity` places from now on; only a policy that plans with it cares."""

    def foresee(self, references: Iterable[Key]) -> None:
        """Learn all references to come, in their order. Only offline policies care."""

    def reason(self, key: Key) -> str:
        """Say why `key`, which `victim` has just named, is the one to go, in a few words for the log."""
        return "named by the policy"

    def show(self) -> Structure:
        """Describe the order of the keys as people draw it; the first to go comes first."""
        return {}


__all__ = ["NONE", "Capacity", "Dice", "Key", "ReplacementPolicy", "Structure"]
