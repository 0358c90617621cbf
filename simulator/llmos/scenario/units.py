"""Amounts as people write them: "5 ms", "16 tokens", "64 MiB", "20 /s".

- Everything is exact: decimal text becomes a whole number of nanoseconds, tokens or bytes and never
  passes through a float. What is finer than the unit is an error, not a rounding.
- A bare number is a duration only where the scenario declares a tick; the tick is a unit, too.
- What cannot be read raises `UnfitError`, which names the cure.
"""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction
from typing import Final

from llmos.errors import did_you_mean

NS: Final = {
    "ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip
BYTES: Final = {
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip

LONGEST_NS: Final = 2**62
"""No time is longer (146 years)."""
MOST_BYTES: Final = 2**62
MOST_TOKENS: Final = 10**9

_TICKS = ("tick", "ticks")
_TOKENS = ("token", "tokens")
_NUMBER = r"([+-]?(?:[0-9][0-9_]*(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)"
_AMOUNT = re.compile(rf"\s*{_NUMBER}\s*([A-Za-zµμ]*)\s*")
_RATE = re.compile(rf"\s*{_NUMBER}\s*(?:/|per\s)\s*([A-Za-zµμ]+)\s*")


class UnfitError(ValueError):
    """A value that does not do where it stands; `hint` names the cure, `allowed` what would do."""

    def __init__(self, message: str, *, hint: str = "", allowed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.allowed = allowed


def duration_ns(value: object, tick_ns: int | None = None) -> int:
    """The duration `value` in whole nanoseconds, 0 to 2**62: "5 ms", or a number of ticks."""
    return _whole(fraction_ns(value, tick_ns), value, "1 ns")


def fraction_ns(value: object, tick_ns: int | None = None) -> Fraction:
    """The duration `value` in nanoseconds, exactly, for rates and costs that may be finer than 1 ns."""
    number, unit = _amount(value, 'a duration such as "5 ms"')
    if not unit:
        if tick_ns is None:
            tick = 'or declare tick = "1 ms" at the top of the file'
            raise UnfitError(f"{shown(value)} has no unit", hint=f"{_with_unit(value, 'ms')}, {tick}")
        unit = "ticks"
    return _bounded(number * _unit(unit, _durations(tick_ns)), value, LONGEST_NS)


def gap_ns(value: object, tick_ns: int | None = None) -> Fraction:
    """The mean time from one to the next, in nanoseconds, of a rate such as "20 /s"."""
    match = _RATE.fullmatch(value) if isinstance(value, str) and len(value) <= 100 else None
    if match is None:
        raise UnfitError(f"{shown(value)} is no rate", hint='write one such as "20 /s"')
    rate = _bounded(Fraction(match[1].replace("_", "")), value, 10**12)
    if not rate:
        raise UnfitError("a rate of 0 never brings anything", hint='write one such as "20 /s"')
    return _bounded(_unit(match[2], _durations(tick_ns)) / rate, value, LONGEST_NS)


def tokens(value: object) -> int:
    """The number of tokens, 0 to 10**9: 16 or "16 tokens"."""
    number, unit = _amount(value, 'a number of tokens such as 16 or "16 tokens"')
    if unit and unit not in _TOKENS:
        raise UnfitError(f"{shown(value)} is no number of tokens", hint='in an engine, write "16 tokens"')
    return _whole(_bounded(number, value, MOST_TOKENS), value, "1 token")


def size_bytes(value: object) -> int:
    """The size in bytes, 0 to 2**62: "64 MiB"."""
    number, unit = _amount(value, 'a size such as "64 MiB"')
    if not unit:
        unit = "B" if number.denominator == 1 and number >= 1024 else "MiB"
        raise UnfitError(f"{shown(value)} has no unit", hint=_with_unit(value, unit))
    return _whole(_bounded(number * _unit(unit, BYTES), value, MOST_BYTES), value, "1 B")


def number(value: object) -> Decimal:
    """The plain number `value`, between -10**18 and 10**18."""
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        exact = Decimal(value)
        if exact.is_finite() and abs(exact) < 10**18:
            return exact
    raise UnfitError(f"it should be a number, not {kind(value)}")


def shown(value: object, most: int = 40) -> str:
    """A value from a file as people wrote it, cut to `most` characters."""
    try:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    except ValueError:  # an integer of more digits than Python likes to print
        return "that huge number"
    text = text if len(text) <= most else text[: most - 3] + "..."
    return f'"{text}"' if isinstance(value, str) else text


def _amount(value: object, example: str) -> tuple[Fraction, str]:
    """The number and the unit ("" if there is none) of an amount; `example` says what was wanted."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise UnfitError(f"it should be {example}, not {kind(value)}")
    if isinstance(value, int):
        return Fraction(value), ""
    if isinstance(value, Decimal):
        if not value.is_finite() or abs(value.adjusted()) > 40:  # beyond any use, and costly
            raise UnfitError(f"it should be {example}, not {shown(value)}")
        return Fraction(value), ""
    match = _AMOUNT.fullmatch(value) if len(value) <= 100 else None
    if match is None:
        raise UnfitError(f"{shown(value)} cannot be read", hint=f"write {example}")
    return Fraction(match[1].replace("_", "")), match[2].replace("μ", "µ")


def _with_unit(value: object, unit: str) -> str:
    bare = shown(value).strip('" ')
    return f'write a unit, as in "{bare} {unit}"'


def _durations(tick_ns: int | None) -> dict[str, int]:
    return NS | (dict.fromkeys(_TICKS, tick_ns) if tick_ns else {})


def _unit(unit: str, units: dict[str, int]) -> int:
    if unit not in units:
        hint = did_you_mean(unit, units)
        raise UnfitError(
            f'there is no unit "{unit[:20]}" here', hint=hint, allowed=tuple(dict.fromkeys(units))
        )
    return units[unit]


def _bounded(number: Fraction, value: object, most: int) -> Fraction:
    if number < 0:
        raise UnfitError(f"{shown(value)} is negative", hint="write 0 or more")
    if number > most:
        raise UnfitError(f"{shown(value)} is more than anything here can be")
    return number


def _whole(number: Fraction, value: object, finest: str) -> int:
    if number.denominator != 1:
        raise UnfitError(f"{shown(value)} is too fine: nothing is smaller than {finest}", hint="round it")
    return number.numerator


def kind(value: object) -> str:
    """What a TOML value is, in words: "a table", "true", "the text "abc"", "3.5"."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return shown(value)
