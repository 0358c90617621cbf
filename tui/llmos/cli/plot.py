"""`llmos plot`: draw a run or a comparison."""

from __future__ import annotations

from pathlib import Path

import click

from llmos.cli.compare import measure
from llmos.cli.output import json_option, print_json, say
from llmos.cli.parsing import split_list
from llmos.cli.run import profile_option, scheduler_option, seed_option, simulate
from llmos.errors import LlmosError
from llmos.plot import cdf, comparison, gantt, save
from llmos.scenario.build import build
from llmos.scenario.load import find, load
from llmos.trace.events import Event
from llmos.trace.log import read
from llmos.trace.state import State, fold

KINDS = {
    "gantt": "who ran where and when, on every core and engine",
    "comparison": "bars of several schedulers side by side, with intervals",
    "cdf": "the distribution of a quantity over all tasks, one line per scheduler",
}


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("source")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Where to: .png, .svg or .pdf.")
@click.option(
    "--quantity", default="turnaround", show_default=True, help="For cdf: response, turnaround, ttft ..."
)
@click.option("--metric", "-m", "metrics", multiple=True, help="For comparison: which numbers.")
@scheduler_option
@click.option("--seeds", type=click.IntRange(1, 10_000), help="For comparison and cdf: how many seeds.")
@seed_option
@profile_option
@json_option
def command(
    kind: str,
    source: str,
    output: Path | None,
    quantity: str,
    metrics: tuple[str, ...],
    scheduler: str | None,
    seeds: int | None,
    seed: int | None,
    profile: str | None,
    as_json: bool,
) -> None:
    """Draw SOURCE, a scenario or (for gantt and cdf) a saved log, as a picture of the given KIND."""
    path = output or Path(f"{Path(source).name.split('.')[0]}-{kind}.png")
    saved = is_log(source)
    if kind == "gantt":
        figure = gantt(*_ran(source, scheduler, seed, profile))
    elif kind == "cdf" and saved:
        figure = cdf({Path(source).name: fold(read(source))}, quantity)
    elif saved:
        raise LlmosError("a log is one run, and a comparison needs several", hint="give it a scenario")
    else:
        result = measure(source, (scheduler,) if scheduler else (), seeds, profile)
        figure = cdf(result, quantity) if kind == "cdf" else comparison(result, split_list(metrics) or None)
    save(figure, path)
    if as_json:
        print_json({"kind": kind, "source": source, "picture": str(path)})
    else:
        say(f"picture: {path}")


def is_log(source: str) -> bool:
    """Return whether `source` names a saved log rather than a scenario."""
    return source.endswith((".jsonl", ".jsonl.gz", ".jsonl.part", ".jsonl.gz.part"))


def _ran(
    source: str, scheduler: str | None, seed: int | None, profile: str | None
) -> tuple[State, list[Event]]:
    """Return the last state and the events of a run, saved or made now."""
    if is_log(source):
        events = list(read(source))
        return fold(events, keep_spans=True), events
    spec = build(load(find(source)), seed=seed, scheduler=scheduler, profile=profile)
    events = []
    outcome = simulate(spec, keep_spans=True, sink=lambda batch, _data: events.extend(batch))
    return outcome.state, events
