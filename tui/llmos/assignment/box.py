"""One student's process, seen from the grader: a question, an answer, and limits on everything.

- `ask` sends one line and waits for one line. Whatever else comes of it (no answer, nonsense, an
  exception, an end, a flood) is a `MisbehaviourError` with a sentence for the student.
- Nothing that comes out is trusted: lengths are capped, types are checked, text is cleaned.
- What the student's code prints is kept up to a cap, and is no part of the conversation.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import msgspec

from llmos.assignment.sandbox import READY, Sandbox
from llmos.errors import LlmosError, PolicyError

LONGEST_REPLY: Final = 4096
"""In bytes; no answer needs as many."""

CONTRACT: Final = {
    "pick": "pick returns a task from the ready queue, or None",
    "preempts": "preempts returns one of the running tasks, or None",
    "quantum": "quantum returns an int, at least 1, or None",
    "next_tick": "next_tick returns an int, a time after now, or None",
    "tick": "tick returns a string",
    "reason": "reason returns a string",
}
_INTRUDED: Final = "something in your program wrote into the grader's private channel"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a submission may use; `_s` is wall clock in seconds, but for `cpu_s`."""

    load_s: float = 3.0
    """To load the file and make the policy."""
    decision_s: float = 1.0
    """For one call."""
    case_s: float = 4.0
    """For all calls of one case."""
    total_s: float = 60.0
    """For the whole submission: when it is spent, no further case is begun."""
    timeouts: int = 2
    """When so many cases of a topic have run out of time, no further one of it is begun; when the file
    was not even loaded, no further case at all."""
    cpu_s: int = 10
    """Processor time for one case."""
    memory_bytes: int = 512 << 20
    print_bytes: int = 1 << 20
    """A case that prints more is stopped."""
    shown_bytes: int = 2000
    """So much of what a case prints is shown."""
    events: int = 2000
    """A case that makes more events in the simulator is stopped."""

    def rlimits(self) -> dict[str, int]:
        """Return those that the operating system enforces, by its names for them."""
        return {
            "RLIMIT_AS": self.memory_bytes,
            "RLIMIT_CPU": self.cpu_s,
            "RLIMIT_FSIZE": 0,
            "RLIMIT_CORE": 0,
            "RLIMIT_NOFILE": 64,
            "RLIMIT_NPROC": 1,
        }


STANDARD: Final = Limits()


class MisbehaviourError(PolicyError):
    """The student's code, or its process, did something that ends the case; `late`: it ran out of time."""

    def __init__(self, message: str, *, late: bool = False) -> None:
        super().__init__(message)
        self.late = late


class Reply(msgspec.Struct, forbid_unknown_fields=True):
    """What comes back for request number `n`."""

    n: int
    answer: int | str | None = None
    nonsense: str = ""
    error: str = ""
    where: str = ""


_decode = msgspec.json.Decoder(Reply).decode


@dataclass(frozen=True)
class _Clock:
    """Until when an answer must be there, and what to say when it is not."""

    at: float
    told: str


class Box:
    """A student's process for one case: `file` in `folder`, which holds the worker too."""

    def __init__(self, sandbox: Sandbox, folder: Path, file: str, limits: Limits) -> None:
        self._limits = limits
        self._n = 0
        self._case_clock = _Clock(0.0, f"all its decisions together took longer than {limits.case_s:g} s")
        self._buffer = b""
        self._prints = bytearray()
        self._printed = 0
        self._started = sandbox.start(folder, file, limits.rlimits())
        process = self._started.process
        self._requests = _not_blocking(process.stdin)
        self._replies = _not_blocking(process.stdout)
        self._stderr = _not_blocking(process.stderr)
        self._poll = select.poll()
        self._poll.register(self._replies, select.POLLIN)
        self._poll.register(self._stderr, select.POLLIN)
        try:
            ready = self._line(_Clock(time.monotonic() + 20, "")) == READY
        except MisbehaviourError:
            ready = False
        if not ready:
            self.close()
            raise LlmosError(
                f"the process for the student's file does not start: {self.prints or 'it says nothing'}",
                hint="is Python's own library readable for all, and is there memory left?",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def load(self, name: str, parameters: Mapping[str, Any]) -> None:
        """Load the student's file and make the policy called `name`; then the case's clock starts."""
        seconds = self._limits.load_s
        clock = _Clock(time.monotonic() + seconds, f"loading your file took longer than {seconds:g} s")
        self._ask(clock, "new", {"name": name, "parameters": parameters})
        self._case_clock = _Clock(time.monotonic() + self._limits.case_s, self._case_clock.told)

    def ask(self, call: str, **arguments: Any) -> int | str | None:
        """Return the student's answer to one call of the contract."""
        seconds = self._limits.decision_s
        clock = _Clock(time.monotonic() + seconds, f"{call} gave no answer within {seconds:g} s")
        return self._ask(min(clock, self._case_clock, key=lambda clock: clock.at), call, arguments)

    def close(self) -> None:
        """End the process; what it had printed is still taken."""
        self._started.kill()
        with contextlib.suppress(MisbehaviourError, BlockingIOError):
            while self._take_prints():
                pass
        with contextlib.suppress(BlockingIOError):
            self._buffer += os.read(self._replies, LONGEST_REPLY)
        for pipe in (self._started.process.stdin, self._started.process.stdout, self._started.process.stderr):
            if pipe:
                pipe.close()

    @property
    def intruded(self) -> str:
        """What is wrong if replies are left that nobody asked for (known after `close`), else ""."""
        return _INTRUDED if self._buffer else ""

    @property
    def prints(self) -> str:
        """What the student's code has printed, up to the cap."""
        cut = "\n(cut here)" if self._printed > len(self._prints) else ""
        return clean(self._prints.decode(errors="replace"), self._limits.shown_bytes).rstrip() + cut

    # --- one question -------------------------------------------------------------------------------

    def _ask(self, clock: _Clock, call: str, arguments: Mapping[str, Any]) -> int | str | None:
        self._n += 1
        self._send(msgspec.json.encode({"n": self._n, "call": call, **arguments}) + b"\n", clock)
        doing = "your file was loaded" if call == "new" else f"{call} was asked"
        line = self._line(clock)
        if line is None:
            raise MisbehaviourError(f"{self._end()} while {doing}")
        try:
            reply = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise MisbehaviourError(_INTRUDED) from error
        if reply.n != self._n:
            raise MisbehaviourError(_INTRUDED)
        if reply.error:
            where = f" ({clean(reply.where, 200)})" if reply.where else ""
            raise MisbehaviourError(f"{clean(reply.error, 500)}{where}, while {doing}")
        if reply.nonsense:
            raise MisbehaviourError(
                f"{call} answered {clean(reply.nonsense, 200)}; the contract: {CONTRACT[call]}"
            )
        return reply.answer

    def _send(self, data: bytes, clock: _Clock) -> None:
        while data:
            try:
                data = data[os.write(self._requests, data) :]
            except BlockingIOError:  # it does not read; take what it prints meanwhile
                self._poll.register(self._requests, select.POLLOUT)
                self._wait(clock)
                self._poll.unregister(self._requests)
            except BrokenPipeError:
                return  # how it ended is told when no answer comes

    def _line(self, clock: _Clock) -> bytes | None:
        """Return the next line that comes back, or None if there will be none."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > LONGEST_REPLY:
                raise MisbehaviourError(_INTRUDED)
            if not self._wait(clock):
                return None
        line, newline, self._buffer = self._buffer.partition(b"\n")
        return line + newline

    def _wait(self, clock: _Clock) -> bool:
        """Take what comes next from the process; return whether there can be more replies."""
        left = clock.at - time.monotonic()
        ready = dict(self._poll.poll(left * 1000)) if left > 0 else {}
        if not ready:
            raise MisbehaviourError(clock.told, late=True)
        if self._stderr in ready and not self._take_prints():
            self._poll.unregister(self._stderr)
        if self._replies not in ready:
            return True
        more = os.read(self._replies, LONGEST_REPLY)
        self._buffer += more
        return bool(more)

    def _take_prints(self) -> bool:
        """Take some of what was printed; return whether there can be more."""
        data = os.read(self._stderr, 1 << 16)
        self._printed += len(data)
        self._prints += data[: max(0, self._limits.shown_bytes - len(self._prints))]
        if self._printed > self._limits.print_bytes:
            raise MisbehaviourError(f"your program printed more than {self._limits.print_bytes:,} bytes")
        return bool(data)

    def _end(self) -> str:
        """Say how the process ended."""
        try:
            code = self._started.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "your program closed the grader's private channel"
        number = -code if code < 0 else code - 128  # bubblewrap tells a signal as a shell does
        if number == signal.SIGKILL:
            return f"the process was killed (processor time is limited to {self._limits.cpu_s} s)"
        if number in set(signal.Signals):
            return f"the process crashed ({signal.Signals(number).name})"
        return f"the process ended (exit code {code})"


def clean(text: str, most: int) -> str:
    """Return at most `most` characters of `text` that do no harm to a screen and are the same each time."""
    text = re.sub(r"\b0x[0-9a-f]{6,}", "0x...", text[: 2 * most])  # addresses
    return "".join(c if c.isprintable() or c in "\n\t" else "?" for c in text)[:most]


def _not_blocking(pipe: IO[bytes] | None) -> int:
    if pipe is None:
        raise RuntimeError("the process was started without a pipe")  # a bug in llmos
    os.set_blocking(pipe.fileno(), False)
    return pipe.fileno()
