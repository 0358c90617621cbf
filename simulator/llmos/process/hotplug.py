"""Cores that go offline while the machine runs, and come back.

- The task of a core that goes offline is preempted. It goes back to its ready queue; if that is the
  core's own, all of its tasks move to other cores, each to the one with the least to do.
- Inside the kernel nobody is preempted: there the core goes offline when the call or interrupt is over.
- What its cache and its TLB have is lost.
- A task keeps its affinity: if that names no core that is online, it waits until one of them is back.
- The last core that is online stays. Interrupts for a core that is offline go to the first that is not.

Source: kernel/cpu.c and Documentation/core-api/cpu_hotplug.rst.
Differs: Linux lets a task whose cores are all offline run anywhere (select_fallback_rq in
kernel/sched/core.c); here what a scenario says of a task stays true. Going offline takes no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmos.engine.simulation import FOREVER
from llmos.trace.events import Hotplug

if TYPE_CHECKING:
    from llmos.process.cores import Core
    from llmos.process.kernel import Kernel
    from llmos.process.task import Process


def take_offline(kernel: Kernel, core: Core, for_ns: int = 0) -> None:
    """Take `core` offline for so long (ns; 0 = for good), as soon as it is not inside the kernel."""
    now = kernel.sim.now
    until = now + for_ns if for_ns else FOREVER
    core.offline_until = max(core.offline_until, until)
    if for_ns:
        kernel.sim.at(until, kernel.order.came, _come_back, kernel, core)
    if core.online and not core.in_kernel:
        leave(kernel, core)


def leave(kernel: Kernel, core: Core) -> None:
    """Let `core` go offline now, unless it is the last one."""
    if not any(other.online for other in kernel.cores.cores if other is not core):
        core.offline_until = 0
        last = "the last core stays online"
        kernel.emit(Hotplug(kernel.sim.now, core.cpu, reason=last, online=True))
        return
    core.online = False
    for other in kernel.cores.cores:
        if other.kept_for is not None:
            kernel.cores.keep_no_more(other.kept_for)  # there are others to run now
    core.dispatcher.close(core, f"cpu {core.cpu} goes offline")
    core.ran = None
    if core.cache:
        core.cache.lose_all()
    if kernel.memory is not None:
        kernel.memory.goes_offline(core.cpu)
    kernel.emit(Hotplug(kernel.sim.now, core.cpu, reason="goes offline"))
    kernel.balance.move_away()


def is_stranded(kernel: Kernel, process: Process) -> bool:
    """Whether `process` could run, but on no core that is online."""
    if process.affinity is None or not kernel.is_queued(process):
        return False
    return not any(kernel.cores.cores[cpu].online for cpu in process.affinity)


def _come_back(kernel: Kernel, core: Core) -> None:
    if core.online or core.offline_until > kernel.sim.now:
        return  # it never left, or is to stay away for longer
    core.online = True
    kernel.emit(Hotplug(kernel.sim.now, core.cpu, reason="is back", online=True))
    core.dispatcher.open(core)
    kernel.balance.move_away()
