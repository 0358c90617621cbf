"""Service received: the curves end at what the state has counted, the thin ones are the tickets' shares."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import POLICIES, cores, engine, execute, overheads, requests, task, tasks
from plot.figures import overlaps, panel, words

from llmos.plot import save, service
from llmos.plot.service import IDEAL, fair, summed
from llmos.sched.fcfs import FCFS
from llmos.sched.rr import RoundRobin
from llmos.sched.stride import Stride
from llmos.trace.state import State

MS = 1_000_000


def drawn(spec):
    ran = execute(spec)
    return ran.outcome.state, service(ran.outcome.state, ran.events)


def curves(figure, world="cpu"):
    """Name -> (times, amounts)."""
    found = {}
    for line in panel(figure, f"service of {world}").lines:
        assert line.get_label() not in found
        found[line.get_label()] = tuple(np.asarray(values, float) for values in line.get_data())
    return found


def test_a_curve_begins_at_the_arrival_and_ends_at_the_end():
    _, figure = drawn(cores(FCFS, task("A", 10 * MS), task("B", 30 * MS, at=4 * MS)))
    found = curves(figure)
    assert np.column_stack(found["A"]).tolist() == [[0, 0], [4, 4], [10, 10]]
    assert np.column_stack(found["B"]).tolist() == [[4, 0], [10, 0], [40, 30]]


@settings(max_examples=10)
@given(
    st.lists(tasks, min_size=1, max_size=6, unique_by=lambda t: t.name),
    st.integers(1, 3),
    st.sampled_from(sorted(POLICIES)),
    overheads,
)
def test_a_curve_ends_at_the_time_that_the_state_has_counted(work, count, policy, costs):
    state, figure = drawn(cores(POLICIES[policy], *work, count=count, costs=costs))
    if not any(t.cpu_ns for t in state.tasks.values()):
        assert "Nothing to show" in words(figure)
        return
    found = curves(figure)
    for t in state.tasks.values():
        assert found[t.name][1][-1] * size(figure) == pytest.approx(t.cpu_ns)
        assert (np.diff(found[t.name][1]) >= -1e-9).all()
    ideals = {name for name in found if name.startswith(IDEAL)}
    assert bool(ideals) == (len({t.tickets for t in state.tasks.values()}) > 1)
    if ideals:
        total = sum(found[name][1][-1] for name in ideals) * size(figure)
        assert total == pytest.approx(sum(t.cpu_ns for t in state.tasks.values()))


def size(figure):
    """How many ns the unit of the vertical axis has."""
    unit = panel(figure, "service of cpu").get_ylabel().partition("(")[2].rstrip(")")
    return {"ns": 1, "µs": 1e3, "ms": 1e6, "s": 1e9}[unit]


@settings(max_examples=6)
@given(st.lists(requests, min_size=1, max_size=8), st.integers(1, 5), st.sampled_from(sorted(POLICIES)))
def test_an_engine_serves_tokens(work, slots, policy):
    state, figure = drawn(engine(POLICIES[policy], *work, slots=slots))
    (p,) = state.processors.values()
    found = curves(figure, "llm")
    assert sum(v[-1] for n, (_, v) in found.items() if not n.startswith(IDEAL)) == pytest.approx(p.tokens)


def test_stride_stays_by_the_tickets_shares_and_round_robin_does_not():
    work = [task(n, 300 * MS, tickets=t) for n, t in (("three", 3), ("two", 2), ("one", 1))]
    _, figure = drawn(cores(lambda: Stride(MS), *work))
    found = curves(figure)
    for name in ("three", "two", "one"):
        assert np.abs(found[name][1] - found[IDEAL + name][1]).max() <= 2  # ms, of a quantum of one
    _, figure = drawn(cores(lambda: RoundRobin(MS), *work))
    found = curves(figure)
    assert np.abs(found["three"][1] - found[IDEAL + "three"][1]).max() > 50
    assert "thin" in words(figure)


def test_shares_by_hand():
    """A (3 tickets) and B (1) from 0, 40 ns each, one after the other: while both are there, 3 to 1."""
    _, figure = drawn(cores(FCFS, task("A", 40, tickets=3), task("B", 40, tickets=1)))
    found = curves(figure)
    assert found[IDEAL + "A"][1][-1] == pytest.approx(30)
    assert found[IDEAL + "B"][1][-1] == pytest.approx(50)


def test_with_equal_tickets_there_is_no_thin_line():
    _, figure = drawn(cores(lambda: RoundRobin(5), task("A", 20), task("B", 20)))
    assert set(curves(figure)) == {"A", "B"}
    assert "thin" not in words(figure)


# --- who has a curve ----------------------------------------------------------------------------------


def test_clients_have_curves_where_there_are_several():
    work = [task(f"t{i}", 10, client="ab"[i % 2]) for i in range(4)]
    _, figure = drawn(cores(lambda: RoundRobin(5), *work))
    assert set(curves(figure)) == {"a", "b"}


def test_a_client_has_its_tickets_once_however_many_tasks_it_has():
    """While both clients are there, 0-80, they share by 3 to 1; then b has the core for itself."""
    work = [task(n, 40, client=n[0], tickets=3 if n[0] == "a" else 1) for n in ("a1", "a2", "b1")]
    _, figure = drawn(cores(FCFS, *work))
    ends = {name: amounts[-1] for name, (_, amounts) in curves(figure).items()}
    assert ends == pytest.approx({"a": 80, "b": 40, IDEAL + "a": 60, IDEAL + "b": 60})


def test_many_tasks_are_drawn_by_workload_and_the_least_together():
    work = [task(f"w{i % 2}-{i}", 10) for i in range(30)]
    _, figure = drawn(cores(lambda: RoundRobin(5), *work))
    assert {n: v[-1] for n, (_, v) in curves(figure).items()} == {"w0": 150, "w1": 150}
    work = [task(f"w{chr(97 + i)}", 10 + i) for i in range(20)]
    _, figure = drawn(cores(lambda: RoundRobin(5), *work))
    ends = {n: v[-1] for n, (_, v) in curves(figure).items()}
    assert len(ends) == 8
    assert ends["others"] == sum(10 + i for i in range(13))
    assert ends["wt"] == 29


# --- arithmetic ---------------------------------------------------------------------------------------

pieces = st.lists(
    st.tuples(st.integers(0, 100), st.integers(1, 50), st.integers(1, 9)).map(
        lambda p: (p[0], p[0] + p[1], float(p[2]))
    ),
    max_size=12,
)


@given(pieces, st.integers(0, 160))
def test_a_sum_holds_each_piece_as_far_as_it_has_come(found, t):
    expected = sum(amount * min(max((t - a) / (b - a), 0), 1) for a, b, amount in found)
    assert summed(found, np.array([float(t)]))[0] == pytest.approx(expected, abs=1e-9)


def test_fair_shares_known_answers():
    def column(*values):
        return np.array(values, float)[:, None]

    endless = column(np.inf, np.inf)
    assert fair(np.array([8.0]), column(3, 1), endless).ravel().tolist() == [6, 2]
    # The first can use no more than 4; the rest is the other's.
    assert fair(np.array([8.0]), column(3, 1), column(4, 10)).ravel().tolist() == [4, 4]
    assert fair(np.array([8.0]), column(0, 1), endless).ravel().tolist() == [0, 8]
    assert fair(np.array([8.0]), column(0, 0), endless).ravel().tolist() == [0, 0]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=6), st.integers(0, 30))
def test_fair_shares_are_whole_and_nobody_gets_more_than_it_can_use(people, total):
    weights, most = (np.array(values, float)[:, None] for values in zip(*people, strict=True))
    given = fair(np.array([float(total)]), weights, most)
    assert given.sum() == pytest.approx(min(total, most.sum()))
    assert (given <= most + 1e-9).all()
    # Whoever could use more has, by its weight, as much as anybody.
    level = given / weights
    hungry = given < most - 1e-6
    if hungry.any():
        assert level[hungry].min() == pytest.approx(level.max())


def test_nothing_to_show_is_said():
    assert "Nothing to show" in words(service(State(keep_spans=True), []))


def test_titles_do_not_overlap_and_all_formats_can_be_written(tmp_path):
    work = [task(f"a rather long name {i}", 20 + 9 * i, tickets=i + 1) for i in range(5)]
    spec = cores(lambda: RoundRobin(4), *work)
    _, figure = drawn(dataclasses.replace(spec, question="Why? " * 30, profile="a profile " * 40))
    assert overlaps(figure) == []
    for suffix in ("png", "svg", "pdf"):
        save(figure, tmp_path / f"a.{suffix}")
