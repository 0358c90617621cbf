"""2Q, compiled."""

from __future__ import annotations

import numpy as np

from llmos.memory.bulk.compiled import Flags, Ids, compiled
from llmos.memory.bulk.lists import WHERE, append, empty_lists, note, oldest, renew, unlink

IN, MAIN, OUT = 1, 2, 3


@compiled
def two_q(ids: Ids, count: int, capacity: int, hit: Flags, queue: float = 0.25, ghosts: float = 0.5) -> int:
    """Newcomers pass through a short FIFO; who comes back soon after it left joins an LRU."""
    most_in, most_out = int(capacity * queue), int(capacity * ghosts)
    keys = empty_lists(count, 4)
    size = np.zeros(4, np.int64)
    hits = 0
    for i in range(len(ids)):
        key = ids[i]
        where = keys[key, WHERE]
        if where in (IN, MAIN):
            hits += 1
            note(hit, i)
            if where == MAIN:
                renew(keys, count + MAIN, key)
            continue
        if where == OUT:
            unlink(keys, key)
            size[OUT] -= 1
        if size[IN] + size[MAIN] == capacity:
            source = IN if size[IN] > most_in or size[MAIN] == 0 else MAIN
            victim = oldest(keys, count + source)
            unlink(keys, victim)
            size[source] -= 1
            keys[victim, WHERE] = 0
            if source == IN and most_out:
                if size[OUT] == most_out:
                    gone = oldest(keys, count + OUT)
                    unlink(keys, gone)
                    keys[gone, WHERE] = 0
                    size[OUT] -= 1
                append(keys, count + OUT, victim)
                keys[victim, WHERE] = OUT
                size[OUT] += 1
        to = MAIN if where == OUT else IN
        append(keys, count + to, key)
        keys[key, WHERE] = to
        size[to] += 1
    return hits
