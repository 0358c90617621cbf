"""Going on after values that are wrong, to find what else is wrong.

- The tables with problems are replaced by harmless ones in the same places, so that the rest of the
  file can be checked as a whole and all problems are told at once.
- What is mended is never run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from llmos.scenario import positions

NAMED: Final = ("device", "mutex", "semaphore", "condition", "pipe", "mailbox", "cgroup")
"""Tables that need a name and nothing else, and that others refer to by it."""


def mended(raw: Mapping[str, Any], wrong: Iterable[positions.Path]) -> dict[str, Any]:
    """The TOML data `raw` with something harmless where the paths `wrong` lead."""
    out = {"question": "?", **raw}
    for path in wrong:
        match path:
            case (str(table), int(i), *_) if table in ("task", "request", "workload", *NAMED):
                items = out[table] = list(out[table])
                items[i] = _stand_in(table, i, items[i])
            case ("file", int(i), *rest):
                items = out["file"] = list(out["file"])
                items[i] = _file(i, items[i], out.get("device"), unless=rest[0] if rest else None)
            case (("task" | "request" | "workload") as table,):
                del out[table]
                out.setdefault("task", [_stand_in("task", 0, None)])
            case ("programs", str(name), *_):
                out["programs"] = {**out["programs"], name: {"steps": [{"sleep": "0 s"}]}}
            case (("cpu" | "engine") as table, _, *_):
                costs = {"cost": {"base": "1 s", "per_token": "0 s"}} if table == "engine" else {}
                out[table] = costs | _kept(out[table], "scheduler", unless=path[1])
            case ("compare", _, *_) if kept := _kept(out.get("compare"), "schedulers", unless=path[1]):
                out["compare"] = kept
            case ("question", *_):
                out["question"] = "?"
            case (str(key), *_):
                out.pop(key, None)
    return out


def _stand_in(table: str, i: int, item: Any) -> dict[str, Any]:
    match table:
        case "task":
            return {"burst": "1 ns"}
        case "request":
            return {"prompt": 1, "output": 1}
        case str(named) if named in NAMED:
            return {"name": f"{named} {i}"} | _kept(item, "name")
    return {"kind": "task", "name": f"workload {i}", "count": 1, "burst": "1 ns", "arrival": "all-at-once"}


def _file(i: int, item: Any, devices: Any, *, unless: object) -> dict[str, Any]:
    """A file that keeps its name and its device, but for the key `unless`."""
    tables = devices if isinstance(devices, list) else []
    disk = next((d["name"] for d in tables if isinstance(d, dict) and isinstance(d.get("name"), str)), "disk")
    usual = {"name": f"file {i}", "size": "1 B", "device": disk}
    return usual | _kept(item, "name", unless) | _kept(item, "device", unless)


def _kept(table: Any, key: str, unless: object = None) -> dict[str, Any]:
    return {key: table[key]} if isinstance(table, dict) and key in table and key != unless else {}
