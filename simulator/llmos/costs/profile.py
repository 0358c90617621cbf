"""Profiles: what one machine was measured to do, or its data sheet says, and where that came from.

- A profile is one JSON file: a header with full provenance, then one row per timed operation.
- It is written whole or not at all, and read strictly: a bad header is a ProfileError; a bad row
  (malformed, not a number, faster than physics) is left out and named in `dropped`.
- A profile is found by name: first in the user's data folder, then among those shipped with llmos.
  The name "this-machine" is the latest calibration made here.
- `kind` is "measured"; "imported" where somebody else's table was taken over; or "data-sheet", which
  has no rows, and nobody timed it.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from llmos.costs.ops import Op, make_op, op_fields, show_op
from llmos.costs.system import FILE_READS, Measured
from llmos.errors import ProfileError, did_you_mean
from llmos.files import write_whole
from llmos.quantile import quantile

SCHEMA = 2
READABLE = (1, 2)  # Schema 1 knew matmul and vector_add only, and no links.
THIS_MACHINE = "this-machine"
LARGEST_FILE_BYTES = 64 * 2**20
FASTER_THAN_PHYSICS = 3.0  # A row this many times faster than the profile's own roofline is a mistake.
IN_A_CACHE = 64 * 2**20  # Fewer bytes than this need not have come from memory, within a model at least.

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}\Z"
Name = Annotated[str, msgspec.Meta(pattern=NAME)]
Date = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}Z)?$")]
Rate = Annotated[float, msgspec.Meta(gt=0, le=1e21)]  # per second
Relative = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
Fraction = Annotated[float, msgspec.Meta(gt=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e6)]


class Spread(msgspec.Struct, frozen=True):
    """How far a set of answers was from the truth: relative errors, 0.02 is 2 %."""

    median: Relative
    p95: Relative
    points: Annotated[int, msgspec.Meta(ge=1)]

    @classmethod
    def of(cls, errors: Sequence[float]) -> "Spread":
        """The spread of at least one relative error."""
        return cls(round(quantile(errors, 0.5), 6), round(quantile(errors, 0.95), 6), len(errors))


class Link(msgspec.Struct, frozen=True):
    """What bytes go through that do not stay in the device's memory: a bus, a network, a disk."""

    latency_s: Seconds
    bytes_per_s: Rate


class IterationFit(msgspec.Struct, frozen=True):
    """What whole iterations of a real engine taught: how far a sum of operations is from the whole.

    An iteration takes `scale` times the sum, and `overhead_s` for each operation. model, dtype,
    weights: the shape that ran. holdout: the error of predicting iterations that this was not fitted
    to; noise: how far two measurements of the same iterations are apart. probe_s: what the probe took
    that ran beside each sample (`llmos.kernels.steady`), by which the machine's speed can be known again.
    """

    model: str
    dtype: str
    scale: Annotated[float, msgspec.Meta(gt=0, le=1e3)]
    overhead_s: Seconds
    holdout: Spread
    noise: Spread
    weights: str = "dense"
    probe_s: Annotated[float, msgspec.Meta(gt=0, le=1e6)] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One timed operation: `seconds`, within which it repeats (`low` to `high`), over `samples` runs."""

    op: Op
    seconds: float
    low: float
    high: float
    samples: int


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One machine's costs.

    clock: how time was taken. source: whose figures these are, unless they were measured here.
    noise: the same grid measured twice, relative difference; noise_of: that of each kind of operation
    with enough rows.
    holdout: for each way of predicting, its error on rows that were held out.
    peak_flops, bandwidth_bytes_per_s, launch_s: the roofline; what a data sheet promises is
    multiplied by the two efficiencies. links: by the name that an operation gives its `link`.
    system: what the operating system's own work takes, by the names of `costs.system.WHAT`.
    iterations: what a real engine's whole iterations taught of each model that ran.
    pressure_percent: how busy others kept the machine meanwhile.
    """

    name: Name
    kind: Literal["measured", "imported", "data-sheet"]
    device: str
    clock: str
    date: Date
    peak_flops: Annotated[dict[str, Rate], msgspec.Meta(min_length=1)]
    bandwidth_bytes_per_s: Rate
    launch_s: Seconds
    compute_efficiency: Fraction = 1.0
    memory_efficiency: Fraction = 1.0
    links: dict[str, Link] = {}
    source: str = ""
    driver: str = ""
    torch: str = ""
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0
    host: dict[str, str] = {}
    system: dict[str, Measured] = {}
    iterations: tuple[IterationFit, ...] = ()
    pressure_percent: Annotated[float, msgspec.Meta(ge=0, le=100)] | None = None
    noise: Spread | None = None
    noise_of: dict[str, Spread] = {}
    holdout: dict[str, Spread] = {}
    notes: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()
    dropped: tuple[str, ...] = ()

    @property
    def provenance(self) -> str:
        """The profile's name and standing, for captions: `reference-cpu, measured 2026-01-31`."""
        standing = {
            "measured": f"measured {self.date[:10]}",
            "imported": f"imported from {self.source or 'a table'}, not measured here",
            "data-sheet": "data sheet, not measured",
        }
        return f"{self.name}, {standing[self.kind]}"

    def roofline(self, op: Op) -> float:
        """Seconds that `op` takes at full speed: launch, then the slower of computing and moving.

        What goes over a link takes its latency, step by step, and its bandwidth. Raises ProfileError
        when the profile has no speed for the operation's dtype, or not that link.
        Source: S. Williams et al., Roofline, CACM 52(4), 2009.
        """
        launch, compute, memory = self.parts(op)
        return launch + max(compute, memory)

    def parts(self, op: Op, *, tiled: bool = False) -> tuple[float, float, float]:
        """What the roofline of `op` is made of: seconds of its launch, of computing and of moving.

        tiled: computed in whole tiles. Raises ProfileError as `roofline` does.
        """
        if op.link != "memory":
            return self._over_link(op)
        memory = op.bytes / (self.bandwidth_bytes_per_s * self.memory_efficiency)
        return self.launch_s, self._compute(op, op.tiled_flops if tiled else op.flops), memory

    def least(self, op: Op) -> float:
        """Seconds that `op` takes at full speed with nothing to launch, and from a cache if it can be."""
        launch, compute, memory = self.parts(op)
        if op.link != "memory":
            return launch + memory
        return compute if op.bytes <= IN_A_CACHE else max(compute, memory)

    def _compute(self, op: Op, flops: int) -> float:
        if not flops:
            return 0.0
        if op.arithmetic not in self.peak_flops:
            raise ProfileError(
                f"profile {self.name} has no figures for {op.arithmetic}",
                hint=f"it has: {', '.join(self.peak_flops)}; use one of these, or another profile",
            )
        return flops / (self.peak_flops[op.arithmetic] * self.compute_efficiency)

    def _over_link(self, op: Op) -> tuple[float, float, float]:
        link = self.links.get(op.link) or self._file_link(op.link)
        if link is None:
            known = ", ".join(self.links) or "none"
            raise ProfileError(
                f"profile {self.name} says nothing of the link {op.link!r} that {show_op(op)} takes",
                hint=f"it has: {known}; use another profile, or measure: llmos calibrate",
            )
        return op.steps * link.latency_s, 0.0, op.bytes / link.bytes_per_s

    def _file_link(self, name: str) -> Link | None:
        """What reading a file takes, from the operating system's own costs, where these were measured."""
        read = FILE_READS.get(name, "")
        first, each = self.system.get(read), self.system.get(f"{read}_per_byte")
        return Link(first.seconds, 1 / each.seconds) if first and each else None


class Listed(msgspec.Struct, frozen=True):
    """A profile that was found; `profile` is None when it cannot be read, and `problem` says why."""

    name: str
    path: Path
    profile: Profile | None
    problem: str = ""


def check_name(name: str) -> None:
    """Raise ProfileError when `name` cannot be the name of a profile, and so of its file."""
    if not re.match(NAME, name) or name == THIS_MACHINE:
        raise ProfileError(
            f"a profile cannot be called {name[:80]!r}",
            hint=f'small letters, digits, ".", "_" and "-", at most 64; "{THIS_MACHINE}" itself is taken',
        )


def user_folder() -> Path:
    """Where this user's own profiles are: `profiles` in $LLMOS_DATA or in the user's data folder."""
    if data := os.environ.get("LLMOS_DATA"):
        return Path(data) / "profiles"
    from platformdirs import user_data_dir

    return Path(user_data_dir("llmos", appauthor=False)) / "profiles"


def shipped_folders() -> list[Path]:
    """Where the profiles that ship with llmos are, found without importing anything of torch."""
    llmos = find_spec("llmos")  # A namespace package: in a checkout its parts are several folders.
    roots = list(llmos.submodule_search_locations or []) if llmos else []
    return [folder for root in roots if (folder := Path(root, "kernels", "profiles")).is_dir()]


def load_profile(name_or_path: str | Path) -> Profile:
    """The profile of that name, or in that `.json` file.

    Raises ProfileError, naming the cure, when there is none or it is damaged.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or text.endswith(".json") or re.search(r"[/\\]", text):
        return read_profile(Path(text))
    if text == THIS_MACHINE:
        return _latest_calibration()
    places = _places()
    if text not in places:
        hint = did_you_mean(text, places) or f"there are: {', '.join([*places, THIS_MACHINE])}"
        raise ProfileError(f"there is no profile {text[:80]!r}", hint=hint)
    return read_profile(places[text])


def list_profiles() -> list[Listed]:
    """All profiles that can be found by name, the user's own first, readable or not."""
    found = []
    for name, path in _places().items():
        try:
            found.append(Listed(name, path, read_profile(path)))
        except ProfileError as error:
            found.append(Listed(name, path, None, str(error)))
    return found


def save_profile(profile: Profile, path: str | Path) -> None:
    """Write the profile as JSON, one row a line, all of it or nothing.

    Raises LlmosError when it cannot be written.
    """
    header: dict[str, Any] = {"schema": SCHEMA} | msgspec.to_builtins(
        msgspec.structs.replace(profile, rows=(), dropped=())
    )
    del header["rows"], header["dropped"]
    head = json.dumps(header, indent=2, ensure_ascii=False).removesuffix("\n}")
    rows = ",\n    ".join(json.dumps(_row_fields(row)) for row in profile.rows)
    write_whole(path, f'{head},\n  "rows": [{rows and f"{chr(10)}    {rows}{chr(10)}  "}]\n}}\n')


def save_calibration(profile: Profile) -> Path:
    """Write the profile under its own name into the user's data folder, and say where."""
    path = user_folder() / f"{profile.name}.json"
    save_profile(profile, path)
    return path


def read_profile(path: Path) -> Profile:
    """The profile in that file.

    Raises ProfileError when the file cannot be read or its header is wrong.
    """
    try:
        return parse_profile(_content(path))
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have.
        reason = getattr(error, "strerror", None) or error
        raise ProfileError(f"cannot read the profile: {reason}", file=path) from error
    except ProfileError as error:
        error.file = path
        raise


@lru_cache(maxsize=8)  # A sweep builds its scenario for every run; what the bytes mean stays the same.
def parse_profile(data: bytes) -> Profile:
    """The profile in that JSON text.

    Raises ProfileError when it is no JSON, of another schema, or its header is wrong.
    """
    try:
        header = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ProfileError(f"not a profile: {error}", hint=_CURE) from error
    if not isinstance(header, dict):
        raise ProfileError("not a profile: it is not a JSON object", hint=_CURE)
    schema, rows = header.pop("schema", None), header.pop("rows", [])
    if schema not in READABLE:
        known = " and ".join(map(str, READABLE))
        raise ProfileError(f"this profile has schema {schema!r:.20}; this llmos reads {known}", hint=_CURE)
    try:
        profile = msgspec.convert(header | {"dropped": []}, Profile)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ProfileError(f"the header of the profile is wrong: {error}", hint=_CURE) from error
    if not isinstance(rows, list):
        raise ProfileError("the profile's rows are not a list", hint=_CURE)
    return _with_rows(profile, rows)


_CURE = "mend it, or measure anew: llmos calibrate --quick"


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise ProfileError("there is no such profile file", hint="see `llmos profile list`")
    if path.stat().st_size > LARGEST_FILE_BYTES:
        raise ProfileError("too large to be a profile", hint="see `llmos profile list`")
    return path.read_bytes()


def _with_rows(profile: Profile, raw: list[Any]) -> Profile:
    good: dict[Op, Row] = {}
    dropped: list[str] = []
    for number, fields in enumerate(raw, start=1):
        try:
            row = _row(profile, fields)
        except ProfileError as error:
            dropped.append(f"row {number}: {error.message}")
            continue
        if row.op in good:
            dropped.append(f"row {number}: {show_op(row.op)} is there already")
        else:
            good[row.op] = row
    if raw and not good:
        raise ProfileError(f"no row of the profile can be used; {dropped[0]}", hint=_CURE)
    return msgspec.structs.replace(profile, rows=tuple(good.values()), dropped=tuple(dropped))


def _row(profile: Profile, fields: Any) -> Row:
    """The row in those JSON fields; raises ProfileError when it is malformed or impossible."""
    if not isinstance(fields, dict) or not isinstance(fields.get("op"), str):
        raise ProfileError("it is no object with an `op`")
    sizes = {key: value for key, value in fields.items() if key not in _TIMED and key != "op"}
    op = make_op(fields["op"], sizes)
    low, seconds, high = (fields.get(key) for key in ("low", "seconds", "high"))
    samples = fields.get("samples")
    for value in (low, seconds, high):
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e6:
            raise ProfileError(f"{show_op(op)}: {value!r:.40} is no time in seconds")
    if type(samples) is not int or samples < 1:
        raise ProfileError(f"{show_op(op)}: {samples!r:.40} is no number of samples")
    row = Row(op, float(seconds), float(low), float(high), samples)  # type: ignore[arg-type]
    if not row.low <= row.seconds <= row.high:
        raise ProfileError(f"{show_op(op)}: its time is outside of its own low and high")
    if row.seconds * FASTER_THAN_PHYSICS < profile.least(op):
        raise ProfileError(f"{show_op(op)}: more than {FASTER_THAN_PHYSICS:g} times faster than the roofline")
    return row


_TIMED = ("seconds", "low", "high", "samples")


def _row_fields(row: Row) -> dict[str, Any]:
    return {"op": row.op.kind} | op_fields(row.op) | {key: getattr(row, key) for key in _TIMED}


def _places() -> dict[str, Path]:
    places: dict[str, Path] = {}
    for folder in [user_folder(), *shipped_folders()]:
        for path in _json_files(folder):
            places.setdefault(path.stem, path)
    return places


def _json_files(folder: Path) -> Iterable[Path]:
    try:
        return sorted(folder.glob("*.json"))
    except OSError:  # Not ours to read: then nothing of it can be found by name.
        return []


def _latest_calibration() -> Profile:
    paths = [path for path in _json_files(user_folder()) if path.stem.startswith(f"{THIS_MACHINE}-")]
    if not paths:
        raise ProfileError(
            "this machine has not been measured yet", hint="measure it in 20 s: llmos calibrate --quick"
        )
    return max((read_profile(path) for path in paths), key=lambda profile: (profile.date, profile.name))
