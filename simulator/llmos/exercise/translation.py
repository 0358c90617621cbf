"""The topic translation: an address space, and addresses to walk through its tables.

The problem is a layout (`llmos.memory.translation.layout`), the same data that `llmos translate` reads from
a file; the answer is the walk of each address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any, ClassVar, Final

from llmos.engine.streams import stream
from llmos.exercise.base import (
    Exercise,
    Listing,
    Option,
    Part,
    Solution,
    Table,
    Text,
    Topic,
    one_of,
    shuffled,
    whole,
)
from llmos.memory.translation import draw
from llmos.memory.translation.base import Pte
from llmos.memory.translation.image import image_of
from llmos.memory.translation.layout import Layout, read
from llmos.memory.translation.multilevel import MultiLevel

VALID: Final = 1 << 31
"""The top bit of an entry of 4 bytes."""

MOST: Final = 20
"""Addresses in an exercise."""

SCHEMES: Final = ("base-bounds", "segmentation", "linear", "multi-level", "inverted")
"""What can be posed."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """An address space, what it says in words, and how to draw an address in it."""

    layout: Layout
    statement: Sequence[Part]
    address: Callable[[], int]


class Translations(Topic):
    """Where in memory an address leads: base and bounds, segments, page tables of all kinds."""

    options: ClassVar[tuple[Option, ...]] = (
        Option(name="scheme", choices=SCHEMES, help="How addresses are translated; drawn if left out."),
        Option(name="addresses", low=1, high=MOST, help="Number of addresses [5]."),
    )
    has_scenario = False

    def pose(self, seed: int, options: Mapping[str, Any]) -> Exercise:
        scheme = options.get("scheme") or one_of(stream(seed, "exercise/scheme"), SCHEMES)
        drawn = DRAW[scheme](stream(seed, f"exercise/translation/{scheme}"))
        addresses = _some(drawn.address, options.get("addresses") or 5)
        shown = [f"{address:#06x}  ({address})" for address in addresses]
        return Exercise(
            topic="translation",
            seed=seed,
            title=f"Translation, exercise {seed}: {scheme}",
            statement=[*drawn.statement, Listing("Addresses", shown)],
            questions=[
                "What do the bits of each address say?",
                "Which entries does the hardware look at, and what do they say?",
                "Where in memory does each address lead, or why does it fault?",
            ],
            worksheet=[
                Table(
                    "", ("address", "bits", "entries", "leads to"), [[s, "", "", ""] for s in shown], left=4
                )
            ],
            toml="",
            data={"layout": drawn.layout, "addresses": addresses},
            solve=partial(solve, drawn.layout, addresses),
        )


def solve(layout: Layout, addresses: Sequence[int]) -> Solution:
    """Walk each address through the tables of `layout`."""
    scheme = read(layout)
    walks = [scheme.translate(address) for address in addresses]
    parts = [
        Listing(draw.title(walk), [*draw.address_bits(walk.fields), *draw.steps(walk)]) for walk in walks
    ]
    return Solution(parts=parts, data={"translations": [draw.data(walk) for walk in walks]})


def _some(address: Callable[[], int], count: int) -> list[int]:
    """Draw `count` addresses, no two alike."""
    found: dict[int, None] = {}
    while len(found) < count:
        found[address()] = None
    return list(found)


# --- one function per scheme ----------------------------------------------------------------------------


def _base_bounds(dice: Random) -> Drawn:
    bounds, base = whole(dice, 300, 700), whole(dice, 1024, 15 * 1024)
    text = (
        "An address space has 1 KiB, memory 16 KiB. The process lies in memory in one piece: the base "
        f"register says {base} ({base:#x}), the bounds register {bounds} ({bounds:#x})."
    )
    return Drawn(
        {"scheme": "base-bounds", "base": base, "bounds": bounds}, [Text(text)], lambda: whole(dice, 0, 1023)
    )


def _segmentation(dice: Random) -> Drawn:
    limits = [whole(dice, 200, 500) for _ in range(2)]
    bases = [whole(dice, 0, 6000), whole(dice, 9000, 16000)]
    names, grows = ("heap", "stack"), ("up", "down")
    if dice.random() < 0.5:
        bases.reverse()
    parts = list(zip(names, bases, limits, grows, strict=True))
    text = (
        "An address space has 1 KiB, memory 16 KiB. The top bit of an address chooses the segment: 0 is the "
        "heap, which grows up, 1 the stack, which grows down. The base of a segment that grows down is the "
        "address above its last byte."
    )
    rows = [(str(i), name, str(base), str(limit), way) for i, (name, base, limit, way) in enumerate(parts)]
    table = Table("", ("segment", "name", "base", "limit", "grows"), rows, left=2)
    segments = [f"{name} {base} {limit} {way} rw" for name, base, limit, way in parts]
    layout = {"scheme": "segmentation", "address_space": 1024, "segments": segments}
    return Drawn(layout, [Text(text), table], lambda: whole(dice, 0, 1023))


def _linear(dice: Random) -> Drawn:
    frames = shuffled(dice, range(16))
    words = [VALID | frame if dice.random() < 0.6 else 0 for frame in frames[:8]]
    text = (
        "An address space has 32 KiB, memory 64 KiB, a page 4 KiB. Each entry of the page table has 4 bytes: "
        "the top bit is VALID, the others are the frame number."
    )
    lines = [f"[{vpn}]  0x{word:08x}" for vpn, word in enumerate(words)]
    layout = {"scheme": "linear", "address_bits": 15, "page_size": 4096, "page_table": words}
    return Drawn(layout, [Text(text), Listing("Page table", lines)], lambda: whole(dice, 0, 2**15 - 1))


class _Shuffled:
    """Frames in an order that was drawn."""

    def __init__(self, frames: Sequence[int]) -> None:
        self._frames = list(frames)

    def take(self) -> int:
        return self._frames.pop()

    def give(self, pfn: int) -> None:
        self._frames.append(pfn)


def _multilevel(dice: Random) -> Drawn:
    frames = _Shuffled(shuffled(dice, range(128)))
    table = MultiLevel((5, 5), 5, entry_bytes=1, frames=frames)
    tops = shuffled(dice, range(32))[:3]
    pages = [top << 5 | low for top in tops for low in shuffled(dice, range(32))[:4]]
    data = [frames.take() for _ in pages]
    for vpn, pfn in zip(pages, data, strict=True):
        table.map(vpn, Pte(pfn))
    image = image_of(table, 128)
    memory = [image.memory[at : at + 32] for at in range(0, len(image.memory), 32)]
    for pfn in data:
        memory[pfn] = bytes(whole(dice, 0, 31) for _ in range(32))
    text = (
        "An address has 15 bits: 5 choose an entry of the page directory, 5 an entry of a page table, 5 are "
        "the offset. A page has 32 bytes, memory 128 pages. An entry has one byte: the top bit is VALID, the "
        f"others are a frame number. The page directory is in frame {table.root}. Frames that are not shown "
        "are not in use. Say which byte each address leads to, too."
    )
    lines = [f"frame {i:>3}: {page.hex(' ', 1)}" for i, page in enumerate(memory) if any(page)]
    layout = {"scheme": "image", "memory": [page.hex() for page in memory], "root": table.root}

    def address() -> int:
        kind = dice.random()
        vpn = pages[whole(dice, 0, len(pages) - 1)] if kind < 0.5 else whole(dice, 0, 1023)
        if 0.5 <= kind < 0.8:  # a page table that there is, and perhaps a hole in it
            vpn = tops[vpn % len(tops)] << 5 | vpn & 31
        return vpn << 5 | whole(dice, 0, 31)

    return Drawn(layout, [Text(text), Listing("Memory", lines)], address)


def _inverted(dice: Random) -> Drawn:
    frames, vpns = shuffled(dice, range(16)), shuffled(dice, range(16))
    mine = dict(zip(vpns[:6], frames[:6], strict=True))
    other = dict(zip(shuffled(dice, range(16))[:5], frames[6:11], strict=True))
    text = (
        "An address space has 16 pages of 4 KiB; memory has 16 frames. One inverted table serves all "
        "processes: page V of process P is in chain (P + V) mod 4, the entries in the order shown. You are "
        "process 1. How many entries of a chain does each walk read?"
    )
    chains: list[list[str]] = [[] for _ in range(4)]
    for asid, pages in ((2, other), (1, mine)):
        for vpn, frame in pages.items():
            chains[(asid + vpn) % 4].append(f"P{asid} page {vpn} -> frame {frame}")
    lines = [f"[{i}]  {';  '.join(chain) or '-'}" for i, chain in enumerate(chains)]
    layout = {
        "scheme": "inverted", "address_bits": 16, "page_size": 4096, "frames": 16, "buckets": 4, "asid": 1,
        "map": {hex(vpn << 12): f"{frame}:rw" for vpn, frame in mine.items()},
        "others": {"2": {hex(vpn << 12): f"{frame}:rw" for vpn, frame in other.items()}},
    }  # fmt: skip

    def address() -> int:
        vpn = vpns[whole(dice, 0, 5)] if dice.random() < 0.6 else whole(dice, 0, 15)
        return vpn << 12 | whole(dice, 0, 4095)

    return Drawn(layout, [Text(text), Listing("Chains", lines)], address)


DRAW: Final[Mapping[str, Callable[[Random], Drawn]]] = {
    "base-bounds": _base_bounds,
    "segmentation": _segmentation,
    "linear": _linear,
    "multi-level": _multilevel,
    "inverted": _inverted,
}
