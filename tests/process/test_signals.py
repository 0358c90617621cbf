"""Signals, in whatever state they find a task; the log keeps its invariants in all of them."""

import pytest
from machines import cores, execute, job, task

from llmos.errors import PolicyError
from llmos.process.dispatcher import Costs
from llmos.process.kernel import Kernel
from llmos.process.program import (
    Compute,
    Down,
    EndJob,
    Exec,
    Handle,
    Io,
    Kill,
    Lock,
    Nice,
    Notify,
    Pause,
    Receive,
    Send,
    Sleep,
    Unlock,
    WaitFor,
    Write,
)
from llmos.scenario.machine import Injection, SharedSpec, TaskSpec
from llmos.sched.fcfs import FCFS
from llmos.sched.priority import Priority
from llmos.sched.rr import RoundRobin
from llmos.trace import events as ev
from llmos.trace.records import Status


def at(time, signal, name="A", **more):
    return Injection(name=name, at_ns=time, signal=signal, **more)


def shared(*kinds, **sizes):
    names = {"m": "mutex", "s": "semaphore", "c": "condition", "p": "pipe", "b": "mailbox"}
    return [SharedSpec(name=kind, kind=names[kind], size=sizes.get(kind, 0)) for kind in kinds]


def reason_of_exit(ran, name):
    return next(e.reason for e in ran.of(ev.Exit) if e.task == ran.task(name).pid)


CONVENTIONS = pytest.mark.parametrize("convention", ["textbook", "ostep"])


@CONVENTIONS
@pytest.mark.parametrize(
    ("steps", "other", "end"),
    [
        pytest.param([20], [], 5, id="running"),
        pytest.param([20], [10], 10, id="ready, B has the core to 10"),
        pytest.param([1, Sleep(50), 1], [], 5, id="blocked"),
        pytest.param([1, Pause(), 1], [], 5, id="waits for a signal"),
        pytest.param([1, Io("disk", 15), 1], [], 16, id="a device cannot be stopped"),
    ],
)
def test_a_task_is_killed_wherever_it_is(convention, steps, other, end):
    """TERM at 5 by default ends A as soon as it can."""
    first = [task("B", *other)] if other else []
    ran = execute(cores(FCFS, *first, task("A", *steps), injections=[at(5, "TERM")], convention=convention))
    assert ran.outcome.ok
    assert ran.task("A").finish_ns == end
    assert reason_of_exit(ran, "A") == "killed by TERM"


@CONVENTIONS
def test_a_task_inside_a_call_is_killed_when_the_call_is_over(convention):
    """The call takes 3..13, TERM comes at 5, so the exit call begins at 13 and ends at 23."""
    costs = Costs(syscall_ns=10)
    spec = cores(
        FCFS, task("A", 3, Nice(1), 50), costs=costs, injections=[at(5, "TERM")], convention=convention
    )
    ran = execute(spec)
    assert [(e.t, e.name) for e in ran.of(ev.Syscall)] == [(3, "nice"), (13, "exit")]
    assert ran.task("A").finish_ns == 23


@CONVENTIONS
def test_a_task_that_makes_call_after_call_is_still_killed(convention):
    """It is never seen outside the kernel by anybody, but each call has an end: that of 9..12, here."""
    spec = cores(
        FCFS, task("A", *[Nice(1)] * 50), costs=Costs(syscall_ns=3), injections=[at(10, "KILL")],
        convention=convention,
    )  # fmt: skip
    assert execute(spec).task("A").finish_ns == 15


@CONVENTIONS
def test_a_signal_in_the_interrupt_that_ends_a_quantum(convention):
    """The quantum is over at 4, its interrupt takes 4..8, and A is killed at 5: it never runs again."""
    spec = cores(
        lambda: RoundRobin(4), task("A", 20), task("B", 6), costs=Costs(timer_ns=4),
        injections=[at(5, "KILL")], convention=convention,
    )  # fmt: skip
    ran = execute(spec)
    assert ran.task("A").cpu_ns == 4
    assert ran.task("B").cpu_ns == 6
    assert ran.outcome.ok


def handles(signal, *steps, seen=None):
    """A program that handles `signal` by computing 3 and makes `steps`, noting their answers."""

    def interlude():
        yield Compute(3)

    def program():
        yield Handle(signal, interlude)
        for step in steps:
            answer = yield step
            if seen is not None:
                seen.append(answer)

    return TaskSpec(name="A", program=program)


def test_a_handler_interrupts_a_burst_and_the_rest_is_not_lost():
    """A computes 10; at 4 the handler takes 3, then A has 6 left: done at 13, not at 17."""
    ran = execute(cores(FCFS, handles("USR1", Compute(10)), injections=[at(4, "USR1")]))
    assert ran.task("A").finish_ns == 13
    assert ran.task("A").cpu_ns == 13
    assert [(e.t, e.signal) for e in ran.of(ev.Signal)] == [(4, "USR1")]


def test_a_handler_does_not_cost_a_task_its_turn():
    """FCFS: A is interrupted at 4 and goes on with the handler, though B waits."""
    ran = execute(cores(FCFS, handles("USR1", Compute(10)), task("B", 5), injections=[at(4, "USR1")]))
    assert ran.runs == [(0, 13, "A"), (13, 18, "B")]


def test_a_handler_of_a_ready_task_runs_when_it_is_its_turn():
    ran = execute(
        cores(
            Priority,
            handles("USR1", Compute(10)),
            task("B", 5, at=2, priority=-1),
            injections=[at(4, "USR1")],
        )
    )
    assert ran.runs == [(0, 2, "A"), (2, 7, "B"), (7, 18, "A")]


def test_a_handler_within_a_handler():
    """USR1 at 4 (handler 4-7) and again at 5: 4-5, the inner one 5-8, the outer's rest 8-10, then 6: 16."""
    ran = execute(cores(FCFS, handles("USR1", Compute(10)), injections=[at(4, "USR1"), at(5, "USR1")]))
    assert ran.task("A").finish_ns == 16


@pytest.mark.parametrize(
    "wait", [Sleep(50), Pause(), Down("s"), Receive("b"), Write("p", 9)], ids=lambda call: type(call).__name__
)
def test_a_wait_that_is_cut_short_answers_minus_one(wait):
    """EINTR: the handler runs 5-8, the call returns -1, and the next burst takes 8-10."""
    seen = []
    spec = cores(
        FCFS,
        handles("INT", wait, Compute(2), seen=seen),
        injections=[at(5, "INT")],
        shared=shared("s", "b", "p", p=4),
    )
    ran = execute(spec)
    assert ran.outcome.ok
    assert seen[0] == -1
    assert ran.task("A").finish_ns == 10


def test_whoever_was_interrupted_waits_for_nothing_any_more():
    """A's Send is cut short, so its message is never received; then A receives, and gets B's."""
    seen = []
    a = handles("USR1", Send("b", "lost"), Receive("b"), Sleep(10), Receive("b"), seen=seen)
    b = task("B", Sleep(10), Send("b", "first"), Sleep(100), Send("b", "second"))
    full = task("F", Send("b", "zero"), at=0)
    spec = cores(FCFS, full, a, b, injections=[at(5, "USR1")], shared=shared("b", b=1))
    ran = execute(spec)
    assert ran.outcome.ok
    assert seen == [-1, "zero", None, "first"]


def test_a_wait_for_a_mutex_goes_on_after_the_handler():
    """B has m to 20. A's handler runs meanwhile (on the other core); A has m from 20 on."""
    a = handles("USR1", Lock("m"), Compute(5), Unlock("m"))
    b = task("B", Lock("m"), 20, Unlock("m"))
    ran = execute(cores(FCFS, b, a, count=2, injections=[at(5, "USR1")], shared=shared("m")))
    assert ran.outcome.ok
    assert ran.task("A").finish_ns == 25
    assert ran.task("A").cpu_ns == 3 + 5


def test_a_wait_for_a_condition_ends_without_a_notification():
    """The handler runs 5-8, then A has the mutex again (so that it may give it back) and looks again."""
    a = handles("USR1", Lock("m"), WaitFor("c", "m"), Compute(1), Unlock("m"))
    b = task("B", Sleep(30), Notify("c"))
    ran = execute(cores(FCFS, a, b, injections=[at(5, "USR1")], shared=shared("m", "c")))
    assert ran.outcome.ok
    assert ran.task("A").finish_ns == 9
    assert ran.outcome.state.shared["c"].waiters == []


def test_a_handler_waits_while_its_task_waits_for_a_device_or_a_release():
    """The device is done at 16: handler 16-19, then 1. The second job: handler 10-13, work 13-15."""
    ran = execute(
        cores(FCFS, handles("USR1", Compute(1), Io("disk", 15), Compute(1)), injections=[at(5, "USR1")])
    )
    assert [e.t for e in ran.of(ev.Signal)] == [16]
    assert ran.task("A").finish_ns == 20
    spec = handles("USR1", Compute(2), EndJob(), Compute(2), EndJob())
    periodic = TaskSpec(name="A", program=spec.program, period_ns=10, jobs=2)
    ran = execute(cores(FCFS, periodic, injections=[at(5, "USR1")]))
    assert ran.outcome.ok
    assert [j.finish_ns for j in ran.task("A").jobs] == [2, 15]


def test_ignored_and_default():
    steps = Handle("TERM", "ignore"), Handle("INT", "ignore"), Handle("INT", "default")
    ran = execute(cores(FCFS, task("A", *steps, 10), injections=[at(3, "TERM"), at(5, "INT")]))
    assert reason_of_exit(ran, "A") == "killed by INT"
    assert ran.task("A").finish_ns == 5


def test_exec_forgets_handlers_but_not_what_is_ignored():
    def after():
        yield Compute(20)

    def program():
        yield Handle("USR1", job(Compute(1)))
        yield Handle("TERM", "ignore")
        yield Exec(after, "X")

    spec = cores(
        FCFS, TaskSpec(name="A", program=program), injections=[at(3, "TERM", "X"), at(5, "USR1", "X")]
    )
    assert reason_of_exit(execute(spec), "X") == "killed by USR1"


# --- stop and continue --------------------------------------------------------------------------------


def test_stop_and_continue_a_running_task():
    """A computes 10, stopped 4-20."""
    ran = execute(cores(FCFS, task("A", 10), task("B", 3), injections=[at(4, "STOP"), at(20, "CONT")]))
    assert ran.runs == [(0, 4, "A"), (4, 7, "B"), (20, 26, "A")]
    assert ran.task("A").blocked_ns == 16


def test_stop_and_continue_a_ready_task():
    ran = execute(cores(FCFS, task("B", 10), task("A", 3), injections=[at(4, "STOP"), at(20, "CONT")]))
    assert ran.runs == [(0, 10, "B"), (20, 23, "A")]
    (suspend,) = ran.of(ev.Suspend)
    assert (suspend.t, suspend.task) == (4, 2)


def test_a_wake_up_in_between_is_not_lost():
    """A sleeps 1-11 and is stopped at 5; it goes on at 20, when it is continued."""
    ran = execute(cores(FCFS, task("A", 1, Sleep(10), 3), injections=[at(5, "STOP"), at(20, "CONT")]))
    assert ran.runs == [(0, 1, "A"), (20, 23, "A")]


def test_continued_before_the_wake_up_it_sleeps_on():
    ran = execute(cores(FCFS, task("A", 1, Sleep(10), 3), injections=[at(5, "STOP"), at(8, "CONT")]))
    assert ran.runs == [(0, 1, "A"), (11, 14, "A")]


def test_at_the_instant_at_which_a_quantum_ends():
    """STOP reaches A at 4, handed back but not replaced yet: it is preempted, then suspended."""
    for convention in ("textbook", "ostep"):
        spec = cores(
            lambda: RoundRobin(4), task("A", 8), task("B", 8), injections=[at(4, "STOP"), at(30, "CONT")],
            convention=convention,
        )  # fmt: skip
        ran = execute(spec)
        assert ran.runs == [(0, 4, "A"), (4, 12, "B"), (30, 34, "A")]


@pytest.mark.parametrize("steps", [[20], [1, Sleep(50), 1]], ids=["ran", "slept"])
def test_a_stopped_task_hears_nothing_but_kill_and_continue(steps):
    """TERM is pending from 5 on: A dies at 10, when it is continued; by KILL it dies at 7."""
    ran = execute(cores(FCFS, task("A", *steps), injections=[at(4, "STOP"), at(5, "TERM"), at(10, "CONT")]))
    assert (ran.task("A").finish_ns, reason_of_exit(ran, "A")) == (10, "killed by TERM")
    ran = execute(cores(FCFS, task("A", *steps), injections=[at(4, "STOP"), at(5, "TERM"), at(7, "KILL")]))
    assert (ran.task("A").finish_ns, reason_of_exit(ran, "A")) == (7, "killed by KILL")


def test_kill_a_stopped_task_whose_wake_up_has_come():
    spec = cores(FCFS, task("A", 1, Sleep(5), 9), injections=[at(4, "STOP"), at(20, "KILL")])
    assert execute(spec).task("A").finish_ns == 20


def test_a_handler_of_continue_runs_when_the_task_goes_on():
    """Stopped 4-20 with 6 left; the handler runs 20-23, the rest 23-29."""
    spec = cores(FCFS, handles("CONT", Compute(10)), injections=[at(4, "STOP"), at(20, "CONT")])
    assert execute(spec).task("A").finish_ns == 29


def test_a_task_that_nobody_continues_is_named():
    ran = execute(cores(FCFS, task("A", 10), injections=[at(4, "STOP")]))
    assert not ran.outcome.ok
    assert "A (stopped)" in ran.outcome.reason
    assert ran.task("A").status is Status.BLOCKED


# --- one another --------------------------------------------------------------------------------------


def test_kill_by_name_and_by_pid():
    seen = []

    def killer():
        yield Compute(3)
        seen.append((yield Kill("B")))
        seen.append((yield Kill(2, "KILL")))  # it is on its way out already
        seen.append((yield Kill("nobody")))

    ran = execute(cores(FCFS, TaskSpec(name="A", program=killer), task("B", 9), count=2))
    assert seen == [0, 0, -1]
    assert ran.task("B").finish_ns == 3


@CONVENTIONS
@pytest.mark.parametrize(
    ("signals", "runs"),
    [
        ([at(1, "STOP"), at(10, "CONT")], [(10, 15, "A")]),
        ([at(0, "STOP"), at(2, "CONT")], [(3, 8, "A")]),
        ([at(1, "STOP"), at(1, "KILL")], []),
        ([at(1, "KILL")], []),
    ],
)
def test_signals_before_the_first_release_is_handled(convention, signals, runs):
    """A comes at 0, and its release costs 3: what comes before that is pending until 3."""
    periodic = task("A", 5, EndJob(), period_ns=100, jobs=1)
    costs = Costs(release_ns=3)
    ran = execute(cores(FCFS, periodic, convention=convention, injections=signals, costs=costs))
    assert ran.runs == runs
    assert {e.t for e in ran.of(ev.Signal)} <= {3, 10}
    assert ran.outcome.ok


def test_mutant_a_signal_finds_who_is_not_yet_in_the_ready_queue(monkeypatch):
    monkeypatch.setattr(Kernel, "is_queued", lambda _self, _process: True)
    spec = cores(FCFS, task("A", 5, EndJob(), period_ns=100, jobs=1),
                 injections=[at(1, "STOP")], costs=Costs(release_ns=3))  # fmt: skip
    with pytest.raises(ValueError, match="not in deque"):
        execute(spec)


def test_a_task_can_kill_stop_and_interrupt_itself():
    ran = execute(cores(FCFS, task("A", 3, Kill("A"), 5)))
    assert (ran.task("A").finish_ns, reason_of_exit(ran, "A")) == (3, "killed by TERM")
    ran = execute(cores(FCFS, task("A", 3, Kill("A", "STOP"), 5), injections=[at(10, "CONT")]))
    assert ran.runs == [(0, 3, "A"), (10, 15, "A")]
    ran = execute(cores(FCFS, handles("USR1", Compute(3), Kill("A", "USR1"), Compute(5))))
    assert ran.task("A").finish_ns == 3 + 3 + 5


def test_who_is_killed_gives_its_locks_back():
    spec = cores(
        FCFS, task("A", Lock("m"), 50, Unlock("m")), task("B", Lock("m"), 3, Unlock("m")), count=2,
        injections=[at(5, "KILL")], shared=shared("m"),
    )  # fmt: skip
    ran = execute(spec)
    assert ran.task("B").finish_ns == 8
    assert ran.outcome.state.shared["m"].holder == -1


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (Kill("A", "HUP"), "no signal 'HUP'"),
        (Handle("KILL"), "neither handled nor ignored"),
        (Handle("INT", "perhaps"), "not 'perhaps'"),
    ],
)
def test_what_is_no_signal(call, says):
    with pytest.raises(PolicyError, match="task A") as error:
        execute(cores(FCFS, task("A", call)))
    assert says in str(error.value)


def test_a_handler_that_is_no_program():
    with pytest.raises(PolicyError, match="is no program"):
        execute(cores(FCFS, task("A", Handle("USR1", lambda: 3), 9), injections=[at(2, "USR1")]))
