"""Folding spans: no time is lost, no row holds two at once, kernel work is where the state has it."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import POLICIES, cores, execute, overheads, tasks
from memories import machine, memory, play, touch

from llmos.memory.watermarks import Watermarks
from llmos.plot.spans import level, marks, pack, shares
from llmos.process.program import Compute, ReadFile
from llmos.trace import events as ev
from llmos.trace.perfetto import trace_events
from llmos.trace.records import Mode, Span

pieces = st.lists(
    st.tuples(st.integers(0, 1000), st.integers(1, 300), st.integers(0, 3)).map(
        lambda t: (t[0], t[0] + t[1], t[2])
    ),
    max_size=30,
)


@given(pieces, st.integers(1, 90))
def test_shares_keep_every_nanosecond(found, columns):
    end = 1300
    out = shares(found, 4, end, columns)
    for kind in range(4):
        total = sum(e - s for s, e, k in found if k == kind)
        assert out[kind].sum() * end / columns == pytest.approx(total)


def test_shares_of_a_known_case():
    assert shares([(0, 15, 0), (15, 20, 1)], 2, 40, 4).tolist() == [[1, 0.5, 0, 0], [0, 0.5, 0, 0]]


@given(pieces, st.integers(0, 1400))
def test_level_counts_who_is_there(found, t):
    there = sum(s <= t < e for s, e, _ in found)
    assert level([(s, e) for s, e, _ in found], np.array([float(t)])).tolist() == [there]


@given(pieces)
def test_packed_rows_hold_one_at_a_time_and_are_as_few_as_can_be(found):
    spans = [Span(s, e, 0, pid) for pid, (s, e, _) in enumerate(found)]
    rows = pack(spans)
    assert sorted((s.start_ns, s.pid) for row in rows for s in row) == sorted(
        (s.start_ns, s.pid) for s in spans
    )
    for row in rows:
        assert all(a.end_ns <= b.start_ns for a, b in pairwise(row))
    at_once = max((sum(s <= t < e for s, e, _ in found) for t, _, _ in found), default=0)
    assert len(rows) == at_once


def test_a_task_stays_in_its_row():
    spans = [Span(0, 10, 0, 1), Span(0, 5, 0, 2), Span(12, 20, 0, 2), Span(13, 20, 0, 3)]
    assert [[s.pid for s in row] for row in pack(spans)] == [[1, 3], [2, 2]]


@given(st.lists(tasks, max_size=6), st.integers(1, 3), st.sampled_from(sorted(POLICIES)), overheads)
def test_kernel_work_is_as_much_as_the_state_counts_on_each_core(work, count, policy, costs):
    ran = execute(cores(POLICIES[policy], *work, count=count, costs=costs))
    state, found = ran.outcome.state, marks(ran.events)
    for p in state.processors.values():
        mine = sorted((s, min(e, state.now)) for s, e, cpu in found.kernel if cpu == p.id)
        assert sum(e - s for s, e in mine) == p.spent_ns[Mode.KERNEL] + p.spent_ns[Mode.SWITCH]
        assert all(a[1] < b[0] for a, b in pairwise(mine))
        users = [(s.start_ns, s.end_ns) for s in state.spans if s.cpu == p.id]
        assert all(e <= a or b <= s for s, e in mine for a, b in users)


def test_the_kernels_work_for_memory_is_shown_once():
    """A direct reclaim is a part of a fault, and says so: what it costs is no kernel work beside that."""

    def program():
        yield touch(*range(12))
        yield ReadFile("book", 4 * 4096)
        yield Compute(1_000)

    outcome, events, _ = play(machine(memory(8, watermarks=Watermarks(3, 3, 4)), program))
    assert sum(e.cost_ns for e in events if isinstance(e, ev.Reclaim)) > 0
    (core,) = outcome.state.processors.values()
    spent = core.spent_ns[Mode.KERNEL]
    assert spent > 4 * 400
    assert sum(e - s for s, e, _ in marks(events).kernel) == spent
    slices = [e["dur"] for e in trace_events(events) if e.get("cat") == "kernel"]
    assert sum(slices) * 1000 == pytest.approx(spent)
