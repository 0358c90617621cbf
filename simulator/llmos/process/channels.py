"""Pipes and mailboxes: what tasks pass to one another, and wait for.

- A pipe is a stream of bytes, a mailbox passes whole messages, in order.
- Who writes into a full one waits for room, who reads from an empty one for what is to come.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmos.process import program
from llmos.process.shared import Shared, find, log, urgency, wait

if TYPE_CHECKING:
    from llmos.process.cores import Core
    from llmos.process.kernel import Kernel
    from llmos.process.task import Process


@dataclass(slots=True, eq=False, kw_only=True)
class Pipe(Shared):
    """Bytes on their way from writers to readers, at most `capacity_bytes` at a time."""

    capacity_bytes: int = 65_536
    filled: int = 0
    unwritten: dict[int, int] = field(default_factory=dict)
    """Bytes that a waiting writer still has to write, by pid."""

    @property
    def level(self) -> int:
        return self.filled


@dataclass(slots=True, eq=False, kw_only=True)
class Mailbox(Shared):
    """Messages on their way; `capacity` of them, or any number (0)."""

    capacity: int = 0
    messages: deque[object] = field(default_factory=deque)

    @property
    def level(self) -> int:
        return len(self.messages)


def write(kernel: Kernel, core: Core, process: Process, call: program.Write) -> bool:
    """Write into a pipe; wait while it is full."""
    pipe = find(kernel, process, call.pipe, Pipe)
    pipe.unwritten[process.pid] = call.bytes
    return _through(kernel, core, process, pipe)


def read(kernel: Kernel, core: Core, process: Process, call: program.Read) -> bool:
    """Read from a pipe; wait while it is empty."""
    return _through(kernel, core, process, find(kernel, process, call.pipe, Pipe))


def _through(kernel: Kernel, core: Core, process: Process, pipe: Pipe) -> bool:
    """Let bytes flow, now that `process` has come to the pipe too."""
    done = _flow(pipe, [*sorted(pipe.waiters, key=urgency), process])
    pipe.waiters = [waiter for waiter in pipe.waiters if waiter not in done]
    mine = done.pop(process, None)
    if mine is None:
        wait(kernel, core, process, pipe)
    else:
        did = "writes" if isinstance(process.call, program.Write) else "reads"
        log(kernel, core, process, pipe, f"{did} {mine} bytes")
        kernel.fetch(process, mine)
    for other, moved in done.items():
        kernel.wake(other, f"{process.name} has used {pipe.name}", moved)
    return core.task is process


def _flow(pipe: Pipe, present: list[Process]) -> dict[Process, int]:
    """Move bytes while that is possible; return who is done, and the bytes of each."""
    done: dict[Process, int] = {}
    while any(_step(pipe, process, done) for process in present if process not in done):
        pass  # from the first again: whoever is urgent goes as often as he can
    return done


def _step(pipe: Pipe, process: Process, done: dict[Process, int]) -> bool:
    """Let `process` write or read what it can; return whether that is anything."""
    call = process.call
    if isinstance(call, program.Write):
        step = min(pipe.unwritten[process.pid], pipe.capacity_bytes - pipe.filled)
        pipe.filled += step
        pipe.unwritten[process.pid] -= step
        if pipe.unwritten[process.pid] == 0:
            del pipe.unwritten[process.pid]
            done[process] = call.bytes
        return step > 0 or process in done
    if isinstance(call, program.Read) and (pipe.filled or call.bytes == 0):
        done[process] = min(call.bytes, pipe.filled)
        pipe.filled -= done[process]
    return process in done


def send(kernel: Kernel, core: Core, process: Process, call: program.Send) -> bool:
    """Put a message into a mailbox; wait while it is full."""
    box = find(kernel, process, call.mailbox, Mailbox)
    if box.capacity and len(box.messages) >= box.capacity:
        wait(kernel, core, process, box)
        return False
    receiver = box.first(program.Receive)
    if receiver is not None:
        log(kernel, core, process, box, f"hands a message to {receiver.name}")
        kernel.wake(receiver, f"{process.name} has sent a message", call.message)
    else:
        box.messages.append(call.message)
        log(kernel, core, process, box, "sends a message")
    kernel.fetch(process, None)
    return core.task is process


def receive(kernel: Kernel, core: Core, process: Process, call: program.Receive) -> bool:
    """Take the oldest message; wait while there is none."""
    box = find(kernel, process, call.mailbox, Mailbox)
    if not box.messages:
        wait(kernel, core, process, box)
        return False
    message = box.messages.popleft()
    sender = box.first(program.Send)
    if sender is not None:
        box.messages.append(sender.call.message)  # type: ignore[union-attr]  # a Send
    log(kernel, core, process, box, "receives a message")
    if sender is not None:
        kernel.wake(sender, f"{process.name} has made room in {box.name}")
    kernel.fetch(process, message)
    return core.task is process
