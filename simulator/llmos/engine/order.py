"""What goes first when several things happen at one instant.

- An instant has five phases: what *ended* on a core (bursts, quanta), the policies' *ticks* (boosts),
  what *came* (arrivals, wake-ups, I/O completions), what *iterated* (an engine's iteration is over),
  and then the *decisions*.
- Inside a phase, alarms fire in the order in which they were armed.
- Books differ in one point: whether a task whose quantum ends queues up before or after a task that
  arrives at that very instant. The convention of the scenario decides.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Order:
    """The phase numbers of one convention; the smaller goes first."""

    ended: int
    tick: int
    came: int
    iterated: int = 3
    decide: int = 4


CONVENTIONS: dict[str, Order] = {
    # The newcomer is already in the queue when the running task returns to it.
    "textbook": Order(came=0, ended=1, tick=2),
    # The rules of the OSTEP homework simulators: end of tick, boost, arrivals, pick.
    "ostep": Order(ended=0, tick=1, came=2),
    # The timer interrupt requeues the current task before other interrupts are taken.
    "linux": Order(ended=0, tick=1, came=2),
}
