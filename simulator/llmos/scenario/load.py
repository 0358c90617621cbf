"""Reading scenario files, and finding those that ship.

- `load` reads and checks a file and what it extends; it raises all problems at once, each with file,
  line and key.
- `find` takes what a person writes: the name of a shipped scenario, or a path.
- Whatever is in the file, reading it ends soon: size, nesting and numbers are bounded.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import tomllib
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from llmos.errors import Problem, ScenarioError, did_you_mean
from llmos.scenario import positions
from llmos.scenario.check import check
from llmos.scenario.extends import MOST_BASES, Layer, laid_over, moved, removed
from llmos.scenario.machine_tables import POLICY_SCHEMA
from llmos.scenario.mend import mended
from llmos.scenario.model import ScenarioModel
from llmos.scenario.points import axes_of, check_points
from llmos.scenario.policies import names
from llmos.scenario.source import Findings, Scenario, model_of
from llmos.scenario.units import UnfitError

LARGEST_FILE_BYTES: Final = 2**20

_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_LONG_NUMBER = re.compile(r"[0-9_]{4300,}")


def load(path: str | Path) -> Scenario:
    """The scenario in that file.

    Raises ScenarioError with all its problems.
    """
    path = Path(path)
    return load_text(_read(path), name=path.stem, file=path, folder=path.parent)


def load_text(
    text: str, *, name: str = "scenario", file: Path | None = None, folder: Path = Path()
) -> Scenario:
    """The scenario in that TOML text; its relative paths start at `folder`.

    Raises ScenarioError with all its problems.
    """
    layer = _whole(_parse(text, file), file, folder, (file,))
    findings = Findings(file, layer.lines)
    try:
        model = model_of(layer.raw)
    except ValidationError as error:
        wrong = findings.add_validation(error, layer.raw)
        with suppress(ValidationError):  # too much is wrong to look at the rest as a whole
            raw = mended(layer.raw, wrong)
            check(Scenario(name, model_of(raw), file, folder, layer.lines, raw), findings)
        findings.raise_any()
        raise
    scenario = Scenario(name, model, file, folder, layer.lines, layer.raw)
    check(scenario, findings)
    axes = axes_of(scenario, findings)
    if axes and not findings.problems:
        check_points(scenario, axes, findings)
    findings.raise_any()
    return scenario


def _parse(text: str, file: Path | None) -> Layer:
    try:
        lines, assigned = positions.scan(text)
        raw = tomllib.loads(text, parse_float=_exact)
    except positions.TooDeepError as error:
        raise _unreadable(
            str(error), file, error.line, "nothing here needs more than a few levels"
        ) from error
    except tomllib.TOMLDecodeError as error:
        place = _PLACE.search(str(error))
        line = int(place[1]) if place and place[1] else text.count("\n") + 1 if place else None
        raise _unreadable(f"this is no TOML: {_PLACE.sub('', str(error))}", file, line) from error
    except (ValueError, RecursionError, ArithmeticError) as error:
        number = _LONG_NUMBER.search(text)
        line = text.count("\n", 0, number.start()) + 1 if number else None
        raise _unreadable("a number or a table here is too large to read", file, line) from error
    return Layer(raw, {path: positions.Place(file, line) for path, line in lines.items()}, assigned)


def _whole(layer: Layer, file: Path | None, folder: Path, chain: tuple[Path | None, ...]) -> Layer:
    """The layer laid over what it extends, if it extends anything; `chain` led to its file."""
    name = layer.raw.get("extends")
    if not isinstance(name, str) or not name:
        return layer  # none, or what the model will say is wrong
    findings = Findings(file, layer.lines)
    path = _base(name, folder, chain, findings)
    findings.raise_any()
    base = _whole(_parse(_read(path), path), path, path.parent, (*chain, path))
    if path.parent.resolve() != folder.resolve():
        base = moved(base, os.path.relpath(path.parent, folder))
    keys = layer.raw.get("remove", [])
    for i, key in enumerate(keys if isinstance(keys, list) else []):
        try:
            base = removed(base, key) if isinstance(key, str) else base
        except UnfitError as error:
            findings.add_error(("remove", i), error)
    findings.raise_any()
    return laid_over(base, layer)


def _base(name: str, folder: Path, chain: tuple[Path | None, ...], findings: Findings) -> Path:
    """The file that `extends` names; what is wrong with it is noted."""
    try:
        path = folder / find(name)
        there, circle = path.is_file(), any(file and file.resolve() == path.resolve() for file in chain)
    except ScenarioError as error:
        findings.add_error(("extends",), error)
        return Path()
    except (OSError, ValueError):  # a name that no file can have
        path, there, circle = Path(name[:80]), False, False
    if circle:
        files = " -> ".join(str(file.name) for file in (*chain, path) if file)
        findings.add(("extends",), f"scenarios extend one another in a circle: {files}")
    elif len(chain) > MOST_BASES:
        findings.add(("extends",), f"more than {MOST_BASES} scenarios stand below one another")
    elif not there:
        near = did_you_mean(path.name, _beside(path)) or "a relative path starts at this file's folder"
        findings.add(("extends",), f'there is no file "{str(path)[:200]}"', hint=near)
    return path


def _beside(path: Path) -> list[str]:
    try:
        return [file.name for file in path.parent.glob("*.toml")]
    except (OSError, ValueError):
        return []


def shipped() -> dict[str, Path]:
    """The scenarios that ship with llmos: name -> file, in alphabetical order."""
    package = Path(str(importlib.resources.files("llmos.scenario")))
    # In a wheel they lie inside the package; in a checkout, at the top of the repository.
    places = [package / "files", *(parent / "scenarios" for parent in package.parents[2:3])]
    for place in places:
        if files := sorted(place.glob("*.toml")):
            return {file.stem: file for file in files}
    return {}


def find(name_or_path: str | Path) -> Path:
    """The file of the shipped scenario of that name, or at that path.

    Raises ScenarioError when there is neither.
    """
    text = str(name_or_path)
    known = shipped()
    if text in known:
        return known[text]
    if isinstance(name_or_path, Path) or text.endswith(".toml") or "/" in text or "\\" in text:
        return Path(text)
    hint = did_you_mean(text, known) or f"there are {', '.join(known)}; or give the path of a .toml file"
    raise ScenarioError([Problem(f'there is no scenario "{text[:80]}"', hint=hint)])


def json_schema() -> dict[str, Any]:
    """The JSON Schema of scenario files, for editors."""
    # An editor offers the names; a path of one's own is as good.
    policy = {"anyOf": [{"enum": names()}, {"type": "string", "minLength": 1}]}
    text = json.dumps(ScenarioModel.model_json_schema(by_alias=True))
    schema: dict[str, Any] = json.loads(text.replace(json.dumps(POLICY_SCHEMA), json.dumps(policy)))
    # What this one leaves out, the scenario that it extends has.
    schema["anyOf"] = [{"required": schema.pop("required")}, {"required": ["extends"]}]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema | {"title": "llmos scenario"}


def _read(path: Path) -> str:
    try:
        if path.is_dir():
            raise _unreadable("this is a folder; name a .toml file", path)
        if not path.exists():
            near = did_you_mean(path.name, [file.name for file in path.parent.glob("*.toml")])
            raise _unreadable(
                "there is no such file", path, hint=near or f"shipped scenarios: {', '.join(shipped())}"
            )
        if not path.is_file():
            raise _unreadable("this is no ordinary file", path)
        if path.stat().st_size > LARGEST_FILE_BYTES:
            hint = "put the work into a trace file, or let a [[workload]] generate it"
            raise _unreadable(f"larger than {LARGEST_FILE_BYTES // 2**20} MiB", path, hint=hint)
        data = path.read_bytes()
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _unreadable("this is not UTF-8 text", path, line, "save it as UTF-8") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise _unreadable(f"cannot read it: {getattr(error, 'strerror', None) or error}", path) from error


def _exact(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        return Decimal("inf")


def _unreadable(message: str, file: Path | None, line: int | None = None, hint: str = "") -> ScenarioError:
    return ScenarioError([Problem(message, file, line, hint=hint)])
