"""A heap with a free list, as the allocator below `malloc` keeps one.

- The list holds the free chunks in an order of its own: by address, by size, or as they came back.
- `allocate` walks the list; its `Fit` says which of the chunks that are large enough is taken. What is
  too much of it stays in its place in the list.
- `free` puts a chunk back where the order wants it. With coalescing, chunks that are neighbours both in
  the list and in memory then become one: all of them if the list is in the order of addresses, some of
  them if it is not.
- A request is rounded up to the alignment, then a header is added, in which a real allocator would keep
  the size. The caller gets the address behind the header.
- What an operation looked at and why it did what it did is in its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from llmos.errors import LlmosError, did_you_mean


class Chunk(NamedTuple):
    """`size` bytes from `start` on."""

    start: int
    size: int

    @property
    def end(self) -> int:
        """The address behind its last byte."""
        return self.start + self.size

    def __str__(self) -> str:
        return f"{self.start}+{self.size}"


@dataclass(frozen=True, slots=True)
class Allocation:
    """What came of a request: the `address` for the caller, None if nothing was large enough."""

    address: int | None
    chunk: Chunk | None
    """What was taken, with its header."""
    needed: int
    """The request in bytes, rounded up and with its header."""
    searched: Sequence[Chunk]
    """The chunks that were looked at, one by one."""
    found: Chunk | None
    """The free chunk that it was cut from."""
    reason: str


@dataclass(frozen=True, slots=True)
class Release:
    """What came of giving a chunk back: `joined` is what it lies in now, if it met its neighbours."""

    chunk: Chunk
    joined: Chunk | None
    reason: str


Key = Callable[[Chunk], int]

FITS: Final[dict[str, str]] = {
    "first": "the first that is large enough",
    "best": "the smallest that is large enough",
    "worst": "the largest",
    "next": "the first that is large enough, from where the last search ended",
}
"""Which chunk is taken; of equal ones, that which is met first."""

ORDERS: Final[dict[str, Key | None]] = {
    "address": lambda chunk: chunk.start,
    "size-ascending": lambda chunk: chunk.size,
    "size-descending": lambda chunk: -chunk.size,
    "front": None,
    "back": None,
}
"""How the list is kept; chunks of equal size in the order in which they came back."""

NOWHERE: Final = -1
"""Where a search of next fit goes on while no chunk was cut: at the front of the list."""


class FreeList:
    """A heap of `size` bytes from `base` on, all of it one free chunk.

    `fit` is one of FITS, `order` one of ORDERS; `header` (bytes, 0 or more) is added to each request
    after it was rounded up to a multiple of `align` (bytes, 1 or more).

    Source: OSTEP ch. 17 and its homework; Wilson, Johnstone, Neely and Boles 1995.
    Differs: next fit, which the homework leaves out, goes on at the chunk that it cut last, or at the
    one that came after it.
    """

    def __init__(
        self,
        size: int,
        *,
        base: int = 0,
        fit: str = "first",
        order: str = "address",
        coalesce: bool = True,
        header: int = 0,
        align: int = 1,
    ) -> None:
        _known("fit", fit, FITS)
        _known("order", order, ORDERS)
        if size < 1 or base < 0 or header < 0 or align < 1:
            raise LlmosError(
                f"a heap of {size} bytes at {base}, headers of {header}, alignment {align}: this cannot be",
                hint="size and alignment are at least 1, base and header at least 0",
            )
        self.fit = fit
        self.order = order
        self.coalesce = coalesce
        self.header = header
        self.align = align
        self.free_chunks = [Chunk(base, size)]
        """The free list, in its order."""
        self.taken: dict[int, Chunk] = {}
        """Address that the caller got -> chunk."""
        self._rover = NOWHERE

    def allocate(self, size: int) -> Allocation:
        """Take `size` bytes (at least 1).

        Raises LlmosError if that is no size.
        """
        if size < 1:
            raise LlmosError(f"{size} bytes cannot be taken", hint="ask for at least 1")
        needed = -(-size // self.align) * self.align + self.header
        walk = self._walk()
        chunks = self.free_chunks
        large = [n for n, i in enumerate(walk) if chunks[i].size >= needed]
        if not large:
            searched = [chunks[i] for i in walk]
            return Allocation(None, None, needed, searched, None, self._none_fits(needed))
        if self.fit == "best":
            chosen = min(large, key=lambda n: chunks[walk[n]].size)
        elif self.fit == "worst":
            chosen = max(large, key=lambda n: chunks[walk[n]].size)
        else:
            chosen = large[0]
            walk = walk[: chosen + 1]
        searched = [chunks[i] for i in walk]
        found = searched[chosen]
        chunk = self._cut(walk[chosen], needed)
        address = chunk.start + self.header
        self.taken[address] = chunk
        return Allocation(address, chunk, needed, searched, found, self._why(found, searched, needed))

    def _walk(self) -> list[int]:
        """The places of the list, in the order in which a search visits them."""
        places = list(range(len(self.free_chunks)))
        if self.fit != "next":
            return places
        here = next((i for i in places if self._is_at_rover(self.free_chunks[i])), 0)
        return places[here:] + places[:here]

    def _is_at_rover(self, chunk: Chunk) -> bool:
        return chunk.start <= self._rover < chunk.end

    def _cut(self, place: int, needed: int) -> Chunk:
        """Take the first `needed` bytes of the chunk at `place` of the list."""
        chunks = self.free_chunks
        whole = chunks[place]
        if whole.size > needed:
            chunks[place] = Chunk(whole.start + needed, whole.size - needed)
        else:
            del chunks[place]
        self._rover = chunks[place % len(chunks)].start if chunks else NOWHERE
        return Chunk(whole.start, needed)

    def free(self, address: int) -> Release:
        """Give back what `allocate` returned at `address`.

        Raises LlmosError if nothing is taken there.
        """
        chunk = self.taken.pop(address, None)
        if chunk is None:
            raise LlmosError(
                f"nothing is taken at {address}", hint="give back what allocate returned, and once"
            )
        key = ORDERS[self.order]
        if self.order == "front":
            self.free_chunks.insert(0, chunk)
        else:
            self.free_chunks.append(chunk)
        if key:
            self.free_chunks.sort(key=key)
        if self.coalesce:
            self._join()
        home = next(c for c in self.free_chunks if c.start <= chunk.start < c.end)
        joined = home if home != chunk else None
        return Release(chunk, joined, f"now part of {joined}" if joined else _place(self.order))

    def _join(self) -> None:
        """Make one of each run of chunks that follow each other in the list and in memory."""
        joined: list[Chunk] = []
        for chunk in self.free_chunks:
            if joined and joined[-1].end == chunk.start:
                joined[-1] = Chunk(joined[-1].start, joined[-1].size + chunk.size)
            else:
                joined.append(chunk)
        self.free_chunks = joined

    # --- what is free, and why ------------------------------------------------------------------------

    @property
    def free_bytes(self) -> int:
        """All that is free, in however many pieces."""
        return sum(chunk.size for chunk in self.free_chunks)

    @property
    def largest(self) -> int:
        """The size of the largest free chunk, 0 if nothing is free."""
        return max((chunk.size for chunk in self.free_chunks), default=0)

    def fragmentation(self) -> float:
        """External fragmentation: the share of the free bytes that the largest request cannot get."""
        return 1 - self.largest / self.free_bytes if self.free_chunks else 0.0

    def _why(self, found: Chunk, searched: Sequence[Chunk], needed: int) -> str:
        said = f"{found} is {FITS[self.fit]}"
        fitting = sum(chunk.size >= needed for chunk in searched)
        if self.fit in ("best", "worst") and fitting > 1:
            said += f", of {fitting}"
        return said + (", and used up" if found.size == needed else "")

    def _none_fits(self, needed: int) -> str:
        free = self.free_bytes
        if free < needed:
            return f"{needed} bytes are wanted, and only {free} are free"
        return f"{needed} bytes are wanted; {free} are free, but the largest piece has {self.largest}"


def _place(order: str) -> str:
    where = {"front": "at the front", "back": "at the back"}
    return f"put {where.get(order, 'in its place')}"


def _known(what: str, name: str, names: dict[str, str] | dict[str, Key | None]) -> None:
    if name not in names:
        hint = did_you_mean(name, names) or f"there are {', '.join(names)}"
        raise LlmosError(f'there is no {what} "{name}"', hint=hint)
