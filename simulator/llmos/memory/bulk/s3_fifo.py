"""S3-FIFO, compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmos.memory.bulk.compiled import Flags, Ids, compiled
from llmos.memory.bulk.lists import MARK, WHERE, Keys, append, empty_lists, note, oldest, unlink

SMALL, MAIN, GHOST = 1, 2, 3
MOST_USES = 3


@compiled
def s3_fifo(
    ids: Ids,
    count: int,
    capacity: int,
    hit: Flags,
    small: float = 0.1,
    ghosts: float = 0.9,
    threshold: int = 2,
) -> int:
    """Most newcomers leave a small FIFO unused; who was used there, or comes back, joins the main FIFO."""
    most_small, most_ghosts = max(int(capacity * small), 1), int(capacity * ghosts)
    keys = empty_lists(count, 4)
    size = np.zeros(4, np.int64)
    hits = 0
    evicted = False
    for i in range(len(ids)):
        key = ids[i]
        where = keys[key, WHERE]
        if where in (SMALL, MAIN):
            hits += 1
            note(hit, i)
            keys[key, MARK] += 1
            continue
        if where == GHOST:
            _move(keys, size, count, key, 0)
        while size[SMALL] + size[MAIN] >= capacity:
            evicted = True
            if size[MAIN] > capacity - most_small or size[SMALL] == 0:
                _from_main(keys, size, count)
            else:
                _from_small(keys, size, count, threshold, most_ghosts)
        early = not evicted and size[SMALL] >= most_small
        _move(keys, size, count, key, MAIN if where == GHOST or early else SMALL)
        keys[key, MARK] = 0
    return hits


@compiled
def _from_main(keys: Keys, size: NDArray[np.int64], count: int) -> None:
    while True:
        key = oldest(keys, count + MAIN)
        if keys[key, MARK] == 0:
            _move(keys, size, count, key, 0)
            return
        keys[key, MARK] = min(keys[key, MARK], MOST_USES) - 1
        _move(keys, size, count, key, MAIN)


@compiled
def _from_small(keys: Keys, size: NDArray[np.int64], count: int, threshold: int, most_ghosts: int) -> None:
    while size[SMALL]:
        key = oldest(keys, count + SMALL)
        if keys[key, MARK] < threshold:
            _move(keys, size, count, key, GHOST)
            if size[GHOST] > most_ghosts:
                _move(keys, size, count, oldest(keys, count + GHOST), 0)
            return
        keys[key, MARK] = 0
        _move(keys, size, count, key, MAIN)


@compiled
def _move(keys: Keys, size: NDArray[np.int64], count: int, key: int, to: int) -> None:
    where = keys[key, WHERE]
    if where:
        unlink(keys, key)
        size[where] -= 1
    if to:
        append(keys, count + to, key)
        size[to] += 1
    keys[key, WHERE] = to
