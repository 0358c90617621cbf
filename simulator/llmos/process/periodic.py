"""Periodic tasks: releases, deadlines, and what happens when one is missed.

- A periodic task has one job at a time; a job that is released while the one before it still runs
  waits behind it.
- A deadline is missed strictly after its time: what is complete at its very deadline is in time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmos.process.program import EndJob
from llmos.sched.base import Why
from llmos.trace import events as ev

if TYPE_CHECKING:
    from llmos.process.cores import Core
    from llmos.process.kernel import Kernel
    from llmos.process.program import Call
    from llmos.process.task import Process

MOST_STEPS = 100_000
"""A job that is given up may have so many steps left."""


def begin(kernel: Kernel, process: Process) -> None:
    """Watch the deadline of a new process, and release its first job if it is periodic."""
    if process.period:
        release(kernel, process)
    elif process.deadline_ns is not None:
        _watch_deadline(kernel, process, job=0, deadline=process.deadline_ns)


def release(kernel: Kernel, process: Process) -> None:
    """Release the next job of a periodic task and set the alarm for the one after it."""
    period, now, sim = process.period, kernel.sim.now, kernel.sim
    if period is None or process.gone:
        return
    period.released += 1
    deadline = now + period.deadline_ns
    kernel.emit(ev.Release(now, task=process.pid, job=period.released, deadline=deadline))
    period.deadlines.append(deadline)
    process.deadline_ns = period.deadlines[0]
    _watch_deadline(kernel, process, period.released, deadline)
    if period.jobs is None or period.released < period.jobs:
        sim.at(now + period.every_ns, kernel.order.came, _on_release, kernel, process)
    if period.waiting:
        period.waiting = False
        kernel.wake(process, f"job {period.released} is released")


def _on_release(kernel: Kernel, process: Process) -> None:
    cost = kernel.costs.release_ns
    if cost and not process.gone:
        kernel.cores.irq(
            max(0, process.cpu), "release", cost, f"a job of {process.name} is due",
            lambda: release(kernel, process),
        )  # fmt: skip
    else:
        release(kernel, process)


def end_job(kernel: Kernel, core: Core, process: Process, _call: Call) -> bool:
    """Complete the current job; block until the next one is released, if that has not happened yet."""
    period = process.period
    if period is None:
        raise kernel.bad_program(process, "EndJob is for periodic tasks; give it a `period`")
    period.completed += 1
    kernel.emit(ev.Complete(kernel.sim.now, core.cpu, process.pid, job=period.completed))
    period.deadlines.popleft()
    meet_deadline(kernel, process)
    if period.jobs is not None and period.completed == period.jobs:
        kernel.exit(core, process, "all jobs are complete")
        return False
    period.waiting = not period.deadlines

    def unblock() -> None:
        period.waiting = False

    kernel.block(core, process, "release", "waits for its next job", unblock)
    if not period.waiting:
        process.deadline_ns = period.deadlines[0]
        kernel.wake(process, f"job {period.completed + 1} is already there")
    return False


def meet_deadline(kernel: Kernel, process: Process) -> None:
    """Cancel the alarm of the deadline that is due next (it may have gone off already)."""
    if process.miss_alarms:
        kernel.sim.cancel(process.miss_alarms.popleft())


def _watch_deadline(kernel: Kernel, process: Process, job: int, deadline: int) -> None:
    def missed() -> None:
        now = kernel.sim.now
        kernel.emit(ev.Miss(now, task=process.pid, reason="not complete", job=job, deadline=deadline))
        if kernel.rules.abort_on_miss and process.period and not process.gone:
            _abort(kernel, process, job)

    # In the last phase: what is complete at its very deadline is in time.
    process.miss_alarms.append(kernel.sim.at(deadline, kernel.order.decide, missed))


def _abort(kernel: Kernel, process: Process, job: int) -> None:
    """Give the current job up: the task goes on with its next one."""
    period = process.period
    if period is None or process.dispatcher is None:
        return
    dispatcher = process.dispatcher
    core = next((core for core in dispatcher.slots if core.task is process), None)
    if core is not None and core.in_kernel:
        return  # it is about to complete, or cannot be stopped now
    if core is not None:
        kernel.cores.sync(dispatcher)
        kernel.cores.halt(core)
        dispatcher.remove(core, Why.BLOCKED)
    elif process.pid in dispatcher.ready:
        dispatcher.withdraw(process)
    elif process.unblock is not None:
        process.unblock()
    cpu = core.cpu if core else -1
    kernel.emit(ev.Abort(kernel.sim.now, cpu, process.pid, "its deadline is over", job=job))
    _skip_to_the_end_of_the_job(kernel, process)
    period.completed += 1
    period.deadlines.popleft()
    process.miss_alarms.popleft()
    process.blocked = True
    period.waiting = not period.deadlines
    if not period.waiting:
        process.deadline_ns = period.deadlines[0]
        kernel.wake(process, f"job {period.completed + 1} is already there")


def _skip_to_the_end_of_the_job(kernel: Kernel, process: Process) -> None:
    for _ in range(MOST_STEPS):
        if isinstance(process.call, EndJob):
            return
        kernel.fetch(process, None)
    raise kernel.bad_program(process, f"a job that is given up has more than {MOST_STEPS:,} steps left")
