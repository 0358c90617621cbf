"""The document that `llmos run --json` prints; docs/json.md promises its keys."""

from __future__ import annotations

from typing import Any

from llmos.trace.memory import CacheState, HugeState, MergeState, ResidentSets, TaskMemory, total
from llmos.trace.metrics import metrics, response_ns, tpot_ns, ttft_ns, turnaround_ns, waiting_ns
from llmos.trace.records import Mode, ProcessorState, TaskState
from llmos.trace.state import State

SCHEMA = 1


def document(
    state: State, log_sha256: str, *, runs: bool = False, references: bool = False,
    resident: ResidentSets | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Return a finished run as plain data, ready for JSON.

    `runs` adds who ran where and when, `references` every reference to memory that was logged, `resident` the
    resident set of each task over time.
    """
    doc: dict[str, Any] = {
        "schema": SCHEMA,
        "scenario": state.header.scenario,
        "seed": state.header.seed,
        "log_sha256": log_sha256,
        "end_ns": state.now,
        "end_reason": state.end.reason if state.end else "",
        "ok": state.end.ok if state.end else False,
        "profile": state.header.profile,
        "convention": state.header.convention,
        "tasks": [_task(state, task) for _, task in sorted(state.tasks.items())],
        "cpus": [_processor(p) for p in state.processors.values()],
        "metrics": metrics(state),
    }
    if state.memory.tasks:
        doc["memory"] = _memory(state, references=references)
    if resident:
        for task in doc.get("memory", {}).get("tasks", ()):
            task["rss_over_time"] = [list(pair) for pair in resident.history[task["pid"]]]
    if runs:
        names = {pid: task.name for pid, task in state.tasks.items()}
        spans = sorted(state.spans or [], key=lambda s: (s.start_ns, s.cpu, s.pid))
        doc["runs"] = [[s.start_ns, s.end_ns, s.cpu, names[s.pid]] for s in spans]
    return doc


def _task(state: State, task: TaskState) -> dict[str, Any]:
    out: dict[str, Any] = {
        "name": task.name,
        "pid": task.pid,
        "kind": task.world,
        "state": "zombie" if state.is_zombie(task) else str(task.status),
        "arrival_ns": task.arrival_ns,
        "first_run_ns": task.first_run_ns,
        "finish_ns": task.finish_ns,
        "response_ns": response_ns(task),
        "turnaround_ns": turnaround_ns(task),
        "waiting_ns": waiting_ns(task),
        "cpu_ns": task.cpu_ns,
        "preemptions": task.preemptions,
        "migrations": task.migrations,
        "deadline_misses": task.deadline_misses,
    }
    if task.world == "request":
        out |= {
            "client": task.client,
            "prompt_tokens": task.prompt,
            "output_tokens": task.output,
            "ttft_ns": ttft_ns(task),
            "tpot_ns": tpot_ns(task),
        }
    if task.jobs:
        out["jobs"] = [
            {
                "release_ns": j.release_ns,
                "finish_ns": j.finish_ns,
                "deadline_ns": j.deadline_ns,
                "missed": j.missed,
                "aborted": j.aborted,
            }
            for j in task.jobs
        ]
    return out


def _memory(state: State, *, references: bool) -> dict[str, Any]:
    memory = state.memory
    out: dict[str, Any] = {
        "tasks": [
            {"name": state.tasks[pid].name, "pid": pid} | _task_memory(task)
            for pid, task in sorted(memory.tasks.items())
        ],
        "total": _task_memory(total(memory)),
        "page_cache": _page_cache(memory.cache),
        "oom_kills": [
            {"t_ns": kill.t, "task": state.tasks[kill.task].name, "pages": kill.pages,
             "scores": {state.tasks[pid].name: score for pid, score in kill.scores}}
            for kill in memory.oom_kills
        ],
        "reclaimed": memory.reclaimed,
        "thrashing": [
            {"t_ns": seen.t, "over": seen.over, "major_faults": seen.faults, "refaults": seen.refaults,
             "busy": seen.busy}
            for seen in memory.thrashing
        ],
        "swapped_tasks": [
            {"t_ns": swap.t, "task": state.tasks[swap.task].name, "out": swap.out, "pages": swap.pages}
            for swap in memory.swapped_tasks
        ],
    }  # fmt: skip
    if memory.huge.most or memory.huge.failures:
        out["huge_pages"] = _huge_pages(memory.huge)
    if memory.merging.scanned:
        out["merging"] = _merging(memory.merging)
    if references:
        out["references"] = [
            {
                "task": state.tasks[r.task].name,
                "page": r.page,
                "at": r.at,
                "write": r.write,
                "hit": r.hit,
                "frame": r.frame,
                "victim": r.victim or None,
            }
            for r in memory.references
        ]
    return out


def _page_cache(cache: CacheState) -> dict[str, Any]:
    return {
        "hits": cache.hits,
        "misses": cache.misses,
        "direct": cache.direct,
        "readahead": cache.read_ahead,
        "readahead_used": cache.used_ahead,
        "readahead_wasted": cache.wasted_ahead,
        "dirty": cache.dirty,
        "max_dirty": cache.most_dirty,
        "written_back": cache.written_back,
    }


def _huge_pages(huge: HugeState) -> dict[str, Any]:
    return {
        "now": huge.now,
        "max": huge.most,
        "faults": huge.faults,
        "promotions": huge.promotions,
        "splits": huge.splits,
        "swapped": huge.swapped,
        "failures": huge.failures,
        "untouched_pages": huge.untouched,
        "compactions": huge.compactions,
        "moved_pages": huge.moved,
        "fragmentation": huge.fragmentation,
        "cost_ns": huge.cost_ns,
    }


def _merging(merging: MergeState) -> dict[str, Any]:
    return {
        "scanned": merging.scanned,
        "merged": merging.merged,
        "shared_pages": merging.shared,
        "saved_pages": merging.saved,
        "max_saved_pages": merging.most_saved,
        "profit_bytes": merging.profit_bytes,
        "cost_ns": merging.cost_ns,
    }


def _task_memory(task: TaskMemory) -> dict[str, Any]:
    return {
        "accesses": task.accesses,
        "writes": task.writes,
        "tlb": {"hits": task.tlb[1:], "misses": _misses(task.tlb)},
        "walk_references": task.walked,
        "minor_faults": task.minor_faults,
        "major_faults": task.major_faults,
        "evictions": task.evictions,
        "writebacks": task.writebacks,
        "swap_in": task.swap_in,
        "swap_out": task.swap_out,
        "rss_pages": task.rss_pages,
        "max_rss_pages": task.most_rss_pages,
    }


def _misses(tlb: list[int]) -> list[int]:
    """Return how many references missed in each level of the TLB: they hit in a later one, or in none."""
    return [tlb[0] + sum(tlb[level + 1 :]) for level in range(1, len(tlb))]


def _processor(p: ProcessorState) -> dict[str, Any]:
    return {
        "id": p.id,
        "kind": p.kind,
        "name": p.name,
        "policy": p.policy,
        "busy_ns": p.spent_ns[Mode.USER] + p.spent_ns[Mode.KERNEL],
        "idle_ns": p.spent_ns[Mode.IDLE],
        "switch_ns": p.spent_ns[Mode.SWITCH],
        "switches": p.switches,
        "interrupts": p.interrupts,
    }
