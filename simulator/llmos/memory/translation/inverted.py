"""An inverted page table: one for the whole machine, with an entry for each frame and not for each page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from llmos.memory.translation.base import PageTable, Pte, Step


@dataclass(slots=True)
class Hashed:
    """The table that all processes share: `frames` entries in chains that begin at `buckets` anchors.

    It stands at frame `root`: the anchors first, the entries behind them.
    """

    frames: int
    buckets: int
    entry_bytes: int = 16
    anchor_bytes: int = 8
    root: int = 0
    chains: list[dict[tuple[int, int], Pte]] = field(init=False)
    """Bucket -> (ASID, VPN) -> entry; a chain is as old as its order says."""

    def __post_init__(self) -> None:
        if self.frames < 1 or self.buckets < 1:
            raise ValueError("an inverted table has at least one frame and one bucket")
        self.chains = [{} for _ in range(self.buckets)]

    def bucket(self, asid: int, vpn: int) -> int:
        """Return the number of the chain in which that page is: (ASID + VPN) mod buckets."""
        return (asid + vpn) % self.buckets

    @property
    def table_bytes(self) -> int:
        """Memory that it takes, however many processes there are."""
        entries = max(self.frames, sum(map(len, self.chains)))
        return entries * self.entry_bytes + self.buckets * self.anchor_bytes


class Inverted(PageTable):
    """The pages of process `asid` in a shared, hashed table.

    The table's size goes with memory and not with the address spaces. The price is the search: a walk
    reads an anchor and then the chain, on average half of it, before it can say anything.

    Source: OSTEP ch. 20; Silberschatz, Galvin and Gagne ch. 9 (hashed and inverted page tables).
    Differs: pages may share a frame and pages that are not present keep their entry; both take entries
    beyond one a frame, where a real table would put them aside.
    """

    name = "inverted"

    def __init__(self, shared: Hashed, asid: int = 0, *, vpn_bits: int = 36, offset_bits: int = 12) -> None:
        super().__init__(vpn_bits, offset_bits)
        self.shared = shared
        self.asid = asid
        self._chains = shared.chains
        self._buckets = shared.buckets

    @property
    def table_bytes(self) -> int:
        return self.shared.table_bytes

    def map(self, vpn: int, entry: Pte) -> None:
        self._check(vpn, entry.level)
        self._chain(vpn)[self.asid, vpn] = entry

    def unmap(self, vpn: int) -> Pte:
        return self._chain(vpn).pop((self.asid, vpn))

    def lookup(self, vpn: int) -> Pte | None:
        return self._chain(vpn).get((self.asid, vpn))

    def items(self) -> Iterator[tuple[int, Pte]]:
        for chain in self._chains:
            for (asid, vpn), entry in chain.items():
                if asid == self.asid:
                    yield vpn, entry

    def accesses(self, vpn: int) -> int:
        chain = self._chain(vpn)
        for read, key in enumerate(chain, start=2):  # the anchor is the first
            if key == (self.asid, vpn):
                return read
        return 1 + len(chain)

    def steps(self, vpn: int) -> Iterator[Step]:
        shared = self.shared
        base, bucket = shared.root << self.offset_bits, shared.bucket(self.asid, vpn)
        chain = self._chains[bucket]
        text = f"a chain of {len(chain)}" if chain else "an empty chain"
        yield Step("hash anchor", text, bucket, shared.root, base + bucket * shared.anchor_bytes)
        entries = base + shared.buckets * shared.anchor_bytes
        for (asid, page), entry in chain.items():
            found = (asid, page) == (self.asid, vpn)
            text = f"process {asid}, page {page:#x}: {entry if found else 'another'}"
            # Each frame has its own entry; where several share one, the arithmetic still says where it is.
            place = entries + entry.pfn * shared.entry_bytes
            yield Step("chain", text, entry.pfn, place >> self.offset_bits, place)
            if found:
                return

    def _chain(self, vpn: int) -> dict[tuple[int, int], Pte]:
        return self._chains[(self.asid + vpn) % self._buckets]
