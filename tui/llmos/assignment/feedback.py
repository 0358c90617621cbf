"""What a student is told: the first decision that differs, what was expected there, and why.

- It compares two logs of the simulator, the reference's and that of the student's policy. It asks
  the student's code nothing.
- The reason for the expected decision is the one that the reference wrote into its log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from llmos.assignment.box import clean
from llmos.assignment.case import Case, Play, clock
from llmos.trace import events as ev

BEFORE = 8
"""So many events before the first difference are shown."""


def judge(case: Case, expected: Play, yours: Play, prints: str = "") -> str:
    """Return what to tell the student, "" if `yours` decides all that `expected` does."""
    problem = _problem(yours)
    place, difference = _first_difference(expected, yours)
    if not problem and not difference:
        return ""
    parts = problem + difference
    parts += _section("what happened before", _timeline(expected.events[:place]))
    parts += _section("the case", case.words())
    parts.append(f"the rule: {case.rule}")
    if prints:
        parts += _section("your program printed", prints.splitlines())
    return "\n".join(parts)


def answer(expected: Play) -> list[str]:
    """Return who ran when and why, one line each."""
    return _timeline([e for e in expected.events if not isinstance(e, ev.Renew | ev.Tick)], most=10**6)


def _problem(yours: Play) -> list[str]:
    """Say what ended the run too early, if something did."""
    if yours.done:
        return []
    when = f"at {clock(_end_ns(yours))}: " if yours.events else ""
    contract = getattr(yours.error, "contract", "")
    if contract:  # the dispatcher's own finding: "answered ..."
        return [f"{when}your policy {yours.end}; the contract: {contract}"]
    return [f"{when}{clean(yours.end, 800)}"]


def _first_difference(expected: Play, yours: Play) -> tuple[int, list[str]]:
    """Return how many events of the expected log come before it, and the difference in words."""
    for due, got in zip_longest(expected.decisions, yours.decisions):
        if due and got and _who(due) == _who(got):
            continue
        at_ns = min(decision.t for decision in (due, got) if decision)
        mine = due if due and due.t == at_ns else None
        place = _index(expected.events, mine) if mine else _until(expected.events, at_ns)
        if mine and not got and yours.error and at_ns >= _end_ns(yours):
            return place, [f"  expected: {_runs(expected, mine)}"]  # what went wrong is told already
        your = got if got and got.t == at_ns else None
        return place, [
            f"at {clock(at_ns)} the first decision differs",
            f"  expected: {_runs(expected, mine) if mine else _goes_on(expected, at_ns)}",
            f"  yours:    {clean(_runs(yours, your) if your else _goes_on(yours, at_ns), 400)}",
        ]
    return len(expected.events), []


def _who(decision: ev.Dispatch) -> tuple[int, int, int]:
    return decision.t, decision.cpu, decision.task


def _runs(played: Play, decision: ev.Dispatch) -> str:
    return f"{_names(played.events)[decision.task]} runs ({decision.reason})"


def _goes_on(played: Play, at_ns: int) -> str:
    """Say who runs at `at_ns` without having been dispatched there."""
    running: dict[int, str] = {}
    for event in played.events[: _until(played.events, at_ns)]:
        if isinstance(event, ev.Dispatch | ev.Renew):
            running[event.task] = event.reason
        elif isinstance(event, ev.Preempt | ev.Yield | ev.Block | ev.Exit):
            running.pop(event.task, None)
    names = _names(played.events)
    told = [f"{names[pid]} goes on ({reason})" for pid, reason in running.items()]
    return ", ".join(told) or "nobody runs"


def _timeline(events: Sequence[ev.Event], most: int = BEFORE) -> list[str]:
    """Tell the last `most` of these events, one line each."""
    names = _names(events)
    lines = [(event.t, told) for event in events if (told := _told(event, names))]
    return [f"{clock(t):>9}  {told}" for t, told in lines[-most:]]


def _told(event: ev.Event, names: dict[int, str]) -> str:
    name = names.get(event.task, "")
    match event:
        case ev.Arrive():
            return f"{name} arrives"
        case ev.Dispatch():
            return f"{name} runs: {event.reason}"
        case ev.Renew():
            return f"{name} goes on: {event.reason}"
        case ev.Preempt():
            return f"{name} is stopped: {event.reason}"
        case ev.Block():
            return f"{name} {event.reason}"
        case ev.Wake():
            return f"{name} is ready again: {event.reason}"
        case ev.Exit():
            return f"{name} is done"
        case ev.Tick():
            return event.reason
    return ""


def _names(events: Sequence[ev.Event]) -> dict[int, str]:
    return {event.task: event.name for event in events if isinstance(event, ev.Arrive)}


def _until(events: Sequence[ev.Event], at_ns: int) -> int:
    """Return how many events there are up to `at_ns`."""
    return sum(event.t <= at_ns for event in events)


def _index(events: Sequence[ev.Event], wanted: ev.Event) -> int:
    return next(i for i, event in enumerate(events) if event is wanted)


def _end_ns(played: Play) -> int:
    return played.events[-1].t if played.events else 0


def _section(title: str, lines: Iterable[str]) -> list[str]:
    inside = [f"  {line}" for line in lines]
    return [f"{title}:", *inside] if inside else []
