"""Small machines for the tests: a few lines instead of a scenario file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from random import Random
from typing import Any

from hypothesis import strategies as st

from llmos.process.dispatcher import Costs
from llmos.process.program import (
    Call,
    Compute,
    Down,
    Exec,
    Fork,
    Handle,
    Io,
    Kill,
    Lock,
    Nice,
    Notify,
    Program,
    Read,
    Receive,
    Send,
    SetPriority,
    Sleep,
    Unlock,
    Up,
    Wait,
    WaitFor,
    Write,
    YieldCpu,
)
from llmos.scenario.machine import (
    CpuSpec,
    DeviceSpec,
    EngineSpec,
    MachineSpec,
    Outcome,
    PolicySpec,
    RequestSpec,
    SharedSpec,
    TaskSpec,
    run,
)
from llmos.sched.base import Scheduler
from llmos.sched.bsd import BSD
from llmos.sched.cfs import CFS
from llmos.sched.dm import DM
from llmos.sched.edf import EDF
from llmos.sched.edf_us import EDFUS
from llmos.sched.eevdf import EEVDF
from llmos.sched.fcfs import FCFS
from llmos.sched.hrrn import HRRN
from llmos.sched.in_turn import InTurn
from llmos.sched.llf import LLF
from llmos.sched.lottery import Lottery
from llmos.sched.mlfq import MLFQ
from llmos.sched.multilevel import Multilevel
from llmos.sched.priority import Priority
from llmos.sched.rm import RM
from llmos.sched.rm_us import RMUS
from llmos.sched.rr import RoundRobin
from llmos.sched.sjf import SJF
from llmos.sched.sjf_predicted import PredictedSJF
from llmos.sched.srtf import SRTF
from llmos.sched.stride import Stride
from llmos.serving.pacing import Law
from llmos.trace.events import Event
from llmos.trace.state import check

POLICIES: dict[str, Callable[[], Scheduler]] = {
    "fcfs": FCFS,
    "sjf": SJF,
    "srtf": SRTF,
    "rr": lambda: RoundRobin(4),
    "priority": Priority,
    "priority, waits for the end": lambda: Priority(preemptive=False),
    "priority, aging": lambda: Priority(aging=7),
    "mlfq": lambda: MLFQ(quantum=4),
    "mlfq, boost": lambda: MLFQ(quantum=[2, 4, 8], allotment=2, boost=25),
    "mlfq, io first": lambda: MLFQ(quantum=3, stay_after_io=True, io_bump=True),
    "mlfq, skip-join": lambda: MLFQ(quantum=[2, 4, 8], skip_join=True),
    "stride": lambda: Stride(4),
    "edf": EDF,
    "hrrn": HRRN,
    "sjf-predicted": lambda: PredictedSJF(first_guess=5),
    "sjf-predicted, preemptive": lambda: PredictedSJF(first_guess=5, preemptive=True),
    "multilevel": lambda: Multilevel(queues=["a", "b"], quantum=4),
    "lottery": lambda: Lottery(Random(1), quantum=4),
    "bsd": lambda: BSD(tick=2, decay=50),
    "cfs": lambda: CFS(latency=12, min_granularity=3, wakeup_granularity=2),
    "eevdf": lambda: EEVDF(base_slice=4, tick=8),
    "rm": RM,
    "dm": DM,
    "llf": lambda: LLF(granularity=1, token=1),
    "edf-us": EDFUS,
    "rm-us": RMUS,
    "in-turn": InTurn,
}


@dataclass
class Ran:
    """A run that has ended, with its events."""

    outcome: Outcome
    events: list[Event]

    @property
    def runs(self) -> list[tuple[int, int, str]]:
        """(start, end, task) of one core, contiguous pieces joined."""
        state = self.outcome.state
        return [(s.start_ns, s.end_ns, state.tasks[s.pid].name) for s in state.spans or []]

    def task(self, name: str) -> Any:
        return next(t for t in self.outcome.state.tasks.values() if t.name == name)

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def execute(spec: MachineSpec) -> Ran:
    """Run `spec`; whatever it is, its log must keep the invariants."""
    events: list[Event] = []
    outcome = run(spec, [lambda batch, _data: events.extend(batch)])
    assert check(outcome.state) == []
    return Ran(outcome, events)


def job(*calls: Call) -> Callable[[], Program]:
    """A program that makes `calls` and ends."""

    def program() -> Iterator[Call]:
        for call in calls:  # noqa: UP028  # a tuple takes no answers
            yield call

    return program  # type: ignore[return-value]


def task(name: str, *calls: Call | int, at: int = 0, **more: Any) -> TaskSpec:
    """A task; a bare number computes for so long."""
    steps = [Compute(call) if isinstance(call, int) else call for call in calls]
    return TaskSpec(name=name, program=job(*steps), arrival_ns=at, **more)


def cores(
    policy: Callable[[], Scheduler],
    *tasks: TaskSpec,
    count: int = 1,
    costs: Costs | None = None,
    io: int = 5,
    servers: int = 0,
    convention: str = "ostep",
    **more: Any,
) -> MachineSpec:
    """A machine with `count` cores and one device called disk; `more` goes to the cores or the machine."""
    cpu = {field.name: more.pop(field.name) for field in fields(CpuSpec) if field.name in more}
    return MachineSpec(
        convention=convention,
        cpu=CpuSpec(policy=PolicySpec(name="test", make=policy), count=count, costs=costs or Costs(), **cpu),
        devices=[DeviceSpec(name="disk", service_ns=io, servers=servers)],
        tasks=tasks,
        **more,
    )


def engine(policy: Callable[[], Scheduler], *requests: RequestSpec, **more: Any) -> MachineSpec:
    """A machine with an LLM engine; `more` goes to the engine, or is the convention."""
    convention = more.pop("convention", "ostep")
    spec = {"pacing": Law(100.0, 10.0, 1.0), "slots": 4, "token_budget": 64} | more
    return MachineSpec(
        convention=convention,
        engine=EngineSpec(policy=PolicySpec(name="test", make=policy), **spec),
        requests=requests,
    )


steps = st.one_of(
    st.integers(0, 20).map(Compute),
    st.integers(1, 12).map(Compute),
    st.builds(Io, st.just("disk"), st.integers(0, 9)),
    st.integers(0, 9).map(Sleep),
    st.just(YieldCpu()),
)

tasks = st.builds(
    lambda i, calls, at, priority, tickets, deadline: task(
        f"T{i}", *calls, at=at, priority=priority, tickets=tickets, deadline_ns=deadline
    ),
    st.integers(0, 99),
    st.lists(steps, max_size=6),
    st.integers(0, 40),
    st.integers(0, 4),
    st.integers(1, 9),
    st.none() | st.integers(0, 80),
)

overheads = st.builds(Costs, *[st.integers(0, 3)] * 6)

requests = st.builds(
    RequestSpec,
    name=st.just("R"),
    prompt=st.integers(1, 50),
    output=st.integers(1, 50),
    arrival_ns=st.integers(0, 6000),
    priority=st.integers(0, 4),
    tickets=st.integers(1, 5),
    client=st.sampled_from("abc"),
    deadline_ns=st.none() | st.integers(0, 9000),
)


# --- programs that make all kinds of calls ---------------------------------------------------------------

SHARED = [
    SharedSpec(name="m", kind="mutex", protocol="inherit"),
    SharedSpec(name="n", kind="mutex", protocol="inherit"),
    SharedSpec(name="o", kind="mutex", protocol="ceiling", size=1),
    SharedSpec(name="s", kind="semaphore", size=1),
    SharedSpec(name="c", kind="condition"),
    SharedSpec(name="p", kind="pipe", size=4),
    SharedSpec(name="b", kind="mailbox", size=2),
]
"""What the random programs share."""

_names = st.integers(0, 3).map("T{}".format)
_signals = st.sampled_from(["KILL", "TERM", "INT", "USR1", "USR2", "STOP", "CONT", "CONT", "CONT"])
_some = st.lists(steps, max_size=3)


def _locked(mutex: str, inner: list[Call]) -> list[Call]:
    return [Lock(mutex), *inner, Unlock(mutex)]


# A lock is taken before those after it in the alphabet: no deadlock comes from these.
_section_o = _some.map(lambda inner: _locked("o", inner))
_section_n = st.one_of(_some, _section_o).map(lambda inner: _locked("n", inner))
_section_m = st.one_of(_some, _section_n, st.just([WaitFor("c", "m")])).map(lambda inner: _locked("m", inner))
_single = st.one_of(
    steps,
    st.sampled_from(
        [
            Down("s"),
            Up("s"),
            Up("s"),
            Notify("c"),
            Notify("c", everybody=True),
            Send("b"),
            Receive("b"),
            Wait(),
        ]
    ),
    st.integers(0, 9).map(lambda n: Write("p", n)),
    st.integers(0, 9).map(lambda n: Read("p", n)),
    st.integers(-3, 3).map(Nice),
    st.integers(0, 5).map(SetPriority),
    st.builds(Kill, _names, _signals),
    st.builds(
        Handle,
        st.sampled_from(["TERM", "INT", "USR1", "USR2", "CONT"]),
        st.one_of(st.sampled_from(["ignore", "default"]), _some.map(lambda calls: job(*calls))),
    ),
    _some.map(lambda calls: Fork(job(*calls))),
    _some.map(lambda calls: Exec(job(*calls))),
)
_pieces = st.one_of(_single.map(lambda call: [call]), _section_m, _section_n, _section_o)
_programs = st.lists(_pieces, min_size=1, max_size=6).map(
    lambda pieces: [call for piece in pieces for call in piece]
)

busy_tasks = st.lists(st.tuples(_programs, st.integers(0, 9), st.integers(0, 4)), min_size=2, max_size=4).map(
    lambda rows: [
        task(f"T{i}", *calls, at=at, priority=priority) for i, (calls, at, priority) in enumerate(rows)
    ]
)
"""A few tasks that make all kinds of calls, on what is in SHARED."""
