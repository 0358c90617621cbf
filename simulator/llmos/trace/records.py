"""What the fold over a log keeps: the records of tasks, processors, jobs and shared things.

- Plain data, which `llmos.trace.state.State` fills in and everybody else reads.
- Times are in ns, absolute unless they are sums.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum


class Status(StrEnum):
    """The states of a task."""

    NEW = "new"
    READY = "ready"
    RUNNING = "running"
    BLOCKED = "blocked"
    TERMINATED = "terminated"


class Mode(StrEnum):
    """What a processor spends its time on."""

    USER = "user"
    KERNEL = "kernel"
    SWITCH = "switch"
    IDLE = "idle"


@dataclass(slots=True, eq=False)
class JobState:
    """One job of a periodic task; times in ns."""

    job: int
    release_ns: int
    deadline_ns: int
    finish_ns: int | None = None
    """When it ended: complete, or given up."""
    missed: bool = False
    aborted: bool = False


@dataclass(slots=True, eq=False)
class TaskState:
    """A task as the log has shown it so far; times in ns, absolute unless they are sums."""

    pid: int
    name: str
    world: str
    arrival_ns: int
    parent: int = -1
    priority: int = 0
    tickets: int = 1
    client: str = ""
    deadline_ns: int | None = None
    prompt: int = 0
    output: int = 0
    nice: int = 0
    group: str = ""
    status: Status = Status.NEW
    since_ns: int = 0
    """When it entered its present state."""
    accounted_ns: int = 0
    """Until when its time is accounted."""
    cpu: int = -1
    """The processor it is on or was on last; -1 = none yet."""
    on: str = ""
    """What it waits for, while it is blocked."""
    reason: str = ""
    """Why it is in its present state."""
    first_run_ns: int | None = None
    finish_ns: int | None = None
    first_token_ns: int | None = None
    cpu_ns: int = 0
    waiting_ns: int = 0
    blocked_ns: int = 0
    preemptions: int = 0
    migrations: int = 0
    dispatches: int = 0
    deadline_misses: int = 0
    reaped: bool = False
    """Whether its parent has waited for it."""
    computed: int = 0
    """Tokens computed, for a request."""
    jobs: list[JobState] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class ProcessorState:
    """A core or an engine as the log has shown it so far."""

    id: int
    kind: str
    name: str
    slots: int
    policy: str
    running: dict[int, TaskState] = field(default_factory=dict)
    """Who is on it, by pid, in the order of dispatch."""
    last: int = -1
    """The pid that ran last."""
    since_ns: int = 0
    """Until when its time is accounted."""
    overhead: deque[tuple[int, Mode]] = field(default_factory=deque)
    """Kernel work ahead: (end, mode), in order."""
    spent_ns: dict[Mode, int] = field(default_factory=lambda: dict.fromkeys(Mode, 0))
    switches: int = 0
    """Dispatches of a task other than the one that ran last."""
    interrupts: int = 0
    online: bool = True
    """Whether it is in service; while it is not, it is idle."""
    iterations: int = 0
    tokens: int = 0

    @property
    def is_core(self) -> bool:
        """Whether it is a core (its task works whenever the kernel does not)."""
        return self.kind == "core"


@dataclass(slots=True, eq=False)
class SharedState:
    """A mutex, semaphore, condition, pipe or mailbox: who has it (a pid or -1), how much, who waits."""

    name: str
    kind: str
    holder: int = -1
    level: int = 0
    waiters: list[int] = field(default_factory=list)


Shelf = tuple[str, list[tuple[int, str]]]
"""A part of a ready queue as its policy draws it: a heading, and pids in order with their figures."""


@dataclass(slots=True)
class Span:
    """A time in which one task had one processor: [start_ns, end_ns)."""

    start_ns: int
    end_ns: int
    cpu: int
    pid: int
