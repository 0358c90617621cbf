"""Signals: how one process bends the course of another.

- A signal takes effect at once: a task that is ready or runs goes on with the handler or dies when it
  runs next; a blocked one is taken out of what it waits for, and its call returns -1 (EINTR).
- Two things cannot be cut short: a system call that is under way, and a wait for a device.
- KILL and STOP can be neither handled nor ignored. STOP freezes a task until CONT. CONT is ignored by
  default, all others kill.

Source: POSIX signals, reduced to their scheduling side. Differs: no masks and no queues of signals;
a handler may be interrupted by any signal, its own included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llmos.process.task import Interrupted, Process
from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmos.process.cores import Core
    from llmos.process.kernel import Kernel
    from llmos.process.program import Handle, Kill, Pause, Program

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
    """Let `signal` reach `target` now, or as soon as the call that it is in is over."""
    core = _core_of(target)
    if core is not None and core.in_kernel:
        kernel.sim.at(core.free_at, kernel.order.came, deliver, kernel, target, signal, reason, cpu)
        return
    if target.gone:
        return
    kernel.emit(ev.Signal(kernel.sim.now, cpu, target.pid, reason, signal=signal))
    action = target.actions.get(signal, "default")
    if signal == "CONT":
        _continue(kernel, target)
    if callable(action):
        _interrupt(kernel, target, action, signal)
    elif signal == "STOP":
        _stop(kernel, target, core)
    elif signal != "CONT" and action == "default":
        _doom(kernel, target, signal)


def _interrupt(kernel: Kernel, target: Process, action: Callable[[], Program], signal: str) -> None:
    """Let `target` run the handler before it goes on."""
    if target.blocked and target.unblock is None:
        return  # it waits for a device and does not hear it
    target.interrupted.append(
        Interrupted(target.program, target.call, target.remaining, target.burst, target.blocked)
    )
    target.program = kernel.run_program(target, action)
    _divert(kernel, target, f"handles {signal}")


def _doom(kernel: Kernel, target: Process, signal: str) -> None:
    target.doomed = f"killed by {signal}"
    if target.stopped:
        _continue(kernel, target)
    if not target.blocked or target.unblock is not None:
        _divert(kernel, target, target.doomed)


def _divert(kernel: Kernel, target: Process, reason: str) -> None:
    """Make `target` go on with another call than the one it is in."""
    if target.blocked:
        if target.unblock is not None:
            target.unblock()
        kernel.wake(target, reason)
    elif target.dispatcher is not None:
        target.dispatcher.change(target, lambda: kernel.fetch(target, None), reason)


def _stop(kernel: Kernel, target: Process, core: Core | None) -> None:
    if target.stopped:
        return
    target.stopped = True
    if target.blocked or target.dispatcher is None:
        return
    target.frozen = True
    if core is not None:
        kernel.cores.sync(target.dispatcher)
        kernel.cores.halt(core)
        kernel.block(core, target, "stopped", "stopped by STOP", unblock=None)
    else:
        target.dispatcher.withdraw(target)
        target.blocked = True
        kernel.emit(ev.Suspend(kernel.sim.now, -1, target.pid, "stopped by STOP", on="stopped"))


def _continue(kernel: Kernel, target: Process) -> None:
    if not target.stopped:
        return
    target.stopped = False
    if target.frozen:
        target.frozen = False
        kernel.get_ready(target, "continued by CONT")
    elif target.missed_wake is not None:
        reason, result = target.missed_wake
        target.missed_wake = None
        kernel.wake(target, reason, result)


def _core_of(target: Process) -> Core | None:
    slots = target.dispatcher.slots if target.dispatcher else ()
    return next((slot for slot in slots if slot.task is target), None)  # type: ignore[return-value]


def _known(kernel: Kernel, process: Process, signal: str) -> str:
    if signal not in SIGNALS:
        raise kernel.bad_program(
            process, f"there is no signal {signal!r:.40}; there are {', '.join(SIGNALS)}"
        )
    return signal
