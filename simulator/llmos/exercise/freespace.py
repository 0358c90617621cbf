"""The topic freespace: which free chunk is taken, and what the free list looks like after each request."""

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
    Heading,
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
from llmos.memory.freespace import FITS, ORDERS, Chunk, FreeList

IN_WORDS: Final = {
    "address": "by address",
    "size-ascending": "by size, small chunks first",
    "size-descending": "by size, large chunks first",
    "front": "as they come back, the last in front",
    "back": "as they come back, the last at the end",
}
COLUMNS: Final = ("request", "needs", "returned", "searched", "free list")

_REQUEST = re.compile(r"\+(\d{1,9})|-(\d{1,4})")


class Request(NamedTuple):
    """Take `size` bytes as number `number`, or give number `number` back (size 0)."""

    number: int
    size: int = 0

    def __str__(self) -> str:
        return f"p{self.number} = allocate({self.size})" if self.size else f"free(p{self.number})"


class Answered(NamedTuple):
    """What came of a request: the address if one was returned, and the free list afterwards."""

    request: Request
    needed: int
    """Bytes, rounded up and with the header; 0 if something was given back."""
    address: int | None
    searched: Sequence[Chunk]
    free: Sequence[Chunk]
    reason: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Everything that is given."""

    seed: int
    fits: Sequence[str]
    heap: Mapping[str, Any]
    """The other arguments of FreeList."""
    requests: Sequence[Request]


class FreeSpace(Topic):
    """Which free chunk an allocator takes, and what its free list looks like after each request."""

    options: ClassVar[tuple[Option, ...]] = (
        Option(name="fit", many=True, help=f"Which chunk: {', '.join(FITS)} [drawn by the seed]."),
        Option(name="order", choices=tuple(ORDERS), help="Order of the free list [address]."),
        Option(name="no_coalescing", flag=True, help="Neighbours stay apart."),
        Option(name="size", low=1, high=1_000_000, help="Bytes of the heap [100]."),
        Option(name="base", low=0, high=1_000_000_000, help="Its first address [1000]."),
        Option(name="header", low=0, high=1000, help="Bytes of a header [0]."),
        Option(name="align", low=1, high=1000, help="Sizes are rounded up to a multiple of this [1]."),
        Option(name="requests", low=1, high=60, help="Number of requests [10]."),
        Option(name="do", many=True, help='Your own: "+10,+5,-0" takes 10 and 5 and gives back the first.'),
    )
    has_scenario = False

    def pose(self, seed: int, options: Mapping[str, Any]) -> Exercise:
        heap: dict[str, Any] = {
            "size": options.get("size") or 100,
            "base": 1000 if options.get("base") is None else options["base"],
            "order": options.get("order") or "address",
            "coalesce": not options.get("no_coalescing"),
            "header": options.get("header") or 0,
            "align": options.get("align") or 1,
        }
        fits = options.get("fit") or (one_of(stream(seed, "exercise/fit"), [*FITS]),)
        for fit in fits:
            FreeList(**heap, fit=fit)  # is it one?
        refuse_both("do", options, "requests")
        own = options.get("do")
        requests = parse(own) if own else drawn(seed, options.get("requests") or 10, heap)
        return exercise(Problem(seed=seed, fits=fits, heap=heap, requests=requests))


def parse(actions: Sequence[str]) -> list[Request]:
    """The requests in texts such as "+10" and "-0".

    Raises LlmosError if one cannot be understood or gives back what is not taken.
    """
    requests: list[Request] = []
    count, live = 0, set[int]()
    for action in actions:
        match = _REQUEST.fullmatch(action)
        if match is None or action == "+0":
            raise LlmosError(
                f'"{action}" is no request', hint='write "+10" to take 10 bytes, "-0" to give the first back'
            )
        if match[1]:
            requests.append(Request(count, int(match[1])))
            live.add(count)
            count += 1
        elif int(match[2]) in live:
            requests.append(Request(int(match[2])))
            live.remove(int(match[2]))
        else:
            raise LlmosError(f'"{action}": p{match[2]} is not taken then')
    return requests


def drawn(seed: int, count: int, heap: Mapping[str, Any]) -> list[Request]:
    """Draw requests of up to a quarter of the heap; some give back what others took."""
    dice = stream(seed, "exercise/requests")
    trial = FreeList(**heap)
    live: dict[int, int] = {}  # number -> address, as first fit has it
    requests: list[Request] = []
    for _ in range(count):
        if len(live) > 1 and dice.random() < 0.45:
            number = one_of(dice, [*live])
            trial.free(live.pop(number))
            requests.append(Request(number))
            continue
        number = sum(bool(request.size) for request in requests)
        size = whole(dice, 1, max(1, heap["size"] // 4))
        address = trial.allocate(size).address
        if address is not None:
            live[number] = address
        requests.append(Request(number, size))
    return requests


def exercise(problem: Problem) -> Exercise:
    """The exercise about `problem`."""
    return Exercise(
        topic="freespace",
        seed=problem.seed,
        title=f"Free space, exercise {problem.seed}: {' and '.join(problem.fits)} fit",
        statement=_statement(problem),
        questions=[
            "What does each allocate return, and how many chunks of the list does it look at?",
            "What is on the free list after each request?",
            "How much is free in the end, and what is the largest request that would be met?",
        ],
        worksheet=[
            Table(fit, COLUMNS, [[str(r), *[""] * 4] for r in problem.requests], left=len(COLUMNS))
            for fit in problem.fits
        ],
        toml="",
        data={
            "fits": list(problem.fits),
            **problem.heap,
            "requests": [f"+{r.size}" if r.size else f"-{r.number}" for r in problem.requests],
        },
        solve=partial(solve, problem),
    )


def _statement(problem: Problem) -> list[Part]:
    heap = problem.heap
    said = f"A heap of {heap['size']} bytes begins at address {heap['base']}; all of it is free. "
    if heap["align"] > 1:
        said += f"A request is rounded up to a multiple of {heap['align']} bytes. "
    if heap["header"]:
        said += (
            f"Each chunk that is taken has a header of {heap['header']} bytes; the address behind it is "
            "returned. "
        )
    said += f"The free list is in order {IN_WORDS[heap['order']]}; what is left of a chunk keeps its place. "
    joined = "become one when a chunk is given back" if heap["coalesce"] else "stay apart"
    said += f"Free chunks that are neighbours in the list and in memory {joined}."
    rules = [Text(f"{fit.capitalize()} fit takes {FITS[fit]}.") for fit in problem.fits]
    requests = [[str(i), str(request)] for i, request in enumerate(problem.requests, start=1)]
    return [Text(said), *rules, Table("", ("", "request"), requests, left=2)]


# --- the answer -----------------------------------------------------------------------------------------


def solve(problem: Problem) -> Solution:
    """Make the requests to a heap for each fit."""
    parts: list[Part | Heading] = []
    data = []
    for fit in problem.fits:
        heap = FreeList(**problem.heap, fit=fit)
        answers = answer(heap, problem.requests)
        parts += [
            Heading(f"{fit} fit"),
            Table(
                "Request by request",
                (*COLUMNS, "why"),
                [_row(each) for each in answers],
                left=len(COLUMNS) + 1,
            ),
            Text(_end(heap)),
        ]
        data.append(
            {
                "fit": fit,
                "requests": [_data(each) for each in answers],
                "free": heap.free_bytes,
                "largest": heap.largest,
                "fragmentation": heap.fragmentation(),
            }
        )
    return Solution(parts=parts, data={"fits": data})


def answer(heap: FreeList, requests: Sequence[Request]) -> list[Answered]:
    """Make `requests` to `heap`; one that gives back what was not met does nothing."""
    addresses: dict[int, int | None] = {}
    answers = []
    for request in requests:
        if request.size:
            done = heap.allocate(request.size)
            addresses[request.number] = done.address
            free = tuple(heap.free_chunks)
            answers.append(Answered(request, done.needed, done.address, done.searched, free, done.reason))
        else:
            back = addresses[request.number]
            reason = "nothing was taken" if back is None else heap.free(back).reason
            answers.append(Answered(request, 0, None, (), tuple(heap.free_chunks), reason))
    return answers


def _row(each: Answered) -> list[str]:
    free = " ".join(map(str, each.free)) or "-"
    if not each.request.size:
        return [str(each.request), "", "", "", free, each.reason]
    returned = "fails" if each.address is None else str(each.address)
    return [str(each.request), str(each.needed), returned, str(len(each.searched)), free, each.reason]


def _data(each: Answered) -> dict[str, Any]:
    return {
        "op": "allocate" if each.request.size else "free",
        "number": each.request.number,
        "size": each.request.size or None,
        "needed": each.needed or None,
        "address": each.address,
        "searched": len(each.searched),
        "free": [list(chunk) for chunk in each.free],
        "reason": each.reason,
    }


def _end(heap: FreeList) -> str:
    if not heap.free_bytes:
        return "In the end nothing is free."
    pieces = len(heap.free_chunks)
    said = f"In the end {heap.free_bytes} bytes are free in {pieces} {'piece' if pieces == 1 else 'pieces'}"
    largest = f"the largest has {heap.largest}"
    if heap.header:
        largest += f", of which {heap.header} would be the header"
    share = f"{heap.free_bytes - heap.largest} / {heap.free_bytes} = {number(heap.fragmentation() * 100)} %"
    return (
        f"{said}; {largest}. External fragmentation, the share of the free bytes outside the largest "
        f"piece: {share}."
    )
