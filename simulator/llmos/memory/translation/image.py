"""Tables as memory holds them: a walk that knows a memory's bytes, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from llmos.memory.translation.base import Access, Fault, FaultKind, Field, Step, Translation, Walk, outside
from llmos.memory.translation.multilevel import MultiLevel


class Image(Translation):
    """A tree of tables inside `memory`, read byte by byte as hardware does.

    The root stands in frame `root` (the page directory base register). An entry is `entry_bytes` long, big
    end first: the top bit is VALID, the others are a frame number. `bits` are the index bits of each table.

    Source: OSTEP ch. 20, and its homework on multi-level tables (5 + 5 + 5 bits, entries of one byte).
    """

    name = "image"

    def __init__(
        self,
        memory: bytes,
        root: int,
        *,
        bits: Sequence[int] = (5, 5),
        offset_bits: int = 5,
        entry_bytes: int = 1,
    ) -> None:
        self.memory = memory
        self.root = root
        self.bits = tuple(bits)
        self.offset_bits = offset_bits
        self.entry_bytes = entry_bytes
        self.address_bytes = 1 << (sum(bits) + offset_bits)
        self._tree = MultiLevel(bits, offset_bits)
        """A tree of the same shape, which knows the fields of an address."""
        self._valid = 1 << (8 * entry_bytes - 1)

    @property
    def table_bytes(self) -> int:
        return self._size(self.root, 0)

    def translate(self, address: int, access: Access = Access.READ, *, user: bool = True) -> Walk:
        if not 0 <= address < self.address_bytes:
            return outside(self, address, access)
        frame, fields, steps = self.root, self.fields(address), []
        for field in fields[:-1]:
            place = (frame << self.offset_bits) + field.value * self.entry_bytes
            word = self._word(place)
            valid, pfn = bool(word & self._valid), word & (self._valid - 1)
            text = f"valid, frame {pfn}" if valid else "not valid"
            steps.append(Step(field.name, text, field.value, frame, place, word))
            if not valid:
                fault = Fault(FaultKind.INVALID, f"the entry of the {field.name} is not valid")
                return Walk(address=address, access=access, fields=fields, steps=steps, fault=fault)
            frame = pfn
        physical = (frame << self.offset_bits) | fields[-1].value
        byte = self.memory[physical] if physical < len(self.memory) else None
        return Walk(address=address, access=access, fields=fields, steps=steps, physical=physical, byte=byte)

    def fields(self, address: int) -> Sequence[Field]:
        """Return the fields of `address`: an index for each table, and the offset."""
        offset = Field("offset", self.offset_bits - 1, 0, address & ((1 << self.offset_bits) - 1))
        return (*self._tree.index_fields(address >> self.offset_bits), offset)

    def _word(self, place: int) -> int:
        return int.from_bytes(self.memory[place : place + self.entry_bytes], "big")

    def _size(self, frame: int, depth: int) -> int:
        """Bytes of the table in `frame` and of all below it."""
        size = self.entry_bytes << self.bits[depth]
        if depth == len(self.bits) - 1:
            return size
        first = frame << self.offset_bits
        words = (self._word(place) for place in range(first, first + size, self.entry_bytes))
        return size + sum(
            self._size(word & (self._valid - 1), depth + 1) for word in words if word & self._valid
        )


def image_of(table: MultiLevel, frames: int) -> Image:
    """Return a memory of `frames` frames that holds what `table` says, and a walk through it.

    Raises ValueError if it maps huge pages, which have no place in this format.
    """
    memory, width = bytearray(frames << table.offset_bits), table.entry_bytes
    valid = 1 << (8 * width - 1)
    for vpn, entry in table.items():
        if entry.level:
            raise ValueError("an image has no huge pages: split them first")
        steps = list(table.steps(vpn))
        targets = [*(step.frame or 0 for step in steps[1:]), entry.pfn]
        for step, pfn in zip(steps, targets, strict=True):
            if step.address is not None and (entry.present or step is not steps[-1]):
                memory[step.address : step.address + width] = (valid | pfn).to_bytes(width, "big")
    return Image(bytes(memory), table.root, bits=table.bits, offset_bits=table.offset_bits, entry_bytes=width)
