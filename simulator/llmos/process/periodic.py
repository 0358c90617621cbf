"""Periodic tasks: releases, deadlines, and what happens when one is missed.

- A periodic task has one job at a time; a job that is released while the one before it still runs
  waits behind it.
- A deadline is missed strictly after its time: what is complete at its very deadline is in time.
- A job that is given up (`Rules.abort_on_miss`) loses what it has locked and the rest of its calls.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from llmos.process import sync
from llmos.process.program import EndJob, Exit
from llmos.sched.base import Why
from llmos.trace import events as ev

if TYPE_CHECKING:
    from llmos.process.cores import Core
    from llmos.process.kernel import Kernel
    from llmos.process.program import Call
    from llmos.process.task import Period, Process

MOST_STEPS = 100_000
"""A job that is given up may have so many steps left."""


def begin(kernel: Kernel, process: Process) -> None:
    """Watch the deadline of a new process, and release its first job if it is periodic."""
    if process.period:
        _release(kernel, process)
    elif process.deadline_ns is not None:
        _watch_deadline(kernel, process, job=0, deadline=process.deadline_ns)


def _release(kernel: Kernel, process: Process) -> None:
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
        sim.at(now + period.every_ns, kernel.order.came, _release, kernel, process)
    if period.released == 1:
        return  # the task itself has only just come
    cost, why = kernel.costs.release_ns, f"a job of {process.name} is due"
    announce = partial(_announce, kernel, process, period)
    if cost or kernel.rules.whole_entries:
        kernel.cores.irq(max(0, process.cpu), "release", cost, why, announce)
    else:
        announce()


def _announce(kernel: Kernel, process: Process, period: Period) -> None:
    """Wake the task if it waits for the job that has been released."""
    if period.waiting:
        period.waiting = False
        kernel.wake(process, f"job {period.released} is released")


def complete(kernel: Kernel, core: Core, process: Process) -> None:
    """Complete the current job, in time or not."""
    period = process.period
    if period is None:
        raise kernel.bad_program(process, "EndJob is for periodic tasks; give it a `period`")
    period.completed += 1
    kernel.emit(ev.Complete(kernel.sim.now, core.cpu, process.pid, job=period.completed))
    period.deadlines.popleft()
    kernel.sim.cancel(process.miss_alarms.popleft())


def end_job(kernel: Kernel, core: Core, process: Process, _call: Call) -> bool:
    """Block until the next job is released, if that has not happened yet."""
    period = process.period
    if period is None:
        return False  # `complete` has refused it
    if period.jobs is not None and period.completed == period.jobs:
        kernel.exit(core, process, "all jobs are complete")
        return False
    kernel.block(core, process, "release", "waits for its next job", partial(_stop_waiting, period))
    _take_the_next(kernel, process, period)
    return False


def end(kernel: Kernel, process: Process) -> None:
    """Forget the deadlines of a process that terminates."""
    for alarm in process.miss_alarms:
        kernel.sim.cancel(alarm)  # it may have gone off already


def _stop_waiting(period: Period) -> None:
    period.waiting = False


def _take_the_next(kernel: Kernel, process: Process, period: Period) -> None:
    """Let a process that waits for its next job go on if that is there already."""
    period.waiting = not period.deadlines
    if period.deadlines:
        process.deadline_ns = period.deadlines[0]
        kernel.wake(process, f"job {period.completed + 1} is already there")


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
    period, dispatcher = process.period, process.dispatcher
    if period is None or dispatcher is None or process.gone or period.completed >= job:
        return
    core = kernel.core_of(process)
    if core is None and not process.blocked:
        deaf = not kernel.is_queued(process)
    else:
        deaf = core.in_kernel if core else process.unblock is None
    if deaf:  # a call or a device holds it, or its release has not been handled yet
        process.pending.append(partial(_abort, kernel, process, job))
        return
    if core is not None:
        kernel.cores.sync(dispatcher)
        kernel.cores.halt(core)
        dispatcher.remove(core, Why.BLOCKED)
    elif process.unblock is not None:
        process.unblock()
    else:
        dispatcher.withdraw(process)
    cpu = core.cpu if core else -1
    kernel.emit(ev.Abort(kernel.sim.now, cpu, process.pid, "its deadline is over", job=job))
    process.blocked, process.unblock = True, partial(_stop_waiting, period)
    sync.give_all_back(kernel, process)
    sync.lend(kernel, None, process)
    period.completed += 1
    period.deadlines.popleft()
    process.miss_alarms.popleft()
    _skip_to_the_end_of_the_job(kernel, process)
    if period.completed == period.jobs or isinstance(process.call, Exit):
        process.call = Exit()
        kernel.get_ready(process, "has no more jobs")
    else:
        _take_the_next(kernel, process, period)


def _skip_to_the_end_of_the_job(kernel: Kernel, process: Process) -> None:
    for _ in range(MOST_STEPS):
        if isinstance(process.call, EndJob | Exit):
            return
        kernel.fetch(process, None)
    raise kernel.bad_program(process, f"a job that is given up has more than {MOST_STEPS:,} steps left")
