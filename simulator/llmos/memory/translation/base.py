"""The translation contract: an address of a program goes in; an address of memory, or a fault, comes out.

- A `Translation` says with `translate` where one address leads, and how: each table that was read, which
  entry of it, and what stood there. The walk is what hardware does, told step by step.
- A fault is an answer, not an exception. Whether it kills or brings a page is the kernel's affair.
- A `PageTable` is a translation by pages of one size, and of a few larger ones. `map` and `unmap` are the
  kernel's side of it, `lookup` and `accesses` the quick one, for a machine that translates millions.
- The table keeps the entry that it was given: who changes `present` or `writable` later changes what the
  table says, and must see to the TLBs.
- Nobody is charged here. `accesses` counts the references that a walk makes; the machine knows their cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Final, NamedTuple


class Access(StrEnum):
    """What a program wants to do at an address."""

    READ = "read"
    WRITE = "write"
    EXECUTE = "execute"


class FaultKind(StrEnum):
    """Why an address does not lead to memory."""

    OUTSIDE = "outside"
    """It lies beyond a bound: of the address space or of its segment."""
    INVALID = "invalid"
    """Nothing is mapped there."""
    NOT_PRESENT = "not present"
    """Something is mapped there and is not in memory now."""
    PROTECTION = "protection"
    """It is in memory, and not for this access."""


class Fault(NamedTuple):
    """A fault, and its reason in words."""

    kind: FaultKind
    reason: str


@dataclass(slots=True)
class Pte:
    """A page table entry: frame `pfn`, what may be done there, and what has been done.

    `level` says how large the page is: 0 a base page, 1 and 2 a huge page whose entry stands one or two
    tables higher (2 MiB and 1 GiB on x86-64). While it is not `present`, `pfn` is the pager's to use.
    """

    pfn: int
    present: bool = True
    writable: bool = True
    executable: bool = True
    user: bool = True
    accessed: bool = False
    dirty: bool = False
    is_global: bool = False
    level: int = 0

    @property
    def flags(self) -> str:
        """Its bits, as one letter each: readable, writable, executable, user, global, accessed, dirty."""
        bits = (self.writable, self.executable, self.user, self.is_global, self.accessed, self.dirty)
        letters = "".join(letter if bit else "-" for letter, bit in zip("wxugad", bits, strict=True))
        return ("r" if self.present else "-") + letters

    def __str__(self) -> str:
        return f"frame {self.pfn} [{self.flags}]" if self.present else f"not present [{self.flags}]"


class Field(NamedTuple):
    """Bits `high` to `low` of an address, and what they mean."""

    name: str
    high: int
    low: int
    value: int


@dataclass(frozen=True, slots=True)
class Step:
    """One entry that a walk looks at.

    `frame` is the frame in which the table stands and `address` where the entry does, both None for what
    is in registers: only an entry that has an address costs a reference to memory.
    """

    table: str
    text: str
    """What is there, in words."""
    index: int | None = None
    frame: int | None = None
    address: int | None = None
    word: int | None = None
    """The entry's bits as memory holds them, where the scheme says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """Where an address leads: to `physical`, or to a `fault`."""

    address: int
    access: Access
    fields: Sequence[Field]
    steps: Sequence[Step]
    physical: int | None = None
    fault: Fault | None = None
    entry: Pte | None = None
    """The entry at the end of the walk, if the scheme has pages and the page has one."""
    byte: int | None = None
    """What is there, if the scheme knows what memory holds."""

    @property
    def references(self) -> int:
        """How often it reads memory."""
        return sum(step.address is not None for step in self.steps)


class Translation:
    """A scheme that leads addresses to memory."""

    name: ClassVar[str]
    address_bytes: int
    """Addresses are 0 to `address_bytes` - 1."""

    def translate(self, address: int, access: Access = Access.READ, *, user: bool = True) -> Walk:
        """Tell where `address` leads for this `access` from user mode (or from the kernel), and how."""
        raise NotImplementedError

    @property
    def table_bytes(self) -> int:
        """Memory that its tables take now; 0 for what is in registers."""
        raise NotImplementedError


class PageTable(Translation):
    """A translation by pages of 2**`offset_bits` bytes: page numbers (VPN) have `vpn_bits` bits."""

    def __init__(self, vpn_bits: int, offset_bits: int) -> None:
        if vpn_bits < 1 or offset_bits < 1:
            raise ValueError(f"an address needs bits for page and offset, not {vpn_bits} and {offset_bits}")
        self.vpn_bits = vpn_bits
        self.offset_bits = offset_bits
        self.address_bytes = 1 << (vpn_bits + offset_bits)
        self.spans: Sequence[int] = (0,)
        """Page level -> how many bits of a VPN number the base pages inside a page of that level."""

    # --- what a scheme provides -------------------------------------------------------------------------

    def map(self, vpn: int, entry: Pte) -> None:
        """Enter `entry` for the page at `vpn`, in place of one of the same size if there is one.

        Raises ValueError if `vpn` does not exist, is not aligned to the page's size, or lies in or around
        a page of another size: unmap that first.
        """
        raise NotImplementedError

    def unmap(self, vpn: int) -> Pte:
        """Take the entry that maps `vpn` out, the whole of it if it is huge, with the tables left empty.

        Raises KeyError if there is none.
        """
        raise NotImplementedError

    def lookup(self, vpn: int) -> Pte | None:
        """Return the entry that maps `vpn`, present or not; None if there is none."""
        raise NotImplementedError

    def items(self) -> Iterable[tuple[int, Pte]]:
        """Return every entry with the first VPN that it maps, in an order that is the same each time."""
        raise NotImplementedError

    def accesses(self, vpn: int) -> int:
        """Count the references to memory that a walk for `vpn` makes, if only up to a fault."""
        return sum(step.address is not None for step in self.steps(vpn))

    def steps(self, vpn: int) -> Iterator[Step]:
        """Yield what a walk for `vpn` reads, from the first table to its entry or to a hole."""
        raise NotImplementedError

    def index_fields(self, vpn: int) -> Sequence[Field]:
        """Return the fields of an address above its offset."""
        return (Field("VPN", self.vpn_bits + self.offset_bits - 1, self.offset_bits, vpn),)

    # --- what follows -----------------------------------------------------------------------------------

    @property
    def page_bytes(self) -> int:
        """The size of a base page."""
        return 1 << self.offset_bits

    def frame(self, vpn: int) -> int | None:
        """Return the frame of the base page `vpn`; None if it is not present."""
        entry = self.lookup(vpn)
        return None if entry is None or not entry.present else self._frame(vpn, entry)

    def walk(self, vpn: int, access: Access = Access.READ, *, user: bool = True) -> Walk:
        """Walk to the first address of page `vpn`."""
        return self.translate(vpn << self.offset_bits, access, user=user)

    def translate(self, address: int, access: Access = Access.READ, *, user: bool = True) -> Walk:
        if not 0 <= address < self.address_bytes:
            return outside(self, address, access)
        vpn, offset = address >> self.offset_bits, address & (self.page_bytes - 1)
        steps, entry = tuple(self.steps(vpn)), self.lookup(vpn)
        fault = refusal(entry, access, user=user)
        if fault is not None and fault.kind is FaultKind.INVALID:
            fault = fault._replace(reason=f"nothing is mapped there; the walk ends at the {steps[-1].table}")
        physical = None
        if entry is not None and fault is None:
            physical = (self._frame(vpn, entry) << self.offset_bits) | offset
        return Walk(
            address=address,
            access=access,
            fields=(*self._above(vpn, entry), self._offset(address, entry)),
            steps=steps,
            physical=physical,
            fault=fault,
            entry=entry,
        )

    def split(self, vpn: int) -> int:
        """Map the huge page around `vpn` by pages one level smaller instead; return how many.

        Raises ValueError if there is none.
        """
        huge = self.lookup(vpn)
        if huge is None or not huge.level:
            raise ValueError(f"page {vpn:#x} is not huge, and cannot be split")
        span, smaller = self.spans[huge.level], self.spans[huge.level - 1]
        first, count = vpn >> span << span, 1 << (span - smaller)
        self.unmap(vpn)
        for i in range(count):
            pfn = huge.pfn + (i << smaller)
            self.map(first + (i << smaller), replace(huge, pfn=pfn, level=huge.level - 1))
        return count

    def promote(self, vpn: int, entry: Pte) -> list[tuple[int, Pte]]:
        """Map the huge page `entry` at `vpn` in place of what is mapped there; return that.

        Copying the contents into the huge page's frames is the caller's affair.
        """
        pages = range(vpn, vpn + (1 << self.spans[entry.level]))
        gone = [(page, self.unmap(page)) for page in pages if self.lookup(page) is not None]
        self.map(vpn, entry)
        return gone

    # --- inside -----------------------------------------------------------------------------------------

    def _frame(self, vpn: int, entry: Pte) -> int:
        return entry.pfn + (vpn & ((1 << self.spans[entry.level]) - 1))

    def _low(self, entry: Pte | None) -> int:
        """Where the offset begins: higher inside a huge page."""
        return self.offset_bits + (self.spans[entry.level] if entry else 0)

    def _above(self, vpn: int, entry: Pte | None) -> list[Field]:
        low = self._low(entry)
        return [field for field in self.index_fields(vpn) if field.low >= low]

    def _offset(self, address: int, entry: Pte | None) -> Field:
        low = self._low(entry)
        return Field("offset", low - 1, 0, address & ((1 << low) - 1))

    def _check(self, vpn: int, level: int) -> None:
        """Raise ValueError if no page of `level` can begin at `vpn`."""
        if not 0 <= vpn < 1 << self.vpn_bits:
            raise ValueError(f"there is no page {vpn:#x}: page numbers have {self.vpn_bits} bits")
        if not 0 <= level < len(self.spans):
            raise ValueError(f"this scheme has no pages of level {level}")
        if vpn & ((1 << self.spans[level]) - 1):
            pages = 1 << self.spans[level]
            raise ValueError(f"a page of level {level} begins at a multiple of {pages} pages, not {vpn:#x}")


NOT_PRESENT: Final = Fault(FaultKind.NOT_PRESENT, "the page is not in memory")
INVALID: Final = Fault(FaultKind.INVALID, "nothing is mapped there")


def refusal(entry: Pte | None, access: Access = Access.READ, *, user: bool = True) -> Fault | None:
    """Return the fault that `access` meets at `entry`; None if it may go on.

    Differs: on x86 a kernel may write to read-only pages if CR0.WP is off; here nobody may.
    """
    if entry is None:
        return INVALID
    if not entry.present:
        return NOT_PRESENT
    if user and not entry.user:
        return Fault(FaultKind.PROTECTION, "the page is the kernel's")
    if access is Access.WRITE and not entry.writable:
        return Fault(FaultKind.PROTECTION, "the page is read-only")
    if access is Access.EXECUTE and not entry.executable:
        return Fault(FaultKind.PROTECTION, "the page is not executable")
    return None


def outside(scheme: Translation, address: int, access: Access) -> Walk:
    """Return the walk of an address that the scheme does not have."""
    reason = f"addresses end at {scheme.address_bytes - 1:#x}"
    return Walk(address=address, access=access, fields=(), steps=(), fault=Fault(FaultKind.OUTSIDE, reason))
