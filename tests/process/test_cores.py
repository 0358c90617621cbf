"""Cores, system calls, interrupts, and how a run ends."""

import pytest
from machines import cores, execute, job, task

from llmos.costs.ops import Matmul
from llmos.errors import PolicyError
from llmos.process.dispatcher import Costs
from llmos.process.program import Compute, EndJob, Exit, Fork, Io, Sleep, Wait, Work, YieldCpu
from llmos.scenario.machine import CpuSpec, MachineSpec, PolicySpec, TaskSpec, run
from llmos.sched.base import Scheduler
from llmos.sched.edf import EDF
from llmos.sched.fcfs import FCFS
from llmos.sched.priority import Priority
from llmos.sched.rr import RoundRobin
from llmos.sched.srtf import SRTF
from llmos.trace import events as ev
from llmos.trace.records import Status


def test_a_device_serves_one_request_at_a_time():
    """Three tasks ask a disk of 10 at once: it is done at 10, 20 and 30; with two heads at 10, 10, 20."""
    wanted = [task(n, Io("disk"), 1) for n in "ABC"]
    for servers, done in ((1, [10, 20, 30]), (2, [10, 10, 20]), (0, [10, 10, 10])):
        ran = execute(cores(FCFS, *wanted, io=10, servers=servers))
        assert [e.t for e in ran.of(ev.IoDone)] == done


def test_sleep_yield_and_exit():
    ran = execute(cores(FCFS, task("A", 2, YieldCpu(), 2, Sleep(10), 1, Exit(), 99), task("B", 3)))
    assert ran.runs == [(0, 2, "A"), (2, 5, "B"), (5, 7, "A"), (17, 18, "A")]


def test_fork_and_wait():
    seen = []

    def parent():
        first = yield Fork(job(Compute(5)), "first")
        second = yield Fork(job(Compute(1)), "second")
        yield Compute(1)
        seen.append((yield Wait(second)) == second)
        yield Compute(1)
        seen.append((yield Wait()) == first)  # a zombie by now: no blocking
        seen.append((yield Wait()))  # nobody left to wait for

    ran = execute(cores(FCFS, TaskSpec(name="P", program=parent)))
    assert seen == [True, True, -1]
    assert ran.runs == [(0, 1, "P"), (1, 6, "first"), (6, 7, "second"), (7, 8, "P")]
    assert ran.task("first").parent == ran.task("P").pid
    assert [e.on for e in ran.of(ev.Block)] == ["child"]


def test_kernel_operations_take_what_the_cost_model_says():
    class Model:
        def predict(self, op):
            return type("Cost", (), {"ns": op.m * op.k * op.n})

    program = task("A", Work(Matmul(2, 3, 4, "fp32"), count=2))
    assert execute(cores(FCFS, program, cost_model=Model())).task("A").cpu_ns == 48
    with pytest.raises(PolicyError, match="set `profile`"):
        execute(cores(FCFS, program))


def test_an_interrupt_delays_user_work_and_is_charged_to_nobody():
    """B's I/O is done at 10 (on core 0, where A computes since 3): the handler takes 4, A ends 4 later."""
    costs = Costs(io_interrupt_ns=4)
    ran = execute(cores(FCFS, task("B", 3, Io("disk", 7)), task("A", 20), costs=costs))
    assert ran.runs == [(0, 3, "B"), (3, 10, "A"), (14, 27, "A")]
    assert ran.task("A").cpu_ns == 20


def test_system_calls_are_charged_to_the_caller():
    """Quantum 10, system call 4: compute 8 + call 4 is more than the quantum, so B is next."""
    costs = Costs(syscall_ns=4)
    forks = task("A", 8, Fork(job(Compute(1)), "child"), 5)
    ran = execute(cores(lambda: RoundRobin(10), forks, task("B", 3), costs=costs))
    assert [name for _, _, name in ran.runs] == ["A", "B", "child", "A"]
    assert ran.task("B").first_run_ns == 12


def test_a_task_in_the_kernel_is_not_preempted():
    """Urgent U arrives at 5, in the middle of A's system call of 3..13: it must wait for its end."""
    costs = Costs(syscall_ns=10)
    a = task("A", 3, Fork(job(), "child"), 50, priority=1)
    ran = execute(cores(Priority, a, task("U", 2, at=5, priority=0), costs=costs))
    assert ran.task("U").first_run_ns == 13
    (preempt,) = ran.of(ev.Preempt)
    assert (preempt.t, preempt.reason) == (13, "U goes first: priority 0")


def test_deadlines():
    """A is done exactly at its deadline: in time. B is not."""
    ran = execute(cores(EDF, task("A", 10, deadline_ns=10), task("B", 10, deadline_ns=19)))
    assert (ran.task("A").deadline_misses, ran.task("B").deadline_misses) == (0, 1)
    (miss,) = ran.of(ev.Miss)
    assert (miss.t, miss.deadline) == (19, 19)


def test_a_late_job_pushes_the_next_one():
    """Period 10, work 12: job 2 is released at 10 and begins at 12."""
    steps = [step for _ in range(3) for step in (Compute(12), EndJob())]
    ran = execute(cores(EDF, task("A", *steps, period_ns=10, jobs=3)))
    jobs = ran.task("A").jobs
    assert [(j.release_ns, j.deadline_ns, j.finish_ns, j.missed) for j in jobs] == [
        (0, 10, 12, True),
        (10, 20, 24, True),
        (20, 30, 36, True),
    ]
    assert ran.task("A").deadline_misses == 3


def test_two_cores_share_one_queue():
    ran = execute(cores(SRTF, task("A", 9), task("B", 5), task("C", 2, at=1), count=2))
    # C displaces A, which has the most left, and A goes on when C or B is done.
    assert sorted(ran.runs) == [(0, 1, "A"), (0, 5, "B"), (1, 3, "C"), (3, 11, "A")]
    assert ran.task("A").migrations == 0


def test_a_run_in_which_nothing_can_happen_again_says_so():
    class Lazy(FCFS):
        def pick(self, now):
            return None

    ran = execute(cores(Lazy, task("A", 1)))
    assert not ran.outcome.ok
    assert "nothing can ever happen again" in ran.outcome.reason
    assert ran.events[-1].reason == ran.outcome.reason
    assert not ran.events[-1].ok

    def parent():
        yield Fork(child)
        yield Wait()

    def child():
        yield Wait(1)  # it waits for its parent, which is not its child: returns at once
        yield Compute(1)

    assert execute(cores(FCFS, TaskSpec(name="P", program=parent))).outcome.ok


def test_limits():
    endless = task("A", *[Compute(1), YieldCpu()] * 1000)
    ran = execute(cores(FCFS, endless, until_ns=10))
    assert ran.outcome.ok
    assert ran.outcome.state.now == 10
    assert ran.outcome.state.tasks[1].status is Status.RUNNING
    assert ran.outcome.state.tasks[1].cpu_ns == 10
    ran = execute(cores(FCFS, endless, max_events=50))
    assert not ran.outcome.ok
    assert "event limit of 50" in ran.outcome.reason
    assert ran.outcome.simpy_events == 50


def nonsense(**methods):
    return type("Nonsense", (FCFS,), methods)


@pytest.mark.parametrize(
    ("methods", "says"),
    [
        ({"pick": lambda self, now: 3}, "answered 3"),
        ({"pick": lambda self, now: self._ready[0] if self._ready else None}, "each once"),
        ({"quantum": lambda self, task, now: -1}, "answered -1"),
        ({"quantum": lambda self, task, now: True}, "answered True"),
        ({"quantum": lambda self, task, now: 1.5}, "answered 1.5"),
        ({"preempts": lambda self, newcomer, running, now: newcomer}, "answered task B"),
        ({"next_tick": lambda self, now: now}, "after now"),
    ],
)
def test_nonsense_from_a_policy_names_the_contract(methods, says):
    with pytest.raises(PolicyError, match="Nonsense") as error:
        execute(cores(nonsense(**methods), task("A", 9), task("B", 5, at=1), task("C", 5, at=1)))
    assert says in str(error.value)
    assert "the contract: " in str(error.value)


def endless_program():
    while True:
        yield Compute(0)


def failing_program():
    yield Compute(1)
    raise ValueError("ouch")


def strange_program():
    yield "please"


@pytest.mark.parametrize(
    ("program", "says"),
    [
        (endless_program, "without spending any time"),
        (failing_program, "ValueError: ouch"),
        (strange_program, "no system call"),
        (job(Io("tape")), "the machine has: disk"),
        (job(EndJob()), "give it a `period`"),
    ],
)
def test_a_bad_program_names_the_task_and_the_time(program, says):
    with pytest.raises(PolicyError, match="task A") as error:
        execute(cores(FCFS, TaskSpec(name="A", program=program)))
    assert says in str(error.value)


def test_a_policy_of_fifteen_lines():
    """The README's promise: two methods are enough."""

    class LongestName(Scheduler):
        def __init__(self):
            self.ready = []

        def enqueue(self, task, why, now):
            self.ready.append(task)

        def pick(self, now):
            if not self.ready:
                return None
            best = max(self.ready, key=lambda task: len(task.name))
            self.ready.remove(best)
            return best

    spec = MachineSpec(
        cpu=CpuSpec(policy=PolicySpec(name="mine", make=LongestName)),
        tasks=[task("A", 1), task("AAA", 1), task("AA", 1)],
    )
    state = run(spec).state
    assert [t.first_run_ns for t in state.tasks.values()] == [2, 0, 1]


def test_the_room_that_one_newcomer_makes_may_go_to_another_and_then_it_asks_again():
    """Two of each urgency on two cores: at 5 both humble tasks give way, whoever asked first."""
    ran = execute(
        cores(
            Priority,
            task("lo1", 15, priority=9),
            task("lo2", 15, priority=9),
            task("mid", 5, at=5, priority=2),
            task("hi", 5, at=5, priority=1),
            count=2,
        )
    )
    assert {ran.task(name).first_run_ns for name in ("mid", "hi")} == {5}
