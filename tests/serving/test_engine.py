"""The LLM engine: iterations by hand, tokens conserved, and stepping = skipping."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import POLICIES, engine, execute, requests

from llmos.scenario.machine import RequestSpec
from llmos.sched.fcfs import FCFS
from llmos.sched.mlfq import MLFQ
from llmos.sched.rr import RoundRobin
from llmos.sched.srtf import SRTF
from llmos.serving.pacing import Law
from llmos.trace import events as ev
from llmos.trace.expand import expand, iteration_ends, tokens_of


def request(name, prompt, output, at=0, **more):
    return RequestSpec(name=name, prompt=prompt, output=output, arrival_ns=at, **more)


def test_one_request_by_hand():
    """base 100, 10 per token, 1 per context token; prompt 5, output 3.

    Prefill: 100 + 50 + 5 = 155. Then 100 + 10 + 6 = 116 and 100 + 10 + 7 = 117.
    """
    ran = execute(engine(FCFS, request("R", 5, 3)))
    assert [e.t for e in expand(ran.events) if isinstance(e, ev.Iterate)] == [155, 271, 388]
    r = ran.task("R")
    assert (r.first_token_ns, r.finish_ns, r.computed) == (155, 388, 7)


def test_prompts_are_chunked_to_the_token_budget():
    """Budget 4: A's prompt of 6 is 4 + 2, and B's shares the second iteration with 2 of its 3."""
    ran = execute(engine(FCFS, request("A", 6, 4), request("B", 3, 1), token_budget=4))
    shown = [(e.prefill, e.decode, e.count) for e in ran.of(ev.Iterate)]
    assert shown == [([(1, 4)], [], 1), ([(1, 2), (2, 2)], [], 1), ([(2, 1)], [1], 1), ([], [1], 2)]


def test_an_arrival_waits_for_the_end_of_the_iteration():
    ran = execute(engine(FCFS, request("A", 5, 100), request("B", 5, 1, at=160), slots=2))
    assert [e.t for e in ran.of(ev.Dispatch)] == [0, 271]


def test_a_preempted_request_keeps_what_it_has_computed():
    ran = execute(engine(SRTF, request("long", 5, 50), request("short", 5, 2, at=200), slots=1))
    (preempt,) = ran.of(ev.Preempt)
    assert preempt.t == 271
    assert ran.task("long").computed == 54


@given(
    st.sampled_from(sorted(POLICIES)),
    st.lists(requests, min_size=1, max_size=8),
    st.integers(1, 4),
    st.integers(0, 30),
    st.sampled_from([Law(100.0, 10.0, 1.0), Law(0.0, 1.0, 0.0), Law(12.34, 0.77, 0.013)]),
    st.sampled_from(["ostep", "textbook"]),
)
def test_stepping_and_skipping_give_the_same_log(policy, workload, slots, more, cost, convention):
    settings = {"slots": slots, "token_budget": slots + more, "pacing": cost, "convention": convention}
    stepped = execute(engine(POLICIES[policy], *workload, skip=False, **settings))
    skipped = execute(engine(POLICIES[policy], *workload, skip=True, **settings))
    assert all(e.count == 1 for e in stepped.of(ev.Iterate))
    assert expand(skipped.events) == expand(stepped.events)


def test_skipping_skips():
    """1,000 iterations of an undisturbed batch are one record and a handful of events."""
    ran = execute(engine(FCFS, request("R", 5, 1001)))
    assert [e.count for e in ran.of(ev.Iterate)] == [1, 1000]
    assert ran.outcome.simpy_events < 10


def test_rounding_each_iteration_by_itself_would_differ():
    """The mutation: sums of rounded parts drift away from the rounded sum."""
    t = 0
    for _ in range(1000):
        t = iteration_ends(t, 1, 100.4, 0.0)
    assert (iteration_ends(0, 1000, 100.4, 0.0), t) == (100_400, 100_000)
    assert iteration_ends(0, 3, 0.4, 0.0) == 3  # time never stands still


@given(
    st.sampled_from(sorted(POLICIES)),
    st.lists(requests, min_size=1, max_size=8),
    st.integers(1, 4),
    st.integers(0, 30),
)
def test_what_every_iteration_must_keep(policy, workload, slots, more):
    """Token budget, slots, tokens conserved, first token after the prompt, no request twice in a batch."""
    budget = slots + more
    ran = execute(engine(POLICIES[policy], *workload, slots=slots, token_budget=budget))
    got = {}
    for e in expand(ran.events):
        if isinstance(e, ev.Iterate):
            members = [pid for pid, _ in e.prefill] + e.decode
            assert len(members) == len(set(members)) <= slots
            assert 0 < tokens_of(e) <= budget
            for pid, chunk in e.prefill:
                got[pid] = got.get(pid, 0) + chunk
            for pid in e.decode:
                got[pid] = got[pid] + 1
        elif isinstance(e, ev.FirstToken):
            assert got[e.task] == ran.outcome.state.tasks[e.task].prompt
    tasks = ran.outcome.state.tasks
    assert got == {t.pid: t.prompt + t.output - 1 for t in tasks.values()}


def test_the_batch_is_served_together():
    """Processor sharing with economies of scale: two requests at once take far less than twice one."""
    one = execute(engine(FCFS, request("A", 1, 100), pacing=Law(1000.0, 10.0)))
    two = execute(engine(FCFS, request("A", 1, 100), request("B", 1, 100), pacing=Law(1000.0, 10.0)))
    assert two.outcome.state.now == pytest.approx(one.outcome.state.now, rel=0.02)


def test_rr_takes_turns_in_tokens():
    ran = execute(engine(lambda: RoundRobin(8), request("A", 1, 20), request("B", 1, 20), slots=1))
    turns = [ran.outcome.state.tasks[e.task].name for e in ran.of(ev.Dispatch)]
    assert turns == ["A", "B", "A", "B", "A", "B"]


def test_a_boost_waits_for_the_end_of_the_iteration_too():
    ran = execute(
        engine(lambda: MLFQ(quantum=4, boost=500), request("A", 1, 30), request("B", 1, 30), slots=1)
    )
    ends = {e.t for e in expand(ran.events) if isinstance(e, ev.Iterate)}
    ticks = ran.of(ev.Tick)
    assert ticks
    assert all(e.t in ends for e in ticks)


def test_a_deadline_missed_in_the_middle_of_a_run():
    ran = execute(engine(FCFS, request("A", 5, 100, deadline_ns=1000), request("B", 5, 100)))
    (miss,) = ran.of(ev.Miss)
    assert (miss.t, miss.task) == (1000, ran.task("A").pid)
