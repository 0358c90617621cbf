"""How many references a second a process makes through TLB, page table and replacement policy.

- `local`: nearly all references hit in the first level of the TLB. `second level`: a loop over more pages
  than the first level has entries. `scattered`: most miss in both. `faults`: over more pages than frames.
- The limit is a bare loop that looks a page up in a dict, moves it to the end of another (LRU).

Each figure is the best of some rounds in CPU seconds of this process. The aim is 0.5 M references/s.
"""

from __future__ import annotations

import os
import platform
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from random import Random

from llmos.memory.tlb import Tlb
from llmos.memory.translation.multilevel import MultiLevel
from llmos.process.program import Program, Touch
from llmos.scenario.machine import run
from llmos.scenario.policies import policy_spec, replacement_spec
from llmos.scenario.spec import CpuSpec, DeviceSpec, MachineSpec, MemorySpec, TaskSpec

ROUNDS = 3
CHUNK = 4096


def main() -> None:
    """Print the table, with how busy the machine was."""
    loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"{platform.machine()}, Python {platform.python_version()}, load {loads} on {os.cpu_count()} cores")
    print(f"best of {ROUNDS} rounds\n")
    print(f"{'':14}{'policy':8}{'M references/s':>15}{'of the limit':>14}   TLB misses, first level, second")
    dice = Random(1)
    local = [int(dice.paretovariate(1.1)) % 3000 for _ in range(400_000)]
    cases: dict[str, tuple[Sequence[int], int]] = {
        "local": (local, 4000),
        "second level": ([i % 500 for i in range(200_000)], 4000),
        "scattered": ([dice.randrange(20_000) for _ in range(100_000)], 40_000),
        "faults": ([i % 1200 for i in range(20_000)], 1000),
    }
    for name, (pages, frames) in cases.items():
        limit = min(bare(pages) for _ in range(ROUNDS))
        for policy in ("lru", "clock"):
            best, tlb = min(through_the_machine(pages, frames, policy) for _ in range(ROUNDS))
            rate = len(pages) / best / 1e6
            print(f"{name:14}{policy:8}{rate:15.3f}{limit / best:14.1%}   {tlb}")


def through_the_machine(pages: Sequence[int], frames: int, policy: str) -> tuple[float, list[int]]:
    """Return the CPU seconds that a process takes for references to `pages`, and how the TLB answered."""
    references = [page << 1 for page in pages]

    def chunks() -> Iterator[Sequence[int]]:
        return (references[i : i + CHUNK] for i in range(0, len(references), CHUNK))

    def program() -> Program:
        yield Touch(chunks)

    memory = MemorySpec(
        frames=frames, replacement=replacement_spec(policy), table=MultiLevel, tlb=Tlb,
        swap_pages=100_000, swap_device="disk",
    )  # fmt: skip
    spec = MachineSpec(
        cpu=CpuSpec(policy=policy_spec("rr", "cpu")), memory=memory,
        devices=[DeviceSpec(name="disk", service_ns=10_000)], tasks=[TaskSpec(name="a", program=program)],
    )  # fmt: skip
    begin = time.process_time()
    outcome = run(spec)
    spent = time.process_time() - begin
    return spent, outcome.state.memory.tasks[1].tlb


def bare(pages: Sequence[int]) -> float:
    """Return the CPU seconds of a loop that does the least that can be done."""
    table: dict[int, int] = {}
    order: OrderedDict[int, None] = OrderedDict()
    begin = time.process_time()
    for page in pages:
        if page not in table:
            table[page] = len(table)
            order[page] = None
        order.move_to_end(page)
    return time.process_time() - begin


if __name__ == "__main__":
    main()
