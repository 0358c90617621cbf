"""What every shared thing has: a name, those who wait for it, and a line in the log for every change.

- Each is an object of the machine with a name. Every change is in the log: who holds it, how full it
  is, who waits.
- Of several waiters the most urgent goes first; equals go in the order in which they came. What is
  given back is handed over directly, so that nobody can take it in between.
- What a waiter wants is in the call that it is in (`Process.call`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from llmos.errors import did_you_mean
from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable

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
        chosen = min(waiters, key=urgency, default=None)
        if chosen is not None:
            self.waiters.remove(chosen)
        return chosen

    def left_by(self, kernel: Kernel, process: Process) -> None:
        """Note that a signal has taken `process` out of those who wait."""


Kind = TypeVar("Kind", bound=Shared)


def find(kernel: Kernel, process: Process, name: str, kind: type[Kind]) -> Kind:
    """Return the shared thing of this `kind` that the program of `process` calls `name`."""
    found = kernel.shared.get(name)
    what = kind.__name__.lower()
    if not isinstance(found, kind):
        known = [other.name for other in kernel.shared.values() if isinstance(other, kind)]
        hint = did_you_mean(str(name), known)
        message = f"it uses the {what} {name!r:.40}; the machine has: {', '.join(sorted(known)) or 'none'}"
        raise kernel.bad_program(process, f"{message}. {hint}".rstrip(". "))
    return found


def wait(kernel: Kernel, core: Core, process: Process, thing: Shared) -> None:
    """Let `process` leave its core and wait for `thing`."""
    thing.waiters.append(process)
    log(kernel, core, process, thing, "waits")
    kernel.block(core, process, thing.name, f"waits for {thing.name}", leaver(kernel, process, thing))


def leaver(kernel: Kernel, process: Process, thing: Shared) -> Callable[[], None]:
    """Return what takes `process` out of those who wait for `thing`."""

    def leave() -> None:
        thing.waiters.remove(process)
        log(kernel, None, process, thing, "does not wait any more")
        thing.left_by(kernel, process)

    return leave


def urgency(process: Process) -> int:
    """Return what waiters are ordered by."""
    return process.priority


def log(kernel: Kernel, core: Core | None, process: Process, thing: Shared, reason: str) -> None:
    """Log what `process` has done with `thing`, and how that is now."""
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
