"""The tables of a scenario for huge pages and same-page merging: [memory.khugepaged] and [memory.ksm]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from llmos.memory.huge import HugeRules
from llmos.memory.ksm import MergeRules
from llmos.scenario.fields import Count, Model, PositiveDuration

if TYPE_CHECKING:
    from llmos.scenario.memory_tables import MemoryTable


class KhugepagedTable(Model):
    """The scanner that promotes pages to huge ones."""

    scan: PositiveDuration = Field(default=10_000_000_000, description="How long it sleeps.")
    retry: PositiveDuration = Field(
        default=60_000_000_000, description="How long it rests when it has found no block of frames."
    )
    pages_to_scan: Count = Field(default=4096, description="Base pages that it looks at each time.")
    max_none: int = Field(
        default=511, ge=0, le=1023, description="So many pages of a huge one may be missing."
    )


class KsmTable(Model):
    """The scanner that merges same pages."""

    pages_to_scan: Count = Field(default=100, description="Pages that it looks at each time.")
    sleep: PositiveDuration = Field(default=20_000_000, description="How long it sleeps.")
    max_sharing: int = Field(default=256, ge=2, description="Page numbers that may share a frame.")


def huge_rules(table: MemoryTable) -> HugeRules | None:
    """Return how huge pages come and go; None if there are none."""
    if table.huge_pages == "never":
        return None
    scanner = table.khugepaged
    return HugeRules(
        when=table.huge_pages,
        order=table.huge_order,
        scan_ns=scanner.scan,
        retry_ns=scanner.retry,
        pages_to_scan=scanner.pages_to_scan,
        max_none=scanner.max_none,
    )


def merge_rules(table: MemoryTable) -> MergeRules | None:
    """Return how same pages are merged; None if they are not."""
    ksm = table.ksm
    if ksm is None:
        return None
    return MergeRules(pages_to_scan=ksm.pages_to_scan, sleep_ns=ksm.sleep, max_sharing=ksm.max_sharing)
