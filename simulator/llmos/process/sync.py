"""Mutexes, semaphores and conditions: what tasks take and give back, and wait for.

- A mutex may lend its holder the priority of whoever waits for it (`inherit`), or a fixed one
  (`ceiling`); else a priority inversion is possible.
- Who takes from a semaphore holds that until it adds one. An `owned` one is added to by its holders
  alone, like a mutex for several.
- A task that blocks may close a deadlock. That is an event, which names the circle; the tasks stay blocked.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmos.process import deadlock, program
from llmos.process.shared import Shared, find, leaver, log, wait

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmos.process.cores import Core
    from llmos.process.kernel import Kernel
    from llmos.process.task import Process


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

    def left_by(self, kernel: Kernel, process: Process) -> None:
        process.waits_on = None
        if self.owner is not None:
            lend(kernel, None, self.owner)  # not this one's priority any more


@dataclass(slots=True, eq=False, kw_only=True)
class Semaphore(Shared):
    """A counter that never falls below 0: who would make it do so waits."""

    value: int = 0
    owned: bool = False
    """Whether only those add to it who have taken from it."""
    held: Counter[Process] = field(default_factory=Counter)
    """What tasks have taken and not added again."""
    signals: bool = False
    """Whether somebody has added what he had not taken: then it has no holders."""

    @property
    def holders(self) -> list[Process]:
        """Who has taken from it and not added again, as far as that can be said."""
        return [] if self.signals else [task for task in self.held if not task.gone]

    @property
    def level(self) -> int:
        return self.value


@dataclass(slots=True, eq=False, kw_only=True)
class Condition(Shared):
    """Tasks that wait until somebody says that something has changed."""


# --- mutexes ------------------------------------------------------------------------------------------


def lock(kernel: Kernel, core: Core, process: Process, call: program.Lock) -> bool:
    """Take a mutex, or wait for it."""
    mutex = find(kernel, process, call.mutex, Mutex)
    if mutex.owner is None:
        _own(kernel, core, process, mutex)
        kernel.fetch(process, None)
        return lend(kernel, core, process)
    wait(kernel, core, process, mutex)
    _queue_up(kernel, core, process, mutex)
    return False


def unlock(kernel: Kernel, core: Core, process: Process, call: program.Unlock) -> bool:
    """Give a mutex back."""
    mutex = find(kernel, process, call.mutex, Mutex)
    if mutex.owner is not process:
        holder = mutex.owner.name if mutex.owner else "nobody"
        message = f"it unlocks {mutex.name}, which {holder} has; only its holder can"
        raise kernel.bad_program(process, message)
    _give_back(kernel, core, process, mutex)
    kernel.fetch(process, None)
    return lend(kernel, core, process)


def give_all_back(kernel: Kernel, process: Process) -> None:
    """Let go of every mutex, and what is owned of semaphores, that `process` still holds."""
    core = kernel.core_of(process)
    for mutex in list(process.holds):
        _give_back(kernel, core, process, mutex)
    for semaphore in kernel.owned:
        for _ in range(semaphore.held[process]):
            _add_one(kernel, core, process, semaphore)


def set_own_priority(kernel: Kernel, process: Process, priority: int) -> None:
    """Set the priority that `process` has when its mutexes lend it none."""
    _set_priority(kernel, process, priority, f"priority is now {priority}")


def _queue_up(kernel: Kernel, core: Core, process: Process, mutex: Mutex) -> None:
    """Note that `process`, which waits for `mutex` now, lends its holder its priority, or closes a cycle."""
    process.waits_on = mutex
    if mutex.owner is not None:
        lend(kernel, None, mutex.owner)
    deadlock.look_for_it(kernel, core, process)


def _own(kernel: Kernel, core: Core | None, process: Process, mutex: Mutex) -> None:
    mutex.owner = process
    process.holds.append(mutex)
    process.waits_on = None
    log(kernel, core, process, mutex, "takes it")


def _give_back(kernel: Kernel, core: Core | None, process: Process, mutex: Mutex) -> None:
    mutex.owner = None
    process.holds.remove(mutex)
    log(kernel, core, process, mutex, "gives it back")
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
    semaphore = find(kernel, process, call.semaphore, Semaphore)
    if semaphore.value == 0:
        wait(kernel, core, process, semaphore)
        if semaphore.owned:
            deadlock.look_for_it(kernel, core, process)
        return False
    semaphore.value -= 1
    semaphore.held[process] += 1
    log(kernel, core, process, semaphore, "takes one")
    kernel.fetch(process, None)
    return True


def up(kernel: Kernel, core: Core, process: Process, call: program.Up) -> bool:
    """Add one, or give it to the first who waits."""
    semaphore = find(kernel, process, call.semaphore, Semaphore)
    if semaphore.owned and not semaphore.held[process]:
        message = f"it adds one to {semaphore.name}, of which it holds none; only its holders can"
        raise kernel.bad_program(process, message)
    _add_one(kernel, core, process, semaphore)
    kernel.fetch(process, None)
    return core.task is process


def _add_one(kernel: Kernel, core: Core | None, process: Process, semaphore: Semaphore) -> None:
    if semaphore.held[process]:
        semaphore.held[process] -= 1
        if not semaphore.held[process]:
            del semaphore.held[process]
    else:
        semaphore.signals = True
    heir = semaphore.first()
    if heir is not None:
        semaphore.held[heir] += 1
        log(kernel, core, process, semaphore, f"gives one to {heir.name}")
        kernel.wake(heir, f"{process.name} has added one to {semaphore.name}")
    else:
        semaphore.value += 1
        log(kernel, core, process, semaphore, "adds one")


def wait_for(kernel: Kernel, core: Core, process: Process, call: program.WaitFor) -> bool:
    """Give the mutex back and wait for the condition."""
    condition = find(kernel, process, call.condition, Condition)
    mutex = find(kernel, process, call.mutex, Mutex)
    if mutex.owner is not process:
        message = f"it waits for {condition.name} without having locked {mutex.name}"
        raise kernel.bad_program(process, message)
    wait(kernel, core, process, condition)
    _give_back(kernel, core, process, mutex)
    lend(kernel, None, process)
    return False


def notify(kernel: Kernel, core: Core, process: Process, call: program.Notify) -> bool:
    """Wake one who waits for the condition, or all; each needs its mutex first."""
    condition = find(kernel, process, call.condition, Condition)
    woken = condition.first()
    while woken is not None:
        mutex = find(kernel, woken, woken.call.mutex, Mutex)  # type: ignore[union-attr]  # a WaitFor
        mutex.waiters.append(woken)
        woken.unblock = leaver(kernel, woken, mutex)
        log(kernel, core, woken, mutex, f"needs it after {condition.name}")
        _queue_up(kernel, core, woken, mutex)
        if mutex.owner is None:
            _pass_on(kernel, mutex, f"{process.name} has notified {condition.name}")
        woken = condition.first() if call.everybody else None
    log(kernel, core, process, condition, "notifies everybody" if call.everybody else "notifies one")
    kernel.fetch(process, None)
    return core.task is process
