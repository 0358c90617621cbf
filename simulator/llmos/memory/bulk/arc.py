"""ARC, compiled."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmos.memory.bulk.compiled import Flags, Ids, compiled
from llmos.memory.bulk.lists import WHERE, Keys, append, empty_lists, note, oldest, renew, unlink

T1, T2, B1, B2 = 1, 2, 3, 4


@compiled
def arc(ids: Ids, count: int, capacity: int, hit: Flags) -> int:
    """Once and more than once used share the places as the ghosts that come back say."""
    keys = empty_lists(count, 5)
    size = np.zeros(5, np.int64)
    target = 0.0  # of T1
    hits = 0
    for i in range(len(ids)):
        key = ids[i]
        where = keys[key, WHERE]
        if where in (T1, T2):
            hits += 1
            note(hit, i)
            if where == T2:
                renew(keys, count + T2, key)
            else:
                _move(keys, size, count, key, T2)
            continue
        if where == B1:
            target = min(target + max(size[B2] / size[B1], 1.0), float(capacity))
        elif where == B2:
            target = max(target - max(size[B1] / size[B2], 1.0), 0.0)
        if where:
            _replace(keys, size, count, target, where == B2)
            _move(keys, size, count, key, T2)
            continue
        if size[T1] + size[B1] == capacity:
            if size[T1] < capacity:
                _move(keys, size, count, oldest(keys, count + B1), 0)
                _replace(keys, size, count, target, False)
            else:
                _move(keys, size, count, oldest(keys, count + T1), 0)
        elif size[T1] + size[T2] == capacity:
            if size[T1] + size[T2] + size[B1] + size[B2] == 2 * capacity:
                _move(keys, size, count, oldest(keys, count + B2), 0)
            _replace(keys, size, count, target, False)
        _move(keys, size, count, key, T1)
    return hits


@compiled
def _replace(keys: Keys, size: NDArray[np.int64], count: int, target: float, again: bool) -> None:  # noqa: FBT001
    if size[T1] and (size[T1] > target or (again and size[T1] == target)):
        _move(keys, size, count, oldest(keys, count + T1), B1)
    else:
        _move(keys, size, count, oldest(keys, count + T2), B2)


@compiled
def _move(keys: Keys, size: NDArray[np.int64], count: int, key: int, to: int) -> None:
    """Move `key` from the list where it is to the newest end of another; 0 is nowhere, for both."""
    where = keys[key, WHERE]
    if where:
        unlink(keys, key)
        size[where] -= 1
    if to:
        append(keys, count + to, key)
        size[to] += 1
    keys[key, WHERE] = to
