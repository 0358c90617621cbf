"""What the command line asks for: the assignments there are, to start one, to check and to grade it.

- `start` copies the statement, the starter file and the public cases with their answers; it
  overwrites nothing.
- `check` is for students: the public cases. `grade` is for instructors: those and the hidden ones.
- The hidden cases that ship are as public as this package. An instructor's own secret makes others.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from llmos.assignment import mlfq, sandbox
from llmos.assignment.box import STANDARD, Limits
from llmos.assignment.case import Case
from llmos.assignment.feedback import answer
from llmos.assignment.grading import Report, grade_cases
from llmos.errors import LlmosError, did_you_mean
from llmos.files import write_whole

VARIABLE: Final = "LLMOS_ASSIGNMENT_SECRET"
"""The environment variable that names the file with the instructor's secret."""

_EXERCISES: Final = {"mlfq": mlfq}


@dataclass(frozen=True)
class Assignment:
    """One assignment; the student's file is called after it."""

    name: str
    title: str
    summary: str

    @property
    def file(self) -> str:
        """The name of the student's file."""
        return f"{self.name}.py"


def list_assignments() -> list[Assignment]:
    """Return all assignments, in alphabetical order."""
    return [_assignment(name) for name in sorted(_EXERCISES)]


def start(name: str, folder: str | Path) -> list[Path]:
    """Put all that a student needs for the assignment `name` into `folder`; return the files.

    Raises LlmosError if there is no such assignment, or a file of it is in the folder already.
    """
    if name not in _EXERCISES:
        known = ", ".join(_EXERCISES)
        hint = did_you_mean(name, _EXERCISES)
        raise LlmosError(f'there is no assignment "{name}"; there are: {known}', hint=hint)
    home, place = _home() / name, Path(folder)
    files = {
        "README.md": (home / "README.md").read_text(encoding="utf-8"),
        _assignment(name).file: (home / "starter.py").read_text(encoding="utf-8"),
        "cases.md": _told([case for case in _cases(name) if not case.hidden]),
    }
    for each in files:
        if (place / each).exists() or (place / each).is_symlink():
            raise LlmosError(
                "it is there already, and your work is not overwritten",
                file=place / each,
                hint="start in another folder, or move the file away",
            )
    for each, text in files.items():
        write_whole(place / each, text)
    return [place / each for each in files]


def check(
    folder: str | Path, *, assignment: str = "", limits: Limits = STANDARD, require_sandbox: bool = False
) -> Report:
    """Run the public cases on the student's file in `folder`.

    Raises LlmosError if the file is not there, or no sandbox where one is demanded.
    """
    chosen = _which(Path(folder), assignment)
    if not (Path(folder) / chosen.file).exists():
        hint = f"start with: llmos assignment start {chosen.name} {folder}"
        raise LlmosError("there is no such file", file=Path(folder) / chosen.file, hint=hint)
    public = [case for case in _cases(chosen.name) if not case.hidden]
    return _report(chosen, Path(folder), public, limits, require_sandbox, ())


def grade(
    folder: str | Path,
    *,
    json_path: str | Path | None = None,
    secret: str | Path | None = None,
    assignment: str = "",
    limits: Limits = STANDARD,
    require_sandbox: bool = False,
) -> Report:
    """Run all cases on the submission in `folder`; write Gradescope's results.json to `json_path`.

    `secret` is a file with the instructor's secret, which makes the hidden cases; without it the
    environment variable LLMOS_ASSIGNMENT_SECRET may name one.
    Raises LlmosError if the folder, the secret or a sandbox that is demanded is not there. A
    submission without the file gets no points, and is told so.
    """
    chosen = _which(Path(folder), assignment)
    secret = secret or os.environ.get(VARIABLE)
    note = (
        "hidden cases: from the instructor's secret"
        if secret
        else "hidden cases: those that ship with llmos, which anybody can read; give a secret of your own"
    )
    cases = _cases(chosen.name, _secret(Path(secret)) if secret else b"")
    report = _report(chosen, Path(folder), cases, limits, require_sandbox, (note,))
    if json_path is not None:
        write_whole(json_path, report.json())
    return report


def _report(
    chosen: Assignment,
    folder: Path,
    cases: list[Case],
    limits: Limits,
    require_sandbox: bool,  # noqa: FBT001
    notes: tuple[str, ...],
) -> Report:
    exercises, place = _EXERCISES[chosen.name], sandbox.find()
    if require_sandbox and place.why_not:
        raise LlmosError(
            f"a sandbox is demanded, and there is none: {place.why_not}",
            hint="on Linux, install bubblewrap (bwrap) and allow user namespaces",
        )
    path = folder / chosen.file
    rows = grade_cases(path, exercises.CLASS, cases, exercises.reference, place, limits)
    return Report(chosen.name, rows, not place.why_not, (place.told, *notes))


def _which(folder: Path, name: str) -> Assignment:
    """Return the assignment that `folder` holds: `name`, or the one whose file is there."""
    if not folder.is_dir():
        raise LlmosError("there is no such folder", file=folder)
    every = list_assignments()
    wanted = [each for each in every if each.name == name] if name else every
    there = [each for each in wanted if (folder / each.file).exists()] or wanted
    if len(there) != 1:
        names = ", ".join(each.name for each in every)
        raise LlmosError(f"which assignment is it? There are: {names}", file=folder)
    return there[0]


def _cases(name: str, secret: bytes = b"") -> list[Case]:
    """Return the public cases and then the hidden ones, topic by topic."""
    exercises, cases = _EXERCISES[name], []
    seeds = {kind: _seeds(name, kind) for kind in ("public", "hidden")}
    for topic in exercises.TOPICS:
        for kind, by_topic in seeds.items():
            for number, shipped in enumerate(by_topic[topic.name], start=1):
                hidden = kind == "hidden"
                seed = _from_secret(secret, topic.name, number) if secret and hidden else shipped
                title = f"{topic.name} {kind} {number}"
                cases.append(replace(exercises.case(topic, seed), name=title, hidden=hidden))
    return cases


def _seeds(name: str, kind: str) -> dict[str, list[int]]:
    table: dict[str, list[int]] = tomllib.loads((_home() / name / f"{kind}.toml").read_text(encoding="utf-8"))
    return table


def _secret(path: Path) -> bytes:
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise LlmosError(f"the secret cannot be read: {error.strerror}", file=path) from error
    if len(secret) < 16:
        raise LlmosError(
            f"the secret has {len(secret)} bytes; it takes at least 16",
            file=path,
            hint="make one with: python3 -c 'import secrets; print(secrets.token_hex())'",
        )
    return secret


def _from_secret(secret: bytes, topic: str, number: int) -> int:
    digest = hashlib.sha256(b"%b/%b/%d" % (secret, topic.encode(), number)).digest()
    return int.from_bytes(digest[:8], "big")


def _assignment(name: str) -> Assignment:
    """Read the title and the summary: the first heading and the first paragraph of the statement."""
    heading, summary, *_ = (_home() / name / "README.md").read_text(encoding="utf-8").split("\n\n")
    return Assignment(name, heading.lstrip("# "), " ".join(summary.split()))


def _home() -> Path:
    """Return where the assignments lie: inside the installed package, or in the repository."""
    here = Path(__file__).parent
    return here / "files" if (here / "files").is_dir() else here.parents[2] / "assignments"


def _told(cases: list[Case]) -> str:
    """Write cases with their answers as a page of text."""
    page = ["# The public cases, and who runs when", ""]
    for case in cases:
        page += [f"## {case.name}", "", *(f"- {line}" for line in case.words()), "", "```"]
        page += [*answer(_EXERCISES["mlfq"].reference(case)), "```", ""]
    return "\n".join(page)
