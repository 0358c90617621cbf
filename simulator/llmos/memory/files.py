"""Files, as the memory sees them: pages on a device, and where a process is in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from llmos.memory.pager import Page
    from llmos.memory.readahead import Readahead


@dataclass(slots=True, eq=False)
class File:
    """A file of `pages` pages on the device called `device`; writing beyond its end makes it longer."""

    name: str
    inode: int
    pages: int
    device: str


@dataclass(slots=True, eq=False)
class OpenFile:
    """One process in one file: where the next read or write begins, and what is read ahead for it.

    Differs: POSIX lets a forked child share the position; here each process has its own.
    """

    readahead: Readahead
    dice: Random
    """Where its random reads and writes go."""
    position: int = 0
    """In bytes."""


@dataclass(slots=True, eq=False)
class FileIo:
    """A process on its way through a file: it reads or writes pages `next` to `end` - 1, one by one.

    That is for `result` bytes from byte `start` on.
    """

    file: File
    write: bool
    start: int
    result: int
    """What the call returns."""
    next: int
    end: int
    partial: frozenset[int] = frozenset()
    """Pages of which only a part is written, so that the rest must be read first."""
    missed: set[int] = field(default_factory=set)
    """Pages that were not in the page cache when it asked for them."""

    def cut_off(self, page_bytes: int) -> None:
        """Read no further than the file goes, which may have become shorter meanwhile."""
        if not self.write and self.end > self.file.pages:
            self.end = self.file.pages
            self.result = max(0, self.end * page_bytes - self.start)


def place(page: Page) -> tuple[int, int]:
    """Return where `page` of a file belongs: its inode and its number in the file."""
    return page.key  # type: ignore[return-value]  # a page of a file has such a key
