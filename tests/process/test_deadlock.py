"""Deadlocks through semaphores, children and mutexes: found when they are certain, and no others."""

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from machines import cores, execute, job, task

from llmos.errors import PolicyError
from llmos.process import deadlock
from llmos.process.program import Compute, Down, Fork, Kill, Lock, Sleep, Unlock, Up, Wait
from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.scenario.machine import SharedSpec
from llmos.sched.fcfs import FCFS
from llmos.sched.rr import RoundRobin
from llmos.trace import events as ev
from llmos.trace.records import Status
from llmos.trace.state import fold


def semaphore(name, value=0, *, owned=False):
    return SharedSpec(name=name, kind="semaphore", size=value, owned=owned)


def mutex(name="m"):
    return SharedSpec(name=name, kind="mutex")


def circles(ran):
    """(time, names of the tasks, what they wait for) of each deadlock."""
    tasks = ran.outcome.state.tasks
    return [(e.t, [tasks[pid].name for pid in e.cycle], e.locks) for e in ran.of(ev.Deadlock)]


def philosophers(n, *, owned, others=()):
    """OSTEP ch. 31.6: a semaphore for each fork. Everybody takes one at once, and the other one at 10."""
    seats = [(f"fork {i}", f"fork {(i + 1) % n}") for i in range(n)]
    diners = [task(f"P{i}", Down(a), Sleep(10), Down(b), 1, Up(b), Up(a)) for i, (a, b) in enumerate(seats)]
    shared = [semaphore(a, 1, owned=owned) for a, _ in seats]
    return cores(FCFS, *diners, *others, count=2, shared=shared)


@pytest.mark.parametrize("owned", [False, True])
def test_philosophers_with_semaphores(owned):
    ran = execute(philosophers(5, owned=owned))
    who = ["P4", "P0", "P1", "P2", "P3"] if owned else ["P0", "P1", "P2", "P3", "P4"]
    assert circles(ran) == [(10, who, [f"fork {(int(name[1]) + 1) % 5}" for name in who])]
    assert "P0 (waits for fork 1, taken by P1)" in ran.outcome.reason


@pytest.mark.parametrize(("owned", "found"), [(False, 1000), (True, 10)])
def test_with_somebody_else_alive_only_what_is_owned_is_certain(owned, found):
    """X, who computes to 1000, might add a fork, for all that is known; unless forks are owned."""
    ran = execute(philosophers(3, owned=owned, others=[task("X", 1000)]))
    assert [t for t, _, _ in circles(ran)] == [found]


def allocation(*, fourth):
    """The graph with a circle of Silberschatz (fig. 8.5): R1 and R2 have two units each.

    P2 has one of R1 and P4 one of R2; P1 has R2 and wants R1, P3 has R1 and wants R2. At 5 P1 and P3 ask.
    """
    shared = [semaphore("R1", 2, owned=True), semaphore("R2", 2, owned=True)]
    return cores(
        FCFS,
        task("P1", Down("R2"), Sleep(5), Down("R1"), 1, Up("R1"), Up("R2")),
        task("P2", Down("R1"), Sleep(20), Up("R1"))
        if fourth
        else task("P2", Down("R1"), Sleep(5), Down("R2")),
        task("P3", Down("R1"), Sleep(5), Down("R2"), 1, Up("R2"), Up("R1")),
        task("P4", Down("R2"), Sleep(20), Up("R2"))
        if fourth
        else task("P4", Down("R2"), Sleep(5), Down("R1")),
        shared=shared,
    )


def test_a_circle_with_several_units_is_no_deadlock_while_one_of_the_holders_can_go_on():
    ran = execute(allocation(fourth=True))
    assert ran.outcome.ok
    assert circles(ran) == []


def test_it_is_one_when_none_of_them_can():
    """P1 wants R1 (P2, P3), P2 wants R2 (P1, P4), P3 wants R2; P4 closes it with R1."""
    (found,) = circles(execute(allocation(fourth=False)))
    assert found == (5, ["P4", "P2"], ["R1", "R2"])


def test_a_circle_through_a_mutex_and_a_semaphore():
    a = task("A", Lock("m"), Sleep(5), Down("s"), Up("s"), Unlock("m"))
    b = task("B", Down("s"), Sleep(9), Lock("m"), Unlock("m"), Up("s"))
    ran = execute(cores(FCFS, a, b, task("X", 100), shared=[mutex(), semaphore("s", 1, owned=True)], count=2))
    assert circles(ran) == [(9, ["B", "A"], ["m", "s"])]


def test_who_takes_the_only_one_twice_waits_for_himself():
    ran = execute(cores(FCFS, task("A", Down("s"), Down("s")), shared=[semaphore("s", 1)]))
    assert circles(ran) == [(0, ["A"], ["s"])]


def test_a_parent_that_waits_for_a_child_that_waits_for_its_mutex():
    child = job(Lock("m"), Compute(1), Unlock("m"))
    parent = task("P", Lock("m"), Fork(child, "c"), 3, Wait(), Unlock("m"))
    later, beside = (["c", "P"], ["m", "child"]), (["P", "c"], ["child", "m"])
    closes = {1: (53, *later), 2: (3, *later), 3: (3, *beside)}
    for count, circle in closes.items():  # the child runs after X, when P waits, or beside both
        ran = execute(cores(FCFS, parent, task("X", 50), shared=[mutex()], count=count))
        assert circles(ran) == [circle]


def test_another_child_may_end_and_release_the_parent():
    child = job(Lock("m"), Compute(1), Unlock("m"))
    parent = task("P", Lock("m"), Fork(child, "c"), Fork(job(Sleep(20)), "d"), 3, Wait(), Unlock("m"))
    ran = execute(cores(FCFS, parent, shared=[mutex()], count=2))
    assert ran.outcome.ok
    assert circles(ran) == []


def test_who_sleeps_with_the_mutex_of_producers_and_consumers():
    """OSTEP fig. 31.11: the consumer waits for an item with the mutex that the producer needs.

    Nobody has taken an item, so there is no holder to name: the end of the run says who waits for what.
    """
    consumer = task("C", Lock("m"), Down("full"), Unlock("m"))
    producer = task("P", 1, Lock("m"), Up("full"), Unlock("m"))
    ran = execute(cores(FCFS, consumer, producer, shared=[mutex(), semaphore("full")]))
    assert circles(ran) == []
    assert ran.outcome.reason.endswith("C (down full), P (waits for m, which C has)")


def test_signals_have_no_holders():
    """C has taken two items that P has made, and waits for a third: not for itself."""
    producer = task("P", Up("full"), 1, Up("full"))
    consumer = task("C", Down("full"), Down("full"), Down("full"))
    ran = execute(cores(FCFS, producer, consumer, shared=[semaphore("full")]))
    assert not ran.outcome.ok
    assert circles(ran) == []


def test_killing_one_of_the_circle_lets_the_others_go_on():
    a = task("A", Down("s"), Sleep(5), Down("r"))
    b = task("B", Down("r"), Sleep(5), Down("s"), 1, Up("s"), Up("r"))
    owned = [semaphore("s", 1, owned=True), semaphore("r", 1, owned=True)]
    ran = execute(cores(FCFS, a, b, task("K", Sleep(20), Kill("A")), shared=owned))
    assert [t for t, _, _ in circles(ran)] == [5]
    assert ran.outcome.ok
    assert ran.task("B").finish_ns == 21


def test_only_a_holder_adds_to_what_is_owned():
    with pytest.raises(PolicyError, match="task B: it adds one to s, of which it holds none"):
        execute(cores(FCFS, task("A", Down("s"), 5), task("B", 1, Up("s")), count=2,
                      shared=[semaphore("s", 1, owned=True)]))  # fmt: skip


def test_in_a_scenario():
    text = """
question = "?"
[[semaphore]]
name = "printer"
value = 1
owned = true
[[task]]
program = [{ down = "printer" }, { down = "printer" }]
"""
    assert [locks for _, _, locks in circles(execute(build(load_text(text))))] == [["printer"]]


# --- against the textbook's detection algorithm --------------------------------------------------------


def deadlocked(state, had):
    """Silberschatz 8.6.2: who cannot finish though everybody who can gives all back; `had`: pid -> units."""
    wants = {t.pid: t.on for t in state.tasks.values() if t.status is Status.BLOCKED and t.on in state.shared}
    work = {name: thing.level for name, thing in state.shared.items()}
    left = {t.pid for t in state.tasks.values() if t.status is not Status.TERMINATED}
    while True:
        can = [pid for pid in sorted(left) if pid not in wants or work[wants[pid]]]
        if not can:
            return left
        for pid in can:
            left.remove(pid)
            for name in had.get(pid, ()):
                work[name] += 1


def follow(events):
    """(time, deadlocked tasks) after everything that happens at an instant."""
    state, had = fold([]), {}
    for i, e in enumerate(events):
        state.apply(e)
        if isinstance(e, ev.Share):
            if e.reason == "adds one" or e.reason.startswith("gives one to"):
                had[e.task].remove(e.name)
            if e.reason == "takes one":
                had.setdefault(e.task, []).append(e.name)
            if e.reason.startswith("gives one to"):
                heir = next(t.pid for t in state.tasks.values() if t.name == e.reason.rpartition(" ")[2])
                had.setdefault(heir, []).append(e.name)
        if i + 1 == len(events) or events[i + 1].t > e.t:
            yield e.t, deadlocked(state, had)


names = st.sampled_from("rst")
steps = st.lists(st.one_of(names.map(Down), st.integers(1, 5).map(Compute), st.integers(1, 5).map(Sleep)),
                 min_size=1, max_size=6)  # fmt: skip


@st.composite
def takers(draw):
    """Tasks that take units and keep them, or give back the last."""

    def program(calls):
        out, held = [], []
        for call in calls:
            out.append(call)
            if isinstance(call, Down):
                held.append(call.semaphore)
            if held and draw(st.integers(0, 3)) == 0:
                out.append(Up(held.pop()))
        return [*out, *(Up(name) for name in held)]

    tasks = [task(f"T{i}", *program(draw(steps))) for i in range(draw(st.integers(2, 4)))]
    shared = [semaphore(name, draw(st.integers(1, 3)), owned=True) for name in "rst"]
    return cores(lambda: RoundRobin(3), *tasks, count=draw(st.integers(1, 2)), shared=shared)


@given(takers())
def test_a_deadlock_is_told_when_the_textbook_finds_it(spec):
    """At each instant at which the set of deadlocked tasks begins to be there; every circle is in the set."""
    ran = execute(spec)
    found = dict(follow(ran.events))
    first = min((t for t, stuck in found.items() if stuck), default=None)
    told = ran.of(ev.Deadlock)
    assert first == (told[0].t if told else None)
    assert all(set(e.cycle) <= found[e.t] for e in told)
    assert ran.outcome.ok is (not told)


def falsified():
    def breaks(spec):
        try:
            test_a_deadlock_is_told_when_the_textbook_finds_it.hypothesis.inner_test(spec)
        except AssertionError:
            return True
        return False

    once = settings(max_examples=2000, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    find(takers(), breaks, settings=once)


def test_mutant_every_circle_is_a_deadlock(monkeypatch):
    """One holder of several is looked at, as if each thing had one unit."""
    releasers = deadlock._releasers

    def first(kernel, one, *, at_the_end):
        found = releasers(kernel, one, at_the_end=at_the_end)
        return found and found[:1]

    monkeypatch.setattr(deadlock, "_releasers", first)
    falsified()


def test_mutant_semaphores_are_not_looked_at(monkeypatch):
    monkeypatch.setattr(deadlock, "look_for_it", lambda *_: None)
    falsified()
