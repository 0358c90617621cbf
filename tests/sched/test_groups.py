"""Groups: shares by weight whatever is inside, quotas, and a level that its policies do not notice."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import POLICIES, cores, engine, execute, overheads, requests, task, tasks

from llmos import plugins
from llmos.process.program import Compute, Sleep
from llmos.scenario.machine import RequestSpec
from llmos.sched._groups import Group, Groups
from llmos.sched.base import Scheduler, Task, Why
from llmos.sched.cfs import CFS
from llmos.sched.eevdf import EEVDF
from llmos.sched.fcfs import FCFS
from llmos.sched.priority import Priority
from llmos.sched.rr import RoundRobin
from llmos.serving.pacing import Law
from llmos.trace import events as ev
from llmos.trace.expand import expand

INNER = POLICIES | {
    "cfs": lambda: CFS(latency=12, min_granularity=3, wakeup_granularity=2),
    "eevdf": lambda: EEVDF(base_slice=4, tick=8),
}


policies = st.sampled_from(sorted(INNER))


class ByName(Groups):
    """Groups for machines of a test: a task belongs to the group of its first letter."""

    def enqueue(self, task, why, now):
        task.group = task.name[0]
        super().enqueue(task, why, now)


def grouped(inner, quantum=10, **groups):
    return lambda: ByName({name: Group(**more) for name, more in groups.items()}, inner, quantum)


def service(ran):
    """Service of each group."""
    used = {}
    for start, end, name in ran.runs:
        used[name[0]] = used.get(name[0], 0) + end - start
    return used


# --- a single group is not noticed --------------------------------------------------------------------


def without_reasons(events):
    """The events, less what the policies say in words."""
    worded = ev.Dispatch | ev.Renew | ev.Preempt
    return [msgspec.structs.replace(e, reason="") if isinstance(e, worded) else e for e in events]


@given(policies, st.lists(tasks, min_size=1, max_size=6), st.integers(1, 3), overheads)
def test_one_group_on_cores_is_its_policy_alone(name, workload, count, costs):
    alone = execute(cores(INNER[name], *workload, count=count, costs=costs))
    group = execute(cores(grouped(INNER[name], T={}), *workload, count=count, costs=costs))
    assert without_reasons(group.events)[1:] == without_reasons(alone.events)[1:]


@settings(max_examples=60)
@given(policies, st.lists(requests, min_size=1, max_size=6), st.integers(1, 3))
def test_one_group_in_an_engine_is_its_policy_alone(name, workload, slots):
    alone = execute(engine(INNER[name], *workload, slots=slots))
    group = execute(engine(grouped(INNER[name], R={}), *workload, slots=slots))
    assert without_reasons(group.events)[1:] == without_reasons(alone.events)[1:]


# --- any policy inside, anywhere ----------------------------------------------------------------------

mixed = st.lists(st.tuples(tasks, st.sampled_from("ABC")), min_size=1, max_size=7).map(
    lambda both: [replace(t, name=f"{group}{t.name}") for t, group in both]
)
MIX = {"A": {"weight": 300}, "B": {}, "C": {"weight": 20, "quota": 9, "period_ns": 30}}


@settings(max_examples=80)
@given(policies, mixed, st.integers(1, 3), overheads)
def test_all_tasks_of_all_groups_come_to_their_end(name, workload, count, costs):
    ran = execute(cores(grouped(INNER[name], quantum=5, **MIX), *workload, count=count, costs=costs))
    assert ran.outcome.ok
    assert all(e.reason for e in ran.of(ev.Dispatch))


@settings(max_examples=60)
@given(
    policies,
    st.lists(st.tuples(requests, st.sampled_from("ABC")), min_size=1, max_size=6),
    st.integers(1, 4),
    st.integers(0, 30),
)
def test_stepping_and_skipping_give_the_same_log(name, workload, slots, more):
    wanted = [replace(r, name=group) for r, group in workload]
    policy = grouped(INNER[name], quantum=5, **MIX | {"C": {"quota": 40, "period_ns": 3000}})
    stepped = execute(engine(policy, *wanted, slots=slots, token_budget=slots + more, skip=False))
    skipped = execute(engine(policy, *wanted, slots=slots, token_budget=slots + more))
    assert skipped.outcome.ok
    assert list(expand(skipped.events)) == list(expand(stepped.events))


# --- shares -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(INNER))
@pytest.mark.parametrize(("a", "b"), [(1, 1), (1, 9), (12, 2)])
def test_groups_share_by_weight_whatever_the_number_of_tasks(name, a, b):
    """Weights 300 and 100 are 3 : 1; two groups are never further than a turn each from it."""
    workload = [*[task(f"A{i}", 5000) for i in range(a)], *[task(f"B{i}", 5000) for i in range(b)]]
    policy = grouped(INNER[name], quantum=10, A={"weight": 300}, B={"weight": 100})
    got = service(execute(cores(policy, *workload, until_ns=4000)))
    assert got["A"] == pytest.approx(3000, abs=20)


def test_without_groups_the_many_get_more():
    """The mutation: round robin alone gives nine tasks nine tenths."""
    workload = [task("A0", 5000), *[task(f"B{i}", 5000) for i in range(9)]]
    assert service(execute(cores(lambda: RoundRobin(10), *workload, until_ns=4000)))["A"] == 400


class Unweighted(ByName):
    """The mutation: a group's virtual time does not care for its weight."""

    def charge(self, task, service, now):
        for member in self._members.values():
            member.clock.weight = 1024
        super().charge(task, service, now)


def test_without_the_weight_the_groups_are_equal():
    policy = Unweighted({"A": Group(weight=300), "B": Group()}, FCFS, 10)
    got = service(execute(cores(lambda: policy, task("A", 5000), task("B", 5000), until_ns=4000)))
    assert got["A"] == pytest.approx(2000, abs=20)


@settings(max_examples=25)
@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=5))
def test_shares_of_any_weights(weights):
    names = "ABCDE"[: len(weights)]
    policy = grouped(FCFS, **{n: {"weight": w} for n, w in zip(names, weights, strict=True)})
    ran = execute(cores(policy, *[task(n, 10**6) for n in names], until_ns=5000))
    for name, weight in zip(names, weights, strict=True):
        share = 5000 * weight / sum(weights)
        assert service(ran).get(name, 0) == pytest.approx(share, abs=10 * len(weights) + 0.01 * share)


def test_groups_share_an_engine_in_tokens():
    names = [f"A{i}" for i in range(2)] + [f"B{i}" for i in range(9)]
    wanted = [RequestSpec(name=name, prompt=1, output=1000) for name in names]
    policy = grouped(FCFS, quantum=8, A={"weight": 300}, B={})
    ran = execute(engine(policy, *wanted, slots=2, token_budget=2, pacing=Law(0.0, 1.0)))
    tokens = {"A": 0, "B": 0}
    for e in expand(ran.events):
        if isinstance(e, ev.Iterate) and e.t <= 1000:  # all of them are still there
            for pid in [*e.decode, *(p for p, _ in e.prefill)]:  # prompts are of one token
                tokens[ran.outcome.state.tasks[pid].name[0]] += 1
    assert tokens["A"] / sum(tokens.values()) == pytest.approx(0.75, abs=0.02)


# --- the outer level is not seen by the inner one -----------------------------------------------------


def test_a_task_goes_on_with_what_was_left_of_its_quantum():
    """Inside RR(6), outside turns of 4: a quantum takes a turn of 4 and one of 2, unless it is cut again.

    A1 to 4, B to 8; A1's other 2, and RR is done with it. B is behind (4 : 6) and has its other 2. At
    6 : 6 it is A's turn: A2 4, B 4, then both have 2 left of their quantum.
    """
    policy = grouped(lambda: RoundRobin(6), quantum=4, A={}, B={})
    ran = execute(cores(policy, task("A1", 12), task("A2", 12), task("B1", 40), until_ns=24))
    assert ran.runs == [
        (0, 4, "A1"), (4, 8, "B1"), (8, 10, "A1"), (10, 12, "B1"), (12, 16, "A2"), (16, 20, "B1"),
        (20, 22, "A2"), (22, 24, "B1"),
    ]  # fmt: skip


def test_a_paused_task_is_not_overtaken_in_its_group():
    """Non-preemptive priority: B comes between, but the urgent newcomer waits for the end of A1."""
    policy = grouped(lambda: Priority(preemptive=False), quantum=4, A={}, B={})
    workload = [task("A1", 8, priority=5), task("A2", 4, at=5, priority=0), task("B1", 40)]
    ran = execute(cores(policy, *workload, until_ns=20))
    assert [n for _, _, n in ran.runs] == ["A1", "B1", "A1", "B1", "A2"]


def test_a_paused_task_is_overtaken_if_its_policy_says_so():
    """The same, preemptive: A2 arrives while B runs, and goes before A1 when its group has its turn."""
    policy = grouped(Priority, quantum=4, A={}, B={})
    workload = [task("A1", 8, priority=5), task("A2", 4, at=5, priority=0), task("B1", 40)]
    ran = execute(cores(policy, *workload, until_ns=20))
    assert [n for _, _, n in ran.runs] == ["A1", "B1", "A2", "B1", "A1"]


def test_a_group_that_wakes_up_behind_preempts():
    """B has run 1 and sleeps from 11 to 23. A has turns from 0, 11 and 21 (when it is at 20).

    At 23 A is at 22, in the middle of its turn, and B, lifted to 20, takes its place.
    """
    policy = grouped(FCFS, A={}, B={})
    ran = execute(cores(policy, task("A", 100), task("B", Compute(1), Sleep(12), Compute(2)), until_ns=40))
    assert ran.runs == [(0, 10, "A"), (10, 11, "B"), (11, 23, "A"), (23, 25, "B"), (25, 40, "A")]


def test_rest_cannot_be_saved_up():
    policy = grouped(FCFS, A={}, B={})
    ran = execute(cores(policy, task("A", 2000), task("B", 1000, at=1000), until_ns=1400))
    assert service(ran)["B"] == pytest.approx(200, abs=10)


# --- quotas -------------------------------------------------------------------------------------------


def used_in_each(ran, group, period):
    """Service of `group` in each period, on all cores together."""
    used = {}
    for span in ran.outcome.state.spans:
        if ran.outcome.state.tasks[span.pid].name[0] == group:
            for n in range(span.start_ns // period, (span.end_ns - 1) // period + 1):
                part = min(span.end_ns, (n + 1) * period) - max(span.start_ns, n * period)
                used[n] = used.get(n, 0) + part
    return used


def test_a_quota_by_hand():
    """10 of every 40, alone on the machine: the core is idle for the rest."""
    policy = grouped(FCFS, quantum=100, A={"quota": 10, "period_ns": 40})
    ran = execute(cores(policy, task("A", 25)))
    assert ran.runs == [(0, 10, "A"), (40, 50, "A"), (80, 85, "A")]


@given(policies, mixed, st.integers(1, 3), st.integers(1, 30), st.integers(5, 50))
def test_a_quota_is_never_exceeded(name, workload, count, quota, period):
    """Without kernel costs not even by one: ticks end the periods, and what is granted is reserved."""
    policy = grouped(INNER[name], quantum=6, A={"quota": quota, "period_ns": period}, B={}, C={})
    ran = execute(cores(policy, *workload, count=count))
    assert ran.outcome.ok
    assert max(used_in_each(ran, "A", period).values(), default=0) <= quota


class Unthrottled(ByName):
    """The mutation: who has used its quota may go on."""

    def _budget(self, member):
        return None


def test_without_throttling_the_quota_is_exceeded():
    policy = Unthrottled({"A": Group(quota=10, period_ns=40)}, FCFS)
    assert execute(cores(lambda: policy, task("A", 25))).runs == [(0, 25, "A")]


def test_what_a_group_may_not_have_the_others_get():
    policy = grouped(FCFS, quantum=5, A={"quota": 10, "period_ns": 40, "weight": 10_000}, B={})
    ran = execute(cores(policy, task("A", 1000), task("B", 1000), until_ns=400))
    assert service(ran) == {"A": 100, "B": 300}


def test_a_throttled_group_wakes_up_and_waits():
    policy = grouped(FCFS, A={"quota": 10, "period_ns": 100}, B={})
    workload = [task("A1", 10), task("A2", 10, at=50), task("B", 200)]
    ran = execute(cores(policy, *workload))
    assert [r for r in ran.runs if r[2] == "A2"] == [(100, 110, "A2")]


# --- small things -------------------------------------------------------------------------------------


def plain(pid, group, **more):
    return Task(pid=pid, name=f"T{pid}", group=group, **more)


def test_a_task_can_change_its_group_whatever_its_state():
    policy: Scheduler = Groups({"a": Group(), "b": Group()}, FCFS)
    ready, running = plain(1, "a"), plain(2, "a")
    policy.enqueue(running, Why.ARRIVAL, 0)
    policy.enqueue(ready, Why.ARRIVAL, 0)
    assert policy.pick(0) is running
    policy.quantum(running, 0)
    policy.withdraw(ready, 0)
    ready.group = "b"
    policy.enqueue(ready, Why.CHANGED, 0)
    running.group = "b"
    policy.enqueue(running, Why.CHANGED, 0)
    assert [policy.pick(0), policy.pick(0), policy.pick(0)] == [ready, running, None]
    assert policy.reason(ready, 0).startswith("group b")
    policy.quantum(ready, 0)
    policy.remove(ready, Why.BLOCKED, 0)
    ready.group = "a"
    policy.enqueue(ready, Why.WAKEUP, 0)
    assert policy.pick(0) is ready
    assert policy.reason(ready, 0).startswith("group a")


def test_the_queue_is_shown_by_groups():
    policy = Groups({"a": Group(quota=7), "b": Group()}, EEVDF)
    first, second = plain(1, "a"), plain(2, "b")
    for one in (first, second):
        policy.enqueue(one, Why.ARRIVAL, 0)
    assert policy.pick(0) is first
    assert policy.quantum(first, 0) == 7
    policy.charge(first, 7, 7)
    policy.enqueue(first, Why.EXPIRED, 7)
    shown = {heading: [task for task, _ in tasks] for heading, tasks in policy.show(7).items() if tasks}
    assert shown == {"a (throttled): paused": [first], "b: joining": [second]}
    assert [policy.pick(7), policy.pick(7)] == [second, None]
    assert policy.next_tick(7) == 100_000_000


def test_a_paused_task_can_be_withdrawn():
    policy = Groups({"a": Group(), "b": Group()}, lambda: RoundRobin(100), quantum=10)
    first, second = plain(1, "a"), plain(2, "a")
    for one in (first, second):
        policy.enqueue(one, Why.ARRIVAL, 0)
    assert policy.pick(0) is first
    assert policy.quantum(first, 0) == 10
    policy.charge(first, 10, 10)
    policy.enqueue(first, Why.EXPIRED, 10)
    assert "a: paused" in policy.show(10)
    policy.withdraw(first, 10)
    assert [policy.pick(10), policy.pick(10)] == [second, None]


def test_a_task_that_its_slot_refuses_goes_back_as_if_it_had_not_been_picked():
    policy = Groups({"a": Group(), "b": Group()}, lambda: Priority(preemptive=False))
    refused, urgent = plain(1, "a", priority=5), plain(2, "a", priority=1)
    policy.enqueue(refused, Why.ARRIVAL, 0)
    assert policy.pick(0) is refused
    policy.enqueue(refused, Why.PREEMPTED, 0)
    policy.enqueue(urgent, Why.ARRIVAL, 0)
    assert policy.pick(0) is urgent


def test_a_task_of_no_known_group_gets_one():
    policy = Groups({"a": Group()}, FCFS)
    stranger = plain(1, "x")
    policy.enqueue(stranger, Why.ARRIVAL, 0)
    assert policy.pick(0) is stranger
    assert policy.quantum(stranger, 0) == 10_000_000  # it shares with a now


def test_groups_are_no_policy_to_choose():
    assert not [c for c in plugins.available("llmos.sched", Scheduler).values() if issubclass(c, Groups)]


@pytest.mark.parametrize("wrong", [{"weight": 0}, {"weight": 10_001}, {"quota": 0}, {"period_ns": 0}])
def test_a_group_refuses_what_makes_no_sense(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Group(**wrong)


def test_only_what_a_task_may_really_use_is_reserved_of_the_quota():
    """Quota 5, turns of 5, inner quantum 3: the first may use 3, so the second 2, and then it is used up."""
    policy = Groups({"a": Group(quota=5), "b": Group()}, lambda: RoundRobin(3), quantum=5)
    three = [plain(pid, "a") for pid in (1, 2, 3)]
    for one in three:
        policy.enqueue(one, Why.ARRIVAL, 0)
    assert [policy.pick(0) for _ in three] == [three[0], three[1], None]
    assert [policy.quantum(one, 0) for one in three[:2]] == [3, 2]
