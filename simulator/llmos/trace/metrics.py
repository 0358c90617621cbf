"""Named numbers about a run, computed from its last state.

- A name is `world.quantity_statistic[_unit]`: `cpu.response_mean_ns`, `llm.ttft_p95_ns`; or a total of a
  world or of the memory: `cpu.switches`, `memory.major_faults`.
- response = first run - arrival; turnaround = finish - arrival; waiting = time in the ready state;
  ttft (time to first token) = first token - arrival; tpot = time per output token after the first;
  slowdown = turnaround / time on the processor.
- access = what a reference to memory takes on the core, through TLB and page table, faults apart;
  effective access = with the kernel's time for faults and the time blocked for them.
- Only finished tasks count for turnaround and slowdown, only started ones for response. A name is
  left out when nothing was there to measure: no number is better than a made-up one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from llmos.quantile import quantile
from llmos.trace.memory import MemoryState, total
from llmos.trace.records import Mode, ProcessorState, TaskState
from llmos.trace.state import State

WORLDS = {"process": "cpu", "request": "llm"}


def response_ns(task: TaskState) -> int | None:
    """Return first run - arrival."""
    return None if task.first_run_ns is None else task.first_run_ns - task.arrival_ns


def turnaround_ns(task: TaskState) -> int | None:
    """Return finish - arrival."""
    return None if task.finish_ns is None else task.finish_ns - task.arrival_ns


def waiting_ns(task: TaskState) -> int | None:
    """Return the time spent in the ready state, of a finished task."""
    return None if task.finish_ns is None else task.waiting_ns


def slowdown(task: TaskState) -> float | None:
    """Return turnaround / time on the processor."""
    turnaround = turnaround_ns(task)
    return turnaround / task.cpu_ns if turnaround is not None and task.cpu_ns else None


def ttft_ns(task: TaskState) -> int | None:
    """Return first token - arrival, of a request."""
    return None if task.first_token_ns is None else task.first_token_ns - task.arrival_ns


def tpot_ns(task: TaskState) -> float | None:
    """Return the mean time per output token after the first, of a finished request."""
    if task.finish_ns is None or task.first_token_ns is None or task.output < 2:
        return None
    return (task.finish_ns - task.first_token_ns) / (task.output - 1)


Quantity = Callable[[TaskState], float | None]

QUANTITIES: dict[str, tuple[Quantity, str]] = {
    "response": (response_ns, "_ns"),
    "turnaround": (turnaround_ns, "_ns"),
    "waiting": (waiting_ns, "_ns"),
    "slowdown": (slowdown, ""),
    "ttft": (ttft_ns, "_ns"),
    "tpot": (tpot_ns, "_ns"),
}


OF_REQUESTS: Final = ("ttft", "tpot")
"""Quantities that no task on a core has."""
STATISTICS: Final = ("mean", "p50", "p95", "max")
TOTALS: Final = (
    "tasks", "finished", "preemptions", "migrations", "deadline_misses", "switches", "throughput_per_s",
    "utilisation", "overhead", "tokens_per_s",
)  # fmt: skip
MEMORY: Final = (
    "accesses", "minor_faults", "major_faults", "faults_per_1000", "evictions", "writebacks", "oom_kills",
    "tlb_first_miss_ratio", "tlb_miss_ratio", "access_mean_ns", "effective_access_mean_ns",
    "page_cache_hit_ratio", "readahead_wasted", "written_back", "huge_faults", "huge_promotions",
    "huge_splits", "huge_untouched", "huge_cost_ns", "merging_saved_max", "merging_cost_ns",
)  # fmt: skip
SUBJECTS: Final = (*WORLDS.values(), "memory")
"""What there are numbers of: the first parts of their names."""


def quantities(world: str) -> list[str]:
    """Return the quantities that the tasks of a world may have."""
    return [name for name in QUANTITIES if world == "llm" or name not in OF_REQUESTS]


def names(subject: str) -> list[str]:
    """Return the names of all numbers that a run may yield of a world ("cpu", "llm") or of the "memory"."""
    if subject == "memory":
        return [f"memory.{name}" for name in MEMORY]
    measured = [
        f"{name}_{statistic}{QUANTITIES[name][1]}" for name in quantities(subject) for statistic in STATISTICS
    ]
    totals = [name for name in TOTALS if subject == "llm" or name != "tokens_per_s"]
    return [f"{subject}.{name}" for name in (*measured, *totals)]


def samples(state: State, world: str, quantity: str) -> list[float]:
    """Return a quantity of all tasks of a world ("cpu" or "llm") that have it, in pid order."""
    measure = QUANTITIES[quantity][0]
    values = (measure(t) for _, t in sorted(state.tasks.items()) if WORLDS[t.world] == world)
    return [value for value in values if value is not None]


def metrics(state: State) -> dict[str, float]:
    """Return all named numbers of a run that has ended."""
    out: dict[str, float] = {}
    for kind, world in WORLDS.items():
        tasks = [task for task in state.tasks.values() if task.world == kind]
        processors = [p for p in state.processors.values() if p.is_core == (world == "cpu")]
        if not tasks and not processors:
            continue
        for name, (_, unit) in QUANTITIES.items():
            values = samples(state, world, name)
            if values:
                out[f"{world}.{name}_mean{unit}"] = sum(values) / len(values)
                out[f"{world}.{name}_p50{unit}"] = quantile(values, 0.5)
                out[f"{world}.{name}_p95{unit}"] = quantile(values, 0.95)
                out[f"{world}.{name}_max{unit}"] = max(values)
        out |= {f"{world}.{name}": value for name, value in _totals(state, tasks, processors)}
    if state.memory.tasks:
        out |= {f"memory.{name}": value for name, value in _of_memory(state.memory)}
    return out


def _totals(
    state: State, tasks: list[TaskState], processors: list[ProcessorState]
) -> Iterable[tuple[str, float]]:
    finished = sum(task.finish_ns is not None for task in tasks)
    yield "tasks", len(tasks)
    yield "finished", finished
    yield "preemptions", sum(task.preemptions for task in tasks)
    yield "migrations", sum(task.migrations for task in tasks)
    yield "deadline_misses", sum(task.deadline_misses for task in tasks)
    yield "switches", sum(p.switches for p in processors)
    if state.now and processors:
        total = state.now * len(processors)
        yield "throughput_per_s", finished * 1e9 / state.now
        yield "utilisation", 1 - sum(p.spent_ns[Mode.IDLE] for p in processors) / total
        overhead = sum(p.spent_ns[Mode.KERNEL] + p.spent_ns[Mode.SWITCH] for p in processors)
        yield "overhead", overhead / total
        tokens = sum(p.tokens for p in processors)
        if tokens:
            yield "tokens_per_s", tokens * 1e9 / state.now


def _of_memory(memory: MemoryState) -> Iterable[tuple[str, float]]:
    whole = total(memory)
    yield "accesses", whole.accesses
    yield "minor_faults", whole.minor_faults
    yield "major_faults", whole.major_faults
    if whole.accesses:
        yield "faults_per_1000", 1000 * (whole.minor_faults + whole.major_faults) / whole.accesses
    yield "evictions", memory.evictions
    yield "writebacks", memory.written
    yield "oom_kills", len(memory.oom_kills)
    if whole.accesses:
        if len(whole.tlb) > 1:  # else there is no TLB
            yield "tlb_first_miss_ratio", 1 - whole.tlb[1] / whole.accesses
            yield "tlb_miss_ratio", whole.tlb[0] / whole.accesses
        yield "access_mean_ns", whole.spent_ns / whole.accesses
        took = whole.spent_ns + whole.fault_ns + whole.waited_ns
        yield "effective_access_mean_ns", took / whole.accesses
    cache = memory.cache
    if cache.hits + cache.misses:
        yield "page_cache_hit_ratio", cache.hits / (cache.hits + cache.misses)
        yield "readahead_wasted", cache.wasted_ahead
        yield "written_back", cache.written_back
    huge, merging = memory.huge, memory.merging
    if huge.most or huge.failures:
        yield "huge_faults", huge.faults
        yield "huge_promotions", huge.promotions
        yield "huge_splits", huge.splits
        yield "huge_untouched", huge.untouched
        yield "huge_cost_ns", huge.cost_ns
    if merging.scanned:
        yield "merging_saved_max", merging.most_saved
        yield "merging_cost_ns", merging.cost_ns
