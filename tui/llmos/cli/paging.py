"""`llmos paging`: the exam table of page replacement, or the policies side by side."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import click

from llmos.cli.exercise import document, show, show_part
from llmos.cli.output import json_option, print_json, say
from llmos.cli.parsing import split_list
from llmos.exercise import frames as drawn
from llmos.exercise.base import Text
from llmos.exercise.frames import Course, Reference
from llmos.exercise.paging import Paging
from llmos.scenario.policies import REPLACEMENT, names, replacement_spec

MOST_FRAMES = 1000
MOST_COUNTS = 100


class FrameCounts(click.ParamType[list[int]]):
    """A number of frames, several ("3,4"), or a range ("1..8")."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int]:
        """Return the numbers in order, or fail with the cure."""
        if isinstance(value, list):
            return value
        counts: set[int] = set()
        for part in str(value).split(","):
            match = re.fullmatch(r"\s*(\d{1,4})(?:\.\.(\d{1,4}))?\s*", part)
            low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
            if not 1 <= low <= high <= MOST_FRAMES:
                self.fail(
                    f'"{value}" is no number of frames: write 3, or 3,4, or 1..8, up to {MOST_FRAMES:,}',
                    param, ctx,
                )  # fmt: skip
            counts.update(range(low, high + 1))
        if len(counts) > MOST_COUNTS:
            self.fail(f"{len(counts):,} numbers of frames are too many: at most {MOST_COUNTS}", param, ctx)
        return sorted(counts)


@click.command()
@click.argument("references", nargs=-1)
@click.option(
    "--policy", "--policies", "-p", "policies", multiple=True,
    help='Which ones: "fifo,clock bits=2", or repeat; "all" of them. [lru]',
)  # fmt: skip
@click.option("--frames", "-f", type=FrameCounts(), help="How many: 3, or 3,4, or 1..8. [3]")
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True,
    help="Random numbers of a policy; number of the exercise.",
)  # fmt: skip
@click.option("--exercise", "posed", is_flag=True, help="Pose the problem, or one that the seed draws.")
@click.option("--solve", is_flag=True, help="Print the worked answer of the exercise as well.")
@json_option
def command(
    references: tuple[str, ...],
    policies: tuple[str, ...],
    frames: list[int] | None,
    seed: int,
    posed: bool,
    solve: bool,
    as_json: bool,
) -> None:
    """Show what a replacement policy does with REFERENCES to pages, one by one.

    A page is a number or a capital letter; 3w writes to page 3. Several policies or numbers of frames are
    compared. Try: llmos paging --policy fifo --frames 3 7 0 1 2 0 3 0 4
    """
    asked = split_list(policies)
    if "all" in asked:
        asked = names(REPLACEMENT)
    text = " ".join(references)
    if posed:
        _exercise(text, asked, frames, seed, solve=solve, as_json=as_json)
        return
    if solve:
        raise click.UsageError("--solve belongs to --exercise; without it the answer is what you get")
    given = drawn.parse(text)
    if not given:
        raise click.UsageError("there are no references: llmos paging --frames 3 7 0 1 2 0 3 0 4")
    specs = [replacement_spec(policy, seed=seed, place="frames") for policy in asked or ["lru"]]
    runs = [(spec, count) for count in frames or [3] for spec in specs]
    courses = [drawn.play(given, spec, count, drawn=len(runs) == 1) for spec, count in runs]
    if as_json:
        print_json(_document(given, courses))
    else:
        _show(given, courses)


def _exercise(
    text: str, policies: Sequence[str], frames: list[int] | None, seed: int, *, solve: bool, as_json: bool
) -> None:
    if frames and (len(frames) > 1 or frames[0] > drawn.DRAWN):
        raise click.UsageError(f"an exercise has one number of frames, up to {drawn.DRAWN}")
    exercise = Paging().pose(
        seed,
        {"policy": policies, "frames": frames[0] if frames else None, "references": text or None},
    )
    solution = exercise.solve() if solve else None
    if as_json:
        print_json(document(exercise, solution))
    else:
        show(exercise, solution)


def _document(references: Sequence[Reference], courses: Sequence[Course]) -> dict[str, Any]:
    """The answer as one document; docs/paging.md promises its keys."""
    return {
        "schema": 1,
        "references": drawn.written(references),
        "runs": [drawn.data(course) for course in courses],
        "anomalies": [
            {
                "policy": anomaly.more.policy,
                "frames": [anomaly.fewer.frames, anomaly.more.frames],
                "misses": [anomaly.fewer.misses, anomaly.more.misses],
            }
            for anomaly in drawn.anomalies(courses)
        ],
    }


def _show(references: Sequence[Reference], courses: Sequence[Course]) -> None:
    if len(courses) == 1:
        show_part(drawn.table(courses[0], f"{courses[0].policy}, {_count(courses[0].frames)}"))
        say()
        show_part(Text(drawn.totals(courses[0])))
        return
    counts = {course.frames for course in courses}
    if len(counts) == 1:
        say(f"{len(references)} references, {_count(*counts)}", style="bold")
        show_part(drawn.summary(courses))
        return
    show_part(drawn.by_frames(courses))
    say()
    for anomaly in drawn.anomalies(courses):
        say(str(anomaly), style="yellow")


def _count(frames: int) -> str:
    return "1 frame" if frames == 1 else f"{frames} frames"
