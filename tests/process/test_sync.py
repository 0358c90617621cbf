"""What tasks share: mutual exclusion, inversion and its cures, deadlock, buffers, pipes and messages."""

import pytest
from machines import cores, execute, task

from llmos.errors import PolicyError
from llmos.process import sync, syscalls
from llmos.process.dispatcher import Costs
from llmos.process.program import (
    Compute,
    Down,
    Kill,
    Lock,
    Notify,
    Read,
    Receive,
    Send,
    SetPriority,
    Sleep,
    Unlock,
    Up,
    WaitFor,
    Write,
)
from llmos.scenario.machine import Injection, SharedSpec, TaskSpec
from llmos.sched.fcfs import FCFS
from llmos.sched.priority import Priority
from llmos.sched.rr import RoundRobin
from llmos.trace import events as ev


def mutex(name="m", protocol="none", ceiling=0):
    return SharedSpec(name=name, kind="mutex", protocol=protocol, size=ceiling)


def semaphore(name, value=0):
    return SharedSpec(name=name, kind="semaphore", size=value)


# --- priority inversion -------------------------------------------------------------------------------


def pathfinder(protocol, middle=100):
    """The case of the Mars Pathfinder: L (9) has the bus's mutex, H (1) wants it, M (5) has much to do.

    L locks at 0 and needs 10 with the mutex; H comes at 3 and M at 4.
    """
    return cores(
        Priority,
        task("L", Lock("bus"), 10, Unlock("bus"), 2, priority=9),
        task("M", middle, at=4, priority=5),
        task("H", 1, Lock("bus"), 2, Unlock("bus"), at=3, priority=1),
        shared=[mutex("bus", protocol, ceiling=1)],
    )


def test_without_inheritance_the_middle_one_keeps_the_urgent_one_waiting():
    """H runs 3-4 and blocks; M 4-104; L's other 7 to 111; H 111-113. It waits as long as M likes."""
    ran = execute(pathfinder("none"))
    assert ran.runs == [
        (0, 3, "L"),
        (3, 4, "H"),
        (4, 104, "M"),
        (104, 111, "L"),
        (111, 113, "H"),
        (113, 115, "L"),
    ]
    assert execute(pathfinder("none", middle=1000)).task("H").finish_ns == 1013


def test_with_inheritance_the_wait_is_bounded_by_the_critical_section():
    """L has H's priority from 4 to 11, so M must wait: H is done at 13, whatever M is."""
    for middle in (100, 1000):
        ran = execute(pathfinder("inherit", middle))
        assert ran.runs[:4] == [(0, 3, "L"), (3, 4, "H"), (4, 11, "L"), (11, 13, "H")]
        changes = [(e.t, e.priority) for e in ran.of(ev.Change) if e.task == ran.task("L").pid]
        assert changes == [(4, 1), (11, 9)]


def test_with_a_ceiling_nobody_who_may_want_the_mutex_comes_in_between():
    """L has priority 1 from the lock on, so H does not preempt it at 3: L 0-10, H 10-13."""
    ran = execute(pathfinder("ceiling"))
    assert ran.runs[:2] == [(0, 10, "L"), (10, 13, "H")]


def test_inheritance_passes_through_a_chain():
    """C (9) has n and computes; B (5) has m and waits for n; A (1) waits for m: then C has priority 1."""
    ran = execute(
        cores(
            Priority,
            task("C", Lock("n"), 10, Unlock("n"), priority=9),
            task("B", Lock("m"), 1, Lock("n"), 1, Unlock("n"), Unlock("m"), at=1, priority=5),
            task("A", 1, Lock("m"), 1, Unlock("m"), at=3, priority=1),
            task("M", 50, at=4, priority=3),
            shared=[mutex("m", "inherit"), mutex("n", "inherit")],
        )
    )
    # C 0-1, B 1-2, C 2-3 (now 5), A 3-4, C 4-12 (now 1), B 12-13 (1), A 13-14, then M.
    assert ran.task("A").finish_ns == 14
    changes = [(e.t, ran.outcome.state.tasks[e.task].name, e.priority) for e in ran.of(ev.Change)]
    assert changes == [(2, "C", 5), (4, "B", 1), (4, "C", 1), (12, "C", 9), (13, "B", 5)]


def test_who_stops_waiting_lends_nothing_any_more():
    """A (1) lends its priority to L from 3 on, and is killed at 5: then M (5) goes before L (9)."""
    ran = execute(
        cores(
            Priority,
            task("L", Lock("m"), 10, Unlock("m"), priority=9),
            task("A", Lock("m"), at=3, priority=1),
            task("M", 20, at=4, priority=5),
            shared=[mutex(protocol="inherit")],
            injections=[Injection(name="A", at_ns=5, signal="KILL")],
        )
    )
    assert ran.runs == [(0, 5, "L"), (5, 25, "M"), (25, 30, "L")]


def test_the_own_priority_can_change_while_another_is_lent():
    """L has 1 lent by A from 2 on; at 4 it sets its own to 7, which shows when it unlocks at 6."""
    ran = execute(
        cores(
            Priority,
            task("L", Lock("m"), 4, SetPriority(7), 2, Unlock("m"), 1, priority=9),
            task("A", Lock("m"), 1, Unlock("m"), at=2, priority=1),
            shared=[mutex(protocol="inherit")],
        )
    )
    changes = [(e.t, e.priority) for e in ran.of(ev.Change)]
    assert changes == [(2, 1), (4, 1), (6, 7)]


def test_who_gets_a_mutex_inherits_from_those_who_still_wait():
    """L has m; B (5), then A (4) and C (6) wait. A has it next; and lends to whoever has it."""
    holds = Lock("m"), 5, Unlock("m")
    ran = execute(
        cores(
            FCFS,  # so that priorities order only who waits
            task("L", *holds, priority=9),
            task("B", *holds, priority=5),
            task("C", *holds, priority=5),
            task("A", *holds, priority=4),
            count=4,
            shared=[mutex(protocol="inherit")],
        )
    )
    assert [name for _, _, name in ran.runs] == ["L", "A", "B", "C"]


# --- deadlock -----------------------------------------------------------------------------------------


def philosophers(n, *, left_handed=False):
    """Everybody takes the fork on the right at 0..n-1 and the other one 10 later."""

    def dine(i):
        first, second = f"fork {i}", f"fork {(i + 1) % n}"
        if left_handed and i == n - 1:
            first, second = second, first
        return task(f"P{i}", Lock(first), Sleep(10), Lock(second), 1, Unlock(second), Unlock(first))

    return cores(FCFS, *[dine(i) for i in range(n)], shared=[mutex(f"fork {i}") for i in range(n)])


def test_dining_philosophers_deadlock_and_the_run_says_who_waits_for_whom():
    ran = execute(philosophers(5))
    (deadlock,) = ran.of(ev.Deadlock)
    assert deadlock.t == 10
    names = [ran.outcome.state.tasks[pid].name for pid in deadlock.cycle]
    assert names == ["P4", "P0", "P1", "P2", "P3"]
    assert deadlock.locks == ["fork 0", "fork 1", "fork 2", "fork 3", "fork 4"]
    assert deadlock.reason.startswith("P4 waits for fork 0, P0 waits for fork 1")
    assert not ran.outcome.ok
    assert "with 5 tasks unfinished: P0 (waits for fork 1, which P1 has)" in ran.outcome.reason


def test_an_order_of_the_locks_prevents_it():
    ran = execute(philosophers(5, left_handed=True))
    assert ran.outcome.ok
    assert ran.of(ev.Deadlock) == []


def test_who_locks_twice_waits_for_himself():
    ran = execute(cores(FCFS, task("A", Lock("m"), 1, Lock("m")), shared=[mutex()]))
    (deadlock,) = ran.of(ev.Deadlock)
    assert (deadlock.cycle, deadlock.locks) == ([1], ["m"])


def test_a_deadlock_that_inheritance_must_not_follow_for_ever():
    a = task("A", Lock("m"), Sleep(5), Lock("n"), priority=2)
    b = task("B", Lock("n"), Sleep(5), Lock("m"), priority=1)
    ran = execute(cores(Priority, a, b, shared=[mutex("m", "inherit"), mutex("n", "inherit")]))
    assert len(ran.of(ev.Deadlock)) == 1
    assert not ran.outcome.ok


def test_killing_one_of_the_cycle_lets_the_others_go_on():
    a = task("A", Lock("m"), Sleep(5), Lock("n"), 1, Unlock("n"), Unlock("m"))
    b = task("B", Lock("n"), Sleep(5), Lock("m"), 1, Unlock("m"), Unlock("n"))
    k = task("K", Sleep(20), Kill("A"))
    ran = execute(cores(FCFS, a, b, k, shared=[mutex("m"), mutex("n")]))
    assert ran.outcome.ok
    assert ran.task("B").finish_ns == 21


# --- buffers ------------------------------------------------------------------------------------------


class Buffer:
    """A buffer that notices when it is used wrongly."""

    def __init__(self, size):
        self.size, self.items, self.seen = size, [], []

    def put(self, item):
        assert len(self.items) < self.size
        self.items.append(item)

    def get(self):
        self.seen.append(self.items.pop(0))


@pytest.mark.parametrize("consumers", [1, 3])
@pytest.mark.parametrize("count", [1, 2])
def test_a_bounded_buffer_with_semaphores(consumers, count):
    """OSTEP ch. 31: empty = 3, full = 0, and a mutex around the buffer."""
    buffer = Buffer(3)

    def producer():
        for i in range(12):
            yield Compute(1)
            yield Down("empty")
            yield Lock("m")
            yield Compute(1)
            buffer.put(i)
            yield Unlock("m")
            yield Up("full")

    def consumer():
        for _ in range(12 // consumers):
            yield Down("full")
            yield Lock("m")
            yield Compute(1)
            buffer.get()
            yield Unlock("m")
            yield Up("empty")
            yield Compute(5)

    programs = [TaskSpec(name="P", program=producer)]
    programs += [TaskSpec(name=f"C{i}", program=consumer) for i in range(consumers)]
    shared = [semaphore("empty", 3), semaphore("full"), mutex()]
    ran = execute(cores(lambda: RoundRobin(2), *programs, count=count, shared=shared))
    assert ran.outcome.ok
    assert buffer.seen == list(range(12))


@pytest.mark.parametrize("count", [1, 2])
def test_a_bounded_buffer_with_condition_variables(count):
    """OSTEP ch. 30: two conditions, and `while`, for who is woken must look again."""
    buffer = Buffer(2)

    def producer():
        for i in range(12):
            yield Lock("m")
            while len(buffer.items) == 2:
                yield WaitFor("room", "m")
            buffer.put(i)
            yield Compute(1)
            yield Notify("item")
            yield Unlock("m")

    def consumer():
        for _ in range(4):
            yield Lock("m")
            while not buffer.items:
                yield WaitFor("item", "m")
            buffer.get()
            yield Compute(2)
            yield Notify("room")
            yield Unlock("m")

    programs = [TaskSpec(name=f"C{i}", program=consumer) for i in range(3)]
    programs.append(TaskSpec(name="P", program=producer))
    shared = [mutex(), SharedSpec(name="room", kind="condition"), SharedSpec(name="item", kind="condition")]
    ran = execute(cores(lambda: RoundRobin(2), *programs, count=count, shared=shared))
    assert ran.outcome.ok
    assert buffer.seen == list(range(12))


def test_notify_wakes_one_or_all_and_each_needs_the_mutex():
    waiting = Lock("m"), WaitFor("c", "m"), 2, Unlock("m")
    for everybody, done in ((False, [23]), (True, [23, 25, 27])):
        ran = execute(
            cores(
                FCFS,
                *[task(f"W{i}", *waiting) for i in range(3)],
                task("N", Sleep(20), Lock("m"), Notify("c", everybody), 1, Unlock("m")),
                shared=[mutex(), SharedSpec(name="c", kind="condition")],
            )
        )
        assert [
            t.finish_ns for t in ran.outcome.state.tasks.values() if t.name != "N" and t.finish_ns
        ] == done
        assert ran.outcome.ok is everybody


def test_who_is_notified_has_the_ceiling_of_its_mutex():
    """W (9) gets m (ceiling 1) at 20 from a notifier without it: M (5) does not come in before the unlock."""
    ran = execute(
        cores(
            Priority,
            task("W", Lock("m"), WaitFor("c", "m"), 5, Unlock("m"), priority=9),
            task("N", Sleep(20), Notify("c"), priority=0),
            task("M", 9, at=21, priority=5),
            shared=[mutex(protocol="ceiling", ceiling=1), SharedSpec(name="c", kind="condition")],
        )
    )
    assert ran.runs == [(20, 25, "W"), (25, 34, "M")]


def test_a_notification_that_nobody_waits_for_is_lost_but_a_semaphore_remembers():
    lost = cores(FCFS, task("N", Notify("c")), task("W", Lock("m"), WaitFor("c", "m")),
                 shared=[mutex(), SharedSpec(name="c", kind="condition")])  # fmt: skip
    assert not execute(lost).outcome.ok
    kept = cores(FCFS, task("N", Up("s")), task("W", Down("s")), shared=[semaphore("s")])
    assert execute(kept).outcome.ok


def test_the_most_urgent_waiter_goes_first_and_equals_in_turn():
    order = []

    def waiter(name):
        def program():
            yield Down("s")
            order.append(name)

        return program

    tasks = [TaskSpec(name=n, program=waiter(n), priority=p) for n, p in (("A", 5), ("B", 5), ("C", 1))]
    poster = task("P", Sleep(5), Up("s"), 1, Up("s"), 1, Up("s"))
    assert execute(cores(FCFS, *tasks, poster, shared=[semaphore("s")])).outcome.ok
    assert order == ["C", "A", "B"]


# --- pipes and mailboxes ------------------------------------------------------------------------------


def test_a_pipe_between_a_producer_and_a_consumer():
    """30 bytes through a pipe of 8, in reads of up to 5: all arrive, the writer waits for the reader."""
    got = []

    def consumer():
        while sum(got) < 30:
            got.append((yield Read("p", 5)))
            yield Compute(2)

    shared = [SharedSpec(name="p", kind="pipe", size=8)]
    spec = cores(FCFS, task("P", Write("p", 30)), TaskSpec(name="C", program=consumer), shared=shared)
    ran = execute(spec)
    assert ran.outcome.ok
    assert sum(got) == 30
    assert all(0 < n <= 5 for n in got)
    # 8 go in at once; the writer is done when 22 have been read: at the fifth read, which is at 8.
    assert [(e.t, e.task) for e in ran.of(ev.Wake)] == [(8, 1)]
    assert ran.outcome.state.shared["p"].level == 0


def test_a_pipe_wakes_readers_by_urgency():
    order = []

    def reader(name):
        def program():
            order.append((name, (yield Read("p", 4))))

        return program

    readers = [TaskSpec(name=n, program=reader(n), priority=p) for n, p in (("A", 5), ("B", 1))]
    shared = [SharedSpec(name="p", kind="pipe", size=4)]
    ran = execute(cores(FCFS, *readers, task("W", Sleep(5), Write("p", 6)), shared=shared))
    assert ran.outcome.ok
    assert sorted(order) == [("A", 2), ("B", 4)]


def test_nothing_is_read_or_written_at_once():
    seen = []

    def program():
        seen.append((yield Read("p", 0)))
        seen.append((yield Write("p", 0)))
        seen.append((yield Write("p", 3)))
        seen.append((yield Read("p", 9)))

    shared = [SharedSpec(name="p", kind="pipe", size=4)]
    assert execute(cores(FCFS, TaskSpec(name="A", program=program), shared=shared)).outcome.ok
    assert seen == [0, 0, 3, 3]


def test_messages_come_in_order_and_a_full_box_makes_the_sender_wait():
    """Room for two: S sends a, b and waits with c until R takes a at 10."""
    got = []

    def receiver():
        yield Sleep(10)
        for _ in range(3):
            got.append((yield Receive("b")))
            yield Compute(5)

    shared = [SharedSpec(name="b", kind="mailbox", size=2)]
    ran = execute(
        cores(
            FCFS,
            task("S", Send("b", "a"), Send("b", "b"), Send("b", "c"), 1),
            TaskSpec(name="R", program=receiver),
            count=2,
            shared=shared,
        )
    )
    assert got == ["a", "b", "c"]
    assert ran.task("S").finish_ns == 11


# --- what is wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calls", "says"),
    [
        ([Unlock("m")], "nobody has"),
        ([Lock("n")], "the machine has: m"),
        ([Down("m")], "the machine has: none"),
        ([WaitFor("c", "m")], "without having locked m"),
    ],
)
def test_a_program_that_uses_them_wrongly_is_told(calls, says):
    with pytest.raises(PolicyError, match="task A") as error:
        execute(cores(FCFS, task("A", *calls), shared=[mutex(), SharedSpec(name="c", kind="condition")]))
    assert says in str(error.value)


def test_only_the_holder_unlocks():
    with pytest.raises(PolicyError, match="which A has"):
        execute(cores(FCFS, task("A", Lock("m"), 1, Sleep(9)), task("B", 2, Unlock("m")), shared=[mutex()]))


def test_calls_take_time_and_still_exclude():
    """Lock and unlock cost 3 each: A has m from 3 on; B asks for it in the same call and gets it at 3+5+3."""
    costs = Costs(syscall_ns=3)
    steps = Lock("m"), 5, Unlock("m")
    ran = execute(cores(FCFS, task("A", *steps), task("B", *steps), count=2, shared=[mutex()], costs=costs))
    assert ran.runs == [(3, 8, "A"), (11, 16, "B")]


# --- mutants ------------------------------------------------------------------------------------------


def test_mutant_no_inheritance(monkeypatch):
    monkeypatch.setattr(sync.Mutex, "lends", lambda _self: [])
    assert execute(pathfinder("inherit", middle=1000)).task("H").finish_ns == 1013


def test_mutant_lost_wake_up(monkeypatch):
    """If Up forgets the one who waits, the run says that he waits for ever."""

    def forgetful(kernel, core, process, call):
        kernel.shared[call.semaphore].value += 1
        kernel.fetch(process, None)
        return core.task is process

    monkeypatch.setattr(syscalls, "EFFECTS", {**syscalls.EFFECTS, Up: forgetful})
    ran = execute(cores(FCFS, task("W", Down("s")), task("P", 5, Up("s")), shared=[semaphore("s")]))
    assert not ran.outcome.ok
    assert "W (down s)" in ran.outcome.reason
