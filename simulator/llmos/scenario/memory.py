"""From the tables [memory] and [[file]] to the memory of a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from llmos.errors import ScenarioError, did_you_mean
from llmos.memory.allocation import Sharing
from llmos.memory.load_control import Thrashing
from llmos.memory.page_cache import CacheRules
from llmos.memory.records import Costs
from llmos.memory.tlb import NoTlb, Tlb
from llmos.memory.tlb_array import Shape
from llmos.memory.translation.multilevel import MultiLevel
from llmos.memory.watermarks import Watermarks, linux
from llmos.scenario.huge_tables import huge_rules, merge_rules
from llmos.scenario.policies import replacement_spec
from llmos.scenario.source import Findings
from llmos.scenario.spec import FileSpec, MemorySpec, ReplacementSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmos.memory.translation.base import PageTable
    from llmos.scenario import positions
    from llmos.scenario.measured import Measures
    from llmos.scenario.memory_tables import MemoryTable, PageCacheTable, TlbLevel, TlbTable
    from llmos.scenario.source import Scenario

FRAMES, TLB = ("memory", "replacement"), ("memory", "tlb", "replacement")
"""Where the policies stand."""
INDEX_BITS = 9
"""An index of a page table: 512 entries of 8 bytes fill a page of 4 KiB, as on x86-64."""


def memory_of(
    scenario: Scenario, seed: int, measures: Measures, frames: ReplacementSpec | None = None
) -> MemorySpec | None:
    """The memory that a scenario gives its machine; None if it has none, or if it has problems.

    `frames` stands in place of its own replacement policy.
    """
    table = scenario.model.memory
    check(scenario, measures.findings)
    if table is None:
        return None
    noted = Findings(None, {})  # what is wrong with its policies, `check` has told
    frames = frames or replacement_of(scenario, table.replacement, FRAMES, noted, seed=seed)
    entries = None
    if table.tlb:
        place = ".".join(TLB)
        entries = replacement_of(scenario, table.tlb.replacement, TLB, noted, seed=seed, place=place)
    if frames is None or (table.tlb and entries is None):
        return None
    is_linux = scenario.model.convention == "linux"
    return MemorySpec(
        frames=table.count,
        replacement=frames,
        page_bytes=table.page,
        costs=Costs(
            **{
                f"{name}_ns": measures.ns(ns, ("memory", "costs", name), table.page)
                for name, ns in table.costs
            }
        ),
        table=_page_table(table),
        tlb=_tlb(table, table.tlb, entries),
        swap_pages=table.swap // table.page,
        swap_device=table.swap_device or "",
        page_cluster=table.page_cluster,
        page_cache=_page_cache(table.page_cache, linux=is_linux),
        oom=table.oom,
        huge=huge_rules(table),
        compacts=table.compaction,
        merging=merge_rules(table),
        sharing=Sharing(
            mode=table.allocation,
            window=table.window,
            lower=table.fault_rates[0],
            upper=table.fault_rates[1],
            cgroups=_group_limits(scenario, table),
        ),
        watermarks=_watermarks(table),
        swappiness=table.swappiness,
        overcommit=(0 if is_linux else 1) if table.overcommit is None else table.overcommit,
        overcommit_ratio=table.overcommit_ratio,
        thrashing=Thrashing(
            window_ns=table.thrashing.window, refaults=table.thrashing.refaults, busy=table.thrashing.busy
        ),
        load_control=table.load_control,
        files=[FileSpec(name=f.name, size_bytes=f.size, device=f.device) for f in scenario.model.file],
    )


def replacement_of(
    scenario: Scenario,
    choice: Any,
    path: positions.Path,
    findings: Findings,
    folder: Path | None = None,
    *,
    seed: int = 0,
    place: str = "memory.replacement",
) -> ReplacementSpec | None:
    """The replacement policy that `choice`, which stands at `path`, means; None if it has problems.

    Its files are in `folder`, if not in the scenario's own. `seed` and `place` are for policies that draw.
    """
    folder = scenario.folder if folder is None else folder
    if scenario.model.memory is None:
        hint = "give it some: [memory] with frames = 64"
        findings.add(path, "the machine has no memory, and nothing to replace", hint=hint)
        return None
    try:
        found = replacement_spec(choice, folder=folder, seed=seed, place=place)
    except ScenarioError as error:
        findings.add_error(path, error)
        return None
    if found.offline:
        hint = "take another policy; llmos paging and llmos mrc show what it would have done"
        findings.add(path, f"{found.name} needs the future, which no machine knows", hint=hint)
        return None
    return found


def check(scenario: Scenario, findings: Findings) -> None:
    """Note what the tables name that is not there, or does not fit."""
    model = scenario.model
    if model.memory:
        replacement_of(scenario, model.memory.replacement, FRAMES, findings)
        if model.memory.tlb:
            replacement_of(scenario, model.memory.tlb.replacement, TLB, findings)
    devices = {device.name for device in model.device}
    wanted: list[tuple[positions.Path, str]] = [
        (("file", i, "device"), file.device) for i, file in enumerate(model.file)
    ]
    if model.memory and model.memory.swap_device:
        wanted.append((("memory", "swap_device"), model.memory.swap_device))
    for path, name in wanted:
        if name not in devices:
            hint = did_you_mean(name, devices) or f'declare it: [[device]] with name = "{name}"'
            findings.add(path, f'there is no device "{name}"', allowed=tuple(sorted(devices)), hint=hint)


def _page_cache(table: PageCacheTable, *, linux: bool) -> CacheRules:
    ahead, around = table.readahead, table.fault_around
    return CacheRules(
        readahead_pages=(32 if linux else 0) if ahead is None else ahead,
        fault_around_pages=(16 if linux else 1) if around is None else around,
        dirty_background=table.dirty_background,
        dirty=table.dirty,
        interval_ns=table.interval,
        expire_ns=table.expire,
    )


def _group_limits(scenario: Scenario, table: MemoryTable) -> dict[str, int]:
    """How many frames each cgroup may have, where that is limited."""
    return {g.name: max(1, g.memory // table.page) for g in scenario.model.cgroup if g.memory is not None}


def _watermarks(table: MemoryTable) -> Watermarks | None:
    if isinstance(table.watermarks, list):
        return Watermarks(*table.watermarks)
    return linux(table.count, table.page) if table.watermarks else None


def _index_bits(table: MemoryTable) -> tuple[int, ...]:
    """The index bits of the tables; the last one has as many as a huge page needs, the first the rest."""
    bits = [INDEX_BITS] * table.levels
    if table.huge_pages != "never":
        bits[0] += INDEX_BITS - table.huge_order
        bits[-1] = table.huge_order
    return tuple(bits)


def _page_table(table: MemoryTable) -> Callable[[], PageTable]:
    bits, offset_bits = _index_bits(table), table.page.bit_length() - 1
    return lambda: MultiLevel(bits, offset_bits)


def _tlb(
    table: MemoryTable, tlb: TlbTable | Literal[False], policy: ReplacementSpec | None
) -> Callable[[], Tlb]:
    if not tlb or policy is None:
        return NoTlb
    levels = [level for level in (tlb.first, tlb.second) if level]
    huge = table.huge_pages != "never"
    shapes = [shape for i, level in enumerate(levels, start=1) for shape in _shapes(level, i, huge=huge)]
    spans, offset_bits = MultiLevel(_index_bits(table)).entry_spans, table.page.bit_length() - 1
    return lambda: Tlb(
        shapes,
        policy=policy.make,
        asids=tlb.asids,
        spans=spans,
        offset_bits=offset_bits,
        walk_cache=tlb.walk_cache,
    )


def _shapes(level: TlbLevel, number: int, *, huge: bool) -> list[Shape]:
    """The arrays of a level; `huge`: there are huge pages, with entries of their own or among the others."""
    ways = level.ways or level.entries
    shared = huge and level.huge is None
    shapes = [Shape(sets=level.entries // ways, ways=ways, level=number, pages=(0, 1) if shared else (0,))]
    if huge and level.huge is not None:
        shapes.append(Shape(ways=level.huge, level=number, pages=(1,)))
    return shapes
