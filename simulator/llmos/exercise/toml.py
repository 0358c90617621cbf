"""Writing a scenario: plain values, tables in a line, and arrays of tables, with a comment above."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def write(scenario: Mapping[str, Any], comment: str) -> str:
    """Return `scenario` as TOML text: its plain keys first, then a section per table or list of tables."""
    plain = {key: value for key, value in scenario.items() if not _is_section(value)}
    lines = [f"# {line}".rstrip() for line in comment.splitlines()]
    lines += ["", *_pairs(plain)]
    for key, value in scenario.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{key}]", *_pairs(value)]
        elif _is_section(value):
            for table in value:
                lines += ["", f"[[{key}]]", *_pairs(table)]
    return "\n".join(lines) + "\n"


def _is_section(value: Any) -> bool:
    listed = isinstance(value, Sequence) and not isinstance(value, str)
    return isinstance(value, Mapping) or (listed and bool(value) and isinstance(value[0], Mapping))


def _pairs(table: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_value(value)}" for key, value in table.items()]


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(_pairs(value))} }}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
