"""The results of a sweep as a table in a file: CSV, JSON Lines or Parquet.

- One row per point and seed, in the order of the points. The columns: point, seed, the swept keys, ok,
  reason, log_sha256, and every metric that any run has.
- A file is written whole or not at all. The ending of its name says what it is.
- Parquet needs pyarrow, which comes with `llmos[parquet]`.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from llmos.errors import LlmosError
from llmos.files import whole_file, write_whole

SUFFIXES: Final = (".csv", ".jsonl", ".parquet")

Record = dict[str, Any]


def check_path(path: Path) -> None:
    """See to it that results can be written to `path`, before anything has run.

    Raises LlmosError.
    """
    if path.suffix not in SUFFIXES:
        raise LlmosError(f"results are written as {', '.join(SUFFIXES)}", file=path, hint="name such a file")
    if path.is_dir():
        raise LlmosError("this is a folder; name a file", file=path)
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        hint = 'install it with: pip install "llmos[parquet]"; or write a .csv file'
        raise LlmosError("a .parquet file needs pyarrow, which is not installed", file=path, hint=hint)


def write(path: Path, columns: Sequence[str], records: Sequence[Record]) -> None:
    """Write `records` (column -> value, missing ones are empty) to `path`.

    Raises LlmosError.
    """
    check_path(path)
    if path.suffix == ".parquet":
        _write_parquet(path, columns, records)
        return
    write_whole(path, _csv(columns, records) if path.suffix == ".csv" else _json_lines(columns, records))


def _csv(columns: Sequence[str], records: Sequence[Record]) -> str:
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(columns)
    rows.writerows([_cell(record.get(name)) for name in columns] for record in records)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _json_lines(columns: Sequence[str], records: Sequence[Record]) -> str:
    return "".join(
        json.dumps({name: record.get(name) for name in columns}, ensure_ascii=False) + "\n"
        for record in records
    )


def _write_parquet(path: Path, columns: Sequence[str], records: Sequence[Record]) -> None:
    # By name: it is there or not, and has no types either way.
    pa, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    table = pa.table({name: _column([record.get(name) for record in records]) for name in columns})
    with whole_file(path, "wb") as file:
        parquet.write_table(table, file)


def _column(values: list[Any]) -> list[Any]:
    """The values of one type: a column of a table has one."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    return values if len(kinds) < 2 else [None if value is None else str(_cell(value)) for value in values]
