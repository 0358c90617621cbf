"""OPT, compiled.

Who is used again farthest in the future goes: a set of the times of the next uses, whose largest member is
asked for. Times that have passed may stay in it, as they are never the largest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmos.memory.bulk.compiled import Flags, Ids, compiled
from llmos.memory.bulk.lists import note

Words = NDArray[np.uint64]


@compiled
def opt(ids: Ids, count: int, capacity: int, hit: Flags) -> int:
    """Who will not be used for longest goes."""
    n = len(ids)
    following = _next_uses(ids, count)
    starts, words = _no_times(n)
    never = np.empty(capacity, np.int32)  # resident, and not used again
    resident = np.zeros(count, np.bool_)
    hits = used = idle = 0
    for i in range(n):
        key = ids[i]
        if resident[key]:
            hits += 1
            note(hit, i)
        else:
            if used < capacity:
                used += 1
            elif idle:
                idle -= 1
                resident[never[idle]] = False
            else:
                resident[ids[_take_latest(starts, words)]] = False
            resident[key] = True
        if following[i] < n:
            _add_time(starts, words, following[i])
        else:
            never[idle] = key
            idle += 1
    return hits


@compiled
def _next_uses(ids: Ids, count: int) -> Ids:
    """Return when each reference's id is used next; n if never."""
    n = len(ids)
    last = np.full(count, n, np.int32)
    following = np.empty(n, np.int32)
    for i in range(n - 1, -1, -1):
        following[i] = last[ids[i]]
        last[ids[i]] = i
    return following


# --- a set of times: a tree with 64 children to a word, a bit for each child that is not empty ---------


@compiled
def _no_times(n: int) -> tuple[NDArray[np.int64], Words]:
    """Return an empty set of times below `n`: where each level starts, leaves first, and all words."""
    starts = np.zeros(12, np.int64)
    level, size, total = 0, n, 0
    while size > 1 or level == 0:
        size = (size + 63) // 64
        starts[level] = total
        total += size
        level += 1
    return starts[:level].copy(), np.zeros(total, np.uint64)


@compiled
def _add_time(starts: NDArray[np.int64], words: Words, time: int) -> None:
    place = time
    for level in range(len(starts)):
        word = starts[level] + (place >> 6)
        was = words[word]
        words[word] = was | (np.uint64(1) << np.uint64(place & 63))
        if was:
            return  # the levels above know already
        place >>= 6


@compiled
def _take_latest(starts: NDArray[np.int64], words: Words) -> int:
    """Take the largest time out of the set, which is not empty."""
    place = 0
    for level in range(len(starts) - 1, -1, -1):
        place = (place << 6) + _highest_bit(words[starts[level] + place])
    time = place
    for level in range(len(starts)):
        word = starts[level] + (place >> 6)
        words[word] &= ~(np.uint64(1) << np.uint64(place & 63))
        if words[word]:
            break
        place >>= 6
    return time


@compiled
def _highest_bit(word: np.uint64) -> int:
    bit = 0
    for step in (32, 16, 8, 4, 2, 1):
        if word >> np.uint64(step):
            word >>= np.uint64(step)
            bit += step
    return bit
