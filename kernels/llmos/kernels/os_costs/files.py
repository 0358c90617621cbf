"""Files: read from the page cache and from the device, mapped, and written for good.

- The file that is read has no name, and goes with the process that opened it, however that ends. It lies
  in the first of several folders whose pages the system can drop from its cache; a file system in
  memory cannot do that, and then nothing cold is measured.
- Cold means: dropped with posix_fadvise, and mincore says that no page of the file is there. What a
  virtual machine's host has in its cache, or a disk in its own, nobody here can tell.
- A read takes a + b * bytes: both come from a small read and a large one. Of several that wait for the
  device the median counts, for other programs' turns on the core make some of them longer. Of syncs the
  fastest does: a thread of the kernel's must run for each, and may wait longer for a core than for the disk.
"""

import ctypes
import mmap
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import FileIO
from pathlib import Path
from statistics import median
from typing import IO

import numpy as np

from llmos.costs.profile import user_folder
from llmos.kernels.os_costs.rounds import LackError, Sample

PAGE_BYTES = mmap.PAGESIZE
BLOCK_BYTES, FILE_BYTES = 2**20, 32 * 2**20
SMALL_BYTES, LARGE_BYTES = 4096, 8 * 2**20
SMALL_READS = 16
WARM_READS = 512
SYNCS = 5
FAULTS, FAULT_STRIDE = 64, 17  # Pages apart, so that what a device reads ahead by itself is of no use.

OPEN_FILES = "/proc/self/fd"
NOT_DROPPED = "the page cache keeps the file; its file system may be in memory"


@contextmanager
def scratch_file() -> Iterator[int]:
    """Yield the descriptor of a nameless file, where possible of one that can be dropped from memory."""
    usable = {folder: droppable for folder in _folders() if (droppable := _tried(folder)) is not None}
    if not usable:
        raise LackError(f"no folder takes a temporary file of {FILE_BYTES >> 20} MiB")
    with tempfile.TemporaryFile(dir=max(usable, key=lambda folder: usable[folder])) as file:
        _fill_up(file, FILE_BYTES)
        yield file.fileno()


def _tried(folder: str) -> bool | None:
    """Return whether a file in that folder can be dropped from memory; None if there can be none."""
    try:
        if shutil.disk_usage(folder).free < 2 * FILE_BYTES:
            return None
        with tempfile.TemporaryFile(dir=folder) as file:
            _fill_up(file, BLOCK_BYTES)
            return _is_dropped(file.fileno())
    except OSError:
        return None


def _fill_up(file: IO[bytes], size_bytes: int) -> None:
    block = random.Random(1).randbytes(BLOCK_BYTES)
    for _ in range(size_bytes // BLOCK_BYTES):
        file.write(block)
    file.flush()
    os.fsync(file.fileno())


def _folders() -> list[str]:
    try:
        usual = [tempfile.gettempdir()]
    except FileNotFoundError:  # None that can be written to.
        usual = []
    return [*usual, "/var/tmp", str(user_folder())]  # noqa: S108 - only nameless files


def drop(file: int) -> None:
    """Drop the file from the page cache; raises LackError when that cannot be done."""
    if not hasattr(os, "posix_fadvise"):
        raise LackError("this system cannot drop a file from its page cache")
    if not _is_dropped(file):
        raise LackError(NOT_DROPPED)


def _is_dropped(file: int) -> bool:
    if not hasattr(os, "posix_fadvise"):
        return False
    for _ in range(3):  # Pages on their way into the cache's lists stay at the first time.
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        if not resident_pages(file):
            return True
    return False


def resident_pages(file: int) -> int:
    """Return how many pages of the file are in memory, as mincore says."""
    count = -(-os.fstat(file).st_size // PAGE_BYTES)
    present = (ctypes.c_ubyte * count)()
    content = np.frombuffer(mmap.mmap(file, 0, prot=mmap.PROT_READ), np.uint8)  # unmapped with its last view
    address, size = ctypes.c_void_p(content.ctypes.data), ctypes.c_size_t(content.size)
    if ctypes.CDLL(None).mincore(address, size, present):
        raise LackError("mincore does not say what is in memory")
    return sum(flag & 1 for flag in present)


def fixed_and_per_byte(small_s: float, large_s: float) -> tuple[float, float]:
    """Return a and b of a + b * bytes, from the seconds of a read of each size."""
    per_byte = (large_s - small_s) / (LARGE_BYTES - SMALL_BYTES)
    return small_s - per_byte * SMALL_BYTES, per_byte


# --- reading ------------------------------------------------------------------------------------------


@contextmanager
def warm_reads(scratch: int) -> Iterator[Sample]:
    """Yield a sampler of reads from the page cache; in CPU time."""
    with (
        _opened(scratch, shared=True) as file,
        mmap.mmap(-1, LARGE_BYTES) as buffer,
        memoryview(buffer) as large,
        large[:SMALL_BYTES] as small,
    ):

        def sample() -> dict[str, float]:
            _read_at(file, large, 0)  # The buffer and this part of the file are in memory now.
            whole = _clocked(time.thread_time, partial(_read_at, file, large, 0))
            pieces = _clocked(time.thread_time, partial(_read_on, file, small, WARM_READS))
            fixed, per_byte = fixed_and_per_byte(pieces / WARM_READS, whole)
            return {"file_read_warm": fixed, "file_read_warm_per_byte": per_byte}

        yield sample


@contextmanager
def cold_reads(scratch: int) -> Iterator[Sample]:
    """Yield a sampler of reads of what was dropped from the page cache; with the wait for the device."""
    drop(scratch)
    with _opened(scratch) as random_file, _opened(scratch) as file:
        os.posix_fadvise(random_file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # Else more is read than is asked.
        with _reader(random_file, file) as read:

            def sample() -> dict[str, float]:
                drop(scratch)
                fixed, per_byte, _ = read()
                return {"file_read_cold": fixed, "file_read_cold_per_byte": per_byte}

            yield sample


@contextmanager
def direct_reads(scratch: int) -> Iterator[Sample]:
    """Yield a sampler of reads past the page cache."""
    if not hasattr(os, "O_DIRECT"):
        raise LackError("this system has no O_DIRECT")
    drop(scratch)  # A file system in memory may take O_DIRECT, and has no device.
    with _opened(scratch, os.O_DIRECT) as file, _reader(file, file) as read:

        def sample() -> dict[str, float]:
            fixed, per_byte, worked = read()
            return {"direct_read": fixed, "direct_read_per_byte": per_byte, "device_wait": fixed - worked}

        yield sample


@contextmanager
def _reader(small_file: FileIO, large_file: FileIO) -> Iterator[Callable[[], tuple[float, float, float]]]:
    """Yield what reads small pieces by lot of one half of a file, then a large one of the other.

    It returns a and b of a + b * bytes, and how much of a is work of the core's.
    """
    with mmap.mmap(-1, LARGE_BYTES) as buffer, memoryview(buffer) as large, large[:SMALL_BYTES] as small:
        large[:] = bytes(LARGE_BYTES)  # The buffer's own faults are none of the file's.
        draw = random.Random(2)

        def read() -> tuple[float, float, float]:
            at = [
                page * SMALL_BYTES for page in draw.sample(range(FILE_BYTES // 2 // SMALL_BYTES), SMALL_READS)
            ]
            working = time.thread_time()
            pieces = [
                _clocked(time.perf_counter, partial(_read_at, small_file, small, place)) for place in at
            ]
            worked = time.thread_time() - working
            whole = _clocked(time.perf_counter, partial(_read_at, large_file, large, FILE_BYTES // 2))
            return *fixed_and_per_byte(median(pieces), whole), worked / SMALL_READS

        yield read


@contextmanager
def _opened(scratch: int, flags: int = 0, *, shared: bool = False) -> Iterator[FileIO]:
    """Open the nameless file a second time, with its own flags, position and advice.

    Where the system has no way to do that, those of `scratch` will do if they may be `shared`.
    """
    try:
        again = os.open(f"{OPEN_FILES}/{scratch}", os.O_RDONLY | flags)
    except FileNotFoundError:  # Not Linux, or nothing is mounted there.
        if not shared:
            raise LackError(f"without {OPEN_FILES} a nameless file cannot be opened again") from None
        again = os.dup(scratch)
    with FileIO(again) as file:
        yield file


def _clocked(clock: Callable[[], float], work: Callable[[], object]) -> float:
    start = clock()
    work()
    return clock() - start


def _read_at(file: FileIO, buffer: memoryview, offset: int) -> None:
    file.seek(offset)
    _fill(file, buffer)


def _read_on(file: FileIO, buffer: memoryview, times: int) -> None:
    """Read so many pieces, one after another from the begin of the file."""
    file.seek(0)
    for _ in range(times):
        _fill(file, buffer)


def _fill(file: FileIO, buffer: memoryview) -> None:
    if file.readinto(buffer) != len(buffer):
        raise LackError("a read has brought less than it was asked for")


# --- mapping ------------------------------------------------------------------------------------------


@contextmanager
def major_faults(scratch: int) -> Iterator[Sample]:
    """Yield a sampler of touches of mapped pages that are not in memory."""
    drop(scratch)

    def sample() -> dict[str, float]:
        drop(scratch)
        mapping = mmap.mmap(scratch, 0, prot=mmap.PROT_READ)  # It cannot be closed while Ctrl-C holds a view.
        mapping.madvise(mmap.MADV_RANDOM)  # Else the kernel reads ahead, and most faults are minor.
        # Of large pages the file has fewer.
        pages = np.frombuffer(mapping, np.uint8)[:: FAULT_STRIDE * PAGE_BYTES][:FAULTS]
        working = time.thread_time()
        waits = [_clocked(time.perf_counter, partial(pages.item, page)) for page in range(len(pages))]
        worked = time.thread_time() - working
        return {"major_fault": worked / len(waits), "major_fault_wait": median(waits)}

    yield sample


# --- writing ------------------------------------------------------------------------------------------


@contextmanager
def syncing(scratch: int) -> Iterator[Sample]:
    """Yield a sampler of fsync and fdatasync; `scratch` says which file system has a device below it."""
    drop(scratch)
    # With a name: what a journal does for a file that nobody can find again may be less.
    with tempfile.NamedTemporaryFile(dir=_folder_of(scratch), buffering=0) as file:
        page = random.Random(3).randbytes(SMALL_BYTES)
        file.write(page * 16)
        os.fsync(file.fileno())

        def written(sync: Callable[[int], None]) -> float:
            os.pwrite(file.fileno(), page, 0)
            return _clocked(time.perf_counter, partial(sync, file.fileno()))

        def fastest(sync: Callable[[int], None]) -> float:
            return min(written(sync) for _ in range(SYNCS))

        def sample() -> dict[str, float]:
            found = {"fsync": fastest(os.fsync)}
            if hasattr(os, "fdatasync"):
                found["fdatasync"] = fastest(os.fdatasync)
            return found

        yield sample


def _folder_of(scratch: int) -> str:
    """Return the folder that lies on the same file system as the nameless file."""
    device = os.fstat(scratch).st_dev
    for folder in _folders():
        if Path(folder).is_dir() and Path(folder).stat().st_dev == device:
            return folder
    raise LackError("the folder of the temporary file has gone")
