"""A machine with memory: faults, sharing, swap and death, each by its known answer; and what always holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memories import machine, memory, play, touch

from llmos.memory.memory import Memory
from llmos.memory.oom import Candidate, badness, choose
from llmos.memory.records import Costs
from llmos.process.program import Compute, Exec, Exit, Fork, Mlock, Mmap, Mprotect, Munmap, Wait
from llmos.scenario.machine import run
from llmos.trace import events as ev
from llmos.trace.memory import ResidentSets
from llmos.trace.report import document

ORACLES = Path(__file__).parent.parent / "oracles"


def answers() -> list[Any]:
    cases = json.loads((ORACLES / "ostep_page_replacement.json").read_text())["cases"]
    return [case for case in cases if case["input"]["policy"] in ("FIFO", "LRU", "MRU")]


@pytest.mark.parametrize("case", answers(), ids=lambda case: case["id"])
def test_a_process_makes_the_page_faults_of_the_book(case: Any) -> None:
    refs, policy = case["input"]["refs"], case["input"]["policy"].lower()

    def program():
        yield touch(*refs)

    spec = machine(memory(case["input"]["frames"], policy), program, shows_references=True)
    outcome, events, _ = play(spec)
    assert outcome.ok
    seen = [event for event in events if isinstance(event, ev.Reference)]
    assert "".join("H" if r.hit else "M" for r in seen) == case["expected"]["outcome"]
    heap = seen[0].page - refs[0]
    evicted = [event.holders[0][1] - heap for event in events if isinstance(event, ev.Evict)]
    assert evicted == [victim for victim in case["expected"]["victims"] if victim is not None]


def faults(events: list[ev.Event], task: int = 1) -> list[tuple[str, str]]:
    return [(e.what, e.reason) for e in events if isinstance(e, ev.Fault) and e.task == task]


def test_first_touch_is_a_minor_fault_and_swap_is_a_major_one() -> None:
    def program():
        yield touch(0, 1, 2, 0)

    _, events, memory_ = play(machine(memory(2), program))
    assert faults(events) == [("minor", "demand zero")] * 3 + [("major", "in swap")]
    assert not memory_.spaces
    assert memory_.swap is not None
    assert memory_.swap.free == 1000  # who ends gives its slots back


def test_a_dirty_victim_is_written_and_a_clean_one_is_not() -> None:
    def program():
        yield Mmap("text", file="book", protection="r")
        yield touch(0, 1, 2, 3, region="text")
        yield touch(0, "1w", 2, 3)

    _, events, _ = play(machine(memory(4), program))
    evictions = [e for e in events if isinstance(e, ev.Evict)]
    assert [e.dirty for e in evictions] == [False] * 4  # of the file: it is on the disk already
    assert all("," in e.page for e in evictions)


def test_after_a_fork_who_writes_gets_a_copy_and_the_last_one_keeps_the_page() -> None:
    def child():
        yield touch("0w")
        yield touch(1)

    def parent():
        yield touch("0w", "1w")
        yield Fork(child)
        yield Wait()
        yield touch("0w", "1w")

    _, events, _ = play(machine(memory(10), parent))
    assert faults(events, task=2) == [("minor", "copy on write")]
    assert faults(events)[2:] == [("minor", "nobody else has it any more")] * 2


def test_a_shared_mapping_stays_shared_after_a_fork() -> None:
    def child():
        yield touch("0w", region="box")

    def parent():
        yield Mmap("box", 4096, shared=True)
        yield touch("0w", region="box")
        yield Fork(child)
        yield Wait()
        yield touch("0w", region="box")

    _, events, _ = play(machine(memory(10), parent))
    assert faults(events, task=2) == []
    assert faults(events) == [("minor", "demand zero")]


@pytest.mark.parametrize(
    ("before", "page", "signal"),
    [
        ([Mprotect("box", "r")], "0w", "segv"),
        ([Mprotect("box", "")], "0", "segv"),
        ([Mmap("text", 65 * 4096, file="book")], "64", "bus"),
        ([], "5", "segv"),
    ],
)
def test_who_touches_what_is_not_there_dies_and_the_others_go_on(
    before: list[Any], page: str, signal: str
) -> None:
    def bad():
        yield Mmap("box", 4096)
        yield touch("0w", region="box")
        for call in before:  # noqa: UP028  # a list cannot be sent the results
            yield call
        yield touch(page, region="text" if signal == "bus" else "box")
        yield Compute(10)

    def good():
        yield touch(*range(5))

    outcome, events, _ = play(machine(memory(10), bad, good))
    assert outcome.ok
    assert faults(events)[-1][0] == signal
    ends = {e.task: e.reason for e in events if isinstance(e, ev.Exit)}
    assert ends[1].startswith(signal.upper())
    assert ends[2] == "program ended"


def test_the_stack_grows_when_it_is_touched_and_no_further_than_its_limit() -> None:
    def deep(page: int):
        def program():
            from llmos.memory.space import STACK_TOP

            yield touch(STACK_TOP - 1 - page, region="")

        return program

    _, events, _ = play(machine(memory(10), deep(2047), deep(2048)))
    assert faults(events, task=1) == [("minor", "demand zero")]
    assert faults(events, task=2)[-1][0] == "segv"


def test_without_swap_the_largest_is_killed_and_the_other_lives() -> None:
    def large():
        yield touch(*[f"{i}w" for i in range(6)])
        yield Compute(100_000_000)
        yield touch(*range(6))

    def small():
        yield Compute(20_000_000)
        yield touch(*[f"{i}w" for i in range(4)])

    outcome, events, _ = play(machine(memory(8, swap_pages=0), large, small))
    kills = [e for e in events if isinstance(e, ev.OomKill)]
    # badness is pages in memory and of tables (4 of them, for 4 levels): 6 + 4 against 2 + 4.
    assert [(k.task, k.scores) for k in kills] == [(1, [(1, 10), (2, 6)])]
    assert outcome.state.tasks[2].finish_ns is not None


def test_locked_pages_stay() -> None:
    def program():
        yield Mmap("keep", 2 * 4096)
        yield touch("0w", "1w", region="keep")
        yield Mlock("keep")
        yield touch(*range(10))
        yield touch(0, 1, region="keep")

    _, events, _ = play(machine(memory(4), program))
    assert len(faults(events)) == 12


def test_unmapping_frees_frames_and_tables() -> None:
    seen = []

    def program():
        yield Mmap("box", 100 * 4096)
        yield touch(*range(100), region="box")
        yield Munmap("box")
        yield touch("0w")
        seen.append(None)

    _, events, memory_ = play(machine(memory(200), program))
    regions = [(e.call, e.pages, e.rss) for e in events if isinstance(e, ev.Region)]
    assert ("munmap", 100, 0) in regions
    assert memory_.pager.frames.free_frames == 200


calls = st.one_of(
    st.lists(st.tuples(st.integers(0, 11), st.booleans()), min_size=1, max_size=12).map(
        lambda refs: touch(*[f"{page}{'w' * write}" for page, write in refs])
    ),
    st.just("fork"),
    st.just("file"),
    st.just("protect"),
    st.just("unmap"),
    st.integers(1, 20_000_000).map(Compute),
)


def programs(data: st.DataObject, depth: int = 0) -> Any:
    """Draw a program whose calls are all possible."""
    steps = data.draw(st.lists(calls, max_size=6))
    children = [programs(data, depth + 1) for step in steps if step == "fork" and depth < 2]

    def program():
        mapped = False
        offspring = iter(children)
        for step in steps:
            if step == "fork":
                child = next(offspring, None)
                if child is not None:
                    yield Fork(child)
            elif step == "file":
                if not mapped:
                    yield Mmap("text", file="book")
                    mapped = True
                yield touch("0w", 1, "2w", 3, region="text")
            elif step == "protect" and mapped:
                yield Mprotect("text", "rw")
            elif step == "unmap" and mapped:
                yield Munmap("text")
                mapped = False
            elif not isinstance(step, str):
                yield step
        yield Exit()

    return program


@given(data=st.data(), frames=st.integers(4, 16), cores=st.integers(1, 2))
@settings(max_examples=40)
def test_frames_shares_tables_and_tlbs_always_agree(data: st.DataObject, frames: int, cores: int) -> None:
    made = [programs(data) for _ in range(data.draw(st.integers(1, 3)))]
    policy = data.draw(st.sampled_from(["fifo", "lru", "clock", "sieve", "arc"]))
    outcome, _, memory_ = play(machine(memory(frames, policy), *made, cores=cores))
    assert outcome.reason == "all tasks are done"
    assert memory_.pager.frames.free_frames + len(memory_.pager.pages) == frames
    assert all(isinstance(key, tuple) for key in memory_.pager.pages)  # only the page cache is left


def test_without_shootdown_the_tlb_lies() -> None:
    """A mutation: the check of `memories` sees a TLB that was not told."""

    def program():
        yield touch(0, 1, 2, 0, 1, 2)

    with patch.object(Memory, "shoot_down"), pytest.raises(AssertionError, match="TLB"):
        play(machine(memory(2), program))


def test_exec_leaves_nothing_of_the_memory() -> None:
    def after():
        yield touch(0)

    def before():
        yield Mmap("box", 5 * 4096)
        yield touch(*range(3))
        yield touch(*range(5), region="box")
        yield Exec(after, "b")

    _, events, memory_ = play(machine(memory(20), before))
    told = [(e.call, e.rss) for e in events if isinstance(e, ev.Region)]
    assert told == [("mmap", 0), ("exec", 0), ("exit", 0)]
    assert [e.rss for e in events if isinstance(e, ev.Fault)][-1] == 1  # of the new program, alone
    assert memory_.pager.frames.free_frames == 20


def test_a_fork_pays_for_each_page_that_it_shares() -> None:
    def child():
        yield Compute(1)

    def parent():
        yield touch(*range(7))
        yield Fork(child)
        yield Wait()

    costs = Costs(fork_page_ns=30)
    _, events, _ = play(machine(memory(10, costs=costs), parent))
    assert [e.cost_ns for e in events if isinstance(e, ev.Syscall) and e.name == "fork"] == [7 * 30]


def test_of_equals_the_oom_killer_takes_the_last_and_spares_who_must_not_die() -> None:
    """mm/oom_kill.c, oom_evaluate_task: who has no fewer points than the one chosen so far is chosen."""
    equals = [Candidate(pid, resident=50) for pid in (3, 1, 2)]
    assert choose(equals, 1000, badness) == equals[0]
    spared = Candidate(4, resident=900, oom_score_adj=-1000)
    assert choose([*equals, spared], 1000, badness) == equals[0]
    assert choose([spared], 1000, badness) is None


@pytest.mark.parametrize(
    ("adj", "total", "score"), [(0, 10_000, 120), (500, 10_000, 5120), (-500, 10_000, -4880), (500, 999, 120)]
)
def test_badness_is_pages_plus_thousandths_of_all(adj: int, total: int, score: int) -> None:
    """rss + swap + page tables + adj * (total / 1000), where the division comes first and is whole."""
    assert badness(Candidate(1, resident=100, swapped=15, table_pages=5, oom_score_adj=adj), total) == score


def test_what_json_says_of_the_memory_adds_up() -> None:
    """LRU, 3 frames: 12 faults (Silberschatz); 9 of them evict, 6 pages come back from swap."""

    def program():
        yield touch(7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, "1w")

    resident = ResidentSets()
    spec = machine(memory(3), program, shows_references=True)
    outcome = run(spec, [resident])
    seen = document(outcome.state, outcome.log_sha256, references=True, resident=resident)["memory"]
    task = seen["tasks"][0]
    assert (task["name"], task["accesses"], task["writes"]) == ("a", 20, 1)
    assert (task["minor_faults"], task["major_faults"], task["evictions"]) == (6, 6, 9)
    assert (task["swap_in"], task["swap_out"], task["writebacks"]) == (6, 6, 6)
    assert task["tlb"]["hits"][0] + task["tlb"]["misses"][0] == 20
    assert [r["victim"] for r in seen["references"]][:6] == [None, None, None, "a heap[7]", None, "a heap[1]"]
    assert [r["at"] for r in seen["references"]][:2] == ["heap[7]", "heap[0]"]
    assert task["rss_over_time"][-1][1] == 0
    assert max(pages for _, pages in task["rss_over_time"]) == task["max_rss_pages"] == 3
