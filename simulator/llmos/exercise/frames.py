"""The exam table: references to pages, one by one, and who is in which frame after each.

- A page is a number or a capital letter; "3w" is a reference that writes page 3.
- A page takes the first free frame, or that of its victim, and stays there until it goes: so people draw
  it. The policy knows nothing of frames.
- All frames are empty at first, so the first reference to each page is a miss and counts as one.
- A page that was written is written back when it goes, or when the policy asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from llmos.errors import LlmosError
from llmos.exercise.base import Table, number
from llmos.plugins import blaming
from llmos.replacement.base import Key, ReplacementPolicy, Structure
from llmos.replacement.places import Places
from llmos.scenario.spec import ReplacementSpec

Page = int | str

DRAWN: Final = 10
"""So many frames have a column each; more are listed in one."""

_REFERENCE = re.compile(r"(\d{1,18}|[A-Z])(w?)")


class Reference(NamedTuple):
    """A reference to a page, which may write to it."""

    page: Page
    write: bool = False

    def __str__(self) -> str:
        return f"{self.page}{'w' if self.write else ''}"


@dataclass(frozen=True, slots=True)
class Step:
    """What a reference did; `frame` is where its page is, `frames` what is in each afterwards."""

    reference: Reference
    hit: bool
    frame: int
    victim: Page | None
    reason: str
    written_back: Sequence[Page]
    frames: Sequence[Page | None]
    shown: Structure
    """What the policy keeps, afterwards; empty, as `frames`, if the step is not drawn."""


@dataclass(frozen=True, slots=True)
class Course:
    """All references under one policy with so many frames."""

    policy: str
    frames: int
    steps: Sequence[Step]

    @property
    def hits(self) -> int:
        """How many references hit."""
        return sum(step.hit for step in self.steps)

    @property
    def misses(self) -> int:
        """How many references missed."""
        return len(self.steps) - self.hits

    @property
    def cold(self) -> int:
        """How many misses were the first reference to their page: no policy can avoid them."""
        return len({step.reference.page for step in self.steps})

    @property
    def write_backs(self) -> int:
        """How many pages had to be written back."""
        return sum(len(step.written_back) for step in self.steps)

    @property
    def miss_ratio(self) -> float:
        """The share of the references that missed."""
        return self.misses / len(self.steps) if self.steps else 0.0

    @property
    def outcome(self) -> str:
        """A letter for each reference: H for a hit, M for a miss."""
        return "".join("H" if step.hit else "M" for step in self.steps)


class Anomaly(NamedTuple):
    """Belady's anomaly: `more` has more frames than `fewer`, and misses more often."""

    fewer: Course
    more: Course

    def __str__(self) -> str:
        fewer, more = self.fewer, self.more
        return (
            f"Belady's anomaly: {more.policy} misses {more.misses} times with {more.frames} frames, and "
            f"{fewer.misses} times with {fewer.frames}."
        )


def parse(text: str) -> list[Reference]:
    """The references in a text such as "7 0 1w A" (commas will do as well).

    Raises LlmosError if something is no reference.
    """
    references = []
    for word in text.replace(",", " ").split():
        match = _REFERENCE.fullmatch(word)
        if match is None:
            raise LlmosError(
                f'"{word}" is no reference to a page',
                hint="write a page as a number or a capital letter, with a w if it is written: 7 0 1w A",
            )
        page, write = match.groups()
        references.append(Reference(int(page) if page.isdigit() else page, bool(write)))
    return references


def written(references: Iterable[Reference]) -> str:
    """The references as `parse` reads them."""
    return " ".join(map(str, references))


def play(
    references: Sequence[Reference], policy: ReplacementSpec, frames: int, *, drawn: bool = True
) -> Course:
    """Let `policy` decide over `frames` frames (at least 1); `drawn` steps show these and what it keeps.

    Raises PolicyError if it breaks its contract, or fails.
    """
    made = policy.make(frames)
    with blaming(made):
        return Course(policy.name, frames, _steps(references, made, frames, drawn=drawn))


def _steps(
    references: Sequence[Reference], made: ReplacementPolicy, frames: int, *, drawn: bool
) -> list[Step]:
    if made.offline:
        made.foresee([reference.page for reference in references])
    places = Places(frames, made)
    inside: list[Page | None] = [None] * frames
    dirty: set[Key] = set()
    steps = []
    for reference in references:
        page, write = reference
        done = places.refer(page, write=write, why=True)
        if not done.hit:
            inside[inside.index(done.victim)] = page  # type: ignore[arg-type]  # our keys are pages
        back: list[Any] = [key for key in (done.victim,) if key in dirty]
        for key in [key for key in made.to_clean() if key in dirty]:
            made.cleaned(key)
            back.append(key)
        dirty.difference_update(back)
        if write:
            dirty.add(page)
        victim: Any = done.victim
        at = inside.index(page)
        now, kept = (tuple(inside), _copy(made.show())) if drawn else ((), {})
        steps.append(Step(reference, done.hit, at, victim, done.reason, back, now, kept))
    return steps


def _copy(shown: Structure) -> Structure:
    """What a policy shows, as it is now: it may go on using what it has returned."""
    return {heading: [(key, figure) for key, figure in keys] for heading, keys in shown.items()}


def anomalies(courses: Iterable[Course]) -> list[Anomaly]:
    """Where a policy misses more often with more frames, among `courses` of the same references."""
    found = []
    before: dict[str, Course] = {}
    for course in sorted(courses, key=lambda course: course.frames):
        fewer = before.get(course.policy)
        if fewer and course.frames > fewer.frames and course.misses > fewer.misses:
            found.append(Anomaly(fewer, course))
        before[course.policy] = course
    return found


# --- drawing --------------------------------------------------------------------------------------------


def table(course: Course, title: str = "") -> Table:
    """One row for each reference: hit or miss, the frames, who had to go and why, what the policy keeps."""
    headings = list(dict.fromkeys(heading for step in course.steps for heading in step.shown))
    writes = any(step.reference.write for step in course.steps)
    columns = [
        *("", "page", ""),
        *frame_columns(course.frames),
        *("victim", "why"),
        *(["written back"] if writes else []),
        *(heading or "order, first to go first" for heading in headings),
    ]
    rows = [
        [
            *(str(i), str(step.reference), "hit" if step.hit else "miss"),
            *_frames(step),
            *("-" if step.victim is None else str(step.victim), step.reason),
            *([" ".join(map(str, step.written_back))] if writes else []),
            *(_keys(step.shown.get(heading, ())) for heading in headings),
        ]
        for i, step in enumerate(course.steps, start=1)
    ]
    return Table(title, columns, rows, left=len(columns))


def frame_columns(frames: int) -> list[str]:
    """The headings of the frames."""
    return [f"f{i}" for i in range(frames)] if frames <= DRAWN else ["frames"]


def _frames(step: Step) -> list[str]:
    cells = ["." if page is None else str(page) for page in step.frames]
    return cells if len(cells) <= DRAWN else [" ".join(str(p) for p in step.frames if p is not None)]


def _keys(keys: Sequence[tuple[Key, str]]) -> str:
    return " ".join(f"{key}:{figure}" if figure else str(key) for key, figure in keys)


def totals(course: Course) -> str:
    """Hits, misses and their ratio in a sentence."""
    count = len(course.steps)
    return (
        f"Hits: {course.hits}. Misses: {course.misses}, of which {course.cold} are the first reference to "
        f"their page, which no policy avoids. Miss ratio: {course.misses} / {count} = "
        f"{number(course.miss_ratio * 100)} %."
        + (f" Pages written back: {course.write_backs}." if course.write_backs else "")
    )


def summary(courses: Sequence[Course]) -> Table:
    """One row for each policy."""
    writes = any(step.reference.write for course in courses for step in course.steps)
    columns = ["policy", "outcome", "hits", "misses", "miss ratio", *(["written back"] if writes else [])]
    rows = [
        [
            *(course.policy, course.outcome, str(course.hits), str(course.misses)),
            f"{number(course.miss_ratio * 100)} %",
            *([str(course.write_backs)] if writes else []),
        ]
        for course in courses
    ]
    return Table("", columns, rows, left=2)


def by_frames(courses: Sequence[Course]) -> Table:
    """One row for each number of frames, with the misses of each policy."""
    labels = list(dict.fromkeys(course.policy for course in courses))
    misses = {(course.frames, course.policy): str(course.misses) for course in courses}
    counts = sorted({course.frames for course in courses})
    rows = [[str(count), *(misses[count, label] for label in labels)] for count in counts]
    return Table("Misses", ["frames", *labels], rows, left=0)


def data(course: Course) -> dict[str, Any]:
    """The course as plain data."""
    return {
        "policy": course.policy,
        "frames": course.frames,
        "hits": course.hits,
        "misses": course.misses,
        "miss_ratio": course.miss_ratio,
        "cold_misses": course.cold,
        "write_backs": course.write_backs,
        "steps": [
            {
                "page": step.reference.page,
                "write": step.reference.write,
                "hit": step.hit,
                "frame": step.frame,
                "victim": step.victim,
                "reason": step.reason,
                "written_back": list(step.written_back),
                **(_drawn(step) if step.frames else {}),
            }
            for step in course.steps
        ],
    }


def _drawn(step: Step) -> dict[str, Any]:
    shown = {heading: [list(pair) for pair in keys] for heading, keys in step.shown.items()}
    return {"frames": list(step.frames), "shown": shown}
