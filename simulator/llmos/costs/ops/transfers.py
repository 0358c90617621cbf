"""Operations that only move bytes: copies, collectives of several devices, file reads.

- Their time is `steps` latencies of a link plus `bytes` over its bandwidth.
- Source: collectives as in NVIDIA's nccl-tests, doc/PERFORMANCE.md: a ring passes (n-1)/n of the data
  once to reduce and once to gather; a tree passes all of it up and down in log2(n) steps each.
"""

from dataclasses import dataclass
from typing import ClassVar

from llmos.costs.ops.base import Op

ROUTES = ("device", "to-device", "from-device")
"""Where a copy goes: within a device's memory, from the host's to it, or back."""
HOST_MEMORY = ("pinned", "pageable")
SOURCES = ("warm", "cold", "direct")
"""Where a file's bytes are: in the page cache; on the disk; on the disk, past the page cache."""


@dataclass(frozen=True, slots=True)
class Copy(Op):
    """`size` bytes copied within a device, or between it and the host."""

    size: int
    route: str = "device"
    host: str = "pinned"
    kind: ClassVar[str] = "copy"
    words: ClassVar[dict[str, tuple[str, ...]]] = {"route": ROUTES, "host": HOST_MEMORY}

    @property
    def link(self) -> str:  # type: ignore[override]  # which link is a matter of the route
        return "memory" if self.route == "device" else f"{self.route} {self.host}"

    @property
    def bytes(self) -> int:
        return 2 * self.size if self.route == "device" else self.size


@dataclass(frozen=True, slots=True)
class FileRead(Op):
    """`size` bytes read from a file in one call."""

    size: int
    source: str = "cold"
    kind: ClassVar[str] = "file_read"
    words: ClassVar[dict[str, tuple[str, ...]]] = {"source": SOURCES}

    @property
    def link(self) -> str:  # type: ignore[override]
        return f"file {self.source}"

    @property
    def bytes(self) -> int:
        return self.size


@dataclass(frozen=True, slots=True)
class AllReduce(Op):
    """`size` bytes on each of `devices` devices, summed up over all of them, the sum on each.

    algorithm: "ring" moves least; "tree" takes the fewest steps.
    """

    size: int
    devices: int
    algorithm: str = "ring"
    kind: ClassVar[str] = "all_reduce"
    words: ClassVar[dict[str, tuple[str, ...]]] = {"algorithm": ("ring", "tree")}
    link: ClassVar[str] = "interconnect"

    @property
    def bytes(self) -> int:
        """What each device sends."""
        if self.algorithm == "tree":
            return 2 * self.size if self.devices > 1 else 0
        return -(-2 * (self.devices - 1) * self.size // self.devices)

    @property
    def steps(self) -> int:
        if self.algorithm == "tree":
            return 2 * (self.devices - 1).bit_length()
        return 2 * (self.devices - 1)


@dataclass(frozen=True, slots=True)
class AllGather(Op):
    """The parts of `devices` devices put together to `size` bytes on each, round a ring.

    A reduce-scatter, its mirror image, costs the same.
    """

    size: int
    devices: int
    kind: ClassVar[str] = "all_gather"
    words: ClassVar[dict[str, tuple[str, ...]]] = {}
    link: ClassVar[str] = "interconnect"

    @property
    def bytes(self) -> int:
        """What each device sends."""
        return -(-(self.devices - 1) * self.size // self.devices)

    @property
    def steps(self) -> int:
        return self.devices - 1


@dataclass(frozen=True, slots=True)
class Send(Op):
    """`size` bytes from one device to another."""

    size: int
    kind: ClassVar[str] = "send"
    words: ClassVar[dict[str, tuple[str, ...]]] = {}
    link: ClassVar[str] = "interconnect"

    @property
    def bytes(self) -> int:
        return self.size
