"""The fold: a timeline worked out by hand, the invariants, and that a forged log is found out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import POLICIES, cores, engine, execute, overheads, requests, task, tasks

from llmos.process.dispatcher import Costs
from llmos.process.program import Io
from llmos.quantile import quantile
from llmos.scenario.machine import RequestSpec
from llmos.sched.fcfs import FCFS
from llmos.sched.rr import RoundRobin
from llmos.trace import events as ev
from llmos.trace.metrics import metrics
from llmos.trace.records import Mode, Status
from llmos.trace.report import document
from llmos.trace.state import State, check, fold

COSTS = Costs(context_switch_ns=10, syscall_ns=3, decision_ns=2, timer_ns=4, io_interrupt_ns=5, ipi_ns=1)


def test_costs_by_hand():
    """One core, RR with quantum 20, A = compute 30, I/O 50, compute 5; B = compute 15 from t=0.

    0-12 decision and switch, A 12-32, timer 32-36, decision and switch 36-48, B 48-63, exit 63-66,
    66-78, A 78-88, system call 88-91, device 91-141, interrupt 141-146, 146-148 (same task: no
    switch), A 148-153, exit 153-156.
    """
    ran = execute(cores(lambda: RoundRobin(20), task("A", 30, Io("disk", 50), 5), task("B", 15), costs=COSTS))
    assert ran.runs == [(12, 32, "A"), (48, 63, "B"), (78, 88, "A"), (148, 153, "A")]
    a, b, state = ran.task("A"), ran.task("B"), ran.outcome.state
    assert (a.finish_ns, b.finish_ns, state.now) == (156, 66, 156)
    assert (a.first_run_ns, b.first_run_ns) == (12, 48)
    assert (a.cpu_ns, b.cpu_ns) == (35, 15)
    # A is ready 0-0, from the timer's end 36 to 66, and 146-146.
    assert (a.waiting_ns, b.waiting_ns, a.blocked_ns) == (30, 36, 55)
    assert (a.preemptions, b.preemptions) == (1, 0)
    (core,) = state.processors.values()
    kernel = 4 * 2 + 4 + 3 * 3 + 5
    switch = 3 * 10
    idle = 50
    assert core.spent_ns == {Mode.USER: 50, Mode.KERNEL: kernel, Mode.SWITCH: switch, Mode.IDLE: idle}
    assert core.switches == 3


def test_two_cores_tell_each_other():
    """B arrives at core 0, which is busy, and wakes core 1 by an interrupt; C displaces nobody (FCFS)."""
    ran = execute(cores(FCFS, task("A", 30), task("B", 10, at=5), task("C", 1, at=6), count=2, costs=COSTS))
    (ipi,) = [e for e in ran.of(ev.Interrupt) if e.irq == "ipi"]
    assert (ipi.t, ipi.cpu, ipi.cost_ns) == (5, 1, 1)
    # B: interrupt 5-6, decision and switch 6-18, runs 18-28, exit 28-31; then C on the same core.
    assert ran.task("B").first_run_ns == 18
    assert (ran.task("C").cpu, ran.task("C").first_run_ns) == (1, 31 + 12)


def test_document_has_the_promised_keys():
    doc = document(execute(cores(FCFS, task("A", 10), task("B", 5, at=3))).outcome.state, "hash", runs=True)
    assert set(doc) >= {
        "schema",
        "scenario",
        "seed",
        "log_sha256",
        "end_ns",
        "tasks",
        "cpus",
        "metrics",
        "runs",
    }
    assert set(doc["tasks"][0]) >= {
        "name", "pid", "arrival_ns", "first_run_ns", "finish_ns", "response_ns", "turnaround_ns",
        "waiting_ns", "cpu_ns", "preemptions", "migrations", "deadline_misses",
    }  # fmt: skip
    assert set(doc["cpus"][0]) >= {"id", "busy_ns", "idle_ns", "switch_ns", "switches"}
    assert doc["runs"] == [[0, 10, 0, "A"], [10, 15, 0, "B"]]
    b = doc["tasks"][1]
    assert (b["response_ns"], b["turnaround_ns"], b["waiting_ns"]) == (7, 12, 7)
    assert doc["metrics"]["cpu.turnaround_mean_ns"] == 11
    assert doc["metrics"]["cpu.utilisation"] == 1


@pytest.mark.parametrize(("q", "value"), [(0, 1), (0.5, 2.5), (1, 4), (0.95, 3.85)])
def test_quantile_is_numpys(q, value):
    assert quantile([4, 1, 3, 2], q) == pytest.approx(value)


@given(
    st.sampled_from(sorted(POLICIES)),
    st.lists(tasks, max_size=6),
    st.integers(1, 3),
    overheads,
    st.integers(0, 2),
)
def test_no_nanosecond_is_lost(policy, workload, count, costs, servers):
    """`execute` checks the invariants; the work done is the work asked for, whoever schedules it."""
    ran = execute(cores(POLICIES[policy], *workload, count=count, costs=costs, servers=servers))
    state = ran.outcome.state
    assert ran.outcome.ok
    work = sum(call.ns for t in workload for call in t.program() if type(call).__name__ == "Compute")
    assert sum(t.cpu_ns for t in state.tasks.values()) == work
    assert sum(p.spent_ns[Mode.USER] for p in state.processors.values()) == work
    for p in state.processors.values():
        assert sum(p.spent_ns.values()) == state.now
    for t in state.tasks.values():
        assert t.status is Status.TERMINATED
        assert t.cpu_ns + t.waiting_ns + t.blocked_ns <= t.finish_ns - t.arrival_ns
    if costs == Costs():
        for t in state.tasks.values():
            assert t.cpu_ns + t.waiting_ns + t.blocked_ns == t.finish_ns - t.arrival_ns


@given(
    st.sampled_from(sorted(POLICIES)), st.lists(tasks, min_size=1, max_size=5), st.integers(1, 2), st.data()
)
def test_a_state_can_be_built_in_two_parts(policy, workload, count, data):
    """fold(log up to k) and then the rest is the same as the whole at once."""
    events = execute(cores(POLICIES[policy], *workload, count=count)).events
    k = data.draw(st.integers(0, len(events)))
    state = fold(events[:k])
    state(events[k:])
    assert document(state, "") == document(fold(events), "")


@given(st.data())
def test_a_forged_log_is_found_out(data):
    """Leave out any event that changes a task's state, or move it in time, and `check` objects."""
    events = execute(cores(lambda: RoundRobin(3), task("A", 7, Io("disk"), 2), task("B", 8, at=1))).events
    changes = (ev.Arrive, ev.Dispatch, ev.Preempt, ev.Block, ev.Wake)
    i = data.draw(st.sampled_from([i for i, e in enumerate(events) if isinstance(e, changes)]))
    assert check(fold(events[:i] + events[i + 1 :]))
    assert check(fold([*events[: i + 1], *events[i:]]))


@pytest.mark.parametrize(
    "event",
    [
        ev.Dispatch(5, 7, 1),
        ev.Exit(5, 0, 99),
        ev.Complete(5, 0, 1, job=3),
        ev.Iterate(5, 0, decode=[42]),
        ev.Miss(5),
    ],
)
def test_a_log_that_names_what_is_not_there_is_found_out(event):
    head = [ev.Run(0, processors=[ev.Processor(0, "core", "fcfs")]), ev.Arrive(0, task=1, name="A")]
    assert fold([*head, event]).violations


def test_time_must_not_run_backwards():
    state = State()
    state([ev.Run(0, processors=[ev.Processor(0, "core", "fcfs")]), ev.Tick(5), ev.Tick(4)])
    assert "backwards" in check(state)[0]


@given(st.lists(requests, min_size=1, max_size=6), st.sampled_from(sorted(POLICIES)))
def test_an_engine_accounts_for_its_time_too(workload, policy):
    state = execute(engine(POLICIES[policy], *workload)).outcome.state
    (p,) = state.processors.values()
    assert p.tokens == sum(r.prompt + r.output - 1 for r in workload)
    assert p.spent_ns[Mode.USER] + p.spent_ns[Mode.IDLE] == state.now


def test_metrics_leave_out_what_was_not_measured():
    ran = execute(engine(FCFS, RequestSpec(name="R", prompt=5, output=1)))
    named = metrics(ran.outcome.state)
    assert named["llm.ttft_mean_ns"] == 100 + 5 * 10 + 5 * 1
    assert not any("tpot" in name or name.startswith("cpu") for name in named)
