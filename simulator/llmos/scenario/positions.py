"""Where each key of a TOML file stands: tomllib reads the values, this finds their lines.

- `locate(text)` maps key paths, as in ("task", 2, "arrival"), to lines, counted from 1. Elements of
  arrays and keys of inline tables have paths of their own; a table's line is its header's.
- `scan(text)` also tells what is written `key = value`, and what under a [header].
- It reads whatever tomllib accepts, in one pass. It checks nothing but depth: at the first thing
  that it does not understand it stops, and tomllib says what is wrong.
- Nesting and dotted keys deeper than `DEEPEST` are refused here, before they cost a stack or, in
  tomllib, quadratic time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path as File
from typing import Final, NamedTuple, TypeVar

Path = tuple[str | int, ...]

T = TypeVar("T")

DEEPEST: Final = 64

_BLANK = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_SPACE = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SCALAR = re.compile(r"[^,\]}#\r\n]+")
_STRING = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*"{3,5}'
    r"|'''(?:[^']|'(?!''))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'",
    re.DOTALL,
)
_ESCAPE = re.compile(r'\\(?:u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(["\\bfnrte]))')
_SIMPLE = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "e": "\x1b", '"': '"', "\\": "\\"}


class Place(NamedTuple):
    """Where a key stands: its file (None: a text) and its line."""

    file: File | None
    line: int


class TooDeepError(ValueError):
    """Tables, arrays or dotted keys nested deeper than `DEEPEST`; `line` says where."""

    def __init__(self, line: int) -> None:
        super().__init__(f"nested more than {DEEPEST} deep")
        self.line = line


class _Lost(Exception):  # noqa: N818  # no error of anybody's: tomllib will say what is wrong
    """The text is not what was expected at this place."""


def locate(text: str) -> dict[Path, int]:
    """The line of every key path in the TOML document `text`.

    Raises TooDeepError.
    """
    return _Scanner(text).document()


def scan(text: str) -> tuple[dict[Path, int], set[Path]]:
    """As `locate`, and the key paths that are given by a `key = value`.

    Raises TooDeepError.
    """
    scanner = _Scanner(text)
    return scanner.document(), scanner.assigned


def line_of(lines: Mapping[Path, T], path: Path) -> T | None:
    """The line (or the place) of `path`, or of the nearest table around it that has one."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path)


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.lines: dict[Path, int] = {}
        self.arrays: dict[Path, int] = {}
        """How many elements each array of tables has so far."""
        self.assigned: set[Path] = set()

    def document(self) -> dict[Path, int]:
        table: Path = ()
        try:
            self._skip(_BLANK)
            while self.at < len(self.text):
                if self.text[self.at] == "[":
                    table = self._header()
                else:
                    self._pair(table, depth=0)
                self._skip(_BLANK)
        except _Lost:
            pass
        return self.lines

    def _header(self) -> Path:
        line = self.line
        double = self.text.startswith("[[", self.at)
        self.at += 1 + double
        *parents, last = self._key()
        self._take("]]" if double else "]")
        table: Path = ()
        for key in parents:
            table = self._into((*table, key), line)
        if not double:
            return self._into((*table, last), line)
        array = (*table, last)
        self.lines.setdefault(array, line)
        index = self.arrays[array] = self.arrays.get(array, -1) + 1
        self.lines[*array, index] = line
        return (*array, index)

    def _into(self, table: Path, line: int) -> Path:
        """Name a table; an array of tables means its last element."""
        self.lines.setdefault(table, line)
        return (*table, self.arrays[table]) if table in self.arrays else table

    def _pair(self, table: Path, depth: int) -> None:
        line = self.line
        path = table
        for key in self._key():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self._take("=")
        self.assigned.add(path)
        self._skip(_SPACE)
        self._value(path, depth)

    def _key(self) -> list[str]:
        """Read a dotted key."""
        keys = []
        while True:
            self._skip(_SPACE)
            here = self.text[self.at : self.at + 1]
            part = self._match(_STRING if here in ('"', "'") else _BARE)
            if here == '"':
                part = _ESCAPE.sub(_unescape, part[1:-1])
            keys.append(part[1:-1] if here == "'" else part)
            if len(keys) > DEEPEST:
                raise TooDeepError(self.line)
            self._skip(_SPACE)
            if not self.text.startswith(".", self.at):
                return keys
            self.at += 1

    def _value(self, path: Path, depth: int) -> None:
        here = self.text[self.at : self.at + 1]
        if depth > DEEPEST:
            raise TooDeepError(self.line)
        if here == "[":
            self._array(path, depth + 1)
        elif here == "{":
            self._inline_table(path, depth + 1)
        else:
            self._match(_STRING if here in ('"', "'") else _SCALAR)

    def _array(self, path: Path, depth: int) -> None:
        self.at += 1
        self._skip(_BLANK)
        index = 0
        while not self.text.startswith("]", self.at):
            self.lines[*path, index] = self.line
            self._value((*path, index), depth)
            self._skip(_BLANK)
            if self.text.startswith(",", self.at):
                self.at += 1
                self._skip(_BLANK)
            elif not self.text.startswith("]", self.at):
                raise _Lost
            index += 1
        self.at += 1

    def _inline_table(self, path: Path, depth: int) -> None:
        self.at += 1
        self._skip(_BLANK)
        while not self.text.startswith("}", self.at):
            self._pair(path, depth)
            self._skip(_BLANK)
            if self.text.startswith(",", self.at):
                self.at += 1
                self._skip(_BLANK)
            elif not self.text.startswith("}", self.at):
                raise _Lost
        self.at += 1

    def _take(self, text: str) -> None:
        if not self.text.startswith(text, self.at):
            raise _Lost
        self.at += len(text)

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        if match:
            self._move(match)

    def _match(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        if match is None:
            raise _Lost
        self._move(match)
        return match.group()

    def _move(self, match: re.Match[str]) -> None:
        self.line += self.text.count("\n", self.at, match.end())
        self.at = match.end()


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    if not code:
        return _SIMPLE[match[3]]
    return chr(int(code, 16)) if int(code, 16) < 0x110000 else ""  # the end of Unicode
