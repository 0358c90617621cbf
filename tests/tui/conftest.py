"""What the tests of the terminal UI share: machines with both worlds, their logs, and a state written out."""

from dataclasses import asdict, replace

import pytest
from hypothesis import strategies as st
from machines import POLICIES, cores, engine, job, overheads, requests, task, tasks

from llmos.process.dispatcher import Costs
from llmos.process.program import (
    MS,
    Compute,
    Down,
    Fork,
    Io,
    Kill,
    Lock,
    Read,
    Receive,
    Send,
    Unlock,
    Up,
    Wait,
    Write,
)
from llmos.scenario.machine import EngineSpec, PolicySpec, RequestSpec, run
from llmos.scenario.spec import SharedSpec
from llmos.sched.mlfq import MLFQ
from llmos.sched.rr import RoundRobin
from llmos.serving.pacing import Law
from llmos.trace.log import LogFile


def both(policy, workload, chats, *, count, per_core, costs, convention, shows_queues):
    """A machine with cores and an engine, the same policy on both."""
    spec = cores(
        POLICIES[policy],
        *workload,
        count=count,
        costs=costs,
        convention=convention,
        shows_queues=shows_queues,
    )
    other = engine(POLICIES[policy], *chats)
    return replace(
        spec, cpu=replace(spec.cpu, per_core=per_core), engine=other.engine, requests=other.requests
    )


@pytest.fixture(scope="session")
def any_machine():
    """A strategy: small machines of every kind."""
    return st.builds(  # small, and yet two cores, an engine and preemption come up often
        both,
        st.sampled_from(sorted(POLICIES)),
        st.lists(tasks, max_size=5),
        st.lists(requests, max_size=4),
        count=st.integers(1, 3),
        per_core=st.booleans(),
        shows_queues=st.booleans(),
        costs=overheads,
        convention=st.sampled_from(["ostep", "textbook"]),
    )


@pytest.fixture(scope="session")
def events_of():
    """A function that runs a spec and returns its events."""

    def events_of(spec):
        events = []
        run(spec, [lambda batch, _data: events.extend(batch)])
        return events

    return events_of


@pytest.fixture(scope="session")
def dump():
    """A function that writes out everything in a state, in order."""

    def dump(state):
        return {
            "now": state.now,
            "events": state.events,
            "header": state.header,
            "end": state.end,
            "violations": list(state.violations),
            "tasks": [asdict(task) for task in state.tasks.values()],
            "ready": list(state.ready),
            "queues": dict(state.queues),
            "shared": {name: asdict(thing) for name, thing in state.shared.items()},
            "deadlocks": list(state.deadlocks),
            "processors": [
                (
                    p.id, list(p.running), p.last, p.since_ns, list(p.overhead), dict(p.spent_ns), p.switches,
                    p.interrupts, p.iterations, p.tokens,
                )
                for p in state.processors.values()
            ],
            "same tasks": all(
                state.tasks[pid] is task
                for place in [state.ready, *(p.running for p in state.processors.values())]
                for pid, task in place.items()
            ),
        }  # fmt: skip

    return dump


@pytest.fixture(scope="session")
def desk():
    """Two cores with an editor, a batch job and a backup, and an engine with five chats."""
    wait = Io("disk")
    return replace(
        cores(
            lambda: MLFQ(quantum=[2 * MS, 4 * MS, 8 * MS], boost=40 * MS),
            task("editor", *[Compute(MS), wait] * 6),
            task("compiler", 30 * MS, at=MS),
            task("backup", *[Compute(4 * MS), wait] * 3, at=2 * MS, priority=2),
            task("trainer", 25 * MS, at=6 * MS),
            count=2,
            io=5 * MS,
            costs=Costs(context_switch_ns=200_000, syscall_ns=20_000),
            convention="textbook",
        ),
        scenario="A shared desk",
        question="Who waits when an editor shares two cores with batch jobs?",
        engine=EngineSpec(
            policy=PolicySpec(name="rr", make=lambda: RoundRobin(16)),
            pacing=Law(400_000.0, 2_000.0, 50.0),
            slots=3,
            token_budget=128,
        ),
        requests=[
            RequestSpec(name=f"chat{i}", prompt=40 * i, output=12 + 3 * i, arrival_ns=(i - 1) * 3 * MS)
            for i in range(1, 6)
        ],
    )


@pytest.fixture(scope="session")
def desk_log(desk, tmp_path_factory):
    """The log of the desk, saved."""
    path = tmp_path_factory.mktemp("logs") / "desk.jsonl"
    with LogFile(path) as file:
        run(desk, [file])
    return path


@pytest.fixture(scope="session")
def shop():
    """Two cores with a queue each, and tasks that share two locks, a semaphore, a pipe and a mailbox.

    Of three who take the locks two take them in opposite order, until one of them is killed.
    """

    def works(first, second):
        return [Compute(2 * MS), Lock(first), Compute(5 * MS), Lock(second), Compute(MS)]

    spec = cores(
        lambda: MLFQ(quantum=[2 * MS, 4 * MS, 8 * MS], boost=40 * MS),
        task("anna", *works("till", "stock"), Unlock("stock"), Unlock("till"), nice=3),
        task("bert", *works("stock", "till"), Unlock("till"), Unlock("stock"), nice=-5),
        task("clerk", 12 * MS, Lock("till"), Compute(MS), Unlock("till"), priority=2, group="staff"),
        task("baker", *[Compute(MS), Down("shelf"), Write("belt", 3000), Send("orders")] * 5),
        task("buyer", *[Compute(3 * MS), Receive("orders"), Read("belt", 3000), Up("shelf")] * 5),
        task("boss", Fork(job(Compute(MS)), "errand"), Compute(45 * MS), Kill("bert", "KILL"), Wait()),
        count=2,
        costs=Costs(context_switch_ns=100_000, syscall_ns=20_000),
        convention="textbook",
        scenario="A corner shop",
        question="What happens when two take two locks in opposite order?",
        shows_queues=True,
        shared=[
            SharedSpec(name="till", kind="mutex"),
            SharedSpec(name="stock", kind="mutex"),
            SharedSpec(name="shelf", kind="semaphore", size=2),
            SharedSpec(name="belt", kind="pipe", size=4096),
            SharedSpec(name="orders", kind="mailbox", size=2),
        ],
    )
    return replace(spec, cpu=replace(spec.cpu, per_core=True))


@pytest.fixture(scope="session")
def shop_log(shop, tmp_path_factory):
    """The log of the shop, saved."""
    path = tmp_path_factory.mktemp("logs") / "shop.jsonl"
    with LogFile(path) as file:
        run(shop, [file])
    return path


@pytest.fixture(scope="session")
def endless():
    """A machine that never comes to an end."""

    def program():
        while True:
            yield Compute(5)
            yield Io("disk")

    return cores(lambda: RoundRobin(3), replace(task("loop"), program=program), task("other", *[7] * 3))


@pytest.fixture(scope="session")
def deaf():
    """A machine whose program never makes its second call and does not listen to anything."""

    def program():
        yield Compute(5)
        while True:
            pass

    return cores(lambda: RoundRobin(3), replace(task("deaf"), program=program))
