"""A machine under the clock: periodic jobs, injected interrupts and pauses, and what overheads cost whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import cores, execute, task

from llmos.process.cores import Rules
from llmos.process.dispatcher import Costs
from llmos.process.program import Compute, EndJob, Io, Lock, Sleep, Unlock
from llmos.scenario.machine import Injection, SharedSpec
from llmos.sched.edf import EDF
from llmos.sched.fcfs import FCFS
from llmos.sched.priority import Priority
from llmos.trace import events as ev
from llmos.trace.records import Mode


def periodic(name, wcet, period, jobs, **more):
    return task(name, *[Compute(wcet), EndJob()] * jobs, period_ns=period, jobs=jobs, **more)


# --- interrupts from outside --------------------------------------------------------------------------


def test_an_injected_interrupt_delays_the_task_and_is_charged_to_nobody():
    inject = [Injection(name="nic", at_ns=4, every_ns=10, count=2, cost_ns=3)]
    ran = execute(cores(FCFS, task("A", 20), injections=inject))
    assert ran.runs == [(0, 4, "A"), (7, 14, "A"), (17, 26, "A")]
    assert [(e.t, e.irq, e.cost_ns) for e in ran.of(ev.Interrupt)] == [(4, "nic", 3), (14, "nic", 3)]
    assert ran.task("A").cpu_ns == 20


def test_the_context_of_a_running_task_is_saved_for_each_interrupt():
    """2 more for each interrupt while A runs; none while nobody runs (at 30), or inside the kernel."""
    costs = Costs(interrupt_context_ns=2)
    inject = [Injection(name="nic", at_ns=at, cost_ns=3) for at in (4, 30)]
    ran = execute(cores(FCFS, task("A", 10, Sleep(20), 1), injections=inject, costs=costs))
    assert [(e.t, e.cost_ns) for e in ran.of(ev.Interrupt) if e.irq == "nic"] == [(4, 5), (30, 3)]
    assert ran.runs == [(0, 4, "A"), (9, 15, "A"), (35, 36, "A")]


def test_an_interrupt_storm_leaves_the_task_nothing():
    """Every 10 an interrupt of 10: A, which needs 5, never runs before the storm is over at 100."""
    inject = [Injection(name="nic", at_ns=0, every_ns=10, count=10, cost_ns=10)]
    assert execute(cores(FCFS, task("A", 5), injections=inject)).runs == [(100, 105, "A")]


def test_interrupts_go_to_their_core():
    inject = [Injection(name="nic", at_ns=2, cpu=1, cost_ns=4)]
    ran = execute(cores(FCFS, task("A", 5), task("B", 5), count=2, injections=inject))
    assert (ran.task("A").finish_ns, ran.task("B").finish_ns) == (5, 9)


def test_a_device_that_pauses_serves_nobody_meanwhile():
    """A's request is served 1-11 in spite of the pause 5-25; B's, made at 2, begins at 25."""
    inject = [Injection(name="stall", at_ns=5, device="disk", cost_ns=20)]
    spec = cores(
        FCFS, task("A", 1, Io("disk")), task("B", 1, Io("disk")), io=10, servers=1, injections=inject
    )
    ran = execute(spec)
    assert [(e.t, e.task) for e in ran.of(ev.IoDone)] == [(11, 1), (35, 2)]


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 9), st.integers(0, 1)), max_size=6),
    st.integers(0, 5),
)
def test_interrupts_cost_time_and_no_work(storm, context):
    inject = [Injection(name=f"i{at}", at_ns=at, cost_ns=cost, cpu=cpu) for at, cost, cpu in storm]
    tasks = task("A", 20, Sleep(5), 10), task("B", 15), task("C", 10, at=3)
    ran = execute(
        cores(
            FCFS, *tasks, count=2, injections=inject, costs=Costs(interrupt_context_ns=context), until_ns=500
        )
    )
    state = ran.outcome.state
    assert [t.cpu_ns for t in state.tasks.values()] == [30, 15, 10]
    handled = sum(e.cost_ns for e in ran.of(ev.Interrupt))
    assert sum(p.spent_ns[Mode.KERNEL] for p in state.processors.values()) <= handled
    assert handled - sum(cost for _, cost, _ in storm) <= context * (len(storm) + 1)


# --- periodic tasks -----------------------------------------------------------------------------------


def test_releases_cost_time_and_do_not_drift():
    """Releases at 0, 10, 20, 30, whatever each costs the core; each job begins 2 after its release."""
    ran = execute(cores(EDF, periodic("A", 3, 10, 4), costs=Costs(release_ns=2)))
    assert [j.release_ns for j in ran.task("A").jobs] == [0, 10, 20, 30]
    assert [j.deadline_ns for j in ran.task("A").jobs] == [10, 20, 30, 40]
    assert [j.finish_ns for j in ran.task("A").jobs] == [5, 15, 25, 35]


def test_a_completion_costs_time_after_the_job_is_complete():
    """Work 8, completion 3, period 10: complete at 8; the core is free at 11, so the next one is at 19."""
    ran = execute(cores(EDF, periodic("A", 8, 10, 2), costs=Costs(completion_ns=3)))
    assert [(j.finish_ns, j.missed) for j in ran.task("A").jobs] == [(8, False), (19, False)]


def test_decisions_one_after_another_under_one_lock():
    """Three cores decide at 0, 5 each: alone, all begin at 5; under the lock, at 5, 10 and 15."""
    tasks = [task(n, 10) for n in "ABC"]
    for serial, begin in ((False, [5, 5, 5]), (True, [5, 10, 15])):
        ran = execute(
            cores(FCFS, *tasks, count=3, costs=Costs(decision_ns=5), rules=Rules(serial_decisions=serial))
        )
        assert [t.first_run_ns for t in ran.outcome.state.tasks.values()] == begin


def test_who_is_killed_misses_nothing_any_more():
    """A is killed at 15 in its second job, with a deadline at 20 ahead."""
    inject = [Injection(name="A", at_ns=15, signal="KILL")]
    ran = execute(cores(EDF, periodic("A", 8, 10, 5), injections=inject))
    assert ran.outcome.ok
    assert ran.of(ev.Miss) == []


@pytest.mark.parametrize("convention", ["textbook", "ostep"])
@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(5, 20), st.integers(1, 20)), min_size=1, max_size=3),
    st.integers(1, 2),
    st.builds(Costs, *[st.integers(0, 2)] * 6),
)
def test_with_the_abort_rule_every_job_ends_by_its_deadline_or_with_its_call(convention, sets, count, costs):
    """Without costs nobody works on a job after its deadline; with them, a call under way is finished."""
    tasks = [
        periodic(f"T{i}", wcet, period, 3, deadline_ns=deadline)
        for i, (wcet, period, deadline) in enumerate(sets)
    ]
    ran = execute(
        cores(EDF, *tasks, count=count, costs=costs, rules=Rules(abort_on_miss=True), convention=convention)
    )
    assert ran.outcome.ok
    for t in ran.outcome.state.tasks.values():
        assert len(t.jobs) == 3
        for job in t.jobs:
            assert job.finish_ns is not None
            assert job.missed or not job.aborted
            if costs == Costs():
                assert job.finish_ns <= job.deadline_ns


def test_a_job_with_a_lock_and_a_device_under_the_abort_rule():
    """Whatever a job was doing at its deadline, the next one begins anew and the run ends."""
    steps = [Compute(2), Lock("m"), Compute(3), Io("disk", 4), Unlock("m"), Compute(2), EndJob()]
    spec = cores(
        Priority,
        *[task(f"T{i}", *(steps * 4), period_ns=9 + i, jobs=4, priority=i) for i in range(3)],
        rules=Rules(abort_on_miss=True),
        shared=[SharedSpec(name="m", kind="mutex", protocol="inherit")],
    )
    ran = execute(spec)
    assert ran.outcome.ok
    assert any(e for e in ran.of(ev.Abort))
    assert ran.outcome.state.shared["m"].holder == -1
