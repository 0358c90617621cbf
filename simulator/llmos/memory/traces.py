"""Traces of memory references from other tools, read in chunks: memory does not grow with the file.

- lackey: what `valgrind --tool=lackey --trace-mem=yes --log-file=FILE` writes.
- text: numbers, decimal or 0x..., with blanks, commas or lines between; "r" or "w" after one, in its line;
  "#" comments.
- csv: a header, and a column of numbers; a column that says which references write may be there.
- npy: an array of whole numbers, shape (n,). oracleGeneral: libCacheSim's binary, 24 bytes a record.
- Any of them may be compressed: .gz, .xz, and .zst where `zstandard` is installed.
- The name says what it is; what looks like lackey's is. Addresses become pages by the page size; only
  lackey's are addresses unless told, the other numbers are taken for pages.
- A damaged file is a LogError with its line, or its record, and the cure.
"""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmos.errors import LogError, did_you_mean

KINDS: Final = ("lackey", "text", "csv", "npy", "oracleGeneral")
BLOCK_BYTES: Final = 4 << 20
ROWS: Final = 1 << 18
PAGE_BYTES: Final = 4096

ORACLE_GENERAL: Final = np.dtype([("time", "<u4"), ("id", "<u8"), ("size", "<u4"), ("next", "<i8")])
"""One record: 24 bytes, nothing between."""

COLUMNS: Final = ("page", "address", "addr", "vaddr", "block", "key", "id", "obj_id")
"""Names of a CSV file's column of numbers, if none is given; the first that is there."""
WRITE_COLUMNS: Final = ("write", "op", "type", "rw")
WRITES: Final = frozenset({"w", "write", "store", "s", "m", "1", "true"})

_LACKEY = re.compile(rb"^(==\d+==|I  ?[0-9a-f]+,\d| [LSM] [0-9a-f]+,\d)", re.MULTILINE | re.IGNORECASE)


class Chunk(NamedTuple):
    """References in their order: which page, and whether it is written; both of shape (n,)."""

    pages: NDArray[np.uint64]
    writes: NDArray[np.bool_]


def read(
    path: Path,
    *,
    kind: str = "",
    page_size: int | None = None,
    column: str = "",
    fetches: bool = True,
) -> Iterator[Chunk]:
    """Return the references of a trace, chunk by chunk.

    kind: one of KINDS, if the name does not tell. page_size: bytes to a page; left out, 4096 for lackey
    and 1 for the others, whose numbers are then pages. column: of a CSV file. fetches: whether the
    instruction fetches of lackey count.

    Raises LogError.
    """
    if kind and kind not in KINDS:
        hint = did_you_mean(kind, KINDS) or f"there are: {', '.join(KINDS)}"
        raise LogError(f'there is no kind of trace "{kind}"', hint=hint)
    if page_size is not None and page_size < 1:
        raise LogError(f"a page has 1 byte or more, not {page_size:,}")
    try:
        with closing(_open(path)) as file:
            kind = kind or _kind(path, file)
            _refuse(path, kind, column=column, fetches=fetches)
            size = page_size or (PAGE_BYTES if kind == "lackey" else 1)
            if kind in {"lackey", "text"}:
                yield from _text(file, path, kind, size, fetches=fetches)
            elif kind == "csv":
                yield from _csv(file, path, size, column)
            elif kind == "npy":
                yield from _npy(file, path, size)
            else:
                yield from _oracle_general(file, path, size)
    except FileNotFoundError as error:
        raise LogError("there is no such trace", file=path) from error
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise LogError(f"cannot read the trace: {reason}", file=path) from error


def _refuse(path: Path, kind: str, *, column: str, fetches: bool) -> None:
    """Raise LogError if something is asked for that only another kind of trace has."""
    if column and kind != "csv":
        raise LogError(f'a trace of kind {kind} has no column "{column}"', file=path, hint="leave it away")
    if not fetches and kind != "lackey":
        message = f"a trace of kind {kind} does not tell instruction fetches from data"
        raise LogError(message, file=path, hint="only lackey's does; leave it away")


def _open(path: Path) -> io.BufferedReader:
    """Open a file, unpacked if its name says that it is packed."""
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.open(path))
    if path.suffix == ".xz":
        return io.BufferedReader(lzma.open(path))
    if path.suffix != ".zst":
        return path.open("rb")
    try:
        zstandard: Any = importlib.import_module("zstandard")
    except ImportError as error:
        hint = "install it with: pip install zstandard; or unpack the trace with unzstd"
        raise LogError("a .zst file needs zstandard, which is not installed", file=path, hint=hint) from error
    try:
        unpacked: IO[bytes] = zstandard.open(path, "rb")
    except zstandard.ZstdError as error:
        raise LogError(f"cannot unpack the trace: {error}", file=path) from error
    return io.BufferedReader(_Unpacked(unpacked, zstandard.ZstdError))


class _Unpacked(io.RawIOBase):
    """A stream of zstandard whose errors are OSErrors, as gzip's are."""

    def __init__(self, stream: IO[bytes], error: type[Exception]) -> None:
        self._stream = stream
        self._error = error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except self._error as error:
            raise OSError(f"damaged: {error}") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def _kind(path: Path, file: io.BufferedReader) -> str:
    """Tell what kind of trace it is, by the name or by how it begins."""
    name = path.name.removesuffix(".gz").removesuffix(".xz").removesuffix(".zst")
    if "oraclegeneral" in name.lower():
        return "oracleGeneral"
    if name.endswith((".csv", ".npy")):
        return name[-3:]
    start = file.peek(4096)[:4096]
    if b"\0" in start:
        hint = f"say which kind it is: {', '.join(KINDS)}"
        raise LogError("the trace is no text, and its name does not tell what it is", file=path, hint=hint)
    return "lackey" if _LACKEY.search(start) else "text"


# --- text ---------------------------------------------------------------------------------------------


def _text(file: IO[bytes], path: Path, kind: str, page_size: int, *, fetches: bool) -> Iterator[Chunk]:
    from llmos.memory.bulk.text import read_lackey, read_numbers

    for line, block in _blocks(file, path):
        data = np.frombuffer(block, np.uint8)
        most = 2 * block.count(b"\n") if kind == "lackey" else len(block) // 2 + 1
        chunk = Chunk(np.empty(most, np.uint64), np.empty(most, np.bool_))
        if kind == "lackey":
            found, bad = read_lackey(data, page_size, fetches, *chunk)
        else:
            found, bad = read_numbers(data, page_size, *chunk)
        if bad >= 0:
            raise _strange(block, bad, path, line, kind)
        if found:
            yield Chunk(chunk.pages[:found], chunk.writes[:found])


def _blocks(file: IO[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    """Cut a file into blocks of whole lines; each with the number of its first line."""
    line, rest = 1, b""
    while data := file.read(BLOCK_BYTES):
        cut = data.rfind(b"\n") + 1
        if cut:
            block = rest + data[:cut]
            yield line, block
            line += block.count(b"\n")
            rest = b""
        elif len(rest) > BLOCK_BYTES:
            raise LogError("the line is too long", file=path, line=line, hint="put one number on each line")
        rest += data[cut:]
    if rest:
        yield line, rest + b"\n"


def _strange(block: bytes, bad: int, path: Path, line: int, kind: str) -> LogError:
    start = block.rfind(b"\n", 0, bad) + 1
    shown = block[start : block.find(b"\n", bad)].decode("utf-8", "replace").strip()[:60]
    hints = {
        "lackey": "keep the program's own output out: valgrind --tool=lackey --trace-mem=yes --log-file=FILE",
        "text": 'write numbers below 2^64, decimal or 0x..., "r" or "w" after them, "#" before comments',
    }
    number = line + block.count(b"\n", 0, bad)
    what = "reference of lackey" if kind == "lackey" else "number"
    return LogError(f'"{shown}" is no {what}', file=path, line=number, hint=hints[kind])


# --- CSV ----------------------------------------------------------------------------------------------


def _csv(file: IO[bytes], path: Path, page_size: int, column: str) -> Iterator[Chunk]:
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    rows = csv.reader(text, strict=True)
    pages: list[int] = []
    writes: list[bool] = []
    try:
        header = [name.strip() for name in next(rows, [])]
        number, write = _column(header, column, path), _first(WRITE_COLUMNS, header)
        for row in rows:
            if not row:
                continue
            pages.append(_whole(row, number, path, rows.line_num) // page_size)
            writes.append(write is not None and write < len(row) and row[write].strip().lower() in WRITES)
            if len(pages) == ROWS:
                yield Chunk(np.array(pages, np.uint64), np.array(writes, np.bool_))
                pages, writes = [], []
    except (csv.Error, UnicodeDecodeError) as error:
        raise LogError(f"the trace is damaged: {error}", file=path, line=rows.line_num) from error
    if pages:
        yield Chunk(np.array(pages, np.uint64), np.array(writes, np.bool_))
    text.detach()  # else it would close the file, which is not its own


def _column(header: list[str], column: str, path: Path) -> int:
    there = f"it has: {', '.join(header)}"[:200]
    if column:
        if column not in header:
            hint = did_you_mean(column, header) or there
            raise LogError(f'the trace has no column "{column}"', file=path, line=1, hint=hint)
        return header.index(column)
    found = _first(COLUMNS, header)
    if found is None:
        message = f"the trace has no column {', '.join(COLUMNS)}"
        raise LogError(message, file=path, line=1, hint=f"name its column; {there}")
    return found


def _first(names: tuple[str, ...], header: list[str]) -> int | None:
    lower = [name.lower() for name in header]
    return next((lower.index(name) for name in names if name in lower), None)


def _whole(row: list[str], column: int, path: Path, line: int) -> int:
    text = row[column].strip() if column < len(row) else ""
    if not re.fullmatch(r"0[xX][0-9a-fA-F]{1,16}|\d{1,20}", text):
        message = f'"{text[:60]}" is no number' if text else "the row has no number"
        raise LogError(message, file=path, line=line, hint="write whole numbers, decimal or 0x...")
    value = int(text, 16 if text[:2] in {"0x", "0X"} else 10)
    if value >= 2**64:
        raise LogError(f"{text} is too large", file=path, line=line, hint="numbers are below 2^64")
    return value


# --- binary -------------------------------------------------------------------------------------------


def _npy(file: IO[bytes], path: Path, page_size: int) -> Iterator[Chunk]:
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    if len(shape) != 1 or dtype.kind not in "iu":
        hint = "save whole numbers, one for each reference: numpy.save(FILE, pages)"
        raise LogError(f"the array has shape {shape} and holds {dtype}", file=path, hint=hint)
    read_rows = 0
    for records in _records(file, path, dtype):
        read_rows += len(records)
        if dtype.kind == "i" and records.min() < 0:
            number = read_rows - len(records) + int(np.argmax(records < 0))
            raise LogError(
                f"reference {number:,} (from 0) is negative", file=path, hint="use unsigned numbers"
            )
        yield _unsigned(records, page_size)
    if read_rows != shape[0]:
        raise LogError(f"it holds {read_rows:,} of {shape[0]:,} references", file=path, hint="save it again")


def _oracle_general(file: IO[bytes], path: Path, page_size: int) -> Iterator[Chunk]:
    for records in _records(file, path, ORACLE_GENERAL):
        yield _unsigned(records["id"], page_size)


def _records(file: IO[bytes], path: Path, dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    size = BLOCK_BYTES // dtype.itemsize * dtype.itemsize
    done, rest = 0, b""
    while data := file.read(size):
        data = rest + data
        whole = len(data) // dtype.itemsize * dtype.itemsize
        rest = data[whole:]
        if whole:
            yield np.frombuffer(data[:whole], dtype)
            done += whole // dtype.itemsize
    if rest:
        message = f"it ends within record {done:,} (from 0) of {dtype.itemsize} bytes"
        raise LogError(message, file=path, hint="the file is cut short, or is no such trace")


def _unsigned(numbers: NDArray[Any], page_size: int) -> Chunk:
    pages = numbers.astype(np.uint64) // np.uint64(page_size)
    return Chunk(pages, np.zeros(len(pages), np.bool_))
