"""Files that are whole or not there.

- A file is written beside its place, flushed to the disk, then renamed: a reader, a crash or a
  full disk never meets half of one, and the old one stays until the new one is complete.
- Missing folders are made; when anything fails, nothing is left behind.
- A link is followed. A device or a pipe cannot be renamed over: it is written straight.
- Text is UTF-8 with plain newlines, the same bytes on every machine.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any, Literal, overload

from llmos.errors import LlmosError


def write_whole(path: str | Path, data: bytes | str) -> None:
    """Write `data` to `path`, all of it or none.

    Raises LlmosError, with the system's reason, when that cannot be done.
    """
    content = data.encode() if isinstance(data, str) else data
    try:
        with whole_file(path, "wb") as file:
            file.write(content)
    except OSError as error:
        raise _cannot_write(path, error) from error


@overload
def whole_file(path: str | Path, mode: Literal["wb"] = ...) -> AbstractContextManager[IO[bytes]]: ...
@overload
def whole_file(path: str | Path, mode: Literal["w"]) -> AbstractContextManager[IO[str]]: ...
@contextmanager
def whole_file(path: str | Path, mode: Literal["w", "wb"] = "wb") -> Iterator[IO[Any]]:
    """A file to write into, which takes its place at `path` when the block ends well.

    Raises LlmosError when the file cannot be made; what the block itself raises goes through.
    """
    place = Path(os.path.realpath(path))
    if place.exists() and not place.is_file() and not place.is_dir():
        with _open(place, mode) as device:
            yield device
        return
    beside = place.with_name(f".{place.name}.{secrets.token_hex(6)}.part")
    try:
        if place.is_dir():
            raise IsADirectoryError(None, "it is a folder; name a file")
        place.parent.mkdir(parents=True, exist_ok=True)
        file = _open(beside, "x" + mode[1:])
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(place)
    finally:
        beside.unlink(missing_ok=True)


def _open(path: Path, mode: str) -> IO[Any]:
    text = "b" not in mode
    return path.open(mode, encoding="utf-8" if text else None, newline="\n" if text else None)


def _cannot_write(path: str | Path, error: OSError) -> LlmosError:
    return LlmosError(f"cannot write the file: {error.strerror or error}", file=path)
