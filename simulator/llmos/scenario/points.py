"""The points of a sweep: which keys vary, over which values, and the scenario at each point.

- Several keys span all their combinations, the last one varying fastest, in the order of the file.
- A point is the scenario with other values at those keys: it is validated like any scenario.
- A relative path in a file's own values starts at its folder, one that is given at the current folder.
- `check_points` tries the values of every key and then the points, up to `MOST_TRIED`. What is wrong is
  told once, where the value or the key stands in its [[sweep]].
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, product, zip_longest
from math import prod
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from llmos.errors import LlmosError, Problem
from llmos.scenario import keys, positions
from llmos.scenario.check import check, metric_names
from llmos.scenario.extends import with_paths_moved
from llmos.scenario.positions import Place
from llmos.scenario.source import Findings, Scenario, key_of, model_of
from llmos.scenario.units import UnfitError

MOST_POINTS: Final = 100_000
MOST_TRIED: Final = 200
"""So many points are tried when a scenario is read."""
MOST_TOLD: Final = 20
LARGEST_SEED: Final = 2**63 - 1

FIXED: Final = ("extends", "remove", "compare", "sweep")
"""What no run depends on, and so no sweep can vary."""
COLUMNS: Final = ("point", "seed", "ok", "reason", "log_sha256")
"""Columns of the results beside the swept keys and the metrics."""

Setting = tuple[positions.Path, Any]
"""A key path, and the value that it gets."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A key that varies: where it leads, its values, how they were written, and the name of its column."""

    path: positions.Path
    values: tuple[Any, ...]
    written: tuple[Any, ...]
    label: str
    at: positions.Path = ()
    """Where it stands in the scenario, as in ("sweep", 0); (): somebody asked for it."""


def axes_of(
    scenario: Scenario, findings: Findings, given: Mapping[str, Sequence[Any]] | None = None
) -> list[Axis]:
    """The axes of a scenario; those `given` (key -> values) take the place of its own of that key.

    What is wrong with their keys is noted.
    """
    axes: list[Axis] = []
    asked = Findings(None, {})
    own = {key_of(axis.path): axis for axis in _own(scenario, findings)}
    for key, values in (given or {}).items():
        if path := _path(scenario, key, (f"--set {key}",), asked):
            own[key_of(path)] = Axis(path, _from_here(scenario, path, values), tuple(values), key)
    findings.problems += asked.problems
    others = {*COLUMNS, *metric_names()}
    labels: set[str] = set()
    for axis in own.values():
        if axis.label in labels or (axis.at and axis.label in others):
            hint = "give the sweep another `label`"
            findings.add(axis.at, f'the results have another column "{axis.label}"', hint=hint)
        labels.add(axis.label)
        axes.append(axis)
    _count([len(axis.values) for axis in axes], axes[0].at if axes else (), findings)
    return axes


def seeds_of(scenario: Scenario, count: int) -> range:
    """So many seeds: the scenario's own, and the next ones.

    Raises LlmosError when there are not so many.
    """
    if scenario.seed + count - 1 > LARGEST_SEED:
        message = f"there are no {count:,} seeds from {scenario.seed} on: the largest is {LARGEST_SEED}"
        raise LlmosError(message, file=scenario.file, hint="give the scenario a smaller `seed`")
    return range(scenario.seed, scenario.seed + count)


def _from_here(scenario: Scenario, path: positions.Path, values: Sequence[Any]) -> tuple[Any, ...]:
    """Values that were written in the current folder, as the scenario's folder reads them."""
    prefix = os.path.relpath(Path(), scenario.folder)
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    return tuple(with_paths_moved(value, key, prefix) for value in values)


def _count(sizes: Sequence[int], at: positions.Path, findings: Findings) -> bool:
    """Whether keys with so many values have few enough points; if not, that is noted."""
    count = prod(sizes)
    if count > MOST_POINTS:
        shown = f"{count:,}" if count < 10**12 else "10^12 and more"
        message = f"there are {shown} points, and at most {MOST_POINTS:,} can be run"
        findings.add(at, message, hint="take fewer values, or several sweeps one after the other")
    return count <= MOST_POINTS


def _own(scenario: Scenario, findings: Findings) -> Iterator[Axis]:
    """The axes that the scenario's file describes."""
    # Before any range is worked out: that takes time.
    if not _count([sweep.size for sweep in scenario.model.sweep], ("sweep", 0), findings):
        return
    seen: set[positions.Path] = set()
    for i, sweep in enumerate(scenario.model.sweep):
        at = ("sweep", i)
        path = _path(scenario, sweep.key, (*at, "key"), findings)
        if path in seen:
            findings.add((*at, "key"), f'"{sweep.key}" is swept twice', hint="put all its values in one")
        elif path:
            seen.add(path)
            values = tuple(sweep.all())
            yield Axis(path, values, values, sweep.label or sweep.key, at)


def _path(scenario: Scenario, key: str, at: positions.Path, findings: Findings) -> positions.Path:
    """Where `key` leads, () if nowhere; that is noted."""
    try:
        path = keys.find(scenario.raw, keys.parse(key))
    except UnfitError as error:
        findings.add_error(at, error)
        return ()
    if path[0] in (*FIXED, "seed"):
        hint = (
            "every point has as many seeds as --seeds says, from the scenario's own on"
            if path[0] == "seed"
            else "sweep what a run depends on"
        )
        findings.add(at, f"`{path[0]}` cannot be swept", hint=hint)
        return ()
    return path


def settings(axes: Sequence[Axis]) -> Iterator[tuple[Setting, ...]]:
    """What every point sets, in order: the last axis varies fastest."""
    for values in product(*(axis.values for axis in axes)):
        yield tuple((axis.path, value) for axis, value in zip(axes, values, strict=True))


def raw_at(scenario: Scenario, point: Iterable[Setting]) -> dict[str, Any]:
    """The TOML data of a scenario at a point, without what no run depends on."""
    raw: Any = {key: value for key, value in scenario.raw.items() if key not in FIXED}
    for path, value in sorted(point, key=lambda setting: len(setting[0])):  # a table, then what is in it
        raw = keys.put(raw, path, value)
    return dict(raw)


def check_points(scenario: Scenario, axes: Sequence[Axis], findings: Findings) -> None:
    """Note what is wrong with the points; the scenario itself is in order."""
    told: dict[Problem, list[Place | None]] = {}
    about: dict[Problem, int] = {}
    for choice in islice(_choices(axes), MOST_TRIED):
        for i, problem in _wrong(scenario, axes, choice):
            bare = replace(problem, file=None, line=None)
            about[bare] = i
            told.setdefault(bare, []).append(_place(scenario, axes[i], choice[i]))
        if len(told) >= MOST_TOLD:
            break
    for problem, places in told.items():
        # One value is wrong where it stands; several in the same way mean that the key is.
        place = places[0] if len(set(places)) == 1 else _place(scenario, axes[about[problem]], None)
        findings.problems.append(replace(problem, file=place and place.file, line=place and place.line))


def _choices(axes: Sequence[Axis]) -> Iterator[tuple[int, ...]]:
    """Points as one index per axis, each once: first every value, then every combination."""
    lengths = [range(len(axis.values)) for axis in axes]
    first = (0,) * len(axes)
    # Ends first: what is wrong with a long range is mostly wrong there.
    lines = (
        [(*first[:a], i, *first[a + 1 :]) for i in (0, indexes[-1], *indexes)]
        for a, indexes in enumerate(lengths)
    )
    crossing = chain.from_iterable(zip_longest(*lines))
    return iter(dict.fromkeys(islice(filter(None, chain(crossing, product(*lengths))), 4 * MOST_TRIED)))


def _wrong(scenario: Scenario, axes: Sequence[Axis], choice: Sequence[int]) -> list[tuple[int, Problem]]:
    """What is wrong with one point, and which axis has to do with it."""
    point = [(axis.path, axis.values[i]) for axis, i in zip(axes, choice, strict=True)]
    raw = raw_at(scenario, point)
    findings = Findings(None, {})
    try:
        there = replace(scenario, model=model_of(raw), raw=raw, lines={})
        check(there, findings)
    except ValidationError as error:
        findings.add_validation(error, raw)
    return [(_axis(axes, problem.key), problem) for problem in dict.fromkeys(findings.problems)]


def _axis(axes: Sequence[Axis], key: str) -> int:
    """The axis that a problem at `key` comes from: the one at it, above it or below it."""
    for i, axis in enumerate(axes):
        own = key_of(axis.path)
        if f"{key}.".startswith((f"{own}.", f"{own}[")):
            return i
    below = [i for i, axis in enumerate(axes) if key_of(axis.path).startswith(key)]
    return below[-1] if below else 0


def _place(scenario: Scenario, axis: Axis, value: int | None) -> Place | None:
    """Where a value of an axis stands in the file; None: where its key does."""
    if not axis.at:
        return None
    inside: positions.Path = ("key",) if value is None else ("values", value)
    listed = (*axis.at, "values") in scenario.lines
    return positions.line_of(scenario.lines, (*axis.at, *(inside if listed or value is None else ("range",))))
