"""Where events come from: a saved log, or a run that goes on in a process of its own.

- `poll` returns the next few events that are there, and never waits.
- Opening a saved log reads its first line, so that a file that is no log is an error before the screen
  opens. Damage further on ends the reading; `trouble` says so.
- A live run gets its own process because a policy that never returns must not stop the screen: it
  can be killed. It stops at a full pipe when nobody reads, and dies with its parent.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from itertools import islice, takewhile
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, Protocol, Union

import msgspec

from llmos.errors import LlmosError
from llmos.scenario.machine import MachineSpec, run
from llmos.scenario.units import LONGEST_NS
from llmos.trace.events import KINDS, Event
from llmos.trace.log import read

SOME: Final = 256
"""How many events are taken at once; with what is made of them that is some milliseconds."""
_ERROR: Final = b"!"
"""What a message that is no line of a log begins with."""


class Source(Protocol):
    """Something that events come from."""

    done: bool
    """Whether nothing more will come."""
    trouble: str
    """Why it ended before its end; "" if it did not."""
    name: str
    """What it does until it is done, for people."""

    def poll(self) -> list[Event]:
        """Return the next events, `SOME` at most; none if none have come yet, or if it is done."""

    def close(self) -> None:
        """Let go of files and processes."""


class SavedLog:
    """The events of a file; raises LogError if it is no log."""

    name = "reading"

    def __init__(self, path: str | Path) -> None:
        self._events: Iterator[Event] = read(path)
        self._first = [next(self._events)]
        self.done = False
        self.trouble = ""

    def poll(self) -> list[Event]:
        events, self._first = self._first, []
        try:
            events.extend(islice(self._events, SOME))  # what comes before the damage stays
        except LlmosError as error:
            self.done, self.trouble = True, f"the log is damaged at line {error.line}: {error.message}"
        sane = list(takewhile(lambda event: abs(event.t) <= LONGEST_NS, events))
        if len(sane) < len(events):
            self.trouble = "the log is damaged: it has an event at a time that no run can reach"
        self.done = self.done or not sane or len(sane) < len(events)
        return sane

    def close(self) -> None:
        self.done = True


class LiveRun:
    """The events of a run of `spec` while it goes on."""

    name = "the run goes on"

    def __init__(self, spec: MachineSpec) -> None:
        # fork: a spec holds programs and policies, which are functions and cannot be pickled.
        context = get_context("fork")
        self._pipe, theirs = context.Pipe(duplex=False)
        watched, self._life = os.pipe()
        self._process = context.Process(
            target=_simulate, args=(spec, theirs, watched, [self._life, self._pipe.fileno()]), daemon=True
        )
        self._process.start()
        theirs.close()
        os.close(watched)
        self._decode = msgspec.json.Decoder(Union[KINDS]).decode_lines  # noqa: UP007  # KINDS is a tuple
        self._batch: Iterator[Event] = iter(())
        self.done = False
        self.trouble = ""

    def poll(self) -> list[Event]:
        events = list(islice(self._batch, SOME))
        if events:
            return events
        try:
            if not self.done and self._pipe.poll():
                data = self._pipe.recv_bytes()
                if data.startswith(_ERROR):
                    self.trouble = data[1:].decode()
                else:
                    self._batch = iter(self._decode(data))
        except (EOFError, OSError):
            self.done = True
        return list(islice(self._batch, SOME))

    def close(self) -> None:
        self.done = True
        if self._process.is_alive():
            self._process.kill()  # a policy may ignore anything gentler
        self._process.join()
        self._process.close()
        self._pipe.close()
        os.close(self._life)


def _simulate(spec: MachineSpec, pipe: Connection, watched: int, not_mine: list[int]) -> None:
    """Run `spec` in the child and send its log, batch by batch."""
    for fd in not_mine:
        os.close(fd)
    threading.Thread(target=_die_with_parent, args=(watched,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):  # a policy that prints must not print on the screen
        os.dup2(nowhere, fd)
    try:
        run(spec, [lambda _events, data: pipe.send_bytes(data)], keep_spans=False)
    except BrokenPipeError:
        pass
    except LlmosError as error:
        pipe.send_bytes(_ERROR + str(error).encode())
    except BaseException as error:  # noqa: BLE001  # whatever somebody's program or policy raises
        pipe.send_bytes(_ERROR + f"the run broke off: {type(error).__name__}: {error}".encode())


def _die_with_parent(watched: int) -> None:
    os.read(watched, 1)  # returns when the parent, the only writer, is gone
    os._exit(1)
