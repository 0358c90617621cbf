"""Tables that others measured become a profile: read line by line, checked, and whole or not at all.

- A line that is malformed, or that physics does not allow (not a number, negative, more than 3 times
  faster than the roofline), is named and left out; the rest counts.
- The same operation several times: the median, from the lowest to the highest.
- The roofline is that of a known profile (`like`), or made of a peak and a bandwidth; the cost model
  fits it to the rows anyway.
- The held-out error is computed as for a profile that was measured here. There is no noise floor: who
  made the table knows.
- The profile's kind is "imported", and its `source` names the files, for every caption. It cannot have the
  name of a profile that ships or was measured here, for it would be found in its place.
"""

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import msgspec

from llmos.costs.holdout import holdout
from llmos.costs.ops import DTYPE_BYTES, Op, show_op
from llmos.costs.profile import (
    FASTER_THAN_PHYSICS,
    THIS_MACHINE,
    Profile,
    Row,
    check_name,
    read_profile,
    shipped_folders,
    user_folder,
)
from llmos.costs.tables import Table, Told, table_of
from llmos.errors import ProfileError, did_you_mean
from llmos.quantile import quantile

MOST_NAMED = 5
"""Lines that are left out are named up to so many for each reason; the others are counted."""
ARITHMETIC = (*DTYPE_BYTES, "int8")
"""What a device can have a peak of."""
MOST_OPERATIONS = 200_000
LONGEST_LINE = 1 << 16
LONGEST_SECONDS = 1e6
EVERY = 2_000
"""Lines between two reports of progress."""

Report = Callable[[float, str], None]


@dataclass(slots=True)
class LeftOut:
    """Lines that were left out, by why: how many, and the first of them by file and line."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, list[str]] = field(default_factory=dict)

    def add(self, why: str, where: str) -> None:
        """Leave a line out."""
        self.counts[why] = self.counts.get(why, 0) + 1
        named = self.first.setdefault(why, [])
        if len(named) < MOST_NAMED:
            named.append(where)

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.counts.values())

    def words(self) -> list[str]:
        """A sentence for each reason, the most frequent first."""
        return [
            f"left out {count:,}: {why} ({', '.join(self.first[why])}{', ...' if count > MOST_NAMED else ''})"
            for why, count in sorted(self.counts.items(), key=lambda pair: -pair[1])
        ]


@dataclass(frozen=True, slots=True)
class Imported:
    """A profile made of tables, and what was left out of them."""

    profile: Profile
    left_out: LeftOut


def roofline_of(
    name: str,
    device: str = "",
    peaks: Mapping[str, float] | None = None,
    bandwidth_bytes_per_s: float | None = None,
    like: Profile | None = None,
) -> Profile:
    """A profile without rows for the device that a table was measured on.

    peaks: FLOP/s by dtype. What is not given is that of `like`. Raises ProfileError when neither says.
    """
    _check_free(name)
    if like is None and not (peaks and bandwidth_bytes_per_s):
        raise ProfileError(
            "a table does not say what its device can do at most, and then no row can be checked",
            hint="name a profile of such a device: --like h100-data-sheet; or give its figures: "
            "--peak bf16=989e12 --bandwidth 3.35e12",
        )
    for dtype in peaks or {}:
        if dtype not in ARITHMETIC:
            hint = did_you_mean(dtype, ARITHMETIC) or f"there are: {', '.join(ARITHMETIC)}"
            raise ProfileError(f"a peak of {dtype[:40]!r} is of no kind of numbers", hint=hint)
    figures: dict[str, Any] = msgspec.to_builtins(like) if like else {"launch_s": 0.0}
    figures = {key: value for key, value in figures.items() if key in _OF_A_DEVICE}
    figures["peak_flops"] = figures.get("peak_flops", {}) | dict(peaks or {})
    if bandwidth_bytes_per_s:
        figures["bandwidth_bytes_per_s"] = bandwidth_bytes_per_s
    figures |= {"name": name, "kind": "imported", "clock": "its clock is not told", "date": _now()}
    figures["device"] = device or (like.device if like else "not told")
    try:
        return msgspec.convert(figures, Profile)
    except msgspec.ValidationError as error:
        cure = "FLOP/s, and bytes a second: --peak bf16=989e12 --bandwidth 3.35e12"
        raise ProfileError(f"the device's figures are wrong: {error}", hint=cure) from None


def _check_free(name: str) -> None:
    """Raise ProfileError when a profile of that name would stand in for one that was measured, or ships."""
    check_name(name)
    taken = [folder / f"{name}.json" for folder in shipped_folders()]
    cure = "give it a name of its own: --name h100-public"
    if name.startswith(f"{THIS_MACHINE}-") or any(path.is_file() for path in taken):
        raise ProfileError(f"a table cannot be imported as {name}: that is another profile's name", hint=cure)
    own = user_folder() / f"{name}.json"
    if own.is_file() and (known := read_profile(own)).kind != "imported":
        raise ProfileError(f"{name} is a profile already, {known.provenance.partition(', ')[2]}", hint=cure)


_OF_A_DEVICE = (
    "peak_flops", "bandwidth_bytes_per_s", "launch_s", "compute_efficiency", "memory_efficiency", "links",
)  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _silent(fraction: float, doing: str) -> None:
    """Report nothing."""


def import_tables(
    paths: Sequence[Path],
    bare: Profile,
    told: Told,
    *,
    wanted: str = "auto",
    source: str = "",
    progress: Report = _silent,
) -> Imported:
    """The profile `bare` with the rows of all these tables (at least one).

    wanted: their format, a word of `FORMATS`. source: whose they are; left out: the files' names.
    Raises ProfileError when a file is no such table, or nothing of it is left.
    """
    reader = _Reader(bare, told)
    sizes = [_size(path) for path in paths]
    for i, path in enumerate(paths):
        start, whole = sum(sizes[:i]), max(sum(sizes), 1)
        for done in reader.read(path, wanted):
            progress(0.5 * (start + done) / whole, f"reading {path.name}")
    if not reader.times:
        why = "; ".join(reader.left_out.words()) or "they have no lines"
        raise ProfileError(f"nothing of these tables can be used: {why}", hint=_CURE)
    progress(0.5, "predicting what is held out")
    source = source or ", ".join(path.name for path in paths)
    return Imported(_with_rows(bare, reader, source), reader.left_out)


_CURE = "look at the units and at the device's figures; llmos profile import --help tells the columns"


def _with_rows(bare: Profile, reader: "_Reader", source: str) -> Profile:
    rows = tuple(
        Row(op, quantile(found, 0.5), min(found), max(found), len(found))
        for op, found in reader.times.items()
    )
    notes = [f"{len(rows):,} operation{'s' * (len(rows) > 1)}, measured by others: {source}."]
    launch = bare.launch_s
    if not launch:
        launch = min(row.seconds for row in rows)
        notes.append("launch_s is the time of the quickest row.")
    notes += reader.left_out.words()
    profile = msgspec.structs.replace(bare, rows=rows, launch_s=launch, source=source, notes=tuple(notes))
    return msgspec.structs.replace(profile, holdout=holdout(profile))


def _size(path: Path) -> int:
    cure = "give the .csv files of a table"
    try:
        if not path.exists():
            raise ProfileError("there is no such file", file=path, hint=cure)
        if not path.is_file():
            raise ProfileError("it is a folder, or no ordinary file", file=path, hint=cure)
        return path.stat().st_size
    except OSError as error:
        reason = error.strerror or error
        raise ProfileError(f"cannot read the table: {reason}", file=path, hint=cure) from None


class _Reader:
    """What the tables say, line by line: the times of each operation, and what is left out."""

    def __init__(self, bare: Profile, told: Told) -> None:
        self.times: dict[Op, list[float]] = {}
        self.left_out = LeftOut()
        self._bare = bare
        self._told = told

    def read(self, path: Path, wanted: str) -> Iterator[int]:
        """Read a file, and say now and then how many bytes of it are done."""
        try:
            with path.open("rb") as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
                lines = csv.DictReader(_lines(text), skipinitialspace=True)
                names = [name.strip() for name in lines.fieldnames or ()]
                lines.fieldnames = names
                self._check(table := table_of(frozenset(names), wanted), names)
                for line in lines:
                    if lines.line_num % EVERY == 0:
                        yield raw.tell()
                    self._add(line, table, f"{path.name}:{lines.line_num}")
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            reason = getattr(error, "strerror", None) or error
            cure = "give a .csv file in UTF-8"
            raise ProfileError(f"cannot read the table: {reason}", file=path, hint=cure) from None
        except ProfileError as error:
            error.file = error.file or path
            raise

    def _check(self, table: Table, names: Sequence[str]) -> None:
        if twice := sorted(name for name in table.columns if names.count(name) > 1):
            raise ProfileError(f"it has a column twice: {', '.join(twice)}", hint="take one of them out")
        if table.needs_shape and self._told.shape is None:
            cure = "name the model that they are of: --model llama-3-8b"
            raise ProfileError("this table does not say what sizes its layers have", hint=cure)

    def _add(self, line: dict[str, str], table: Table, where: str) -> None:
        """Add what a line timed, or leave it out."""
        try:
            timed = table.read(line, self._told)
            if not timed:
                self.left_out.add("it has no time of an operation of ours", where)
            for op, seconds in timed:
                if why := self._impossible(op, seconds):
                    self.left_out.add(why, f"{where}: {show_op(op)}")
                else:
                    self.times.setdefault(op, []).append(seconds)
        except ProfileError as error:
            self.left_out.add(error.message, where)
        except (ValueError, TypeError, AttributeError, OverflowError):
            self.left_out.add("a field is missing, or no number", where)
        if len(self.times) > MOST_OPERATIONS:
            raise ProfileError(f"more than {MOST_OPERATIONS:,} operations", hint="import a part of the table")

    def _impossible(self, op: Op, seconds: float) -> str:
        """Why no machine takes that long, or that little; empty when one may."""
        if not 0 < seconds < math.inf:
            return "the time is not above zero, or no number"
        if seconds >= LONGEST_SECONDS:
            return f"the time is more than {LONGEST_SECONDS:,.0f} s"
        if seconds * FASTER_THAN_PHYSICS < self._bare.least(op):
            return f"more than {FASTER_THAN_PHYSICS:g} times faster than the roofline"
        return ""


def _lines(text: IO[str]) -> Iterator[str]:
    """The lines of a text, none so long that it fills the memory."""
    while line := text.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise ProfileError("a line is too long for a table", hint="give a .csv file with many lines")
        yield line
