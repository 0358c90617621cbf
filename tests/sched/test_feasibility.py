"""The tests of feasibility: textbook answers, and that they agree with each other and with search."""

import json
from fractions import Fraction
from itertools import permutations
from math import lcm
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llmos.errors import LlmosError
from llmos.sched.feasibility import (
    PeriodicTask,
    deadline_monotonic,
    demand_ns,
    edf_demand,
    edf_utilisation,
    explain,
    hyperbolic,
    liu_layland,
    liu_layland_bound,
    rate_monotonic,
    response_time_analysis,
    response_times,
    utilisation,
)
from llmos.sched.multicore import edf_us, global_dm, global_edf, rm_us
from llmos.sched.partition import ADMISSIONS, FITS, partition

BOOK = {
    case["id"]: case
    for case in json.loads(
        (Path(__file__).parents[1] / "oracles" / "textbook_known_answers.json").read_text()
    )["cases"]
}


def taskset(*rows):
    """Tasks from (C, T) or (C, T, D)."""
    return [PeriodicTask(f"T{i}", *row) for i, row in enumerate(rows)]


implicit = st.lists(
    st.tuples(st.integers(1, 8), st.sampled_from([4, 5, 6, 8, 10, 12, 20])), min_size=1, max_size=5
).map(lambda rows: taskset(*rows))

constrained = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from([4, 5, 6, 8, 12]), st.integers(0, 6)).map(
        lambda row: (row[0], row[1], max(1, row[1] - row[2]))
    ),
    min_size=1,
    max_size=4,
).map(lambda rows: taskset(*rows))

arbitrary = st.lists(
    st.tuples(st.integers(1, 5), st.sampled_from([4, 5, 6, 8, 12]), st.integers(1, 20)),
    min_size=1,
    max_size=4,
).map(lambda rows: taskset(*rows))


# --- known answers ------------------------------------------------------------------------------------


def test_liu_layland_bounds():
    case = BOOK["book-024"]
    bounds = [liu_layland_bound(n) for n in case["input"]["n"]]
    assert bounds == pytest.approx(case["expected"]["U"], abs=0.0005)


def test_response_times():
    case = BOOK["book-025"]
    tasks = taskset(*case["input"]["tasks"])
    assert [answer.ns for answer in response_times(tasks)] == case["expected"]["worst_response"]
    assert response_time_analysis(tasks).ok is True
    # The steps of the search, as Burns and Wellings write them down for the third task.
    assert response_times(tasks)[2].steps == (5, 11, 14, 17, 20)


def test_dhall():
    case = BOOK["book-026"]
    tasks = taskset(*case["input"]["tasks"])
    assert global_edf(tasks, 2).ok is None
    dealt = partition(tasks, 2)
    assert dealt.ok
    assert all(edf_utilisation(dealt.on(core)).ok for core in range(2))


def test_a_verdict_tells_its_numbers():
    (verdict, *_) = explain(taskset((41, 100), (41, 100)), "rm")
    assert verdict.ok is True
    assert verdict.explanation == (
        "U = 41/100 + 41/100 = 0.82 <= 0.8284 = 2(2^(1/2) - 1): rate monotonic is sure to meet all deadlines",
    )
    assert str(verdict).startswith("utilisation bound of rate monotonic: all deadlines are met\n  U = ")


# --- exactness: a bound is not rounded ----------------------------------------------------------------


def test_the_irrational_bound_is_compared_exactly():
    """2(2^(1/2) - 1) = 0.82842712474619009760337744841939615713934375...: a float cannot tell these two."""
    below, above = 82842712474619009760337, 82842712474619009760338
    for used, ok in ((below, True), (above, None)):
        tasks = [PeriodicTask("A", used, 2 * 10**23), PeriodicTask("B", used, 2 * 10**23)]
        assert liu_layland(tasks).ok is ok


def test_one_task_may_fill_the_core():
    assert liu_layland(taskset((4, 4))).ok is hyperbolic(taskset((4, 4))).ok is True


@given(implicit)
def test_the_hyperbolic_bound_is_never_weaker_and_never_wrong(tasks):
    if liu_layland(tasks).ok:
        assert hyperbolic(tasks).ok
    if hyperbolic(tasks).ok:
        assert response_time_analysis(rate_monotonic(tasks)).ok


def test_the_hyperbolic_bound_is_sometimes_stronger():
    tasks = taskset((1, 2), (1, 3))  # (3/2)(4/3) = 2, and U = 0.833 > 0.828
    assert liu_layland(tasks).ok is None
    assert hyperbolic(tasks).ok is True


# --- demand -------------------------------------------------------------------------------------------


def first_overload(tasks):
    """The first time by which more is due than fits, by looking at all; None if there is none."""
    hyper = lcm(*(task.period_ns for task in tasks))
    for t in range(2 * hyper + max(task.due_ns for task in tasks) + 1):
        due = sum(
            task.wcet_ns for task in tasks for r in range(0, t + 1, task.period_ns) if r + task.due_ns <= t
        )
        assert due == demand_ns(tasks, t)
        if due > t:
            return t
    return None


@given(constrained | arbitrary)
def test_the_demand_test_finds_what_a_look_at_every_instant_finds(tasks):
    assume(utilisation(tasks) <= 1)
    assert edf_demand(tasks).ok is (first_overload(tasks) is None)


@given(implicit)
def test_with_deadlines_at_the_periods_the_demand_is_the_utilisation(tasks):
    assert edf_demand(tasks).ok is edf_utilisation(tasks).ok is (utilisation(tasks) <= 1)


@given(constrained)
def test_edf_meets_what_fixed_priorities_meet(tasks):
    if response_time_analysis(deadline_monotonic(tasks)).ok:
        assert edf_demand(tasks).ok


def test_the_demand_test_looks_at_few_instants():
    """Coprime periods with a hyperperiod of 10^17 ns, and full to 99.9 %."""
    tasks = taskset(
        (33_000_003, 100_000_007), (66_000_000, 200_000_033, 190_000_000), (3399 * 10**4, 10**8 + 37)
    )
    verdict = edf_demand(tasks)
    assert verdict.ok is not None
    assert len(verdict.explanation) < 12


def test_what_takes_too_long_is_unknown():
    """The core is full and busy for 10^18 ns: nobody waits for the answer."""
    a, b = 10**9 + 7, 10**9 + 9
    tasks = [PeriodicTask("A", a, 2 * a, 2 * a - 1), PeriodicTask("B", b, 2 * b)]
    assert edf_demand(tasks).ok is None


# --- deadline monotonic is optimal --------------------------------------------------------------------


@given(constrained)
def test_no_fixed_priorities_beat_deadline_monotonic(tasks):
    any_order = any(response_time_analysis(order).ok for order in permutations(tasks))
    assert response_time_analysis(deadline_monotonic(tasks)).ok is any_order


def test_rate_monotonic_is_beaten_when_deadlines_are_early():
    """The mutation."""
    tasks = taskset((2, 4), (1, 10, 2))
    assert response_time_analysis(rate_monotonic(tasks)).ok is False
    assert response_time_analysis(deadline_monotonic(tasks)).ok is True


# --- what does not fit --------------------------------------------------------------------------------


def test_early_deadlines_are_not_for_bounds_of_utilisation():
    tasks = taskset((1, 4, 2), (1, 8))
    for test in (liu_layland, hyperbolic, edf_utilisation):
        assert test(tasks).ok is None
        assert "T0 is due before the end of its period" in test(tasks).explanation[0]
    for test in (edf_us, rm_us):
        assert test(tasks, 2).ok is None


def test_late_deadlines_are_not_for_response_times():
    tasks = taskset((1, 4, 9))
    assert response_time_analysis(tasks).ok is None
    assert global_dm(tasks, 2).ok is None
    with pytest.raises(LlmosError, match="T0 is due after its next release"):
        response_times(tasks)


@pytest.mark.parametrize("policy", ["edf", "llf", "rm", "dm", "edf-us", "rm-us"])
@pytest.mark.parametrize("cores", [1, 2, 3])
def test_too_much_is_missed_whatever_the_policy(policy, cores):
    tasks = taskset(*[(3, 4)] * (2 * cores))
    assert all(v.ok is False for v in explain(tasks, policy, cores))
    assert all(v.ok is not False for v in explain(tasks[:cores], policy, cores))


def test_a_task_that_is_longer_than_its_deadline_or_period_fits_no_number_of_cores():
    for row in ((3, 9, 2), (3, 2, 9)):
        assert global_edf(taskset(row), 8).ok is False


@pytest.mark.parametrize("policy", ["edf", "llf", "rm", "dm", "priority", "edf-us", "rm-us"])
@pytest.mark.parametrize("cores", [1, 2])
def test_nothing_to_do_is_always_in_time(policy, cores):
    assert all(v.ok is not False for v in explain([], policy, cores))


def test_bad_input_is_told():
    with pytest.raises(LlmosError, match="task A: wcet_ns is 0"):
        PeriodicTask("A", 0, 4)
    with pytest.raises(
        LlmosError, match='no feasibility test fits the policy "fcfs"; there are tests for edf'
    ):
        explain([], "fcfs")
    with pytest.raises(LlmosError, match="there are 0 cores"):
        explain([], "edf", 0)
    with pytest.raises(LlmosError, match="there are 0 cores"):
        partition([], 0)
    with pytest.raises(LlmosError, match='no fit "next"; there are first, best, worst'):
        partition([], 1, fit="next")
    with pytest.raises(LlmosError, match='no admission "edf"'):
        partition([], 1, admission="edf")


# --- partitions ---------------------------------------------------------------------------------------


def test_the_three_fits():
    """After 0.5 on core 0 and 0.6 on core 1 comes 0.3: first -> 0, best -> 1, worst -> 0 of three: 2."""
    tasks = taskset((5, 10), (6, 10), (3, 10))
    assert partition(tasks, 3, decreasing=False).cores == (0, 1, 0)
    assert partition(tasks, 3, decreasing=False, fit="best").cores == (0, 1, 1)
    assert partition(tasks, 3, decreasing=False, fit="worst").cores == (0, 1, 2)


def test_the_greatest_first():
    """4+6, 5+5 fit two cores only if the great ones do not come last."""
    tasks = taskset((4, 10), (5, 10), (5, 10), (6, 10))
    in_order, decreasing = (partition(tasks, 2, decreasing=how) for how in (False, True))
    assert in_order.cores == (0, 0, 1, None)
    assert decreasing.cores == (0, 1, 1, 0)
    assert in_order.refusals == (
        "T3 does not fit core 0: U = 2/5 + 1/2 + 3/5 = 1.5 > 1: more work than 1 core can do",
        "T3 does not fit core 1: U = 1/2 + 3/5 = 1.1 > 1: more work than 1 core can do",
    )
    assert "core 0: T0, T1; U = 2/5 + 1/2 = 0.9" in str(in_order)


@given(
    constrained,
    st.integers(1, 3),
    st.sampled_from(sorted(FITS)),
    st.booleans(),
    st.sampled_from(sorted(ADMISSIONS)),
)
def test_a_core_holds_only_what_its_test_admits(tasks, cores, fit, decreasing, admission):
    dealt = partition(tasks, cores, fit=fit, decreasing=decreasing, admission=admission)
    for core in range(cores):
        assert not dealt.on(core) or ADMISSIONS[admission](dealt.on(core)).ok
    assert dealt.ok is not bool(dealt.refusals)
    if dealt.ok:
        assert sorted(task.name for core in range(cores) for task in dealt.on(core)) == sorted(
            task.name for task in tasks
        )
    else:
        assert len(dealt.refusals) == cores


@given(implicit)
def test_first_fit_leaves_at_most_one_core_half_empty(tasks):
    """Two cores filled to at most a half would have been one."""
    dealt = partition([t for t in tasks if t.share <= 1], 5)
    loads = [utilisation(dealt.on(core)) for core in range(5) if dealt.on(core)]
    assert sum(load <= Fraction(1, 2) for load in loads) <= 1


@pytest.mark.parametrize(
    ("test", "at_the_bound"),
    [
        (global_edf, [(4, 12), (4, 12), (4, 12), (4, 12), (4, 12)]),  # 5/3 = 2 - 1/3
        (global_dm, [(4, 12), (4, 12), (4, 12)]),  # 1 = 2/2 (1 - 1/3) + 1/3
        (edf_us, [(8, 12), (8, 12)]),  # 4/3
        (rm_us, [(6, 12), (6, 12)]),  # 1
    ],
)
def test_the_bounds_of_two_cores(test, at_the_bound):
    """By hand: at the bound they say yes, and with one more small task nothing."""
    assert test(taskset(*at_the_bound), 2).ok is True
    assert test(taskset(*at_the_bound, (1, 10**6)), 2).ok is None
