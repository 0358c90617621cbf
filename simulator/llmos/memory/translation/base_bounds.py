"""Base and bounds: a process lies in one piece of memory, and two registers say where."""

from __future__ import annotations

from llmos.memory.translation.base import Access, Fault, FaultKind, Step, Translation, Walk


class BaseBounds(Translation):
    """Addresses 0 to `bounds` - 1, which lie in memory from `base` on.

    One addition and one comparison, in registers: nothing is quicker. All of the address space must be
    in memory in one piece, the hole between heap and stack included, and all of it may be written.

    Source: OSTEP ch. 15.
    """

    name = "base-bounds"

    def __init__(self, base: int, bounds: int) -> None:
        if base < 0 or bounds < 0:
            raise ValueError(f"base and bounds are 0 or more, not {base} and {bounds}")
        self.base = base
        self.bounds = bounds
        self.address_bytes = bounds

    @property
    def table_bytes(self) -> int:
        return 0

    def translate(self, address: int, access: Access = Access.READ, *, user: bool = True) -> Walk:
        inside = 0 <= address < self.bounds
        steps = [Step("bounds register", f"{address} {'<' if inside else '>='} {self.bounds}")]
        if not inside:
            fault = Fault(FaultKind.OUTSIDE, f"the bounds are {self.bounds}")
            return Walk(address=address, access=access, fields=(), steps=steps, fault=fault)
        physical = self.base + address
        steps.append(Step("base register", f"{self.base} + {address} = {physical}"))
        return Walk(address=address, access=access, fields=(), steps=steps, physical=physical)
