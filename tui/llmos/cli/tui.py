"""`llmos tui`: watch a run."""

from __future__ import annotations

from pathlib import Path

import click

from llmos.cli.plot import is_log
from llmos.cli.run import profile_option, scheduler_option, seed_option
from llmos.scenario.build import build
from llmos.scenario.load import find, load
from llmos.scenario.machine import MachineSpec

FIRST = "mlfq-gaming"


@click.command()
@click.argument("source", default=FIRST)
@seed_option
@scheduler_option
@profile_option
@click.pass_context
def command(
    ctx: click.Context, source: str, seed: int | None, scheduler: str | None, profile: str | None
) -> None:
    """Watch SOURCE, a scenario or a saved log: play it, step forward and back. Press ? for the keys."""
    title = ""
    if is_log(source):
        if seed is not None or scheduler or profile:
            raise click.UsageError("a saved log is of a run that is over: give the options with a scenario")
        watched: Path | MachineSpec = Path(source)
    else:
        scenario = load(find(source))
        title = scenario.name
        watched = build(scenario, seed=seed, scheduler=scheduler, profile=profile)
    from llmos.tui.app import run_tui

    ctx.exit(run_tui(watched, title=title))
