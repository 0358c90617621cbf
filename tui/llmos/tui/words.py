"""Times, amounts and events in words, and times read back.

- Text from a log is somebody else's: `clean` leaves nothing in it that could move a terminal's cursor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, Protocol

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


class Named(Protocol):
    """A processor, as the log's first line or the state has it."""

    id: int
    kind: str
    name: str


def called(processor: Named) -> str:
    """Return what to call a processor."""
    return processor.name or f"{processor.kind}{processor.id}"


def cycle(event: ev.Deadlock, name: Callable[[int], str]) -> str:
    """Say who waits for what in a deadlock."""
    pairs = zip(event.cycle, event.locks, strict=False)  # a forged log may have more of one
    return ", ".join(f"{name(pid)} waits for {lock}" for pid, lock in pairs)


def amount(kind: str, level: int) -> str:
    """Say how much there is of something shared: bytes in a pipe, messages in a mailbox."""
    match kind:
        case "pipe":
            return f"{level:,} bytes"
        case "mailbox":
            return f"{level:,} message{'' if level == 1 else 's'}"
        case "semaphore":
            return f"value {level:,}"
    return ""


def details(event: ev.Event, name: Callable[[int], str]) -> str:
    """Say what an event carries besides time, place and task, its reason last; `name` knows the tasks."""
    return "; ".join(dict.fromkeys(part for part in (_arguments(event, name), event.reason) if part))


def _arguments(event: ev.Event, name: Callable[[int], str]) -> str:
    match event:
        case ev.Arrive(world="request"):
            return f"prompt {event.prompt}, output {event.output} tokens"
        case ev.Arrive(parent=parent) if parent >= 0:
            return f"child of {name(parent)}"
        case ev.Block(on=on) | ev.Suspend(on=on) if on not in event.reason:
            return f"on {on}"
        case ev.Syscall(name=what) | ev.Interrupt(irq=what):
            return f"{what}, {short(event.cost_ns)}" if event.cost_ns else what
        case ev.IoStart():
            return f"{event.device} for {short(event.service_ns)}"
        case ev.IoDone():
            return event.device
        case ev.Release():
            return f"job {event.job}, due {short(event.deadline)}"
        case ev.Complete(job=job) | ev.Miss(job=job) | ev.Abort(job=job) if job:
            return f"job {job}"
        case ev.Iterate():
            return _iterations(event)
        case _:
            return _between_tasks(event, name)


def _between_tasks(event: ev.Event, name: Callable[[int], str]) -> str:
    match event:
        case ev.Found(tokens=tokens):
            return f"{tokens:,} tokens are in KV memory already"
        case ev.Lost(tokens=tokens):
            return f"{tokens:,} tokens to compute again"
        case ev.Exec():
            return f"becomes {event.name}"
        case ev.Change():
            return f"priority {event.priority}, nice {event.nice}"
        case ev.Signal():
            return event.signal
        case ev.Migrate():
            return f"from cpu {event.origin}"
        case ev.Warm(evicted=evicted) if evicted:
            return f"drives out {_listed(evicted, name)}"
        case ev.Share():
            return _use(event, name)
        case ev.Deadlock():
            return cycle(event, name)
        case ev.Queue():
            return "; ".join(
                f"{heading or 'ready'}: {_listed((pid for pid, _ in entries), name) or 'nobody'}"
                for heading, entries in event.shelves
            )
        case _:
            return _of_memory(event, name)


def _of_memory(event: ev.Event, name: Callable[[int], str]) -> str:
    match event:
        case ev.Touched():
            missed = f", {event.tlb[0]:,} TLB misses" if event.tlb and event.tlb[0] else ""
            return f"{event.count:,} reference{'s' * (event.count != 1)}{missed}"
        case ev.Reference():
            return f"{'write' if event.write else 'read'} {event.at}, {'hit' if event.hit else 'miss'}"
        case ev.Fault():
            return f"{event.what}, {event.at or hex(event.page)}"
        case ev.Evict():
            return f"{event.at or event.page} loses frame {event.frame}{', dirty' if event.dirty else ''}"
        case ev.Region():
            return f"{event.call} {event.name}".strip() + f", {event.rss:,} pages resident"
        case ev.OomKill():
            return ", ".join(f"{name(pid)} scores {score:,}" for pid, score in event.scores)
        case ev.FileAccess():
            return f"{event.what} {event.file}, {event.hits} of {event.pages} pages cached"
        case ev.Readahead():
            return f"{event.file}, {event.ahead} pages ahead"
        case ev.Writeback(pages=pages) | ev.Reclaim(pages=pages) | ev.Drop(pages=pages):
            return f"{pages:,} pages"
        case ev.SwapTask():
            return f"{'out' if event.out else 'back'}, {event.pages:,} pages"
        case _:
            return ""


def _use(event: ev.Share, name: Callable[[int], str]) -> str:
    """Say how something shared is after it was used."""
    has_it = f"{name(event.holder)} has it" if event.holder >= 0 else amount(event.what, event.level)
    waiting = f"{_listed(event.waiters, name)} waiting" if event.waiters else ""
    return ", ".join(part for part in (f"{event.what} {event.name}".strip(), has_it, waiting) if part)


def _listed(pids: Iterable[int], name: Callable[[int], str]) -> str:
    return " ".join(name(pid) for pid in pids)


def _iterations(event: ev.Iterate) -> str:
    prefill = sum(tokens for _, tokens in event.prefill)
    parts = [f"{len(event.decode)} decode"] if event.decode else []
    parts += [f"prefill of {prefill} tokens"] if prefill else []
    took = event.t - event.start
    several = event.count > 1
    if took <= 0:
        length = f"{event.count} iterations: " if several else ""
    else:
        each = short(round(took / max(event.count, 1)))
        length = f"{event.count} × {each}: " if several else f"{each}: "
    return length + ", ".join(parts)
