"""KV memory: blocks are conserved, shared by content and count, lost and computed again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import POLICIES, engine, execute
from replacements import NAMES, make

from llmos.costs.decoder import model_shape
from llmos.costs.model import CostModel
from llmos.costs.profile import load_profile
from llmos.costs.variants import Guessing, shard, variant
from llmos.errors import LlmosError
from llmos.replacement.lru import Lru
from llmos.scenario.machine import RequestSpec
from llmos.sched.fcfs import FCFS
from llmos.sched.rr import RoundRobin
from llmos.sched.srtf import SRTF
from llmos.serving.kv import KvMemory
from llmos.serving.pacing import Law, Pace, Predicted
from llmos.serving.request import Request
from llmos.trace import events as ev
from llmos.trace.expand import expand, tokens_of


def request(name, prompt, output, at=0, **more):
    return RequestSpec(name=name, prompt=prompt, output=output, arrival_ns=at, **more)


def memory(blocks, size=4, **more):
    return lambda: KvMemory(blocks, size, Lru(), **more)


def asking(ids, pid=1, output=1):
    return Request(pid=pid, name=f"r{pid}", prompt=len(ids), output=output, ids=list(ids))


def compute(kv, r, tokens):
    assert kv.make_room(r, r.computed + tokens)
    r.computed += tokens
    kv.filled(r)


def test_blocks_come_as_tokens_do():
    kv = KvMemory(3, 4, Lru())
    r = asking(range(9))
    kv.find(r)
    compute(kv, r, 4)
    assert [page.frame for page in r.table] == [0]
    assert kv.left_in_block(r) == 0
    compute(kv, r, 1)
    assert [page.frame for page in r.table] == [0, 1]
    assert kv.left_in_block(r) == 3
    assert not kv.make_room(r, 13)
    assert [page.frame for page in r.table] == [0, 1]  # all or nothing


def test_a_beginning_is_found_in_whole_blocks_and_never_all_of_a_prompt():
    kv = KvMemory(9, 4, Lru())
    first = asking([1, 2, 3, 4, 5, 6, 7, 8])
    kv.find(first)
    compute(kv, first, 8)
    longer, same, other = asking([*range(1, 12)], 2), asking(range(1, 9), 3), asking([9, 2, 3, 4, 5], 4)
    assert [kv.find(r) for r in (longer, same, other)] == [8, 4, 0]
    assert longer.table == first.table
    assert [len(page.holders) for page in first.table] == [3, 2]


def test_a_block_is_known_by_all_that_came_before_it():
    kv = KvMemory(9, 2, Lru())
    first = asking([1, 2, 3, 4])
    kv.find(first)
    compute(kv, first, 4)
    assert kv.find(asking([0, 0, 3, 4, 9], 2)) == 0  # the second block is equal, its parent is not


def test_released_blocks_stay_until_they_are_needed_tails_first():
    kv = KvMemory(4, 2, Lru())
    first = asking([1, 2, 3, 4, 5])
    kv.find(first)
    compute(kv, first, 5)
    kv.release(first)
    assert len(kv.pager.pages) == 2  # the third block was not full: nobody can find it
    second = asking([7, 7, 7, 7, 7, 7], 2)
    kv.find(second)
    compute(kv, second, 6)  # two free blocks, and one of the idle ones
    assert kv.evictions == 1
    assert kv.find(asking([1, 2, 3, 4, 5], 3)) == 2  # the head has stayed


def test_without_sharing_nobody_finds_anything():
    kv = KvMemory(4, 2, Lru(), shares=False)
    first = asking([1, 2, 3])
    kv.find(first)
    compute(kv, first, 3)
    assert kv.find(asking([1, 2, 3], 2)) == 0
    kv.release(first)
    assert not kv.pager.pages


def test_when_blocks_run_out_who_came_last_computes_again():
    """Four blocks of 4. A and B have prompts of 7: two blocks each; at token 9 A needs a third."""
    ran = execute(engine(FCFS, request("A", 7, 6), request("B", 7, 6), memory=memory(4)))
    (lost,) = ran.of(ev.Lost)
    assert (ran.outcome.state.tasks[lost.task].name, lost.tokens) == ("B", 8)
    assert [(type(e), e.task) for e in ran.events if isinstance(e, ev.Block | ev.Wake)] == [
        (ev.Block, lost.task),
        (ev.Wake, lost.task),
    ]
    shown = [(e.prefill, e.decode, e.count) for e in ran.of(ev.Iterate)]
    # Both prompts; one token each; A alone to its end (5 tokens are left of 6 + 7 - 1 = 12, one is done);
    # B computes its 7 tokens of prompt and 2 of output again, then goes on.
    assert shown[0] == ([(1, 7), (2, 7)], [], 1)
    assert shown[1] == ([], [1, 2], 1)
    assert sum(count for _, decode, count in shown[2:] if decode == [1]) == 4
    assert ([(2, 9)], [], 1) in shown
    assert sum(tokens_of(e) for e in expand(ran.events) if isinstance(e, ev.Iterate)) == 2 * 12 + 8


def test_a_request_that_can_never_fit_is_told_at_once():
    with pytest.raises(LlmosError, match=r"R needs KV blocks for 13 tokens; there are 3 of 4 tokens"):
        execute(engine(FCFS, request("R", 8, 6), memory=memory(3)))
    execute(engine(FCFS, request("R", 8, 5), memory=memory(3)))  # the last token is only sampled


def test_the_oldest_gives_its_blocks_to_nobody():
    """The long one makes room for a shorter one but keeps its 3 blocks of 9; the other would need 7."""
    work = [request("long", 9, 28), request("short", 25, 1, at=200)]
    ran = execute(engine(SRTF, *work, slots=1, memory=memory(9)))
    assert not ran.of(ev.Lost)
    assert [ran.outcome.state.tasks[e.task].name for e in ran.of(ev.Block)] == ["short"]
    assert ran.task("long").finish_ns < ran.task("short").finish_ns


def test_who_waits_with_blocks_loses_them_to_an_older_one():
    """They take turns of 8 tokens in one slot; A's third turn needs a block that the waiting B has."""
    work = [request("A", 8, 9), request("B", 8, 2)]
    ran = execute(engine(lambda: RoundRobin(8), *work, slots=1, memory=memory(4)))
    (lost,) = ran.of(ev.Lost)
    assert (ran.outcome.state.tasks[lost.task].name, lost.tokens) == ("B", 8)
    assert not any(e.task == lost.task for e in ran.of(ev.Block))
    assert ran.task("A").finish_ns < ran.task("B").finish_ns


def test_the_same_beginning_is_computed_once():
    ids = list(range(100, 112))
    ran = execute(
        engine(FCFS, request("A", 12, 2, ids=ids), request("B", 12, 2, at=10_000, ids=ids), memory=memory(8))
    )
    (found,) = ran.of(ev.Found)
    assert (ran.outcome.state.tasks[found.task].name, found.tokens) == ("B", 8)
    assert ran.task("B").computed == 13
    assert sum(tokens_of(e) for e in expand(ran.events) if isinstance(e, ev.Iterate)) == 2 * 13 - 8


class Growing:
    """A pacing that must be asked again every three iterations, as a table of costs is."""

    def pace(self, batch):
        return Pace(100.0 + batch.context**1.5, 0.5, 3)


# Nobody knows beforehand which blocks will be asked for.
ONLINE = sorted(set(NAMES) - {"opt", "opt worst", "opt ties=first"})


def predicted(**more):
    """The smallest model, on the data sheet of an H100, in one of its variants."""
    costs = CostModel(load_profile("h100-data-sheet"))
    shape = shard(model_shape("tiny-2m"), more.pop("devices", 1))
    return Predicted(variant(costs, shape, **more))


PACINGS = [
    Law(100.0, 10.0, 1.0),
    Growing(),
    predicted(),
    predicted(graph="static"),
    predicted(devices=2, graph="dynamic"),
    predicted(graph="static", guessing=Guessing(model_shape("tiny-2m"), 4, 0.8)),
]

some_ids = st.lists(st.integers(0, 1), min_size=1, max_size=24)
some_requests = st.lists(
    st.builds(
        lambda ids, output, at: RequestSpec(name="r", prompt=len(ids), ids=ids, output=output, arrival_ns=at),
        some_ids, st.integers(1, 12), st.integers(0, 3000),
    ),
    min_size=1, max_size=8,
)  # fmt: skip


@given(
    st.sampled_from(sorted(POLICIES)),
    some_requests,
    st.integers(1, 4),
    st.integers(9, 20),
    st.sampled_from(PACINGS),
)
def test_stepping_and_skipping_give_the_same_log_under_memory_pressure(policy, work, slots, blocks, pacing):
    more = {"slots": slots, "token_budget": slots + 3, "pacing": pacing, "memory": memory(blocks)}
    stepped = execute(engine(POLICIES[policy], *work, skip=False, **more))
    skipped = execute(engine(POLICIES[policy], *work, skip=True, **more))
    assert expand(skipped.events) == expand(stepped.events)


@given(
    st.sampled_from(sorted(POLICIES)),
    st.sampled_from(ONLINE),
    some_requests,
    st.integers(1, 4),
    st.integers(9, 20),
)
def test_every_token_is_computed_and_no_block_is_lost(policy, replacement, work, slots, blocks):
    """Whatever is found and lost: what is computed adds up, and in the end all blocks are free or idle."""
    kv = KvMemory(blocks, 4, make(replacement, blocks))
    ran = execute(engine(POLICIES[policy], *work, slots=slots, token_budget=slots + 3, memory=lambda: kv))
    got = dict.fromkeys(ran.outcome.state.tasks, 0)
    for e in expand(ran.events):
        if isinstance(e, ev.Iterate):
            for pid, tokens in [*e.prefill, *((pid, 1) for pid in e.decode)]:
                got[pid] += tokens
        elif isinstance(e, ev.Found | ev.Lost):
            got[e.task] += e.tokens if isinstance(e, ev.Found) else -e.tokens
    assert got == {t.pid: t.prompt + t.output - 1 for t in ran.outcome.state.tasks.values()}
    assert got == {t.pid: t.computed for t in ran.outcome.state.tasks.values()}
    assert not kv.pager.pinned
    assert all(not page.holders for page in kv.pager.pages.values())
    assert kv.pager.frames.free_frames + len(kv.pager.pages) == blocks
