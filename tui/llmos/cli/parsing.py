"""What people type on the command line, turned into values."""

from __future__ import annotations

from typing import Any

import click

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


def split_list(values: tuple[str, ...]) -> list[str]:
    """Split "a, b(x=1, y=2), c" at the commas outside parentheses, for each of `values`."""
    out: list[str] = []
    for value in values:
        depth, part = 0, ""
        for char in value:
            depth += (char in "([") - (char in ")]")
            if char == "," and depth == 0:
                out.append(part)
                part = ""
            else:
                part += char
        out.append(part)
    return [part.strip() for part in out if part.strip()]
