"""The machine at any time, as a fold over the log.

- `State.apply(event)` moves the state forward; `State.advance(t)` lets time pass without an event.
- A task is in exactly one state, and every nanosecond of every processor is user work, kernel work,
  context switch or idle. What contradicts this is noted in `violations`, not raised: a log is data.
- Nothing here looks at the simulator. A saved log gives the same answers as a running one.
- A kernel cost that an event carries is spent right after it; several on one core follow one another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from llmos.trace import events as ev
from llmos.trace.expand import tokens_of
from llmos.trace.memory import RULES, MemoryState
from llmos.trace.records import JobState, Mode, ProcessorState, SharedState, Shelf, Span, Status, TaskState


class State:
    """Everything that a log says about its machine, up to `now`."""

    def __init__(self, *, keep_spans: bool = False) -> None:
        self.header = ev.Run(0)
        self.now = 0
        self.tasks: dict[int, TaskState] = {}
        self.processors: dict[int, ProcessorState] = {}
        self.ready: dict[int, TaskState] = {}
        """Ready tasks in the order in which they became ready."""
        self.shared: dict[str, SharedState] = {}
        self.queues: dict[int, list[Shelf]] = {}
        """The ready queues as the policies draw them, by the first processor of each, if they were logged."""
        self.deadlocks: list[ev.Deadlock] = []
        self.memory = MemoryState()
        self.end: ev.End | None = None
        self.events = 0
        self.violations: list[str] = []
        self.spans: list[Span] | None = [] if keep_spans else None
        """When who ran where, contiguous pieces joined; in order of their begin on each processor."""
        self._last_span: dict[tuple[int, int], Span] = {}

    def __call__(self, events: Iterable[ev.Event], _data: bytes = b"") -> None:
        """Apply many events; a state can be a sink of a log."""
        for event in events:
            self.apply(event)

    def apply(self, event: ev.Event) -> None:
        """Move forward to `event` and let it happen."""
        if event.t < self.now:
            self._violated(event, f"time runs backwards, from {self.now}")
        self.now = event.t
        self.events += 1
        try:
            self._on[type(event)](self, event)
        except (KeyError, IndexError) as error:  # a forged or damaged log: data, like anything in a log
            self._violated(event, f"it names a processor, task or job that is not there: {error}")

    def advance(self, t: int) -> None:
        """Account all time up to `t` (ns, not before now), as if nothing happened until then."""
        self.now = t
        for processor in self.processors.values():
            self._account(processor, t)
        for task in self.tasks.values():
            self._account_task(task)

    def is_zombie(self, task: TaskState) -> bool:
        """Whether `task` has terminated and its parent lives and has not waited for it."""
        parent = self.tasks.get(task.parent)
        ended = task.status is Status.TERMINATED and not task.reaped
        return ended and parent is not None and parent.status is not Status.TERMINATED

    # --- accounting ---------------------------------------------------------------------------------

    def _account(self, processor: ProcessorState, t: int) -> None:
        """Say what `processor` spent its time on up to `t`."""
        if processor.since_ns == t:
            return
        while processor.overhead and processor.since_ns < t:
            end, mode = processor.overhead[0]
            stop = min(end, t)
            processor.spent_ns[mode] += stop - processor.since_ns
            processor.since_ns = stop
            if stop == end:
                processor.overhead.popleft()
        if processor.since_ns < t:
            for task in processor.running.values():
                self._ran(processor, task, processor.since_ns, t)
            # An engine with members iterates without a pause, as a core with a task works.
            processor.spent_ns[Mode.USER if processor.running else Mode.IDLE] += t - processor.since_ns
            processor.since_ns = t

    def _ran(self, processor: ProcessorState, task: TaskState, start: int, end: int) -> None:
        if task.first_run_ns is None:
            task.first_run_ns = start
        task.cpu_ns += end - start
        if self.spans is None:
            return
        place = (processor.id, task.pid if processor.slots > 1 else -1)
        span = self._last_span.get(place)
        if span and span.pid == task.pid and span.end_ns == start:
            span.end_ns = end
        else:
            span = self._last_span[place] = Span(start, end, processor.id, task.pid)
            self.spans.append(span)

    def _overhead(self, processor: ProcessorState, cost_ns: int, mode: Mode) -> None:
        """Let `processor` spend `cost_ns` in `mode` as soon as it is done with what it has."""
        start = max(self.now, processor.overhead[-1][0] if processor.overhead else 0)
        processor.overhead.append((start + cost_ns, mode))

    def _move(self, event: ev.Event, allowed: Status, to: Status) -> TaskState | None:
        task = self.tasks.get(event.task)
        if task is None:
            self._violated(event, f"task {event.task} has not arrived")
            return None
        if task.status is not allowed:
            self._violated(event, f"task {task.name} is {task.status}, not {allowed}")
        self._account_task(task)
        self.ready.pop(task.pid, None)
        task.status, task.since_ns, task.reason = to, self.now, event.reason
        if to is Status.READY:
            self.ready[task.pid] = task
        return task

    def _account_task(self, task: TaskState) -> None:
        passed = self.now - task.accounted_ns
        task.accounted_ns = self.now
        if task.status is Status.READY:
            task.waiting_ns += passed
        elif task.status is Status.BLOCKED:
            task.blocked_ns += passed
            if (memory := self.memory.tasks.get(task.pid)) and memory.waits:
                memory.waited_ns += passed

    def _violated(self, event: ev.Event, what: str) -> None:
        self.violations.append(f"at {event.t} ns, {ev.kind_of(event)}: {what}")

    def _must_be_there(
        self, event: ev.Event, tasks: Iterable[int] = (), processors: Iterable[int] = ()
    ) -> None:
        """Note it if `event` names a task or processor that nobody has heard of."""
        for known, named in ((self.tasks, tasks), (self.processors, processors)):
            for number in named:
                if number not in known:
                    self._violated(event, f"it names a task or processor that is not there: {number}")

    def _must_be_online(self, event: ev.Event, processor: ProcessorState) -> None:
        if not processor.online:
            self._violated(event, f"processor {processor.id} is offline")

    # --- one method per kind of event ---------------------------------------------------------------

    def _run(self, event: ev.Run) -> None:
        self.header = event
        self.processors = {
            p.id: ProcessorState(p.id, p.kind, p.name, p.slots, p.policy) for p in event.processors
        }

    def _arrive(self, event: ev.Arrive) -> None:
        if event.task in self.tasks:
            self._violated(event, f"pid {event.task} is taken")
        task = self.tasks[event.task] = TaskState(
            event.task, event.name, event.world, event.t, event.parent, event.priority, event.tickets,
            event.client, None if event.deadline < 0 else event.deadline, event.prompt, event.output,
            event.nice, event.group, since_ns=event.t, accounted_ns=event.t,
        )  # fmt: skip
        self._move(event, Status.NEW, Status.READY)
        task.reason = "arrival"

    def _dispatch(self, event: ev.Dispatch) -> None:
        task = self._move(event, Status.READY, Status.RUNNING)
        processor = self.processors[event.cpu]
        self._account(processor, event.t)
        if task is None:
            return
        self._must_be_online(event, processor)
        if len(processor.running) >= processor.slots:
            self._violated(event, f"all {processor.slots} slots of processor {processor.id} are taken")
        if event.decision_ns:
            self._overhead(processor, event.decision_ns, Mode.KERNEL)
        if event.switch_ns:
            self._overhead(processor, event.switch_ns, Mode.SWITCH)
        processor.switches += processor.last != task.pid
        processor.last = task.pid
        processor.running[task.pid] = task
        task.migrations += task.cpu not in (-1, processor.id)
        task.cpu = processor.id
        task.dispatches += 1

    def _renew(self, event: ev.Renew) -> None:
        processor = self.processors[event.cpu]
        self._account(processor, event.t)
        if event.decision_ns:
            self._overhead(processor, event.decision_ns, Mode.KERNEL)
        if event.task not in processor.running:
            self._violated(event, f"task {event.task} does not run there")

    def _off(self, event: ev.Event, to: Status) -> TaskState | None:
        """Take the event's task off its processor, into state `to`."""
        processor = self.processors[event.cpu]
        self._account(processor, event.t)
        task = self._move(event, Status.RUNNING, to)
        if processor.running.pop(event.task, None) is None:
            self._violated(event, f"task {event.task} does not run there")
        return task

    def _preempt(self, event: ev.Preempt) -> None:
        task = self._off(event, Status.READY)
        if task:
            task.preemptions += 1

    def _yield(self, event: ev.Yield) -> None:
        self._off(event, Status.READY)

    def _block(self, event: ev.Block) -> None:
        task = self._off(event, Status.BLOCKED)
        if task:
            task.on = event.on

    def _wake(self, event: ev.Wake) -> None:
        self._move(event, Status.BLOCKED, Status.READY)
        if event.task in self.memory.tasks:
            self.memory.tasks[event.task].waits = False

    def _exit(self, event: ev.Exit) -> None:
        task = self._off(event, Status.TERMINATED)
        if task:
            task.finish_ns = event.t
            if task.first_run_ns is None:
                task.first_run_ns = event.t

    def _suspend(self, event: ev.Suspend) -> None:
        task = self._move(event, Status.READY, Status.BLOCKED)
        if task:
            task.on = event.on

    def _reap(self, event: ev.Reap) -> None:
        task = self.tasks[event.task]
        if task.status is not Status.TERMINATED:
            self._violated(event, f"task {task.name} is {task.status}, not terminated")
        if task.reaped or task.parent not in self.tasks:
            self._violated(event, f"nobody can wait for task {task.name}")
        task.reaped = True

    def _exec(self, event: ev.Exec) -> None:
        self.tasks[event.task].name = event.name

    def _change(self, event: ev.Change) -> None:
        task = self.tasks[event.task]
        task.priority, task.nice = event.priority, event.nice

    def _migrate(self, event: ev.Migrate) -> None:
        task = self.tasks[event.task]
        if task.status is not Status.READY:
            self._violated(event, f"task {task.name} is {task.status}, not ready")
        self._must_be_there(event, processors=[event.cpu, event.origin])

    def _hotplug(self, event: ev.Hotplug) -> None:
        processor = self.processors[event.cpu]
        processor.online = event.online
        if not event.online:
            processor.last = -1
            if processor.running:
                self._violated(event, f"a task is left on processor {processor.id}")
        if not any(p.online for p in self.processors.values() if p.is_core):
            self._violated(event, "no core is online any more")

    def _signal(self, event: ev.Signal) -> None:
        if self.tasks[event.task].status is Status.TERMINATED:
            self._violated(event, f"task {event.task} has terminated")

    def _warm(self, event: ev.Warm) -> None:
        self._must_be_there(event, [event.task, *event.evicted], [event.cpu])

    def _share(self, event: ev.Share) -> None:
        self._must_be_there(event, [event.task, *event.waiters, *[event.holder] * (event.holder != -1)])
        self.shared[event.name] = SharedState(
            event.name, event.what, event.holder, event.level, list(event.waiters)
        )

    def _deadlock(self, event: ev.Deadlock) -> None:
        self._must_be_there(event, event.cycle)
        self.deadlocks.append(event)

    def _queue(self, event: ev.Queue) -> None:
        self._must_be_there(event, [pid for _, tasks in event.shelves for pid, _ in tasks], [event.cpu])
        self.queues[event.cpu] = event.shelves

    def _interrupt(self, event: ev.Interrupt) -> None:
        self.processors[event.cpu].interrupts += 1
        self._must_be_online(event, self.processors[event.cpu])
        self._kernel_work(event)

    def _kernel_work(self, event: ev.Event) -> None:
        processor, cost_ns = self.processors[event.cpu], ev.kernel_ns(event)
        self._account(processor, event.t)
        if cost_ns:
            self._overhead(processor, cost_ns, Mode.KERNEL)

    def _release(self, event: ev.Release) -> None:
        self.tasks[event.task].jobs.append(JobState(event.job, event.t, event.deadline))

    def _complete(self, event: ev.Complete) -> None:
        self.tasks[event.task].jobs[event.job - 1].finish_ns = event.t

    def _abort(self, event: ev.Abort) -> None:
        task = self.tasks[event.task]
        if event.cpu >= 0:
            self._off(event, Status.BLOCKED)
        elif task.status is not Status.BLOCKED:
            self._move(event, Status.READY, Status.BLOCKED)
        task.on = "release"
        job = task.jobs[event.job - 1]
        job.finish_ns, job.aborted = event.t, True

    def _miss(self, event: ev.Miss) -> None:
        task = self.tasks[event.task]
        task.deadline_misses += 1
        if event.job:
            task.jobs[event.job - 1].missed = True

    def _iterate(self, event: ev.Iterate) -> None:
        processor = self.processors[event.cpu]
        self._account(processor, event.t)
        processor.iterations += event.count
        processor.tokens += event.count * tokens_of(event)
        for pid, chunk in event.prefill:
            self.tasks[pid].computed += chunk
        for pid in event.decode:
            self.tasks[pid].computed += event.count

    def _found(self, event: ev.Found) -> None:
        self.tasks[event.task].computed += event.tokens

    def _lost(self, event: ev.Lost) -> None:
        self.tasks[event.task].computed -= event.tokens

    def _first_token(self, event: ev.FirstToken) -> None:
        self.tasks[event.task].first_token_ns = event.t

    def _end(self, event: ev.End) -> None:
        self.end = event
        self.advance(event.t)

    def _about_memory(self, event: ev.Event) -> None:
        self._must_be_there(event, [event.task] * (event.task != -1))
        RULES[type(event)](self.memory, event)
        if isinstance(event, ev.Fault | ev.FileAccess):
            self._kernel_work(event)
            task = self.tasks[event.task]
            if task.first_run_ns is None:  # it runs, though in the kernel
                task.first_run_ns = event.t

    def _nothing(self, event: ev.Event) -> None:
        """Let an event pass that says why things happen but changes no state."""

    _on: ClassVar[dict[type[ev.Event], Callable[[State, Any], None]]] = {
        ev.Run: _run,
        ev.Arrive: _arrive,
        ev.Dispatch: _dispatch,
        ev.Renew: _renew,
        ev.Preempt: _preempt,
        ev.Yield: _yield,
        ev.Block: _block,
        ev.Wake: _wake,
        ev.Exit: _exit,
        ev.Suspend: _suspend,
        ev.Reap: _reap,
        ev.Exec: _exec,
        ev.Change: _change,
        ev.Migrate: _migrate,
        ev.Hotplug: _hotplug,
        ev.Share: _share,
        ev.Deadlock: _deadlock,
        ev.Queue: _queue,
        **dict.fromkeys(RULES, _about_memory),
        ev.Abort: _abort,
        ev.Syscall: _kernel_work,
        ev.Interrupt: _interrupt,
        ev.Tick: _nothing,
        ev.Signal: _signal,
        ev.Warm: _warm,
        ev.IoStart: _nothing,
        ev.IoDone: _nothing,
        ev.Release: _release,
        ev.Complete: _complete,
        ev.Miss: _miss,
        ev.Iterate: _iterate,
        ev.Found: _found,
        ev.Lost: _lost,
        ev.FirstToken: _first_token,
        ev.End: _end,
    }


def check(state: State) -> list[str]:
    """Return what is wrong with a finished run's log: the violations, and time that is not conserved."""
    wrong = list(state.violations)
    for p in state.processors.values():
        if sum(p.spent_ns.values()) != state.now:
            wrong.append(f"processor {p.id}: {sum(p.spent_ns.values())} of {state.now} ns are accounted for")
        on_it = sum(len(q.running) for q in state.processors.values())
        if on_it != sum(t.status is Status.RUNNING for t in state.tasks.values()):
            wrong.append(f"processor {p.id}: the tasks it runs and the running tasks differ")
    for t in state.tasks.values():
        total = t.waiting_ns + t.blocked_ns
        if t.finish_ns is not None and total > t.finish_ns - t.arrival_ns:
            wrong.append(f"task {t.name}: waited longer than it lived")
    return wrong


def fold(events: Iterable[ev.Event], *, keep_spans: bool = False) -> State:
    """Return the state after `events`."""
    state = State(keep_spans=keep_spans)
    state(events)
    return state
