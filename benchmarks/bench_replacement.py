"""How fast bulk studies and policies are, beside libCacheSim on the same references in the same run.

- Bulk: the compiled loops on dense ids, with and without the numbering that makes them dense. libCacheSim
  reads the same references from its binary format, which the system has in memory.
- Curve: LRU at all sizes at once, by stack distances. libCacheSim needs a run for each size.
- Policies: the objects themselves in `Places`, accesses a second, with a tenth of the pages fitting and with
  all; the limit is a bare OrderedDict that does the same as LRU.

Each figure is the best of some rounds in CPU seconds of this process. Ratios count; the aims are 3 for
FIFO, LRU, CLOCK and SIEVE and 1 for the others. libCacheSim is not needed otherwise: pip install libcachesim.
"""

from __future__ import annotations

import importlib
import os
import platform
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmos.memory import bulk
from llmos.memory.bulk.stack import distances
from llmos.memory.traces import ORACLE_GENERAL
from llmos.replacement.base import ReplacementPolicy
from llmos.replacement.places import Places
from llmos.scenario.policies import replacement_spec

ROUNDS = 3
REFERENCES = 4_000_000
PAGES = 200_000
OBJECT_REFERENCES = 400_000
SHARES = (0.01, 0.1)

THEIRS = {
    "fifo": "FIFO", "lru": "LRU", "clock": "Clock", "sieve": "Sieve", "arc": "ARC", "2q": "TwoQ",
    "s3-fifo": "S3FIFO", "lfu": "LFU", "slru": "SLRU", "lirs": "LIRS", "opt": "Belady",
}  # fmt: skip
AIMS = dict.fromkeys(("fifo", "lru", "clock", "sieve"), 3.0)

Tool = Callable[[str, int], tuple[float, int]]


def main() -> None:
    """Print the three tables, with how busy the machine was."""
    loads = ", ".join(f"{load:.1f}" for load in os.getloadavg())
    print(f"{platform.machine()}, Python {platform.python_version()}, best of {ROUNDS} rounds")
    print(f"load {loads} on {os.cpu_count()} cores")
    traces = {"zipf": zipf(), "moving": moving()}
    for name, references in traces.items():
        beside(name, references)
    for name, references in traces.items():
        curve(name, references)
    objects(traces["zipf"])


def zipf() -> NDArray[np.int64]:
    """Return references of which the k-th page gets a share that falls as 1 / k."""
    dice = np.random.default_rng(1)
    shares = np.cumsum(1 / np.arange(1, PAGES + 1))
    return dice.permutation(PAGES)[np.searchsorted(shares / shares[-1], dice.random(REFERENCES))]


def moving() -> NDArray[np.int64]:
    """Return references to a working set that moves through all pages, with scans in between."""
    dice = np.random.default_rng(2)
    start = np.arange(REFERENCES) // 1000 * 50
    near = start + (dice.random(REFERENCES) ** 3 * 4000).astype(np.int64)
    scan = np.arange(REFERENCES) % 10_000 > 9_000
    return np.where(scan, np.arange(REFERENCES), near) % PAGES


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Return the least CPU seconds that `action` takes, and what it returns."""
    best, answer = float("inf"), None
    for _ in range(ROUNDS):
        start = time.process_time()
        answer = action()
        best = min(best, time.process_time() - start)
    return best, answer


def beside(name: str, references: NDArray[np.int64]) -> None:
    """Print the speed of each loop and of libCacheSim, at two sizes."""
    bulk.dense(references[:1000])  # compiled before it is timed
    numbering_s, (ids, count) = timed(lambda: bulk.dense(references))
    million = len(ids) / 1e6
    print(f"\n{name}: {million:.0f} M references to {count:,} pages")
    print(f"numbering: {million / numbering_s:.0f} M/s")
    print("policy     places   ours M/s  with numbering  libCacheSim M/s   ratio   aim  misses")
    with tempfile.TemporaryDirectory() as folder:
        tool = simulator(references, Path(folder))
        for policy in THEIRS:
            for share in SHARES:
                capacity = round(count * share)
                bulk.misses(policy, ids[:1000], count, capacity)
                ours_s, ours = timed(partial(bulk.misses, policy, ids, count, capacity))
                speeds = f"{million / ours_s:10.1f} {million / (ours_s + numbering_s):15.1f}"
                print(f"{policy:10} {capacity:6,} {speeds} {theirs(tool, policy, capacity, ours_s, ours)}")


def theirs(tool: Tool | None, policy: str, capacity: int, ours_s: float, ours: int) -> str:
    """Run libCacheSim, too; return its speed, the ratio and whether it counts as many misses."""
    if tool is None:
        return ""
    seconds, missed = tool(THEIRS[policy], capacity)
    ratio, aim = seconds / ours_s, AIMS.get(policy, 1.0)
    same = "same" if missed == ours else f"{ours:,} and {missed:,}"
    late = "  MISSED" if ratio < aim else ""
    return f"{REFERENCES / seconds / 1e6:16.1f} {ratio:7.1f} {aim:5.0f}  {same}{late}"


def simulator(references: NDArray[np.int64], folder: Path) -> Tool | None:
    """Return what runs libCacheSim and tells CPU seconds and misses; None if it is not there."""
    try:
        tool: Any = importlib.import_module("libcachesim")
    except ImportError:
        print("libcachesim is not installed: nothing to compare with")
        return None
    records = np.zeros(len(references), ORACLE_GENERAL)
    records["id"], records["size"] = references + 1, 1
    following = np.full(int(references.max()) + 1, -1, np.int64)
    for i in range(len(references) - 1, -1, -1):
        records["next"][i] = following[references[i]]
        following[references[i]] = i
    path = folder / "trace.oracleGeneral"
    records.tofile(path)

    def run(policy: str, capacity: int) -> tuple[float, int]:
        options = tool.ReaderInitParam(ignore_obj_size=True)
        best, ratio = float("inf"), 0.0
        for _ in range(ROUNDS):
            reader = tool.TraceReader(str(path), tool.TraceType.ORACLE_GENERAL_TRACE, options)
            cache = getattr(tool, policy)(cache_size=capacity)
            start = time.process_time()  # its large table is made already, and not counted
            ratio, _ = cache.process_trace(reader)
            best = min(best, time.process_time() - start)
        return best, round(ratio * len(references))

    return run


def curve(name: str, references: NDArray[np.int64]) -> None:
    """Print how fast LRU at all sizes is. The aim is 10 M references a second."""
    ids, count = bulk.dense(references)
    distances(ids[:1000], count)
    seconds, _ = timed(lambda: distances(ids, count))
    one, _ = timed(lambda: bulk.misses("lru", ids, count, round(count * SHARES[1])))
    print(
        f"\n{name}, LRU at all sizes: {len(ids) / seconds / 1e6:.1f} M references/s (aim 10), "
        f"{seconds / one:.1f} times as long as at one size"
    )


def objects(references: NDArray[np.int64]) -> None:
    """Print how fast the policies themselves are. The aim is 2 M accesses a second for LRU and CLOCK."""
    keys = references[:OBJECT_REFERENCES].tolist()
    print("\nobject    places  M accesses/s  hits")
    for policy in ("fifo", "lru", "clock", "sieve", "arc", "2q", "s3-fifo", "lfu", "slru", "lirs"):
        spec = replacement_spec(policy)
        for capacity in (PAGES // 10, PAGES):
            run = partial(places_hits, spec.make, capacity, keys)
            seconds, hits = timed(run)
            print(f"{policy:8} {capacity:7,} {len(keys) / seconds / 1e6:13.2f} {hits / len(keys):5.0%}")
    for capacity in (PAGES // 10, PAGES):
        seconds, hits = timed(partial(bare_hits, capacity, keys))
        print(f"limit    {capacity:7,} {len(keys) / seconds / 1e6:13.2f} {hits / len(keys):5.0%}  (bare)")


def places_hits(make: Callable[[int], ReplacementPolicy], capacity: int, keys: list[int]) -> int:
    """Count the hits of a policy in `Places`."""
    return len(keys) - Places(capacity, make(capacity)).misses(keys)


def bare_hits(capacity: int, keys: list[int]) -> int:
    """Count the hits of LRU in the fewest lines that Python allows: the limit for an object."""
    order: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for key in keys:
        if key in order:
            order.move_to_end(key)
            hits += 1
        else:
            if len(order) == capacity:
                order.popitem(last=False)
            order[key] = None
    return hits


if __name__ == "__main__":
    main()
