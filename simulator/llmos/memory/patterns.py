"""Patterns of references: the ways in which programs go over their memory.

- A pattern yields chunks of references, page * 2 + (1 if it writes), counted from the start of a region.
- Chunks are bounded, so that a pattern of any length takes constant memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHUNK: Final = 4096
"""So many references at a time."""


def given(pages: Sequence[int], writes: Sequence[bool] = ()) -> Iterator[Sequence[int]]:
    """Yield references to `pages` in their order; `writes` says which of them write (default: none)."""
    marks = writes or [False] * len(pages)
    yield [page << 1 | mark for page, mark in zip(pages, marks, strict=True)]


def sequential(pages: int, times: int = 1, *, write: bool = False) -> Iterator[Sequence[int]]:
    """Yield references to pages 0 to `pages` - 1, in order, `times` times."""
    for _ in range(times):
        for first in range(0, pages, CHUNK):
            yield range(first << 1 | write, (min(first + CHUNK, pages) << 1) | write, 2)
