"""LRU, compiled."""

from __future__ import annotations

from llmos.memory.bulk.compiled import Flags, Ids, compiled
from llmos.memory.bulk.lists import WHERE, append, empty_lists, note, oldest, renew, unlink


@compiled
def lru(ids: Ids, count: int, capacity: int, hit: Flags) -> int:
    """Who has not been used for longest goes."""
    keys = empty_lists(count, 1)
    hits = used = 0
    for i in range(len(ids)):
        key = ids[i]
        if keys[key, WHERE]:
            hits += 1
            note(hit, i)
            renew(keys, count, key)
            continue
        if used == capacity:
            victim = oldest(keys, count)
            unlink(keys, victim)
            keys[victim, WHERE] = 0
        else:
            used += 1
        append(keys, count, key)
        keys[key, WHERE] = 1
    return hits
