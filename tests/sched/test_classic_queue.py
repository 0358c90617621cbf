"""Every policy gives a waiting task back (`withdraw`), takes a changed one, and shows its queue."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import cores, execute, task

from llmos.process.program import Compute, Io, Nice, SetPriority, YieldCpu
from llmos.sched.base import Scheduler, Task, Why
from llmos.sched.bsd import BSD
from llmos.sched.fcfs import FCFS
from llmos.sched.hrrn import HRRN
from llmos.sched.lottery import Lottery
from llmos.sched.mlfq import MLFQ
from llmos.sched.multilevel import Multilevel
from llmos.sched.priority import Priority
from llmos.sched.rr import RoundRobin
from llmos.sched.sjf import SJF
from llmos.sched.sjf_predicted import PredictedSJF
from llmos.sched.srtf import SRTF
from llmos.sched.stride import Stride

POLICIES = {
    "fcfs": FCFS,
    "rr": lambda: RoundRobin(4),
    "sjf": SJF,
    "srtf": SRTF,
    "priority": Priority,
    "priority, aging": lambda: Priority(aging=7),
    "mlfq": lambda: MLFQ(quantum=4),
    "stride": lambda: Stride(4),
    "hrrn": HRRN,
    "sjf-predicted": lambda: PredictedSJF(0.5, 4),
    "multilevel": lambda: Multilevel(["a", "b"], 4),
    "lottery": lambda: Lottery(Random(1), [5, 2, 8], quantum=4),
    "bsd": lambda: BSD(tick=1, slice_ticks=4),
}

facts = st.tuples(
    st.integers(0, 3), st.integers(1, 9), st.sampled_from("abc"), st.integers(-5, 5), st.integers(1, 20)
)


def queued(policy, tasks_, served):
    """Put the tasks into the queue, one after another, after the first `served` had a whole turn."""
    made = []
    for pid, (priority, tickets, letter, nice, burst) in enumerate(tasks_):
        made.append(
            Task(pid=pid, name=f"T{pid}", arrival_ns=pid, priority=priority, tickets=tickets, client=letter,
                 group=letter, nice=nice, remaining=burst, burst=burst)
        )  # fmt: skip
        policy.enqueue(made[-1], Why.ARRIVAL, pid)
        if pid < served:
            turn = policy.pick(pid)
            policy.charge(turn, policy.quantum(turn, pid) or 1, pid)
            policy.enqueue(turn, Why.EXPIRED, pid)
    return made


def drained(policy, now=50):
    """The pids in the order in which the policy picks them."""
    out = []
    while (task := policy.pick(now)) is not None:
        out.append(task.pid)
    return out


some_tasks = st.lists(facts, min_size=1, max_size=7)


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(some_tasks, st.integers(0, 3), st.integers(0, 6))
def test_who_is_withdrawn_leaves_the_others_as_they_were(name, tasks_, served, which):
    """One policy is asked for all; another for all but the one that was withdrawn."""
    served = min(served, len(tasks_) - 1)
    whole, less = POLICIES[name](), POLICIES[name]()
    queued(whole, tasks_, served)
    made = queued(less, tasks_, served)
    gone = made[which % len(made)]
    less.withdraw(gone, 50)
    assert gone.pid not in [t.pid for shelf in less.show(50).values() for t, _ in shelf]
    rest = drained(less)
    assert sorted([*rest, gone.pid]) == list(range(len(made)))
    if name != "lottery":  # another number of tickets, another winner
        assert rest == [pid for pid in drained(whole) if pid != gone.pid]


class TakesTheHead(FCFS):
    """The mutation: whoever is asked for, the head leaves."""

    def withdraw(self, task, now):
        self._ready.popleft()


def test_a_wrong_one_is_noticed():
    policy = TakesTheHead()
    gone = queued(policy, [(0, 1, "a", 0, 1)] * 3, 0)[1]
    policy.withdraw(gone, 50)
    assert gone.pid in drained(policy)


@given(some_tasks, st.integers(0, 6))
def test_to_withdraw_costs_no_draw(tasks_, which):
    """A lottery from which one was withdrawn goes on like one in which he never was."""
    one, other = POLICIES["lottery"](), POLICIES["lottery"]()
    made = queued(one, tasks_, 0)
    gone = made[which % len(made)]
    one.withdraw(gone, 50)
    for other_one in made:
        if other_one is not gone:
            other.enqueue(other_one, Why.ARRIVAL, 0)
    assert drained(one) == drained(other)
    default = POLICIES["lottery"]()
    queued(default, [(0, 1, "a", 0, 1)] * 5, 0)
    Scheduler.withdraw(default, default._ready[3], 50)  # what is not overridden draws
    assert len(default._draws) < 3


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(some_tasks, st.integers(0, 3))
def test_what_is_shown_is_the_queue_in_its_order(name, tasks_, served):
    policy = POLICIES[name]()
    queued(policy, tasks_, min(served, len(tasks_) - 1))
    shown = [task for shelf in policy.show(50).values() for task, _ in shelf]
    assert all(isinstance(figure, str) for shelf in policy.show(50).values() for _, figure in shelf)
    if name in ("lottery", "stride"):  # drawn, not lined up; a client's tasks stand together
        assert sorted(task.pid for task in shown) == sorted(drained(policy))
    else:
        assert [task.pid for task in shown] == drained(policy)
    assert not any(policy.show(50).values())


def changed(policy, task, **facts_):
    policy.withdraw(task, 60)
    for name, value in facts_.items():
        setattr(task, name, value)
    policy.enqueue(task, Why.CHANGED, 60)


@pytest.mark.parametrize(
    ("name", "change", "order"),
    [
        ("fcfs", {"priority": 0}, [0, 1, 2]),
        ("rr", {"priority": 0}, [0, 1, 2]),
        ("priority", {"priority": 0}, [2, 0, 1]),
        ("priority", {"priority": 9}, [0, 1, 2]),
        ("mlfq", {"priority": 0}, [0, 1, 2]),
        ("multilevel", {"group": "a"}, [2, 0, 1]),
        ("bsd", {"nice": -9}, [2, 0, 1]),
        ("bsd", {"nice": 9}, [0, 1, 2]),
        ("srtf", {"remaining": 1}, [2, 0, 1]),
    ],
)
def test_a_changed_task_is_placed_anew(name, change, order):
    policy = POLICIES[name]()
    made = queued(policy, [(5, 3, "b", 5, 5)] * 3, 0)
    changed(policy, made[2], **change)
    assert drained(policy) == order


def test_a_changed_task_goes_behind_its_equals():
    for name in ("fcfs", "rr", "priority", "mlfq", "multilevel", "bsd"):
        policy = POLICIES[name]()
        made = queued(policy, [(5, 3, "b", 0, 5)] * 3, 0)
        changed(policy, made[0])
        assert drained(policy) == [1, 2, 0]


def test_new_tickets_count_from_now_on():
    """Two clients at pass 40 / 4; then one of them has twice the tickets and gets twice as much."""
    policy = Stride(4)
    a, b = Task(pid=1, name="a", tickets=4), Task(pid=2, name="b", tickets=4)
    got = {a: 0, b: 0}

    def turns(n):
        for _ in range(n):
            task = policy.pick(0)
            policy.charge(task, 4, 0)
            got[task] += 4
            policy.enqueue(task, Why.EXPIRED, 0)

    for one in (a, b):
        policy.enqueue(one, Why.ARRIVAL, 0)
    turns(20)
    assert got == {a: 40, b: 40}
    changed(policy, b, tickets=8)
    turns(30)
    assert got == {a: 80, b: 120}
    lottery = POLICIES["lottery"]()
    made = queued(lottery, [(0, 3, "a", 0, 1)] * 2, 0)
    changed(lottery, made[0], tickets=40)
    assert lottery.show(0) == {"": [(made[0], "40 tickets"), (made[1], "3 tickets")]}


def test_stride_remembers_the_client_of_a_running_task_that_changes():
    """It is handed back without having been withdrawn, and goes to sleep: then nobody is active."""
    policy, a = Stride(4), Task(pid=1, name="a", tickets=4)
    policy.enqueue(a, Why.ARRIVAL, 0)
    policy.charge(policy.pick(0), 4, 0)
    a.tickets = 8
    policy.enqueue(a, Why.CHANGED, 0)
    policy.remove(policy.pick(0), Why.BLOCKED, 0)
    client = policy._clients["#1"]
    assert (client.tickets, client.active) == (8, set())


# --- on machines where tasks move and change ----------------------------------------------------------

calls = st.one_of(
    st.integers(0, 12).map(Compute),
    st.integers(-20, 20).map(Nice),
    st.integers(0, 5).map(SetPriority),
    st.builds(Io, st.just("disk"), st.integers(0, 9)),
    st.just(YieldCpu()),
)
programs = st.tuples(st.lists(calls, max_size=6), st.integers(0, 20))


@pytest.mark.parametrize("name", sorted(POLICIES))
@settings(max_examples=40)
@given(st.lists(programs, min_size=1, max_size=5), st.booleans())
def test_tasks_change_and_nobody_is_lost(name, programs, per_core):
    """Two cores, with one queue or two; all come to their end."""
    jobs = [task(f"T{i}", *steps, 5, at=at, tickets=i + 1) for i, (steps, at) in enumerate(programs)]
    spec = cores(POLICIES[name], *jobs, count=2, max_events=5000)
    state = execute(replace(spec, cpu=replace(spec.cpu, per_core=per_core))).outcome.state
    assert all(t.finish_ns is not None for t in state.tasks.values())


@pytest.mark.parametrize(
    ("name", "call"),
    [("priority", SetPriority(9)), ("bsd", Nice(19)), ("stride", Nice(19)), ("lottery", SetPriority(9))],
)
def test_a_task_may_make_itself_less_urgent(name, call):
    """A and B are alike until A steps back at 40; only who looks at what it changed lets B go first."""
    spec = cores(POLICIES[name], task("A", 40, call, 400), task("B", 440), until_ns=400)
    ran = execute(spec)
    if name in ("priority", "bsd"):
        assert ran.task("A").cpu_ns < ran.task("B").cpu_ns / 2
    else:
        assert 0.3 < ran.task("A").cpu_ns / 400 < 0.7


MS = 1_000_000


def figures(policy):
    return {
        heading: [f"{t.name}: {figure}" for t, figure in shelf] for heading, shelf in policy.show(0).items()
    }


def test_the_figures_of_the_queues():
    mlfq = MLFQ(levels=2, quantum=[2 * MS, 8 * MS])
    queued(mlfq, [(0, 1, "a", 0, 1)] * 2, 1)
    mlfq.charge(mlfq.pick(0), MS, 0)
    assert figures(mlfq) == {"level 0": [], "level 1": ["T0: 8 ms left"]}

    stride = Stride(5)
    queued(stride, [(0, 2, "a", 0, 1), (0, 1, "b", 0, 1), (0, 1, "b", 0, 1)], 1)
    passes = ["T1: pass, 0 ns a ticket", "T2: pass, 0 ns a ticket", "T0: pass, 2 ns a ticket"]
    assert figures(stride) == {"": passes}

    aging = Priority(aging=4)
    queued(aging, [(3, 1, "a", 0, 1)], 0)
    assert aging.show(8)[""][0][1] == "priority 3, aged by 2.0 levels"
    assert aging.reason(aging.pick(8), 8) == "priority 3, aged by 2.0 levels"

    levels = Multilevel(["a", "b"], [2 * MS, 8 * MS])
    (task,) = queued(levels, [(0, 1, "b", 0, 1)], 0)
    assert figures(levels) == {"a": [], "b": ["T0: "]}
    levels.quantum(levels.pick(0), 0)
    levels.charge(task, MS, 0)
    levels.enqueue(task, Why.PREEMPTED, 0)
    assert figures(levels) == {"a": [], "b": ["T0: 7 ms left"]}

    bsd = BSD(tick=2, slice_ticks=4)
    queued(bsd, [(0, 1, "b", 1, 1), (0, 1, "b", -3, 1)], 1)  # T0 has used 4 ticks of its slice
    assert figures(bsd) == {"priority 63": ["T1: recent cpu 0.00"], "priority 60": ["T0: recent cpu 4.00"]}
    assert figures(PredictedSJF(0.5, 4)) == {"": []}
    guess = PredictedSJF(0.5, 4 * MS)
    queued(guess, [(0, 1, "b", 1, 1)], 0)
    assert figures(guess) == {"": ["T0: 4 ms"]}
