"""What each system call does: one function per kind, and the table of them all.

- A function gets the kernel, the core, the process and the call. It returns True if the process goes
  on at once (then it has fetched the next call), False if it has left the core.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from llmos.process import channels, deadlock, file_calls, periodic, program, signals, sync, touching
from llmos.process.program import Exit
from llmos.process.task import Process
from llmos.trace import events as ev

if TYPE_CHECKING:
    from llmos.process.cores import Core
    from llmos.process.kernel import Kernel

Effect = Callable[["Kernel", "Core", Process, Any], bool]


def exit_(kernel: Kernel, core: Core, process: Process, call: Exit) -> bool:
    """Terminate."""
    kernel.exit(core, process, process.doomed or call.reason)
    return False


def io(kernel: Kernel, core: Core, process: Process, call: program.Io) -> bool:
    """Send a request to a device, and block until its interrupt."""
    device = kernel.devices.get(call.device)
    if device is None:
        known = ", ".join(sorted(kernel.devices)) or "none"
        message = f"it uses the device {call.device!r}; the machine has: {known}"
        raise kernel.bad_program(process, message)
    name = device.name
    if kernel.rules.keep_on_io:
        core.kept_for, process.keeps = process, core
        core.dispatcher.choosy = True
    # No signal can take a request back from the device.
    kernel.block(core, process, name, f"waits for {name}", unblock=None)

    def over(what: str, result: int) -> None:
        cost = kernel.costs.io_interrupt_ns
        kernel.cores.irq(process.cpu, "io", cost, what, partial(kernel.wake, process, what, result))

    device.submit(
        process.pid, call.ns, partial(over, f"{name} is done", 0), partial(over, f"{name} has failed", -1)
    )
    return False


def sleep(kernel: Kernel, core: Core, process: Process, call: program.Sleep) -> bool:
    """Block for a time."""

    def over() -> None:
        kernel.cores.irq(process.cpu, "timer", kernel.costs.timer_ns, "sleep is over", woken)

    def woken() -> None:
        if process.unblock is unblock:  # no signal has come while the interrupt was handled
            kernel.wake(process, "sleep is over")

    def unblock() -> None:
        kernel.sim.cancel(alarm)

    kernel.block(core, process, "sleep", "sleeps", unblock)
    alarm = kernel.sim.at(kernel.sim.now + call.ns, kernel.order.came, over)
    return False


def yield_cpu(kernel: Kernel, core: Core, process: Process, _call: program.YieldCpu) -> bool:
    """Give the core away."""
    kernel.fetch(process, None)
    core.dispatcher.yielded(core)
    return False


def nice(kernel: Kernel, core: Core, process: Process, call: program.Nice) -> bool:
    """Change the nice value."""
    value = max(-20, min(19, process.nice + call.by))

    def alter() -> None:
        process.nice = value

    kernel.fetch(process, value)
    kernel.change(process, "nice", alter, f"nice is now {value}")
    return core.task is process


def set_priority(kernel: Kernel, core: Core, process: Process, call: program.SetPriority) -> bool:
    """Change the priority, or what it will be when nothing is inherited any more."""
    kernel.fetch(process, None)
    sync.set_own_priority(kernel, process, call.priority)
    return core.task is process


def set_affinity(kernel: Kernel, core: Core, process: Process, call: program.SetAffinity) -> bool:
    """Restrict the process to some cores."""
    if not call.cpus & {core.cpu for core in kernel.cores.cores}:
        raise kernel.bad_program(process, f"it asks for cores that are not there: {sorted(call.cpus)}")
    kernel.fetch(process, None)
    process.affinity = call.cpus
    core.dispatcher.choosy = True
    if core.cpu in call.cpus:
        return True
    kernel.block(core, process, "affinity", f"may not stay on cpu {core.cpu}", unblock=None)
    kernel.get_ready(process, f"may run on {', '.join(map(str, sorted(call.cpus)))}")
    return False


# --- families -----------------------------------------------------------------------------------------


def fork(kernel: Kernel, core: Core, parent: Process, call: program.Fork) -> bool:
    """Create a child that inherits everything but the name and what is periodic."""
    group, most = parent.group, kernel.most_in_group.get(parent.group)
    if (most is not None and kernel.in_group[group] >= most) or not touching.may_be_born(kernel, parent):
        kernel.fetch(parent, -1)
        return True
    pid = kernel.next_pid()
    child = Process(
        pid=pid,
        name=call.name or f"{parent.name}.{pid}",
        priority=parent.priority if parent.own_priority is None else parent.own_priority,
        nice=parent.nice,
        tickets=parent.tickets,
        client=parent.client,
        group=group,
        affinity=parent.affinity,
        working_set_bytes=parent.working_set_bytes,
        memory_limit_bytes=parent.memory_limit_bytes,
        program=kernel.run_program(parent, call.program),
        actions=dict(parent.actions),
        parent=parent,
        cpu=-1,
    )
    parent.children.add(pid)
    kernel.arrive(child, core.cpu)
    kernel.fetch(parent, pid)
    return True


def exec_(kernel: Kernel, core: Core, process: Process, call: program.Exec) -> bool:
    """Become another program."""
    process.program = kernel.run_program(process, call.program)
    process.interrupted.clear()
    # The programs that handled signals are gone; to ignore one needs no program.
    process.actions = {signal: "ignore" for signal, action in process.actions.items() if action == "ignore"}
    if call.name:
        process.name = call.name
    kernel.emit(ev.Exec(kernel.sim.now, core.cpu, process.pid, name=process.name))
    touching.renewed(kernel, core, process)
    kernel.fetch(process, None)
    return True


def wait(kernel: Kernel, core: Core, process: Process, call: program.Wait) -> bool:
    """Wait for a child that terminates, and let it go."""
    zombie = next((z for z in process.zombies if call.pid in (None, z)), None)
    if zombie is not None:
        reap(kernel, core, process, zombie)
        kernel.fetch(process, zombie)
        return True
    if not process.children or (call.pid is not None and call.pid not in process.children):
        kernel.fetch(process, -1)  # nobody to wait for: return at once, like ECHILD
        return True
    process.waits_for = call.pid if call.pid is not None else -1

    def unblock() -> None:
        process.waits_for = None

    kernel.block(core, process, "child", "waits for a child", unblock)
    deadlock.look_for_it(kernel, core, process)
    return False


def child_died(kernel: Kernel, core: Core, parent: Process, child: Process) -> None:
    """Tell `parent` that `child` has terminated, if it waits for that."""
    if parent.waits_for in (-1, child.pid):
        parent.waits_for = None
        reap(kernel, core, parent, child.pid)
        kernel.wake(parent, f"child {child.name} terminated", child.pid)


def reap(kernel: Kernel, core: Core, parent: Process, pid: int) -> None:
    """Let a zombie go."""
    parent.zombies.remove(pid)
    kernel.forget(kernel.processes[pid])
    kernel.emit(ev.Reap(kernel.sim.now, core.cpu, pid, f"{parent.name} has waited for it"))


EFFECTS: Final = MappingProxyType[type, Effect](
    {
        Exit: exit_,
        program.Io: io,
        program.Sleep: sleep,
        program.YieldCpu: yield_cpu,
        program.Nice: nice,
        program.SetPriority: set_priority,
        program.SetAffinity: set_affinity,
        program.Fork: fork,
        program.Exec: exec_,
        program.Wait: wait,
        program.EndJob: periodic.end_job,
        program.Kill: signals.kill,
        program.Handle: signals.handle,
        program.Pause: signals.pause,
        program.Mmap: touching.mmap,
        program.Munmap: touching.munmap,
        program.Mprotect: touching.mprotect,
        program.Brk: touching.brk,
        program.Mlock: touching.mlock,
        program.Madvise: touching.madvise,
        program.Fill: touching.fill,
        program.ReadFile: file_calls.read_file,
        program.WriteFile: file_calls.write_file,
        program.Fsync: file_calls.fsync,
        program.Truncate: file_calls.truncate,
        program.Advise: file_calls.advise,
        program.DropCaches: file_calls.drop_caches,
        program.Lock: sync.lock,
        program.Unlock: sync.unlock,
        program.Down: sync.down,
        program.Up: sync.up,
        program.WaitFor: sync.wait_for,
        program.Notify: sync.notify,
        program.Write: channels.write,
        program.Read: channels.read,
        program.Send: channels.send,
        program.Receive: channels.receive,
    }
)
