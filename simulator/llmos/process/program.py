"""Programs: what a process does, as a generator of system calls.

- A program is a Python generator that yields calls: `yield compute(5 * MS)`. What the call returns
  is the value of the `yield`: `pid = yield Fork(child)`.
- `Compute` and `Work` are user work; every other call enters the kernel and pays its price.
- A scenario can also spell a program as a list; `llmos.scenario` turns it into such a generator.
- The next call is fetched when the one before it is complete, so that a policy that may know
  (SJF) sees the length of the burst when the task becomes ready.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from llmos.costs.ops import Op

US = 1_000
MS = 1_000_000
S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Compute:
    """Work on the core for `ns` nanoseconds (0 or more)."""

    ns: int


@dataclass(frozen=True, slots=True)
class Work:
    """Run a kernel operation (a matrix product, say), for as long as the cost model says, `count` times."""

    op: Op
    count: int = 1


@dataclass(frozen=True, slots=True)
class Sleep:
    """Block for `ns` nanoseconds."""

    ns: int


@dataclass(frozen=True, slots=True)
class Io:
    """Block until `device` has served a request; `ns` overrides the device's own service time."""

    device: str
    ns: int | None = None


@dataclass(frozen=True, slots=True)
class YieldCpu:
    """Give the core away and go to the end of the ready queue."""


@dataclass(frozen=True, slots=True)
class Fork:
    """Create a process that runs `program`; the call returns its pid. It inherits all but the name."""

    program: Callable[[], Program]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Block until a child has terminated (any, or the one with this `pid`); the call returns its pid."""

    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """Terminate; falling off the end of the program does the same."""


@dataclass(frozen=True, slots=True)
class EndJob:
    """End a periodic task's current job and block until the next one is released."""


Call = Compute | Work | Sleep | Io | YieldCpu | Fork | Wait | Exit | EndJob
Program = Generator[Call, Any, None]
