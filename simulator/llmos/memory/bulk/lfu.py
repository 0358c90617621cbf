"""LFU, compiled.

Ids that were used equally often are in one list, and the lists are in the order of their frequency, so
nobody has to be searched for. A list whose only member is used again keeps it, and changes its frequency.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmos.memory.bulk.compiled import Flags, Ids, compiled
from llmos.memory.bulk.lists import MARK, WHERE, append, empty_lists, note, oldest, unlink

DOWN, UP, TIMES = 0, 1, 2

Steps = NDArray[np.int32]
"""A row for each list: the list of the next lower and higher frequency, and its own. Row 0 is both ends."""


@compiled
def lfu(ids: Ids, count: int, capacity: int, hit: Flags) -> int:
    """Who was used least often since it came goes; of these, who reached that number first."""
    keys = empty_lists(count, capacity + 2)  # WHERE: resident or not; MARK: which list
    steps = np.zeros((capacity + 2, 3), np.int32)
    free = np.arange(capacity + 1, -1, -1).astype(np.int32)
    spare = capacity + 1  # of the lists, those in free[:spare]
    hits = used = 0
    for i in range(len(ids)):
        key = ids[i]
        if keys[key, WHERE]:
            hits += 1
            note(hit, i)
            here = keys[key, MARK]
            times = steps[here, TIMES] + 1
            above = steps[here, UP]
            alone = keys[count + here, 0] == keys[count + here, 1]
            if above == 0 or steps[above, TIMES] != times:
                if alone:
                    steps[here, TIMES] = times
                    continue
                spare -= 1
                above = free[spare]
                _insert(steps, above, here, times)
            unlink(keys, key)
            if alone:
                free[spare] = here
                spare += 1
                _drop(steps, here)
            append(keys, count + above, key)
            keys[key, MARK] = above
            continue
        lowest = steps[0, UP]
        if used == capacity:
            victim = oldest(keys, count + lowest)
            unlink(keys, victim)
            keys[victim, WHERE] = 0
            if oldest(keys, count + lowest) == count + lowest:
                free[spare] = lowest
                spare += 1
                _drop(steps, lowest)
                lowest = steps[0, UP]
        else:
            used += 1
        if lowest == 0 or steps[lowest, TIMES] != 1:
            spare -= 1
            lowest = free[spare]
            _insert(steps, lowest, 0, 1)
        append(keys, count + lowest, key)
        keys[key, WHERE] = 1
        keys[key, MARK] = lowest
    return hits


@compiled
def _insert(steps: Steps, here: int, below: int, times: int) -> None:
    above = steps[below, UP]
    steps[here, DOWN], steps[here, UP], steps[here, TIMES] = below, above, times
    steps[below, UP] = steps[above, DOWN] = here


@compiled
def _drop(steps: Steps, here: int) -> None:
    down, up = steps[here, DOWN], steps[here, UP]
    steps[down, UP] = up
    steps[up, DOWN] = down
