"""Addresses in lines of text, read by a compiled loop: some hundred MB a second.

- `data` are whole lines, as bytes; `pages` and `writes` are filled, and have room for all there can be.
- The answer is how many references were found, and where in `data` something is that should not be; -1
  if all is well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmos.memory.bulk.compiled import Flags, compiled

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]

NEWLINE, SPACE, TAB, RETURN, COMMA, HASH = 10, 32, 9, 13, 44, 35
DASH, EQUALS = 45, 61
I, L, M, S = 73, 76, 77, 83  # noqa: E741  # what lackey calls a fetch, a load, both, and a store
R, W, X, ZERO = 114, 119, 120, 48  # small letters: a letter with bit 32 set


@compiled
def read_lackey(data: Bytes, page_size: int, fetches: bool, pages: Words, writes: Flags) -> tuple[int, int]:  # noqa: FBT001
    """Read what Valgrind's lackey prints: "I  04000000,3", " L 1ffe8,8"; "==" and "--" lines are skipped.

    A reference over the end of a page is one to each of both. `fetches`: whether instructions count.
    """
    found = place = 0
    while place < len(data):
        while data[place] == SPACE:
            place += 1
        what = data[place]
        if what in (I, L, M, S):
            place += 1
            while data[place] == SPACE:
                place += 1
            address, after = _number(data, place, 16)
            if after == place or data[after] != COMMA:
                return found, place
            size, end = _number(data, after + 1, 10)
            if end == after + 1 or (data[end] != NEWLINE and data[end] != RETURN):
                return found, after + 1
            place = end
            if fetches or what != I:
                first = address // np.uint64(page_size)
                final = (address + max(size, np.uint64(1)) - np.uint64(1)) // np.uint64(page_size)
                write = what in (M, S)
                pages[found], writes[found] = first, write
                found += 1
                if final != first:
                    pages[found], writes[found] = final, write
                    found += 1
        elif what not in (NEWLINE, RETURN) and (what not in (EQUALS, DASH) or what != data[place + 1]):
            return found, place
        while data[place] != NEWLINE:
            place += 1
        place += 1
    return found, -1


@compiled
def read_numbers(data: Bytes, page_size: int, pages: Words, writes: Flags) -> tuple[int, int]:
    """Read numbers, decimal or 0x..., with blanks or commas between; "r" or "w" after one; "#" comments.

    The letter stands in the same line as its number, as the block may end with that.
    """
    found = place = 0
    marked = True  # whether the last number of the line has its letter, or there is none
    while place < len(data):
        char = data[place]
        if char in (NEWLINE, SPACE, COMMA, TAB, RETURN):
            marked = marked or char == NEWLINE
            place += 1
        elif char == HASH:
            while data[place] != NEWLINE:
                place += 1
        elif ZERO <= char <= ZERO + 9:
            hexadecimal = char == ZERO and data[place + 1] | 32 == X
            start = place + 2 if hexadecimal else place
            value, end = _number(data, start, 16 if hexadecimal else 10)
            if end == start or _is_word(data[end]):
                return found, place
            pages[found] = value // np.uint64(page_size)
            writes[found] = False
            found += 1
            place = end
            marked = False
        elif not marked and (char | 32) in (R, W) and not _is_word(data[place + 1]):
            writes[found - 1] = char | 32 == W
            place += 1
            marked = True
        else:
            return found, place
    return found, -1


@compiled
def _is_word(char: np.uint8) -> bool:
    return bool(char > SPACE) and char not in (COMMA, HASH)


@compiled
def _number(data: Bytes, place: int, base: int) -> tuple[np.uint64, int]:
    """Read a number up to what is no digit; return it and where it ends. One that is too large has no end."""
    value = np.uint64(0)
    most = np.uint64(0xFFFFFFFFFFFFFFFF)
    largest, rest = most // np.uint64(base), most % np.uint64(base)
    start = place
    while True:
        char = data[place]
        if ZERO <= char <= ZERO + 9:
            digit = char - ZERO
        elif base == 16 and 97 <= (char | 32) <= 102:
            digit = (char | 32) - 87
        else:
            return value, place
        if value > largest or (value == largest and np.uint64(digit) > rest):
            return value, start
        value = value * np.uint64(base) + np.uint64(digit)
        place += 1
