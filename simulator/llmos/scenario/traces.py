"""Trace files: arrivals and sizes that were recorded elsewhere, as CSV or JSON Lines.

- A CSV file has a header; each line of a .jsonl file is an object. The columns are `arrival` and
  `burst` for tasks, `arrival`, `prompt` and `output` for requests; `name`, `client`, `priority`,
  `tickets` and `deadline` may be there, others are ignored.
- A column of times may carry its unit in its name: `arrival_s`, `burst_ms`, `deadline_ns`. Without it
  each cell has its unit ("5 ms"), or is a number of ticks. Dates in `arrival` count from the first row.
- Rows may be in any order. Damaged rows are problems of the trace file, at their lines.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count, zip_longest
from pathlib import Path
from typing import IO, Any, Final

from llmos.errors import Problem, ScenarioError, did_you_mean
from llmos.scenario import positions, units
from llmos.scenario.source import Findings
from llmos.scenario.units import UnfitError

LARGEST_FILE_BYTES: Final = 256 * 2**20
LONGEST_LINE: Final = 2**20
MOST_PROBLEMS: Final = 10

TIMES: Final = ("arrival", "burst", "deadline")
TOKENS: Final = ("prompt", "output")
NUMBERS: Final = ("priority", "tickets")
TEXTS: Final = ("name", "client")
SUFFIXES: Final = ("_ns", "_us", "_ms", "_s")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DATE = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z?")


@dataclass(frozen=True, slots=True)
class Column:
    """Where a value is in the file: the column's name, and the unit of its times."""

    field: str
    name: str
    unit: str = ""


def look_for(trace: Path, path: positions.Path, findings: Findings) -> None:
    """Note it if the file `trace`, which is asked for at `path`, is not there."""
    try:
        there, beside = trace.is_file(), [file.name for file in trace.parent.glob("*")]
    except (OSError, ValueError):  # a name that no file can have
        there, beside = False, []
    if not there:
        hint = did_you_mean(trace.name, beside) or "a relative path starts at the scenario's folder"
        findings.add(path, f"there is no trace file {str(trace)[:200]!r}", hint=hint)


def read(
    path: Path, sizes: tuple[str, ...], columns: Mapping[str, str], *, tick_ns: int | None, most: int
) -> list[dict[str, Any]]:
    """The first `most` rows of a trace, each with `arrival` and `sizes` (ns, tokens), and what else it has.

    `columns` renames: {"prompt": "ContextTokens", "arrival_s": "time"}.
    Raises ScenarioError.
    """
    rows: list[dict[str, Any]] = []
    problems: list[Problem] = []
    found: list[Column] = []
    dated = False
    for line, raw in _rows(path):
        if not found:
            found = _columns(raw, sizes, columns, path, line)
        row: dict[str, Any] = {}
        for column in found:
            try:
                value = raw.get(column.name)
                date = _date(value) if column.field == "arrival" else None
                if date is not None:
                    dated = True
                    row["arrival"] = date
                elif value not in (None, "") or column.field in ("arrival", *sizes):
                    row[column.field] = _cell(column, value, tick_ns)
            except UnfitError as unfit:
                problems.append(Problem(unfit.message, path, line, column.name, unfit.allowed, unfit.hint))
        rows.append(row)
        if len(rows) == most or len(problems) >= MOST_PROBLEMS:
            break
    if problems:
        raise ScenarioError(problems)
    if not rows:
        raise ScenarioError([Problem("the trace has no rows", path, hint="a header and at least one line")])
    if dated:
        first = min(row["arrival"] for row in rows)
        for row in rows:
            row["arrival"] -= first
    return rows


def _rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of the file with their line numbers.

    Raises ScenarioError when it cannot be read.
    """
    try:
        if path.exists() and not path.is_file():
            raise _bad("the trace is no file", path)
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise _bad(f"the trace is larger than {LARGEST_FILE_BYTES // 2**20} MiB", path, hint="cut it")
        with path.open("rb") as file:
            rows = _json_rows if path.suffix == ".jsonl" else _csv_rows
            yield from rows(_lines(file, path), path)
    except FileNotFoundError as error:
        raise _bad("there is no such trace file", path) from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise _bad(f"cannot read the trace: {getattr(error, 'strerror', None) or error}", path) from error


def _lines(file: IO[bytes], path: Path) -> Iterator[str]:
    for number in count(1):
        line = file.readline(LONGEST_LINE)
        if not line:
            return
        if len(line) == LONGEST_LINE:
            raise _bad("the line is too long", path, number)
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _bad("the trace is not UTF-8 text", path, number) from error


def _json_rows(lines: Iterable[str], path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for line, text in enumerate(lines, start=1):
        if not text.isspace():
            yield line, _object(text, path, line)


def _csv_rows(lines: Iterable[str], path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.reader(lines, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        for cells in reader:
            if len(cells) > len(header):
                message = f"it has {len(cells)} cells, the header has {len(header)}"
                raise _bad(message, path, reader.line_num)
            if cells:
                yield reader.line_num, dict(zip_longest(header, map(str.strip, cells), fillvalue=""))
    except csv.Error as error:
        raise _bad(f"the trace is damaged: {error}", path, reader.line_num) from error


def _object(text: str, path: Path, line: int) -> dict[str, Any]:
    try:
        row = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise _bad("the line is no JSON object", path, line) from error
    if not isinstance(row, dict):
        raise _bad("the line is no JSON object", path, line)
    return row


def _columns(
    row: Mapping[str, Any], sizes: tuple[str, ...], renamed: Mapping[str, str], path: Path, line: int
) -> list[Column]:
    """Find the columns in the first row.

    Raises ScenarioError when one that is needed is not there.
    """
    wanted = {
        name + suffix: Column(name, name + suffix, suffix[1:]) for name in TIMES for suffix in ("", *SUFFIXES)
    }
    wanted |= {name: Column(name, name) for name in (*TOKENS, *NUMBERS, *TEXTS)}
    problems = []
    for key, name in renamed.items():
        if key not in wanted:
            hint = did_you_mean(key, wanted)
            problems.append(
                Problem(f'`columns` renames no "{key[:40]}"', path, hint=hint, allowed=tuple(wanted))
            )
        else:
            wanted[key] = Column(wanted[key].field, name, wanted[key].unit)
    found = {column.field: column for column in wanted.values() if column.name in row}
    for field in ("arrival", *sizes):
        if field not in found:
            hint = f"it has {', '.join(map(str, row))}"[:200]
            problems.append(Problem(f"the trace has no column `{field}`", path, line, hint=hint))
    if problems:
        raise ScenarioError(problems)
    return list(found.values())


def _cell(column: Column, value: Any, tick_ns: int | None) -> Any:
    """Read one cell.

    Raises UnfitError.
    """
    if value in (None, ""):
        raise UnfitError("it is empty")
    if column.field in TEXTS:
        return str(value)[:64]
    number = _number(value)
    if column.field in TIMES:
        ns = _time(column, number, tick_ns)
        if ns == 0 and column.field != "arrival":
            raise UnfitError("it should be more than 0")
        return ns
    if column.field in TOKENS:
        if (count := units.tokens(number)) < 1:
            raise UnfitError("it should be at least 1 token")
        return count
    if (
        not isinstance(number, int)
        or not -(10**9) <= number <= 10**9
        or (column.field == "tickets" and number < 1)
    ):
        raise UnfitError(f"it should be a whole number, not {units.shown(value)}")
    return number


def _time(column: Column, number: Any, tick_ns: int | None) -> int:
    if isinstance(number, str):
        return units.duration_ns(number, tick_ns)
    if not column.unit and tick_ns is None:
        hint = f"name the column {column.field}_s, {column.field}_ms or {column.field}_ns"
        raise UnfitError(f"{units.shown(number)} has no unit", hint=hint)
    return round(units.fraction_ns(number, units.NS.get(column.unit, tick_ns)))


def _number(value: Any) -> Any:
    """The number in a cell; other text stays text."""
    if isinstance(value, str) and len(value) <= 100:
        if re.fullmatch(r"[+-]?\d{1,40}", value):
            return int(value)
        if re.fullmatch(r"[+-]?(\d{1,40}\.?|\d{0,40}\.\d{1,40})([eE][+-]?\d{1,3})?", value):
            return Decimal(value)
    return value


def _date(value: Any) -> int | None:
    """The nanoseconds of a date and time since 1970; None for other values."""
    match = _DATE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        date = datetime.fromisoformat(f"{match[1]}T{match[2]}+00:00")
    except ValueError as error:
        raise UnfitError(f"{units.shown(value)} is no date") from error
    return (date - _EPOCH) // timedelta(seconds=1) * 10**9 + int((match[3] or "").ljust(9, "0"))


def _bad(message: str, path: Path, line: int | None = None, hint: str = "") -> ScenarioError:
    return ScenarioError([Problem(message, path, line, hint=hint)])
