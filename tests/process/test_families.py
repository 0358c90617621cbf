"""fork, exec, wait and exit: who is whose child, zombies and orphans, and what a cgroup may have."""

import pytest
from machines import cores, execute, job, task

from llmos.process.dispatcher import Costs
from llmos.process.program import (
    Compute,
    Exec,
    Exit,
    Fork,
    Handle,
    Kill,
    Lock,
    Nice,
    SetAffinity,
    SetPriority,
    Sleep,
    Unlock,
    Wait,
)
from llmos.scenario.machine import Injection, SharedSpec, TaskSpec
from llmos.sched.fcfs import FCFS
from llmos.sched.priority import Priority
from llmos.sched.rr import RoundRobin
from llmos.trace import events as ev
from llmos.trace.records import Status
from llmos.trace.report import document
from llmos.trace.state import fold


def states(ran):
    return {t["name"]: t["state"] for t in document(ran.outcome.state, "")["tasks"]}


def at_time(ran, t):
    """The state just after everything that happened up to `t`."""
    return fold([e for e in ran.events if e.t <= t])


def test_a_child_is_a_zombie_until_it_is_waited_for():
    """The child is done at 4 (P 0-3, child 3-4); P sleeps to 13, waits, and goes on at once."""

    def parent():
        yield Fork(job(Compute(1)), "child")
        yield Compute(3)
        yield Sleep(10)
        yield Wait()
        yield Compute(5)

    ran = execute(cores(FCFS, TaskSpec(name="P", program=parent)))
    assert ran.runs == [(0, 3, "P"), (3, 4, "child"), (13, 18, "P")]
    (reap,) = ran.of(ev.Reap)
    assert (reap.t, reap.task) == (13, ran.task("child").pid)
    for t, zombie in ((3, False), (4, True), (12, True), (13, False), (18, False)):
        state = at_time(ran, t)
        assert state.is_zombie(state.tasks[2]) is zombie
    assert states(ran) == {"P": "terminated", "child": "terminated"}


def test_a_zombie_at_the_end_of_the_run_is_called_one():
    """P never waits, and the run ends while it lives; the other child's parent has died."""

    def parent():
        yield Fork(job(Compute(1)), "child")
        yield Sleep(100)

    ran = execute(cores(FCFS, TaskSpec(name="P", program=parent), until_ns=50))
    assert states(ran) == {"P": "blocked", "child": "zombie"}
    ran = execute(cores(FCFS, TaskSpec(name="P", program=parent)))
    assert states(ran) == {"P": "terminated", "child": "terminated"}


def test_an_orphan_lives_on_and_is_nobodys_child():
    def parent():
        yield Fork(job(Sleep(10), Compute(5)), "orphan")

    ran = execute(cores(FCFS, TaskSpec(name="P", program=parent)))
    assert ran.outcome.ok
    assert ran.task("P").finish_ns == 0
    assert ran.task("orphan").finish_ns == 15
    assert ran.of(ev.Reap) == []
    assert states(ran)["orphan"] == "terminated"


def test_wait_for_one_of_several():
    """P waits for the slow one first; then the fast one is a zombie, and the next wait returns at once."""
    seen = []

    def parent():
        slow = yield Fork(job(Compute(9)), "slow")
        fast = yield Fork(job(Compute(1)), "fast")
        assert (slow, fast) == (2, 3)
        seen.append((yield Wait(slow)))
        seen.append((yield Wait()))
        seen.append((yield Wait(slow)))
        seen.append((yield Wait(99)))

    ran = execute(cores(FCFS, TaskSpec(name="P", program=parent)))
    assert seen == [2, 3, -1, -1]
    assert [(e.t, e.task) for e in ran.of(ev.Reap)] == [(9, 2), (10, 3)]


def test_a_grandchild_is_not_waited_for():
    seen = []

    def child():
        yield Fork(job(Compute(5)), "grandchild")

    def parent():
        yield Fork(child, "child")
        seen.append((yield Wait()))
        seen.append((yield Wait()))

    assert execute(cores(FCFS, TaskSpec(name="P", program=parent))).outcome.ok
    assert seen == [2, -1]


def test_a_child_inherits():
    seen = {}

    def child():
        yield Compute(1)

    def parent():
        yield Handle("TERM", "ignore")
        yield Fork(child, "child")
        yield Compute(2)
        seen["kill"] = yield Kill("child")

    spec = TaskSpec(name="P", program=parent, priority=3, nice=5, tickets=7, client="me", group="g",
                    affinity=frozenset({1}))  # fmt: skip
    ran = execute(cores(FCFS, spec, count=2))
    parent_, child_ = ran.task("P"), ran.task("child")
    for name in ("priority", "nice", "tickets", "client", "group", "cpu"):
        assert getattr(child_, name) == getattr(parent_, name)
    assert child_.cpu_ns == 1  # it was not killed


def test_a_child_does_not_inherit_a_priority_that_is_only_lent():
    """P (own 5) has m and waits on nothing; U (priority 1) waits for m, so P has 1. Its child has 5."""

    def parent():
        yield Lock("m")
        yield Compute(4)
        yield Fork(job(Compute(1)), "child")
        yield Unlock("m")

    urgent = task("U", Lock("m"), Unlock("m"), at=2, priority=1)
    spec = cores(Priority, TaskSpec(name="P", program=parent, priority=5), urgent,
                 shared=[SharedSpec(name="m", kind="mutex", protocol="inherit")])  # fmt: skip
    ran = execute(spec)
    changes = [(e.t, e.priority) for e in ran.of(ev.Change) if e.task == ran.task("P").pid]
    assert changes == [(2, 1), (4, 5)]
    assert ran.task("child").priority == 5


def test_exec_replaces_the_program_and_keeps_the_process():
    seen = []

    def other():
        yield Compute(4)
        seen.append((yield Wait()))

    def program():
        yield Fork(job(Compute(1)), "child")
        yield Compute(2)
        yield Exec(other, "other")
        raise AssertionError("nobody comes back from exec")

    ran = execute(cores(FCFS, TaskSpec(name="P", program=program)))
    assert ran.outcome.ok
    assert seen == [2]
    assert ran.outcome.state.tasks[1].name == "other"
    assert [(e.t, e.task, e.name) for e in ran.of(ev.Exec)] == [(2, 1, "other")]
    assert ran.runs == [(0, 6, "other"), (6, 7, "child")]


def test_a_cgroup_that_is_full():
    """Two may live in g: the second fork fails, and the third works, for the first child is gone."""
    seen = []

    def parent():
        seen.append((yield Fork(job(Compute(1)))))
        seen.append((yield Fork(job(Compute(1)))))
        yield Wait()
        seen.append((yield Fork(job(Compute(1)))))

    ran = execute(cores(FCFS, TaskSpec(name="P", program=parent, group="g"), most_in_group={"g": 2}))
    assert seen == [2, -1, 3]
    assert len(ran.of(ev.Arrive)) == 3


@pytest.mark.parametrize("waits", [False, True])
def test_a_zombie_counts_until_it_is_waited_for(waits):
    """As pids.max counts in Linux. Two may be in g: at 5 the first child is dead, and its pid is taken."""
    seen = []

    def parent():
        yield Fork(job(Compute(1)))
        yield Sleep(5)
        if waits:
            yield Wait()
        seen.append((yield Fork(job(Compute(1)))))

    execute(cores(FCFS, TaskSpec(name="P", program=parent, group="g"), most_in_group={"g": 2}))
    assert seen == [3 if waits else -1]


def test_the_zombies_and_orphans_of_who_exits_leave_room():
    """In g: P, its zombie and its child that lives to 30. P ends at 5, and only the orphan is left for Q."""
    seen = []

    def parent():
        yield Fork(job(Compute(1)))
        yield Fork(job(Sleep(30)))
        yield Sleep(5)

    def other():
        for _ in range(4):
            yield Sleep(10)
            seen.append((yield Fork(job(Sleep(100)), "late")))

    spec = cores(FCFS, TaskSpec(name="P", program=parent, group="g"),
                 TaskSpec(name="Q", program=other, group="g"), most_in_group={"g": 4})  # fmt: skip
    execute(spec)
    assert seen == [5, 6, -1, 7]  # at 10, 20, 30 (the orphan is about to die) and 40


def test_a_fork_bomb_stays_in_its_cgroup():
    """Everybody forks for ever; with at most 8 in the cgroup, T (outside) gets its turn in each round."""

    def bomb():
        while True:
            yield Fork(bomb)
            yield Compute(1)

    spec = cores(lambda: RoundRobin(1), TaskSpec(name="B", program=bomb, group="g"), task("T", 10),
                 most_in_group={"g": 8}, until_ns=500)  # fmt: skip
    ran = execute(spec)
    assert len(ran.outcome.state.tasks) == 8 + 1
    assert ran.task("T").finish_ns <= 10 * 9


def test_who_is_killed_while_it_waits_for_a_child_leaves_an_orphan():
    def parent():
        yield Fork(job(Compute(20)), "child")
        yield Wait()

    ran = execute(
        cores(
            FCFS, TaskSpec(name="P", program=parent), injections=[Injection(name="P", at_ns=5, signal="KILL")]
        )
    )
    assert ran.outcome.ok
    assert ran.task("P").finish_ns == 20  # it dies when it gets a core: FCFS has only one
    assert ran.of(ev.Reap) == []


def test_a_stopped_parent_hears_of_its_child_when_it_goes_on():
    seen = []

    def parent():
        yield Fork(job(Compute(10)), "child")
        seen.append((yield Wait()))
        yield Compute(1)

    inject = [Injection(name="P", at_ns=5, signal="STOP"), Injection(name="P", at_ns=30, signal="CONT")]
    ran = execute(cores(FCFS, TaskSpec(name="P", program=parent), injections=inject))
    assert seen == [2]
    assert ran.runs == [(0, 10, "child"), (30, 31, "P")]


# --- nice, priority, affinity -------------------------------------------------------------------------


def test_nice_and_its_limits():
    seen = []

    def program():
        for by in (5, 100, -100, 0):
            seen.append((yield Nice(by)))  # noqa: PERF401  # a comprehension cannot yield

    ran = execute(cores(FCFS, TaskSpec(name="A", program=program, nice=3)))
    assert seen == [8, 19, -20, -20]
    assert [e.nice for e in ran.of(ev.Change)] == seen
    assert ran.task("A").nice == -20


def test_who_becomes_less_urgent_loses_the_core():
    """A sets its priority from 0 to 9 at 3; B (5) runs then."""
    ran = execute(cores(Priority, task("A", 3, SetPriority(9), 4), task("B", 5, priority=5)))
    assert ran.runs == [(0, 3, "A"), (3, 8, "B"), (8, 12, "A")]
    assert ran.task("A").priority == 9


@pytest.mark.parametrize("per_core", [False, True])
def test_affinity(per_core):
    """A may only run on core 1, where B is until 10; then it asks for core 0, and moves."""
    a = task("A", 3, SetAffinity(frozenset({0})), 4, affinity=frozenset({1}))
    spec = cores(FCFS, task("B", 10, affinity=frozenset({1})), a, count=2, per_core=per_core)
    state = execute(spec).outcome.state
    spans = {(s.start_ns, s.end_ns, s.cpu, state.tasks[s.pid].name) for s in state.spans}
    assert spans == {(0, 10, 1, "B"), (10, 13, 1, "A"), (13, 17, 0, "A")}
    assert state.tasks[2].migrations == 1


def test_migration_costs():
    """A moves at 3: its dispatch on core 0 costs 7 (migration) after 2 (switch)."""
    a = task("A", 3, SetAffinity(frozenset({0})), 4, affinity=frozenset({1}))
    ran = execute(cores(FCFS, a, count=2, costs=Costs(context_switch_ns=2, migration_ns=7)))
    # 0-2 switch, 2-5 run, 5-14 switch and migration, 14-18 run
    assert ran.runs == [(2, 5, "A"), (14, 18, "A")]


def test_exit_ends_a_program_in_the_middle():
    ran = execute(cores(FCFS, task("A", 3, Exit(), 99)))
    assert ran.task("A").finish_ns == 3
    assert ran.task("A").status is Status.TERMINATED
