"""What HRRN, predicted SJF, the lottery, 4.4BSD and stride promise, and that breaking it is noticed."""

from fractions import Fraction
from math import sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import cores, engine, execute, task, tasks

from llmos.process.program import Compute, Io, YieldCpu
from llmos.scenario.machine import RequestSpec
from llmos.sched.base import Task, Why
from llmos.sched.bsd import BSD, ONE
from llmos.sched.hrrn import HRRN
from llmos.sched.lottery import Lottery, _Drum
from llmos.sched.multilevel import Multilevel
from llmos.sched.sjf import SJF
from llmos.sched.sjf_predicted import GRAIN, PredictedSJF
from llmos.sched.stride import Stride
from llmos.serving.pacing import Law
from llmos.trace import events as ev

POLICIES = {
    "hrrn": HRRN,
    "sjf-predicted": lambda: PredictedSJF(0.5, 5),
    "sjf-predicted, preemptive": lambda: PredictedSJF(0.3, 5, preemptive=True),
    "multilevel": lambda: Multilevel(["a", "b"], [3, 5]),
    "multilevel, fcfs": lambda: Multilevel(["a", "b"], 3, ["b"]),
    "lottery": lambda: Lottery(Random(1), quantum=4),
    "lottery, compensation": lambda: Lottery(Random(1), [7, 3], 4, compensation=True),
    "bsd": lambda: BSD(tick=2, slice_ticks=3, decay=20),
}


# --- all of them --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(workload=st.lists(tasks, min_size=1, max_size=6), count=st.integers(1, 3))
def test_no_core_idles_while_a_task_is_ready_and_all_is_done(name, workload, count):
    ran = execute(cores(POLICIES[name], *workload, count=count))
    ready, running, now = set(), set(), 0
    for event in ran.events:
        if event.t > now:
            assert not ready or len(running) == count
            now = event.t
        match event:
            case ev.Arrive() | ev.Wake():
                ready.add(event.task)
            case ev.Dispatch():
                ready.discard(event.task)
                running.add(event.task)
                assert event.reason
            case ev.Preempt() | ev.Yield():
                running.discard(event.task)
                ready.add(event.task)
            case ev.Block() | ev.Exit():
                running.discard(event.task)
    assert all(t.finish_ns is not None for t in ran.outcome.state.tasks.values())


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(bursts=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_the_same_file_gives_the_same_order_in_both_worlds(name, bursts):
    """A core and an engine of one slot whose iterations take 1 ns per token are the same processor."""
    processes = [task(f"T{i}", b, tickets=i + 1) for i, b in enumerate(bursts)]
    wanted = [RequestSpec(name=f"T{i}", prompt=1, output=b, tickets=i + 1) for i, b in enumerate(bursts)]
    core = execute(cores(POLICIES[name], *processes))
    llm = execute(engine(POLICIES[name], *wanted, slots=1, token_budget=1, pacing=Law(0.0, 1.0)))
    assert llm.runs == core.runs


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_batch_of_several_slots_is_served_to_the_end(name):
    requests = [RequestSpec(name=f"R{i}", prompt=3 + i, output=9, arrival_ns=i * 200) for i in range(9)]
    ran = execute(engine(POLICIES[name], *requests, slots=3))
    assert all(t.finish_ns is not None for t in ran.outcome.state.tasks.values())


# --- HRRN ---------------------------------------------------------------------------------------------


def broken_picks(policy, workload):
    """Dispatches at which another ready task of more than nothing to do had a higher response ratio."""
    ready, broken = {}, []

    class Watched(policy):
        def enqueue(self, task, why, now):
            ready[task] = now
            super().enqueue(task, why, now)

        def pick(self, now):
            picked = super().pick(now)
            ratios = {t: Fraction(now - since, max(t.remaining, 1)) for t, since in ready.items()}
            if max(ratios.values()) > ratios[picked]:
                broken.append((now, picked.name))
            del ready[picked]
            return picked

    execute(cores(Watched, *workload))
    return broken


@given(st.lists(tasks, min_size=1, max_size=6))
def test_hrrn_picks_the_highest_ratio(workload):
    assert broken_picks(HRRN, workload) == []


def test_sjf_does_not():
    assert broken_picks(SJF, [task("now", 5), task("long", 6), task("short", 5, at=4)])


def first_run_in_a_flood(policy):
    """A burst of 40 from 0 on, and bursts of 4: three at 0, then one every 4. When does it first run?"""
    short = [task(f"S{i}", 4) for i in range(3)] + [task(f"S{i}", 4, at=4 * (i - 2)) for i in range(3, 300)]
    return execute(cores(policy, *short, task("long", 40), until_ns=1000)).task("long").first_run_ns


def test_hrrn_starves_nobody_and_sjf_does():
    """A short burst never waits more than the backlog of 12 (+ 4), so its wait / burst is at most 4.

    The long one passes that after waiting 160, and then only for the burst that is running.
    """
    assert first_run_in_a_flood(HRRN) <= 40 * (12 + 4) / 4 + 4
    assert first_run_in_a_flood(SJF) is None


times, sizes = st.integers(0, 2**62 - 1), st.integers(1, 2**62 - 1)


@given(times, sizes, times, sizes, st.integers(-1, 1))
def test_ratios_are_compared_exactly(wait_a, a, wait_b, b, nudge):
    """Also where floating point would see no difference: each against a near multiple of the other."""
    now = 2**62
    for wait, burst in ((wait_b, b), (wait_a, a), (max(wait_a + nudge, 0), a)):
        policy = HRRN()
        for pid, (w, size) in enumerate(((wait_a, a), (wait, burst)), start=1):
            policy.enqueue(Task(pid=pid, name="", remaining=size), Why.ARRIVAL, now - w)
        first = 1 if Fraction(wait_a, a) >= Fraction(wait, burst) else 2
        assert policy.pick(now).pid == first


# --- predicted SJF ------------------------------------------------------------------------------------


class Blind(Task):
    """A task that nobody may ask how long it will run."""

    def _forbidden(self):
        raise AssertionError("this takes an oracle")

    remaining = burst = property(_forbidden, lambda self, value: None)


class NeverForgets(PredictedSJF):
    """The mutation: a burst is not ended, so that the next one is added to it."""

    def remove(self, task, why, now):
        used = self._accounts[task.pid].used
        super().remove(task, why, now)
        self._accounts[task.pid].used = used


def last_guess(policy, bursts):
    me = Blind(pid=1, name="a")
    for pieces in bursts:
        policy.enqueue(me, Why.WAKEUP, 0)
        for piece in pieces:
            policy.pick(0)
            policy.charge(me, piece, 0)
            policy.enqueue(me, Why.PREEMPTED, 0)
        policy.pick(0)
        policy.remove(me, Why.BLOCKED, 0)
    policy.enqueue(me, Why.WAKEUP, 0)
    assert policy.reason(me, 0)
    return Fraction(policy.key(me), GRAIN)


bursts_in_pieces = st.lists(st.lists(st.integers(1, 50), min_size=1, max_size=4), min_size=1, max_size=6)


@given(bursts_in_pieces)
def test_with_alpha_1_the_last_burst_is_the_prediction(bursts):
    assert last_guess(PredictedSJF(1, 7), bursts) == sum(bursts[-1])
    assert last_guess(NeverForgets(1, 7), bursts) != sum(bursts[-1])


@given(bursts_in_pieces)
def test_with_alpha_0_nothing_is_learned(bursts):
    assert last_guess(PredictedSJF(0, 7), bursts) == 7


@given(bursts_in_pieces, st.integers(0, 10))
def test_a_prediction_is_between_what_was_seen(bursts, tenths):
    seen = [7, *map(sum, bursts)]
    assert min(seen) - Fraction(1, 1000) <= last_guess(PredictedSJF(tenths / 10, 7), bursts) <= max(seen)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_a_weight_is_from_0_to_1(alpha):
    with pytest.raises(ValueError, match="alpha: it is a weight"):
        PredictedSJF(alpha)


def test_a_burst_goes_on_after_a_yield_and_nothing_is_learned_from_nothing():
    policy, me = PredictedSJF(1, 7), Task(pid=1, name="a")
    policy.enqueue(me, Why.ARRIVAL, 0)
    policy.charge(policy.pick(0), 3, 0)
    policy.enqueue(me, Why.YIELDED, 0)
    assert policy.key(me) == 4 * GRAIN
    policy.charge(policy.pick(0), 2, 0)
    policy.remove(me, Why.BLOCKED, 0)
    for _ in range(2):
        policy.enqueue(me, Why.WAKEUP, 0)
        assert policy.key(me) == 5 * GRAIN
        policy.remove(policy.pick(0), Why.BLOCKED, 0)


# --- lottery ------------------------------------------------------------------------------------------

DRAWS = 4000


def shares(policy, tickets):
    """How often each of the tasks, which always compute, wins in DRAWS draws."""
    jobs = [task(f"T{i}", 10 * DRAWS, tickets=k) for i, k in enumerate(tickets)]
    ran = execute(cores(policy, *jobs, until_ns=DRAWS))
    return [ran.task(job.name).cpu_ns for job in jobs]


def within_the_band(wins, tickets):
    """Whether all wins are within four standard deviations (1 - 6e-5) of the binomial distribution."""
    fractions = [k / sum(tickets) for k in tickets]
    return all(
        abs(n - DRAWS * p) <= 4 * sqrt(DRAWS * p * (1 - p)) for n, p in zip(wins, fractions, strict=True)
    )


class OnePersonOneTicket(Lottery):
    """The mutation: everybody has one ticket in the drum."""

    def _stake(self, task, player):
        return 1


@pytest.mark.parametrize("seed", range(4))
def test_wins_are_in_proportion_to_tickets(seed):
    tickets = [10, 30, 2, 58]
    assert within_the_band(shares(lambda: Lottery(Random(seed), quantum=1), tickets), tickets)
    assert not within_the_band(shares(lambda: OnePersonOneTicket(Random(seed), quantum=1), tickets), tickets)


def share_of_the_polite(compensation):
    """A uses all of its quantum of 10 and B a fifth of it, with as many tickets. B's share of the time?"""
    polite = task("B", *[c for _ in range(20_000) for c in (Compute(2), YieldCpu())], tickets=4)
    policy = Lottery(Random(3), quantum=10, compensation=compensation)
    ran = execute(cores(lambda: policy, task("A", 10**6, tickets=4), polite, until_ns=40_000))
    return ran.task("B").cpu_ns / 40_000


def test_compensation_gives_back_what_was_not_used():
    """Waldspurger and Weihl, section 4.5: with it, both get the same; without, B gets 2 / 12."""
    assert share_of_the_polite(compensation=False) == pytest.approx(1 / 6, abs=0.02)
    assert share_of_the_polite(compensation=True) == pytest.approx(1 / 2, abs=0.03)


def test_compensation_lasts_until_the_next_win():
    policy = Lottery(Random(0), quantum=10, compensation=True)
    me = Task(pid=1, name="a", tickets=3)

    def tickets(why):
        policy.enqueue(me, why, 0)
        return policy.show(0)[""][0][1]

    assert tickets(Why.ARRIVAL) == "3 tickets"
    policy.charge(policy.pick(0), 4, 0)
    policy.remove(me, Why.BLOCKED, 0)
    assert tickets(Why.WAKEUP) == "7 tickets"  # 3 * 10 / 4 = 7.5
    policy.pick(0)
    assert tickets(Why.PREEMPTED) == "7 tickets"  # the slot did not take it: the win does not count
    policy.charge(policy.pick(0), 10, 0)
    assert tickets(Why.EXPIRED) == "3 tickets"


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), max_size=30), st.integers(0, 10**6))
def test_the_drum_walks_the_pids_in_order(changes, draw):
    """Against the definition: add up tickets by pid until they are more than the winning one."""
    drum, held = _Drum(), {}
    for pid, tickets in changes:
        drum.add(pid, tickets - held.get(pid, 0))
        held[pid] = tickets
        assert drum.total == sum(held.values())
    if drum.total:
        winner = left = draw % drum.total
        for pid in sorted(held):
            left -= held[pid]
            if left < 0:
                assert drum.holder(winner) == pid
                break


def test_a_draw_cannot_be_negative():
    with pytest.raises(ValueError, match="draws: they are 0 or more"):
        Lottery(Random(0), [3, -1])


# --- 4.4BSD -------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=8), st.integers(1, 10**7))
def test_charging_in_pieces_is_charging_at_once(pieces, tick):
    recent = []
    for services in (pieces, [sum(pieces)]):
        policy, me = BSD(tick=tick), Task(pid=1, name="a")
        policy.enqueue(me, Why.ARRIVAL, 0)
        policy.pick(0)
        for service in services:
            policy.charge(me, service, 0)
        recent.append(policy._accounts[1].recent)
    assert recent[0] == recent[1] == sum(pieces) * ONE // tick


@given(
    st.lists(st.tuples(st.integers(-20, 19), st.integers(0, 500)), min_size=1, max_size=5),
    st.integers(1, 200),
)
def test_a_late_tick_decays_as_often_as_the_ticks_that_were_missed(tasks_, seconds):
    states = []
    for steps in (range(1, seconds + 1), [seconds]):
        policy = BSD(tick=1, decay=1000)
        for pid, (nice, used) in enumerate(tasks_):
            me = Task(pid=pid, name="", nice=nice)
            policy.enqueue(me, Why.ARRIVAL, 0)
            policy.charge(me, used, 0)
        for second in steps:
            policy.tick(second * 1000)
        states.append(
            (policy._load, [a.recent for a in policy._accounts.values()], policy.show(seconds).keys())
        )
    assert states[0] == states[1]


def test_an_interactive_task_comes_before_one_that_computes():
    """It uses a tenth of the core and never waits for more than the wake-up that preempts."""
    typist = task("typist", *[c for _ in range(50) for c in (Compute(10), Io("disk"))])
    policy = lambda: BSD(tick=10, slice_ticks=4, decay=1000)  # noqa: E731
    ran = execute(cores(policy, typist, task("A", 10**5), task("B", 10**5), io=90, until_ns=5000))
    late = [e for e in ran.of(ev.Wake) if e.t > 500]
    starts = {e.t for e in ran.of(ev.Dispatch) if e.task == ran.task("typist").pid}
    assert len(late) > 20
    assert sum(e.t in starts for e in late if e.task == ran.task("typist").pid) / len(late) > 0.9


@pytest.mark.parametrize(
    ("parameters", "says"), [({"slice_ticks": 0}, "slice_ticks"), ({"decay": 0}, "decay")]
)
def test_bsd_refuses_what_makes_no_sense(parameters, says):
    with pytest.raises(ValueError, match=says):
        BSD(**parameters)


# --- stride: its lazy heap ----------------------------------------------------------------------------


class NaiveStride(Stride):
    """The definition: of the clients with a ready task, the one with the smallest pass."""

    def pick(self, now):
        waiting = [client for client in self._clients.values() if client.ready]
        if not waiting:
            return None
        best = min(waiting, key=lambda client: (client.pass_, client.order))
        self._present = best.pass_
        return best.ready.popleft()


class StaleStride(Stride):
    """The mutation: it believes the pass that the heap noted, however old."""

    def pick(self, now):
        for _, _, client in sorted(self._heap, key=lambda entry: entry[:2]):
            if client.ready:
                return client.ready.popleft()
        return None


workloads = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 5), st.integers(1, 30), st.integers(0, 40)),
    min_size=1, max_size=8,
)  # fmt: skip


def schedule(policy, workload, count):
    made = policy(3)
    jobs = [
        task(f"T{i}", Compute(n), Io("disk"), Compute(n), client=client, tickets=k, at=at)
        for i, (client, k, n, at) in enumerate(workload)
    ]
    events = execute(cores(lambda: made, *jobs, count=count)).events
    assert len(made._heap) <= 3
    return [(e.t, e.cpu, e.task) for e in events if isinstance(e, ev.Dispatch | ev.Renew)]


@given(workloads, st.integers(1, 3))
def test_one_entry_per_client_gives_the_same_schedule(workload, count):
    assert schedule(Stride, workload, count) == schedule(NaiveStride, workload, count)


def test_an_old_pass_is_noticed():
    workload = [("a", 1, 30, 0), ("b", 5, 30, 0), ("c", 2, 30, 0)]
    assert schedule(StaleStride, workload, 1) != schedule(NaiveStride, workload, 1)
