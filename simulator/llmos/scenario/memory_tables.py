"""The tables of a scenario that describe its memory: [memory] and [[file]]."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from llmos.scenario.fields import Count, Duration, Model, Name, Size
from llmos.scenario.machine_tables import Choice
from llmos.scenario.units import UnfitError


class MemoryCosts(Model):
    """What the memory's work takes; what is left out has a round figure of the size of a small machine's."""

    access: Duration = Field(default=1, description="A reference that hits in the first level of the TLB.")
    second_tlb: Duration = Field(default=3, description="In addition, where only the second level has it.")
    walk: Duration = Field(default=10, description="Each reference to a page table in a walk.")
    minor_fault: Duration = Field(default=1_000, description="A fault that needs no device.")
    major_fault: Duration = Field(default=2_000, description="A fault that does, without the device.")
    zero_page: Duration = Field(default=200, description="Filling a page with zeros.")
    copy_page: Duration = Field(default=400, description="Copying a page.")
    fork_page: Duration = Field(default=50, description="Each page that a fork shares.")
    shootdown: Duration = Field(default=1_000, description="Telling another core that an entry has gone.")


Ways = Annotated[int, Field(ge=1, le=65_536)]


class TlbLevel(Model):
    """A level of the TLB: sets times ways."""

    entries: Ways = Field(description="How many entries it has.")
    ways: Ways | None = Field(
        default=None, description="Entries of a set; left out: all, it is fully associative."
    )

    @model_validator(mode="after")
    def _whole_sets(self) -> TlbLevel:
        if self.ways is not None and self.entries % self.ways:
            raise UnfitError(f"{self.entries} entries are no whole number of sets of {self.ways}")
        return self


class TlbTable(Model):
    """The TLB of each core."""

    first: TlbLevel = Field(default=TlbLevel(entries=64, ways=4), description="The first level.")
    second: TlbLevel | None = Field(default=TlbLevel(entries=1536, ways=12), description="The second level.")
    replacement: Choice = Field(
        default={"policy": "lru"}, description="Who of a set goes: any replacement policy."
    )
    asids: bool = Field(
        default=True, description="Entries of several processes live together; false: a switch flushes."
    )


TlbChoice = Annotated[
    Annotated[Literal[False], Tag("~off")] | Annotated[TlbTable, Tag("~table")],
    Discriminator(lambda value: "~off" if isinstance(value, bool) else "~table"),
]


class MemoryTable(Model):
    """The memory of the machine."""

    size: Size | None = Field(default=None, description='Its size, as in "64 MiB".')
    frames: Count | None = Field(default=None, description="Or the number of its frames.")
    page: Size = Field(default=4096, description="The size of a page: a power of two.")
    replacement: Choice = Field(
        default={"policy": "lru"},
        description="Which page goes when there is no frame: any replacement policy.",
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
    costs: MemoryCosts = Field(default=MemoryCosts(), description="What the memory's work takes.")

    @model_validator(mode="after")
    def _consistent(self) -> MemoryTable:
        if (self.size is None) == (self.frames is None):
            raise UnfitError("memory needs `size` or `frames`, one of them", hint='as in size = "64 MiB"')
        if self.page < 2 or self.page & (self.page - 1):
            raise UnfitError(f"a page of {self.page} bytes is no power of two", hint='as in page = "4 KiB"')
        if self.count < 1:
            raise UnfitError("the memory is smaller than a page", hint="give it more, or smaller pages")
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
