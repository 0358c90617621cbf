"""Dense ids for any integers: a hash table that is compiled, and fed in chunks.

It holds each distinct integer once, 24 bytes at most, however long the stream is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmos.memory.bulk.compiled import Ids, compiled
from llmos.memory.bulk.mixing import mixed

Words = NDArray[np.uint64]

SMALLEST = 1 << 12


class Numbering:
    """Integers of 64 bits, numbered from 0 in the order of their first appearance."""

    def __init__(self) -> None:
        self.count = 0
        self._keys = np.zeros(SMALLEST, np.uint64)
        self._ids = np.full(SMALLEST, -1, np.int32)  # open addressing; -1: the slot is free

    def add(self, references: NDArray[np.generic]) -> Ids:
        """Return the ids of `references`, integers, shape (n,)."""
        keys = np.ascontiguousarray(references).astype(np.uint64)
        ids = np.empty(len(keys), np.int32)
        done = 0
        while True:
            done, self.count = _number(keys, done, ids, self._keys, self._ids, self.count)
            if done == len(keys):
                return ids
            self._keys, self._ids = _larger(self._keys, self._ids)


@compiled
def _number(keys: Words, done: int, ids: Ids, table: Words, numbers: Ids, count: int) -> tuple[int, int]:
    """Number from `done` on until all are done or the table is half full; return both new counts."""
    mask = np.uint64(len(table) - 1)
    for i in range(done, len(keys)):
        slot = _slot(keys[i], table, numbers, mask)
        if numbers[slot] < 0:
            if 2 * count >= len(table):
                return i, count
            table[slot] = keys[i]
            numbers[slot] = count
            count += 1
        ids[i] = numbers[slot]
    return len(keys), count


@compiled
def _slot(key: np.uint64, table: Words, numbers: Ids, mask: np.uint64) -> int:
    """Return where `key` is, or the free slot where it belongs."""
    slot = mixed(key) & mask
    while numbers[slot] >= 0 and table[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return slot  # type: ignore[return-value]  # a uint64, as good as an int for an index


@compiled
def _larger(table: Words, numbers: Ids) -> tuple[Words, Ids]:
    wider = np.zeros(2 * len(table), np.uint64)
    same = np.full(2 * len(table), -1, np.int32)
    mask = np.uint64(len(wider) - 1)
    for i in range(len(table)):
        if numbers[i] >= 0:
            slot = _slot(table[i], wider, same, mask)
            wider[slot] = table[i]
            same[slot] = numbers[i]
    return wider, same
