"""Patterns of references: the ways in which programs go over their memory.

- A pattern yields chunks of references, page * 2 + (1 if it writes), counted from the start of a region.
- Chunks are bounded, so that a pattern of any length takes constant memory. `zipf` and `chase` keep a table
  of their pages, `phases` one of its working set.
- What draws lots is given a `Random`, and draws with nothing but `random()`, whose sequence Python promises
  to keep: the same seed gives the same references.
- Patterns only read, but for `matmul`; `written` makes writes of them, `first` cuts them off.
- What cannot be is told at the call, not at the first reference.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect
from itertools import accumulate, pairwise, product
from typing import TYPE_CHECKING, Final

from llmos.errors import LlmosError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from random import Random

    import numpy as np
    from numpy.typing import NDArray

    from llmos.memory.traces import Chunk

    Chunks = Iterator[Sequence[int]]
    Indices = dict[str, NDArray[np.int64]]

CHUNK: Final = 4096
"""So many references at a time, at most."""
PAGE_BYTES: Final = 4096
LARGEST_TABLE: Final = 1 << 24
"""So many pages have those patterns at most that keep a table of them: 64 GiB of 4 KiB pages."""

LARGEST_MATRIX: Final = 1 << 60
"""Bytes; the arithmetic has 63 bits, for three matrices."""

MATRIX_ORDERS: Final = {"row": "ij", "column": "ji"}
"""Loops from the outermost to the innermost: i is a matrix's row, j its column."""
MATMUL_ORDERS: Final = {"row": "ikj", "column": "jki"} | {
    order: order for order in ("ijk", "ikj", "jik", "jki", "kij", "kji")
}
"""Loops around C[i][j] += A[i][k] * B[k][j]: "row" goes along rows innermost, "column" down columns."""


def given(pages: Sequence[int], writes: Sequence[bool] = ()) -> Chunks:
    """Yield references to `pages` in their order; `writes` says which of them write (default: none)."""
    marks = writes or [False] * len(pages)
    yield [page << 1 | mark for page, mark in zip(pages, marks, strict=True)]


def numbered(trace: Iterable[Chunk]) -> Chunks:
    """Yield the references of a trace; its pages become 0, 1, 2 ... in the order of their appearance."""
    numbers: dict[int, int] = {}
    for chunk in trace:
        for start in range(0, len(chunk.pages), CHUNK):
            pages = chunk.pages[start : start + CHUNK].tolist()
            writes = chunk.writes[start : start + CHUNK].tolist()
            yield [
                numbers.setdefault(page, len(numbers)) << 1 | write
                for page, write in zip(pages, writes, strict=True)
            ]


# --- of any pattern -----------------------------------------------------------------------------------


def written(chunks: Chunks, share: float = 1.0, random: Random | None = None) -> Chunks:
    """Make writes of a `share` (0..1) of references, drawn one by one; of all, or none, without `random`.

    References that write already go on doing so.
    """
    _need(0 <= share <= 1, f"a share of {share} writes", "it is a number from 0 to 1")
    if share in {0, 1}:
        return ([reference | 1 for reference in chunk] for chunk in chunks) if share else chunks
    if random is None:
        raise LlmosError("a share of writes is drawn", hint="give it random, as in Random(7)")
    draw = random.random
    return ([reference | (draw() < share) for reference in chunk] for chunk in chunks)


def first(chunks: Chunks, count: int) -> Chunks:
    """Yield the first `count` references."""
    for chunk in chunks:
        if len(chunk) >= count:
            yield chunk[:count]
            return
        count -= len(chunk)
        yield chunk


# --- in order -----------------------------------------------------------------------------------------


def sequential(pages: int, times: int = 1) -> Chunks:
    """Yield references to pages 0 to `pages` - 1, in order, `times` times."""
    return strided(pages, 1, times)


def strided(pages: int, stride: int, times: int = 1) -> Chunks:
    """Yield references to each `stride`-th of the pages 0 to `pages` - 1, in order, `times` times."""
    _need(pages >= 1, f"{pages} pages", "there is 1 at least")
    _need(stride >= 1, f"a stride of {stride} pages", "it is 1 at least")
    return (chunk for _ in range(times) for chunk in _run(0, pages, stride))


def loop(pages: int, count: int) -> Chunks:
    """Yield `count` references that go round and round over the pages 0 to `pages` - 1."""
    return first(sequential(pages, -(-count // max(pages, 1))), count)


def layers(pages: int, layers: int, times: int = 1, each: int = 1) -> Chunks:
    """Yield references to a model's weights, layer by layer, in `times` passes through all of them.

    The `pages` are shared out among so many `layers`, as evenly as can be. `each` so many times is a layer
    read before the next one: for so many batches, one after the other.
    """
    _need(1 <= layers <= pages, f"{pages} pages for {layers} layers", "a layer has 1 page at least")
    bounds = [pages * layer // layers for layer in range(layers + 1)]
    return (
        chunk
        for _ in range(times)
        for start, end in pairwise(bounds)
        for _ in range(each)
        for chunk in _run(start, end, 1)
    )


def _run(start: int, end: int, stride: int) -> Chunks:
    for at in range(start, end, stride * CHUNK):
        yield range(at << 1, min(at + stride * CHUNK, end) << 1, stride << 1)


# --- by chance ----------------------------------------------------------------------------------------


def uniform(pages: int, count: int, random: Random) -> Chunks:
    """Yield `count` references, each to any of the pages 0 to `pages` - 1."""
    _need(pages >= 1, f"{pages} pages", "there is 1 at least")
    draw = random.random
    return ([int(draw() * pages) << 1 for _ in range(part)] for part in _parts(count))


def zipf(pages: int, count: int, random: Random, *, skew: float = 1.0) -> Chunks:
    """Yield `count` references; page p comes in proportion to 1 / (p + 1) ** `skew` (0..10; 0: uniform)."""
    _need_table(pages)
    _need(0 <= skew <= 10, f"a skew of {skew}", "it is a number from 0 to 10")
    return _zipf(pages, count, random, skew)


def _zipf(pages: int, count: int, random: Random, skew: float) -> Chunks:
    upto = array("d", accumulate(rank**-skew for rank in range(1, pages + 1)))
    draw, total, last = random.random, upto[-1], pages - 1
    for part in _parts(count):
        yield [bisect(upto, draw() * total, 0, last) << 1 for _ in range(part)]


def gaussian(pages: int, count: int, random: Random, *, deviation: float) -> Chunks:
    """Yield `count` references around the middle page; `deviation` is the standard deviation, in pages.

    What falls outside is drawn again.
    """
    _need(pages >= 1, f"{pages} pages", "there is 1 at least")
    hint = f"it is a number above 0, and {pages} at most: with more, `uniform` is meant"
    _need(0 < deviation <= pages, f"a deviation of {deviation} pages", hint)
    draw = random.random

    def one() -> int:
        while True:  # Box and Muller: A note on the generation of random normal deviates, 1958
            normal = math.sqrt(-2 * math.log(1 - draw())) * math.cos(2 * math.pi * draw())
            page = math.floor(pages / 2 + deviation * normal)
            if 0 <= page < pages:
                return page

    return ([one() << 1 for _ in range(part)] for part in _parts(count))


def hot_cold(pages: int, count: int, random: Random, *, hot: float = 0.2, share: float = 0.8) -> Chunks:
    """Yield `count` references, of which a `share` goes to the hot pages; within hot and cold any is alike.

    `hot` is the share of pages that are hot (0..1, rounded to whole pages): the first ones.
    """
    _need(0 <= share <= 1, f"a share of {share} references", "it is a number from 0 to 1")
    warm = round(hot * pages)
    hint = "there is at least one hot page, and one that is not"
    _need(0 < warm < pages, f"{warm} hot pages of {pages}", hint)
    draw, cold = random.random, pages - warm

    def one() -> int:
        return int(draw() * warm) if draw() < share else warm + int(draw() * cold)

    return ([one() << 1 for _ in range(part)] for part in _parts(count))


def phases(
    pages: int, count: int, random: Random, *, working_set: int, length: int, overlap: float = 0.0
) -> Chunks:
    """Yield `count` references in phases of `length`, each to any page of the phase's working set.

    A working set is `working_set` of the pages 0 to `pages` - 1. The share `overlap` (0..1) of them stays
    for the next phase, which has fresh ones in place of the others.
    """
    _need(length >= 1, f"phases of {length} references", "a phase has 1 reference at least")
    _need(0 <= overlap <= 1, f"an overlap of {overlap}", "it is a number from 0 to 1")
    hint = f"it has from 1 to {LARGEST_TABLE:,}"
    _need(1 <= working_set <= LARGEST_TABLE, f"a working set of {working_set:,} pages", hint)
    kept = round(overlap * working_set)
    needed = 2 * working_set - kept
    hint = f"two that follow each other need {needed}: take more pages, a smaller set, or more overlap"
    _need(needed <= pages, f"there are {pages} pages for working sets of {working_set}", hint)
    return _phases(pages, count, random, working_set, length, kept)


def _phases(pages: int, count: int, random: Random, size: int, length: int, kept: int) -> Chunks:
    draw = random.random
    now = _fresh(pages, size, random, [])
    for start in range(0, count, length):
        if start:
            _shuffle(now, random)
            now = now[:kept] + _fresh(pages, size - kept, random, now)
        for part in _parts(min(length, count - start)):
            yield [now[int(draw() * size)] << 1 for _ in range(part)]


def _fresh(pages: int, count: int, random: Random, without: list[int]) -> list[int]:
    """Draw `count` pages that differ from one another, and from those of `without`."""
    taken = set(without)
    drawn: list[int] = []
    while len(drawn) < count:
        page = int(random.random() * pages)
        if page not in taken:
            taken.add(page)
            drawn.append(page)
    return drawn


def chase(pages: int, times: int, random: Random) -> Chunks:
    """Yield references along pointers: a drawn cycle through the pages 0 to `pages` - 1, `times` rounds."""
    _need_table(pages)
    return _chase(pages, times, random)


def _chase(pages: int, times: int, random: Random) -> Chunks:
    cycle = array("q", range(pages))
    _shuffle(cycle, random)
    for _ in range(times):
        for start in range(0, pages, CHUNK):
            yield [page << 1 for page in cycle[start : start + CHUNK]]


def _shuffle(items: list[int] | array[int], random: Random) -> None:
    for last in range(len(items) - 1, 0, -1):  # Fisher and Yates
        other = int(random.random() * (last + 1))
        items[last], items[other] = items[other], items[last]


def _parts(count: int) -> Iterator[int]:
    """Cut `count` into chunks."""
    return (min(CHUNK, count - start) for start in range(0, count, CHUNK))


# --- matrices -----------------------------------------------------------------------------------------


def matrix(
    n: int, *, order: str = "row", block: int = 0, element_bytes: int = 8, page_bytes: int = PAGE_BYTES
) -> Chunks:
    """Yield a reference to each element of an (n, n) matrix that lies row by row from page 0 on.

    order: of MATRIX_ORDERS. block: the edge of the tiles in which it goes, 0 = it is one tile. Each element
    is a reference to the page of its first byte, also if the one before went there.
    """
    loops = _loops(order, MATRIX_ORDERS, n, block, element_bytes)
    return (
        ((at["i"] * n + at["j"]) * element_bytes // page_bytes << 1).tolist()
        for at in _nest(loops, n, block, CHUNK)
    )


def matmul(
    n: int, *, order: str = "row", block: int = 0, element_bytes: int = 8, page_bytes: int = PAGE_BYTES
) -> Chunks:
    """Yield the references of C = A * B: three for each C[i][j] += A[i][k] * B[k][j], the last one writes.

    A, B and C are (n, n), lie row by row, and begin at pages of their own, one after the other. The 3 n**3
    references are all that the text of the program makes; a compiler keeps some in registers.

    order: of MATMUL_ORDERS. block: the edge of the tiles in which all three loops go, 0 = no tiles.
    """
    loops = _loops(order, MATMUL_ORDERS, n, block, element_bytes)
    return _matmul(loops, n, block, element_bytes, page_bytes)


def _matmul(loops: str, n: int, block: int, element_bytes: int, page_bytes: int) -> Chunks:
    import numpy as np

    pages = -(-n * n * element_bytes // page_bytes)
    for at in _nest(loops, n, block, CHUNK // 3):
        i, j, k = at["i"], at["j"], at["k"]
        references = np.empty((len(i), 3), np.int64)
        for column, element in enumerate((i * n + k, k * n + j, i * n + j)):
            references[:, column] = (element * element_bytes // page_bytes + column * pages) << 1
        references[:, 2] |= 1
        yield references.ravel().tolist()


def _loops(order: str, orders: dict[str, str], n: int, block: int, element_bytes: int) -> str:
    """Return the loops of an order by name, outermost first."""
    if order not in orders:
        hint = did_you_mean(order, orders) or f"there are: {', '.join(orders)}"
        raise LlmosError(f'there is no order "{order}"', hint=hint)
    _need(n >= 1, f"a matrix of {n} rows", "it has 1 at least")
    _need(0 <= block <= n, f"a block of {block} rows", f"it is at most the matrix: {n}; 0 = no blocks")
    _need(element_bytes >= 1, f"an element of {element_bytes} bytes", "it has 1 at least")
    hint = f"take fewer rows, or smaller elements: it has at most {LARGEST_MATRIX:,} bytes"
    _need(n * n * element_bytes <= LARGEST_MATRIX, f"a matrix of {n} rows", hint)
    return orders[order]


def _nest(loops: str, n: int, block: int, most: int) -> Iterator[Indices]:
    """Yield what the variables of nested loops from 0 to n - 1 are, `most` iterations at a time."""
    import numpy as np  # it takes longer to load than most programs to run

    edge = block or n
    for tile in product(range(0, n, edge), repeat=len(loops)):
        sizes = [min(edge, n - start) for start in tile]
        total = math.prod(sizes)
        for begin in range(0, total, most):
            inside = np.unravel_index(np.arange(begin, min(begin + most, total)), sizes)
            yield {name: start + at for name, start, at in zip(loops, tile, inside, strict=True)}


# --- what cannot be -----------------------------------------------------------------------------------


def _need(holds: bool, what: str, hint: str) -> None:  # noqa: FBT001  # reads like an assertion
    if not holds:
        raise LlmosError(f"{what} cannot be", hint=hint)


def _need_table(pages: int) -> None:
    _need(1 <= pages <= LARGEST_TABLE, f"{pages:,} pages", f"this pattern has from 1 to {LARGEST_TABLE:,}")
