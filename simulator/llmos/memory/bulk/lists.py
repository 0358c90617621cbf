"""Doubly linked lists of dense ids in one array, for the compiled loops.

- `keys` has shape (ids + lists, 4): a row for each id, then one for the head of each list. The columns are
  BEFORE and AFTER in its list, WHERE (which list; 0 is none) and MARK (what the policy makes of it).
- A list is a ring through its head: AFTER the head is the oldest, the first to go; BEFORE it the newest.
- One row is 16 bytes, so that a reference to an id costs one cache line.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmos.memory.bulk.compiled import Flags, compiled

BEFORE, AFTER, WHERE, MARK = 0, 1, 2, 3

Keys = NDArray[np.int32]


@compiled
def empty_lists(count: int, lists: int) -> Keys:
    """Return rows for `count` ids, which are nowhere, and for the heads of so many empty lists."""
    keys = np.zeros((count + lists, 4), np.int32)
    for head in range(count, count + lists):
        keys[head, BEFORE] = keys[head, AFTER] = head
    return keys


@compiled
def append(keys: Keys, head: int, key: int) -> None:
    """Put `key`, which is in no list, at the newest end of the list of `head`."""
    newest = keys[head, BEFORE]
    keys[newest, AFTER] = key
    keys[key, BEFORE] = newest
    keys[key, AFTER] = head
    keys[head, BEFORE] = key


@compiled
def unlink(keys: Keys, key: int) -> None:
    """Take `key` out of its list."""
    before, after = keys[key, BEFORE], keys[key, AFTER]
    keys[before, AFTER] = after
    keys[after, BEFORE] = before


@compiled
def renew(keys: Keys, head: int, key: int) -> None:
    """Make `key` the newest of the list of `head`, in which it is."""
    if keys[head, BEFORE] != key:
        unlink(keys, key)
        append(keys, head, key)


@compiled
def oldest(keys: Keys, head: int) -> int:
    """Return the oldest of the list of `head`; the head itself if the list is empty."""
    return keys[head, AFTER]  # type: ignore[no-any-return]  # an int32, as good as an int


@compiled
def note(hit: Flags, i: int) -> None:
    """Note that reference `i` hit, if anybody wants to know which one it was."""
    if hit.size:
        hit[i] = True
