"""The topic paging: which references hit, which miss, and which page must go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final

from llmos.engine.streams import stream
from llmos.errors import LlmosError
from llmos.exercise import frames as drawn
from llmos.exercise.base import (
    Exercise,
    Heading,
    Listing,
    Option,
    Part,
    Solution,
    Table,
    Text,
    Topic,
    one_of,
    refuse_both,
    whole,
)
from llmos.exercise.frames import Course, Reference
from llmos.exercise.rules import policy_parts
from llmos.scenario.policies import parse_choice, replacement_spec
from llmos.scenario.spec import ReplacementSpec

USUAL: Final = ("fifo", "lru", "opt", "clock")
"""The policies that every book begins with."""
RULES: Final = {
    "clock": (
        "A page comes in with its counter at 0 (at 1 with load_counts), each hit adds 1 up to the largest "
        "value. The hand starts at the first frame and stops behind the page that came in last."
    ),
    "opt": "Of pages that are never used again the one that came in last goes.",
}
"""What one must know besides a policy's sentence to do it by hand."""
RECENT: Final = 3
"""Every other reference is to one of so many pages that were used last: programs have locality."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Everything that is given."""

    seed: int
    policies: Sequence[str]
    frames: int
    references: Sequence[Reference]

    @property
    def specs(self) -> list[ReplacementSpec]:
        """The policies, ready to be made."""
        return [replacement_spec(policy, seed=self.seed, place="frames") for policy in self.policies]


class Paging(Topic):
    """Which references to pages hit, which miss, and which page must go, under a replacement policy."""

    options: ClassVar[tuple[Option, ...]] = (
        Option(
            name="policy", many=True, help="Replacement policies, as in llmos paging [drawn by the seed]."
        ),
        Option(name="frames", low=1, high=10, help="Number of frames [3]."),
        Option(name="length", low=1, high=60, help="Number of references [16]."),
        Option(name="pages", low=2, high=20, help="Number of different pages [6]."),
        Option(name="writes", flag=True, help="Some references write."),
        Option(name="references", help='Your own references, "7 0 1 2w" [drawn by the seed].'),
    )
    has_scenario = False

    def pose(self, seed: int, options: Mapping[str, Any]) -> Exercise:
        refuse_both("references", options, "length", "pages")
        dice = stream(seed, "exercise/policy")
        given = options.get("references")
        own = drawn.parse(given) if given is not None else None
        if own is not None and not own:
            raise LlmosError("there are no references", hint='write them like this: "7 0 1 2w"')
        return exercise(
            Problem(
                seed=seed,
                policies=options.get("policy") or (one_of(dice, USUAL),),
                frames=options.get("frames") or 3,
                references=own
                or references(
                    seed,
                    options.get("length") or 16,
                    options.get("pages") or 6,
                    writes=bool(options.get("writes")),
                ),
            )
        )


def references(seed: int, length: int, pages: int, *, writes: bool) -> list[Reference]:
    """Draw references with some locality; none is to the page just used."""
    dice, marks = stream(seed, "exercise/references"), stream(seed, "exercise/writes")
    recent: list[int] = []
    out = []
    for _ in range(length):
        others = [page for page in range(pages) if page not in recent[:1]]
        known = recent[1:RECENT]
        page = one_of(dice, known) if known and whole(dice, 0, 1) else one_of(dice, others)
        recent = [page, *(other for other in recent if other != page)]
        out.append(Reference(page, writes and whole(marks, 1, 3) == 1))
    return out


def exercise(problem: Problem) -> Exercise:
    """The exercise about `problem`."""
    labels = [spec.name for spec in problem.specs]
    columns = ("", "page", "hit or miss", *drawn.frame_columns(problem.frames), "victim")
    rows = [
        [str(i), str(reference), *[""] * (len(columns) - 2)]
        for i, reference in enumerate(problem.references, start=1)
    ]
    questions = [
        "Which references hit, and which miss?",
        "Which page must go at each miss, and why?",
        "What is the miss ratio?",
    ]
    if len(labels) > 1:
        questions.append("Which policy misses least?")
    return Exercise(
        topic="paging",
        seed=problem.seed,
        title=f"Page replacement, exercise {problem.seed}: {', '.join(labels)}",
        statement=_statement(problem),
        questions=questions,
        worksheet=[Table(label, columns, rows, left=len(columns)) for label in labels],
        toml="",
        data={
            "policies": labels,
            "frames": problem.frames,
            "references": drawn.written(problem.references),
        },
        solve=partial(solve, problem),
    )


def _statement(problem: Problem) -> list[Part]:
    writes = any(reference.write for reference in problem.references)
    return [
        Text(
            f"A process refers to these pages, one after another. It has {problem.frames} frames, which are "
            "empty at first." + (" A w marks a reference that writes to its page." if writes else "")
        ),
        Listing("", [drawn.written(problem.references)]),
        *(part for policy in problem.policies for part in _rule(policy)),
    ]


def _rule(policy: str) -> list[Part]:
    choice = parse_choice(policy)
    more = RULES.get(choice["policy"])
    return [*policy_parts(choice), *([Text(more)] if more else [])]


def solve(problem: Problem) -> Solution:
    """Play the references under every policy."""
    courses = [drawn.play(problem.references, spec, problem.frames) for spec in problem.specs]
    parts: list[Part | Heading] = []
    for course in courses:
        parts += [
            Heading(course.policy),
            drawn.table(course, "Reference by reference"),
            Text(drawn.totals(course)),
        ]
    if len(courses) > 1:
        parts += [Heading("All policies"), drawn.summary(courses), Text(_best(courses))]
    return Solution(parts=parts, data={"policies": [drawn.data(course) for course in courses]})


def _best(courses: Sequence[Course]) -> str:
    least = min(course.misses for course in courses)
    best = " and ".join(course.policy for course in courses if course.misses == least)
    return f"Fewest misses: {best}, with {least}."
