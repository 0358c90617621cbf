"""The clock of a simulated machine, on top of simpy.

- Time is an integer number of nanoseconds since the run began.
- `at` arms an alarm; when it fires, its action runs.
- Alarms of one instant fire by phase, and inside a phase in the order in which they were armed.
  That is the whole tie rule: never the order of a dict or a set.
- `run_until` ends at a time limit, at an event limit, or when no alarm is left. simpy's own events
  (processes, timeouts) may stand in the queue beside the alarms.
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

    def expects(self, but: Callable[..., None]) -> bool:
        """Whether anything is still to come but alarms that run the action `but`."""
        actions = (event.action if type(event) is Alarm else self.step for *_, event in self._queue)
        return any(action is not None and action != but for action in actions)

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
        next_check = min(fired + every, max_events)
        while queue:
            time, _, _, event = queue[0]
            alarm = event if type(event) is Alarm else None
            if alarm and not alarm.action:  # cancelled
                heappop(queue)
                continue
            if time >= until_ns:
                self.events = fired
                return Stop.TIME_LIMIT
            if fired >= next_check:
                self.events = fired
                if pulse:
                    pulse()
                if fired >= max_events:
                    return Stop.EVENT_LIMIT
                next_check = min(fired + every, max_events)
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
