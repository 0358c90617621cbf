"""LRU at every size at once, by stack distances; and Denning's working sets.

- The stack distance of a reference is how many different pages were used since its page was last used,
  that page included. LRU hits if it has at least so many places: it is a stack algorithm.
- Times are numbered anew when they run out, so the memory grows with the pages, not with the references.

Source: Mattson, Gecsei, Slutz and Traiger 1970; Bennett and Kruskal 1975 (a tree over the times); Denning
1968 and Denning and Schwartz 1972 (working sets).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmos.memory.bulk.compiled import Ids, compiled

Counts = NDArray[np.int64]
Words = NDArray[np.uint64]

ROOM = 4
"""Times for each page before they are numbered anew."""


def lru_misses(ids: Ids, count: int) -> Counts:
    """Return how many references miss under LRU with 0, 1, ... `count` places, shape (count + 1,)."""
    return len(ids) - np.cumsum(np.concatenate([[0], distances(ids, count)[1:]]))


@compiled
def distances(ids: Ids, count: int) -> Counts:
    """Return how many references have the stack distance 1, 2 ... `count`; at 0, how many have none."""
    blocks = (ROOM * count + 128) >> 6  # of 64 times
    gone = np.zeros(blocks, np.uint64)  # a bit for each time: its page was used again since
    tree = np.zeros(blocks + 1, np.int32)  # a Fenwick tree over how many of a block are gone
    user = np.empty(blocks << 6, np.int32)  # which page was used at a time
    last = np.full(count, -1, np.int32)
    found = np.zeros(count + 1, np.int64)
    now = all_gone = 0
    for i in range(len(ids)):
        key = ids[i]
        then = last[key]
        if then < 0:
            found[0] += 1
        elif then == now - 1:
            found[1] += 1
            continue
        else:
            block, bit = then >> 6, np.uint64(then & 63)
            before = _ones(gone[block] & ((np.uint64(1) << bit) - np.uint64(1)))
            node = block
            while node > 0:
                before += tree[node]
                node &= node - 1
            found[now - then - (all_gone - before)] += 1
            gone[block] |= np.uint64(1) << bit
            node = block + 1
            while node <= blocks:
                tree[node] += 1
                node += node & -node
            all_gone += 1
        if now == len(user):
            last[key] = -1
            now = _number_anew(last, user)
            gone[:] = 0
            tree[:] = 0
            all_gone = 0
        user[now] = key
        last[key] = now
        now += 1
    return found


@compiled
def _number_anew(last: Ids, user: Ids) -> int:
    """Move the last use of every page to the earliest times, in order; return the next time."""
    now = 0
    for then in range(len(user)):
        key = user[then]
        if last[key] == then:
            last[key] = now
            user[now] = key
            now += 1
    return now


@compiled
def _ones(word: np.uint64) -> int:
    """Return how many bits are 1 (compilers know these lines as one instruction)."""
    word -= (word >> np.uint64(1)) & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((word * np.uint64(0x0101010101010101)) >> np.uint64(56))  # type: ignore[return-value]


# --- working sets -------------------------------------------------------------------------------------


@compiled
def working_set(ids: Ids, count: int, tau: int) -> Ids:
    """Return w(t, tau) after each reference: how many different pages the last `tau` references were to."""
    last = np.full(count, -tau - 1, np.int64)
    sizes = np.empty(len(ids), np.int32)
    size = 0
    for i in range(len(ids)):
        if i >= tau and last[ids[i - tau]] == i - tau:
            size -= 1
            last[ids[i - tau]] = -tau - 1
        if last[ids[i]] < 0:
            size += 1
        last[ids[i]] = i
        sizes[i] = size
    return sizes


@compiled
def mean_working_sets(ids: Ids, count: int, most: int) -> NDArray[np.float64]:
    """Return the mean of w(t, tau) over all references for tau = 0, 1 ... `most`, in one pass.

    A reference is in the windows of all times until its page is used again, or the trace ends.
    """
    longer = np.zeros(most + 2, np.int64)  # windows of this length and more see it at one more time
    following = np.full(count, len(ids), np.int64)
    for i in range(len(ids) - 1, -1, -1):
        gap = following[ids[i]] - i
        following[ids[i]] = i
        longer[min(gap, most)] += 1
    means = np.zeros(most + 1, np.float64)
    still = len(ids)
    for tau in range(1, most + 1):
        means[tau] = means[tau - 1] + still / len(ids)
        still -= longer[tau]
    return means
