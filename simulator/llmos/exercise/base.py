"""The contract of a topic: it poses a problem from a seed, and the simulator works the answer out.

- A topic is one file of this package with one class derived from `Topic`; there is nothing to register.
- `pose` turns a seed and options into an `Exercise`: a statement, questions, and the whole problem as a
  scenario that `llmos run` accepts ("" if it is about a policy or a structure alone). The same seed and
  options pose the same problem, on every machine and Python version.
- `Exercise.solve` runs that scenario and works the answer out from its log alone; without one it runs
  the simulator's own policy or structure.
- Statement and answer are parts (a text, a table, a listing), so that a terminal and a handout draw
  them each in its own way; `data` says the same to programs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import Any, ClassVar, Final, TypeVar

from llmos import plugins
from llmos.errors import LlmosError

PACKAGE: Final = "llmos.exercise"
TICK_NS: Final = 1_000_000
"""All times of an exercise are small whole numbers of ms; its scenario has a tick of 1 ms."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table; its first `left` columns are words, the others numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1


@dataclass(frozen=True, slots=True)
class Listing:
    """Lines whose columns stand below each other."""

    title: str
    lines: Sequence[str]


Part = Text | Table | Listing


@dataclass(frozen=True, slots=True)
class Heading:
    """The title of what follows."""

    text: str


Answer = Sequence[Part | Heading]


@dataclass(frozen=True, kw_only=True)
class Solution:
    """A worked answer: for people, and as data ready for JSON (times in ticks of 1 ms)."""

    parts: Answer
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """A posed problem; `toml` is the same as a scenario, if it is one, `worksheet` is what to fill in."""

    topic: str
    seed: int
    title: str
    statement: Sequence[Part]
    questions: Sequence[str]
    worksheet: Sequence[Part]
    toml: str
    data: Mapping[str, Any]
    solve: Callable[[], Solution]


@dataclass(frozen=True, kw_only=True)
class Option:
    """Something that a person may choose: a whole number from `low` to `high`, a text, or yes (`flag`)."""

    name: str
    """With underscores; the command line has dashes in their place."""
    help: str
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()
    many: bool = False
    flag: bool = False


class Topic(ABC):
    """A kind of exercise; the first line of its docstring is what the list of topics says."""

    options: ClassVar[tuple[Option, ...]] = ()
    has_scenario: ClassVar[bool] = True
    """Whether its exercises are scenarios that `llmos run` accepts."""

    @abstractmethod
    def pose(self, seed: int, options: Mapping[str, Any]) -> Exercise:
        """Pose the problem number `seed` (0 or more); options that are left out have their default.

        Raises LlmosError when the options do not fit.
        """


def topics() -> dict[str, type[Topic]]:
    """The topics that there are: name -> class."""
    return plugins.available(PACKAGE, Topic)


def refuse_both(given: str, options: Mapping[str, Any], *others: str) -> None:
    """Raise LlmosError if the option `given` is there, and one of those that it leaves nothing to say."""
    for other in others:
        if options.get(given) and options.get(other) is not None:
            raise LlmosError(
                f"--{given} says it all, and --{other} would do nothing", hint=f"leave --{other} away"
            )


# --- drawing: from Random.random alone, whose sequence Python promises to keep --------------------------


def whole(dice: Random, low: int, high: int) -> int:
    """Draw a whole number from `low` to `high`, both included."""
    return low + int(dice.random() * (high - low + 1))


def one_of(dice: Random, values: Sequence[T]) -> T:
    """Draw one of `values`."""
    return values[whole(dice, 0, len(values) - 1)]


def shuffled(dice: Random, values: Sequence[T]) -> list[T]:
    """Draw an order of `values`."""
    keys = [dice.random() for _ in values]
    return [values[i] for i in sorted(range(len(values)), key=keys.__getitem__)]


# --- writing --------------------------------------------------------------------------------------------


def ticks(ns: int) -> float:
    """Return a time in ticks: whole where it can be."""
    return ns // TICK_NS if ns % TICK_NS == 0 else ns / TICK_NS


def number(value: Fraction | float) -> str:
    """Write a number with at most two decimals: 3, 2.5, 6.67."""
    return f"{float(value):.2f}".rstrip("0").rstrip(".")


def time(ns: int | None) -> str:
    """Write a time in ticks: 3, 2.5; "-" where there is none."""
    return "-" if ns is None else number(Fraction(ns, TICK_NS))
