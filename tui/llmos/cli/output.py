"""What commands print with: tables and progress for people, JSON for programs.

- Tables go to stdout, plain when it is no terminal. Progress goes to stderr and only to a terminal.
- `--json` prints one document and nothing else.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
import msgspec
from rich.console import Console, JustifyMethod, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from llmos.sched.base import duration

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")

PIPED_WIDTH = 160
"""Columns of a table that goes into a file or a pipe."""


def console() -> Console:
    """Return a console on stdout as it is now (tests and pipes replace it)."""
    width = None if sys.stdout.isatty() else max(PIPED_WIDTH, shutil.get_terminal_size().columns)
    return Console(width=width, highlight=False)


def print_json(document: object) -> None:
    """Print `document` as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], *, left: int = 1) -> None:
    """Print a table; the first `left` columns are text, the others are numbers."""
    shown = Table(title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False)
    shown.padding = (0, 2, 0, 0)
    for i, name in enumerate(columns):
        justify: JustifyMethod = "left" if i < left else "right"
        shown.add_column(Text(name), justify=justify, header_style="bold", overflow="fold")
    for row in rows:
        shown.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    _show(shown)


def _show(renderable: RenderableType) -> None:
    """Print without the blanks that fill a table's last column."""
    out = console()
    with out.capture() as captured:
        out.print(renderable)
    click.echo("\n".join(line.rstrip() for line in captured.get().split("\n")), nl=False)


def say(text: str = "", style: str = "") -> None:
    """Print a line of text as it is (no markup)."""
    console().print(Text(text, style=style))


def amount(value: float | None, name: str = "_ns", digits: int = 6) -> str:
    """Write a metric's value with the unit that its name ends with, to so many digits."""
    if value is None:
        return "-"
    if name.endswith("_ns") and abs(value) < 1000 and value != round(value):
        return f"{value:.4g} ns"  # a mean of a few nanoseconds
    if name.endswith("_ns"):
        return duration(round(value), digits)
    if name.endswith("_per_s"):
        return f"{value:,.4g} /s"
    if name.endswith(("utilisation", "overhead", "ratio")):
        return f"{value:.1%}"
    if float(value).is_integer() and abs(value) < 10**9:
        return f"{value:,.0f}"  # a count
    return f"{value:,.4g}"


@contextmanager
def progress(what: str) -> Iterator[Callable[[float, str], None]]:
    """Show a bar on stderr while a block runs; the block reports (fraction done, what it is doing)."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[doing]}"),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=1.0, doing="")

        def report(fraction: float, doing: str) -> None:
            bar.update(task, completed=fraction, doing=doing)

        yield report


def fields(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print names and values, one pair a line."""
    shown = Table(box=None, show_header=False, pad_edge=False)
    shown.add_column(style="bold")
    shown.add_column(overflow="fold")
    for name, value in pairs:
        shown.add_row(Text(name), Text(str(value)))
    _show(shown)
