"""What the memory keeps: costs, the memory of a process, and what a process may have to wait for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from llmos.memory.allocation import Window
    from llmos.memory.files import FileIo, OpenFile
    from llmos.memory.pager import Page, Pool
    from llmos.memory.space import Regions
    from llmos.memory.translation.base import PageTable
    from llmos.replacement.base import Key

REFERENCES_PER_EVENT: Final = 10
"""So many references, or pages of a file, count as one event towards the event limit: they take as long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What the memory's work takes, in nanoseconds.

    The defaults are round figures of the size that was measured on a small cloud machine (4 KiB pages);
    a scenario that argues with absolute times should give its own.
    """

    access_ns: int = 1
    """A reference that hits in the first level of the TLB, or in a machine without one."""
    second_tlb_ns: int = 3
    """In addition, where only the second level has the entry."""
    walk_ns: int = 10
    """Each reference to a page table in a walk."""
    minor_fault_ns: int = 1_000
    """Entering the kernel for a fault, and mapping a page."""
    major_fault_ns: int = 2_000
    """The kernel's work for a fault that needs a device, without the device."""
    zero_page_ns: int = 200
    copy_page_ns: int = 400
    split_page_ns: int = 20
    """Each base page of a huge page that is split."""
    compare_page_ns: int = 400
    """Each page that the scanner of same-page merging looks at: reading 4 KiB."""
    fork_page_ns: int = 50
    """Each page that a fork shares."""
    shootdown_ns: int = 1_000
    """Each other core, when a page goes whose entry it may have: an inter-processor interrupt."""
    reclaim_page_ns: int = 200
    """Each page that is evicted before somebody needs its frame: with watermarks."""


@dataclass(slots=True, eq=False, kw_only=True)
class Space:
    """The memory of one process."""

    pid: int
    name: str
    regions: Regions
    table: PageTable
    pool: Pool
    group: str = ""
    anon: dict[int, int] = field(default_factory=dict)
    """Which anonymous page each page number has, in a frame or in swap."""
    rss: int = 0
    """Pages that are present."""
    fresh: Page | None = None
    """The page that the last fault has brought. It is pinned until it is used, so that every fault pays."""
    most: int = 0
    """The most pages that have been present."""
    references: int = 0
    """How many references it has made: its own time."""
    window: Window | None = None
    """Its last references, where its share of memory is its working set."""
    victim: str = ""
    """The page that had to go for the reference at hand, in words."""
    oom_score_adj: int = 0
    held: bool = False
    """Whether it has waited because too many pages are dirty, and may make one more dirty now."""
    waits: list[Wait] = field(default_factory=list)
    """What its faults want done and has not begun: the kernel is still at work on them."""
    dead: bool = False
    """Whether it was killed for want of memory or has ended, and has no pages any more."""
    cpus: set[int] = field(default_factory=set)
    """Cores whose TLBs may have entries of it."""
    files: dict[int, OpenFile] = field(default_factory=dict)
    """By inode, where it is in the files that it has used."""

    def at(self, vpn: int) -> str:
        """Say where page number `vpn` is: "heap[7]"; "" if it is nowhere."""
        region = self.regions.find(vpn)
        if region is None:
            return ""
        return f"{region.name}[{region.end - 1 - vpn if region.grows_down else vpn - region.start}]"


@dataclass(slots=True, eq=False)
class Wait:
    """What a process must wait for: transfers on devices, one after another, and what is done then."""

    reason: str
    transfers: list[Transfer]
    finish: Callable[[], None]
    key: Key | None = None
    """The page that somebody else is having read, if that is what it waits for."""
    on: str = "page"
    """What it waits for, where that is no device."""
    over: str = "the page is there"
    """What has happened then, in words."""
    ask: Callable[[Callable[[], None]], None] | None = None
    """Asks to be told when that has come, before anything else is done."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """`pages` pages to or from `device`."""

    device: str
    pages: int
    write: bool = False
    brings: tuple[Page, ...] = ()
    """The pages that are there when it is done; until then they are pinned."""


@dataclass(frozen=True, slots=True)
class Death:
    """A process that dies of `signal`."""

    signal: str
    reason: str


@dataclass(slots=True, eq=False)
class Touching:
    """A process on its way through references: page number * 2 + (1 if it writes); or through a file."""

    chunks: Iterator[Sequence[int]]
    references: Sequence[int] = ()
    position: int = 0
    then: Wait | Death | None = None
    """What comes when the time of the stretch is over."""
    done: bool = False
    owed_ns: int = 0
    """What is left of a stretch that a signal handler interrupted."""
    io: FileIo | None = None
    """The file that it goes through in place of references."""
