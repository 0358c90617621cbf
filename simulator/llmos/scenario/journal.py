"""What a sweep has finished so far: one line of JSON per run, added as soon as the run is over.

- Each line is flushed to the disk before the next one: a crash, Ctrl-C or a full disk costs the runs
  that were under way, and no other.
- A line's key is a hash of everything that its run depends on: llmos' version, the scenario's data at
  the point, the seed, the profile, and the contents of the files that the scenario names.
- A line that was cut off, or that somebody damaged, counts as not there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from llmos.costs.profile import load_profile
from llmos.errors import LlmosError, ProfileError
from llmos.scenario.extends import is_path
from llmos.version import VERSION


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one run came to; metrics are named as in `llmos.trace.metrics`."""

    ok: bool
    reason: str
    log_sha256: str = ""
    metrics: dict[str, int | float] = {}
    unfinished: bool = False
    """It did not come to its end, and says nothing about the scenario: its worker died, or llmos failed."""


class _Line(msgspec.Struct):
    key: str
    seed: int
    result: Result


_decode = msgspec.json.Decoder(_Line).decode


class Journal:
    """The finished runs in a file, and where more of them are noted; use it as a context manager."""

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
        self.done = {} if fresh else _read(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("wb" if fresh else "ab", buffering=0)
            if self._file.tell() and not path.read_bytes().endswith(b"\n"):
                self._file.write(b"\n")  # the last line was cut off: the next is not to be part of it
        except OSError as error:
            raise LlmosError(f"cannot write the journal: {error.strerror or error}", file=path) from error

    def add(self, key: str, seed: int, result: Result) -> None:
        """Note a run that is over, for good."""
        try:
            self._file.write(msgspec.json.encode(_Line(key, seed, result)) + b"\n")
            os.fsync(self._file.fileno())
        except OSError as error:
            raise LlmosError(
                f"cannot write the journal: {error.strerror or error}", file=self.path
            ) from error
        self.done[key] = result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _read(path: Path) -> dict[str, Result]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LlmosError(f"cannot read the journal: {error.strerror or error}", file=path) from error
    done = {}
    for line in data.split(b"\n"):
        try:
            found = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        done[found.key] = found.result
    return done


class Keys:
    """Makes the key of a run; remembers the files that it has read."""

    def __init__(self, name: str, folder: Path, profile: str | None) -> None:
        self._name = name
        self._folder = folder
        self._profile = profile
        self._version = VERSION
        self._digests: dict[tuple[str, str], str] = {}

    def key(self, raw: Mapping[str, Any], seed: int) -> str:
        """The key of the run of the TOML data `raw` (at a point) with `seed`."""
        named = sorted(set(_named(raw, ""))) + ([("profile", self._profile)] if self._profile else [])
        files = {f"{kind} {text}": self._digest(kind, text) for kind, text in named}
        parts = [self._version, self._name, raw, seed, self._profile, files]
        text = json.dumps(parts, sort_keys=True, default=repr)  # Decimal('1.5') is another one than "1.5"
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def _digest(self, kind: str, text: str) -> str:
        if (kind, text) not in self._digests:
            content = self._profile_data(text) if kind == "profile" else self._file_data(text)
            self._digests[kind, text] = hashlib.sha256(content).hexdigest() if content is not None else ""
        return self._digests[kind, text]

    def _profile_data(self, text: str) -> bytes | None:
        path = self._folder / text if text.endswith(".json") and text != self._profile else text
        try:
            return repr(load_profile(path)).encode()
        except ProfileError:
            return None  # the run itself will say so

    def _file_data(self, text: str) -> bytes | None:
        """The content of a trace, or of the file of "mine.py:Mine quantum=5 ms"."""
        head, dot_py, _ = text.partition(".py")
        for path in (self._folder / text, self._folder / (head + dot_py)):
            try:
                if path.is_file():
                    return path.read_bytes()
            except (OSError, ValueError):
                continue
        return None


def _named(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every text in the data that may mean a file, with the key that says of which kind."""
    if isinstance(value, Mapping):
        for k, inner in value.items():
            yield from _named(inner, k)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner, key)
    elif isinstance(value, str) and (key == "profile" or is_path(value, key)):
        yield ("profile" if key == "profile" else "file"), value
