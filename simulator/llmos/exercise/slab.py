"""The topic slab: which object of which slab a request gets, and what the slabs lose."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

from llmos.engine.streams import stream
from llmos.errors import LlmosError
from llmos.exercise.base import (
    Exercise,
    Option,
    Part,
    Solution,
    Table,
    Text,
    Topic,
    number,
    one_of,
    refuse_both,
    whole,
)
from llmos.memory.buddy import Buddy
from llmos.memory.slab import FRAME_BYTES, LARGEST_ORDER, WASTE, SlabCache

NAMES: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SHRINK: Final = "shrink"
FEW: Final = 5
"""Objects in a slab, at most, if nobody says how large they are."""
LISTS: Final = ("full", "partial", "empty")

_REQUEST = re.compile(r"(-?)([A-Z])")


class Request(NamedTuple):
    """`name` takes an object, or gives its own `back`; the cache itself gives its empty slabs back."""

    name: str
    back: bool = False

    def __str__(self) -> str:
        if self.name == SHRINK:
            return "the cache shrinks"
        return f"{self.name} gives back" if self.back else f"{self.name} takes one"

    @property
    def written(self) -> str:
        """The request as `parse` reads it."""
        return f"{'-' * self.back}{self.name}"


class Answered(NamedTuple):
    """What came of a request, and the slabs of each list afterwards, drawn: "0[AB.]"."""

    request: Request
    address: int | None
    """Of the object that was taken or given back; None if there was none."""
    lists: Mapping[str, Sequence[str]]
    result: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Everything that is given; `order` None: the cache has to find its own."""

    seed: int
    object_bytes: int
    align: int
    frames: int
    order: int | None
    colouring: bool
    requests: Sequence[Request]

    def cache(self) -> SlabCache:
        """The cache, with nothing in it.

        Raises LlmosError if there cannot be such a cache.
        """
        return SlabCache(
            Buddy(self.frames),
            self.object_bytes,
            order=self.order,
            align=self.align,
            colouring=self.colouring,
        )


class Slabs(Topic):
    """Which object of which slab a request gets, how large the slabs are, and what they lose."""

    options: ClassVar[tuple[Option, ...]] = (
        Option(name="bytes", low=256, high=16_384, help="Bytes of an object [drawn by the seed]."),
        Option(name="align", low=1, high=256, help="Sizes are rounded up to a multiple of this [8]."),
        Option(name="frames", low=1, high=64, help=f"Frames of {FRAME_BYTES} bytes [16]."),
        Option(name="order", low=0, high=LARGEST_ORDER, help="Order of a slab [the answer finds it]."),
        Option(name="colouring", flag=True, help="Each new slab begins its objects later."),
        Option(name="requests", low=1, high=26, help="Number of requests [14]."),
        Option(
            name="do",
            many=True,
            help='Your own: "A,B,-A,shrink" takes two, and gives one and empty slabs back.',
        ),
    )
    has_scenario = False

    def pose(self, seed: int, options: Mapping[str, Any]) -> Exercise:
        refuse_both("do", options, "requests")
        own = options.get("do")
        given: dict[str, Any] = {
            "seed": seed,
            "object_bytes": options.get("bytes") or _size(seed),
            "align": options.get("align") or 8,
            "frames": options.get("frames") or 16,
            "order": options.get("order"),
            "colouring": bool(options.get("colouring")),
        }
        empty = Problem(**given, requests=())
        requests = parse(own) if own else drawn(empty, options.get("requests") or 14)
        empty.cache()  # is it one?
        return exercise(Problem(**given, requests=requests))


def parse(actions: Sequence[str]) -> list[Request]:
    """The requests in texts such as "A", "-A" and "shrink".

    Raises LlmosError if one cannot be understood, or cannot be made then.
    """
    requests, live = [], set[str]()
    for action in actions:
        if action == SHRINK:
            requests.append(Request(SHRINK))
            continue
        match = _REQUEST.fullmatch(action)
        if match is None:
            raise LlmosError(
                f'"{action}" is no request',
                hint='write "A" to take an object, "-A" to give it back, "shrink" to give empty slabs back',
            )
        request = Request(match[2], bool(match[1]))
        if (request.name in live) != request.back:
            has = "has no object then" if request.back else "has an object already"
            raise LlmosError(f'"{action}": {request.name} {has}')
        live ^= {request.name}
        requests.append(request)
    return requests


def _size(seed: int) -> int:
    """Draw a size of objects, of which few go into a slab."""
    dice = stream(seed, "exercise/bytes")
    while True:
        size = whole(dice, 1000, 2048)
        if SlabCache(Buddy(1), size).objects_per_slab <= FEW:
            return size


def drawn(problem: Problem, count: int) -> list[Request]:
    """Draw requests that fill a slab first; then many give an object back, and now and then it shrinks."""
    dice, cache = stream(problem.seed, "exercise/requests"), problem.cache()
    live: dict[str, int | None] = {}
    requests: list[Request] = []
    fresh = iter(NAMES)
    for _ in range(count):
        lot = dice.random()
        if cache.empty and lot < 0.2:
            cache.shrink()
            requests.append(Request(SHRINK))
        elif len(live) > cache.objects_per_slab and lot < 0.7:
            name = one_of(dice, [*live])
            address = live.pop(name)
            if address is not None:
                cache.free(address)
            requests.append(Request(name, back=True))
        else:
            name = next(fresh)
            live[name] = cache.allocate()
            requests.append(Request(name))
    return requests


def exercise(problem: Problem) -> Exercise:
    """The exercise about `problem`."""
    rows = [[str(i), str(request)] for i, request in enumerate(problem.requests, start=1)]
    sizes = ["How many objects fit into a slab?"]
    if problem.order is None:
        sizes = ["Which order do the slabs have, and how many objects fit into one?"]
    return Exercise(
        topic="slab",
        seed=problem.seed,
        title=f"Slab cache, exercise {problem.seed}",
        statement=[*_statement(problem), Table("", ("", "request for objects"), rows, left=2)],
        questions=[
            *sizes,
            "At which address is the object that each request gets?",
            "Which slabs are full, partial and empty after each request?",
            "How many bytes of the slabs can no object use in the end?",
        ],
        worksheet=[Table("", ("request", "address", *LISTS), [[row[1], *[""] * 4] for row in rows], left=5)],
        toml="",
        data={
            "bytes": problem.object_bytes,
            "align": problem.align,
            "frames": problem.frames,
            "order": problem.order,
            "colouring": problem.colouring,
            "requests": [request.written for request in problem.requests],
        },
        solve=partial(solve, problem),
    )


def _statement(problem: Problem) -> list[Part]:
    size = f"A cache keeps objects of {problem.object_bytes} bytes"
    if problem.align > 1:
        size += f", rounded up to a multiple of {problem.align}"
    if problem.order is None:
        slabs = (
            f"A slab has 2^k frames of {FRAME_BYTES} bytes: as few as lose at most one part in {WASTE} "
            f"behind the last object, for k up to {LARGEST_ORDER}; if all of these lose more, as few as hold "
            "an object."
        )
    else:
        slabs = f"A slab has {1 << problem.order} frames of {FRAME_BYTES} bytes."
    begin = "Its objects lie one behind the other from its first byte on."
    if problem.colouring:
        begin = (
            "Its objects lie one behind the other: in the first slab from its first byte on, in each new one "
            f"{problem.align} bytes later than in the one before, as long as all still fit; then from the "
            "first byte again."
        )
    rule = (
        "A request takes an object of the slab that has been partial longest, else of an empty slab, else of "
        "a new one; in a slab, that which came back last, or else the first. Empty slabs stay until the "
        "cache shrinks, which gives all of them back."
    )
    frames = (
        f"{problem.frames} frames, numbered from 0, are free. A new slab takes the first of the smallest "
        "blocks of the buddy allocator that are large enough."
    )
    return [Text(f"{size}. {slabs} {begin}"), Text(rule), Text(frames)]


# --- the answer -----------------------------------------------------------------------------------------


def solve(problem: Problem) -> Solution:
    """Make the requests to a cache."""
    cache = problem.cache()
    taken: dict[str, int | None] = {}
    answers = [_answer(cache, request, taken) for request in problem.requests]
    columns = ("request", "result", *LISTS)
    parts: list[Part] = [
        *_sizes(problem, cache),
        Table("Request by request", columns, [_row(each) for each in answers], left=len(columns)),
        Text("0[AB.] is the slab from frame 0 on, with the objects of A and B, and one that is free."),
        Text(_end(problem, cache)),
    ]
    return Solution(
        parts=parts,
        data={
            "order": cache.order,
            "stride_bytes": cache.stride_bytes,
            "objects_per_slab": cache.objects_per_slab,
            "requests": [_data(each) for each in answers],
            "slabs": cache.slabs,
            "used_objects": cache.used_objects,
            "waste_bytes": cache.waste_bytes,
        },
    )


def _answer(cache: SlabCache, request: Request, taken: dict[str, int | None]) -> Answered:
    before, address = cache.slabs, None
    if request.name == SHRINK:
        frames = cache.shrink()
        result = f"{frames} {'frame' if frames == 1 else 'frames'} given back"
    elif request.back:
        address = taken.pop(request.name)
        result = "has none" if address is None else str(address)
        if address is not None:
            cache.free(address)
    else:
        address = taken[request.name] = cache.allocate()
        result = "fails" if address is None else str(address)
    if cache.slabs > before:
        result += ", a new slab"
    return Answered(request, address, _lists(cache, taken), result)


def _lists(cache: SlabCache, taken: Mapping[str, int | None]) -> dict[str, list[str]]:
    owner = {address: name for name, address in taken.items()}
    drawn = {}
    for name, slabs in zip(LISTS, (cache.full, cache.partial, cache.empty), strict=True):
        drawn[name] = [
            f"{slab.first_frame}["
            + "".join(owner.get(slab.start + i * cache.stride_bytes, ".") for i in range(slab.objects))
            + "]"
            for slab in slabs.values()
        ]
    return drawn


def _row(each: Answered) -> list[str]:
    return [str(each.request), each.result, *(" ".join(each.lists[name]) or "-" for name in LISTS)]


def _data(each: Answered) -> dict[str, Any]:
    return {"request": each.request.written, "address": each.address, **each.lists}


def _sizes(problem: Problem, cache: SlabCache) -> list[Part]:
    """What slabs of each order would lose, up to that of the cache."""
    stride, rows = cache.stride_bytes, []
    for order in range(cache.order + 1) if problem.order is None else [cache.order]:
        size = FRAME_BYTES << order
        rows.append(
            [
                *(str(order), str(size), f"{size} / {stride} = {size // stride}", str(size % stride)),
                f"{number(100 * (size % stride) / size)} %",
            ]
        )
    rounded = f"An object takes {stride} bytes." if stride != problem.object_bytes else ""
    text = f"{rounded} The slabs have order {cache.order}, and {cache.objects_per_slab} objects each."
    if problem.colouring:
        text += f" They have {cache.colours} different beginnings."
    return [Table("Slabs", ("order", "bytes", "objects", "lost", "share"), rows, left=0), Text(text.strip())]


def _end(problem: Problem, cache: SlabCache) -> str:
    size, count, bytes_each = cache.slab_bytes, cache.objects_per_slab, problem.object_bytes
    return (
        f"In the end the cache has {cache.slabs} {'slab' if cache.slabs == 1 else 'slabs'}, with "
        f"{cache.used_objects} of {cache.slabs * count} objects in use. Internal fragmentation: of each slab "
        f"{size} - {count} x {bytes_each} = {size - count * bytes_each} bytes can be no object's, of all "
        f"{cache.waste_bytes}."
    )
