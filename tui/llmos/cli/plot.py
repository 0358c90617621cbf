"""`llmos plot`: draw a run or a comparison."""

from __future__ import annotations

from pathlib import Path

import click

from llmos.cli.compare import measure
from llmos.cli.output import json_option, print_json, progress, say
from llmos.cli.parsing import split_list
from llmos.cli.run import profile_option, scheduler_option, seed_option, simulate
from llmos.errors import LlmosError
from llmos.plot import (
    Results,
    cdf,
    comparison,
    gantt,
    heatmap,
    load_curve,
    queue,
    read_results,
    save,
    service,
)
from llmos.scenario.build import build
from llmos.scenario.load import find, load
from llmos.scenario.sweep import run_sweep
from llmos.trace.events import Event
from llmos.trace.log import read
from llmos.trace.state import State, fold

OF_A_RUN = {"gantt": gantt, "queue": queue, "service": service}
"""Drawn from the last state and the events of one run."""

KINDS = {
    "gantt": "who ran where and when, on every core and engine",
    "queue": "how long the ready queue was and how busy the processors were, over time",
    "service": "how much service each task had received, over time",
    "comparison": "bars of several schedulers side by side, with intervals",
    "cdf": "the distribution of a quantity over all tasks, one line per scheduler",
    "load": "a metric against the load (or another key that was swept), one line per scheduler",
    "heatmap": "a metric over two keys that were swept, as numbers and colours",
}


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("source")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Where to: .png, .svg or .pdf.")
@click.option(
    "--quantity", default="turnaround", show_default=True, help="For cdf: response, turnaround, ttft ..."
)
@click.option(
    "--metric", "-m", "metrics", multiple=True, help="For comparison, load and heatmap: which numbers."
)
@click.option(
    "--key", "-k", "keys", multiple=True, help="For load: the key across; for heatmap: those across and down."
)
@click.option("--title", default="", help="For load and heatmap: the question that the picture answers.")
@scheduler_option
@click.option(
    "--seeds", type=click.IntRange(1, 10_000), help="How many seeds, for all kinds that pool several runs."
)
@seed_option
@profile_option
@json_option
def command(
    kind: str,
    source: str,
    output: Path | None,
    quantity: str,
    metrics: tuple[str, ...],
    keys: tuple[str, ...],
    title: str,
    scheduler: str | None,
    seeds: int | None,
    seed: int | None,
    profile: str | None,
    as_json: bool,
) -> None:
    """Draw SOURCE as a picture of the given KIND.

    SOURCE is a scenario; for gantt, queue, service and cdf also a saved log. For load and heatmap it is a
    scenario with [[sweep]] tables, or the results that `llmos sweep --out` writes (.csv or .jsonl).
    """
    path = output or Path(f"{Path(source).name.split('.')[0]}-{kind}.png")
    saved = is_log(source)
    if kind in OF_A_RUN:
        figure = OF_A_RUN[kind](*_ran(source, scheduler, seed, profile))
    elif kind == "load":
        figure = load_curve(_results(source, title, seeds, profile), split_list(metrics), keys)
    elif kind == "heatmap":
        figure = heatmap(_results(source, title, seeds, profile), split_list(metrics), keys)
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


def _results(source: str, title: str, seeds: int | None, profile: str | None) -> Results:
    """Read the results of a sweep, or run the sweep that a scenario describes."""
    if source.endswith((".csv", ".jsonl")):
        results = read_results(source)
        results.question = title
        return results
    scenario = load(find(source))
    with progress(scenario.name) as report:
        swept = run_sweep(
            scenario,
            seeds=seeds or 1,
            profile=profile,
            progress=lambda done, total: report(done / total, f"{done} of {total} runs"),
        )
    spec = build(scenario, profile=profile)
    return Results(swept.records(), "", title or swept.question, scenario.name, spec.convention, spec.profile)


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
