"""What the real-time policies promise, by runs against the tests of feasibility; and mutations."""

from fractions import Fraction
from itertools import combinations, pairwise, product
from math import lcm

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import cores, engine, execute, overheads, task, tasks

from llmos.process.dispatcher import Costs
from llmos.process.program import Compute, EndJob
from llmos.scenario.machine import RequestSpec, TaskSpec
from llmos.sched.base import Task, Why
from llmos.sched.dm import DM
from llmos.sched.edf import EDF
from llmos.sched.edf_us import EDFUS
from llmos.sched.feasibility import edf_demand, liu_layland, response_time_analysis
from llmos.sched.llf import LLF
from llmos.sched.multicore import edf_us, global_dm, global_edf, rm_us
from llmos.sched.partition import partition
from llmos.sched.periodic import PeriodicTask, deadline_monotonic, rate_monotonic
from llmos.sched.priority import Priority
from llmos.sched.rm import RM
from llmos.sched.rm_us import RMUS
from llmos.serving.pacing import Law
from llmos.trace import events as ev

POLICIES = {
    "edf": EDF,
    "edf, queue": lambda: EDF(ties="queue"),
    "rm": RM,
    "rm, pid": lambda: RM(ties="pid"),
    "dm": DM,
    "llf": lambda: LLF(granularity=1, token=1),
    "llf, coarse": lambda: LLF(granularity=7, token=3),
    "edf-us": EDFUS,
    "rm-us": lambda: RMUS(threshold=0.4),
}


def taskset(*rows):
    """Tasks from (C, T) or (C, T, D)."""
    return [PeriodicTask(f"T{i}", *row) for i, row in enumerate(rows)]


PERIODS = [4, 6, 8, 12, 24]

implicit = st.lists(st.tuples(st.integers(1, 8), st.sampled_from(PERIODS)), min_size=1, max_size=5).map(
    lambda rows: taskset(*rows)
)
constrained = st.lists(
    st.tuples(st.integers(1, 6), st.sampled_from(PERIODS), st.integers(0, 8)).map(
        lambda row: (row[0], row[1], max(1, row[1] - row[2]))
    ),
    min_size=1,
    max_size=4,
).map(lambda rows: taskset(*rows))


def spec_of(given_task, jobs, at=0, priority=0):
    def program():
        for _ in range(jobs):
            yield Compute(given_task.wcet_ns)
            yield EndJob()

    return TaskSpec(
        name=given_task.name,
        program=program,
        arrival_ns=at,
        period_ns=given_task.period_ns,
        deadline_ns=given_task.deadline_ns,
        wcet_ns=given_task.wcet_ns,
        jobs=jobs,
        priority=priority,
    )


def play(policy, workload, count=1, offsets=()):
    """Run the tasks for a hyperperiod; the place in `workload` is the priority."""
    hyper = lcm(*(t.period_ns for t in workload))
    starts = [*offsets, *[0] * len(workload)]
    specs = [spec_of(t, hyper // t.period_ns, at=starts[i], priority=i) for i, t in enumerate(workload)]
    return execute(cores(policy, *specs, count=count))


def misses(policy, workload, count=1, offsets=()):
    return len(play(policy, workload, count, offsets).of(ev.Miss))


# --- one core: what the analysis says is what happens -------------------------------------------------


@given(implicit)
def test_rm_is_safe_up_to_the_bound_of_liu_and_layland(workload):
    if liu_layland(workload).ok:
        assert misses(RM, workload) == 0


@given(constrained)
def test_response_times_are_those_of_a_run_with_fixed_priorities(workload):
    """Both ways, for any order of priority, from the instant when all are released at once."""
    assert (misses(Priority, workload) == 0) is response_time_analysis(workload).ok


@given(constrained)
def test_response_times_are_those_of_a_run_with_rm_and_dm(workload):
    assert (misses(RM, workload) == 0) is response_time_analysis(rate_monotonic(workload)).ok
    assert (misses(DM, workload) == 0) is response_time_analysis(deadline_monotonic(workload)).ok


@given(constrained)
def test_edf_and_llf_meet_every_feasible_set_and_no_other(workload):
    """The demand test is exact, and all times are multiples of LLF's granularity."""
    feasible = edf_demand(workload).ok
    assert (misses(EDF, workload) == 0) is feasible
    assert (misses(lambda: LLF(granularity=1), workload) == 0) is feasible


@given(constrained, st.lists(st.integers(0, 12), min_size=4, max_size=4))
def test_llf_meets_what_edf_meets_whenever_tasks_begin(workload, offsets):
    if misses(EDF, workload, offsets=offsets) == 0:
        assert misses(lambda: LLF(granularity=1), workload, offsets=offsets) == 0


# --- mutations ----------------------------------------------------------------------------------------


class LLFThatNeverLooksAgain(LLF):
    """Laxities are compared at arrivals only."""

    def next_tick(self, now):
        return None


class RMBackwards(RM):
    """The longest period first."""

    def key(self, task):
        return -super().key(task)


class DMByPeriod(DM):
    """Rate monotonic, although deadlines are early."""

    def key(self, task):
        return task.period_ns


class EDFUSForNobody(EDFUS):
    """Nobody is heavy."""

    def key(self, task):
        return EDF.key(self, task)


FEASIBLE = [
    s
    for rows in combinations([*product([1, 2, 3], [4, 6, 8]), (5, 12), (9, 24)], 3)
    if edf_demand(s := taskset(*rows)).ok
]


def test_llf_needs_to_look_again():
    coarse = [s for s in FEASIBLE if misses(lambda: LLFThatNeverLooksAgain(granularity=1), s)]
    assert coarse
    assert not any(misses(lambda: LLF(granularity=1), s) for s in coarse)


def test_rm_needs_the_order_of_periods():
    safe = [s for s in FEASIBLE if liu_layland(s).ok]
    assert any(misses(RMBackwards, s) for s in safe)
    assert not any(misses(RM, s) for s in safe)


def test_dm_needs_the_order_of_deadlines():
    workload = taskset((2, 4), (1, 12, 2))
    assert misses(DMByPeriod, workload) > 0
    assert misses(DM, workload) == 0


def test_rm_is_not_optimal():
    """Liu and Layland's own point: EDF meets more."""
    assert any(misses(RM, s) for s in FEASIBLE)
    assert not any(misses(EDF, s) for s in FEASIBLE)


# --- several cores ------------------------------------------------------------------------------------


def dhall(n, count=2):
    """`count` light tasks and a heavy one, which together need little more than one core."""
    return taskset(*[(2, n)] * count, (n, n + 1))


@pytest.mark.parametrize("policy", [EDF, RM, DM])
@pytest.mark.parametrize("count", [2, 3])
def test_dhall_two_cores_are_not_enough_for_one_and_a_bit(policy, count):
    workload = dhall(100, count)
    assert sum(t.share for t in workload) < Fraction(106, 100)
    assert misses(policy, workload, count) > 0


@pytest.mark.parametrize(
    "policy",
    [lambda: EDFUS(2), lambda: RMUS(2), lambda: EDFUS(threshold=0.5), lambda: LLF(granularity=1)],
)
def test_dhall_is_cured_by_looking_at_the_heavy_one(policy):
    assert misses(policy, dhall(100), 2) == 0
    assert misses(EDFUSForNobody, dhall(100), 2) > 0


@pytest.mark.parametrize(("policy", "admission"), [(EDF, "utilisation"), (RM, "liu-layland"), (RM, "rm")])
def test_dhall_is_cured_by_a_partition(policy, admission):
    dealt = partition(dhall(100), 2, admission=admission)
    assert dealt.ok
    assert all(misses(policy, dealt.on(core)) == 0 for core in range(2))


@pytest.mark.parametrize(
    ("test", "policy"),
    [
        (global_edf, lambda m: EDF),
        (global_dm, lambda m: DM),
        (edf_us, lambda m: lambda: EDFUS(m)),
        (rm_us, lambda m: lambda: RMUS(m)),
    ],
    ids=["edf", "dm", "edf-us", "rm-us"],
)
@given(
    workload=implicit | constrained,
    count=st.integers(2, 3),
    offsets=st.lists(st.integers(0, 9), min_size=5, max_size=5),
)
def test_a_bound_for_several_cores_is_safe(test, policy, workload, count, offsets):
    if test(workload, count).ok:
        assert misses(policy(count), workload, count, offsets) == 0


# --- LLF takes its time -------------------------------------------------------------------------------


@given(st.lists(tasks, min_size=2, max_size=6), st.integers(1, 3), st.integers(1, 9), overheads)
def test_llf_never_looks_again_within_its_granularity(workload, count, granularity, costs):
    ran = execute(cores(lambda: LLF(granularity), *workload, count=count, costs=costs))
    ticks = [e.t for e in ran.of(ev.Tick)]
    assert all(after - before >= granularity for before, after in pairwise(ticks))


def test_two_equal_tasks_take_turns_no_faster_than_the_granularity():
    """One takes over when it is `granularity` behind, then the other when that is: every 2 granularities."""
    twins = [task(name, 100, deadline_ns=1000) for name in "AB"]
    assert len(execute(cores(lambda: LLF(10), *twins)).runs) == 11
    assert [(s, e) for s, e, _ in execute(cores(lambda: LLF(10), *twins)).runs][:3] == [
        (0, 10),
        (10, 30),
        (30, 50),
    ]
    assert len(execute(cores(lambda: LLF(1000), *twins)).runs) == 2


def test_llf_gets_something_done_even_if_a_decision_costs_more_than_its_granularity():
    twins = [task(name, 100, deadline_ns=1000) for name in "AB"]
    costs = Costs(decision_ns=5, context_switch_ns=5)
    ran = execute(cores(lambda: LLF(granularity=1), *twins, costs=costs, max_events=5000))
    assert ran.outcome.ok


def test_llf_does_not_look_again_where_there_is_no_deadline():
    ran = execute(cores(lambda: LLF(granularity=1), task("A", 100), task("B", 100), task("C", 9, at=5)))
    assert not ran.of(ev.Tick)
    assert [name for _, _, name in ran.runs] == ["A", "B", "C"]


def test_llf_compares_the_waiting_with_the_laxest_that_runs():
    """On two cores A (laxity 50) gives way to C when that has 40 left, and B (laxity 5) goes on."""
    jobs = [task("A", 100, deadline_ns=150), task("B", 100, deadline_ns=105)]
    late = task("C", 20, at=10, deadline_ns=90)  # due at 100: laxity 70, and 50 at 30
    ran = execute(cores(lambda: LLF(granularity=10), *jobs, late, count=2))
    assert [(e.t, ran.outcome.state.tasks[e.task].name) for e in ran.of(ev.Preempt)] == [(40, "A")]


def test_a_newcomer_of_equal_laxity_waits():
    ran = execute(cores(LLF, task("A", 10, deadline_ns=20), task("B", 5, at=2, deadline_ns=15)))
    assert ran.runs == [(0, 10, "A"), (10, 15, "B")]
    ran = execute(cores(LLF, task("A", 10, deadline_ns=20), task("B", 5, at=2, deadline_ns=14)))
    assert ran.runs == [(0, 2, "A"), (2, 7, "B"), (7, 15, "A")]


# --- the order, told with a list ----------------------------------------------------------------------


def drain(policy, now=0):
    out = []
    while (picked := policy.pick(now)) is not None:
        out.append(picked.name)
    return "".join(out)


def periodic(pid, name, period=10, due=None, wcet=1, released=0):
    due = period if due is None else due
    return Task(
        pid=pid,
        name=name,
        period_ns=period,
        relative_deadline_ns=due,
        deadline_ns=released + due,
        wcet_ns=wcet,
        remaining=wcet,
    )


@pytest.mark.parametrize(
    ("policy", "order"),
    [
        (RM(), "BAC"),
        (DM(), "CBA"),
        (EDF(), "ACB"),
        (LLF(), "ACB"),
        (EDFUS(threshold=0.5), "BAC"),
        (RMUS(threshold=0.1), "ABC"),
    ],
)
def test_who_goes_first(policy, order):
    """N has neither a period nor a deadline: it goes last."""
    policy.enqueue(Task(pid=1, name="N", remaining=1), Why.ARRIVAL, 0)
    policy.enqueue(periodic(2, "A", period=20, due=20, wcet=4, released=0), Why.WAKEUP, 10)
    policy.enqueue(periodic(3, "B", period=16, due=16, wcet=9, released=20), Why.WAKEUP, 20)
    policy.enqueue(periodic(4, "C", period=30, due=9, wcet=3, released=20), Why.WAKEUP, 20)
    shown = [task.name for task, _ in policy.show(20)[""]]
    reasons = [policy.reason(task, 20) for task, _ in policy.show(20)[""]]
    assert drain(policy, 20) == "".join(shown) == order + "N"
    assert len(set(reasons)) == 4


@pytest.mark.parametrize("make", [EDF, RM, DM, EDFUS, RMUS])
def test_equals(make):
    """B was ready before A and has been preempted since."""
    for ties, order in (("ready", "BA"), ("queue", "AB"), ("pid", "AB")):
        policy = make(ties=ties)
        a, b = periodic(1, "A"), periodic(2, "B")
        policy.enqueue(b, Why.ARRIVAL, 0)
        assert policy.pick(0) is b
        policy.enqueue(a, Why.ARRIVAL, 1)
        assert policy.preempts(a, [b], 1) is None
        policy.enqueue(b, Why.PREEMPTED, 2)
        assert drain(policy) == order


def test_llf_lets_the_running_task_go_on_among_equals():
    policy = LLF()
    running, waiting = periodic(2, "R"), periodic(1, "W")
    policy.enqueue(running, Why.ARRIVAL, 0)
    assert policy.pick(0) is running
    policy.enqueue(waiting, Why.ARRIVAL, 0)
    assert policy.preempts(waiting, [running], 0) is None
    policy.enqueue(running, Why.PREEMPTED, 0)
    assert drain(policy) == "RW"


def test_llf_notices_that_an_interrupt_has_eaten_laxity():
    policy = LLF(granularity=10)
    running, waiting = periodic(1, "R", period=100, wcet=40), periodic(2, "W", period=130, wcet=30)
    policy.enqueue(running, Why.ARRIVAL, 0)
    policy.pick(0)
    policy.enqueue(waiting, Why.ARRIVAL, 0)
    assert policy.next_tick(0) == (130 - 30) - (100 - 40) + 10
    running.remaining -= 15  # in 20 ns: 5 went to an interrupt
    policy.charge(running, 15, 20)
    assert policy.next_tick(20) == (130 - 30) - (100 - 40 - 5) + 10


def test_edf_takes_the_core_of_the_latest_deadline():
    policy = EDF()
    running = [periodic(i, name, due=due) for i, (name, due) in enumerate([("A", 30), ("B", 50), ("C", 40)])]
    for each in running:
        policy.enqueue(each, Why.ARRIVAL, 0)
        policy.pick(0)
    newcomer = periodic(9, "N", due=45)
    policy.enqueue(newcomer, Why.ARRIVAL, 0)
    assert policy.preempts(newcomer, running, 0) is running[1]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        (lambda: EDF(ties="luck"), "ties: it should be ready, queue or pid, not 'luck'"),
        (lambda: LLF(granularity=0), "granularity: it should be at least 1 ns, not 0"),
        (lambda: EDFUS(cores=0), "cores: there is at least 1, not 0"),
        (lambda: RMUS(threshold=0), "threshold: it should be above 0 and at most 1, not 0"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_refused(parameters, says):
    with pytest.raises(ValueError, match=says):
        parameters()


def test_the_threshold_is_exact():
    """A task at the threshold is not heavy; 0.6 is three fifths, and m/(2m-1) of two cores two thirds."""
    for policy, wcet, period in ((EDFUS(2), 2, 3), (EDFUS(threshold=0.6), 3, 5), (RMUS(2), 1, 2)):
        at, above = periodic(1, "A", period * 10**9, wcet=wcet * 10**9), periodic(2, "B", period * 10**9)
        above.wcet_ns = wcet * 10**9 + 1
        assert policy.key(at) > 0 > policy.key(above)


# --- one contract, two worlds -------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 200)), min_size=1, max_size=6))
def test_the_same_file_gives_the_same_order_in_both_worlds(name, jobs):
    """A core and an engine of one slot whose iterations take 1 ns per token are the same processor."""
    processes = [task(f"T{i}", work, deadline_ns=due) for i, (work, due) in enumerate(jobs)]
    wanted = [
        RequestSpec(name=f"T{i}", prompt=1, output=work, deadline_ns=due)
        for i, (work, due) in enumerate(jobs)
    ]
    core = execute(cores(POLICIES[name], *processes))
    if name == "llf, coarse":
        return  # it takes a token for 3 ns
    llm = execute(engine(POLICIES[name], *wanted, slots=1, token_budget=1, pacing=Law(0.0, 1.0)))
    assert llm.runs == core.runs
