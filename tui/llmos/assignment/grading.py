"""From a student's file to a report: a fresh process for each case, the score, and results.json.

- The simulator runs here; the student's file runs elsewhere and is asked call by call. The score
  comes from the simulator's own log.
- Whatever a submission does is a result with a message. An error is only what is wrong on the
  grader's side.
- The same submission and the same cases give the same report, byte for byte.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from llmos import errors, parameters, sched
from llmos.assignment import worker
from llmos.assignment.box import Box, Limits, MisbehaviourError
from llmos.assignment.case import Case, Play, play
from llmos.assignment.feedback import judge
from llmos.assignment.remote import Remote
from llmos.assignment.sandbox import Sandbox
from llmos.sched import base

LARGEST_FILE: Final = 1 << 20
LOADING: Final = "loading"


@dataclass(frozen=True)
class Row:
    """The result of one case. `output` is for the student, "" when there is nothing to say."""

    name: str
    topic: str
    score: int
    max_score: int
    output: str
    visibility: str
    """Gradescope's word: "visible", or "after_published" for a hidden case."""

    @property
    def passed(self) -> bool:
        """Whether all points were given."""
        return self.score == self.max_score


@dataclass(frozen=True)
class Report:
    """How a submission did; `notes` are sentences about the grading itself, for the instructor too."""

    assignment: str
    rows: tuple[Row, ...]
    sandboxed: bool
    notes: tuple[str, ...]

    @property
    def score(self) -> int:
        """The points reached."""
        return sum(row.score for row in self.rows)

    @property
    def max_score(self) -> int:
        """The points that there are."""
        return sum(row.max_score for row in self.rows)

    @property
    def passed(self) -> bool:
        """Whether every case was passed."""
        return all(row.passed for row in self.rows)

    def topics(self) -> dict[str, tuple[int, int]]:
        """Return points reached and points there are, by topic."""
        totals: dict[str, tuple[int, int]] = {}
        for row in self.rows:
            score, most = totals.get(row.topic, (0, 0))
            totals[row.topic] = score + row.score, most + row.max_score
        return totals

    def gradescope(self) -> dict[str, Any]:
        """Return the report as Gradescope's results.json."""
        tests = [
            {
                "name": row.name,
                "score": row.score,
                "max_score": row.max_score,
                "status": "passed" if row.passed else "failed",
                "output": row.output,
                "output_format": "text",
                "visibility": row.visibility,
            }
            for row in self.rows
        ]
        return {
            "score": self.score,
            "output": "\n".join(self.notes),
            "output_format": "text",
            "visibility": "visible",
            "stdout_visibility": "hidden",
            "tests": tests,
        }

    def json(self) -> str:
        """Return results.json as text."""
        return json.dumps(self.gradescope(), indent=1) + "\n"


def grade_cases(
    path: Path,
    class_name: str,
    cases: Sequence[Case],
    reference: Callable[[Case], Play],
    sandbox: Sandbox,
    limits: Limits,
) -> tuple[Row, ...]:
    """Run the student's file at `path` on all `cases`, one process each, and judge what it did."""
    source = _read(path)
    if isinstance(source, str):
        return tuple(_row(case, source) for case in cases)
    with _folder_for(path.name, source) as folder:

        def attempt(case: Case) -> tuple[Play, str]:
            return _attempt(case, class_name, Box(sandbox, folder, path.name, limits), limits)

        return tuple(_row(case, told) for case, told in _results(cases, attempt, reference, limits))


def _results(
    cases: Iterable[Case],
    attempt: Callable[[Case], tuple[Play, str]],
    reference: Callable[[Case], Play],
    limits: Limits,
) -> Iterator[tuple[Case, str]]:
    """Yield each case with what there is to tell about it; "" if it was passed."""
    spent_at = time.monotonic() + limits.total_s
    late: Counter[str] = Counter()
    for case in cases:
        if max(late[case.topic], late[LOADING]) >= limits.timeouts:
            yield case, f"not run: {limits.timeouts} cases like it have run out of time already"
        elif time.monotonic() > spent_at:
            yield case, f"not run: the time for the whole submission, {limits.total_s:g} s, is used up"
        else:
            yours, prints = attempt(case)
            if isinstance(yours.error, MisbehaviourError) and yours.error.late:
                late[case.topic if yours.events else LOADING] += 1
            yield case, judge(case, reference(case), yours, prints)


def _attempt(case: Case, class_name: str, box: Box, limits: Limits) -> tuple[Play, str]:
    """Let the policy in `box` decide in `case`; return what happened and what it printed."""
    with box:
        try:
            box.load(class_name, case.parameters)
            yours = play(case, lambda: Remote(box), limits.events)
        except MisbehaviourError as error:
            yours = Play(error=error, end=error.message)
    if box.intruded and yours.done:
        yours = replace(yours, done=False, end=box.intruded)
    return yours, box.prints


def _row(case: Case, told: str) -> Row:
    score = 0 if told else case.points
    visibility = "after_published" if case.hidden else "visible"
    return Row(case.name, case.topic, score, case.points, told, visibility)


def _read(path: Path) -> bytes | str:
    """Return the submitted file, or why it cannot be taken. A link could lead anywhere."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        reason = "it is a link" if path.is_symlink() else error.strerror
        return f"{path.name} cannot be read: {reason}; submit the file itself"
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return f"{path.name} is not a file"
    with os.fdopen(fd, "rb") as file:
        source = file.read(LARGEST_FILE + 1)
    if len(source) > LARGEST_FILE:
        return f"{path.name} is larger than {LARGEST_FILE:,} bytes"
    return source


@contextmanager
def _folder_for(file: str, source: bytes) -> Iterator[Path]:
    """A folder with what the student's process may see: the file, the worker and the contract."""
    with tempfile.TemporaryDirectory(prefix="llmos-") as name:
        folder = Path(name)
        (folder / "llmos" / "sched").mkdir(parents=True)
        contract = [(errors, "llmos"), (parameters, "llmos"), (sched, "llmos/sched"), (base, "llmos/sched")]
        for module, place in [(worker, ""), *contract]:
            home = Path(str(module.__file__))
            (folder / place / home.name).write_bytes(home.read_bytes())
        (folder / file).write_bytes(source)
        if os.getuid() == 0:  # the process will be nobody's; others keep their work to themselves
            for path in (folder, *folder.rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)
        yield folder
