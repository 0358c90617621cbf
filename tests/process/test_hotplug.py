"""Cores that go offline and come back: what becomes of their tasks, in queues of all kinds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import POLICIES, cores, execute, job, task

from llmos.process import hotplug
from llmos.process.balance import Balance, Balancing
from llmos.process.cores import Cores, Rules
from llmos.process.dispatcher import Costs, Dispatcher
from llmos.process.program import Compute, Fork, Io, SetAffinity, Sleep, Wait
from llmos.scenario.machine import CacheSpec, Injection, TaskSpec
from llmos.sched.fcfs import FCFS
from llmos.sched.mlfq import MLFQ
from llmos.sched.priority import Priority
from llmos.sched.rr import RoundRobin
from llmos.trace import events as ev
from llmos.trace.perfetto import trace_events
from llmos.trace.state import fold


def offline(cpu, time, length=0, **more):
    return Injection(name="", at_ns=time, cpu=cpu, cost_ns=length, offline=True, **more)


def on(ran, cpu):
    """(start, end, task) on one core."""
    state = ran.outcome.state
    return [(s.start_ns, s.end_ns, state.tasks[s.pid].name) for s in state.spans if s.cpu == cpu]


PER_CORE = {"per_core": True, "balancing": Balancing(placement="deal")}


# --- one queue ------------------------------------------------------------------------------------------


def test_its_task_is_preempted_and_goes_on_when_there_is_a_core():
    """A on 0 to 10, B on 1 to 4; B waits for core 0, has it at 10, and needs 6 more."""
    ran = execute(cores(FCFS, task("A", 10), task("B", 10), count=2, injections=[offline(1, 4)]))
    assert (on(ran, 0), on(ran, 1)) == ([(0, 10, "A"), (10, 16, "B")], [(0, 4, "B")])
    (preempted,) = ran.of(ev.Preempt)
    assert (preempted.t, preempted.cpu, preempted.reason) == (4, 1, "cpu 1 goes offline")
    assert [(e.t, e.cpu, e.online) for e in ran.of(ev.Hotplug)] == [(4, 1, False)]


def test_a_core_that_is_back_takes_work_at_once():
    ran = execute(cores(FCFS, task("A", 20), task("B", 10), count=2, injections=[offline(1, 4, 5)]))
    assert on(ran, 1) == [(0, 4, "B"), (9, 15, "B")]
    assert [(e.t, e.online) for e in ran.of(ev.Hotplug)] == [(4, False), (9, True)]


def test_the_urgent_task_of_a_core_that_goes_preempts_another():
    """Low runs on 0, High on 1 until that goes at 4: then High has core 0, and Low waits to 10."""
    low, high = task("L", 10, priority=5), task("H", 10, priority=1, affinity=frozenset({0, 1}))
    ran = execute(cores(Priority, low, high, count=2, injections=[offline(0, 4)]))
    assert ran.task("H").finish_ns == 10
    ran = execute(cores(Priority, low, high, count=2, injections=[offline(1, 4)]))
    assert ran.task("H").finish_ns == 10
    assert ran.task("L").finish_ns == 16


def test_the_rest_of_the_quantum_is_not_lost_nor_given_twice():
    """RR 10 on two cores: B is preempted at 4, at the front of the queue; A has its 10, then B its turn."""
    tasks = task("A", 30), task("B", 30)
    ran = execute(cores(lambda: RoundRobin(10), *tasks, count=2, injections=[offline(1, 4)]))
    assert on(ran, 0)[:3] == [(0, 10, "A"), (10, 20, "B"), (20, 30, "A")]


def test_affinity_to_a_core_that_is_offline_means_to_wait():
    """Linux would let B run on core 0."""
    pinned = task("B", 10, affinity=frozenset({1}))
    for more in ({}, PER_CORE):
        ran = execute(cores(FCFS, task("A", 2), pinned, count=2, injections=[offline(1, 4, 50)], **more))
        assert on(ran, 1) == [(0, 4, "B"), (54, 60, "B")]
        ran = execute(cores(FCFS, task("A", 2), pinned, count=2, injections=[offline(1, 4)], **more))
        assert not ran.outcome.ok
        assert ran.outcome.reason.endswith("1 task unfinished: B (all its cores are offline)")


def test_the_last_core_stays():
    ran = execute(cores(FCFS, task("A", 10), count=2, injections=[offline(0, 2), offline(1, 4)]))
    assert [(e.t, e.cpu, e.online) for e in ran.of(ev.Hotplug)] == [(2, 0, False), (4, 1, True)]
    assert ran.runs == [(0, 2, "A"), (2, 10, "A")]
    assert ran.outcome.ok


def test_inside_the_kernel_a_core_goes_when_the_call_is_over():
    """A's call lasts from 3 to 8; the core should go at 5, and does at 8."""
    spec = cores(FCFS, task("A", 3, Fork(job(Compute(1))), 5), task("B", 20), count=2,
                 costs=Costs(syscall_ns=5), injections=[offline(0, 5, 4)])  # fmt: skip
    assert [e.t for e in execute(spec).of(ev.Hotplug)] == [8, 9]
    spec = cores(FCFS, task("A", 3, Fork(job(Compute(1))), 5), task("B", 20), count=2,
                 costs=Costs(syscall_ns=5), injections=[offline(0, 5, 2)])  # fmt: skip
    assert execute(spec).of(ev.Hotplug) == []  # it is to be back before it could go


def test_being_asked_twice_it_is_back_when_both_are_over():
    inject = [offline(1, 2, 10), offline(1, 4, 20), offline(1, 5, 3)]
    ran = execute(cores(FCFS, task("A", 50), count=2, injections=inject))
    assert [(e.t, e.online) for e in ran.of(ev.Hotplug)] == [(2, False), (24, True)]


@pytest.mark.parametrize("cost", [0, 3])
def test_interrupts_for_it_go_to_another_core(cost):
    """B slept on core 1, which goes at 4: its timer and A's network interrupt are handled on core 0."""
    spec = cores(FCFS, task("A", 50), task("B", 2, Sleep(10), 1), count=2, costs=Costs(timer_ns=cost),
                 injections=[offline(1, 4), Injection(name="nic", at_ns=8, cpu=1, cost_ns=2)])  # fmt: skip
    ran = execute(spec)
    heard = [(e.t, e.cpu, e.irq) for e in ran.of(ev.Interrupt) if e.irq != "ipi"]
    assert heard == [(8, 0, "nic"), (12, 0, "timer")]
    assert ran.task("B").finish_ns == 50 + 2 + cost + 1


def test_it_is_cold_when_it_is_back():
    """Warm after 5, then twice as fast: 5 + 5 for 15 of work. Offline at 12 for 1, it is cold again."""
    cache = CacheSpec(size_bytes=10, warmup_ns=5, warm_rate=2000)
    a, b = (task(name, 40, affinity=frozenset({cpu})) for cpu, name in enumerate("AB"))
    ran = execute(cores(FCFS, a, b, count=2, cache=cache, injections=[offline(1, 12, 1)]))
    assert [(e.t, e.cpu) for e in ran.of(ev.Warm)] == [(5, 0), (5, 1), (18, 1)]
    assert ran.task("A").finish_ns == 5 + 18  # 5 cold, 35 of work in 17.5
    assert ran.task("B").finish_ns == 18 + 8  # 19 done by 12, 5 more by 18, and 16 in 8


def test_a_context_is_loaded_anew():
    pinned = task("A", 10, affinity=frozenset({1}))
    spec = cores(FCFS, pinned, count=2, costs=Costs(context_switch_ns=2), injections=[offline(1, 5, 5)])
    assert [e.switch_ns for e in execute(spec).of(ev.Dispatch)] == [2, 2]


def test_a_core_that_is_kept_for_a_task_is_not_any_more():
    """A keeps core 0 while its I/O lasts; that goes at 3, and A goes on on core 1 at 6."""
    spec = cores(FCFS, task("A", 1, Io("disk"), 4), count=2, rules=Rules(keep_on_io=True),
                 injections=[offline(0, 3)])  # fmt: skip
    assert execute(spec).runs == [(0, 1, "A"), (6, 10, "A")]


# --- a queue each ---------------------------------------------------------------------------------------


def test_its_queue_moves_to_the_others_in_the_policys_order():
    """Dealt out: 0: A D, 1: B E, 2: C F. Core 2 goes at 4: C, which ran, goes to 0 and F to 1."""
    tasks = [task(name, 10) for name in "ABCDEF"]
    ran = execute(cores(FCFS, *tasks, count=3, injections=[offline(2, 4)], **PER_CORE))
    moves = [(e.t, ran.outcome.state.tasks[e.task].name, e.origin, e.cpu) for e in ran.of(ev.Migrate)]
    assert moves == [(4, "C", 2, 0), (4, "F", 2, 1)]
    assert {e.reason for e in ran.of(ev.Migrate)} == {f"cpu {cpu} takes over from cpu 2" for cpu in (0, 1)}
    assert on(ran, 0) == [(0, 10, "A"), (10, 20, "D"), (20, 26, "C")]
    assert on(ran, 1) == [(0, 10, "B"), (10, 20, "E"), (20, 30, "F")]


def test_new_tasks_and_sleepers_join_those_that_are_online():
    tasks = task("A", 30), task("B", 2, Sleep(8), 5), task("C", 5, at=6), task("D", 5, at=7)
    ran = execute(cores(FCFS, *tasks, count=2, injections=[offline(1, 4, 100)], **PER_CORE))
    assert on(ran, 1) == [(0, 2, "B")]
    assert on(ran, 0) == [(0, 30, "A"), (30, 35, "C"), (35, 40, "D"), (40, 45, "B")]


def test_who_waits_for_either_of_two_has_the_first_that_is_back():
    """B may run on 1 and 2. Both are offline from 4 on; it is in the queue of 1, and 2 is back at 9."""
    pinned = task("B", 10, affinity=frozenset({1, 2}))
    inject = [offline(2, 3, 6), offline(1, 4, 50)]
    ran = execute(cores(FCFS, task("A", 40), pinned, count=3, injections=inject, **PER_CORE))
    assert (on(ran, 1), on(ran, 2)) == ([(0, 4, "B")], [(9, 15, "B")])


def test_affinity_may_name_a_core_that_is_offline():
    spec = cores(FCFS, task("A", 6, SetAffinity(frozenset({1})), 5), count=2, injections=[offline(1, 2, 20)])
    assert execute(spec).runs == [(0, 6, "A"), (22, 27, "A")]


def test_boosts_and_balancing_do_not_keep_a_run_alive_in_which_nothing_can_happen():
    """B waits for ever for core 1, in an MLFQ with boosts, beside balancing: the run ends."""
    pinned = task("B", 10, affinity=frozenset({1}))
    for more in ({}, {"per_core": True, "balancing": Balancing(balance_ns=7, peek_ns=5, steal=True)}):
        spec = cores(lambda: MLFQ(quantum=3, boost=11), task("A", 2), pinned, count=2,
                     injections=[offline(1, 4)], max_events=10_000, **more)  # fmt: skip
        assert "all its cores are offline" in execute(spec).outcome.reason


def test_a_boost_that_was_due_meanwhile_comes_when_the_core_is_back():
    pinned = task("B", 20, affinity=frozenset({1}))
    for more in ({}, PER_CORE):
        spec = cores(lambda: MLFQ(quantum=3, boost=11), task("A", 2), pinned, count=2,
                     injections=[offline(1, 4, 40)], **more)  # fmt: skip
        ran = execute(spec)
        assert ran.outcome.ok
        assert 44 in [e.t for e in ran.of(ev.Tick)]


def test_flapping_without_end_ends_with_the_work():
    inject = [offline(1, 5, 5, every_ns=10, count=10**9)]
    ran = execute(cores(FCFS, task("A", 40), task("B", 20), count=2, injections=inject, max_events=10_000))
    assert on(ran, 1) == [(0, 5, "B"), (10, 15, "B"), (20, 25, "B"), (30, 35, "B")]
    assert ran.outcome.ok
    stall = Injection(name="", at_ns=0, every_ns=10, count=10**9, cost_ns=5, device="disk")
    assert execute(cores(FCFS, task("A", 40), injections=[stall], max_events=10_000)).outcome.ok


# --- promises -------------------------------------------------------------------------------------------


@st.composite
def machines(draw):
    """Two or three cores that come and go, and tasks that may run on some of them."""
    count = draw(st.integers(2, 3))
    cpus = st.frozensets(st.integers(0, count - 1), min_size=1)
    calls = st.lists(st.one_of(st.integers(0, 15), st.integers(0, 9).map(Sleep)), min_size=1, max_size=5)
    tasks = [
        task(f"T{i}", *draw(calls), at=draw(st.integers(0, 20)), affinity=draw(st.none() | cpus),
             priority=draw(st.integers(0, 3)))
        for i in range(draw(st.integers(1, 6)))
    ]  # fmt: skip
    outages = st.tuples(st.integers(0, count - 1), st.integers(0, 60), st.integers(1, 30))
    return cores(
        POLICIES[draw(st.sampled_from(sorted(POLICIES)))],
        *tasks,
        count=count,
        costs=draw(st.sampled_from([Costs(), Costs(syscall_ns=2, timer_ns=1, context_switch_ns=3)])),
        per_core=(per_core := draw(st.booleans())),
        balancing=Balancing(steal=draw(st.booleans()) and per_core),
        injections=[offline(*outage) for outage in draw(st.lists(outages, max_size=4))],
        convention=draw(st.sampled_from(["textbook", "ostep"])),
        max_events=20_000,
    )


@given(machines())
def test_all_work_is_done_where_it_may_be(spec):
    """Cores that come back lose no work and run nothing while they are away (`execute` checks that)."""
    ran = execute(spec)
    assert ran.outcome.ok
    affinity = {t.name: t.affinity for t in spec.tasks}
    for span in ran.outcome.state.spans:
        allowed = affinity[ran.outcome.state.tasks[span.pid].name]
        assert allowed is None or span.cpu in allowed
    if spec.cpu.costs == Costs():
        for one in spec.tasks:
            work = sum(call.ns for call in one.program() if isinstance(call, Compute))
            assert any(t.cpu_ns == work for t in ran.outcome.state.tasks.values() if t.name == one.name)


@given(machines())
def test_the_slices_of_a_trace_do_not_overlap(spec):
    busy = {}
    for e in trace_events(execute(spec).events):
        if e["ph"] == "X":
            place = e["pid"], e["tid"]
            start = round(e["ts"] * 1000)
            assert start >= busy.get(place, 0)
            busy[place] = start + round(e["dur"] * 1000)


def test_a_trace_shows_when_a_core_was_offline():
    a = task("A", 20_000)
    for length, end in ((5_000, 9.0), (0, 20.0)):
        ran = execute(cores(FCFS, a, count=2, injections=[offline(1, 4_000, length)]))
        (gone,) = [e for e in trace_events(ran.events) if e.get("cat") == "offline"]
        assert (gone["name"], gone["ts"], gone["ts"] + gone["dur"]) == ("offline", 4.0, end)


HEAD = [
    ev.Run(0, processors=[ev.Processor(0, "core", "fcfs"), ev.Processor(1, "core", "fcfs")]),
    ev.Arrive(0, task=1, name="A"),
]


@pytest.mark.parametrize(
    "events",
    [
        [ev.Dispatch(0, 1, 1), ev.Hotplug(1, 1)],
        [ev.Hotplug(1, 1), ev.Dispatch(2, 1, 1)],
        [ev.Hotplug(1, 1), ev.Interrupt(2, 1, irq="nic")],
        [ev.Hotplug(1, 1), ev.Hotplug(2, 0)],
        [ev.Hotplug(1, 7)],
    ],
)
def test_what_an_offline_core_cannot_do_is_a_violation(events):
    assert fold([*HEAD, *events]).violations


def test_what_it_can_do_is_none():
    back = [ev.Hotplug(1, 1), ev.Hotplug(3, 1, online=True), ev.Dispatch(4, 1, 1)]
    state = fold([*HEAD, *back])
    assert state.violations == []
    assert [p.online for p in state.processors.values()] == [True, True]


# --- break it, and see ----------------------------------------------------------------------------------


def test_mutant_nobody_takes_over(monkeypatch):
    monkeypatch.setattr(Balance, "move_away", lambda _self: None)
    with pytest.raises(AssertionError):
        test_its_queue_moves_to_the_others_in_the_policys_order()


def test_mutant_interrupts_go_where_they_always_went(monkeypatch):
    monkeypatch.setattr(Cores, "instead_of", lambda _self, cpu: cpu)
    with pytest.raises(AssertionError):
        test_interrupts_for_it_go_to_another_core(3)


def test_mutant_a_task_of_a_core_that_goes_may_not_preempt(monkeypatch):
    close = Dispatcher.close

    def quietly(self, slot, reason):
        close(self, slot, reason)
        self._newcomers.clear()

    monkeypatch.setattr(Dispatcher, "close", quietly)
    with pytest.raises(AssertionError):
        test_the_urgent_task_of_a_core_that_goes_preempts_another()


def test_mutant_the_last_core_goes_too(monkeypatch):
    def leave(kernel, core):
        core.online = False
        core.dispatcher.close(core, "")
        kernel.emit(ev.Hotplug(kernel.sim.now, core.cpu))

    monkeypatch.setattr(hotplug, "leave", leave)
    with pytest.raises(AssertionError):
        test_the_last_core_stays()


def test_a_parent_waits_for_a_child_that_had_to_move():
    parent = TaskSpec(name="P", program=job(Fork(job(Compute(10)), "c"), Wait(), Compute(1)))
    ran = execute(cores(FCFS, parent, count=2, injections=[offline(1, 4)], **PER_CORE))
    assert ran.task("P").finish_ns == 11
