"""Segmentation: a base and bounds for each part of the address space, chosen by its top bits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmos.memory.translation.base import Access, Fault, FaultKind, Field, Step, Translation, Walk, outside

LETTERS = {Access.READ: "r", Access.WRITE: "w", Access.EXECUTE: "x"}


@dataclass(frozen=True, slots=True)
class Segment:
    """`limit` bytes that may be used, and where they lie in memory.

    A segment that grows up begins at `base`. One that `grows_down` ends below `base`, the address above
    its last byte. `rights` are some of the letters r, w and x.
    """

    name: str
    base: int
    limit: int
    grows_down: bool = False
    rights: str = "rwx"

    def __str__(self) -> str:
        grows = ", grows down" if self.grows_down else ""
        return f"{self.name}: base {self.base}, limit {self.limit}{grows} [{self.rights}]"


def refused(segment: Segment, access: Access) -> Fault | None:
    """Return the fault of an `access` that the segment's rights do not allow."""
    if LETTERS[access] in segment.rights:
        return None
    return Fault(FaultKind.PROTECTION, f"segment {segment.name} allows {segment.rights or 'nothing'}")


class Segmentation(Translation):
    """An address space of `address_bytes`, cut into equal parts with a segment each, or None.

    Two segments are chosen by the top bit, three or four by the top two, and so on. The hole between heap
    and stack takes no memory any more; but segments have all sizes, and so have the gaps between them.

    Source: OSTEP ch. 16.
    Differs: an address space that is no power of two has no top bits, and is cut all the same.
    """

    name = "segmentation"

    def __init__(self, segments: Sequence[Segment | None], address_bytes: int) -> None:
        if not segments or address_bytes < len(segments):
            raise ValueError(f"{address_bytes} bytes cannot be cut into {len(segments)} segments")
        self.segments = tuple(segments)
        self.address_bytes = address_bytes
        count = 1 << (len(segments) - 1).bit_length()
        self._edges = [-(-i * address_bytes // count) for i in range(count + 1)]
        """Where the parts begin, and the end."""

    @property
    def table_bytes(self) -> int:
        return 0

    def index(self, address: int) -> int:
        """Return the number of the segment of an `address` inside the address space."""
        return address * (len(self._edges) - 1) // self.address_bytes

    def translate(self, address: int, access: Access = Access.READ, *, user: bool = True) -> Walk:
        if not 0 <= address < self.address_bytes:
            return outside(self, address, access)
        index = self.index(address)
        segment = self.segments[index] if index < len(self.segments) else None
        steps = [Step("segment registers", str(segment or "no segment"), index)]
        physical = None
        fault = self._fault(segment, index, address, access)
        if segment is not None and fault is None:
            offset = self._offset(segment, index, address)
            physical = segment.base + offset
            steps.append(Step("base", f"{segment.base} {'+-'[offset < 0]} {abs(offset)} = {physical}"))
        return Walk(
            address=address,
            access=access,
            fields=self._fields(address),
            steps=steps,
            physical=physical,
            fault=fault,
        )

    def _offset(self, segment: Segment, index: int, address: int) -> int:
        """Where `address` lies from the segment's base; negative if it grows down."""
        return address - self._edges[index + segment.grows_down]

    def _fault(self, segment: Segment | None, index: int, address: int, access: Access) -> Fault | None:
        if segment is None:
            return Fault(FaultKind.INVALID, f"there is no segment {index}")
        offset = self._offset(segment, index, address)
        if -offset > segment.limit if segment.grows_down else offset >= segment.limit:
            return Fault(FaultKind.OUTSIDE, f"offset {offset} is beyond the limit, {segment.limit}")
        return refused(segment, access)

    def _fields(self, address: int) -> Sequence[Field]:
        count, size = len(self._edges) - 1, self.address_bytes
        if size & (size - 1) or count < 2:
            return ()
        low = (size // count).bit_length() - 1
        return (
            Field("segment", size.bit_length() - 2, low, address >> low),
            Field("offset", low - 1, 0, address & ((1 << low) - 1)),
        )
