"""The tables of a scenario that describe its memory: [memory] and [[file]]."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from llmos.memory.watermarks import linux
from llmos.scenario.fields import Cost, Count, Duration, Model, Name, PositiveDuration, Size
from llmos.scenario.huge_tables import KhugepagedTable, KsmTable
from llmos.scenario.machine_tables import Choice
from llmos.scenario.units import UnfitError

MOST_FRAMES: Final = 2**28
"""1 TiB of 4 KiB pages."""


class MemoryCosts(Model):
    """What the memory's work takes; what is left out has a round figure of the size of a small machine's."""

    access: Duration = Field(default=1, description="A reference that hits in the first level of the TLB.")
    second_tlb: Duration = Field(default=3, description="In addition, where only the second level has it.")
    walk: Duration = Field(default=10, description="Each reference to a page table in a walk.")
    minor_fault: Cost = Field(default=1_000, description="A fault that needs no device.")
    major_fault: Cost = Field(default=2_000, description="A fault that does, without the device.")
    zero_page: Cost = Field(default=200, description="Filling a page with zeros.")
    copy_page: Cost = Field(default=400, description="Copying a page.")
    split_page: Duration = Field(default=20, description="Each base page of a huge page that is split.")
    compare_page: Duration = Field(
        default=400, description="Each page that the scanner of same-page merging looks at."
    )
    fork_page: Duration = Field(default=50, description="Each page that a fork shares.")
    shootdown: Duration = Field(default=1_000, description="Telling another core that an entry has gone.")
    reclaim_page: Duration = Field(default=200, description="Evicting a page early, with watermarks.")


Ways = Annotated[int, Field(ge=1, le=65_536)]


class TlbLevel(Model):
    """A level of the TLB: sets times ways."""

    entries: Ways = Field(description="How many entries it has.")
    ways: Ways | None = Field(
        default=None, description="Entries of a set; left out: all, it is fully associative."
    )
    huge: Ways | None = Field(
        default=None, description="Entries of its own for huge pages; left out: they share the others."
    )

    @model_validator(mode="after")
    def _whole_sets(self) -> TlbLevel:
        if self.ways is not None and self.entries % self.ways:
            raise UnfitError(f"{self.entries} entries are no whole number of sets of {self.ways}")
        return self


LevelChoice = Annotated[
    Annotated[Literal[False], Tag("~off")] | Annotated[TlbLevel, Tag("~table")],
    Discriminator(lambda value: "~off" if isinstance(value, bool) else "~table"),
]


class TlbTable(Model):
    """The TLB of each core."""

    first: TlbLevel = Field(default=TlbLevel(entries=64, ways=4, huge=32), description="The first level.")
    second: LevelChoice = Field(
        default=TlbLevel(entries=1536, ways=12), description="The second level; false: there is none."
    )
    replacement: Choice = Field(
        default={"policy": "lru"}, description="Who of a set goes: any replacement policy."
    )
    asids: bool = Field(
        default=True, description="Entries of several processes live together; false: a switch flushes."
    )
    walk_cache: list[Ways] = Field(
        default=[],
        max_length=3,
        description="Pointers to page tables that are remembered: to last tables, to those above, ...",
    )


TlbChoice = Annotated[
    Annotated[Literal[False], Tag("~off")] | Annotated[TlbTable, Tag("~table")],
    Discriminator(lambda value: "~off" if isinstance(value, bool) else "~table"),
]


Percent = Annotated[int, Field(ge=1, le=100)]


class PageCacheTable(Model):
    """How pages of files are read and written."""

    readahead: int | None = Field(
        default=None, ge=0, le=65_536,
        description="Pages of the largest readahead window, 0 = none; left out: 32 as on Linux if the "
        "`convention` is linux, else none.",
    )  # fmt: skip
    fault_around: int | None = Field(
        default=None, ge=1, le=65_536,
        description="A fault maps what is there of an aligned block of so many pages; left out: 16 if the "
        "`convention` is linux, else 1.",
    )  # fmt: skip
    dirty_background: Percent = Field(
        default=10, description="Above so many percent of the available memory dirty pages are written."
    )
    dirty: Percent = Field(default=20, description="Above so many percent who writes must wait.")
    interval: Duration = Field(
        default=5_000_000_000, gt=0, description="How often old dirty pages are looked for."
    )
    expire: Duration = Field(default=30_000_000_000, description="From when on a dirty page is old.")


Rate = Annotated[float, Field(ge=0, le=1)]


class ThrashingTable(Model):
    """When the machine is said to thrash: in a window there are refaults, and the cores are idle."""

    window: PositiveDuration = Field(default=100_000_000, description="How long is looked at.")
    refaults: Count = Field(
        default=5,
        description="So many page faults at least, and half of all major ones, bring back what was evicted "
        "lately.",
    )
    busy: Rate = Field(default=0.5, description="The cores are busy for less than this share of the time.")


class MemoryTable(Model):
    """The memory of the machine."""

    huge_pages: Literal["never", "madvise", "always"] = Field(
        default="never", description="Who gets huge pages: nobody, who asks for them, or everybody."
    )
    huge_order: int = Field(default=9, ge=1, le=10, description="A huge page is 2 to the power of it pages.")
    khugepaged: KhugepagedTable = Field(default=KhugepagedTable(), description="The scanner that promotes.")
    compaction: bool = Field(default=True, description="Pages are moved to make room for huge ones.")
    ksm: KsmTable | None = Field(default=None, description="Same pages are merged.")

    size: Size | None = Field(default=None, description='Its size, as in "64 MiB".')
    frames: Count | None = Field(default=None, description="Or the number of its frames.")
    page: Size = Field(default=4096, description="The size of a page: a power of two.")
    replacement: Choice = Field(
        default={"policy": "lru"},
        description="Which page goes when there is no frame: any replacement policy.",
    )
    allocation: Literal["global", "fixed", "proportional", "working-set", "page-fault-frequency"] = Field(
        default="global",
        description="All tasks compete for all frames, or each has a share of its own, by this rule.",
    )
    window: Count = Field(
        default=1000, description="The working set are the pages of so many references of a task."
    )
    fault_rates: list[Rate] = Field(
        default=[0.01, 0.1],
        min_length=2,
        max_length=2,
        description="Page faults per reference: below the first a task gets a frame less, above the second "
        "one more.",
    )
    watermarks: bool | list[Count] = Field(
        default=False, description="Reclaim early: by Linux's rule, or [min, low, high] in frames."
    )
    swappiness: int | None = Field(
        default=None,
        ge=0,
        le=200,
        description="How much anonymous pages go rather than those of files; left out: one order for all.",
    )
    overcommit: Literal[0, 1, 2] | None = Field(
        default=None,
        description="What may be promised: 0 by a call no more than there is, 1 anything, 2 a limit; left "
        "out: 0 as on Linux if the `convention` is linux, else 1.",
    )
    overcommit_ratio: int = Field(
        default=50, ge=0, le=1000, description="Per cent of memory that count for the limit of mode 2."
    )
    thrashing: ThrashingTable = Field(
        default=ThrashingTable(), description="When the machine is said to thrash."
    )
    load_control: bool = Field(
        default=False, description="Whether tasks are swapped out as a whole when the machine thrashes."
    )
    swap: Size = Field(default=0, description="Swap space for anonymous pages; 0 = none.")
    swap_device: Name | None = Field(default=None, description="The device that swap is on.")
    page_cluster: int = Field(
        default=0, ge=0, le=10, description="Swap is read back in clusters of 2 to the power of it pages."
    )
    levels: int = Field(default=4, ge=2, le=5, description="Levels of the page table, 2 to 5.")
    tlb: TlbChoice = Field(
        default=TlbTable(), description="The TLB of each core; false: there is none, every reference walks."
    )
    oom: Literal["badness", "largest", "youngest"] = Field(
        default="badness", description="Whom the OOM killer kills."
    )
    page_cache: PageCacheTable = Field(
        default=PageCacheTable(), description="Readahead, and when dirty pages are written."
    )
    costs: MemoryCosts = Field(default=MemoryCosts(), description="What the memory's work takes.")

    @model_validator(mode="after")
    def _consistent(self) -> MemoryTable:
        if (self.size is None) == (self.frames is None):
            raise UnfitError("memory needs `size` or `frames`, one of them", hint='as in size = "64 MiB"')
        if self.page < 2 or self.page & (self.page - 1):
            raise UnfitError(f"a page of {self.page} bytes is no power of two", hint='as in page = "4 KiB"')
        if self.count < 1:
            raise UnfitError("the memory is smaller than a page", hint="give it more, or smaller pages")
        if self.count > MOST_FRAMES:
            raise UnfitError(
                f"the memory has {self.count:,} frames, more than {MOST_FRAMES:,}",
                hint="give it less, or larger pages",
            )
        if isinstance(self.tlb, TlbTable) and len(self.tlb.walk_cache) >= self.levels:
            raise UnfitError(
                f"page tables of {self.levels} levels have {self.levels - 1} kinds of pointers to tables, "
                f"not {len(self.tlb.walk_cache)}",
                hint="shorten walk_cache, or raise levels",
            )
        if self.fault_rates[0] > self.fault_rates[1]:
            raise UnfitError(
                "the lower fault rate is above the upper one", hint="as in fault_rates = [0.01, 0.1]"
            )
        marks = self.watermarks
        if isinstance(marks, list) and (len(marks) != 3 or marks != sorted(marks) or marks[-1] >= self.count):
            raise UnfitError(
                "watermarks are three numbers of frames in rising order, less than there are",
                hint="as in watermarks = [8, 12, 16], or true for Linux's",
            )
        if marks is True and linux(self.count, self.page).high >= self.count:
            raise UnfitError(
                "Linux keeps more free than this memory has", hint="give yours, as in watermarks = [4, 6, 8]"
            )
        if self.swap and self.swap_device is None:
            raise UnfitError(
                "swap lies on a device", hint='add swap_device = "disk", and a [[device]] of that name'
            )
        return self

    @property
    def count(self) -> int:
        """The number of frames."""
        return self.frames if self.frames is not None else (self.size or 0) // self.page


class FileTable(Model):
    """A file."""

    name: Name = Field(description="What programs call it.")
    size: Size = Field(description="Its size.")
    device: Name = Field(description="The device it is on.")
