"""What an operating system's own work was measured to take.

- A profile has them by name (`Profile.system`); `WHAT` says what each name means.
- Every figure is seconds of one such piece of work, or seconds per byte, with its spread.
- A figure that a machine has no way to measure is left out, and the profile's notes say why.
"""

from typing import Annotated, Final

import msgspec

Positive = Annotated[float, msgspec.Meta(gt=0, le=1e6)]

WHAT: Final = {
    "syscall": "entering the kernel and leaving it: getppid",
    "context_switch": "handing one core from a process to another",
    "wakeup": "waking a process up that waits on another core",
    "minor_fault": "a page fault that only has to map a page",
    "zero_page": "in addition: finding a frame and filling it with zeros",
    "major_fault": "the kernel's work for a page that is not in memory, without the device",
    "major_fault_wait": "such a fault as a whole, with the wait for the device",
    "file_read_warm": "a read of a file that is in the page cache, before its first byte",
    "file_read_warm_per_byte": "each byte of such a read",
    "file_read_cold": "a read of a file that is not in the page cache, before its first byte",
    "file_read_cold_per_byte": "each byte of such a read",
    "direct_read": "a read past the page cache (O_DIRECT), before its first byte",
    "direct_read_per_byte": "each byte of such a read",
    "device_wait": "the wait for the device in a direct read, during which the core is free",
    "fsync": "fsync after a write of 4 KiB",
    "fdatasync": "fdatasync after a write of 4 KiB",
    "memory_copy_per_byte": "copying a byte of memory that is in no cache",
}
"""What each figure is, in words."""

FILE_READS: Final = {
    "file warm": "file_read_warm",
    "file cold": "file_read_cold",
    "file direct": "direct_read",
}
"""The links that file reads go over, and the figures that say what they take."""


class Measured(msgspec.Struct, frozen=True):
    """Seconds of one piece of work: the median of `samples`, and where eight of ten fall, `low` to `high`."""

    seconds: Positive
    low: Positive
    high: Positive
    samples: Annotated[int, msgspec.Meta(ge=1)]

    def __post_init__(self) -> None:
        """Raise ValueError when the figures contradict one another."""
        if not self.low <= self.seconds <= self.high:
            raise ValueError("`seconds` is outside of its own `low` and `high`")
