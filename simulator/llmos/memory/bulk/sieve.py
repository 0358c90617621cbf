"""SIEVE, compiled."""

from __future__ import annotations

from llmos.memory.bulk.compiled import Flags, Ids, compiled
from llmos.memory.bulk.lists import AFTER, MARK, WHERE, append, empty_lists, note, oldest, unlink


@compiled
def sieve(ids: Ids, count: int, capacity: int, hit: Flags) -> int:
    """A hand goes from the oldest to the newest; who was used since it last came by stays in its place."""
    keys = empty_lists(count, 1)
    hits = used = 0
    hand = count  # the head: begin at the oldest
    for i in range(len(ids)):
        key = ids[i]
        if keys[key, WHERE]:
            hits += 1
            note(hit, i)
            keys[key, MARK] = 1
            continue
        if used == capacity:
            while hand == count or keys[hand, MARK]:
                keys[hand, MARK] = 0
                hand = oldest(keys, count) if hand == count else keys[hand, AFTER]
            victim = hand
            hand = keys[victim, AFTER]
            unlink(keys, victim)
            keys[victim, WHERE] = 0
        else:
            used += 1
        append(keys, count, key)
        keys[key, WHERE] = 1
        keys[key, MARK] = 0
    return hits
