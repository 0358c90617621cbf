"""MRU, compiled."""

from __future__ import annotations

import numpy as np

from llmos.memory.bulk.compiled import Flags, Ids, compiled
from llmos.memory.bulk.lists import note


@compiled
def mru(ids: Ids, count: int, capacity: int, hit: Flags) -> int:
    """Who was used last goes: the reference before this one, which is always resident."""
    resident = np.zeros(count, np.bool_)
    hits = used = 0
    for i in range(len(ids)):
        key = ids[i]
        if resident[key]:
            hits += 1
            note(hit, i)
            continue
        if used == capacity:
            resident[ids[i - 1]] = False
        else:
            used += 1
        resident[key] = True
    return hits
