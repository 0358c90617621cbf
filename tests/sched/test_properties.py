"""What the policies promise, and that the tests notice when the promise is broken (mutations)."""

from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import POLICIES, cores, engine, execute, task, tasks

from llmos.process.program import Compute, EndJob, Io
from llmos.scenario.machine import RequestSpec, TaskSpec
from llmos.sched.edf import EDF
from llmos.sched.fcfs import FCFS
from llmos.sched.mlfq import MLFQ
from llmos.sched.priority import Priority
from llmos.sched.rr import RoundRobin
from llmos.sched.sjf import SJF
from llmos.sched.srtf import SRTF
from llmos.sched.stride import Stride
from llmos.serving.pacing import Law
from llmos.trace import events as ev

arrivals_and_bursts = st.lists(st.tuples(st.integers(0, 8), st.integers(1, 6)), min_size=1, max_size=4)


# --- work conservation --------------------------------------------------------------------------------


@given(st.sampled_from(sorted(POLICIES)), st.lists(tasks, min_size=1, max_size=6), st.integers(1, 3))
def test_no_core_idles_while_a_task_is_ready(policy, workload, count):
    """Checked on the log: whenever time passes, ready tasks and idle cores do not both exist."""
    events = execute(cores(POLICIES[policy], *workload, count=count)).events
    ready, running, now = set(), set(), 0
    for event in events:
        if event.t > now:
            assert not ready or len(running) == count
            now = event.t
        match event:
            case ev.Arrive() | ev.Wake():
                ready.add(event.task)
            case ev.Dispatch():
                ready.discard(event.task)
                running.add(event.task)
            case ev.Preempt() | ev.Yield():
                running.discard(event.task)
                ready.add(event.task)
            case ev.Block() | ev.Exit():
                running.discard(event.task)


# --- SRTF is optimal ----------------------------------------------------------------------------------


def least_total_turnaround(jobs):
    """The least sum of finish - arrival over all preemptive schedules, by trying them all, unit by unit."""
    best = {}

    def search(t, left):
        if not any(left):
            return 0
        if (t, left) in best:
            return best[t, left]
        present = [i for i, n in enumerate(left) if n and jobs[i][0] <= t]
        waiting = sum(1 for i, n in enumerate(left) if n and jobs[i][0] <= t)
        options = [tuple(n - (i == j) for j, n in enumerate(left)) for i in present] or [left]
        best[t, left] = waiting + min(search(t + 1, option) for option in options)
        return best[t, left]

    return search(0, tuple(length for _, length in jobs))


def total_turnaround(policy, jobs):
    ran = execute(cores(policy, *[task(f"T{i}", length, at=at) for i, (at, length) in enumerate(jobs)]))
    return sum(t.finish_ns - t.arrival_ns for t in ran.outcome.state.tasks.values())


@given(arrivals_and_bursts)
def test_srtf_is_never_beaten(jobs):
    assert total_turnaround(SRTF, jobs) == least_total_turnaround(jobs)


@pytest.mark.parametrize("policy", [FCFS, SJF, lambda: RoundRobin(1), MLFQ])
def test_others_are_beaten(policy):
    """The mutation: SRTF without preemption is SJF, and the search finds it out."""
    jobs = [(0, 6), (1, 1), (1, 2), (1, 3)]
    assert total_turnaround(policy, jobs) > least_total_turnaround(jobs)


@given(arrivals_and_bursts)
def test_sjf_is_optimal_when_all_are_there_at_once(jobs):
    jobs = [(0, length) for _, length in jobs]
    assert total_turnaround(SJF, jobs) == least_total_turnaround(jobs)


# --- round robin --------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.integers(1, 10))
def test_rr_answers_within_one_round(bursts, quantum):
    ran = execute(cores(lambda: RoundRobin(quantum), *[task(f"T{i}", b) for i, b in enumerate(bursts)]))
    for i in range(len(bursts)):
        assert ran.task(f"T{i}").first_run_ns <= i * quantum


# --- stride -------------------------------------------------------------------------------------------


def service_error(policy, tickets, quantum):
    """The largest distance of a task's service from its share while all compete, over the quantum."""
    names = [f"T{i}" for i in range(len(tickets))]
    workload = [task(n, 100_000, tickets=k) for n, k in zip(names, tickets, strict=True)]
    runs = execute(cores(policy, *workload, until_ns=200 * quantum)).runs
    worst, got = Fraction(0), dict.fromkeys(names, 0)
    for start, end, name in runs:
        for now in range(start + quantum, end + 1, quantum):
            got[name] += quantum
            for n, k in zip(names, tickets, strict=True):
                worst = max(worst, abs(got[n] - Fraction(now * k, sum(tickets))) / quantum)
    return worst


@given(st.lists(st.integers(1, 12), min_size=2, max_size=2), st.integers(1, 7))
def test_two_stride_clients_are_never_a_quantum_off(tickets, quantum):
    """Waldspurger and Weihl: the pairwise error of stride is at most one quantum."""
    assert service_error(lambda: Stride(quantum), tickets, quantum) <= 1


def test_round_robin_has_no_such_bound():
    assert service_error(lambda: RoundRobin(3), [9, 1], 3) > 10


class StrideWithoutLift(Stride):
    """The mutation: who was away keeps its old, small pass."""

    def enqueue(self, task, why, now):
        self._present = 0
        super().enqueue(task, why, now)


def service_after_the_pause(policy):
    """A computes; B comes 400 later. How much does B get of the next 100?"""
    ran = execute(cores(policy, task("A", 1000), task("B", 1000, at=400), until_ns=500))
    return ran.task("B").cpu_ns


def test_rest_cannot_be_saved_up():
    assert service_after_the_pause(lambda: Stride(10)) == 50
    assert service_after_the_pause(lambda: StrideWithoutLift(10)) == 100


def test_stride_charges_clients_not_requests():
    """Tenant a sends four times as many requests as b and gets no more tokens for it."""
    many = [RequestSpec(name=f"a{i}", client="a", prompt=1, output=500) for i in range(8)]
    few = [RequestSpec(name=f"b{i}", client="b", prompt=1, output=500) for i in range(2)]
    ran = execute(engine(lambda: Stride(8), *many, *few, slots=1, token_budget=1))
    half = [e for e in ran.events if e.t <= ran.outcome.state.tasks[9].finish_ns]
    tokens = {"a": 0, "b": 0}
    for e in half:
        if isinstance(e, ev.Iterate):
            for pid in [*e.decode, *(p for p, _ in e.prefill)]:
                tokens[ran.outcome.state.tasks[pid].client] += e.count
    assert abs(tokens["a"] - tokens["b"]) <= 8


# --- MLFQ ---------------------------------------------------------------------------------------------


def waiting_of_the_long_job(policy):
    """A long job against an endless stream of short ones that keep the core busy."""
    short = [task(f"S{i}", 4, at=4 * i + 10) for i in range(100)]
    ran = execute(cores(policy, task("long", 40), *short, until_ns=400))
    spans = [(s, e) for s, e, n in ran.runs if n == "long"]
    ends = [0, *[e for _, e in spans]]
    starts = [*[s for s, _ in spans], 400]
    return max(s - e for s, e in zip(starts, ends, strict=True))


def test_mlfq_starves_and_the_boost_cures_it():
    assert waiting_of_the_long_job(lambda: MLFQ(quantum=5)) > 300
    assert waiting_of_the_long_job(lambda: MLFQ(quantum=5, boost=50)) <= 100


def test_gaming_pays_only_if_io_refills_the_quantum():
    """A gamer does I/O one unit before its quantum of 10 is over; the other never does."""

    def share(**parameters):
        gamer = task("gamer", *[c for _ in range(40) for c in (Compute(9), Io("disk"))])
        honest = task("honest", 400)
        ran = execute(cores(lambda: MLFQ(quantum=10, **parameters), gamer, honest, io=1, until_ns=300))
        return ran.task("gamer").cpu_ns / 300

    assert share(stay_after_io=True) > 0.85
    assert share() < 0.6


def test_skip_join_starts_a_long_prompt_further_down():
    requests = [RequestSpec(name="long", prompt=20, output=2), RequestSpec(name="short", prompt=3, output=2)]
    for skip, first in ((False, "long"), (True, "short")):
        policy = MLFQ(quantum=[4, 8, 32], skip_join=skip)
        ran = execute(engine(lambda policy=policy: policy, *requests, slots=1))
        order = [ran.outcome.state.tasks[e.task].name for e in ran.of(ev.FirstToken)]
        assert order[0] == first


# --- priorities ---------------------------------------------------------------------------------------


def flood(policy):
    """One unimportant task under a flood of important ones; how long does it wait?"""
    urgent = [task(f"U{i}", 4, at=4 * i, priority=0) for i in range(200)]
    return execute(cores(policy, *urgent, task("humble", 4, priority=5), until_ns=800)).task("humble")


def test_aging_bounds_the_wait():
    """Wait <= levels * aging + the work of the class that is ahead by then (here one task)."""
    assert flood(Priority).first_run_ns is None
    assert flood(lambda: Priority(aging=20)).first_run_ns <= 5 * 20 + 20 + 4
    assert flood(lambda: Priority(preemptive=False, aging=20)).first_run_ns <= 5 * 20 + 20 + 4


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=6))
def test_preemptive_priority_never_runs_the_less_urgent(jobs):
    workload = [task(f"T{i}", length, at=at, priority=p) for i, (at, length, p) in enumerate(jobs)]
    ran = execute(cores(Priority, *workload))
    state = ran.outcome.state
    for start, end, name in ran.runs:
        me = ran.task(name)
        for other in state.tasks.values():
            overlap = min(end, other.finish_ns) - max(start, other.arrival_ns)
            assert other is me or overlap <= 0 or other.priority >= me.priority


# --- EDF ----------------------------------------------------------------------------------------------


def periodic(name, wcet, period, jobs):
    def program():
        for _ in range(jobs):
            yield Compute(wcet)
            yield EndJob()

    return TaskSpec(name=name, program=program, period_ns=period, jobs=jobs)


periodic_sets = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from([4, 6, 8, 12, 24])), min_size=1, max_size=4
)


def misses(policy, tasks_):
    ran = execute(cores(policy, *[periodic(f"T{i}", c, t, 48 // t) for i, (c, t) in enumerate(tasks_)]))
    return sum(t.deadline_misses for t in ran.outcome.state.tasks.values())


@given(periodic_sets)
def test_edf_meets_every_feasible_set_and_no_other(tasks_):
    """Liu and Layland: with deadlines at the periods, feasible if and only if utilisation <= 1."""
    utilisation = sum(Fraction(c, t) for c, t in tasks_)
    if utilisation <= 1:
        assert misses(EDF, tasks_) == 0
    else:
        # All 48 ns of the last hyperperiod's demand cannot be served in time by anybody.
        assert misses(EDF, tasks_) > 0


def test_fcfs_misses_a_feasible_set():
    """The mutation: the same sets without deadlines in the key."""
    sets = list(combinations([(1, 4), (3, 6), (2, 8), (6, 24)], 2))
    assert any(misses(FCFS, s) for s in sets)
    assert not any(misses(EDF, s) for s in sets)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [({"levels": 0}, "levels"), ({"quantum": [1, 2]}, "2 values for 3"), ({"allotment": 0}, "allotment")],
)
def test_mlfq_refuses_what_makes_no_sense(parameters, says):
    with pytest.raises(ValueError, match=says):
        MLFQ(**parameters)


# --- one contract, two worlds -------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(POLICIES))
@settings(max_examples=20)  # of each policy, hundreds in all
@given(bursts=st.lists(st.integers(1, 40), min_size=1, max_size=6), priorities=st.permutations(range(6)))
def test_the_same_file_gives_the_same_order_in_both_worlds(name, bursts, priorities):
    """A core and an engine of one slot whose iterations take 1 ns per token are the same processor.

    Prompts of one token, so that all service is divisible; all arrive at once.
    """
    both = list(zip(bursts, priorities, strict=False))
    processes = [task(f"T{i}", b, priority=p, deadline_ns=100 * p) for i, (b, p) in enumerate(both)]
    wanted = [
        RequestSpec(name=f"T{i}", prompt=1, output=b, priority=p, deadline_ns=100 * p)
        for i, (b, p) in enumerate(both)
    ]
    core = execute(cores(POLICIES[name], *processes))
    llm = execute(engine(POLICIES[name], *wanted, slots=1, token_budget=1, pacing=Law(0.0, 1.0)))
    assert llm.runs == core.runs


def test_every_policy_explains_itself():
    for make in POLICIES.values():
        ran = execute(cores(make, task("A", 9), task("B", 3, at=1)))
        reasons = [e.reason for e in ran.events if isinstance(e, ev.Dispatch | ev.Renew | ev.Preempt)]
        assert all(reasons), type(make())
