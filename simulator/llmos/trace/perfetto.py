"""A log as a trace that ui.perfetto.dev and chrome://tracing open: JSON in the Trace Event Format.

- Group "CPUs": a thread per processor with who ran there and what the kernel did, and one per slot of
  an engine that is in use (the engine's own thread shows its iterations). Slices never overlap.
- Group "Tasks": a thread per task with its states, each with the reason for it.
- An arrow leads from an arrival or a wake-up to where the task then runs. Counters show how many are
  ready and how many run. What takes no time is an instant.
- It is a fold: events go in, trace events come out as soon as they are known, and what is kept grows
  with the tasks, not with the log. The same log gives the same bytes.

Source: Trace Event Format (N. Duca, D. Sinclair), the JSON object format.
Differs: a slice that takes no time is left out, since no viewer shows it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any

import msgspec

from llmos.errors import LlmosError
from llmos.files import whole_file
from llmos.trace import events as ev
from llmos.trace.expand import tokens_of
from llmos.trace.records import Status, TaskState
from llmos.trace.state import State

TraceEvent = dict[str, Any]
Moment = tuple[Status, int, str]
"""A task's state, since when it has it, and why."""

CPUS, TASKS = 1, 2
"""The two groups; the format calls them processes."""
FIRST_TID = 10
"""Threads begin here: a thread with the number of its group would be taken for its main thread."""
MEMBERS = {"process": "tasks", "request": "requests"}
NO_INSTANT = (ev.Run, ev.Arrive, ev.Dispatch, ev.Renew, ev.Block, ev.Wake, ev.Iterate, ev.End)
"""What is seen as slices, arrows and names."""


def write(events: Iterable[ev.Event], path: str | Path) -> None:
    """Write a log's `events` as a trace to `path`, whole or not at all.

    Raises LlmosError when there are none, or the file cannot be written.
    """
    log = iter(events)
    header = next(log, None)
    if header is None:
        raise LlmosError("there is nothing to export: the log was cut off before its first event")
    about = {name: value for name, value in ev.arguments(header).items() if name != "processors"}
    encode = msgspec.json.Encoder().encode
    try:
        with whole_file(path, "wb") as file:
            # Perfetto looks for the unit at the beginning only.
            file.write(b'{"displayTimeUnit":"ns","otherData":%b,"traceEvents":[' % encode(about))
            for i, event in enumerate(trace_events(chain([header], log))):
                file.write(b",\n" if i else b"\n")
                file.write(encode(event))
            file.write(b"\n]}\n")
    except OSError as error:
        raise LlmosError(f"cannot write the trace: {error.strerror}", file=path) from error


def trace_events(events: Iterable[ev.Event]) -> Iterator[TraceEvent]:
    """Yield the trace events of a log: those of a thread that take time in time order, each with its keys."""
    trace = _Trace()
    for event in events:
        trace.apply(event)
        yield from trace.out
        trace.out.clear()
    trace.close()
    yield from trace.out


def kernel_work(event: ev.Event) -> list[tuple[str, int]]:
    """Return what the kernel does at an event, and for how long (ns); it does one after the other."""
    if isinstance(event, ev.Dispatch):
        return [("decision", event.decision_ns), ("context switch", event.switch_ns)]
    if isinstance(event, ev.Renew):
        return [("decision", event.decision_ns)]
    return [(_title(event), ev.kernel_ns(event))]


def _title(event: ev.Event) -> str:
    if isinstance(event, ev.Interrupt):
        return f"{event.irq} interrupt".strip()
    return event.name if isinstance(event, ev.Syscall) and event.name else ev.kind_of(event)


@dataclass(slots=True)
class _Turn:
    """A task on a processor: `start_ns` is when it goes on, after the kernel's work."""

    start_ns: int
    tid: int
    reason: str


@dataclass(slots=True)
class _Cpu:
    """A processor's threads: who is on them, and the kernel work that is not yet over."""

    tid: int
    busy_until_ns: int = 0
    turns: dict[int, _Turn] = field(default_factory=dict)
    work: deque[tuple[int, int, str, TraceEvent]] = field(default_factory=deque)
    """(start, end, title, arguments), in order."""
    slots: list[int] = field(default_factory=list)
    """The threads of an engine's slots."""
    offline_ns: int | None = None
    """Since when it is offline, if it is."""


class _Trace:
    """The fold: `apply` one event after the other, then `close`; trace events gather in `out`."""

    def __init__(self) -> None:
        self.out: list[TraceEvent] = []
        self._state = State()
        self._cpus: dict[int, _Cpu] = {}
        self._tids = count(FIRST_TID)
        self._arrows = count(1)
        self._woken: dict[int, int] = {}
        """Task -> since when an arrow waits for it to run."""
        self._ran: dict[int, tuple[int, int, int]] = {}
        """Task -> its arrow: from when, and to which thread and when."""
        self._counts: dict[str, int] = {}
        self._shown: dict[str, int] = {}
        """What each counter shows so far."""

    def apply(self, event: ev.Event) -> None:
        """Move forward to `event`."""
        task = self._state.tasks.get(event.task)
        before = _moment(task) if task else (Status.NEW, event.t, "")
        if event.t > self._state.now:
            self._show_counts()
        self._state.apply(event)
        if isinstance(event, ev.Run):
            self._begin(event)
        task = self._state.tasks.get(event.task)
        cpu = self._cpus.get(event.cpu)
        if cpu:
            self._settle(cpu, event.t)
            self._kernel(cpu, event)
            if isinstance(event, ev.Hotplug):
                self._offline(cpu)
                cpu.offline_ns = None if event.online else max(event.t, cpu.busy_until_ns)
        if task and task.status is not before[0]:
            self._moved(task, before, event)
        if isinstance(event, ev.Iterate) and cpu:
            self._iterations(cpu, event)
        elif not isinstance(event, NO_INSTANT) and not any(ns for _, ns in kernel_work(event)):
            self._instant(event)

    def close(self) -> None:
        """End everything that has not ended, at the end of the log."""
        now = self._state.now
        for cpu in self._cpus.values():
            self._settle(cpu, now)
            for start, end, title, about in cpu.work:
                self._slice(CPUS, cpu.tid, start, min(end, now), title, "kernel", about)
            for pid in list(cpu.turns):
                self._end_turn(cpu, pid)
            self._offline(cpu)
        for task in self._state.tasks.values():
            if task.status is not Status.TERMINATED:
                self._state_slice(task, _moment(task))
        self._show_counts()

    # --- threads ------------------------------------------------------------------------------------

    def _begin(self, run: ev.Run) -> None:
        for pid, name in ((CPUS, "CPUs"), (TASKS, "Tasks")):
            self._about("process_name", pid, {"name": name})
            self._about("process_sort_index", pid, {"sort_index": pid})
        for p in run.processors:
            self._cpus[p.id] = _Cpu(self._thread(CPUS, next(self._tids), p.name or f"cpu{p.id}"))

    def _thread(self, pid: int, tid: int, name: str) -> int:
        self._about("thread_name", pid, {"name": name}, tid)
        self._about("thread_sort_index", pid, {"sort_index": tid}, tid)
        return tid

    def _about(self, what: str, pid: int, args: TraceEvent, tid: int | None = None) -> None:
        thread = {} if tid is None else {"tid": tid}
        self.out.append({"name": what, "ph": "M", "pid": pid, **thread, "args": args})

    def _slot(self, cpu: _Cpu, cpu_id: int) -> int:
        """Return the thread for a task that comes: the core's own, or that of an engine's free slot."""
        processor = self._state.processors[cpu_id]
        if processor.is_core:
            return cpu.tid
        taken = {turn.tid for turn in cpu.turns.values()}
        free = next((tid for tid in cpu.slots if tid not in taken), None)
        if free is None:
            name = f"{processor.name or 'engine'} slot {len(cpu.slots)}"
            free = self._thread(CPUS, next(self._tids), name)
            cpu.slots.append(free)
        return free

    # --- what takes time ----------------------------------------------------------------------------

    def _settle(self, cpu: _Cpu, now: int) -> None:
        """Write the kernel work that is over by `now`."""
        while cpu.work and cpu.work[0][1] <= now:
            start, end, title, about = cpu.work.popleft()
            self._slice(CPUS, cpu.tid, start, end, title, "kernel", about)

    def _kernel(self, cpu: _Cpu, event: ev.Event) -> None:
        """Let the processor do the event's kernel work as soon as it is done with what it has."""
        for title, ns in kernel_work(event):
            if ns:
                for pid, turn in cpu.turns.items():
                    self._stretch(cpu, pid, event.t)
                    turn.start_ns = max(event.t, cpu.busy_until_ns) + ns
                start = max(event.t, cpu.busy_until_ns)
                cpu.busy_until_ns = start + ns
                cpu.work.append((start, start + ns, title, self._reasons(event)))

    def _moved(self, task: TaskState, before: Moment, event: ev.Event) -> None:
        """Show that a task has left a state for another one."""
        if before[0] is Status.NEW:
            self._thread(TASKS, _tid(task), task.name)
        cpu = self._cpus.get(event.cpu)
        if task.status is Status.RUNNING and cpu:
            start = max(event.t, cpu.busy_until_ns)
            cpu.turns[task.pid] = _Turn(start, self._slot(cpu, event.cpu), event.reason)
        elif before[0] is Status.RUNNING and cpu:
            self._end_turn(cpu, task.pid)
        if task.status is Status.READY and before[0] is not Status.RUNNING:
            self._woken[task.pid] = event.t
        self._state_slice(task, before)
        for status, step in ((before[0], -1), (task.status, 1)):
            if status in (Status.READY, Status.RUNNING):
                name = f"{status} {MEMBERS.get(task.world, task.world)}"
                self._counts[name] = self._counts.get(name, 0) + step

    def _stretch(self, cpu: _Cpu, pid: int, until: int) -> None:
        """Write that a task has run up to `until`."""
        turn, task = cpu.turns[pid], self._state.tasks[pid]
        if turn.start_ns >= until:
            return
        about = {"pid": pid, "reason": turn.reason}
        self._slice(CPUS, turn.tid, turn.start_ns, until, task.name, "task", about)
        if pid in self._woken:
            self._ran[pid] = (self._woken.pop(pid), turn.tid, turn.start_ns)

    def _end_turn(self, cpu: _Cpu, pid: int) -> None:
        if pid in cpu.turns:
            self._stretch(cpu, pid, self._state.now)
            del cpu.turns[pid]

    def _state_slice(self, task: TaskState, before: Moment) -> None:
        """Write a state that a task has had until now, and the arrow out of it."""
        status, since, reason = before
        about: TraceEvent = {"reason": reason}
        if status is Status.RUNNING:
            about["cpu"] = task.cpu
        elif status is Status.BLOCKED:
            about["on"] = task.on
        self._slice(TASKS, _tid(task), since, self._state.now, str(status), "state", about)
        # An arrow binds to slices that are there already, so it comes after both of them.
        if status is Status.RUNNING and task.pid in self._ran:
            woken, tid, start = self._ran.pop(task.pid)
            arrow = {"name": "wake-up to run", "cat": "wake-up", "id": next(self._arrows), "bp": "e"}
            self.out.append(arrow | {"ph": "s", "ts": _us(woken), "pid": TASKS, "tid": _tid(task)})
            self.out.append(arrow | {"ph": "f", "ts": _us(start), "pid": CPUS, "tid": tid})

    def _offline(self, cpu: _Cpu) -> None:
        """Write that a core has been offline until now, if it has."""
        if cpu.offline_ns is not None:
            self._slice(CPUS, cpu.tid, cpu.offline_ns, self._state.now, "offline", "offline", {})

    def _iterations(self, cpu: _Cpu, run: ev.Iterate) -> None:
        name = " + ".join(["prefill"] * bool(run.prefill) + ["decode"] * bool(run.decode)) or "iteration"
        about = {
            "iterations": run.count,
            "requests": len(run.prefill) + len(run.decode),
            "tokens per iteration": tokens_of(run),
            "context": run.context,
        }
        self._slice(CPUS, cpu.tid, run.start, run.t, name, "iteration", about)

    def _slice(self, pid: int, tid: int, start: int, end: int, name: str, cat: str, args: TraceEvent) -> None:
        if end > start:
            what = {"name": name, "cat": cat, "ph": "X", "ts": _us(start), "dur": _us(end - start)}
            self.out.append({**what, "pid": pid, "tid": tid, "args": args})

    # --- what takes none ----------------------------------------------------------------------------

    def _instant(self, event: ev.Event) -> None:
        """Mark an event on its processor, or else on its task, or else over all."""
        place: TraceEvent = {"pid": CPUS, "s": "p"}
        if event.cpu in self._cpus:
            place = {"pid": CPUS, "tid": self._cpus[event.cpu].tid, "s": "t"}
        elif event.task in self._state.tasks:
            place = {"pid": TASKS, "tid": _tid(self._state.tasks[event.task]), "s": "t"}
        about = {"name": _title(event), "cat": ev.kind_of(event), "ph": "i", "ts": _us(event.t)}
        self.out.append({**about, **place, "args": self._reasons(event)})

    def _reasons(self, event: ev.Event) -> TraceEvent:
        task = self._state.tasks.get(event.task)
        return {
            **({"task": task.name} if task else {}),
            **({"reason": event.reason} if event.reason else {}),
            **ev.arguments(event),
        }

    def _show_counts(self) -> None:
        """Write the counters that are now others than they were before this instant."""
        for name, n in self._counts.items():
            if n != self._shown.get(name, 0):
                self._shown[name] = n
                about = {"name": name, "ph": "C", "ts": _us(self._state.now), "pid": CPUS}
                self.out.append({**about, "args": {"value": n}})


def _moment(task: TaskState) -> Moment:
    return task.status, task.since_ns, task.reason


def _tid(task: TaskState) -> int:
    return FIRST_TID + task.pid


def _us(ns: int) -> float:
    """Return a time in microseconds, which is what the format counts in, with all its nanoseconds."""
    return ns / 1000
