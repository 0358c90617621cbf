"""Everything that the pages show is run, and what they say is printed must be what is printed.

- A page is README.md or a file of docs/. Its fenced blocks are run from top to bottom, in a folder that
  looks like a fresh clone: `scenarios/` and `docs/examples/` are there.
- ```console: each `$ command` is run and the lines below it are compared. A line `...` stands for any
  lines, `...` inside a line for any text. `$ echo $?` shows the exit code of the command before.
- ```python is run, and then its functions called test_*. A ```text right after it is what it prints.
- ```toml that is a whole scenario (it asks a `question`) is built and run; other TOML is parsed.
- ```python path/of/file.py: the file itself (or TOML likewise). A file of the repository must be the
  same; another one is written into the folder for the commands that follow.
- What installs, measures, takes long or draws on a terminal is not run: see NOT_RUN.
- LLMOS_DOCS=refresh writes what is printed into the pages, where it can tell which line is which.
"""

import contextlib
import difflib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from llmos.cli.main import main
from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.scenario.machine import run

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

NOT_RUN = ("make", "source", "llmos demo", "llmos tui", "llmos calibrate", "llmos profile check",
           "llmos assignment grade")  # fmt: skip
"""Not run, unless it is told to measure the stand-in for hardware: `--device null`."""

FENCE = re.compile(r"( *)```(\w*) ?(.*)")
SHELL = re.compile(r"[|<>;&]")
PIPED = re.compile(r"(llmos [^|<>;&]+)([|>][^<;&]+)")


@dataclass
class Block:
    """A fenced block: its language, the path after it, and its lines; `line` is that of its fence."""

    line: int
    language: str
    path: str
    lines: list[str]
    indent: int

    @property
    def text(self):
        return "".join(line + "\n" for line in self.lines)


def blocks(page):
    """The fenced blocks of a page, in order."""
    found, block = [], None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = FENCE.fullmatch(line)
        if block is not None and line.strip() == "```":
            found.append(block)
            block = None
        elif block is not None:
            block.lines.append(line[block.indent :])
        elif fence:
            block = Block(number, fence[2], fence[3].strip(), [], len(fence[1]))
    assert block is None, f"{page.name}:{block.line}: the block has no end"
    return found


def commands(block):
    """The commands of a console block, each with the lines shown below it."""
    found = []
    for line in block.lines:
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif found and not found[-1][1] and found[-1][0].endswith("\\"):
            found[-1] = (found[-1][0][:-1] + line.strip(), [])
        elif found:
            found[-1][1].append(line)
    return found


# --- comparing ----------------------------------------------------------------------------------------


def pattern(line):
    return re.escape(line.rstrip()).replace(r"\.\.\.", ".*")


def same(shown, real):
    """Whether the lines `real` are what `shown` says, in which `...` stands for anything."""
    lines = ["(?:.*\n)*?" if line.strip() == "..." else pattern(line) + " *\n" for line in shown]
    return re.fullmatch("".join(lines) + r"\s*", "".join(line + "\n" for line in real)) is not None


def difference(shown, real):
    return "\n".join(difflib.unified_diff(shown, real, "shown", "real", lineterm=""))


def refreshed(shown, real):
    """The lines `shown` with the numbers of `real`; as they are where that cannot be told."""
    if not any(line.strip() == "..." for line in shown) and (not shown or len(shown) == len(real)):
        pairs = zip(shown or real, real, strict=True)
        return [mine if "..." in mine and same([mine], [other]) else other for mine, other in pairs]

    def vague(line):
        return re.sub(r"\s+", " ", re.sub(r"[\d.,]+( ?[mun]?s)?(?!\w)", "0", line)).strip()

    out, rest = [], iter(real)
    for line in shown:
        if "..." in line:
            out.append(line)
        else:
            out.append(next((other for other in rest if vague(other) == vague(line)), line))
    return out


# --- running ------------------------------------------------------------------------------------------


class Clone:
    """The folder in which a page's blocks are run, one after the other."""

    def __init__(self, folder):
        self.folder = folder
        self.exit_code = 0
        self.names = {"__name__": "example"}
        self.printed = None
        self.refresh = {}
        """What would be right: the line of a block's fence -> the block's lines."""
        shutil.copytree(ROOT / "scenarios", folder / "scenarios")
        shutil.copytree(ROOT / "docs" / "examples", folder / "docs" / "examples")
        program = folder / ".bin" / "llmos"
        program.parent.mkdir()
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path[:0] = {sys.path}\n"
            "from llmos.cli.main import main\nmain()\n"
        )
        program.chmod(0o755)

    def run(self, block):
        """Run `block` and say what is wrong with it."""
        printed, self.printed = self.printed, None
        if block.path:
            return self.file(block)
        match block.language:
            case "console":
                return self.console(block)
            case "python":
                return self.python(block)
            case "toml":
                return self.scenario(block)
            case "json":
                json.loads(block.text)
            case "text" if printed is not None and not same(block.lines, printed):
                self.refresh[block.line] = refreshed(block.lines, printed)
                return difference(block.lines, printed)
        return ""

    def file(self, block):
        file = ROOT / block.path
        if not file.exists():
            (self.folder / block.path).write_text(block.text, encoding="utf-8")
            return ""
        real = file.read_text(encoding="utf-8").splitlines()
        if real == block.lines:
            return ""
        self.refresh[block.line] = real
        return difference(block.lines, real)

    def console(self, block):
        wrong, right = [], []
        for command, shown in commands(block):
            real = self.shown_by(command, shown)
            right.append("$ " + command)
            if same(shown, real):
                right += shown
            else:
                right += refreshed(shown, real)
                wrong.append(f"$ {command}\n{difference(shown, real)}")
        if wrong:
            self.refresh[block.line] = right
        return "\n".join(wrong)

    def shown_by(self, command, shown):
        """The lines that `command` prints; those that are `shown` if it is not run."""
        if command == "echo $?":
            return [str(self.exit_code)]
        if command.startswith(NOT_RUN) and "--device null" not in command:
            return shown
        if piped := PIPED.fullmatch(command):
            real = self.shell("cat " + piped[2], self.llmos(shlex.split(piped[1]))).splitlines()
        elif command.startswith("llmos ") and not SHELL.search(command):
            real = self.llmos(shlex.split(command)).splitlines()
        else:
            real = self.shell(command).splitlines()
        while real and not real[-1].strip():
            real.pop()
        return [line.rstrip() for line in real]

    def llmos(self, words):
        """Run llmos in this very process: that is ten times as quick."""
        out = io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
            mock.patch.object(sys, "argv", words),
            pytest.raises(SystemExit) as left,
        ):
            main()
        self.exit_code = left.value.code
        return out.getvalue()

    def shell(self, command, given=None):
        done = subprocess.run(
            ["sh", "-c", command],
            input=given,
            text=True,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.exit_code = done.returncode
        return done.stdout

    def python(self, block):
        out, before = io.StringIO(), set(self.names)
        with contextlib.redirect_stdout(out):
            code = compile("\n" * block.line + block.text, "<the page>", "exec", dont_inherit=True)
            exec(code, self.names)  # noqa: S102  # running the page is the point
            for name in sorted(self.names.keys() - before):
                if name.startswith("test_"):
                    self.names[name]()
        self.printed = out.getvalue().splitlines()
        return ""

    def scenario(self, block):
        if "question" not in tomllib.loads(block.text):
            return ""
        outcome = run(build(load_text(block.text, folder=self.folder)))
        return "" if outcome.ok else outcome.reason


def rewrite(page, right):
    """Put the right lines into the blocks of `page`; `right`: the line of a fence -> lines."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for block in reversed(blocks(page)):
        if block.line in right:
            indented = [" " * block.indent + line if line else "" for line in right[block.line]]
            lines[block.line : block.line + len(block.lines)] = indented
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


def problems(clone, page):
    """Run all blocks of `page`; yield what is wrong, with its place."""
    for block in blocks(page):
        try:
            found = clone.run(block)
        except Exception as error:  # noqa: BLE001  # one broken example should not hide the others
            found = f"{type(error).__name__}: {error}"
        if found:
            yield f"{page.name}:{block.line}: {found}"


@pytest.fixture
def clone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LLMOS_DATA", str(tmp_path / ".data"))  # no profiles but those that ship
    clone = Clone(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / ".bin"), prepend=os.pathsep)
    monkeypatch.syspath_prepend(tmp_path / "docs" / "examples")  # for tests that lie beside a policy
    return clone


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_is_what_happens(page, clone):
    wrong = list(problems(clone, page))
    if os.environ.get("LLMOS_DOCS") == "refresh":
        rewrite(page, clone.refresh)
    assert not wrong, "\n\n".join(wrong)


# --- the harness itself -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "real", "is_same"),
    [
        (["a", "b"], ["a", "b"], True),
        (["a", "b"], ["a", "c"], False),
        (["a"], ["a", "b"], False),
        (["a", "..."], ["a", "b", "c"], True),
        (["...", "c"], ["a", "b"], False),
        (["hash ..."], ["hash 3f"], True),
        (["a.c"], ["abc"], False),
    ],
)
def test_dots_stand_for_anything_and_nothing_else_does(shown, real, is_same):
    assert same(shown, real) is is_same


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("```console\n$ llmos run convoy --json | grep -c car-3\n2\n```", "+1"),
        ("```console\n$ llmos run nothing\n```", "there is no scenario"),
        ("```python\nassert 1 == 2\n```", "AssertionError"),
        ("```python\ndef test_no():\n    raise ValueError('x')\n```", "ValueError: x"),
        ("```python\nprint(1)\n```\n```text\n2\n```", "+1"),
        ('```toml\nquestion = "?"\ntsak = 1\n```', "tsak"),
        ("```python docs/examples/las.py\n```", "class LAS"),
    ],
)
def test_a_wrong_example_is_found(text, says, clone):
    page = clone.folder / "page.md"
    page.write_text(text)
    assert says in "".join(problems(clone, page))
