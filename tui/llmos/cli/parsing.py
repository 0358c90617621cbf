"""What people type on the command line, turned into values."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import click

from llmos.errors import LlmosError, did_you_mean
from llmos.scenario.units import duration_ns


class Duration(click.ParamType[int]):
    """A time with its unit, as in scenario files; becomes nanoseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return `value` in nanoseconds, or fail with the cure."""
        if isinstance(value, int):
            return value
        try:
            return duration_ns(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = Duration()


class Budget(click.ParamType[float]):
    """A time to spend, 60 or 60s or "2 min", from a second to an hour; becomes seconds."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return `value` in seconds, or fail with the cure."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = DURATION.convert(value, param, ctx) / 1e9
        if not 1 <= seconds <= 3600:
            self.fail(f"{value} is not from 1 to 3600 s", param, ctx)
        return seconds


BUDGET = Budget()


def split_list(values: tuple[str, ...]) -> list[str]:
    """Split "a, b=[1, 2], c" at the commas outside brackets and "quotes", for each of `values`."""
    out: list[str] = []
    for value in values:
        depth, quoted, part = 0, False, ""
        for char in value:
            quoted ^= char == '"'
            depth += 0 if quoted else (char in "([{") - (char in ")]}")
            if char == "," and depth == 0 and not quoted:
                out.append(part)
                part = ""
            else:
                part += char
        out.append(part)
    return [part.strip() for part in out if part.strip()]


def metrics_of(values: tuple[str, ...], known: Collection[str]) -> list[str]:
    """Split a list of metrics, each of which should be `known`; raises LlmosError, with the cure."""
    names = split_list(values)
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or "write world.quantity_statistic, as in cpu.turnaround_mean_ns"
            raise LlmosError(f'there is no metric "{name[:60]}" here', hint=hint)
    return names
