"""`llmos run`: run a scenario and print what happened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import click

from llmos.cli.output import amount, fields, json_option, print_json, progress, say, table
from llmos.engine.simulation import FOREVER
from llmos.scenario.build import build
from llmos.scenario.load import find, load
from llmos.scenario.machine import MachineSpec, Outcome
from llmos.scenario.machine import run as run_machine
from llmos.trace.log import LogFile, Sink
from llmos.trace.memory import ResidentSets
from llmos.trace.metrics import metrics, response_ns, ttft_ns, turnaround_ns, waiting_ns
from llmos.trace.records import Mode, TaskState
from llmos.trace.report import document
from llmos.trace.state import State, check

MOST_ROWS = 20
PROCESS_COLUMNS = (
    "task", "arrival", "first run", "finish", "response", "turnaround", "waiting", "cpu", "preempted",
)  # fmt: skip
REQUEST_COLUMNS = (
    "request", "arrival", "prompt", "output", "first token", "end to end", "waiting", "preempted",
)  # fmt: skip

scenario_argument = click.argument("scenario")
seed_option = click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), help="Seed, in place of the scenario's own."
)
scheduler_option = click.option(
    "--scheduler",
    "-s",
    help='Scheduler, in place of the scenario\'s own: "rr", "rr quantum=5 ms", "mine.py:Mine".',
)
replacement_option = click.option(
    "--replacement",
    help='Replacement policy of the memory, in place of the scenario\'s own: "clock", "clock bits=2".',
)
profile_option = click.option(
    "--profile", help='Cost profile, in place of the scenario\'s own ("this-machine").'
)


@click.command()
@scenario_argument
@seed_option
@scheduler_option
@replacement_option
@profile_option
@click.option(
    "--log", "log_path", type=click.Path(path_type=Path), help="Write the event log (.jsonl or .jsonl.gz)."
)
@click.option("--references", is_flag=True, help="With --json or --log: also every reference to memory.")
@click.option("--rss", is_flag=True, help="With --json: also how many pages each task had, over time.")
@click.option("--queues", is_flag=True, help="With --log: also the ready queues after each decision.")
@click.option("--runs", is_flag=True, help="With --json: also who ran where and when.")
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    scenario: str,
    seed: int | None,
    scheduler: str | None,
    replacement: str | None,
    profile: str | None,
    log_path: Path | None,
    references: bool,
    rss: bool,
    queues: bool,
    runs: bool,
    as_json: bool,
) -> None:
    """Run SCENARIO: the name of a shipped one (llmos list) or a .toml file.

    The exit code is 1 if the simulated run did not do what it set out to do.
    """
    if rss and not as_json:
        raise click.UsageError("--rss goes with --json")
    if runs and not as_json:
        raise click.UsageError("--runs goes with --json")
    if queues and not log_path:
        raise click.UsageError("--queues goes with --log: the queues are in the log and nowhere else")
    if references and not (as_json or log_path):
        raise click.UsageError("--references goes with --json or --log")
    spec = build(
        load(find(scenario)), seed=seed, scheduler=scheduler, replacement=replacement, profile=profile
    )
    spec = replace(spec, shows_queues=queues, shows_references=references)
    resident = ResidentSets() if rss else None
    outcome = simulate(spec, log_path, keep_spans=runs, sink=resident)
    if as_json:
        state, sha256 = outcome.state, outcome.log_sha256
        print_json(document(state, sha256, runs=runs, references=references, resident=resident))
    else:
        report(outcome)
        if log_path:
            say(f"log: {log_path}")
    ctx.exit(verdict(outcome))


def simulate(
    spec: MachineSpec, log_path: Path | None = None, *, keep_spans: bool = False, sink: Sink | None = None
) -> Outcome:
    """Run `spec` with a progress bar and, if wanted, a log file and a sink of one's own."""
    with ExitStack() as stack:
        sinks: list[Sink] = [stack.enter_context(LogFile(log_path))] if log_path else []
        if sink:
            sinks.append(sink)
        show = stack.enter_context(progress(spec.scenario))
        end = spec.until_ns if spec.until_ns < FOREVER else 0

        def moved(now: int) -> None:
            show(now / end if end else 0.0, amount(now))

        return run_machine(spec, sinks, keep_spans=keep_spans, progress=moved)


def verdict(outcome: Outcome) -> int:
    """Return the exit code, and say what is wrong if something is."""
    wrong = check(outcome.state)
    for violation in wrong:
        click.echo(f"invariant broken: {violation}", err=True)
    if not outcome.ok:
        click.echo(f"the run failed: {outcome.reason}", err=True)
        if outcome.reason.startswith("event limit"):
            click.echo("    if this is no endless loop, raise max_events in the scenario", err=True)
    return 1 if wrong or not outcome.ok else 0


def report(outcome: Outcome) -> None:
    """Print tables of the tasks, the processors and what the means are."""
    state = outcome.state
    say(state.header.question, style="bold")
    say()
    processes = [t for t in state.tasks.values() if t.world == "process"]
    requests = [t for t in state.tasks.values() if t.world == "request"]
    if processes:
        blocked = any(task.blocked_ns for task in processes)  # what most runs do not have gets no column
        moved = any(task.migrations for task in processes)
        columns = (*PROCESS_COLUMNS, *["blocked"] * blocked, *["moved"] * moved)
        _tasks("CPU tasks", columns, processes, partial(_process_row, blocked=blocked, moved=moved))
    if requests:
        _tasks("LLM requests", REQUEST_COLUMNS, requests, _request_row)
    _deadlocks(state)
    _processors(state)
    _means(state)
    fields(
        [
            ("end", f"{amount(state.now)}: {outcome.reason}"),
            (
                "scenario",
                f"{state.header.scenario}, seed {state.header.seed}, convention {state.header.convention}",
            ),
            *([("costs", state.header.profile)] if state.header.profile else []),
            ("log sha256", outcome.log_sha256),
        ]
    )


def _tasks(
    title: str, columns: Sequence[str], tasks: list[TaskState], row: Callable[[TaskState], list[object]]
) -> None:
    table(title, columns, [row(task) for task in tasks[:MOST_ROWS]])
    if len(tasks) > MOST_ROWS:
        say(f"... and {len(tasks) - MOST_ROWS:,} more (llmos run --json has them all)", style="dim")
    say()


def _process_row(task: TaskState, *, blocked: bool, moved: bool) -> list[object]:
    misses = f" ({task.deadline_misses} missed)" if task.deadline_misses else ""
    return [
        task.name + misses,
        amount(task.arrival_ns),
        amount(task.first_run_ns),
        amount(task.finish_ns),
        amount(response_ns(task)),
        amount(turnaround_ns(task)),
        amount(waiting_ns(task)),
        amount(task.cpu_ns),
        task.preemptions,
        *[amount(task.blocked_ns)] * blocked,
        *[task.migrations] * moved,
    ]


def _request_row(task: TaskState) -> list[object]:
    return [
        task.name + (f" ({task.client})" if task.client else ""),
        amount(task.arrival_ns),
        task.prompt,
        task.output,
        amount(ttft_ns(task)),
        amount(turnaround_ns(task)),
        amount(waiting_ns(task)),
        task.preemptions,
    ]


def _deadlocks(state: State) -> None:
    for deadlock in state.deadlocks:
        names = [state.tasks[pid].name for pid in deadlock.cycle]
        rows = zip(names, deadlock.locks, [*names[1:], *names[:1]], strict=True)
        table(f"Deadlock at {amount(deadlock.t)}", ("task", "waits for", "which is held by"), [*rows], left=3)
        say()


def _processors(state: State) -> None:
    total = max(state.now, 1)
    rows = [
        [p.name, p.policy, *(f"{p.spent_ns[mode] / total:.1%}" for mode in Mode), p.switches, p.interrupts]
        for p in state.processors.values()
    ]
    columns = ("processor", "policy", "user", "kernel", "switching", "idle", "switches", "interrupts")
    table("Processors", columns, rows, left=2)
    say()


def _means(state: State) -> None:
    named = metrics(state)
    rows = []
    for name, value in named.items():
        if "_mean" in name:
            rows.append([name.replace("_mean", "").removesuffix("_ns"), amount(value, name, digits=4)])
            rows[-1] += [
                amount(named.get(name.replace("_mean", s)), name, digits=4) for s in ("_p50", "_p95", "_max")
            ]
    if rows:
        table("Over all tasks", ("", "mean", "median", "p95", "max"), rows)
        say()
