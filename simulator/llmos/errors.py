"""What can go wrong for a person, as one small tree.

    LlmosError            exit code 2: the input is bad, and the message names the cure
    ├── ScenarioError     a scenario file is wrong; carries every problem at once
    ├── PolicyError       a policy or program cannot be loaded, or broke its contract
    ├── ProfileError      a cost profile is missing, damaged or does not fit
    ├── LogError          a log or trace cannot be read
    └── RunError          exit code 1: a simulated run did not do what it set out to do

- The command line prints `str(error)` and leaves with `error.exit_code`; nobody sees a traceback.
- What happens inside the simulated world (an OOM kill, a deadlock) is an event, never one of these.
- Every error survives pickling, so a worker process can hand it to its parent.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


class LlmosError(Exception):
    """Something that a person can mend, told in a sentence.

    `file` and `line` (from 1) say where; `hint` names the cure.
    """

    exit_code: ClassVar[int] = 2

    def __init__(
        self, message: str, *, file: str | Path | None = None, line: int | None = None, hint: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.hint = hint

    def __str__(self) -> str:
        return _lines(_place(self.file, self.line) + self.message, self.hint)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a scenario, and what would be right.

    `key` is the path of the value, as in `tasks[2].arrival`; `line` counts from 1;
    `allowed` lists the values that would do; `hint` names the cure ("did you mean ...?").
    """

    message: str
    file: str | Path | None = None
    line: int | None = None
    key: str = ""
    allowed: tuple[str, ...] = ()
    hint: str = ""

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        allowed = f"allowed: {', '.join(self.allowed)}" if self.allowed else ""
        return _lines(_place(self.file, self.line) + key + self.message, allowed, self.hint)


class ScenarioError(LlmosError):
    """A scenario that cannot be run: all its problems, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("the scenario has problems")
        self.args = (problems,)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


class PolicyError(LlmosError):
    """A policy or program of somebody's that cannot be loaded, or that broke its contract.

    `policy` is its name, `contract` the rule that was broken, `time_ns` the simulated time.
    """

    def __init__(
        self,
        message: str,
        *,
        policy: str = "",
        file: str | Path | None = None,
        line: int | None = None,
        contract: str = "",
        time_ns: int | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, file=file, line=line, hint=hint)
        self.policy = policy
        self.contract = contract
        self.time_ns = time_ns

    def __str__(self) -> str:
        policy = f"policy {self.policy}: " if self.policy else ""
        when = f" (at {self.time_ns:,} ns)" if self.time_ns is not None else ""
        contract = f"the contract: {self.contract}" if self.contract else ""
        return _lines(_place(self.file, self.line) + policy + self.message + when, contract, self.hint)


class ProfileError(LlmosError):
    """A cost profile that is missing, damaged, or does not hold what was asked of it."""


class LogError(LlmosError):
    """A log or trace that cannot be read."""


class RunError(LlmosError):
    """A simulated run that failed its checks where one that succeeds is needed."""

    exit_code: ClassVar[int] = 1


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """The hint 'did you mean "mlfq"?' for a misspelt name, or "" when nothing is near."""
    by_lower = {name.lower(): name for name in sorted(names)}
    near = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f'did you mean "{by_lower[near[0]]}"?' if near else ""


def _place(file: str | Path | None, line: int | None) -> str:
    where = [str(part) for part in (file, line) if part is not None]
    return ":".join(where) + ": " if where else ""


def _lines(first: str, *more: str) -> str:
    return "\n".join([first, *(f"    {line}" for line in more if line)])
