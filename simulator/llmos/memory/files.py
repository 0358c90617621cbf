"""Files, as the memory sees them: pages on a device."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class File:
    """A file of `pages` pages on the device called `device`."""

    name: str
    inode: int
    pages: int
    device: str
