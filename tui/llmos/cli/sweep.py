"""`llmos sweep`: a scenario at many points, and a table of what came of it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from llmos.cli.compare import USUAL
from llmos.cli.output import amount, json_option, print_json, progress, say, table
from llmos.cli.parsing import metrics_of, split_list
from llmos.cli.run import profile_option, scenario_argument
from llmos.errors import LlmosError
from llmos.scenario import results
from llmos.scenario.check import metric_names
from llmos.scenario.compare import estimate
from llmos.scenario.load import find, load
from llmos.scenario.source import Scenario
from llmos.scenario.sweep import Row, Swept, cores, processes, run_sweep

MOST_ROWS = 40
MOST_METRICS = 4
MOST_FAILED = 5


@click.command()
@scenario_argument
@click.option(
    "--set",
    "given",
    multiple=True,
    metavar="KEY=V1,V2",
    help='Values for a key: "cpu.scheduler=fcfs,rr quantum=5 ms". Repeat it for more keys.',
)
@click.option(
    "--seeds", type=click.IntRange(1, 10_000), default=1, show_default=True, help="How many at each point."
)
@click.option("--jobs", type=click.IntRange(1, 1024), help="Processes at a time; left out: one per core.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Write the results: .csv, .jsonl or .parquet. An interrupted sweep goes on from there.",
)
@click.option("--fresh", is_flag=True, help="Run everything again, also what is finished.")
@click.option(
    "--metric", "-m", "wanted", multiple=True, help="Which numbers (llmos run --json names them all)."
)
@profile_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    scenario: str,
    given: tuple[str, ...],
    seeds: int,
    jobs: int | None,
    out: Path | None,
    fresh: bool,
    wanted: tuple[str, ...],
    profile: str | None,
    as_json: bool,
) -> None:
    """Run SCENARIO at every point of its [[sweep]] tables and of --set, each with several seeds.

    Several keys span all their combinations. Finished runs are kept beside the results, in
    OUT.journal.jsonl, and are not run again. The exit code is 1 if a run failed.
    """
    loaded = load(find(scenario))
    values = _given(given)
    own = [axis.key for axis in loaded.model.sweep]
    metrics = metrics_of(wanted, metric_names(loaded, [*own, *values]))
    if out:
        results.check_path(out)
    swept = _run(loaded, values, seeds, jobs or cores(), out, fresh=fresh, profile=profile)
    columns = swept.columns(metrics)
    if out:
        results.write(out, columns, swept.records())
    if as_json:
        print_json(_document(swept, columns))
    else:
        _report(swept, metrics or _usual(loaded, swept))
        if out:
            kept = f", {swept.reused} of them from before" if swept.reused else ""
            say(f"results: {out} ({len(swept.rows)} rows{kept})")
    _tell_failed(swept)
    ctx.exit(1 if swept.failed else 0)


def _run(
    scenario: Scenario,
    given: dict[str, list[Any]],
    seeds: int,
    jobs: int,
    out: Path | None,
    *,
    fresh: bool,
    profile: str | None,
) -> Swept:
    journal = out.with_name(f"{out.name}.journal.jsonl") if out else None
    try:
        with progress(scenario.name) as report:
            return run_sweep(
                scenario,
                given=given,
                seeds=seeds,
                executor=lambda: processes(jobs),
                ahead=2 * jobs,
                journal=journal,
                fresh=fresh,
                profile=profile,
                progress=lambda done, total: report(done / total, f"{done} of {total} runs"),
            )
    except KeyboardInterrupt:
        if journal:
            click.echo(f"interrupted; finished runs are kept in {journal}, and are not run again", err=True)
        raise


def _given(options: Sequence[str]) -> dict[str, list[Any]]:
    """Read what stands in --set: a key, and its values."""
    given: dict[str, list[Any]] = {}
    for option in options:
        key, equals, rest = option.partition("=")
        values = [_value(text) for text in split_list((rest,))]
        if not (key.strip() and equals and values):
            hint = 'write it as in --set "cpu.scheduler=fcfs,rr quantum=5 ms"'
            raise LlmosError(f'--set "{option[:80]}" names no key and values', hint=hint)
        if key.strip() in given:
            raise LlmosError(f"--set {key.strip()} stands there twice", hint="put all its values in one")
        given[key.strip()] = values
    return given


def _value(text: str) -> Any:
    """Read what TOML has values for: 5, true, "a text", [1, 2], { policy = "rr" }; all else is a text."""
    try:
        value = tomllib.loads(f"value = {text}", parse_float=Decimal)["value"]
    except (ValueError, ArithmeticError, RecursionError):
        return text
    return value if isinstance(value, bool | int | Decimal | str | list | dict) else text


def _usual(scenario: Scenario, swept: Swept) -> list[str]:
    """Return what the scenario's [compare] asks for, or the usual ones that tell something."""
    asked = scenario.model.compare.metrics if scenario.model.compare else []
    telling = {name for row in swept.rows for name, value in row.result.metrics.items() if value}
    usual = [name for name in swept.metrics if name.split(".", 1)[1] in USUAL and name in telling]
    return [name for name in asked if name in swept.metrics][:MOST_METRICS] or usual[:MOST_METRICS]


def _report(swept: Swept, metrics: Sequence[str]) -> None:
    """Print one line per point: its values, and means over the seeds."""
    say(swept.question, style="bold")
    say()
    points = [list(rows) for _, rows in groupby(swept.rows, key=lambda row: row.point)]
    shown = [[*rows[0].values, *(_cell(rows, name) for name in metrics)] for rows in points[:MOST_ROWS]]
    table("", (*swept.keys, *(name.removesuffix("_ns") for name in metrics)), shown, left=len(swept.keys))
    if len(points) > MOST_ROWS:
        say(f"... and {len(points) - MOST_ROWS:,} more points (--out writes them all)", style="dim")
    say()
    seeds = len(points[0])
    interval = "; +- is the 95 % confidence interval of the mean over the seeds" if seeds > 1 else ""
    counted = f"{len(points):,} point{'s' if len(points) > 1 else ''}"
    counted += f", {seeds} seed{'s' if seeds > 1 else ''} each"
    say(f"{swept.scenario}, {counted}{interval}", style="dim")
    if swept.profile:
        say(f"costs: {swept.profile}", style="dim")


def _cell(rows: Sequence[Row], name: str) -> str:
    values = [row.result.metrics[name] for row in rows if name in row.result.metrics]
    if not values:
        return "-"
    e = estimate(values)
    interval = f" +- {amount(e.half_width, name, digits=3)}" if e.half_width else ""
    return amount(e.mean, name, digits=4) + interval


def _document(swept: Swept, columns: Sequence[str]) -> dict[str, Any]:
    """Return a sweep as plain data, ready for JSON."""
    return {
        "schema": 1,
        "scenario": swept.scenario,
        "question": swept.question,
        "profile": swept.profile,
        "keys": swept.keys,
        "rows": [{name: record.get(name) for name in columns} for record in swept.records()],
    }


def _tell_failed(swept: Swept) -> None:
    for row in swept.failed[:MOST_FAILED]:
        point = ", ".join(f"{key} = {value}" for key, value in zip(swept.keys, row.values, strict=True))
        click.echo(f"failed: {point}, seed {row.seed}: {row.result.reason}", err=True)
    if len(swept.failed) > MOST_FAILED:
        click.echo(f"... and {len(swept.failed) - MOST_FAILED:,} more failed", err=True)
