"""Overcommit: how much memory may be promised to programs that may never touch it.

- A program asks for memory with brk, mmap and fork, and gets frames when it touches it. What could come of
  all promises together is *committed*: every private writable page, every shared anonymous one.
- Mode 0: a call fails only if it alone asks for more than memory and swap have. Mode 1: no call fails.
  Mode 2: no more is committed than the limit: swap, and `ratio` per cent of memory.
- In the modes 0 and 1 promises may be broken: that is what the OOM killer is for.

Source: Linux 6.12 mm/util.c (__vm_enough_memory, vm_commit_limit), Documentation/mm/overcommit-accounting.
Differs: nothing is kept in reserve for root or for users; anonymous memory that is shared counts for each
process that has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmos.memory.space import Region, Regions


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The rule of a machine with so many `frames` and `swap_pages`; `ratio` is in per cent, 0 or more."""

    frames: int
    swap_pages: int = 0
    mode: int = 0
    ratio: int = 50

    @property
    def limit(self) -> int:
        """How many pages may be committed in mode 2."""
        return self.frames * self.ratio // 100 + self.swap_pages

    def allows(self, committed: int, more: int, *, piecemeal: bool = False) -> bool:
        """Whether `more` pages may be promised; `piecemeal`: by many calls that ask for little each."""
        if self.mode == 1:
            return True
        if self.mode == 2:
            return committed + more <= self.limit
        return piecemeal or more <= self.frames + self.swap_pages


def committed(spaces: Iterable[Regions]) -> int:
    """Return how many pages are committed to these address spaces."""
    return sum(region.pages for regions in spaces for region in regions if counts(region))


def counts(region: Region) -> bool:
    """Whether the pages of `region` are committed: they can become memory that no file keeps."""
    if region.file is None:
        return region.writable or region.shared
    return region.writable and not region.shared
