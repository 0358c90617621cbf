"""The results of a sweep, as pictures need them: which keys vary, and means over the seeds.

- A row is a run: the values of the swept keys, its `seed`, whether it was `ok`, and its metrics, as
  `llmos sweep --out` writes them (CSV or JSON Lines).
- A run that failed, or that lacks the metric, counts for nothing; how many failed is told.
- A value such as "5 ms" is a number where all values of its key are: in order, and to scale.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from llmos.errors import LlmosError, did_you_mean
from llmos.plot.words import Unit, caption, is_metric, time_unit
from llmos.scenario.compare import Estimate, estimate
from llmos.scenario.units import NS

Record = dict[str, Any]

ABOUT = ("point", "seed", "ok", "reason", "log_sha256")
"""Columns that are neither keys nor metrics."""
FIRST = {"cpu": "cpu.response_mean_ns", "llm": "llm.ttft_mean_ns"}
"""What a world is asked for when nobody asks for anything else."""
HUGE = 1e150
"""What is not below this is no measurement, and its square would be no number."""
_AMOUNT = re.compile(r"\s*([+-]?[\d_]*\.?\d+(?:[eE][+-]?\d+)?)\s*(\D*?)\s*")


@dataclass(slots=True)
class Results:
    """Rows of a sweep; what the file does not know (the question, ...) may be added."""

    rows: list[Record]
    name: str = ""
    question: str = ""
    scenario: str = ""
    convention: str = ""
    profile: str = ""
    keys: dict[str, list[Any]] = field(init=False)
    """Each key that takes several values -> these, in order."""

    def __post_init__(self) -> None:
        names = dict.fromkeys(name for row in self.rows for name in row)
        found = {n: _ordered([row.get(n) for row in self.rows]) for n in names if not _is_number_of_a_run(n)}
        self.keys = {name: values for name, values in found.items() if len(values) > 1}

    @property
    def metrics(self) -> list[str]:
        """The metrics that some run has."""
        there = dict.fromkeys(name for row in self.rows for name, value in row.items() if value is not None)
        return [name for name in there if is_metric(name)]

    def chosen(self, metrics: Sequence[str]) -> list[str]:
        """Return the metrics asked for, or else the first that people want of each world."""
        for name in metrics:
            if name not in self.metrics:
                hint = did_you_mean(name, self.metrics) or f"there are: {', '.join(self.metrics)}"
                raise LlmosError(f'these results have no metric "{name}"', hint=hint)
        usual = [name for name in FIRST.values() if name in self.metrics]
        return list(dict.fromkeys(metrics)) or usual or self.metrics[:1]

    def check_keys(self, keys: Sequence[str]) -> None:
        """Raise LlmosError for a key that does not vary."""
        for name in keys:
            if name not in self.keys:
                hint = did_you_mean(name, self.keys) or f"these do: {', '.join(self.keys) or 'none'}"
                raise LlmosError(f'no key "{name}" varies in these results', hint=hint)

    def means(self, metric: str, keys: Sequence[str]) -> dict[tuple[Any, ...], Estimate]:
        """Return the mean of a metric over the seeds, for every combination of the keys' values."""
        values: dict[tuple[Any, ...], list[float]] = {}
        for row in self.rows:
            value = row.get(metric)
            if row.get("ok", True) and isinstance(value, int | float) and abs(value) < HUGE:
                values.setdefault(tuple(row.get(key) for key in keys), []).append(float(value))
        return {place: estimate(found) for place, found in values.items()}

    def caption(self, *remarks: str) -> list[str]:
        """Return what stands below a figure of these results."""
        seeds = sorted({row["seed"] for row in self.rows if isinstance(row.get("seed"), int)})
        failed = sum(not row.get("ok", True) for row in self.rows)
        left_out = f"{failed:,} of {len(self.rows):,} runs failed and are left out" if failed else ""
        about, costs = caption(self.scenario, seeds, self.convention, self.profile, left_out, *remarks)
        return [" · ".join(filter(None, [f"Results {self.name}" if self.name else "", about])), costs]


def read_results(path: str | Path) -> Results:
    """Read the results of a sweep, CSV or JSON Lines.

    Raises LlmosError when the file cannot be read or holds no results.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise LlmosError(f"cannot read the results: {why}", file=path) from error
    rows = _csv(text) if path.suffix == ".csv" else _json_lines(text, path)
    results = Results(rows, path.name)
    if not results.metrics:
        hint = "write results with: llmos sweep SCENARIO --out NAME.csv"
        raise LlmosError("these are no results of a sweep: no row has a metric", file=path, hint=hint)
    return results


def _csv(text: str) -> list[Record]:
    return [
        {name: _cell(cell) for name, cell in row.items() if name} for row in csv.DictReader(StringIO(text))
    ]


def _cell(cell: str | None) -> Any:
    if not cell:
        return None
    if cell in {"true", "false"}:
        return cell == "true"
    for kind in (int, float):
        try:
            return kind(cell)
        except ValueError:
            continue
    return cell


def _json_lines(text: str, path: Path) -> list[Record]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError) as error:
            raise LlmosError("this is no row of results", file=path, line=number) from error
        if not isinstance(row, dict):
            raise LlmosError("this is no row of results", file=path, line=number)
        # A list or a table as the value of a key is told from others by what it looks like.
        rows.append(
            {k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in row.items()} if row else row
        )
    return [row for row in rows if row]


def _is_number_of_a_run(name: str) -> bool:
    return name in ABOUT or is_metric(name)


# --- the values of a key ------------------------------------------------------------------------------


def _ordered(values: Sequence[Any]) -> list[Any]:
    """Return the different values: by size if they are amounts, else as they come."""
    different = list(dict.fromkeys(values))
    scale = scaled(different)
    return (
        [different[i] for i in sorted(range(len(different)), key=lambda i: scale[0][i])]
        if scale
        else different
    )


def scaled(values: Sequence[Any]) -> tuple[list[float], str] | None:
    """Return values as numbers and the unit they share, or None if they are not all amounts of one kind."""
    parts = [_amount(value) for value in values]
    found = [part for part in parts if part is not None]
    if len(found) < len(parts) or not found:
        return None
    units = {unit for _, unit in found}
    if len(units) == 1:
        return [number for number, _ in found], units.pop()
    if not units <= set(NS):
        return None
    times = [number * NS[unit] for number, unit in found]
    best: Unit = time_unit(max(times))
    return [ns / best.size for ns in times], best.name


def _amount(value: Any) -> tuple[float, str] | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return (float(value), "") if abs(value) < HUGE else None
    match = _AMOUNT.fullmatch(str(value))
    return (float(match[1].replace("_", "")), match[2]) if match else None
