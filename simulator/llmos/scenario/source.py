"""A scenario and where it came from, and the problems found in it.

- `Scenario` is the validated model with its file, its folder (where relative paths start), the data
  that it was read from and the place of every key: its own file, or one that it extends.
- `Findings` gathers problems, each at its place, and raises them all at once in the order of the file.
- What pydantic finds wrong is told in the words of the scenario file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from llmos.errors import LlmosError, Problem, ScenarioError, did_you_mean
from llmos.scenario import positions, units
from llmos.scenario.fields import TAG, Model
from llmos.scenario.model import TAGGED, ScenarioModel
from llmos.scenario.units import UnfitError, kind

MOST_PROBLEMS: Final = 100
"""So many are told."""
MOST_LOOKED_AT: Final = 1000
"""So many are put into words, to tell the first of them in the file."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario that has been read: its name, what it says and where it says it."""

    name: str
    model: ScenarioModel
    file: Path | None = None
    folder: Path = Path()
    """Where the relative paths in it start."""
    lines: Mapping[positions.Path, positions.Place] = field(default_factory=dict, repr=False)
    """Where each key stands."""
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The TOML data that `model` was made of."""

    @property
    def question(self) -> str:
        """The question that it answers."""
        return self.model.question

    @property
    def seed(self) -> int:
        """The seed that it asks for."""
        return self.model.seed


def model_of(raw: Mapping[str, Any]) -> ScenarioModel:
    """The model of the TOML data `raw`.

    Raises pydantic's ValidationError.
    """
    return ScenarioModel.model_validate(raw, context={"tick_ns": _tick(raw)})


def _tick(raw: Mapping[str, Any]) -> int | None:
    if "tick" not in raw:
        return None
    try:
        return units.duration_ns(raw["tick"]) or 1
    except UnfitError:
        return 1  # the tick itself is the problem; let there not be one for every number as well


class Findings:
    """The problems of one scenario."""

    def __init__(self, file: Path | None, lines: Mapping[positions.Path, positions.Place]) -> None:
        self.file = file
        self.lines = lines
        self.problems: list[Problem] = []
        self.untold = 0
        """Problems that were not looked at any more."""

    def add(
        self, path: positions.Path, message: str, *, allowed: tuple[str, ...] = (), hint: str = ""
    ) -> None:
        """Note what is wrong with the value at `path`."""
        place = positions.line_of(self.lines, path)
        file, line = place or (self.file, None)
        self.problems.append(Problem(message, file, line, key_of(path), allowed, hint))

    def add_error(self, path: positions.Path, error: LlmosError | UnfitError) -> None:
        """Note an error that came of the value at `path`; one about another file keeps its place."""
        if isinstance(error, ScenarioError):
            for problem in error.problems:
                place: positions.Path = (*path, problem.key) if problem.key else path
                self.add(place, problem.message, allowed=problem.allowed, hint=problem.hint)
        elif isinstance(error, UnfitError):
            self.add(path, error.message, allowed=error.allowed, hint=error.hint)
        else:
            where = ":".join(str(part) for part in (error.file, error.line) if part is not None)
            self.add(path, f"{where}: {error.message}" if where else error.message, hint=error.hint)

    def add_validation(self, error: ValidationError, raw: Mapping[str, Any]) -> list[positions.Path]:
        """Note what pydantic found wrong in the TOML data `raw`, and return where."""
        paths = []
        self.untold += max(0, error.error_count() - MOST_LOOKED_AT)
        for details in error.errors(include_url=False)[:MOST_LOOKED_AT]:
            path, unfit = _problem(details, raw)
            self.add_error(path, unfit)
            paths.append(path)
        return paths

    def raise_any(self) -> None:
        """Raise ScenarioError if there are problems."""
        if not self.problems:
            return
        ordered = sorted(
            dict.fromkeys(self.problems),
            key=lambda p: (str(p.file) != str(self.file), str(p.file), p.line or 0),
        )
        more = len(ordered) - MOST_PROBLEMS + self.untold
        if more > 0:
            last = replace(
                ordered[MOST_PROBLEMS], message=f"... and {more} more problems", key="", allowed=(), hint=""
            )
            ordered = [*ordered[:MOST_PROBLEMS], last]
        raise ScenarioError(ordered)


def key_of(path: positions.Path) -> str:
    """A key path as people write it: task[2].arrival; elements count from 0."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text[:200]


def _problem(details: ErrorDetails, raw: Mapping[str, Any]) -> tuple[positions.Path, UnfitError]:
    """The place of pydantic's error in the file, and what is wrong, in our words."""
    loc = details["loc"]
    path = _present(loc, raw)
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, UnfitError):
        return path, cause
    if details["type"] == "missing":
        return path, UnfitError(f"`{loc[-1]}` is missing", hint=_purpose(loc))
    if details["type"] == "extra_forbidden":
        keys = _keys(loc)
        near = did_you_mean(str(loc[-1]), keys)
        return path, UnfitError("there is no such key here", hint=near, allowed=() if near else tuple(keys))
    return path, _in_our_words(details)


def _present(loc: tuple[int | str, ...], raw: Any) -> positions.Path:
    """The part of pydantic's place that is there in the file: without tags, up to a missing key."""
    path: positions.Path = ()
    value = raw
    for part in loc:
        if isinstance(part, str) and part.startswith(TAG):
            continue
        if isinstance(part, int):
            inside = isinstance(value, list) and part < len(value)
        else:
            inside = isinstance(value, dict) and part in value
        if not inside:
            break
        value = value[part]
        path = (*path, part)
    return path


def _model_at(loc: tuple[int | str, ...]) -> type[Model]:
    """The model of the table that holds the last key of pydantic's place `loc`."""
    model: type[Model] = ScenarioModel
    for part in loc[:-1]:
        if not isinstance(part, str):
            continue
        if part in TAGGED:
            model = TAGGED[part]
        else:
            info = next((i for n, i in model.model_fields.items() if part in (n, i.alias)), None)
            model = next(_models(info.annotation), model) if info else model
    return model


def _models(annotation: Any) -> Iterator[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _keys(loc: tuple[int | str, ...]) -> list[str]:
    return sorted(info.alias or name for name, info in _model_at(loc).model_fields.items())


def _purpose(loc: tuple[int | str, ...]) -> str:
    """What a missing key is for."""
    info = _model_at(loc).model_fields.get(str(loc[-1]))
    return info.description or "" if info else ""


def _in_our_words(details: ErrorDetails) -> UnfitError:
    got, ctx, type_ = kind(details["input"]), details.get("ctx", {}), details["type"]
    wanted = {
        "int_type": "a whole number",
        "string_type": "text",
        "bool_type": "true or false",
        "list_type": "a list",
        "dict_type": "a table",
        "model_type": "a table",
        "model_attributes_type": "a table",
    }.get(type_)
    if wanted:
        return UnfitError(f"it should be {wanted}, not {got}")
    match type_:
        case "greater_than_equal":
            return UnfitError(f"it should be at least {ctx['ge']}, not {got}")
        case "less_than_equal":
            return UnfitError(f"it should be at most {ctx['le']:,}, not {got}")
        case "literal_error":
            allowed = tuple(str(ctx["expected"]).replace("'", "").replace(" or ", ", ").split(", "))
            text = details["input"]
            return UnfitError(
                f"it should not be {got}",
                allowed=allowed,
                hint=did_you_mean(text, allowed) if isinstance(text, str) else "",
            )
        case "string_too_short" | "too_short":
            return UnfitError(
                "it should not be empty"
                if ctx["min_length"] == 1
                else f"it needs {ctx['min_length']} of them"
            )
        case "string_too_long" | "too_long":
            return UnfitError(f"it is too long: at most {ctx['max_length']:,}")
        case "string_pattern_mismatch":
            return UnfitError("it should have no line breaks or other control characters")
    return UnfitError(f"{details['msg'][:1].lower()}{details['msg'][1:]}, not {got}")
