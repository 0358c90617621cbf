"""Programs: what a process does, as a generator of system calls.

- A program is a Python generator that yields calls: `yield compute(5 * MS)`. What the call returns
  is the value of the `yield`: `pid = yield Fork(child)`.
- `Compute` and `Work` are user work; every other call enters the kernel and pays its price.
- A scenario can also spell a program as a list; `llmos.scenario` turns it into such a generator.
- The next call is fetched when the one before it is complete, so that a policy that may know
  (SJF) sees the length of the burst when the task becomes ready.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from llmos.costs.ops import Op
from llmos.memory.readahead import Advice
from llmos.memory.records import Touching

US = 1_000
MS = 1_000_000
S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Compute:
    """Work on the core for `ns` nanoseconds (0 or more)."""

    ns: int


@dataclass(frozen=True, slots=True)
class Work:
    """Run a kernel operation (a matrix product, say), for as long as the cost model says, `count` times.

    On the core; or on `device`, as `Io`, while the task waits.
    """

    op: Op
    count: int = 1
    device: str = ""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Block for `ns` nanoseconds."""

    ns: int


@dataclass(frozen=True, slots=True)
class Io:
    """Block until `device` has served a request; `ns` overrides the device's own service time.

    The call returns 0, or -1 if the device has failed (EIO).
    """

    device: str
    ns: int | None = None


@dataclass(frozen=True, slots=True)
class YieldCpu:
    """Give the core away and go to the end of the ready queue."""


@dataclass(frozen=True, slots=True)
class Nice:
    """Add `by` to the task's nice value, which stays within -20..19; the call returns the new one."""

    by: int


@dataclass(frozen=True, slots=True)
class SetPriority:
    """Set the task's priority (smaller is more urgent)."""

    priority: int


@dataclass(frozen=True, slots=True)
class SetAffinity:
    """Restrict the task to the cores with these numbers; it moves if it is on another one."""

    cpus: frozenset[int]


# --- families -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fork:
    """Create a process that runs `program`; the call returns its pid, or -1 if its cgroup or memory is full.

    The child inherits everything but the name and what is periodic.
    """

    program: Callable[[], Program]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Exec:
    """Become another program: the present one is forgotten; pid, parent and children stay."""

    program: Callable[[], Program]
    name: str = ""


@dataclass(frozen=True, slots=True)
class Wait:
    """Block until a child has terminated (any, or the one with this `pid`); the call returns its pid.

    -1 if there is no such child.
    """

    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """Terminate, and say why; falling off the end of the program does the same."""

    reason: str = "program ended"


@dataclass(frozen=True, slots=True)
class EndJob:
    """End a periodic task's current job and block until the next one is released."""


# --- signals ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kill:
    """Send `signal` to a process, by pid or by name; the call returns 0, or -1 if there is no such one."""

    to: int | str
    signal: str = "TERM"


@dataclass(frozen=True, slots=True)
class Handle:
    """Say what happens on `signal`: "default", "ignore", or a program that runs in between."""

    signal: str
    action: str | Callable[[], Program] = "ignore"


@dataclass(frozen=True, slots=True)
class Pause:
    """Block until a signal comes that is handled."""


# --- memory -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Touch:
    """Refer to memory, again and again.

    `references` makes the references, in chunks: page number * 2 + (1 if it writes). They count from the
    start of the region called `region`; the heap grows to what is touched. "": from page 0 of the space.
    What is `drawn` is given a Random: a stream of its own, for each such call of each task.
    """

    references: Callable[..., Iterator[Sequence[int]]]
    region: str = "heap"
    drawn: bool = False


@dataclass(frozen=True, slots=True)
class Mmap:
    """Map `bytes` of `file` (all, if None) or of anonymous memory, and call that `name`.

    `protection` is made of "r" and "w". The call returns the address, or -1 if there is no room.
    """

    name: str
    bytes: int | None = None
    file: str = ""
    offset: int = 0
    shared: bool = False
    protection: str = "rw"


@dataclass(frozen=True, slots=True)
class Munmap:
    """Unmap the region called `name`; its pages are gone."""

    name: str


@dataclass(frozen=True, slots=True)
class Mprotect:
    """Set the protection of the region called `name`, made of "r" and "w"."""

    name: str
    protection: str


@dataclass(frozen=True, slots=True)
class Brk:
    """Let the heap have `bytes`; the call returns 0, or -1 if there is no room."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Mlock:
    """Keep the pages of the region called `name` in memory once they are there; or let them go again."""

    name: str
    lock: bool = True


@dataclass(frozen=True, slots=True)
class Madvise:
    """Say that the region called `name` is to be "huge" or "nohuge", "mergeable" or "unmergeable"."""

    name: str
    advice: str


@dataclass(frozen=True, slots=True)
class Fill:
    """Say that `pages` pages from `first` on of the region called `name`, just written, contain `content`.

    Pages with the same content can be merged, until somebody writes them.
    """

    name: str
    pages: int
    content: str
    first: int = 0


# --- files ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadFile:
    """Read `bytes` (None: all that is left) of a file, from `offset` or from where the last call ended.

    `random`: from a random page instead. `direct`: past the page cache. The call returns how many it read.
    """

    file: str
    bytes: int | None = None
    offset: int | None = None
    random: bool = False
    direct: bool = False


@dataclass(frozen=True, slots=True)
class WriteFile:
    """Write `bytes` (None: up to the end) into a file, as `ReadFile` reads; it grows if it must.

    The call returns how many it wrote.
    """

    file: str
    bytes: int | None = None
    offset: int | None = None
    random: bool = False
    direct: bool = False


@dataclass(frozen=True, slots=True)
class Fsync:
    """Block until all that was written into a file is on its device."""

    file: str


@dataclass(frozen=True, slots=True)
class Truncate:
    """Let a file have `bytes`, in whole pages; what lies beyond is gone."""

    file: str
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Advise:
    """Say how the process will use a file: "normal", "sequential" (read more ahead) or "random" (nothing)."""

    file: str
    advice: Advice = "normal"


@dataclass(frozen=True, slots=True)
class DropCaches:
    """Drop all clean pages of files that nobody has mapped; the call returns how many."""


# --- waiting for one another: the objects are the machine's, and known by name --------------------------


@dataclass(frozen=True, slots=True)
class Lock:
    """Take a mutex; block while another task has it."""

    mutex: str


@dataclass(frozen=True, slots=True)
class Unlock:
    """Give a mutex back."""

    mutex: str


@dataclass(frozen=True, slots=True)
class Down:
    """Take one from a semaphore; block while there is none (P, sem_wait)."""

    semaphore: str


@dataclass(frozen=True, slots=True)
class Up:
    """Add one to a semaphore (V, sem_post)."""

    semaphore: str


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Give `mutex` back, block until the condition is notified, and take the mutex again."""

    condition: str
    mutex: str


@dataclass(frozen=True, slots=True)
class Notify:
    """Wake one task that waits for the condition, or all of them. Whoever is woken must look again."""

    condition: str
    everybody: bool = False


@dataclass(frozen=True, slots=True)
class Write:
    """Write so many bytes into a pipe; block while it is full."""

    pipe: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Read:
    """Read up to so many bytes from a pipe; block while it is empty. The call returns how many."""

    pipe: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Send:
    """Put a message into a mailbox; block while that is full."""

    mailbox: str
    message: object = None


@dataclass(frozen=True, slots=True)
class Receive:
    """Take the oldest message out of a mailbox; block while there is none. The call returns it."""

    mailbox: str


Call = (
    Compute | Work | Sleep | Io | YieldCpu | Nice | SetPriority | SetAffinity
    | Fork | Exec | Wait | Exit | EndJob | Kill | Handle | Pause
    | Touch | Mmap | Munmap | Mprotect | Brk | Mlock | Madvise | Fill | Touching
    | ReadFile | WriteFile | Fsync | Truncate | Advise | DropCaches
    | Lock | Unlock | Down | Up | WaitFor | Notify | Write | Read | Send | Receive
)  # fmt: skip
Program = Generator[Call, Any, Any]
