"""Caches and speeds: who works how fast where. OSTEP's own answers are in test_rules.py."""

from hypothesis import given
from hypothesis import strategies as st
from machines import cores, execute, task

from llmos.process.cache import Cache
from llmos.process.program import Io
from llmos.process.task import Process
from llmos.scenario.machine import CacheSpec, Injection
from llmos.sched.fcfs import FCFS
from llmos.sched.priority import Priority
from llmos.sched.rr import RoundRobin
from llmos.trace import events as ev


def cache(size=100, warmup=10, rate=2000):
    return CacheSpec(size_bytes=size, warmup_ns=warmup, warm_rate=rate)


def test_a_warm_task_works_faster():
    """Work 30: 10 ns cold give 10, and the other 20 take 10 warm."""
    ran = execute(cores(FCFS, task("A", 30, working_set_bytes=50), cache=cache()))
    assert ran.task("A").finish_ns == 20
    assert [(e.t, e.task, e.evicted) for e in ran.of(ev.Warm)] == [(10, 1, [])]


def test_who_is_too_big_never_warms_up():
    ran = execute(cores(FCFS, task("A", 30, working_set_bytes=101), cache=cache()))
    assert ran.task("A").finish_ns == 30
    assert [(e.t, e.evicted) for e in ran.of(ev.Warm)] == [(10, [1]), (20, [1]), (30, [1])]


def test_without_a_warm_up_whoever_fits_is_warm_at_once():
    ran = execute(cores(FCFS, task("A", 30, working_set_bytes=50), cache=cache(warmup=0)))
    assert ran.task("A").finish_ns == 15
    ran = execute(cores(FCFS, task("A", 30, working_set_bytes=101), cache=cache(warmup=0)))
    assert ran.task("A").finish_ns == 30


def test_the_warm_up_goes_on_where_it_was_left():
    """A works 6, waits, works 4 more cold: warm at 6 + 5 + 4 = 15; 20 - 10 = 10 of work left take 5."""
    ran = execute(cores(FCFS, task("A", 6, Io("disk"), 14, working_set_bytes=1), cache=cache(), io=5))
    assert [e.t for e in ran.of(ev.Warm)] == [15]
    assert ran.task("A").finish_ns == 20


def test_who_becomes_warm_at_the_end_of_a_quantum_or_a_burst_is_warm():
    """RR 10, warm-up 10, room for one: B's warmth at 20 evicts A, which was warm from 10 on."""
    two = [task(n, 40, working_set_bytes=60) for n in "AB"]
    ran = execute(cores(lambda: RoundRobin(10), *two, cache=cache()))
    assert [(e.t, e.task, e.evicted) for e in ran.of(ev.Warm)][:2] == [(10, 1, []), (20, 2, [1])]


def test_every_core_has_its_own_cache():
    """A is warm on cpu 1 from 10 on; on cpu 0, where B was, it would have to begin anew."""
    spec = cores(
        FCFS,
        task("B", 5, affinity=frozenset({0})),
        task("A", 30, affinity=frozenset({1})),
        count=2,
        cache=cache(),
    )
    ran = execute(spec)
    assert [(e.t, e.cpu, e.task) for e in ran.of(ev.Warm)] == [(10, 1, 2)]


def test_the_oldest_warmth_goes_first_and_use_does_not_refresh_it():
    box = Cache(size_bytes=100, warmup_ns=10, warm_rate=2000)
    a, b, c = (
        Process(pid=pid, name=name, program=iter(()), working_set_bytes=40) for pid, name in enumerate("abc")
    )
    for process in (a, b):
        box.used(process, 10)
        assert box.warm_up(process) == []
    box.used(a, 5)
    box.used(c, 10)
    assert box.warm_up(c) == [a]
    assert (box.is_warm(a), box.is_warm(b), box.is_warm(c)) == (False, True, True)
    assert box.cold_left(a) == 10


def test_speeds():
    """Work 10 at 500 takes 20, at 1000 takes 10, at 2500 takes 4; the log counts time on the core."""
    work = [task(f"T{i}", 10) for i in range(3)]
    ran = execute(cores(FCFS, *work, count=3, speeds=(500, 1000, 2500)))
    assert [t.finish_ns for t in ran.outcome.state.tasks.values()] == [20, 10, 4]
    assert [t.cpu_ns for t in ran.outcome.state.tasks.values()] == [20, 10, 4]


@given(
    st.integers(1, 500),
    st.integers(1, 40),
    st.sampled_from([300, 500, 700, 1000, 1700, 3000]),
    st.lists(st.integers(0, 400), max_size=5),
)
def test_looking_at_a_task_does_not_change_its_pace(work, quantum, speed, arrivals):
    """Work is counted from where its rate began: others that come and wait cost it nothing.

    Every time somebody comes, the running task is charged to see who goes first.
    """
    others = [task(f"T{i}", quantum, at=at, priority=9) for i, at in enumerate(arrivals, start=1)]
    alone = execute(cores(Priority, task("A", work), speeds=(speed,)))
    busy = execute(cores(Priority, task("A", work), *others, speeds=(speed,)))
    assert alone.task("A").finish_ns == busy.task("A").finish_ns == -(-work * 1000 // speed)


@given(st.integers(1, 60), st.integers(1, 30), st.integers(1000, 4000), st.integers(0, 40))
def test_a_burst_takes_what_its_cold_and_its_warm_part_take(work, warmup, rate, interrupted):
    """An interrupt in between shifts the end by its own length, and by a rounding of at most 1 ns."""
    expected = work if work <= warmup else warmup - (warmup - work) * 1000 // rate
    a = task("A", work, working_set_bytes=1)
    ran = execute(cores(FCFS, a, cache=cache(warmup=warmup, rate=rate)))
    assert ran.task("A").finish_ns == expected
    inject = [Injection(name="nic", at_ns=interrupted, cost_ns=7)]
    ran = execute(cores(FCFS, a, cache=cache(warmup=warmup, rate=rate), injections=inject))
    assert ran.task("A").cpu_ns - expected in (0, 1)
