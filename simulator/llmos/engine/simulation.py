"""The clock of a simulated machine, on top of simpy.

- Time is an integer number of nanoseconds since the run began.
- `at` arms an alarm; when it fires, its action runs.
- Alarms of one instant fire by phase, and inside a phase in the order in which they were armed.
  That is the whole tie rule: never the order of a dict or a set.
- `run_until` ends at a time limit, at an event limit, or when no alarm is left. simpy's own events
  (processes, timeouts) may stand in the queue beside the alarms.
- Who does much in one action says so by `work`, which counts towards the event limit, asks how much is
  `left` before it, and whether the limit is reached.
"""

from __future__ import annotations

from enum import StrEnum
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final

import simpy
from simpy.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable

FOREVER: Final = 2**62
"""A time that no run reaches, in nanoseconds (146 years)."""


class Alarm(Event):
    """An action that runs once, at a set time, unless it is cancelled (then its `action` is None).

    It is an event only by name, so that it can stand in simpy's queue: nobody waits for it, and `at`
    makes it without the ceremony of one.
    """

    __slots__ = ("action", "arguments")

    action: Callable[..., None] | None
    arguments: tuple[Any, ...]


_new: Final = object.__new__


def _nothing() -> None:
    """Do nothing."""


class Stop(StrEnum):
    """Why a run ended."""

    NOTHING_LEFT = "no event is left"
    TIME_LIMIT = "time limit reached"
    EVENT_LIMIT = "event limit reached"


class Simulation(simpy.Environment):
    """A simpy environment with integer time, phases and cancellable alarms."""

    now: int = 0  # simpy's is a property, which is felt at a million calls a second
    """The present time, in nanoseconds."""

    def __init__(self) -> None:
        super().__init__(initial_time=0)
        self.events = 0
        """Alarms and other events that have fired."""
        self.asides: set[Callable[..., None]] = set()
        """Actions that are repeated for as long as anything else is to come; alone they keep no run alive."""
        self._worked = 0
        self._limit = FOREVER
        self._next_check = 0

    def at(self, time_ns: int, phase: int, action: Callable[..., None], *arguments: Any) -> Alarm:
        """Run `action(*arguments)` at `time_ns` (not before now), in `phase` of that instant."""
        if time_ns < self.now:
            raise ValueError(f"an alarm for {time_ns} ns, which is past: it is {self.now} ns")
        alarm = _new(Alarm)
        alarm.action = action
        alarm.arguments = arguments
        # What `schedule` does, but with an absolute time, and any int is a priority.
        heappush(self._queue, (time_ns, phase, next(self._eid), alarm))  # type: ignore[misc]
        return alarm

    def cancel(self, alarm: Alarm) -> None:
        """Make sure that `alarm` does nothing when its time comes; harmless if it has fired already."""
        alarm.action = None  # the entry stays in the queue and is dropped when it reaches the top

    def work(self, events: int) -> None:
        """Count what an action has done by itself as so many events."""
        self._worked += events

    @property
    def left(self) -> int:
        """How many events the limit leaves, 0 or more; it may be the count of a check ago."""
        return max(0, self._limit - self.events - self._worked)

    def exhausted(self) -> bool:
        """Whether the event limit is reached; then the run ends before anything else happens."""
        if self.left:
            return False
        self._next_check = self.events
        self.at(self.now, 0, _nothing)  # something must be left: the limit is why it ends
        return True

    def expects(self, but: Callable[..., None] | None = None) -> bool:
        """Whether anything is still to come, `asides` and alarms that run the action `but` apart."""
        apart = {None, but, *self.asides}
        return any(
            (event.action if type(event) is Alarm else self.step) not in apart for *_, event in self._queue
        )

    def run_until(
        self,
        until_ns: int = FOREVER,
        max_events: int = FOREVER,
        every: int = 4096,
        pulse: Callable[[], None] | None = None,
    ) -> Stop:
        """Fire alarms in order until a limit is reached or nothing is left; say which.

        An alarm at exactly `until_ns` does not fire. `pulse`, if given, is called after every `every`
        alarms (to flush a log, to move a progress bar).
        """
        queue = self._queue
        fired = self.events
        self._limit = max_events
        self._next_check = fired + min(every, self.left)
        while queue:
            time, _, _, event = queue[0]
            alarm = event if type(event) is Alarm else None
            if alarm and not alarm.action:  # cancelled
                heappop(queue)
                continue
            if time >= until_ns:
                self.events = fired
                return Stop.TIME_LIMIT
            if fired >= self._next_check:
                self.events = fired
                if pulse:
                    pulse()
                if not self.left:
                    return Stop.EVENT_LIMIT
                self._next_check = fired + min(every, self.left)
            fired += 1
            self.now = time  # type: ignore[assignment]  # nobody schedules a float
            if alarm:  # simpy's `step`, without what an alarm does not need
                heappop(queue)
                self._now = time
                alarm.action(*alarm.arguments)  # type: ignore[misc]  # it has one, see above
            else:
                self.step()
        self.events = fired
        return Stop.NOTHING_LEFT
