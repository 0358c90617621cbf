"""`llmos assignment`: start, check and grade classroom assignments."""

from __future__ import annotations

from pathlib import Path

import click

from llmos.assignment import Report, check, grade, list_assignments, start
from llmos.cli.output import json_option, print_json, progress, say, table

folder_argument = click.argument("folder", type=click.Path(path_type=Path))
sandbox_option = click.option(
    "--require-sandbox", is_flag=True, help="Refuse to run a submission where it cannot be locked in."
)


@click.group()
def command() -> None:
    """Start, check and grade classroom assignments."""


@command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the assignments that there are."""
    found = list_assignments()
    if as_json:
        print_json([{"name": a.name, "title": a.title, "summary": a.summary, "file": a.file} for a in found])
        return
    table("", ("name", "title", "what it is about"), [(a.name, a.title, a.summary) for a in found], left=3)


@command.command("start")
@click.argument("name")
@folder_argument
@json_option
def start_command(name: str, folder: Path, as_json: bool) -> None:
    """Put the statement, a starter file and the public cases of assignment NAME into FOLDER."""
    files = start(name, folder)
    if as_json:
        print_json([str(file) for file in files])
        return
    for file in files:
        say(str(file))
    say(f"read {files[0]}, fill in {files[1]}, then: llmos assignment check {folder}")


@command.command("check")
@folder_argument
@sandbox_option
@json_option
@click.pass_context
def check_command(ctx: click.Context, folder: Path, require_sandbox: bool, as_json: bool) -> None:
    """Run the public cases on the work in FOLDER. Exit code 1 if a case fails."""
    with progress("checking"):
        report = check(folder, require_sandbox=require_sandbox)
    _show(report, as_json)
    ctx.exit(0 if report.passed else 1)


@command.command("grade")
@folder_argument
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Write Gradescope's results.json here.")
@click.option(
    "--secret", type=click.Path(path_type=Path), help="A file with your secret: makes the hidden cases."
)
@sandbox_option
@json_option
def grade_command(
    folder: Path, output: Path | None, secret: Path | None, require_sandbox: bool, as_json: bool
) -> None:
    """Grade the submission in FOLDER on the public and the hidden cases.

    A wrong, broken or hostile submission is a graded result, and the exit code is 0.
    """
    with progress("grading"):
        report = grade(folder, json_path=output, secret=secret, require_sandbox=require_sandbox)
    _show(report, as_json)
    if output and not as_json:
        say(f"results: {output}")


def _show(report: Report, as_json: bool) -> None:
    if as_json:
        print_json(report.gradescope())
        return
    rows = [
        (row.name, "passed" if row.passed else "failed", f"{row.score} / {row.max_score}")
        for row in report.rows
    ]
    table(report.assignment, ("case", "", "points"), rows, left=2)
    say()
    failed = [row for row in report.rows if not row.passed]
    for row in failed[:1]:
        say(row.name, style="bold")
        say(row.output)
        say()
    if len(failed) > 1:
        say(f"{len(failed) - 1} more failed; mend this one first", style="dim")
    for note in report.notes:
        say(note, style="dim")
    say(f"{report.score} of {report.max_score} points", style="bold")
