"""Keys as people write them: cpu.scheduler, task[0].burst, workload.batch.arrival.rate.

- A part is a key of a table, or the name of an entry of a list of tables; [0] counts entries from 0.
- A name that is more than letters, digits, - and _ stands in quotes: task."my task".burst.
- What stands at "cpu.scheduler" as a text is read as a table when a key goes on: cpu.scheduler.quantum.
- Nothing is changed in place: `put` and `without` return new data that shares what is the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from llmos.errors import did_you_mean
from llmos.scenario.policies import parse_choice
from llmos.scenario.positions import DEEPEST, Path
from llmos.scenario.units import UnfitError, kind

_PART = re.compile(r"""([A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')((?:\[[0-9]{1,9}\])*)(\.|$)""")


def parse(text: str) -> Path:
    """The parts of the dotted key `text`.

    Raises UnfitError.
    """
    path: Path = ()
    at = 0
    while at < len(text) or not path:
        part = _PART.match(text, at)
        if part is None or (part[3] and part.end() == len(text)):
            hint = "write it as in cpu.scheduler, task[0].burst or workload.batch.arrival.rate"
            raise UnfitError(f'"{text[:80]}" is no key', hint=hint)
        name = part[1][1:-1] if part[1][0] in "\"'" else part[1]
        path = (*path, name, *map(int, re.findall(r"[0-9]+", part[2])))
        at = part.end()
        if len(path) > DEEPEST:
            raise UnfitError(f"a key of more than {DEEPEST} parts", hint="no scenario is that deep")
    return path


def find(raw: Mapping[str, Any], path: Path) -> Path:
    """Where `path` leads in the TOML data `raw`: names of entries become their numbers.

    Keys at its end may be missing. Raises UnfitError when an entry is missing, or a table is none.
    """
    found: Path = ()
    value: Any = raw
    for part in path:
        value = opened(value, found)
        index = _index(value, part, found) if isinstance(value, list) else part
        if isinstance(value, list):
            value = value[int(index)]
        elif isinstance(value, Mapping) and isinstance(part, str):
            value = value.get(part, {})
        else:
            raise UnfitError(f"{_last(found)} is {_kind(value)}, and has no {_shown(part)}")
        found = (*found, index)
    return found


def is_there(raw: Any, path: Path) -> bool:
    """Whether something stands at `path`, as `find` returned it."""
    for i, part in enumerate(path):
        raw = opened(raw, path[:i])
        if not (part in raw if isinstance(raw, Mapping) else isinstance(raw, list)):
            return False
        raw = raw[part]
    return True


def put(raw: Any, path: Path, value: Any, above: Path = ()) -> Any:
    """The data `raw` with `value` at `path`, as `find` returned it; missing tables are made."""
    if not path:
        return value
    raw, part, here = opened(raw, above), path[0], (*above, path[0])
    if isinstance(raw, list) and isinstance(part, int):
        return [*raw[:part], put(raw[part], path[1:], value, here), *raw[part + 1 :]]
    return {**raw, part: put(raw.get(part, {}), path[1:], value, here)}


def without(raw: Any, path: Path, above: Path = ()) -> Any:
    """The data `raw` without what stands at `path`, which is there."""
    raw, part = opened(raw, above), path[0]
    inner = [without(raw[part], path[1:], (*above, part))] if path[1:] else []
    if isinstance(raw, list) and isinstance(part, int):
        return [*raw[:part], *inner, *raw[part + 1 :]]
    return {k: inner[0] if k == part else v for k, v in raw.items() if inner or k != part}


def opened(value: Any, at: Path) -> Any:
    """A policy that is written as a text, as a table."""
    if isinstance(value, str) and (at[-1:] == ("scheduler",) or at[-2:-1] == ("schedulers",)):
        return parse_choice(value)
    return value


def _index(entries: Sequence[Any], part: str | int, at: Path) -> int:
    if isinstance(part, int):
        if part < len(entries):
            return part
        raise UnfitError(f"there is no {_last(at)}[{part}]", hint=f"there are {len(entries)}, counted from 0")
    names = [entry.get("name") if isinstance(entry, Mapping) else None for entry in entries]
    if part in names:
        return names.index(part)
    known = [name for name in names if isinstance(name, str)]
    hint = did_you_mean(part, known) or (
        f"there are {', '.join(known)[:200]}" if known else f"count them: {_last(at)}[0] is the first"
    )
    raise UnfitError(f'there is no {_last(at)} "{part[:60]}"', hint=hint)


def _last(at: Path) -> str:
    return next((part for part in reversed(at) if isinstance(part, str)), "the scenario")


def _kind(value: Any) -> str:
    return kind(dict(value) if isinstance(value, Mapping) else value)


def _shown(part: str | int) -> str:
    return f"[{part}]" if isinstance(part, int) else f"`{part[:60]}`"
