"""Properties of all calls together: programs drawn at random, on machines of all kinds."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from machines import POLICIES, SHARED, busy_tasks, cores, execute, overheads, task
from msgspec import structs

from llmos.errors import LlmosError
from llmos.process import signals, sync
from llmos.process.balance import Balance, Balancing
from llmos.process.cores import Rules
from llmos.process.dispatcher import Costs, Dispatcher
from llmos.process.program import SetAffinity, Sleep
from llmos.scenario.machine import CacheSpec, Injection
from llmos.sched.fcfs import FCFS
from llmos.trace import events as ev
from llmos.trace.records import Status
from llmos.trace.state import State, check, fold

balancings = st.builds(
    Balancing,
    placement=st.sampled_from(["deal", "least"]),
    steal=st.booleans(),
    peek_ns=st.sampled_from([0, 7]),
    balance_ns=st.sampled_from([0, 11]),
)
caches = st.none() | st.just(CacheSpec(size_bytes=0, warmup_ns=5, warm_rate=2000))
speeds = st.sampled_from([(), (), (500, 1000, 1700)])


rules = st.builds(
    Rules,
    rotate_ns=st.sampled_from([0, 0, 6]),
    whole_ns=st.sampled_from([0, 0, 3]),
    full_quantum=st.booleans(),
    keep_on_io=st.booleans(),
    serial_decisions=st.booleans(),
)
injections = st.lists(
    st.one_of(
        st.builds(Injection, name=st.just("nic"), at_ns=st.integers(0, 40), cost_ns=st.integers(0, 9)),
        st.builds(
            Injection,
            name=st.sampled_from(["T0", "T1"]),
            at_ns=st.integers(0, 40),
            signal=st.sampled_from(["STOP", "CONT", "USR1", "TERM", "KILL"]),
        ),
        st.builds(
            Injection,
            name=st.just("stall"),
            at_ns=st.integers(0, 40),
            cost_ns=st.integers(0, 9),
            device=st.just("disk"),
            fails=st.integers(0, 2),
        ),
        st.builds(
            Injection,
            name=st.just("outage"),
            at_ns=st.integers(0, 40),
            cost_ns=st.integers(1, 20),
            offline=st.just(True),
        ),
    ),
    max_size=4,
)


@st.composite
def machines(draw, *, plain=False):
    """A machine with up to three cores, and a busy workload."""
    count = draw(st.integers(1, 3))
    tasks, more = draw(busy_tasks), {}
    if not plain:
        more = {"cache": draw(caches), "speeds": draw(speeds)[:count]}
        more |= {"rules": draw(rules), "injections": draw(injections)}
        cpus = st.frozensets(st.integers(0, count - 1), min_size=1)
        tasks = [replace(one, affinity=draw(st.none() | cpus)) for one in tasks]
        tasks.append(task("mover", 2, SetAffinity(draw(cpus)), 2, SetAffinity(draw(cpus)), 2))
    costs = Costs() if plain else draw(overheads)
    per_core = draw(st.booleans()) and count > 1
    return cores(
        POLICIES[draw(st.sampled_from(sorted(POLICIES)))],
        *tasks,
        count=count,
        costs=costs,
        per_core=per_core,
        balancing=_steals(draw(balancings), plain) if per_core else Balancing(),
        convention=draw(st.sampled_from(["textbook", "ostep"])),
        servers=draw(st.integers(0, 1)),
        shared=SHARED,
        max_events=4_000,
        **more,
    )


def _steals(balancing, plain):
    return replace(balancing, steal=True) if plain else balancing


def instants(events):
    """The state after everything that happens at an instant, for each instant of the log."""
    state = State()
    for i, event in enumerate(events):
        state.apply(event)
        if i + 1 == len(events) or events[i + 1].t > event.t:
            yield state


def stopped(events):
    """The tasks that a signal has stopped for good."""
    out = set()
    for e in events:
        if isinstance(e, ev.Signal):
            (out.add if e.signal == "STOP" else out.discard)(e.task)
        elif isinstance(e, ev.Wake | ev.Exit):
            out.discard(e.task)
    return out


SIZES = {spec.name: spec.size for spec in SHARED}


def stuck_for_good(state, task):
    """Whether nobody who lives can be expected to wake `task`: what it waits for is not there."""
    if task.on in state.shared:
        thing = state.shared[task.on]
        return {
            "mutex": thing.holder != -1,
            "semaphore": thing.level == 0,
            "condition": True,
            "pipe": thing.level in (0, SIZES["p"]),
            "mailbox": thing.level in (0, SIZES["b"]),
        }[thing.kind]
    if task.on == "child":
        return any(t.parent == task.pid and t.status is not Status.TERMINATED for t in state.tasks.values())
    return task.on == "signal"


@settings(max_examples=150)
@given(machines())
def test_the_log_is_right_and_nobody_waits_for_what_is_there(spec):
    """`execute` checks that events find their tasks in the right state, and that no time is lost."""
    ran = execute(spec)
    state = ran.outcome.state
    if "limit" in ran.outcome.reason:
        return
    asleep = stopped(ran.events)
    left = [t for t in state.tasks.values() if t.status is not Status.TERMINATED]
    assert ran.outcome.ok is (not left)
    for t in left:
        assert t.status is Status.BLOCKED
        assert t.pid in asleep or stuck_for_good(state, t), (t.name, t.on)
    for thing in state.shared.values():
        blocked_on_it = {t.pid for t in left if t.on == thing.name}
        assert set(thing.waiters) <= {t.pid for t in left} | blocked_on_it
        assert blocked_on_it - asleep <= set(thing.waiters) or thing.kind == "condition"
        assert thing.holder == -1 or state.tasks[thing.holder].status is not Status.TERMINATED


@settings(max_examples=25)  # each is run twice
@given(machines())
def test_the_same_machine_gives_the_same_log(spec):
    assert execute(spec).outcome.log_sha256 == execute(spec).outcome.log_sha256


@given(machines())
def test_a_mutex_has_one_holder_and_its_waiters_take_turns(spec):
    """Whoever has it gives it back before another takes it; of the waiters the first most urgent is next."""
    state, before = State(), {}
    for e in execute(spec).events:
        if isinstance(e, ev.Share) and e.what == "mutex":
            was = before.get(e.name)
            if was and e.holder not in (was.holder, -1):
                assert was.holder == -1
                if was.waiters:
                    assert e.holder == min(was.waiters, key=lambda pid: state.tasks[pid].priority)
            before[e.name] = e
        state.apply(e)


@given(machines())
def test_a_holder_is_as_urgent_as_those_who_wait(spec):
    inherit = [shared.name for shared in SHARED if shared.protocol == "inherit"]
    for state in instants(execute(spec).events):
        for name in inherit:
            thing = state.shared.get(name)
            if thing and thing.holder != -1:
                holder = state.tasks[thing.holder].priority
                assert all(holder <= state.tasks[pid].priority for pid in thing.waiters)


def idle_while_somebody_is_ready(events):
    return [
        state.now
        for state in instants(events)
        if state.ready and any(not p.running for p in state.processors.values()) and not state.end
    ]


@given(machines(plain=True))
def test_no_core_is_idle_while_somebody_is_ready(spec):
    """With one queue, or with stealing, and without costs or affinity."""
    assert idle_while_somebody_is_ready(execute(spec).events) == []


# --- a log is data --------------------------------------------------------------------------------------


@given(machines(), st.data())
def test_a_forged_log_gives_violations_and_never_an_exception(spec, data):
    """Leave an event out, tell it twice, or tell it of another task or core."""
    events = execute(spec).events
    i = data.draw(st.integers(0, len(events) - 1))
    forged = data.draw(
        st.sampled_from(
            [
                [],
                [events[i], events[i]],
                [structs.replace(events[i], task=data.draw(st.integers(-2, 9)))],
                [structs.replace(events[i], cpu=data.draw(st.integers(-2, 9)))],
            ]
        )
    )
    wrong = check(fold([*events[:i], *forged, *events[i + 1 :]]))
    assert all(isinstance(text, str) for text in wrong)
    if not forged and isinstance(events[i], ev.Suspend | ev.Wake | ev.Block | ev.Dispatch | ev.Arrive):
        assert wrong


HEAD = [
    ev.Run(0, processors=[ev.Processor(0, "core", "fcfs")]),
    ev.Arrive(0, task=1, name="A"),
    ev.Arrive(0, task=2, name="B", parent=1),
]


@pytest.mark.parametrize(
    "event",
    [
        ev.Suspend(1, task=9),
        ev.Reap(1, task=9),
        ev.Reap(1, task=2),  # it lives
        ev.Exec(1, task=9, name="X"),
        ev.Change(1, task=9),
        ev.Signal(1, task=9, signal="KILL"),
        ev.Migrate(1, 0, 9),
        ev.Migrate(1, 5, 1),
        ev.Migrate(1, 0, 1, origin=5),
        ev.Warm(1, 0, 9),
        ev.Warm(1, 0, 1, evicted=[9]),
        ev.Share(1, 0, 1, name="m", what="mutex", holder=9),
        ev.Share(1, 0, 1, name="m", what="mutex", waiters=[9]),
        ev.Deadlock(1, 0, 1, cycle=[1, 9], locks=["m", "n"]),
        ev.Queue(1, 5, shelves=[("", [(1, "")])]),
        ev.Queue(1, 0, shelves=[("", [(9, "")])]),
        ev.Abort(1, -1, 1, job=1),
        ev.Abort(1, 0, 1, job=1),
    ],
    ids=lambda event: f"{ev.kind_of(event)}-{event.cpu}-{event.task}",
)
def test_an_event_that_cannot_be_is_a_violation(event):
    assert fold([*HEAD, event]).violations


def test_events_that_can_be_are_none():
    rest = [
        ev.Suspend(1, task=2),
        ev.Signal(1, task=1, signal="INT"),
        ev.Migrate(1, 0, 1),
        ev.Share(1, 0, 1, name="m", what="mutex", holder=1, waiters=[2]),
        ev.Warm(1, 0, 1, evicted=[2]),
        ev.Deadlock(1, 0, 1, cycle=[1, 2], locks=["m", "n"]),
        ev.Queue(1, 0, shelves=[("", [(1, "")])]),
        ev.Exec(1, 0, 1, name="X"),
    ]
    state = fold([*HEAD, *rest])
    assert state.violations == []
    assert state.tasks[2].status is Status.BLOCKED
    assert (state.shared["m"].holder, state.shared["m"].waiters) == (1, [2])


# --- break it, and see -----------------------------------------------------------------------------------


def falsified(prop, *, plain=False):
    """Whether an example breaks the property."""

    def breaks(spec):
        try:
            prop.hypothesis.inner_test(spec)
        except (AssertionError, LlmosError, LookupError, RuntimeError):
            return True
        return False

    once = settings(max_examples=2000, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    find(machines(plain=plain), breaks, settings=once)  # raises NoSuchExample


def test_mutant_nobody_inherits(monkeypatch):
    monkeypatch.setattr(sync, "_lent", lambda _task: [])
    falsified(test_a_holder_is_as_urgent_as_those_who_wait)


def test_mutant_the_last_waiter_goes_first(monkeypatch):
    monkeypatch.setattr(
        sync.Shared, "first", lambda self, _call=object: self.waiters.pop() if self.waiters else None
    )
    falsified(test_a_mutex_has_one_holder_and_its_waiters_take_turns)


def test_mutant_idle_cores_are_not_called(monkeypatch):
    monkeypatch.setattr(Balance, "_call_idle_cores", lambda _self, _busy: None)
    falsified(test_no_core_is_idle_while_somebody_is_ready, plain=True)


def test_mutant_a_stop_forgets_that_the_task_was_handed_back(monkeypatch):
    """Before a task leaves the queue, its core must know that it does not come back."""
    monkeypatch.setattr(Dispatcher, "withdraw", Dispatcher._take_out)
    falsified(test_the_log_is_right_and_nobody_waits_for_what_is_there)


def test_mutant_a_wake_up_is_lost_on_who_is_stopped(monkeypatch):
    def forgetful(kernel, target):
        target.stopped = False
        if target.frozen:
            target.frozen = False
            kernel.get_ready(target, "goes on")

    monkeypatch.setattr(signals, "go_on", forgetful)
    inject = [Injection(name="A", at_ns=t, signal=signal) for t, signal in ((1, "STOP"), (9, "CONT"))]
    ran = execute(cores(FCFS, task("A", Sleep(5)), injections=inject))
    (left,) = ran.outcome.state.tasks.values()
    assert not ran.outcome.ok
    assert left.pid not in stopped(ran.events)
    assert not stuck_for_good(ran.outcome.state, left)
