"""Segmentation as on x86: any number of segments, whose descriptors stand in a table in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llmos.memory.translation.base import Access, Fault, FaultKind, Field, Step, Translation, Walk
from llmos.memory.translation.segmentation import Segment, refused

SELECTOR_BITS: Final = 13
OFFSET_BITS: Final = 32
DESCRIPTOR_BYTES: Final = 8


class Descriptors(Translation):
    """A table of segments; an address is a selector (13 bits) above an offset (32 bits).

    A segment that grows up has offsets 0 to `limit` - 1. One that grows down (expand-down) has those from
    `limit` on, so that a smaller limit makes it larger. Both lie from `base` on, modulo 4 GiB.

    Source: Intel SDM vol. 3, ch. 3 (segment descriptors, limit checking).
    Differs: the limit counts bytes and not the last of them, and there are no privilege levels. The
    descriptor is read each time; x86 keeps it in the segment register until that is loaded again.
    """

    name = "descriptors"
    address_bytes = 1 << (SELECTOR_BITS + OFFSET_BITS)

    def __init__(self, segments: Sequence[Segment | None], *, table: int = 0) -> None:
        if len(segments) > 1 << SELECTOR_BITS:
            raise ValueError(f"a table has {1 << SELECTOR_BITS} descriptors at most, not {len(segments)}")
        self.segments = tuple(segments)
        self.table = table

    @staticmethod
    def address(selector: int, offset: int) -> int:
        """Return the address `selector`:`offset`."""
        return selector << OFFSET_BITS | offset

    @property
    def table_bytes(self) -> int:
        return len(self.segments) * DESCRIPTOR_BYTES

    def translate(self, address: int, access: Access = Access.READ, *, user: bool = True) -> Walk:
        index, offset = address >> OFFSET_BITS, address & ((1 << OFFSET_BITS) - 1)
        fields = (
            Field("selector", SELECTOR_BITS + OFFSET_BITS - 1, OFFSET_BITS, index),
            Field("offset", OFFSET_BITS - 1, 0, offset),
        )
        steps: list[Step] = []
        physical = None
        if not 0 <= index < len(self.segments):
            fault: Fault | None = Fault(FaultKind.OUTSIDE, f"the table has {len(self.segments)} descriptors")
        else:
            segment = self.segments[index]
            place = self.table + index * DESCRIPTOR_BYTES
            steps.append(Step("descriptor table", str(segment or "not valid"), index, address=place))
            fault = _fault(segment, offset, access)
            if fault is None and segment is not None:
                physical = (segment.base + offset) & ((1 << OFFSET_BITS) - 1)
                steps.append(Step("base", f"{segment.base} + {offset} = {physical}"))
        return Walk(
            address=address, access=access, fields=fields, steps=steps, physical=physical, fault=fault
        )


def _fault(segment: Segment | None, offset: int, access: Access) -> Fault | None:
    if segment is None:
        return Fault(FaultKind.INVALID, "there is no such segment")
    if offset < segment.limit if segment.grows_down else offset >= segment.limit:
        which = "below" if segment.grows_down else "at or above"
        return Fault(FaultKind.OUTSIDE, f"offset {offset} is {which} the limit, {segment.limit}")
    return refused(segment, access)
