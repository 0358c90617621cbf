"""SLRU, compiled."""

from __future__ import annotations

import numpy as np

from llmos.memory.bulk.compiled import Flags, Ids, compiled
from llmos.memory.bulk.lists import WHERE, append, empty_lists, note, oldest, unlink


@compiled
def slru(ids: Ids, count: int, capacity: int, hit: Flags, segments: int = 4) -> int:
    """A hit lifts by one segment, whose oldest sinks if it is full; the oldest of the lowest goes."""
    keys = empty_lists(count, segments + 1)  # WHERE: the segment, from 1 for the lowest
    size = np.zeros(segments + 1, np.int64)
    most = np.full(segments + 1, capacity // segments, np.int64)
    most[1] = capacity - (segments - 1) * (capacity // segments)
    hits = used = 0
    for i in range(len(ids)):
        key = ids[i]
        level = keys[key, WHERE]
        if level:
            hits += 1
            note(hit, i)
            unlink(keys, key)
            size[level] -= 1
            level = min(level + 1, segments)
        else:
            if used == capacity:
                level = 1
                while size[level] == 0:
                    level += 1
                victim = oldest(keys, count + level)
                unlink(keys, victim)
                keys[victim, WHERE] = 0
                size[level] -= 1
            else:
                used += 1
            level = 1
            while level <= segments and size[level] >= most[level]:
                level += 1
            level = 1 if level > segments else level
        append(keys, count + level, key)
        keys[key, WHERE] = level
        size[level] += 1
        while level > 1 and size[level] > most[level]:
            sinking = oldest(keys, count + level)
            unlink(keys, sinking)
            size[level] -= 1
            level -= 1
            append(keys, count + level, sinking)
            keys[sinking, WHERE] = level
            size[level] += 1
    return hits
