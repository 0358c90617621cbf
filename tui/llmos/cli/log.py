"""`llmos log`: print, filter or export the events of a saved log."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import NODEFAULT
from msgspec.structs import fields

from llmos.cli.output import print_json, say
from llmos.cli.parsing import DURATION
from llmos.errors import LlmosError, did_you_mean
from llmos.sched.base import duration
from llmos.trace.events import KINDS, Arrive, Event, Exec, Run, arguments, kind_of
from llmos.trace.expand import expand
from llmos.trace.log import read
from llmos.trace.perfetto import write

NAMES = [str(kind.__struct_config__.tag) for kind in KINDS]


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--kind", "kinds", multiple=True, help="Only events of this kind (may be repeated).")
@click.option("--task", "tasks", multiple=True, help="Only events of the task with this name or pid.")
@click.option("--cpu", type=int, help="Only events of this processor.")
@click.option("--from", "start", type=DURATION, default=0, help='Only events from this time on ("5 ms").')
@click.option("--to", "stop", type=DURATION, default=None, help="Only events before this time.")
@click.option("--expand", "expanded", is_flag=True, help="Write compact records out, one per iteration.")
@click.option("--export", "form", type=click.Choice(["perfetto"]), help="Write a trace for ui.perfetto.dev.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="With --export: where to (.json).")
@click.option("--json", "as_json", is_flag=True, help="Print the events as JSON Lines.")
def command(
    file: Path,
    kinds: tuple[str, ...],
    tasks: tuple[str, ...],
    cpu: int | None,
    start: int,
    stop: int | None,
    expanded: bool,
    form: str | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Print the events of a saved log FILE, one a line: time, processor, task, kind, what, why.

    With --export, all of them are written into one file for another program.
    """
    _check_kinds(kinds)
    events = expand(read(file)) if expanded else read(file)
    if form:
        if kinds or tasks or cpu is not None or start or stop is not None:
            raise click.UsageError("--export writes the whole log; only --expand goes with it")
        _export(events, file, output or Path(f"{_stem(file)}.{form}.json"), as_json=as_json)
        return
    if output:
        raise click.UsageError("--output goes with --export; to keep what is printed, use > FILE")
    _print(events, _Wanted(kinds, tasks, cpu, start, stop), as_json=as_json)


@dataclass(frozen=True)
class _Wanted:
    """Which events are printed: of these kinds, of these tasks (names or pids) ...; none named: all."""

    kinds: tuple[str, ...]
    tasks: tuple[str, ...]
    cpu: int | None
    start: int
    stop: int | None

    def fits(self, event: Event, name: str) -> bool:
        """Say whether an event, whose task is called `name`, is one of them."""
        return (
            self.start <= event.t
            and (self.stop is None or event.t < self.stop)
            and self.cpu in (None, event.cpu)
            and (not self.kinds or kind_of(event) in self.kinds)
            and (not self.tasks or str(event.task) in self.tasks or name in self.tasks)
        )


def _print(events: Iterable[Event], wanted: _Wanted, *, as_json: bool) -> None:
    names: dict[int, str] = {}
    seen: set[str] = set()
    for event in events:
        if isinstance(event, Run) and wanted.cpu is not None:
            _check_cpu(wanted.cpu, event)
        if isinstance(event, Arrive | Exec):
            names[event.task] = event.name
            seen |= {event.name, str(event.task)}
        if not wanted.fits(event, names.get(event.task, "")):
            continue
        if as_json:
            click.echo(msgspec.json.encode(event).decode())
        else:
            click.echo("  ".join(_cells(event, names)).rstrip())
    for task in wanted.tasks:
        if task not in seen:
            raise LlmosError(f'no task of this log is called "{task}"', hint=did_you_mean(task, seen))


def _check_cpu(cpu: int, header: Run) -> None:
    there = [processor.id for processor in header.processors]
    if cpu not in there:
        raise LlmosError(f"this log has no processor {cpu}", hint=f"it has {', '.join(map(str, there))}")


def _check_kinds(kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        if kind not in NAMES:
            hint = did_you_mean(kind, NAMES) or f"the kinds are: {', '.join(NAMES)}"
            raise LlmosError(f'no event is of kind "{kind}"', hint=hint)


def _stem(file: Path) -> str:
    """Return a log's name without the endings that llmos gives it."""
    name = file.name
    for suffix in (".part", ".gz", ".jsonl"):
        name = name.removesuffix(suffix)
    return name


def _export(events: Iterable[Event], file: Path, path: Path, *, as_json: bool) -> None:
    write(events, path)
    if as_json:
        print_json({"log": str(file), "trace": str(path)})
    else:
        say(f"trace: {path} (open it at https://ui.perfetto.dev)")


def _cells(event: Event, names: dict[int, str]) -> Iterator[str]:
    yield f"{duration(event.t):>12}"
    yield f"cpu {event.cpu}" if event.cpu >= 0 else "     "
    yield f"{kind_of(event):11}"
    yield f"{names.get(event.task, '') if event.task >= 0 else '':12}"
    details = [
        f"{name}={duration(value) if name.endswith('_ns') else value}"
        for name, value in arguments(event).items()
        if value != _usual(type(event)).get(name, [])
    ]
    yield "  ".join([*([event.reason] if event.reason else []), *details])


@cache
def _usual(kind: type[Event]) -> dict[str, Any]:
    """The values of a kind's arguments that go without saying, where they are not empty lists."""
    return {field.name: field.default for field in fields(kind) if field.default is not NODEFAULT}
