"""`llmos plot`: draw a run, a comparison or a sweep.

- A kind of picture says what it is drawn from; an option that has nothing to do with that is refused, and
  so is one that would change a run that is over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from llmos.cli.compare import measure
from llmos.cli.output import json_option, print_json, progress, say
from llmos.cli.parsing import metrics_of, split_list
from llmos.cli.run import profile_option, replacement_option, scheduler_option, seed_option, simulate
from llmos.errors import LlmosError
from llmos.plot import (
    Figure,
    Results,
    cdf,
    check_path,
    check_quantity,
    comparison,
    eat,
    faults,
    gantt,
    heatmap,
    load_curve,
    memory,
    queue,
    read_results,
    residents,
    save,
    service,
    working_set,
)
from llmos.scenario.build import build
from llmos.scenario.check import metric_names
from llmos.scenario.load import find, load
from llmos.scenario.source import Scenario
from llmos.scenario.sweep import run_sweep
from llmos.trace.events import Event
from llmos.trace.log import read
from llmos.trace.state import State, fold

MOST_ENTRIES = 2048
"""Of a level of the TLB, when nobody says what to sweep."""
LEAST_ENTRIES = 4
LEVEL = "memory.tlb.first.entries"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of picture: what it shows, what it is drawn from, and the options that it has besides."""

    about: str
    source: str
    """"run", "comparison" or "sweep"."""
    options: tuple[str, ...] = ()


KINDS: Final = {
    "gantt": Kind("who ran where and when, on every core and engine", "run"),
    "queue": Kind("how long the ready queue was and how busy the processors were, over time", "run"),
    "service": Kind("how much service each task had received, over time", "run"),
    "faults": Kind("page faults of each task over time", "run"),
    "memory": Kind("the resident set of each task over time", "run"),
    "residents": Kind("which page was in memory when", "run", ("references",)),
    "working-set": Kind("the size of working sets over time, and against the window", "run", ("window",)),
    "comparison": Kind("bars of several policies side by side, with intervals", "comparison", ("metrics",)),
    "cdf": Kind(
        "the distribution of a quantity over all tasks, one line per policy", "comparison", ("quantity",)
    ),
    "load": Kind(
        "a metric against the load (or another key that was swept), one line per scheduler", "sweep",
        ("metrics", "keys"),
    ),
    "heatmap": Kind(
        "a metric over two keys that were swept, as numbers and colours", "sweep", ("metrics", "keys")
    ),
    "eat": Kind("the time of a reference against the reach of the TLB", "sweep"),
}  # fmt: skip

OPTIONS: Final = {
    "run": ("scheduler", "replacement", "seed", "profile"),
    "comparison": ("scheduler", "replacement", "seeds", "profile"),
    "sweep": ("title", "seeds", "profile"),
}
"""What else a picture from such a source may be told."""
OF_RUNS: Final = ("scheduler", "replacement", "seed", "seeds", "profile", "references")
"""What nobody can change of a run that is over."""
OF_EVENTS: Final[dict[str, Callable[[State, list[Event]], Figure]]] = {
    "gantt": gantt, "queue": queue, "service": service, "faults": faults, "memory": memory,
    "residents": residents,
}  # fmt: skip
"""Drawn from the last state and the events of one run."""


@click.command()
@click.argument("kind", type=click.Choice(list(KINDS)))
@click.argument("source")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Where to: .png, .svg or .pdf.")
@click.option("--quantity", default="turnaround", help="For cdf: response, turnaround, ttft ... [turnaround]")
@click.option(
    "--metric", "-m", "metrics", multiple=True, help="For comparison, load and heatmap: which numbers."
)
@click.option(
    "--key", "-k", "keys", multiple=True, help="For load: the key across; for heatmap: those across and down."
)
@click.option("--title", default="", help="For load, heatmap and eat: the question that the picture answers.")
@click.option(
    "--window", type=click.IntRange(1), help="For working-set: so many references of a task; a 20th of them."
)
@click.option("--references", is_flag=True, help="For residents: also every reference to memory.")
@scheduler_option
@replacement_option
@click.option(
    "--seeds", type=click.IntRange(1, 10_000), help="How many seeds, for all kinds that pool several runs."
)
@seed_option
@profile_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    kind: str,
    source: str,
    output: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Draw SOURCE as a picture of the given KIND.

    SOURCE is a scenario; for all that show one run, and for cdf, also a saved log. For load, heatmap and eat
    it is a scenario (with [[sweep]] tables), or the results that `llmos sweep --out` writes (.csv or .jsonl).
    """
    given = {name for name in options if ctx.get_parameter_source(name) is not ParameterSource.DEFAULT}
    path = output or Path(f"{Path(source).name.split('.')[0]}-{kind}.png")
    check_path(path)
    _refuse(ctx, kind, source, given)
    save(_figure(kind, source, **options), path)
    if as_json:
        print_json({"kind": kind, "source": source, "picture": str(path)})
    else:
        say(f"picture: {path}")


def _refuse(ctx: click.Context, kind: str, source: str, given: set[str]) -> None:
    """Raise click's error for an option that would be ignored, LlmosError for a source that does not fit."""
    fitting = {name: {*OPTIONS[what.source], *what.options} for name, what in KINDS.items()}
    over = is_results(source) if KINDS[kind].source == "sweep" else is_log(source)
    for param in ctx.command.params:
        name, option = param.name or "", max(param.opts, key=len)
        if name in given - fitting[kind]:
            others = ", ".join(other for other in KINDS if name in fitting[other])
            raise click.UsageError(f"{option} does not go with {kind}; it goes with {others}", ctx)
        if name in given and over and name in OF_RUNS:
            raise click.UsageError(f"{option} goes with a scenario: {source} holds what has been run", ctx)
    if kind == "comparison" and over:
        raise LlmosError("a log is one run, and a comparison needs several", hint="give it a scenario")


def _figure(
    kind: str, source: str, *, quantity: str, metrics: tuple[str, ...], keys: tuple[str, ...], title: str,
    window: int | None, references: bool, scheduler: str | None, replacement: str | None, seeds: int | None,
    seed: int | None, profile: str | None,
) -> Figure:  # fmt: skip
    if KINDS[kind].source == "run":
        choices = {"seed": seed, "scheduler": scheduler, "replacement": replacement, "profile": profile}
        state, events = _ran(source, choices, references=references or kind == "working-set")
        return working_set(state, events, window) if kind == "working-set" else OF_EVENTS[kind](state, events)
    if kind == "eat":
        return _eat(source, title, seeds, profile)
    if KINDS[kind].source == "sweep":
        draw = load_curve if kind == "load" else heatmap
        wanted = _metrics(source, metrics)  # before the runs
        return draw(_results(source, title, seeds, profile), wanted, keys)
    if kind == "cdf" and is_log(source):
        return cdf({Path(source).name: fold(read(source))}, quantity)
    check_quantity(quantity)
    wanted = _metrics(source, metrics)
    schedulers, replacements = ((choice,) if choice else () for choice in (scheduler, replacement))
    result = measure(source, schedulers, replacements, seeds, profile)
    return cdf(result, quantity) if kind == "cdf" else comparison(result, wanted or None)


def _metrics(source: str, metrics: tuple[str, ...]) -> list[str]:
    """Return the metrics asked for; raises LlmosError for one that no run of a scenario can have."""
    if is_results(source):
        return split_list(metrics)
    scenario = load(find(source))
    return metrics_of(metrics, metric_names(scenario, [axis.key for axis in scenario.model.sweep]))


def _results(
    source: str, title: str, seeds: int | None, profile: str | None, given: dict[str, list[Any]] | None = None
) -> Results:
    """Read the results of a sweep, or run the sweep that a scenario describes, `given` included."""
    if is_results(source):
        results = read_results(source)
        results.question = title
        return results
    scenario = load(find(source))
    with progress(scenario.name) as report:
        swept = run_sweep(
            scenario,
            given=given,
            seeds=seeds or 1,
            profile=profile,
            progress=lambda done, total: report(done / total, f"{done} of {total} runs"),
        )
    spec = build(scenario, profile=profile)
    costs = swept.profile or spec.profile
    return Results(swept.records(), "", title or swept.question, scenario.name, spec.convention, costs)


def _eat(source: str, title: str, seeds: int | None, profile: str | None) -> Figure:
    """Draw against the reach of the TLB: of a sweep of its entries, or else of those of its first level."""
    if is_results(source):
        return eat(_results(source, title, seeds, profile))
    scenario = load(find(source))
    table = scenario.model.memory
    if table is None:
        hint = "give it some: [memory] with frames = 64"
        raise LlmosError("this machine has no memory, and no TLB", file=scenario.file, hint=hint)
    own = any(axis.key.endswith(".entries") for axis in scenario.model.sweep)
    given = None if own else _entries(scenario)
    return eat(_results(source, title, seeds, profile, given), table.page)


def _entries(scenario: Scenario) -> dict[str, list[Any]]:
    """Return what to sweep: the entries of the first level, in powers of two times its ways."""
    tlb = scenario.raw["memory"].get("tlb", {})
    if tlb == "none" or tlb is False:
        raise LlmosError("this machine has no TLB", file=scenario.file, hint="take `tlb` from its [memory]")
    ways = tlb.get("first", {}).get("ways") or 1
    entries = [ways << power for power in range(MOST_ENTRIES.bit_length())]
    return {LEVEL: [n for n in entries if min(LEAST_ENTRIES, ways << 2) <= n <= MOST_ENTRIES] or [ways]}


def is_log(source: str) -> bool:
    """Return whether `source` names a saved log rather than a scenario."""
    return source.endswith((".jsonl", ".jsonl.gz", ".jsonl.part", ".jsonl.gz.part"))


def is_results(source: str) -> bool:
    """Return whether `source` names the results of a sweep rather than a scenario."""
    return source.endswith((".csv", ".jsonl"))


def _ran(source: str, choices: dict[str, Any], *, references: bool) -> tuple[State, list[Event]]:
    """Return the last state and the events of a run, saved or made now."""
    if is_log(source):
        events = list(read(source))
        return fold(events, keep_spans=True), events
    spec = replace(build(load(find(source)), **choices), shows_references=references)
    events = []
    outcome = simulate(spec, keep_spans=True, sink=lambda batch, _data: events.extend(batch))
    return outcome.state, events
