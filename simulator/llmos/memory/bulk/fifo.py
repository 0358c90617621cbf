"""FIFO, compiled."""

from __future__ import annotations

import numpy as np

from llmos.memory.bulk.compiled import Flags, Ids, compiled
from llmos.memory.bulk.lists import note


@compiled
def fifo(ids: Ids, count: int, capacity: int, hit: Flags) -> int:
    """Who has been resident longest goes."""
    places = np.full(capacity, -1, np.int32)
    resident = np.zeros(count, np.bool_)
    hits = hand = 0
    for i in range(len(ids)):
        key = ids[i]
        if resident[key]:
            hits += 1
            note(hit, i)
            continue
        if places[hand] >= 0:
            resident[places[hand]] = False
        places[hand] = key
        resident[key] = True
        hand = hand + 1 if hand + 1 < capacity else 0
    return hits
