"""LIRS, compiled.

A page may be on the stack and in a queue at once, so there are two arrays of lists: `stack` with one list,
and `roles` with the resident HIR pages, first in first out, and the ghosts, first gone first forgotten.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmos.memory.bulk.compiled import Flags, Ids, compiled
from llmos.memory.bulk.lists import WHERE, Keys, append, empty_lists, note, oldest, renew, unlink

LIR, HIR, GHOST = 1, 2, 3

Sizes = NDArray[np.int64]


@compiled
def lirs(ids: Ids, count: int, capacity: int, hit: Flags, trial: float = 0.01, ghosts: float = 1.0) -> int:
    """Who has come back within a short gap stays; the others are on trial in a small queue."""
    stack = empty_lists(count, 1)  # the oldest is its bottom; WHERE: on it or not
    roles = empty_lists(count, 4)
    size = np.zeros(4, np.int64)
    most_lir, most_ghosts = capacity - max(int(capacity * trial), 1), int(capacity * ghosts)
    hits = 0
    for i in range(len(ids)):
        key = ids[i]
        role = roles[key, WHERE]
        if role == LIR:
            hits += 1
            note(hit, i)
            renew(stack, count, key)
        elif role == HIR:
            hits += 1
            note(hit, i)
            if stack[key, WHERE]:
                _promote(stack, roles, size, count, key, most_lir)
            else:
                _push(stack, count, key)
                renew(roles, count + HIR, key)
        else:
            if size[LIR] + size[HIR] == capacity:
                victim = oldest(roles, count + HIR)
                _become(roles, size, count, victim, GHOST if stack[victim, WHERE] else 0)
            if role == GHOST:
                _promote(stack, roles, size, count, key, most_lir)
            else:
                _become(roles, size, count, key, LIR if size[LIR] < most_lir else HIR)
                _push(stack, count, key)
        _prune(stack, roles, size, count)
        while size[GHOST] > most_ghosts:
            _pop(stack, oldest(roles, count + GHOST))
            _become(roles, size, count, oldest(roles, count + GHOST), 0)
    return hits


@compiled
def _promote(stack: Keys, roles: Keys, size: Sizes, count: int, key: int, most_lir: int) -> None:
    """Make `key`, which is on the stack, a LIR page on its top; the lowest may have to give way."""
    _become(roles, size, count, key, LIR)
    renew(stack, count, key)
    while size[LIR] > most_lir:
        _prune(stack, roles, size, count)
        lowest = oldest(stack, count)
        _pop(stack, lowest)
        _become(roles, size, count, lowest, HIR)


@compiled
def _prune(stack: Keys, roles: Keys, size: Sizes, count: int) -> None:
    """Take away what is below the lowest LIR page."""
    key = oldest(stack, count)
    while key != count and roles[key, WHERE] != LIR:
        _pop(stack, key)
        if roles[key, WHERE] == GHOST:
            _become(roles, size, count, key, 0)
        key = oldest(stack, count)


@compiled
def _push(stack: Keys, count: int, key: int) -> None:
    append(stack, count, key)
    stack[key, WHERE] = 1


@compiled
def _pop(stack: Keys, key: int) -> None:
    unlink(stack, key)
    stack[key, WHERE] = 0


@compiled
def _become(roles: Keys, size: Sizes, count: int, key: int, role: int) -> None:
    """Give `key` another role, and the newest place in that role's list; 0 is none."""
    was = roles[key, WHERE]
    if was > LIR:
        unlink(roles, key)
    size[was] -= 1
    size[role] += 1
    if role > LIR:
        append(roles, count + role, key)
    roles[key, WHERE] = role
