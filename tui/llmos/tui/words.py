"""Times, amounts and events in words, and times read back.

- Text from a log is somebody else's: `clean` leaves nothing in it that could move a terminal's cursor.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from llmos.scenario.units import LONGEST_NS, duration_ns
from llmos.trace import events as ev

_UNITS: Final = (("s", 9), ("ms", 6), ("us", 3))


def exact(ns: int) -> str:
    """Write a time with every digit that it has: 12_345_678 -> "12.345678 ms"."""
    size = abs(ns)
    if size > LONGEST_NS:
        return "beyond time"
    sign = "-" if ns < 0 else ""
    for unit, places in _UNITS:
        if size >= 10**places:
            whole, rest = divmod(size, 10**places)
            return f"{sign}{whole}.{rest:0{places}}".rstrip("0").rstrip(".") + f" {unit}"
    return f"{ns} ns"


def short(ns: int) -> str:
    """Write a time with four digits at most: 12_345_678 -> "12.35 ms"."""
    if LONGEST_NS >= ns >= 10**13:
        return f"{ns // 10**9} s"
    for unit, places in _UNITS:
        if LONGEST_NS >= abs(ns) >= 10**places:
            return f"{ns / 10**places:.4g} {unit}"
    return exact(ns)


def parse_time(text: str) -> int:
    """Read "12 ms", "1.5 s" or bare nanoseconds; raises ValueError with a sentence that names the cure."""
    bare = text.strip().replace(",", "").replace("_", "")
    try:
        return duration_ns(f"{bare} ns" if bare.isdigit() else text)
    except ValueError as error:
        raise ValueError(f"{error}: write 12 ms, 1.5 s, or nanoseconds as 1200000") from None


def clean(text: str) -> str:
    """Replace what cannot be printed."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "·" for c in text)


def details(event: ev.Event, names: Mapping[int, str]) -> str:
    """Say what an event carries besides time, place and task, its reason last."""
    return "; ".join(part for part in (_arguments(event, names), event.reason) if part)


def _arguments(event: ev.Event, names: Mapping[int, str]) -> str:
    match event:
        case ev.Arrive(world="request"):
            return f"prompt {event.prompt}, output {event.output} tokens"
        case ev.Arrive(parent=parent) if parent >= 0:
            return f"child of {names.get(parent, parent)}"
        case ev.Block(on=on) if on not in event.reason:
            return f"on {on}"
        case ev.Syscall(name=what) | ev.Interrupt(irq=what):
            return f"{what}, {short(event.cost_ns)}" if event.cost_ns else what
        case ev.IoStart():
            return f"{event.device} for {short(event.service_ns)}"
        case ev.IoDone():
            return event.device
        case ev.Release():
            return f"job {event.job}, due {short(event.deadline)}"
        case ev.Complete(job=job) | ev.Miss(job=job) if job:
            return f"job {job}"
        case ev.Iterate():
            return _iterations(event)
        case _:
            return ""


def _iterations(event: ev.Iterate) -> str:
    prefill = sum(tokens for _, tokens in event.prefill)
    parts = [f"{len(event.decode)} decode"] if event.decode else []
    parts += [f"prefill of {prefill} tokens"] if prefill else []
    number = f"{event.count} iterations: " if event.count > 1 else ""
    return number + ", ".join(parts)
