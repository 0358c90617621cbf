"""System calls and context switches.

- A call that does nothing but enter the kernel, less a call of Python's that does not enter it.
- Ping-pong with another process through two pipes, one byte each way. What one process takes that writes
  the byte and reads it itself is subtracted, so that what is left is blocking, waking up and switching.
  A wall clock hears of everybody who takes the core in between, so the fastest of a few batches counts.
"""

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import FileIO
from itertools import repeat

from llmos.kernels.os_costs.rounds import LackError, Sample

CALLS = 2000
BATCHES, TURNS = 5, 20

ECHO = """
import os, sys
read, write = map(int, sys.argv[1:])
while os.read(read, 1):
    os.write(write, b"x")
"""


@contextmanager
def system_call() -> Iterator[Sample]:
    """Yield a sampler of getppid, which no library answers by itself."""

    def sample() -> dict[str, float]:
        entering, staying = _called(os.getppid), _called(threading.get_ident)
        return {"syscall": (entering - staying) / CALLS}

    yield sample


def _called(function: Callable[[], int]) -> float:
    start = time.thread_time()
    for _ in repeat(None, CALLS):
        function()
    return time.thread_time() - start


@contextmanager
def same_core() -> Iterator[Sample]:
    """Yield a sampler of switches between two processes that share a core."""
    core = min(_cores())
    with _partner(core) as partner:
        yield lambda: {"context_switch": _handover(partner, core)}


@contextmanager
def other_core() -> Iterator[Sample]:
    """Yield a sampler of wake-ups between two processes on two cores."""
    cores = _cores()
    if len(cores) < 2:
        raise LackError("there is only one core to use")
    with _partner(max(cores)) as partner:
        yield lambda: {"wakeup": _handover(partner, min(cores))}


def _cores() -> set[int]:
    if not hasattr(os, "sched_setaffinity"):
        raise LackError("this system cannot bind a process to a core")
    return set(os.sched_getaffinity(0))


@dataclass(frozen=True, slots=True)
class _Partner:
    """The other process: a byte written to `write` comes back from `read`; `own_*` is a pipe to oneself."""

    read: int
    write: int
    own_read: int
    own_write: int


@contextmanager
def _partner(core: int) -> Iterator[_Partner]:
    """Start a process bound to `core` that sends every byte back."""
    with ExitStack() as stack:
        (there_read, there), (back, back_write), (own_read, own_write) = (_pipe(stack) for _ in range(3))
        theirs = (there_read.fileno(), back_write.fileno())
        # A session of its own: Ctrl-C is for us, and ends it by closing the pipes.
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", ECHO, *map(str, theirs)],
            pass_fds=theirs, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            there_read.close()
            back_write.close()
            os.sched_setaffinity(child.pid, {core})
            partner = _Partner(back.fileno(), there.fileno(), own_read.fileno(), own_write.fileno())
            _turn(partner.write, partner.read)  # It has started.
            yield partner
        finally:
            child.kill()
            child.wait()


def _pipe(stack: ExitStack) -> tuple[FileIO, FileIO]:
    """Open a pipe of which each end is closed once: its number may soon be another file's."""
    read, write = os.pipe()
    return stack.enter_context(FileIO(read)), stack.enter_context(FileIO(write, "w"))


def _handover(partner: _Partner, core: int) -> float:
    """Return the time from one process to the other, less that of writing and reading the byte."""
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {core})
        alone = _turns(partner.own_write, partner.own_read)
        there_and_back = _turns(partner.write, partner.read)
    finally:
        os.sched_setaffinity(0, allowed)
    return one_way(there_and_back, alone)


def one_way(there_and_back_s: float, alone_s: float) -> float:
    """Return the seconds of one hand-over: each of the two also has a write and a read in it."""
    return there_and_back_s / 2 - alone_s


def _turns(write: int, read: int) -> float:
    """Return the seconds of one byte's way, in the fastest batch."""
    fastest = math.inf
    for _ in repeat(None, BATCHES):
        start = time.perf_counter()
        for _ in repeat(None, TURNS):
            _turn(write, read)
        fastest = min(fastest, time.perf_counter() - start)
    return fastest / TURNS


def _turn(write: int, read: int) -> None:
    os.write(write, b"x")
    if not os.read(read, 1):
        raise LackError("the other process has ended")
