"""From the tables [memory] and [[file]] to the memory of a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from llmos.errors import ScenarioError, did_you_mean
from llmos.memory.records import Costs
from llmos.memory.tlb import NoTlb, Tlb
from llmos.memory.tlb_array import Shape
from llmos.memory.translation.multilevel import MultiLevel
from llmos.scenario.policies import replacement_spec
from llmos.scenario.spec import FileSpec, MemorySpec, ReplacementSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmos.memory.translation.base import PageTable
    from llmos.scenario import positions
    from llmos.scenario.memory_tables import MemoryTable, TlbLevel, TlbTable
    from llmos.scenario.source import Findings, Scenario

INDEX_BITS = 9
"""An index of a page table: 512 entries of 8 bytes fill a page of 4 KiB, as on x86-64."""


def memory_of(scenario: Scenario, seed: int, findings: Findings) -> MemorySpec | None:
    """The memory that a scenario gives its machine; None if it has none, or if it has problems."""
    table = scenario.model.memory
    check(scenario, findings)
    if table is None:
        return None
    frames = _replacement(scenario, table.replacement, seed, ("memory", "replacement"), findings)
    entries = None
    if table.tlb:
        entries = _replacement(
            scenario, table.tlb.replacement, seed, ("memory", "tlb", "replacement"), findings
        )
    if frames is None or (table.tlb and entries is None):
        return None
    return MemorySpec(
        frames=table.count,
        replacement=frames,
        page_bytes=table.page,
        costs=Costs(**{f"{name}_ns": ns for name, ns in table.costs}),
        table=_page_table(table),
        tlb=_tlb(table, table.tlb, entries),
        swap_pages=table.swap // table.page,
        swap_device=table.swap_device or "",
        page_cluster=table.page_cluster,
        oom=table.oom,
        files=[FileSpec(name=f.name, size_bytes=f.size, device=f.device) for f in scenario.model.file],
    )


def check(scenario: Scenario, findings: Findings) -> None:
    """Note what the tables name that is not there."""
    model = scenario.model
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


def _replacement(
    scenario: Scenario, choice: Any, seed: int, path: positions.Path, findings: Findings
) -> ReplacementSpec | None:
    try:
        found = replacement_spec(choice, folder=scenario.folder, seed=seed, place=".".join(map(str, path)))
    except ScenarioError as error:
        findings.add_error(path, error)
        return None
    if found.offline:
        hint = "take another policy; llmos paging and llmos mrc show what it would have done"
        findings.add(path, f"{found.name} needs the future, which no machine knows", hint=hint)
        return None
    return found


def _page_table(table: MemoryTable) -> Callable[[], PageTable]:
    bits, offset_bits = (INDEX_BITS,) * table.levels, table.page.bit_length() - 1
    return lambda: MultiLevel(bits, offset_bits)


def _tlb(
    table: MemoryTable, tlb: TlbTable | Literal[False], policy: ReplacementSpec | None
) -> Callable[[], Tlb]:
    if not tlb or policy is None:
        return NoTlb
    levels = [level for level in (tlb.first, tlb.second) if level is not None]
    shapes = [_shape(level, number) for number, level in enumerate(levels, start=1)]
    offset_bits = table.page.bit_length() - 1
    return lambda: Tlb(shapes, policy=policy.make, asids=tlb.asids, offset_bits=offset_bits)


def _shape(level: TlbLevel, number: int) -> Shape:
    ways = level.ways or level.entries
    return Shape(sets=level.entries // ways, ways=ways, level=number)
