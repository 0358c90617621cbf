"""A log with a cursor in it: the machine after event `k`, at time `t`, forwards and backwards.

- `state` is always the fold of the first `k` events, with time accounted up to `t`. How the cursor got
  there makes no difference: stepping back and forth gives the very same state.
- `t` is at least the time of event `k` and before that of event `k + 1`: time also passes between events.
- A step goes over whole events: what `Queue` events draw belongs to the event before them.
- Events may still be added at the end while the cursor moves (a live run).
- Going back loads the nearest checkpoint, a pickled state, and folds on from there. Checkpoints are
  so far apart that they take at most `BYTES_PER_EVENT` each event, however many tasks there are; one
  more is kept just before the place that was gone back to last, for the next step back.
"""

from __future__ import annotations

import pickle
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from contextlib import suppress
from io import BytesIO
from operator import attrgetter
from typing import Final

from llmos.trace import events as ev
from llmos.trace.expand import iteration_ends
from llmos.trace.records import TaskState
from llmos.trace.state import State
from llmos.tui.tracks import Tracks

EVERY: Final = 1000
"""Checkpoints are at least so many events apart."""
BYTES_PER_EVENT: Final = 128
NEAR: Final = 100
"""How many events before the cursor the extra checkpoint is."""
_FIELDS: Final = attrgetter(*TaskState.__slots__)


class Timeline:
    """Events, and a cursor that can go anywhere between them."""

    def __init__(self, events: Iterable[ev.Event] = ()) -> None:
        self.events: list[ev.Event] = []
        self.tracks = Tracks()
        self.k = 0
        """How many events have happened."""
        self.state = State()
        self.steps: list[int] = []
        """The indexes of the events that a step goes over: all but drawings of queues."""
        self._times: list[int] = []
        """When each event happens; never decreasing, whatever the log says."""
        self._switches: list[int] = []
        self._preemptions: list[int] = []
        self._iterates: dict[int, list[int]] = {}
        self._last: dict[int, int] = {}
        self._head = State()
        self._checkpoints: list[tuple[int, bytes]] = [(0, _freeze(self._head))]
        self._near = self._checkpoints[0]
        self.extend(events)

    def extend(self, events: Iterable[ev.Event]) -> None:
        """Add events at the end; the cursor stays where it is."""
        for event in events:
            k = len(self.events)
            self.events.append(event)
            self._times.append(max(event.t, self._times[-1] if k else 0))
            self._index(k, event)
            self.tracks.apply(event)
            _apply(self._head, event)
            last, data = self._checkpoints[-1]
            if k + 1 - last >= max(EVERY, len(data) // BYTES_PER_EVENT):
                self._checkpoints.append((k + 1, _freeze(self._head)))

    def _index(self, k: int, event: ev.Event) -> None:
        if not isinstance(event, ev.Queue):
            self.steps.append(k)
        if isinstance(event, ev.Dispatch):
            if self._last.get(event.cpu) != event.task:
                self._switches.append(k)
            self._last[event.cpu] = event.task
        elif isinstance(event, ev.Preempt):
            self._preemptions.append(k)
        elif isinstance(event, ev.Iterate):
            self._iterates.setdefault(event.cpu, []).append(k)

    # --- where things are ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.events)

    @property
    def t(self) -> int:
        """The time at the cursor, in ns."""
        return self.state.now

    @property
    def end_ns(self) -> int:
        """When the last event so far happens."""
        return self._times[-1] if self._times else 0

    @property
    def number(self) -> int:
        """How many steps lead here."""
        return bisect_left(self.steps, self.k)

    @property
    def event(self) -> ev.Event | None:
        """The event that happened last."""
        return self.events[self.steps[self.number - 1]] if self.number else None

    @property
    def complete(self) -> bool:
        """Whether the log has its last line."""
        return bool(self.events) and isinstance(self.events[-1], ev.End)

    def time_of(self, k: int) -> int:
        """Return when event number `k` (from 1) happens; 0 for k = 0."""
        return self._times[k - 1] if k else 0

    def next_switch(self, k: int) -> int | None:
        """Return the position after the next dispatch behind `k` that switches to another task."""
        return self._behind(_after(self._switches, k))

    def next_preemption(self, k: int) -> int | None:
        """Return the position after the next preemption behind `k`; None if there is none so far."""
        return self._behind(_after(self._preemptions, k))

    def _behind(self, k: int | None) -> int | None:
        """Return position `k`, or the one behind the drawings that follow there."""
        return None if k is None else self._position(bisect_left(self.steps, k))

    def _position(self, number: int) -> int:
        """Return the position after so many steps."""
        return self.steps[number] if 0 <= number < len(self.steps) else len(self.events)

    # --- moving -------------------------------------------------------------------------------------

    def seek(self, k: int) -> None:
        """Move to just after event number `k`; k is brought into 0 .. the number of events."""
        k = min(max(k, 0), len(self.events))
        self._move(k, self.time_of(k))

    def step(self) -> None:
        """Let the next event happen."""
        self.seek(self._position(self.number + 1))

    def back(self) -> None:
        """Undo the last event; between two events, go back to the first of them."""
        between = self.t > self.time_of(self.k)
        self.seek(self.k if between else self._position(max(self.number - 1, 0)))

    def at_time(self, t: int) -> None:
        """Move to time `t` (ns), after all that happens then; t is brought into 0 .. the last event's."""
        t = min(max(t, 0), self.end_ns)
        self._move(bisect_right(self._times, t), t)

    def _move(self, k: int, t: int) -> None:
        back = k < self.k or t < self.t
        best = self._checkpoints[bisect_right(self._checkpoints, k, key=lambda c: c[0]) - 1]
        if best[0] < self._near[0] <= k:
            best = self._near
        if back or best[0] > self.k + EVERY:
            self.k, self.state = best[0], pickle.loads(best[1])  # noqa: S301  # our own, made a moment ago
        if back and k - self.k > 2 * NEAR:
            self._fold(k - NEAR)
            self._near = (self.k, _freeze(self.state))
        self._fold(k)
        self.state.advance(t)

    def _fold(self, k: int) -> None:
        for event in self.events[self.k : k]:
            _apply(self.state, event)
        self.k = k

    # --- inside compact records ---------------------------------------------------------------------

    def under_way(self) -> dict[int, int]:
        """Return the tokens, by pid, of iterations that are over by now but whose record is yet to come."""
        tokens: dict[int, int] = {}
        for places in self._iterates.values():
            following = _after(places, self.k)
            if following is not None:
                with suppress(ArithmeticError):  # a forged log may hold numbers beyond any float
                    self._count(self.events[following - 1], tokens)
        return tokens

    def _count(self, run: ev.Event, tokens: dict[int, int]) -> None:
        if not isinstance(run, ev.Iterate) or run.prefill or run.start >= self.t:
            return

        def ends(j: int) -> int:
            return iteration_ends(run.anchor, j, *run.pace)

        # The last one is over when its record is there: at one instant, the order of events decides.
        numbers = range(run.first, run.first + run.count - 1)
        done = bisect_right(numbers, self.t, key=ends)
        for pid in run.decode:
            tokens[pid] = done


def _after(places: list[int], k: int) -> int | None:
    """Return 1 + the first of `places` (indexes of events) that is not before `k`."""
    i = bisect_left(places, k)
    return places[i] + 1 if i < len(places) else None


def _freeze(state: State) -> bytes:
    """Pickle a state; tasks, of which there may be many, the quick way: as the arguments that make them."""
    buffer = BytesIO()
    pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = {TaskState: lambda task: (TaskState, _FIELDS(task))}
    pickler.dump(state)
    return buffer.getvalue()


def _apply(state: State, event: ev.Event) -> None:
    """Let `event` happen; one that speaks of what is not there is noted as a violation."""
    try:
        state.apply(event)
    except (LookupError, ArithmeticError, TypeError, ValueError) as error:
        state.violations.append(f"at {event.t} ns, {ev.kind_of(event)}: makes no sense here ({error!r})")
