"""What tasks share and wait for: mutexes, semaphores, conditions, pipes and mailboxes.

- Each is an object of the machine with a name. Every change is in the log: who holds it, how full it
  is, who waits.
- Of several waiters the most urgent goes first; equals go in the order in which they came. What is
  given back is handed over directly, so that nobody can take it in between.
- A mutex may lend its holder the priority of whoever waits for it (`inherit`), or a fixed one
  (`ceiling`); else a priority inversion is possible.
- What a waiter wants is in the call that it is in (`Process.call`).
- A task that blocks on a mutex closes a deadlock if the wait-for graph leads back to it. That is an
  event, which names the cycle; the tasks stay blocked.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from llmos.errors import did_you_mean
from llmos.process import program
from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmos.process.cores import Core
    from llmos.process.kernel import Kernel
    from llmos.process.task import Process


@dataclass(slots=True, eq=False, kw_only=True)
class Shared:
    """Something that tasks share, and those who wait for it."""

    name: str
    waiters: list[Process] = field(default_factory=list)

    @property
    def level(self) -> int:
        """How much there is of it."""
        return 0

    @property
    def holder(self) -> int:
        """The pid of the task that has it, or -1."""
        return -1

    def first(self, call: type = object) -> Process | None:
        """Take the waiter out that goes first, of those who wait in such a `call`; None if there is none."""
        waiters = [waiter for waiter in self.waiters if isinstance(waiter.call, call)]
        chosen = min(waiters, key=_urgency, default=None)
        if chosen is not None:
            self.waiters.remove(chosen)
        return chosen


@dataclass(slots=True, eq=False, kw_only=True)
class Mutex(Shared):
    """A lock for one. `protocol`: "none", "inherit", or "ceiling" with the priority `ceiling`."""

    protocol: str = "none"
    ceiling: int = 0
    owner: Process | None = None

    @property
    def holder(self) -> int:
        return self.owner.pid if self.owner else -1

    def lends(self) -> Iterable[int]:
        """The priorities that its holder may use."""
        if self.protocol == "inherit":
            return [waiter.priority for waiter in self.waiters]
        return [self.ceiling] if self.protocol == "ceiling" else []


@dataclass(slots=True, eq=False, kw_only=True)
class Semaphore(Shared):
    """A counter that never falls below 0: who would make it do so waits."""

    value: int = 0

    @property
    def level(self) -> int:
        return self.value


@dataclass(slots=True, eq=False, kw_only=True)
class Condition(Shared):
    """Tasks that wait until somebody says that something has changed."""


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


Kind = TypeVar("Kind", bound=Shared)


# --- mutexes ------------------------------------------------------------------------------------------


def lock(kernel: Kernel, core: Core, process: Process, call: program.Lock) -> bool:
    """Take a mutex, or wait for it."""
    mutex = _find(kernel, process, call.mutex, Mutex)
    if mutex.owner is None:
        _own(kernel, core, process, mutex)
        kernel.fetch(process, None)
        return lend(kernel, core, process)
    _wait(kernel, core, process, mutex)
    _queue_up(kernel, core, process, mutex)
    return False


def unlock(kernel: Kernel, core: Core, process: Process, call: program.Unlock) -> bool:
    """Give a mutex back."""
    mutex = _find(kernel, process, call.mutex, Mutex)
    if mutex.owner is not process:
        holder = mutex.owner.name if mutex.owner else "nobody"
        message = f"it unlocks {mutex.name}, which {holder} has; only its holder can"
        raise kernel.bad_program(process, message)
    _give_back(kernel, core, process, mutex)
    kernel.fetch(process, None)
    return lend(kernel, core, process)


def give_all_back(kernel: Kernel, process: Process) -> None:
    """Let go of every mutex that `process` still holds."""
    for mutex in list(process.holds):
        _give_back(kernel, kernel.core_of(process), process, mutex)


def set_own_priority(kernel: Kernel, process: Process, priority: int) -> None:
    """Set the priority that `process` has when its mutexes lend it none."""
    _set_priority(kernel, process, priority, f"priority is now {priority}")


def _queue_up(kernel: Kernel, core: Core, process: Process, mutex: Mutex) -> None:
    """Note that `process`, which waits for `mutex` now, lends its holder its priority, or closes a cycle."""
    process.waits_on = mutex
    if mutex.owner is not None:
        lend(kernel, None, mutex.owner)
    cycle = _cycle(process)
    if cycle:
        locks = [task.waits_on.name for task in cycle if task.waits_on]
        circle = ", ".join(f"{task.name} waits for {name}" for task, name in zip(cycle, locks, strict=True))
        kernel.emit(ev.Deadlock(kernel.sim.now, core.cpu, process.pid, circle,
                                cycle=[task.pid for task in cycle], locks=locks))  # fmt: skip


def _cycle(process: Process) -> list[Process]:
    """Return the tasks of the wait-for cycle through `process`, beginning with it; empty if there is none."""
    path, task = [process], process
    while task.waits_on and task.waits_on.owner:
        task = task.waits_on.owner
        if task is process:
            return path
        if task in path:
            return []  # somebody else's
        path.append(task)
    return []


def _own(kernel: Kernel, core: Core | None, process: Process, mutex: Mutex) -> None:
    mutex.owner = process
    process.holds.append(mutex)
    process.waits_on = None
    _log(kernel, core, process, mutex, "takes it")


def _give_back(kernel: Kernel, core: Core | None, process: Process, mutex: Mutex) -> None:
    mutex.owner = None
    process.holds.remove(mutex)
    _log(kernel, core, process, mutex, "gives it back")
    _pass_on(kernel, mutex, f"{process.name} has given {mutex.name} back")


def _pass_on(kernel: Kernel, mutex: Mutex, reason: str) -> None:
    """Hand a free mutex over to the first who waits for it."""
    heir = mutex.first()
    if heir is not None:
        _own(kernel, None, heir, mutex)
        kernel.wake(heir, reason)
        lend(kernel, None, heir)


def lend(kernel: Kernel, core: Core | None, holder: Process) -> bool:
    """Set the priority that `holder` has by its mutexes, and of those it waits for in turn.

    Return whether it is still on `core`.
    """
    seen: set[int] = set()
    task: Process | None = holder
    while task is not None and task.pid not in seen:
        seen.add(task.pid)
        own = task.priority if task.own_priority is None else task.own_priority
        before = task.priority
        priority = min([own, *_lent(task)])
        if priority != before:
            why = "has its own priority again" if priority == own else f"a mutex lends it priority {priority}"
            _set_priority(kernel, task, own, why)
        if task.priority == before:
            break
        task = task.waits_on.owner if task.waits_on else None
    return core is not None and core.task is holder


def _lent(task: Process) -> list[int]:
    return [priority for mutex in task.holds for priority in mutex.lends()]


def _set_priority(kernel: Kernel, task: Process, own: int, reason: str) -> None:
    priority = min([own, *_lent(task)])

    def alter() -> None:
        task.priority = priority
        task.own_priority = None if priority == own else own

    kernel.change(task, "priority", alter, reason)


# --- semaphores and conditions ------------------------------------------------------------------------


def down(kernel: Kernel, core: Core, process: Process, call: program.Down) -> bool:
    """Take one, or wait for it."""
    semaphore = _find(kernel, process, call.semaphore, Semaphore)
    if semaphore.value == 0:
        _wait(kernel, core, process, semaphore)
        return False
    semaphore.value -= 1
    _log(kernel, core, process, semaphore, "takes one")
    kernel.fetch(process, None)
    return True


def up(kernel: Kernel, core: Core, process: Process, call: program.Up) -> bool:
    """Add one, or give it to the first who waits."""
    semaphore = _find(kernel, process, call.semaphore, Semaphore)
    heir = semaphore.first()
    if heir is not None:
        _log(kernel, core, process, semaphore, f"gives one to {heir.name}")
        kernel.wake(heir, f"{process.name} has added one to {semaphore.name}")
    else:
        semaphore.value += 1
        _log(kernel, core, process, semaphore, "adds one")
    kernel.fetch(process, None)
    return core.task is process


def wait_for(kernel: Kernel, core: Core, process: Process, call: program.WaitFor) -> bool:
    """Give the mutex back and wait for the condition."""
    condition = _find(kernel, process, call.condition, Condition)
    mutex = _find(kernel, process, call.mutex, Mutex)
    if mutex.owner is not process:
        message = f"it waits for {condition.name} without having locked {mutex.name}"
        raise kernel.bad_program(process, message)
    _wait(kernel, core, process, condition)
    _give_back(kernel, core, process, mutex)
    lend(kernel, None, process)
    return False


def notify(kernel: Kernel, core: Core, process: Process, call: program.Notify) -> bool:
    """Wake one who waits for the condition, or all; each needs its mutex first."""
    condition = _find(kernel, process, call.condition, Condition)
    woken = condition.first()
    while woken is not None:
        mutex = _find(kernel, woken, woken.call.mutex, Mutex)  # type: ignore[union-attr]  # a WaitFor
        mutex.waiters.append(woken)
        woken.unblock = _leaver(kernel, woken, mutex)
        _log(kernel, core, woken, mutex, f"needs it after {condition.name}")
        _queue_up(kernel, core, woken, mutex)
        if mutex.owner is None:
            _pass_on(kernel, mutex, f"{process.name} has notified {condition.name}")
        woken = condition.first() if call.everybody else None
    _log(kernel, core, process, condition, "notifies everybody" if call.everybody else "notifies one")
    kernel.fetch(process, None)
    return core.task is process


# --- pipes and mailboxes ------------------------------------------------------------------------------


def write(kernel: Kernel, core: Core, process: Process, call: program.Write) -> bool:
    """Write into a pipe; wait while it is full."""
    pipe = _find(kernel, process, call.pipe, Pipe)
    pipe.unwritten[process.pid] = call.bytes
    return _through(kernel, core, process, pipe)


def read(kernel: Kernel, core: Core, process: Process, call: program.Read) -> bool:
    """Read from a pipe; wait while it is empty."""
    return _through(kernel, core, process, _find(kernel, process, call.pipe, Pipe))


def _through(kernel: Kernel, core: Core, process: Process, pipe: Pipe) -> bool:
    """Let bytes flow, now that `process` has come to the pipe too."""
    done = _flow(pipe, [*sorted(pipe.waiters, key=_urgency), process])
    pipe.waiters = [waiter for waiter in pipe.waiters if waiter not in done]
    mine = done.pop(process, None)
    if mine is None:
        _wait(kernel, core, process, pipe)
    else:
        did = "writes" if isinstance(process.call, program.Write) else "reads"
        _log(kernel, core, process, pipe, f"{did} {mine} bytes")
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
    box = _find(kernel, process, call.mailbox, Mailbox)
    if box.capacity and len(box.messages) >= box.capacity:
        _wait(kernel, core, process, box)
        return False
    receiver = box.first(program.Receive)
    if receiver is not None:
        _log(kernel, core, process, box, f"hands a message to {receiver.name}")
        kernel.wake(receiver, f"{process.name} has sent a message", call.message)
    else:
        box.messages.append(call.message)
        _log(kernel, core, process, box, "sends a message")
    kernel.fetch(process, None)
    return core.task is process


def receive(kernel: Kernel, core: Core, process: Process, call: program.Receive) -> bool:
    """Take the oldest message; wait while there is none."""
    box = _find(kernel, process, call.mailbox, Mailbox)
    if not box.messages:
        _wait(kernel, core, process, box)
        return False
    message = box.messages.popleft()
    sender = box.first(program.Send)
    if sender is not None:
        box.messages.append(sender.call.message)  # type: ignore[union-attr]  # a Send
    _log(kernel, core, process, box, "receives a message")
    if sender is not None:
        kernel.wake(sender, f"{process.name} has made room in {box.name}")
    kernel.fetch(process, message)
    return core.task is process


# --- common -------------------------------------------------------------------------------------------


def _find(kernel: Kernel, process: Process, name: str, kind: type[Kind]) -> Kind:
    found = kernel.shared.get(name)
    what = kind.__name__.lower()
    if not isinstance(found, kind):
        known = [other.name for other in kernel.shared.values() if isinstance(other, kind)]
        hint = did_you_mean(str(name), known)
        message = f"it uses the {what} {name!r:.40}; the machine has: {', '.join(sorted(known)) or 'none'}"
        raise kernel.bad_program(process, f"{message}. {hint}".rstrip(". "))
    return found


def _wait(kernel: Kernel, core: Core, process: Process, thing: Shared) -> None:
    thing.waiters.append(process)
    _log(kernel, core, process, thing, "waits")
    kernel.block(core, process, thing.name, f"waits for {thing.name}", _leaver(kernel, process, thing))


def _leaver(kernel: Kernel, process: Process, thing: Shared) -> Callable[[], None]:
    def leave() -> None:
        thing.waiters.remove(process)
        process.waits_on = None
        _log(kernel, None, process, thing, "does not wait any more")
        if isinstance(thing, Mutex) and thing.owner is not None:
            lend(kernel, None, thing.owner)  # not this one's priority any more

    return leave


def _urgency(process: Process) -> int:
    return process.priority


def _log(kernel: Kernel, core: Core | None, process: Process, thing: Shared, reason: str) -> None:
    kernel.emit(
        ev.Share(
            kernel.sim.now,
            core.cpu if core else -1,
            process.pid,
            reason,
            name=thing.name,
            what=type(thing).__name__.lower(),
            holder=thing.holder,
            level=thing.level,
            waiters=[waiter.pid for waiter in thing.waiters],
        )
    )
