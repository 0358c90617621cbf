"""Segmented least recently used."""

from collections import OrderedDict
from collections.abc import Container
from itertools import chain

from llmos.replacement._lists import drawn, first
from llmos.replacement.base import NONE, Capacity, Key, ReplacementPolicy, Structure


class Slru(ReplacementPolicy):
    """SLRU: several LRU lists above each other; each hit lifts a page by one, and no newcomer is high up.

    A page starts in the lowest segment, and only the lowest one gives pages away. A hit lifts it to the
    next segment; if that is full, its least recently used page sinks by one. So a scan can wash out
    the lowest segment, and no other. While places are free newcomers fill the segments from below.

    Parameters:
        segments: how many there are; all have the same size, but the lowest has the remainder as well.

    Source: Karedla, Love and Wherry 1994 (two segments); libCacheSim's documentation (four).
    Differs: libCacheSim 0.3.5 leaves the remainder to no segment, and then drops pages on a hit.
    """

    def __init__(self, capacity: Capacity, segments: int = 4) -> None:
        if segments < 1:
            raise ValueError(f"segments: there must be at least 1, not {segments:,}")
        self._segments: list[OrderedDict[Key, None]] = [OrderedDict() for _ in range(segments)]
        self._level: dict[Key, int] = {}
        self.resized(capacity)

    def inserted(self, key: Key, *, write: bool = False) -> None:
        self._enter(key, next((i for i, s in enumerate(self._segments) if len(s) < self._sizes[i]), 0))

    def accessed(self, key: Key, *, write: bool = False) -> None:
        level = self._level[key]
        self.removed(key)
        self._enter(key, min(level + 1, len(self._segments) - 1))
        self._settle()

    def victim(self, spared: Container[Key] = NONE, incoming: Key | None = None) -> Key | None:
        return first(chain.from_iterable(self._segments), spared)

    def removed(self, key: Key) -> None:
        del self._segments[self._level.pop(key)][key]

    def resized(self, capacity: int) -> None:
        size = capacity // len(self._segments)
        self._sizes = [capacity - size * (len(self._segments) - 1)] + [size] * (len(self._segments) - 1)
        self._settle()

    def reason(self, key: Key) -> str:
        return f"least recently used of segment {self._level[key]}, the lowest that holds one who may go"

    def show(self) -> Structure:
        return {f"segment {level}": drawn(keys) for level, keys in enumerate(self._segments)}

    def _enter(self, key: Key, level: int) -> None:
        self._segments[level][key] = None
        self._level[key] = level

    def _settle(self) -> None:
        """Let those sink for whom their segment has no room."""
        for level in range(len(self._segments) - 1, 0, -1):
            while len(self._segments[level]) > self._sizes[level]:
                key, _ = self._segments[level].popitem(last=False)
                self._enter(key, level - 1)
