"""Page faults that need no device, and copying memory.

- A page that was only read maps a page of zeros that all share: a fault, and nothing else. One that is
  written needs a frame of its own, filled with zeros. The second touch of the same pages is subtracted.
- Times are CPU time of the thread, over a thousand pages or more, touched in one call of numpy's.
"""

import mmap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from llmos.kernels.os_costs.rounds import Sample

PAGE_BYTES = mmap.PAGESIZE
PAGES = 1024
COPY_BYTES = 64 * 2**20

Bytes = npt.NDArray[np.uint8]


@contextmanager
def minor_faults() -> Iterator[Sample]:
    """Yield a sampler of first touches of anonymous pages."""

    def sample() -> dict[str, float]:
        reading, writing = _first_touch(_read), _first_touch(_write)
        return {"minor_fault": reading / PAGES, "zero_page": (writing - reading) / PAGES}

    yield sample


def _first_touch(touch: Callable[[Bytes], None]) -> float:
    """Return what touching fresh pages takes more than touching them again."""
    # Unmapped with its last view: closing it while Ctrl-C holds one would be an error.
    mapping = mmap.mmap(-1, PAGES * PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        mapping.madvise(mmap.MADV_NOHUGEPAGE)  # Else one fault may bring 512 pages.
    pages = np.frombuffer(mapping, np.uint8)[::PAGE_BYTES]
    first, again = _timed(touch, pages), _timed(touch, pages)
    return first - again


def _timed(touch: Callable[[Bytes], None], pages: Bytes) -> float:
    start = time.thread_time()
    touch(pages)
    return time.thread_time() - start


def _read(pages: Bytes) -> None:
    pages.max()


def _write(pages: Bytes) -> None:
    pages.fill(1)


@contextmanager
def copying() -> Iterator[Sample]:
    """Yield a sampler of copies that are larger than the caches of most machines."""
    source, target = np.ones(COPY_BYTES, np.uint8), np.ones(COPY_BYTES, np.uint8)

    def sample() -> dict[str, float]:
        start = time.thread_time()
        np.copyto(target, source)
        return {"memory_copy_per_byte": (time.thread_time() - start) / COPY_BYTES}

    yield sample
