"""A page table in levels: a tree of small tables, of which only those exist that have an entry."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, takewhile
from typing import Final, Protocol

from llmos.memory.translation.base import Field, PageTable, Pte, Step

X86_64: Final = (9, 9, 9, 9)
"""Index bits of the four tables on x86-64: 48-bit addresses with 4 KiB pages."""
X86_64_5: Final = (9, 9, 9, 9, 9)
"""The same with five tables: 57-bit addresses."""

NAMES: Final = ("PML5", "PML4", "PDPT", "page directory", "page table")
MOST_HUGE: Final = 2
"""A page is at most so many levels above the base page."""


class TableFrames(Protocol):
    """Where the tables' own frames come from."""

    def take(self) -> int:
        """Return a frame for a table."""
        ...

    def give(self, pfn: int) -> None:
        """Take the frame of an empty table back."""
        ...


class Counted:
    """Frames from number `first` on, as many as are wanted; the lowest free one is taken."""

    def __init__(self, first: int = 0) -> None:
        self._next = first
        self._free: list[int] = []

    def take(self) -> int:
        """Return the lowest free frame."""
        if self._free:
            return heapq.heappop(self._free)
        self._next += 1
        return self._next - 1

    def give(self, pfn: int) -> None:
        """Take frame `pfn` back."""
        heapq.heappush(self._free, pfn)


@dataclass(slots=True)
class Table:
    """A table: the frame where it stands, and how many of its entries are in use."""

    frame: int
    entries: int = 0


class MultiLevel(PageTable):
    """A tree of tables: `bits` are the index bits of each, from the root down (two to five of them).

    The root is there from the start; any other table exists as long as it has an entry. An entry above
    the last table may itself map a page, which is then huge: 2 MiB, 1 GiB on x86-64.

    Source: OSTEP ch. 20; Intel SDM vol. 3, ch. 4.
    Differs: the rights of an address are those of its last entry; x86 lets the tables above take away
    more. Addresses are not sign-extended: the upper half begins at 2**47.
    """

    name = "multi-level"

    def __init__(
        self,
        bits: Sequence[int] = X86_64,
        offset_bits: int = 12,
        *,
        entry_bytes: int = 8,
        frames: TableFrames | None = None,
    ) -> None:
        if not 2 <= len(bits) <= len(NAMES) or min(bits) < 1:
            raise ValueError(f"a tree has two to five tables of at least 1 bit each, not {list(bits)}")
        super().__init__(sum(bits), offset_bits)
        self.bits = tuple(bits)
        self.entry_bytes = entry_bytes
        self.frames = frames or Counted()
        below = [0, *accumulate(reversed(bits))]  # so many bits stand below an entry, from the last up
        self._prefix: Sequence[int] = below[:0:-1]
        """Depth -> `vpn >> this` names the table at that depth (0 is the root)."""
        self.spans = tuple(below[: min(MOST_HUGE + 1, len(bits))])
        self.entry_spans = tuple(below[:-1])
        """Level of an entry -> bits of a VPN below it, for all levels: what a TLB wants to know."""
        self._leaves: list[dict[int, Pte]] = [{} for _ in self.spans]
        self._pages = self._leaves[0]
        self._is_x86 = set(bits) == {9} and offset_bits == 12 and entry_bytes == 8
        self._huge = list(zip(self.spans, self._leaves, strict=True))[1:]
        self._tables: list[dict[int, Table]] = [{} for _ in bits]
        self._tables[0][0] = Table(self.frames.take())

    @property
    def root(self) -> int:
        """The frame of the root (what CR3 or the page directory base register says)."""
        return self._tables[0][0].frame

    @property
    def tables(self) -> Sequence[int]:
        """How many tables there are at each depth, from the root down."""
        return [len(tables) for tables in self._tables]

    @property
    def table_bytes(self) -> int:
        sizes = (self.entry_bytes << bits for bits in self.bits)
        return sum(count * size for count, size in zip(self.tables, sizes, strict=True))

    def map(self, vpn: int, entry: Pte) -> None:
        level = entry.level
        self._check(vpn, level)
        leaves, key = self._leaves[level], vpn >> self.spans[level]
        if key not in leaves:
            self._check_free(vpn, level)
            self._enter(vpn, len(self.bits) - 1 - level)
        leaves[key] = entry

    def unmap(self, vpn: int) -> Pte:
        entry = self.lookup(vpn)
        if entry is None:
            raise KeyError(vpn)
        # Not the entry's own level: somebody may have changed it.
        level = next(i for i, span in enumerate(self.spans) if vpn >> span in self._leaves[i])
        del self._leaves[level][vpn >> self.spans[level]]
        self._leave(vpn, len(self.bits) - 1 - level)
        return entry

    def lookup(self, vpn: int) -> Pte | None:
        entry = self._pages.get(vpn)
        if entry is not None:
            return entry
        for span, leaves in self._huge:
            if leaves:
                entry = leaves.get(vpn >> span)
                if entry is not None:
                    return entry
        return None

    def items(self) -> Iterator[tuple[int, Pte]]:
        for span, leaves in zip(self.spans, self._leaves, strict=True):
            for key, entry in leaves.items():
                yield key << span, entry

    def accesses(self, vpn: int) -> int:
        if vpn in self._pages:
            return len(self.bits)
        for level, (span, leaves) in enumerate(zip(self.spans, self._leaves, strict=True)):
            if vpn >> span in leaves:
                return len(self.bits) - level
        found = (vpn >> above in tables for above, tables in zip(self._prefix, self._tables, strict=True))
        return sum(takewhile(bool, found))  # one entry of each table that is there

    def steps(self, vpn: int) -> Iterator[Step]:
        last = len(self.bits) - 1
        for depth, above in enumerate(self._prefix):
            table = self._tables[depth][vpn >> above]
            key = vpn >> (above - self.bits[depth])  # of the table, or the page, that the entry leads to
            level = last - depth
            leaf = self._leaves[level].get(key) if level < len(self._leaves) else None
            below = self._tables[depth + 1].get(key) if level else None
            text = "not valid" if leaf is None else str(leaf)
            if below is not None:
                text = f"{self.table_name(depth + 1)} in frame {below.frame}"
            index = key & ((1 << self.bits[depth]) - 1)
            where = (table.frame << self.offset_bits) + index * self.entry_bytes
            entry = leaf if below is None else Pte(below.frame)
            word = x86_word(entry) if self._is_x86 else None
            yield Step(self.table_name(depth), text, index, table.frame, where, word)
            if below is None:
                return

    def index_fields(self, vpn: int) -> Sequence[Field]:
        fields = []
        for depth, (above, bits) in enumerate(zip(self._prefix, self.bits, strict=True)):
            low = above - bits
            index = (vpn >> low) & ((1 << bits) - 1)
            offset = self.offset_bits
            fields.append(Field(self.table_name(depth), offset + above - 1, offset + low, index))
        return fields

    def table_name(self, depth: int) -> str:
        """What the table at `depth` (0 is the root) is called."""
        return NAMES[len(NAMES) - len(self.bits) + depth]

    # --- which tables exist -----------------------------------------------------------------------------

    def _check_free(self, vpn: int, level: int) -> None:
        """Raise ValueError if a page of another size is in the way of one of `level` at `vpn`."""
        around = any(vpn >> span in leaves for span, leaves in self._huge if span > self.spans[level])
        if around or (level and vpn >> self.spans[level] in self._tables[len(self.bits) - level]):
            raise ValueError(f"a page of another size is mapped at {vpn:#x}: unmap it first")

    def _enter(self, vpn: int, depth: int) -> None:
        """Count an entry more in the table at `depth` that is responsible for `vpn`; make it if need be."""
        tables, key = self._tables[depth], vpn >> self._prefix[depth]
        if key not in tables:
            self._enter(vpn, depth - 1)
            tables[key] = Table(self.frames.take())
        tables[key].entries += 1

    def _leave(self, vpn: int, depth: int) -> None:
        """Count an entry less; a table without any goes, but for the root."""
        tables, key = self._tables[depth], vpn >> self._prefix[depth]
        table = tables[key]
        table.entries -= 1
        if depth and not table.entries:
            del tables[key]
            self.frames.give(table.frame)
            self._leave(vpn, depth - 1)


def x86_word(entry: Pte | None) -> int:
    """Return an entry as x86-64 writes it into memory: present in bit 0, writable 1, user 2, ...

    Source: Intel SDM vol. 3, tables 4-14 to 4-20.
    """
    if entry is None:
        return 0
    bits = {
        0: entry.present, 1: entry.writable, 2: entry.user, 5: entry.accessed, 6: entry.dirty,
        7: entry.level > 0, 8: entry.is_global, 63: not entry.executable,
    }  # fmt: skip
    return sum(1 << bit for bit, is_set in bits.items() if is_set) | entry.pfn << 12
