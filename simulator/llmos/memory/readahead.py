"""Readahead: which pages of a file to read before somebody asks for them.

- A `Readahead` watches one process in one file. It is asked when a page is missing (`missed`), and when
  the reader comes to a page that it has marked (`marked`); it answers with a `Window` of pages to read.
- A reader that goes on where it was gets windows that grow. The marked page of a window lies where that
  which nobody has asked for yet begins: whoever comes there has the next window read while he goes on.
- A reader that jumps gets what he asks for, unless the pages before it are cached: then he was here.
- Nothing here knows of devices or of frames: it can be tested with a list.

Source: Linux 6.12 mm/readahead.c (page_cache_sync_ra, page_cache_async_ra, get_init_ra_size,
get_next_ra_size).
Differs: a page is one page, never a large folio; a request that is larger than the largest window is read
in several of them, whatever the device could take at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Advice = Literal["normal", "sequential", "random"]

FACTOR: Final[dict[str, int]] = {"normal": 1, "sequential": 2, "random": 0}
"""How many times as large as usual the largest window is."""


@dataclass(frozen=True, slots=True)
class Window:
    """Read `pages` pages from page `start` on, and mark page `marker`, if there is one."""

    start: int
    pages: int
    marker: int | None
    reason: str


def first_size(wanted: int, most: int) -> int:
    """Return the size of the first window of a reader who wants so many pages; `most` is the largest."""
    size = 1 << (wanted - 1).bit_length()
    if size <= most // 32:
        return 4 * size
    return 2 * size if size <= most // 4 else most


def next_size(size: int, most: int) -> int:
    """Return the size of the window after one of `size` pages."""
    if size < most // 16:
        return 4 * size
    return 2 * size if size <= most // 2 else most


@dataclass(slots=True)
class Readahead:
    """What is read ahead for one process in one file, in windows of `most` pages at most (0 = never)."""

    most: int = 32
    advice: Advice = "normal"
    start: int = 0
    """Where the present window begins."""
    size: int = 0
    ahead: int = 0
    """How many pages at the end of the window were read before anybody asked for them."""
    previous: int | None = None
    """The page that was read last."""

    @property
    def limit(self) -> int:
        """The size of the largest window, after the process's advice."""
        return self.most * FACTOR[self.advice]

    def missed(self, index: int, wanted: int, cached: Callable[[int], bool]) -> Window:
        """Say what to read now that page `index`, the first of `wanted` pages, is not there.

        `cached` tells whether a page is.
        """
        limit = self.limit
        if not limit:
            pages = min(wanted, self.most) or 1
            return Window(index, pages, None, "no readahead")
        goes_on = self.previous is not None and 0 <= index - self.previous <= 1
        if index == 0 or wanted > limit or goes_on:
            self.start, self.size = index, first_size(wanted, limit)
            self.ahead = self.size - wanted if self.size > wanted else self.size // 2
            return self._window("the first window")
        before = 0
        while before < limit and before < index and cached(index - 1 - before):
            before += 1
        if before <= wanted:
            return Window(index, wanted, None, "a random read")
        if before == index:  # all of the file so far: surely somebody who reads all of it
            before *= 2
        self.start, self.size, self.ahead = index, min(before + wanted, limit), 1
        return self._window("the pages before it are there")

    def marked(self, index: int, wanted: int, cached: Callable[[int], bool]) -> Window | None:
        """Say what to read now that the reader, who wants `wanted` pages, has come to the marked `index`."""
        limit = self.limit
        if not limit:
            return None
        if index == self.start + self.size - self.ahead:
            self.start += self.size
            self.size = next_size(self.size, limit)
        else:  # somebody else's mark, or one of a window that was given up
            start = index + 1
            while start - index <= limit and cached(start):
                start += 1
            if start - index > limit:
                return None
            self.start = start
            self.size = next_size(start - index + wanted, limit)
        self.ahead = self.size
        return self._window("the marked page is reached")

    def _window(self, reason: str) -> Window:
        marker = self.start + self.size - self.ahead if self.ahead else None
        return Window(self.start, self.size, marker, reason)
