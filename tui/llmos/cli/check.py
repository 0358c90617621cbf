"""`llmos check`: whether scenario files and logs are in order."""

from __future__ import annotations

import click

from llmos.cli.output import json_option, print_json, say
from llmos.cli.plot import is_log
from llmos.errors import LlmosError, ScenarioError
from llmos.scenario.build import build
from llmos.scenario.load import find, load
from llmos.trace.log import read
from llmos.trace.state import check, fold


@click.command()
@click.argument("files", nargs=-1, required=True)
@json_option
@click.pass_context
def command(ctx: click.Context, files: tuple[str, ...], as_json: bool) -> None:
    """Check FILES: scenarios (all their problems at once, nothing is run) and saved logs (the invariants).

    Exit code 0: all in order; 1: a log breaks an invariant; 2: a file has problems.
    """
    results = {file: _problems(file) for file in files}
    if as_json:
        print_json(
            {file: {"ok": not code, "problems": problems} for file, (code, problems) in results.items()}
        )
    else:
        for file, (code, problems) in results.items():
            say("\n".join(problems) if code else f"{file}: in order")
    ctx.exit(max(code for code, _ in results.values()))


def _problems(file: str) -> tuple[int, list[str]]:
    """Return the exit code for one file and what is wrong with it."""
    try:
        if is_log(file):
            wrong = check(fold(read(file)))
            return (1 if wrong else 0), [f"{file}: {violation}" for violation in wrong]
        build(load(find(file)))
    except ScenarioError as error:
        return 2, [str(problem) for problem in error.problems]
    except LlmosError as error:
        return 2, [str(error)]
    return 0, []
