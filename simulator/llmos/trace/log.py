"""The log: events go in, JSON Lines come out, and a hash that proves that two runs are the same.

- `emit` takes events in time order; `flush` hands what has gathered to the sinks, in batches.
- A sink is a callable that takes the events and their bytes: a file, a fold, a list.
- A log file is written as `NAME.part` while the run goes on and gets its name when the log is
  closed. After a crash the `.part` file is a valid log that ends early; `read` loads both. A link is
  followed, and a device or a pipe is written straight.
- `NAME.gz` is compressed, one gzip member per batch, so that it too can be read up to its end.
- The hash is the SHA-256 of the uncompressed bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, Union

import msgspec

from llmos.errors import LlmosError, LogError, did_you_mean
from llmos.trace.events import KINDS, Event, Run

if TYPE_CHECKING:
    from types import TracebackType

Sink = Callable[[list[Event], bytes], None]

LARGEST: Final = 2**62
"""No number in a log is further from 0: no time that a run can reach is (146 years in ns)."""

_LONG_NUMBER = re.compile(rb"[0-9]{19}")

_time = attrgetter("t")

_encode = msgspec.json.Encoder().encode_lines
_decode = msgspec.json.Decoder(Union[KINDS]).decode  # noqa: UP007  # a union of a tuple


class Log:
    """Where a run writes its events; `header` is the first."""

    def __init__(
        self, header: Run, sinks: list[Sink], *, shows_queues: bool = False, shows_references: bool = False
    ) -> None:
        self.shows_queues = shows_queues
        """Whether every decision is followed by a picture of the ready queue."""
        self.shows_references = shows_references
        """Whether every reference to memory is logged."""
        self._batch: list[Event] = [header]
        self._sinks = sinks
        self._hash = hashlib.sha256()
        self.emit: Callable[[Event], None] = self._batch.append
        self.events = 0

    def flush(self, now: int = LARGEST) -> None:
        """Pass the events up to time `now` to the hash and the sinks, in the order of their times.

        Events of one time keep the order in which they were emitted. Later ones wait: a reference to memory
        is logged ahead of the clock.
        """
        self._batch.sort(key=_time)
        ahead = self._batch[bisect_right(self._batch, now, key=_time) :]
        del self._batch[len(self._batch) - len(ahead) :]
        if not self._batch:
            self._batch.extend(ahead)
            return
        data = _encode(self._batch)
        self._hash.update(data)
        self.events += len(self._batch)
        for sink in self._sinks:
            sink(self._batch, data)
        self._batch[:] = ahead

    @property
    def sha256(self) -> str:
        """The hash of everything flushed so far."""
        return self._hash.hexdigest()


class LogFile:
    """A sink that writes a log to `path`; use it as a context manager."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._place = Path(os.path.realpath(path))
        is_device = self._place.exists() and not self._place.is_file()  # it cannot be renamed over
        self._part = self._place if is_device else self._place.with_name(self._place.name + ".part")
        self._compress = self.path.suffix == ".gz"
        with self._told():
            self._place.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("wb", buffering=0)

    def __call__(self, _events: list[Event], data: bytes) -> None:
        with self._told():
            rest = memoryview(gzip.compress(data, mtime=0) if self._compress else data)
            while rest:
                rest = rest[self._file.write(rest) :]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._told(), self._file:
            if self._part != self._place:
                os.fsync(self._file.fileno())
                self._part.replace(self._place)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except IsADirectoryError as error:
            raise LlmosError("cannot write the log: it is a folder; name a file", file=self.path) from error
        except OSError as error:
            raise LlmosError(f"cannot write the log: {error.strerror}", file=self.path) from error


def read(path: str | Path) -> Iterator[Event]:
    """Yield the events of a log file, in order; an incomplete last line is left out.

    Raises LogError, with file and line, if it is no log or a line in the middle is damaged.
    """
    number = 0
    line = b""
    for number, line in enumerate(_lines(Path(path)), start=1):
        if not line.endswith(b"\n"):
            return  # the run was cut off while it wrote this line
        try:
            event: Event = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise LogError(f"this is no event of a log: {error}", file=path, line=number) from error
        if _LONG_NUMBER.search(line) and (key := _too_large(msgspec.to_builtins(event))):
            message = f"`{key}` is further from 0 than 2**62, and no number of a log is"
            raise LogError(message, file=path, line=number)
        if (number == 1) != isinstance(event, Run):
            raise LogError("a log begins with one line of kind run", file=path, line=number)
        yield event
    if number == 0:
        raise LogError(
            "the file is empty", file=path, hint="write a log with: llmos run FILE --log NAME.jsonl"
        )


def _too_large(value: Any, key: str = "") -> str:
    """Return the key of a whole number beyond `LARGEST` somewhere in `value`, "" if there is none."""
    if isinstance(value, dict):
        # A seed is no amount, and it may be any number of 63 bits.
        inner = [(k, v) for k, v in value.items() if k != "seed"]
    elif isinstance(value, list | tuple):
        inner = [(key, v) for v in value]
    else:
        return key if isinstance(value, int) and abs(value) > LARGEST else ""
    return next(filter(None, (_too_large(v, k) for k, v in inner)), "")


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not compressed:
                yield from raw
                return
            with gzip.open(raw) as lines:
                yield from lines
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return  # the last member is incomplete
    except FileNotFoundError as error:
        near = (
            did_you_mean(path.name, [p.name for p in path.parent.glob("*")]) if path.parent.is_dir() else ""
        )
        raise LogError("there is no such file", file=path, hint=near) from error
    except OSError as error:
        raise LogError(f"cannot read it: {error.strerror}", file=path) from error
