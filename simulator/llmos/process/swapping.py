"""Load control's hands: who may be taken out as a whole, and how a task is kept from running.

- A task is taken out as if it were stopped by a signal, but no CONT brings it back.
- The least urgent goes first (`priority`: smaller is more urgent), of equals who came last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmos.process import signals

if TYPE_CHECKING:
    from llmos.process.kernel import Kernel
    from llmos.process.task import Process


class KernelTasks:
    """The tasks of one kernel, as `llmos.memory.load_control` sees them."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel

    @property
    def cores(self) -> int:
        """Return how many cores are online."""
        return sum(core.online for core in self.kernel.cores.cores)

    def worked_ns(self) -> int:
        """Return how long all tasks together have worked on cores so far."""
        now = self.kernel.sim.now
        running = sum(
            max(0, now - core.start)
            for core in self.kernel.cores.cores
            if core.task is not None and not core.in_kernel
        )
        return running + sum(process.attained for process in self.kernel.processes.values())

    def to_go(self) -> list[int]:
        """Return the pids of tasks that may be taken out now, the least important first."""
        going = [process for process in self.kernel.processes.values() if self._may_go(process)]
        return [p.pid for p in sorted(going, key=lambda p: (p.priority, p.arrival_ns, p.pid), reverse=True)]

    def rank(self, pid: int) -> str:
        """Say what makes a task less important than the others."""
        rest = [p.priority for p in self.kernel.processes.values() if self._may_go(p) and p.pid != pid]
        priority = self.kernel.processes[pid].priority
        if all(priority > other for other in rest):
            return f"is the least urgent (priority {priority})"
        return f"came last of those with priority {priority}"

    def freeze(self, pid: int, reason: str) -> None:
        """Keep a task from running."""
        process = self.kernel.processes[pid]
        process.swapped = True
        signals.stop(self.kernel, process, self.kernel.core_of(process), "swapped", reason)

    def thaw(self, pid: int, reason: str) -> None:
        """Let a frozen task go on."""
        process = self.kernel.processes[pid]
        process.swapped = False
        signals.go_on(self.kernel, process, reason)

    def _may_go(self, process: Process) -> bool:
        if process.gone or process.doomed or process.stopped or process.space is None or process.space.dead:
            return False
        core = self.kernel.core_of(process)
        if core is not None:
            return not core.in_kernel
        return process.blocked or self.kernel.is_queued(process)
