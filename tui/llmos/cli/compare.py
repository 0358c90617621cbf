"""`llmos compare`: the same scenario under several policies, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from llmos.cli.output import amount, json_option, print_json, progress, say, table
from llmos.cli.parsing import metrics_of, split_list
from llmos.cli.run import profile_option, scenario_argument
from llmos.scenario.check import metric_names
from llmos.scenario.compare import Column, Comparison, Estimate, compare, estimate
from llmos.scenario.load import find, load
from llmos.scenario.points import seeds_of
from llmos.scenario.source import Scenario

SUBJECTS = {"cpu": "CPU tasks", "llm": "LLM requests", "memory": "Memory"}
USUAL = (
    "response_mean_ns", "turnaround_mean_ns", "turnaround_p95_ns", "ttft_mean_ns", "tpot_mean_ns",
    "slowdown_mean", "switches", "overhead", "deadline_misses", "major_faults", "faults_per_1000",
    "tlb_miss_ratio", "effective_access_mean_ns",
)  # fmt: skip
"""What is shown when nobody asks for anything else."""


@click.command()
@scenario_argument
@click.option(
    "--scheduler", "-s", "schedulers", multiple=True, help='Which ones: "fcfs,rr quantum=5 ms", or repeat.'
)
@click.option(
    "--replacement",
    "replacements",
    multiple=True,
    help='Which replacement policies of the memory: "lru,clock".',
)
@click.option("--seeds", type=click.IntRange(1, 10_000), help="How many seeds, from the scenario's own on.")
@click.option(
    "--metric", "-m", "metrics", multiple=True, help="Which numbers (llmos run --json names them all)."
)
@profile_option
@click.option(
    "--plot", "plot_path", type=click.Path(path_type=Path), help="Also draw it (.png, .svg or .pdf)."
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    scenario: str,
    schedulers: tuple[str, ...],
    replacements: tuple[str, ...],
    seeds: int | None,
    metrics: tuple[str, ...],
    profile: str | None,
    plot_path: Path | None,
    as_json: bool,
) -> None:
    """Run SCENARIO under several policies and seeds; print means with 95 % confidence intervals.

    All policies get the same work. What is not given is as the scenario's [compare] says. Of several
    schedulers and several replacement policies every combination is run.

    With several seeds, each column is also compared with the first one seed by seed; * marks a mean
    difference whose interval excludes 0.
    """
    loaded = load(find(scenario))
    wanted = metrics_of(metrics, metric_names(loaded))
    if plot_path:
        from llmos.plot import check_path

        check_path(plot_path)  # before the runs
    result = _measured(loaded, schedulers, replacements, seeds, profile)
    if plot_path:
        from llmos.plot import comparison, save

        save(comparison(result, wanted or result.asked or None), plot_path)
    if as_json:
        print_json(as_document(result, wanted))
    else:
        show(result, wanted)
        if plot_path:
            say(f"picture: {plot_path}")
    ctx.exit(1 if failures(result) else 0)


def failures(result: Comparison) -> list[str]:
    """Name the runs that did not do what they set out to do."""
    return [f"{column.name} with {failure}" for column in result.columns for failure in column.failures]


def measure(
    scenario: str,
    schedulers: tuple[str, ...] = (),
    replacements: tuple[str, ...] = (),
    seeds: int | None = None,
    profile: str | None = None,
) -> Comparison:
    """Run the comparison of the scenario of that name, with a progress bar."""
    return _measured(load(find(scenario)), schedulers, replacements, seeds, profile)


def _measured(
    scenario: Scenario,
    schedulers: tuple[str, ...],
    replacements: tuple[str, ...],
    seeds: int | None,
    profile: str | None,
) -> Comparison:
    with progress(scenario.name) as report:
        return compare(
            scenario,
            split_list(schedulers) or None,
            seeds_of(scenario, seeds) if seeds else None,
            progress=lambda done, total: report(done / total, f"{done} of {total} runs"),
            replacements=split_list(replacements) or None,
            profile=profile,
        )


def show(result: Comparison, wanted: Sequence[str] = ()) -> None:
    """Print one table per world, policies as columns; of the metrics that are wanted, or else asked for."""
    wanted = wanted or result.asked
    say(result.question, style="bold")
    say()
    for world, title in SUBJECTS.items():
        names = [n for n in wanted or _usual(result) if n.startswith(world + ".")]
        if names:
            rows = [row for name in names for row in _rows(result, name, world)]
            table(title, ("", *(column.name for column in result.columns)), rows)
            say()
    for failure in failures(result):
        click.echo(f"the run failed: {failure}", err=True)
    seeds = (
        f"seeds {result.seeds[0]}-{result.seeds[-1]}" if len(result.seeds) > 1 else f"seed {result.seeds[0]}"
    )
    interval = (
        "; +- is the 95 % confidence interval of the mean over the seeds" if len(result.seeds) > 1 else ""
    )
    say(f"{result.scenario}, {seeds}{interval}", style="dim")
    if _is_paired(result):
        first = result.columns[0].name
        say(f"minus {first}: mean of the differences seed by seed; * its interval excludes 0", style="dim")
    if result.profile:
        say(f"costs: {result.profile}", style="dim")


def _usual(result: Comparison) -> list[str]:
    there = dict.fromkeys(name for column in result.columns for name in column.values)

    def tells(name: str) -> bool:
        return any(value for column in result.columns for value in column.values.get(name, []))

    return [n for n in there if n.split(".", 1)[1] in USUAL and tells(n)]


def _rows(result: Comparison, name: str, world: str) -> list[list[str]]:
    """Return the means of a metric, and below them the differences from the first column."""
    short = name.removeprefix(world + ".").removesuffix("_ns")
    rows = [[short, *(_cell(_estimate(column, name), name) for column in result.columns)]]
    if _is_paired(result):
        differences = [result.difference(column, name) for column in result.columns]
        cells = [_cell(d, name) + (" *" if d and d.excludes_zero else "") for d in differences]
        rows.append([f"  minus {result.columns[0].name}", *cells])
    return rows


def _is_paired(result: Comparison) -> bool:
    return len(result.seeds) > 1 and len(result.columns) > 1


def _estimate(column: Column, name: str) -> Estimate | None:
    values = column.values.get(name)
    return estimate(values) if values else None


def _cell(e: Estimate | None, name: str) -> str:
    if e is None:
        return "-"
    interval = f" +- {amount(e.half_width, name, digits=3)}" if e.half_width else ""
    return amount(e.mean, name, digits=4) + interval


def as_document(result: Comparison, only: Sequence[str] = ()) -> dict[str, Any]:
    """Return a comparison as plain data, ready for JSON, with all metrics or some."""
    return {
        "schema": 1,
        "scenario": result.scenario,
        "question": result.question,
        "convention": result.convention,
        "profile": result.profile,
        "seeds": result.seeds,
        "columns": [
            {
                "scheduler": column.scheduler or None,
                "replacement": column.replacement or None,
                "log_sha256": column.hashes,
                "failed": column.failures,
                "metrics": {
                    name: {"mean": e.mean, "ci95_half_width": e.half_width, "n": e.n, "values": values}
                    | {"difference": _difference(result.difference(column, name))}
                    for name, values in column.values.items()
                    if not only or name in only
                    for e in [estimate(values)]
                },
            }
            for column in result.columns
        ],
    }


def _difference(e: Estimate | None) -> dict[str, Any] | None:
    if e is None:
        return None
    return {"mean": e.mean, "ci95_half_width": e.half_width, "n": e.n, "excludes_zero": e.excludes_zero}
