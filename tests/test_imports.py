"""Imports go one way, and the heavy libraries load only where they are used."""

import ast
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

SOURCES = ("simulator", "kernels", "tui")

# A room imports rooms of earlier lines, and of its own line when no circle comes of it.
ORDER = (
    {"errors", "parameters"},
    {"files", "plugins", "version", "quantile", "sched", "replacement"},
    {"trace", "costs"},
    {"engine"},
    {"process", "memory", "storage", "devices"},
    {"serving"},
    {"scenario"},
    {"kernels", "plot", "assignment", "exercise"},
    {"tui"},
    {"cli"},
)
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}

# Policies are plain objects: they see errors, and nothing that is not Python's own.
ONLY = {"sched": {"errors", "parameters"}, "replacement": {"errors", "parameters"}}

# What shows a run reads its log, never the machine that made it.
MACHINE = {"engine", "process", "memory", "storage", "devices", "serving"}
NEVER = {"plot": MACHINE, "tui": MACHINE}

# Libraries with one home each.
HOME = {
    "click": {"cli"},
    "matplotlib": {"plot"},
    "numba": {"memory"},
    "simpy": {"engine"},
    "textual": {"tui"},
    "torch": {"kernels"},
}
HEAVY = ("torch", "textual", "matplotlib", "numba")


class Import(NamedTuple):
    """One import: the module that does it, where, and the whole dotted name that it asks for."""

    module: str
    line: int
    name: str

    @property
    def room(self) -> str:
        """The room that imports."""
        return self.module.split(".")[1]

    @property
    def package(self) -> str:
        """The top name that it asks for."""
        return self.name.split(".")[0]

    @property
    def target(self) -> str:
        """The room of ours that it asks for, "" for somebody else's package."""
        return f"{self.name}.".split(".")[1] if self.package == "llmos" else ""


def imports(module: str, text: str, *, is_package: bool = False) -> Iterator[Import]:
    """Every import of a module, wherever it stands: at the top, in a function, for types only."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            start = parts[: len(parts) - node.level + is_package] if node.level else []
            for alias in node.names:
                yield Import(
                    module, node.lineno, ".".join([*start, *filter(None, [node.module]), alias.name])
                )


def modules(root: Path) -> Iterator[Import]:
    """Every import of the project."""
    for source in SOURCES:
        for path in sorted((root / source).rglob("*.py")):
            parts = path.relative_to(root / source).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            yield from imports(name, path.read_text(encoding="utf-8"), is_package=is_package)


def offences(found: Iterable[Import]) -> list[str]:
    """What breaks the rules above, one sentence each."""
    told = []
    for each in found:
        where = f"{each.module}:{each.line}"
        if each.room not in LEVEL:
            told.append(f"{where}: the room {each.room} has no place in the order")
        elif each.package == "llmos":
            told += [f"{where}: {reason}" for reason in _ours(each)]
        elif each.room in ONLY and each.package not in sys.stdlib_module_names:
            told.append(f"{where}: {each.room} imports {each.package}, and may import only Python's own")
        elif each.room not in HOME.get(each.package, {each.room}):
            told.append(f"{where}: {each.package} belongs in {', '.join(HOME[each.package])}")
    return told


def _ours(each: Import) -> Iterator[str]:
    room, target = each.room, each.target
    if target == room:
        return
    if target not in ONLY.get(room, {target}):
        yield f"{room} may not import {target}"
    elif LEVEL.get(target, len(ORDER)) > LEVEL[room]:
        yield f"{room} comes before {target}"
    elif target in NEVER.get(room, ()):
        yield f"{room} reads the log, not {target}"


def circle(found: Iterable[Import]) -> list[str]:
    """Rooms that import each other in a circle; empty when there are none."""
    graph: dict[str, set[str]] = defaultdict(set)
    for each in found:
        if each.target not in {"", each.room}:
            graph[each.room].add(each.target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.fixture(scope="module")
def project(root):
    return list(modules(root))


def test_the_walk_sees_every_source_root(root, project):
    seen = {each.module for each in project}
    for source in SOURCES:
        assert any((root / source / Path(*module.split("."))).with_suffix(".py").exists() for module in seen)


def test_imports_go_one_way(project):
    assert offences(project) == []


def test_no_rooms_import_each_other(project):
    assert circle(project) == []


@pytest.mark.parametrize(
    ("module", "text", "told"),
    [
        ("llmos.engine.loop", "import llmos.process.task", "engine comes before process"),
        ("llmos.engine.loop", "from llmos import process", "engine comes before process"),
        ("llmos.engine.loop", "from ..process import task", "engine comes before process"),
        ("llmos.engine.loop", "from .. import process", "engine comes before process"),
        ("llmos.engine.loop", "def f():\n    from llmos.cli import main", "engine comes before cli"),
        ("llmos.errors", "from llmos.files import write_whole", "errors comes before files"),
        ("llmos.costs.model", "import llmos.kernels.bench", "costs comes before kernels"),
        ("llmos.sched.mlfq", "from llmos.trace import Event", "sched may not import trace"),
        ("llmos.sched.mlfq", "from llmos.plugins import find", "sched may not import plugins"),
        ("llmos.sched.mlfq", "import simpy", "sched imports simpy"),
        ("llmos.replacement.lru", "import numpy as np", "replacement imports numpy"),
        ("llmos.process.core", "import simpy.events", "simpy belongs in engine"),
        ("llmos.costs.model", "import torch", "torch belongs in kernels"),
        ("llmos.cli.main", "from matplotlib import pyplot", "matplotlib belongs in plot"),
        ("llmos.tui.app", "from llmos.process.task import Task", "tui reads the log, not process"),
        ("llmos.helpers.misc", "import os", "the room helpers has no place in the order"),
        ("llmos.cli.main", "import llmos.helpers", "cli comes before helpers"),
    ],
)
def test_a_module_that_breaks_a_rule_is_found(module, text, told):
    [offence] = offences(imports(module, text)) or [""]
    assert told in offence


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (
            "llmos.sched.mlfq",
            "import heapq\nfrom llmos.errors import PolicyError\nfrom .base import Scheduler",
        ),
        ("llmos.engine.loop", "import simpy\nfrom llmos.trace import events"),
        ("llmos.process.cores", "from llmos.devices import disk\nfrom llmos.sched.base import Scheduler"),
        ("llmos.cli.main", "import click\nfrom llmos.tui.app import App\nfrom llmos.scenario import load"),
        ("llmos.kernels.ops.dense", "import torch\nfrom llmos.costs.ops import Matmul"),
    ],
)
def test_a_module_that_keeps_the_rules_passes(module, text):
    assert offences(imports(module, text)) == []


def test_a_package_counts_its_dots_from_itself():
    assert list(imports("llmos.engine", "from . import loop", is_package=True)) == [
        Import("llmos.engine", 1, "llmos.engine.loop")
    ]


def test_a_circle_of_rooms_is_found():
    found = [
        *imports("llmos.process.a", "import llmos.devices"),
        *imports("llmos.devices.b", "import llmos.process"),
    ]
    assert set(circle(found)) == {"process", "devices"}


def test_help_loads_nothing_heavy(root):
    script = (
        "import json, sys\n"
        "from llmos.cli.main import main\n"
        "sys.argv = ['llmos', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit as leave:\n    assert not leave.code, leave.code\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)\n"
    )
    path = os.pathsep.join(str(root / source) for source in SOURCES)
    answer = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert "Usage" in answer.stdout
    loaded = json.loads(answer.stderr.splitlines()[-1])
    assert "llmos" in loaded
    assert set(HEAVY).isdisjoint(loaded)
