"""The process control block.

- new -> ready -> running -> (ready | blocked | terminated); blocked -> ready.
- A terminated process stays a zombie until its parent has waited for it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmos.sched.base import Task

if TYPE_CHECKING:
    from llmos.engine.simulation import Alarm
    from llmos.process.program import Call, Program


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


@dataclass(slots=True, eq=False, kw_only=True)
class Process(Task):
    """A task on a core: what the policy may see (`Task`) and the kernel's own part."""

    program: Program
    call: Call | None = None
    """The system call it is in, or computes for."""
    parent: Process | None = None
    children: int = 0
    zombies: deque[int] = field(default_factory=deque)
    """Pids of children that have terminated and were not waited for."""
    waiting_for: int | None = None
    """The child it waits for: a pid, -1 for any, None if it does not wait."""
    period: Period | None = None
    last_cpu: int = 0
    miss_alarms: deque[Alarm] = field(default_factory=deque)
    """One per deadline that is neither met nor missed yet."""
