"""CLOCK with one or more bits, compiled."""

from __future__ import annotations

import numpy as np

from llmos.memory.bulk.compiled import Flags, Ids, compiled
from llmos.memory.bulk.lists import note


@compiled
def clock(ids: Ids, count: int, capacity: int, hit: Flags, bits: int = 1, load_counts: bool = False) -> int:  # noqa: FBT001, FBT002
    """The hand goes round; who was used since it last came by is passed over, once for each counted use."""
    most = 2**bits - 1
    places = np.full(capacity, -1, np.int32)
    used = np.full(count, -1, np.int32)  # since the hand last came by; -1: not resident
    hits = hand = 0
    for i in range(len(ids)):
        key = ids[i]
        if used[key] >= 0:
            hits += 1
            note(hit, i)
            if used[key] < most:
                used[key] += 1
            continue
        while places[hand] >= 0 and used[places[hand]] > 0:
            used[places[hand]] -= 1
            hand = hand + 1 if hand + 1 < capacity else 0
        if places[hand] >= 0:
            used[places[hand]] = -1
        places[hand] = key
        used[key] = load_counts
        hand = hand + 1 if hand + 1 < capacity else 0
    return hits
