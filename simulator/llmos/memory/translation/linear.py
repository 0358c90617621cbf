"""A linear page table: one array, with an entry for every page that there could be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llmos.memory.translation.base import PageTable, Pte, Step


class Linear(PageTable):
    """An array of 2**`vpn_bits` entries, which stands at frame `root`.

    A walk is one reference. The price is the size: a table for 48-bit addresses would take 512 GiB for
    every process, however small.

    Source: OSTEP ch. 18.
    """

    name = "linear"

    def __init__(
        self, vpn_bits: int = 20, offset_bits: int = 12, *, entry_bytes: int = 4, root: int = 0
    ) -> None:
        super().__init__(vpn_bits, offset_bits)
        self.entry_bytes = entry_bytes
        self.root = root
        self._entries: dict[int, Pte] = {}

    @property
    def table_bytes(self) -> int:
        return self.entry_bytes << self.vpn_bits

    def map(self, vpn: int, entry: Pte) -> None:
        self._check(vpn, entry.level)
        self._entries[vpn] = entry

    def unmap(self, vpn: int) -> Pte:
        return self._entries.pop(vpn)

    def lookup(self, vpn: int) -> Pte | None:
        return self._entries.get(vpn)

    def items(self) -> Iterable[tuple[int, Pte]]:
        return self._entries.items()

    def accesses(self, vpn: int) -> int:
        return 1

    def steps(self, vpn: int) -> Iterator[Step]:
        entry = self._entries.get(vpn)
        yield Step(
            "page table",
            "not valid" if entry is None else str(entry),
            index=vpn,
            frame=self.root,
            address=(self.root << self.offset_bits) + vpn * self.entry_bytes,
        )
