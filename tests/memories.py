"""Small machines with memory, and what must hold in them at any time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from llmos.memory.memory import Memory
from llmos.memory.records import Costs
from llmos.memory.tlb import Tlb
from llmos.memory.tlb_array import Shape
from llmos.memory.translation.multilevel import MultiLevel
from llmos.process.program import Call, Program, Touch
from llmos.scenario.machine import Outcome, run
from llmos.scenario.policies import policy_spec, replacement_spec
from llmos.scenario.spec import CpuSpec, DeviceSpec, FileSpec, MachineSpec, MemorySpec, TaskSpec
from llmos.trace.events import Event

TINY_TLB = (Shape(sets=2, ways=2), Shape(sets=1, ways=6, level=2))


def memory(frames: int, replacement: str = "lru", **more: Any) -> MemorySpec:
    """Return a memory of `frames`, with swap for 1000 pages on the device "disk" and a file "book"."""
    given: dict[str, Any] = {
        "table": MultiLevel,
        "tlb": lambda: Tlb(TINY_TLB),
        "swap_pages": 1000,
        "swap_device": "disk",
        "costs": Costs(),
        "files": [FileSpec(name="book", size_bytes=64 * 4096, device="disk")],
    }
    return MemorySpec(frames=frames, replacement=replacement_spec(replacement), **given | more)


def machine(
    has: MemorySpec, *programs: Callable[[], Program], cores: int = 1, scheduler: str = "rr", **more: Any
) -> MachineSpec:
    """Return a machine whose tasks "a", "b", ... run `programs`."""
    return MachineSpec(
        cpu=CpuSpec(policy=policy_spec(scheduler, "cpu"), count=cores),
        memory=has,
        devices=[DeviceSpec(name="disk", service_ns=1_000_000)],
        tasks=[TaskSpec(name="abcdefgh"[i], program=program) for i, program in enumerate(programs)],
        **more,
    )


def touch(*pages: int | str, region: str = "heap") -> Touch:
    """Return a call that refers to `pages` in this order; "7w" writes page 7."""
    encoded = [int(str(page).rstrip("w")) << 1 | str(page).endswith("w") for page in pages]
    return Touch(lambda: iter([encoded]), region)


def of(*steps: Call) -> Callable[[], Program]:
    """Return a program of these calls."""

    def program() -> Program:
        for step in steps:  # noqa: UP028  # a tuple cannot be sent anything
            yield step

    return program


def play(spec: MachineSpec) -> tuple[Outcome, list[Event], Memory]:
    """Run `spec` with its memory checked at every stretch; return also its events and its memory."""
    events: list[Event] = []
    with checked() as memories:
        outcome = run(spec, [lambda batch, _: events.extend(batch)])
    assert not outcome.state.violations
    check(memories[0])
    return outcome, events, memories[0]


@contextmanager
def checked() -> Iterator[list[Memory]]:
    """Check every memory before and after each stretch; yield the list of them."""
    memories: list[Memory] = []
    original, build = Memory.run, Memory.__init__

    def build_noted(self: Memory, *arguments: Any, **more: Any) -> None:
        build(self, *arguments, **more)
        memories.append(self)

    def run_checked(self: Memory, *arguments: Any) -> int:
        check(self)
        spent = original(self, *arguments)
        check(self)
        return spent

    with patch.object(Memory, "run", run_checked), patch.object(Memory, "__init__", build_noted):
        yield memories


def check(memory: Memory) -> None:
    """See that frames, pages, tables, TLBs, swap and counts agree."""
    pager = memory.pager
    taken = sum(1 << page.order for page in pager.pages.values())
    assert pager.frames.free_frames + taken == pager.frames.frames, "frames are conserved"
    assert {p.frame: p for p in pager.pages.values()} == pager.at, "no frame has two pages"
    pooled = [page for pool in memory.pools() for page in pool.pages.values()]
    assert sorted(map(id, pooled)) == sorted(map(id, pager.pages.values())), "each page is in one pool"
    users: Counter[int] = Counter()
    present: Counter[int] = Counter()
    for space in memory.spaces.values():
        users.update(space.anon.values())
        rss = 0
        for vpn, entry in space.table.items():
            if not entry.present:
                continue
            page = pager.at[entry.pfn]
            present[entry.pfn] += 1
            rss += 1 << page.order
            assert (space, vpn) in page.holders, "who maps a page is its holder"
            region = space.regions.find(vpn)
            assert region is not None, "nothing is mapped outside the regions"
            if vpn in space.anon:
                assert space.anon[vpn] == page.key
                if entry.writable and not region.shared:
                    assert memory.users[page.key] == 1, "what is shared is not writable"
            else:
                assert isinstance(page.key, tuple)
                assert not (entry.writable and not region.shared), "a private file page is copied first"
        assert rss == space.rss
        for vpn, key in space.anon.items():
            swapped = memory.swap is not None and key in memory.swap.slot_of
            assert key in pager.pages or swapped, f"page {vpn:#x} is somewhere"
        _check_tlbs(memory, space)
    assert users == memory.users, "shares are counted exactly"
    huge = {page.key for page in pager.pages.values() if page.order}
    assert huge == set(memory.huge.touched if memory.huge else ()), "huge pages are counted exactly"
    for page in pager.pages.values():
        assert len(page.holders) == present[page.frame]
        assert (page.pins > 0) == (page.key in pager.pinned)
        if isinstance(page.key, int):
            assert page.key in users or page.key in memory.in_flight, "nobody's page has no frame"


def _check_tlbs(memory: Memory, space: Any) -> None:
    for tlb in memory.tlbs:
        regions: Sequence[Any] = list(space.regions)
        for region in regions:
            for vpn in range(region.start, min(region.end, region.start + 200)):
                cached = tlb.cached(space.pid, vpn)
                if cached is None:
                    continue
                entry = space.table.lookup(vpn)
                assert entry is not None, "a TLB knows only what is mapped"
                assert entry.present, "a TLB knows only what is present"
                inside = vpn & ((1 << space.table.spans[cached.level]) - 1)
                assert cached.pfn + inside == space.table.frame(vpn), "a TLB agrees with the page table"
                assert entry.writable or not cached.writable, "a TLB permits no more than the page table"
