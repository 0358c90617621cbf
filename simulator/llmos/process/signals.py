"""Signals: how one process bends the course of another.

- A signal takes effect at once: a task that is ready or runs goes on with the handler or dies when it
  runs next; a blocked one is taken out of what it waits for, and its call returns -1 (EINTR). But a
  wait for a mutex goes on after the handler, and a wait for a condition ends without a notification.
- A signal stays pending while its task cannot be reached: inside a system call; until the release of its
  first job has been handled; while it waits for a device or for its next release (then KILL and its like
  do their work, a handler waits); while it is stopped (then only KILL and CONT do) or swapped out as a
  whole (then only KILL does).
- KILL and STOP can be neither handled nor ignored. STOP freezes a task until CONT. CONT is ignored by
  default, all others kill.

Source: POSIX signals, reduced to their scheduling side. Differs: no masks; signals of one kind queue up;
a handler may be interrupted by any signal, its own included.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from llmos.process.program import EndJob, Lock, WaitFor
from llmos.process.task import Interrupted, Process
from llmos.sched.base import Why
from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmos.process.cores import Core
    from llmos.process.kernel import Kernel
    from llmos.process.program import Call, Handle, Kill, Pause, Program

SIGNALS: Final = ("KILL", "TERM", "INT", "USR1", "USR2", "STOP", "CONT")
FINAL: Final = ("KILL", "STOP")


def kill(kernel: Kernel, core: Core, process: Process, call: Kill) -> bool:
    """Send a signal."""
    target = find(kernel, call.to)
    kernel.fetch(process, -1 if target is None else 0)
    if target is not None:
        deliver(kernel, target, _known(kernel, process, call.signal), f"from {process.name}", core.cpu)
    return core.task is process


def handle(kernel: Kernel, _core: Core, process: Process, call: Handle) -> bool:
    """Set what a signal does."""
    signal = _known(kernel, process, call.signal)
    if signal in FINAL:
        raise kernel.bad_program(process, f"{signal} can be neither handled nor ignored")
    if isinstance(call.action, str) and call.action not in ("default", "ignore"):
        raise kernel.bad_program(process, f'a signal\'s action is "default", "ignore" or a program, '
                                          f"not {call.action!r:.80}")  # fmt: skip
    process.actions[signal] = call.action
    kernel.fetch(process, None)
    return True


def pause(kernel: Kernel, core: Core, process: Process, _call: Pause) -> bool:
    """Block until a signal comes."""
    kernel.block(core, process, "signal", "waits for a signal", unblock=lambda: None)
    return False


def find(kernel: Kernel, to: int | str) -> Process | None:
    """Return the living process with this pid, or the first one with this name."""
    if isinstance(to, int):
        process = kernel.processes.get(to)
        return process if process and not process.gone else None
    return next((p for p in kernel.processes.values() if p.name == to and not p.gone), None)


def deliver(kernel: Kernel, target: Process, signal: str, reason: str, cpu: int) -> None:
    """Let `signal` reach `target` now, or as soon as it can be reached."""
    if target.gone or target.doomed:
        return
    if signal == "CONT" and target.stopped and not target.swapped:
        kernel.emit(ev.Signal(kernel.sim.now, cpu, target.pid, reason, signal=signal))
        go_on(kernel, target)
        if not callable(target.actions.get(signal)):
            return
    core = kernel.core_of(target)
    if not _hears(kernel, target, core, signal):
        target.pending.append(partial(deliver, kernel, target, signal, reason, cpu))
        return
    kernel.emit(ev.Signal(kernel.sim.now, cpu, target.pid, reason, signal=signal))
    action = target.actions.get(signal, "default")
    if callable(action):
        _interrupt(kernel, target, action, signal)
    elif signal == "STOP":
        stop(kernel, target, core, "stopped", "stopped by STOP")
    elif signal != "CONT" and action == "default":
        _doom(kernel, target, signal)


def _hears(kernel: Kernel, target: Process, core: Core | None, signal: str) -> bool:
    """Whether `signal` can take effect on `target` (on `core`, if it runs) now."""
    if core is not None:
        return not core.in_kernel
    if target.stopped:
        return signal == "KILL"
    if not target.blocked and not kernel.is_queued(target):
        return False
    deaf = target.blocked and (target.unblock is None or isinstance(target.call, EndJob))
    return not (deaf and callable(target.actions.get(signal)))


def reach(target: Process) -> None:
    """Let happen what is pending for `target`; what it still does not hear is pending again."""
    waiting = list(target.pending)
    target.pending.clear()
    for happen in waiting:
        happen()


def _interrupt(kernel: Kernel, target: Process, action: Callable[[], Program], signal: str) -> None:
    """Let `target` run the handler before it goes on."""
    if target.dispatcher is not None:
        kernel.cores.sync(target.dispatcher)  # what it has done is done
    call = _call_after(target) if target.blocked else target.call
    _let_go(kernel, target)
    target.interrupted.append(Interrupted(target.program, call, target.remaining))
    target.program = kernel.run_program(target, action)
    target.call = None
    _divert(kernel, target, f"handles {signal}")


def _call_after(target: Process) -> Call | None:
    """Return the call that a blocked task makes when the handler is done."""
    call = target.call
    if isinstance(call, WaitFor):
        return Lock(call.mutex)
    return call if isinstance(call, Lock) else None


def _doom(kernel: Kernel, target: Process, signal: str) -> None:
    target.doomed = f"killed by {signal}"
    go_on(kernel, target)
    _divert(kernel, target, target.doomed)


def _divert(kernel: Kernel, target: Process, reason: str) -> None:
    """Make `target` go on with another call than the one it is in."""
    queue = target.dispatcher
    if not target.blocked and queue is not None:
        if target.pid in queue.ready and not queue.depends_on("remaining"):
            kernel.fetch(target, None)  # it keeps its place
        else:
            queue.change(target, lambda: kernel.fetch(target, None), reason, Why.PREEMPTED)
    elif target.unblock is not None:  # else it waits for a device, and dies when that is done
        target.unblock()
        kernel.wake(target, reason)


def stop(kernel: Kernel, target: Process, core: Core | None, on: str, reason: str) -> None:
    """Freeze `target` until `go_on`; the log says why."""
    target.stopped = True
    kernel.cores.keep_no_more(target)
    _let_go(kernel, target)
    if target.blocked or target.dispatcher is None:
        return
    target.frozen = True
    if core is not None:
        kernel.cores.sync(target.dispatcher)
        kernel.cores.halt(core)
        kernel.block(core, target, on, reason, unblock=None)
    else:
        target.dispatcher.withdraw(target)
        target.blocked = True
        kernel.emit(ev.Suspend(kernel.sim.now, -1, target.pid, reason, on=on))


def go_on(kernel: Kernel, target: Process, reason: str = "goes on") -> None:
    """Let a stopped task go on where it was: ready, or waiting."""
    if not target.stopped:
        return
    target.stopped = False
    if target.frozen:
        target.frozen = False
        kernel.get_ready(target, reason)
    elif target.missed_wake is not None:
        reason, result = target.missed_wake
        target.missed_wake = None
        kernel.wake(target, reason, result)
    reach(target)


def _let_go(kernel: Kernel, target: Process) -> None:
    """Let the page go that `target` has waited for: who knows when it will use it."""
    if kernel.memory is not None and target.space is not None:
        kernel.memory.settle(target.space)


def _known(kernel: Kernel, process: Process, signal: str) -> str:
    if signal not in SIGNALS:
        raise kernel.bad_program(
            process, f"there is no signal {signal!r:.40}; there are {', '.join(SIGNALS)}"
        )
    return signal
