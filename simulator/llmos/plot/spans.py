"""Spans of time made ready to be drawn.

- `pack` gives the members of an engine rows of their own, as its slots would be.
- `shares` and `occupancy` fold any number of spans into a fixed number of columns, by exact integrals:
  100,000 spans are then as quick to draw as 1,000, and no time is lost or counted twice.
- `marks` and `stays` find in the events what a state does not keep: when tasks were preempted, when a
  core worked for the kernel, and when which task was in which state.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmos.trace import events as ev
from llmos.trace.records import Span, Status
from llmos.trace.state import State

Array = NDArray[np.float64]


@dataclass(slots=True)
class Marks:
    """What the events say beyond the state; times in ns."""

    preemptions: list[tuple[int, int, int]] = field(default_factory=list)
    """(time, processor, pid)."""
    kernel: list[tuple[int, int, int]] = field(default_factory=list)
    """(start, end, processor), joined where they touch."""


def marks(events: Iterable[ev.Event]) -> Marks:
    """Return what `events` (a whole log) tell about preemptions and kernel work."""
    found = Marks()
    latest: dict[int, int] = {}
    for event in events:
        if isinstance(event, ev.Preempt):
            found.preemptions.append((event.t, event.cpu, event.task))
        cost = _cost(event)
        if not cost:
            continue
        # A core does its kernel work in order: what comes while it is busy waits its turn.
        index = latest.get(event.cpu)
        busy_until = found.kernel[index][1] if index is not None else -1
        if index is not None and busy_until >= event.t:
            found.kernel[index] = (found.kernel[index][0], busy_until + cost, event.cpu)
        else:
            latest[event.cpu] = len(found.kernel)
            found.kernel.append((event.t, event.t + cost, event.cpu))
    return found


def _cost(event: ev.Event) -> int:
    if isinstance(event, ev.Dispatch):
        return event.decision_ns + event.switch_ns
    if isinstance(event, ev.Renew):
        return event.decision_ns
    return ev.kernel_ns(event)


def pack(spans: Sequence[Span]) -> list[list[Span]]:
    """Return `spans` in as few rows as hold them; a task stays in its row when that is free."""
    rows: list[list[Span]] = []
    home: dict[int, int] = {}
    for span in sorted(spans, key=lambda s: (s.start_ns, s.pid)):
        free = [i for i, row in enumerate(rows) if row[-1].end_ns <= span.start_ns]
        row = home.get(span.pid, -1)
        if row not in free:
            row = free[0] if free else len(rows)
        if row == len(rows):
            rows.append([])
        rows[row].append(span)
        home[span.pid] = row
    return rows


def shares(pieces: Iterable[tuple[int, int, int]], kinds: int, end_ns: int, columns: int) -> Array:
    """Return which share (0..1) of each column of time every kind of piece has, as `(kinds, columns)`.

    pieces: (start, end, kind), with times in ns up to `end_ns`.
    """
    out = np.zeros((kinds, columns))
    wide = end_ns / columns
    for start, end, kind in pieces:
        first, last = start / wide, min(end, end_ns) / wide
        i, j = int(first), min(int(last), columns - 1)
        if i >= columns or last <= first:
            continue
        if i == j:
            out[kind, i] += last - first
        else:
            out[kind, i] += i + 1 - first
            out[kind, i + 1 : j] += 1
            out[kind, j] += last - j
    return out


def level(pieces: Sequence[tuple[int, int]], times: Array) -> Array:
    """Return how many `pieces` (start, end) cover each of `times`; an end is no longer covered."""
    starts = np.sort(np.array([start for start, _ in pieces], float))
    ends = np.sort(np.array([end for _, end in pieces], float))
    begun = np.searchsorted(starts, times, side="right")
    return np.asarray(begun - np.searchsorted(ends, times, side="right"), float)


def stays(events: Iterable[ev.Event]) -> dict[Status, list[tuple[int, int, int]]]:
    """Return when tasks were in each state, as (start, end, pid), up to the last of `events`."""
    found: dict[Status, list[tuple[int, int, int]]] = {status: [] for status in Status}
    state = State()
    for event in events:
        task = state.tasks.get(event.task)
        before = (task.status, task.since_ns) if task else None
        state.apply(event)
        if task and before and task.status is not before[0] and event.t > before[1]:
            found[before[0]].append((before[1], event.t, task.pid))
    for task in state.tasks.values():
        if state.now > task.since_ns:
            found[task.status].append((task.since_ns, state.now, task.pid))
    return found
