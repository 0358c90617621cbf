"""The process control block.

- new -> ready -> running -> (ready | blocked | terminated); blocked -> ready.
- A terminated process stays a zombie until its parent has waited for it.
- Its programs are a stack: the signal handlers that run at the moment lie on top of its own.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmos.sched.base import Task

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmos.engine.simulation import Alarm
    from llmos.memory.records import Space
    from llmos.process.cores import Core
    from llmos.process.dispatcher import Dispatcher
    from llmos.process.program import Call, Program
    from llmos.process.sync import Mutex


@dataclass(slots=True, eq=False, kw_only=True)
class Period:
    """The rhythm of a periodic task: a job every `every_ns`, due `deadline_ns` after its release."""

    every_ns: int
    deadline_ns: int
    jobs: int | None = None
    """Number of jobs; None = as long as the run lasts."""
    released: int = 0
    completed: int = 0
    deadlines: deque[int] = field(default_factory=deque)
    """Absolute deadlines of the jobs that are released and not complete."""
    waiting: bool = False
    """Whether the task is blocked until the next release."""


@dataclass(slots=True)
class Interrupted:
    """What a signal handler interrupted: the program below goes on with this when the handler ends."""

    program: Program
    call: Call | None
    """The call that it makes (again) then; None if a wait was cut short, whose answer is -1."""
    remaining: int
    """What is left of that call's burst, in nanoseconds of work."""


@dataclass(slots=True, eq=False, kw_only=True)
class Process(Task):
    """A task on a core: what the policy may see (`Task`) and the kernel's own part."""

    program: Program
    call: Call | None = None
    """The system call it is in, or computes for."""
    working_set_bytes: int = 0
    """Cache that it needs to work fast, where the cores have caches."""
    dispatcher: Dispatcher | None = None
    """The ready queue it is in, or was in last."""
    ran_on: Core | None = None
    """The core on which it ran last, where going on elsewhere costs work."""
    parent: Process | None = None
    children: set[int] = field(default_factory=set)
    """Pids of its children that live."""
    zombies: deque[int] = field(default_factory=deque)
    """Pids of children that have terminated and were not waited for."""
    waits_for: int | None = None
    """The child it waits for: a pid, -1 for any, None if it does not wait."""
    keeps: Core | None = None
    """The core that is kept for it while it waits for a device, if any."""
    gone: bool = False
    """Whether it has terminated."""

    space: Space | None = None
    """Its memory, if the machine has any."""
    draws: int = 0
    """How often it has touched what is drawn."""

    blocked: bool = False
    unblock: Callable[[], None] | None = None
    """How to take it out of what it waits for; None if nothing but the event itself can wake it."""
    doomed: str = ""
    """Why it dies as soon as it can, if it must."""
    pending: deque[Callable[[], None]] = field(default_factory=deque)
    """What happens to it as soon as it can be reached: when its system call is over, its device done,
    or it is continued."""
    stopped: bool = False
    """Whether it is stopped by a signal, until CONT."""
    memory_limit_bytes: int | None = None
    """How much memory it and each of its children may have, if that is limited."""
    oom_score_adj: int = 0
    """How much rather the OOM killer kills it; its children inherit that with its memory."""
    swapped: bool = False
    """Whether it is stopped as load control has swapped it out."""
    frozen: bool = False
    """Whether it could run when it was stopped."""
    missed_wake: tuple[str, object] | None = None
    """The wake-up (reason, result) that came while it was stopped."""
    interrupted: list[Interrupted] = field(default_factory=list)
    actions: dict[str, str | Callable[[], Program]] = field(default_factory=dict)
    """What it does on signals, where that is not the default."""

    holds: list[Mutex] = field(default_factory=list)
    waits_on: Mutex | None = None
    own_priority: int | None = None
    """Its priority without what it has inherited; None if it has inherited nothing."""

    period: Period | None = None
    miss_alarms: deque[Alarm] = field(default_factory=deque)
    """One per deadline that is neither met nor missed yet."""
