"""Devices that fail: which request, what its task sees, and what a list of steps does about it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import cores, execute

from llmos.errors import ScenarioError
from llmos.process.dispatcher import Costs
from llmos.process.program import MS, Compute, Io
from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.scenario.machine import Injection, TaskSpec
from llmos.sched.fcfs import FCFS
from llmos.storage.device import Device
from llmos.trace import events as ev


def fail(time, requests=1, **more):
    return Injection(name="", at_ns=time, device="disk", fails=requests, **more)


def signal(name, time):
    return Injection(name="A", at_ns=time, signal=name)


def reader(name, seen, *, times=1):
    def program():
        for _ in range(times):
            yield Compute(1)
            seen.append((name, (yield Io("disk"))))

    return TaskSpec(name=name, program=program)


def test_the_request_in_service_fails_and_then_those_that_follow():
    """Requests of A, B and C end at 11, 21 and 31; two fail from 5 on. Each takes its time."""
    seen = []
    spec = cores(FCFS, *[reader(n, seen) for n in "ABC"], io=10, servers=1, injections=[fail(5, 2)])
    ran = execute(spec)
    assert [(e.t, e.error) for e in ran.of(ev.IoDone)] == [(11, "EIO"), (21, "EIO"), (31, "")]
    assert seen == [("A", -1), ("B", -1), ("C", 0)]
    assert [e.reason for e in ran.of(ev.Wake)] == ["disk has failed", "disk has failed", "disk is done"]


def test_failures_wait_for_requests_and_add_up():
    seen = []
    inject = [fail(20), fail(21, 2), fail(60)]
    spec = cores(FCFS, reader("A", seen, times=6), io=9, injections=inject)  # done at 10, 20, 30 ...
    execute(spec)
    assert [result for _, result in seen] == [0, -1, -1, -1, 0, -1]


def test_the_interrupt_of_a_failure_costs_like_any_other():
    seen = []
    spec = cores(FCFS, reader("A", seen), io=10, costs=Costs(io_interrupt_ns=3), injections=[fail(0)])
    ran = execute(spec)
    assert [(e.t, e.reason, e.cost_ns) for e in ran.of(ev.Interrupt)] == [(11, "disk has failed", 3)]
    assert [e.t for e in ran.of(ev.Wake)] == [14]


@pytest.mark.parametrize(("inject", "end"), [([], 12), ([signal("STOP", 5), signal("CONT", 30)], 31)])
def test_who_is_stopped_hears_of_it_later(inject, end):
    seen = []

    def program():
        yield Compute(1)
        seen.append((yield Io("disk")))
        yield Compute(1)

    spec = cores(FCFS, TaskSpec(name="A", program=program), io=10, injections=[fail(0), *inject])
    assert execute(spec).task("A").finish_ns == end
    assert seen == [-1]


@given(st.lists(st.integers(0, 60), max_size=6), st.lists(st.integers(1, 4), max_size=5))
def test_as_many_fail_as_were_to_and_no_time_is_lost(times, counts):
    seen = []
    readers = [reader(name, seen, times=4) for name in "ABC"]
    inject = [fail(t, n) for t, n in zip(times, counts, strict=False)]
    ran, sound = execute(cores(FCFS, *readers, injections=inject)), execute(cores(FCFS, *readers))
    failed = sum(bool(e.error) for e in ran.of(ev.IoDone))
    assert failed == [result for _, result in seen].count(-1)
    assert failed <= sum(one.fails for one in inject)
    last = max((one.at_ns for one in inject), default=0)
    if failed < sum(one.fails for one in inject):
        assert all(e.error for e in ran.of(ev.IoDone) if e.t > last)
    assert [t.finish_ns for t in ran.outcome.state.tasks.values()] == [
        t.finish_ns for t in sound.outcome.state.tasks.values()
    ]


def test_who_cannot_be_told_is_served():
    """A request without `failed` is served, and the failure is left for another one."""
    log = []

    class Clock:
        now = 0

        def at(self, _time, _phase, action, *arguments):
            action(*arguments)

    class Log:
        def emit(self, event):
            log.append(event)

    class Order:
        came = 0

    disk = Device(Clock(), Log(), Order(), name="disk", service_ns=1)
    disk.fail(1)
    told = []
    disk.submit(1, None, lambda: told.append("done"))
    disk.submit(2, None, lambda: told.append("done"), lambda: told.append("failed"))
    assert told == ["done", "failed"]
    assert [e.error for e in log if isinstance(e, ev.IoDone)] == ["", "EIO"]


# --- in a scenario --------------------------------------------------------------------------------------

SCENARIO = """
question = "What does a task do whose disk fails?"
tick = "1 ms"
[[device]]
name = "disk"
service = 10
[[task]]
name = "A"
{work}
[[inject]]
fail = "disk"
requests = {requests}
"""


def scenario(work, requests=1):
    return execute(build(load_text(SCENARIO.format(work=work, requests=requests))))


@pytest.mark.parametrize(
    ("work", "end"),
    [
        ('program = [{ compute = 1 }, { io = "disk" }, { compute = 5 }]', 11),
        ('program = [{ repeat = 3, do = [{ compute = 1 }, { io = "disk" }] }, { compute = 5 }]', 11),
        ('burst = 6\nio = { every = 1, device = "disk" }', 11),
        ('program = [{ compute = 1 }, { io = "disk", on_error = "continue" }, { compute = 5 }]', 16),
        ('program = [{ compute = 1 }, { sleep = 1 }, { io = "disk", on_error = "exit" }]', 12),
    ],
)
def test_a_list_of_steps_ends_unless_it_goes_on(work, end):
    ran = scenario(work)
    (exited,) = ran.of(ev.Exit)
    assert exited.t == end * MS
    assert exited.reason == ("program ended" if "continue" in work else "input/output error of disk")
    assert ran.outcome.ok


def test_waiting_for_nobody_is_no_device_error():
    """`wait` returns -1 too, and a list of steps goes on after it."""
    ran = scenario("program = [{ wait = true }, { compute = 5 }]")
    assert ran.task("A").finish_ns == 5 * MS


@pytest.mark.parametrize(
    ("inject", "says"),
    [
        ('fail = "dsk"', r'fail: there is no device "dsk"\n.*"disk"'),
        ('pause = "disk"\nrequests = 3', "`requests` is for a device that fails"),
        ('fail = "disk"\nrequests = 0', "requests"),
        ('fail = "disk"\npause = "disk"', "one of interrupt, signal, pause, fail, offline"),
        ("offline = 2\n[cpu]\ncount = 2", "offline: there is no core 2; the last one is 1"),
        ("offline = 0", "the only core cannot go offline"),
        ('offline = 1\nevery = "5 ms"\n[cpu]\ncount = 2', "would never come back"),
        ('offline = 1\nevery = "5 ms"\ntime = "6 ms"\n[cpu]\ncount = 2', "would never come back"),
    ],
)
def test_a_mistake_is_told_when_the_file_is_read(inject, says):
    head = 'question = "?"\n[[task]]\nburst = "1 ms"\n[[device]]\nname = "disk"\n[[inject]]\n'
    with pytest.raises(ScenarioError, match=says):
        load_text(head + inject)


def test_a_core_goes_offline_in_a_scenario():
    text = """
question = "?"
tick = "1 ms"
[cpu]
count = 2
[[task]]
name = "A"
count = 2
burst = 10
[[inject]]
offline = 1
at = 4
time = 3
"""
    ran = execute(build(load_text(text)))
    assert [(e.t, e.cpu, e.online) for e in ran.of(ev.Hotplug)] == [
        (4 * MS, 1, False), (7 * MS, 1, True),
    ]  # fmt: skip
    assert ran.outcome.state.now == 13 * MS


# --- break it, and see ----------------------------------------------------------------------------------


def test_mutant_a_failure_is_not_used_up(monkeypatch):
    def fail_for_ever(self, _requests):
        self.failures = 10**9

    monkeypatch.setattr(Device, "fail", fail_for_ever)
    with pytest.raises(AssertionError):
        test_the_request_in_service_fails_and_then_those_that_follow()
