"""One scenario laid over another: `extends = "base.toml"`.

- `key = value` sets the key, whatever the value is: a number, a list, an inline table.
- Tables under a [header], and dotted keys, are laid over the base's table key by key; a policy that the
  base writes as a text is a table, too.
- An entry of a [[list]] is laid over the base's entry of the same name, in its place; one without a
  name, or with a new one, comes after the base's. A [[sweep]] takes the place of the one of its key.
- `remove` names keys and entries of the base that go before anything is laid over it.
- Each key keeps its place: the line of the file where it stands.
- A relative path in the base starts at the base's folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmos.scenario import keys, positions
from llmos.scenario.positions import Place
from llmos.scenario.units import UnfitError

MOST_BASES: Final = 10
"""So many scenarios may stand below one another."""

OWN: Final = ("extends", "remove")
"""Keys that a base keeps to itself."""

TEXTS: Final = ("name", "client", "question", "title", "label", "key")
"""Keys whose text is never a path."""

_PYTHON = re.compile(r"\S+\.py(?::\w+)?(?:\s.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Layer:
    """The TOML data of a file, the place of every key, and which keys are written `key = value`."""

    raw: Mapping[str, Any]
    lines: Mapping[positions.Path, Place]
    assigned: AbstractSet[positions.Path] = frozenset()


def laid_over(base: Layer, over: Layer) -> Layer:
    """The layer `base` with `over` on it."""
    laying = _Laying(base, over)
    own = {key: value for key, value in base.raw.items() if key not in OWN}
    raw = laying.table(own, over.raw, (), (), ())
    return Layer(raw, laying.lines)


def removed(base: Layer, key: str) -> Layer:
    """The layer `base` without what the dotted `key` names.

    Raises UnfitError when it is not there.
    """
    path = keys.find(base.raw, keys.parse(key))
    if not keys.is_there(base.raw, path):
        raise UnfitError(f'there is no "{key[:80]}" in what this extends', hint="take it from the list")
    gone, index = len(path), path[-1]
    lines = {}
    for at, place in base.lines.items():
        if at[:gone] == path:
            continue
        if isinstance(index, int) and at[: gone - 1] == path[:-1] and len(at) >= gone:
            number = at[gone - 1]
            if isinstance(number, int) and number > index:  # the entries after it move up
                lines[*path[:-1], number - 1, *at[gone:]] = place
                continue
        lines[at] = place
    return Layer(keys.without(base.raw, path), lines)


def moved(base: Layer, prefix: str) -> Layer:
    """The layer `base` as it reads from another folder: `prefix` leads from there to its own."""
    return Layer(with_paths_moved(base.raw, "", prefix), base.lines, base.assigned)


def with_paths_moved(value: Any, key: str, prefix: str) -> Any:
    """The `value` of a key of that name as it reads from another folder: `prefix` leads to its own."""
    if isinstance(value, Mapping):
        return {k: with_paths_moved(v, k, prefix) for k, v in value.items()}
    if isinstance(value, list):
        return [with_paths_moved(item, key, prefix) for item in value]
    return str(Path(prefix) / value) if isinstance(value, str) and is_path(value, key) else value


def is_path(text: str, key: str) -> bool:
    """Whether the `text` at a key of that name means a file: a trace, a profile, a policy, a program."""
    if key in TEXTS:
        return False
    if key == "profile":
        return text.endswith(".json") or "/" in text or "\\" in text
    return key == "trace" or _PYTHON.fullmatch(text) is not None


class _Laying:
    """The walk through two layers at once; `lines` gathers where each key of the result stands."""

    def __init__(self, base: Layer, over: Layer) -> None:
        self.base = base
        self.over = over
        self.lines: dict[positions.Path, Place] = {}

    def table(
        self,
        base: Mapping[str, Any],
        over: Mapping[str, Any],
        base_at: positions.Path,
        over_at: positions.Path,
        at: positions.Path,
    ) -> dict[str, Any]:
        """Lay the table `over` on `base`; the result will stand at `at`."""
        self._merged(base_at, over_at, at)
        out = {k: self.kept(self.base, v, (*base_at, k), (*at, k)) for k, v in base.items() if k not in over}
        for key, value in over.items():
            there, below = keys.opened(base.get(key), (*base_at, key)), (*over_at, key)
            if below in self.over.assigned:
                out[key] = self.kept(self.over, value, below, (*at, key))
            elif isinstance(value, Mapping) and isinstance(there, Mapping):
                out[key] = self.table(there, value, (*base_at, key), below, (*at, key))
            elif isinstance(value, list) and isinstance(there, list):
                out[key] = self.entries(there, value, (*base_at, key), below, (*at, key))
            else:
                out[key] = self.kept(self.over, value, below, (*at, key))
        # In the order of the base: entries and programs keep their places.
        return {key: out[key] for key in (*base, *over) if key in out}

    def entries(
        self,
        base: list[Any],
        over: list[Any],
        base_at: positions.Path,
        over_at: positions.Path,
        at: positions.Path,
    ) -> list[Any]:
        """Lay a [[list]] of tables on another: by name, and what is new at the end."""
        self._merged(base_at, over_at, at)
        identity = "key" if at == ("sweep",) else "name"
        waiting = {
            entry[identity]: i
            for i, entry in reversed([*enumerate(base)])
            if isinstance(entry, Mapping) and isinstance(entry.get(identity), str)
        }
        out: list[Any] = [None] * len(base)
        left = set(range(len(base)))
        for j, entry in enumerate(over):
            name = entry.get(identity)
            # Each entry of the base is met once: a name twice in one file is a mistake to be told.
            i = waiting.pop(name, None) if isinstance(name, str) else None
            if i is None:
                out.append(self.kept(self.over, entry, (*over_at, j), (*at, len(out))))
                continue
            left.discard(i)
            if identity == "key":
                out[i] = self.kept(self.over, entry, (*over_at, j), (*at, i))
            else:
                out[i] = self.table(base[i], entry, (*base_at, i), (*over_at, j), (*at, i))
        for i in left:
            out[i] = self.kept(self.base, base[i], (*base_at, i), (*at, i))
        return out

    def _merged(self, base_at: positions.Path, over_at: positions.Path, at: positions.Path) -> None:
        """Note where a table of both layers stands: where it is last written."""
        place = self.over.lines.get(over_at) or self.base.lines.get(base_at)
        if place:
            self.lines[at] = place

    def kept(self, layer: Layer, value: Any, was_at: positions.Path, at: positions.Path) -> Any:
        """Take `value` as it is, with the places of all that is in it."""
        if was_at in layer.lines:
            self.lines[at] = layer.lines[was_at]
        if isinstance(value, Mapping):
            return {key: self.kept(layer, inner, (*was_at, key), (*at, key)) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.kept(layer, inner, (*was_at, i), (*at, i)) for i, inner in enumerate(value)]
        return value
