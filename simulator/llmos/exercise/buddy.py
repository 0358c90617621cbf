"""The topic buddy: how a buddy allocator halves blocks and joins them again."""

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
    Listing,
    Option,
    Part,
    Solution,
    Table,
    Text,
    Topic,
    one_of,
    refuse_both,
    whole,
)
from llmos.memory.buddy import Block, Buddy

NAMES: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_REQUEST = re.compile(r"([A-Z])=(\d{1,4})|-([A-Z])")


class Request(NamedTuple):
    """`name` wants `frames` frames, or gives back what it has (0)."""

    name: str
    frames: int = 0

    def __str__(self) -> str:
        return f"{self.name} takes {self.frames}" if self.frames else f"{self.name} gives back"

    @property
    def order(self) -> int:
        """The order of the smallest block with so many frames."""
        return (self.frames - 1).bit_length()


class Answered(NamedTuple):
    """What came of a request: its block, the orders it went through, and what is free afterwards."""

    request: Request
    block: Block | None
    orders: Sequence[int]
    """From the block that was found to the one that was taken, or from that given back to the joined one."""
    free: Sequence[Block]
    line: str


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Everything that is given; there are 2^`order` frames."""

    seed: int
    order: int
    requests: Sequence[Request]


class BuddyTopic(Topic):
    """How a buddy allocator halves blocks of frames and joins them again, and what it wastes."""

    options: ClassVar[tuple[Option, ...]] = (
        Option(name="order", low=2, high=6, help="There are 2 to the power of this many frames [5]."),
        Option(name="requests", low=1, high=26, help="Number of requests [9]."),
        Option(name="do", many=True, help='Your own: "A=3,B=5,-A" takes 3 and 5 frames and gives A\'s back.'),
    )
    has_scenario = False

    def pose(self, seed: int, options: Mapping[str, Any]) -> Exercise:
        order = options.get("order") or 5
        refuse_both("do", options, "requests")
        own = options.get("do")
        requests = parse(own, 1 << order) if own else drawn(seed, options.get("requests") or 9, order)
        return exercise(Problem(seed=seed, order=order, requests=requests))


def parse(actions: Sequence[str], frames: int) -> list[Request]:
    """The requests in texts such as "A=3" and "-A", of at most `frames` frames.

    Raises LlmosError if one cannot be understood, or cannot be made then.
    """
    requests, live = [], set[str]()
    for action in actions:
        match = _REQUEST.fullmatch(action)
        if match is None:
            raise LlmosError(
                f'"{action}" is no request', hint='write "A=3" to take 3 frames, "-A" to give them back'
            )
        name, wanted = match[1] or match[3], int(match[2] or 0)
        if match[1] and not 1 <= wanted <= frames:
            raise LlmosError(f'"{action}": ask for 1 to {frames} frames')
        if (name in live) == bool(wanted):
            has = "has frames already" if wanted else "has no frames then"
            raise LlmosError(f'"{action}": {name} {has}')
        live ^= {name}
        requests.append(Request(name, wanted))
    return requests


def drawn(seed: int, count: int, order: int) -> list[Request]:
    """Draw requests of up to a quarter of the frames; about two of five give something back."""
    dice = stream(seed, "exercise/requests")
    live: list[str] = []
    requests: list[Request] = []
    for _ in range(count):
        if live and dice.random() < 0.4:
            name = one_of(dice, live)
            live.remove(name)
            requests.append(Request(name))
        else:
            name = NAMES[sum(bool(request.frames) for request in requests)]
            live.append(name)
            requests.append(Request(name, whole(dice, 1, (1 << order) // 4)))
    return requests


def exercise(problem: Problem) -> Exercise:
    """The exercise about `problem`."""
    frames = 1 << problem.order
    rows = [[str(i), str(request)] for i, request in enumerate(problem.requests, start=1)]
    return Exercise(
        topic="buddy",
        seed=problem.seed,
        title=f"Buddy allocator, exercise {problem.seed}",
        statement=[
            Text(
                f"A buddy allocator has {frames} frames, numbered from 0, in one free block. A request gets "
                "a block of the next power of two: the smallest free one that is large enough, of equal ones "
                "that with the lowest address, halved as often as can be; the lower half is used. A block "
                "that is given back is joined with its buddy, as long as that is free."
            ),
            Table("", ("", "request for frames"), rows, left=2),
        ],
        questions=[
            "Which frames does each request get, and which blocks are halved for it?",
            "Which blocks are joined when frames are given back?",
            "Which blocks are free in the end? How many frames were given out that nobody asked for?",
        ],
        worksheet=[Table("", ("request", "block", "halved or joined", "free blocks"), _blank(rows), left=4)],
        toml="",
        data={
            "frames": frames,
            "requests": [f"{r.name}={r.frames}" if r.frames else f"-{r.name}" for r in problem.requests],
        },
        solve=partial(solve, problem),
    )


def _blank(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[row[1], "", "", ""] for row in rows]


# --- the answer -----------------------------------------------------------------------------------------


def solve(problem: Problem) -> Solution:
    """Make the requests to an allocator."""
    buddy = Buddy(1 << problem.order, problem.order)
    taken: dict[str, tuple[Request, Block]] = {}
    answers = [_answer(buddy, request, taken) for request in problem.requests]
    columns = ("request", "block", "frames", "halved or joined", "free blocks")
    parts: list[Part] = [
        Table("Request by request", columns, [_row(each) for each in answers], left=len(columns)),
        Listing(
            "Frames after each request (small letters are waste, . is free)",
            [f"{i:>2} {each.line}" for i, each in enumerate(answers, start=1)],
        ),
        Text(_end(buddy, taken)),
    ]
    return Solution(
        parts=parts,
        data={
            "requests": [_data(each) for each in answers],
            "free": [list(block) for block in buddy.blocks()],
            "free_frames": buddy.free_frames,
            "waste_frames": _waste(taken),
        },
    )


def _answer(buddy: Buddy, request: Request, taken: dict[str, tuple[Request, Block]]) -> Answered:
    block: Block | None = None
    orders: Sequence[int] = ()
    if request.frames:
        found = next((k for k, n in enumerate(buddy.counts) if n and k >= request.order), None)
        first = buddy.allocate(request.order)
        if first is not None and found is not None:
            block, orders = Block(first, request.order), range(found, request.order - 1, -1)
            taken[request.name] = request, block
    elif request.name in taken:
        _, block = taken.pop(request.name)
        buddy.free(*block)
        home = next(b for b in buddy.blocks() if b.first <= block.first < b.first + b.frames)
        orders = range(block.order, home.order + 1)
    free = sorted(buddy.blocks())
    return Answered(request, block, orders, free, _line(buddy.frames, taken))


def _line(frames: int, taken: Mapping[str, tuple[Request, Block]]) -> str:
    line = ["."] * frames
    for name, (request, block) in taken.items():
        letters = name * request.frames + name.lower() * (block.frames - request.frames)
        line[block.first : block.first + block.frames] = letters
    return "".join(line)


def _row(each: Answered) -> list[str]:
    free = " ".join(f"{block.first}+{block.frames}" for block in each.free) or "-"
    if each.block is None:
        none = f"none of {1 << each.request.order}" if each.request.frames else "has none"
        return [str(each.request), none, "", "", free]
    block = each.block
    spread = f"{block.first}-{block.first + block.frames - 1}" if block.order else str(block.first)
    steps = " -> ".join(str(1 << order) for order in each.orders) if len(each.orders) > 1 else "-"
    return [str(each.request), f"{block.first}+{block.frames}", spread, steps, free]


def _data(each: Answered) -> dict[str, Any]:
    return {
        "name": each.request.name,
        "frames": each.request.frames or None,
        "block": None if each.block is None else list(each.block),
        "orders": list(each.orders),
        "free": [list(block) for block in each.free],
    }


def _waste(taken: Mapping[str, tuple[Request, Block]]) -> int:
    return sum(block.frames - request.frames for request, block in taken.values())


def _end(buddy: Buddy, taken: Mapping[str, tuple[Request, Block]]) -> str:
    wasted = " + ".join(str(block.frames - request.frames) for request, block in taken.values())
    inner = f"Internal fragmentation, in frames: {f'{wasted} = ' if len(taken) > 1 else ''}{_waste(taken)}."
    largest = buddy.largest_order()
    if largest is None:
        return f"{inner} Nothing is free."
    if buddy.free_frames == 1 << largest:
        return f"{inner} External: none, all that is free is one block."
    most = f"the largest block has {1 << largest}"
    return f"{inner} External: of {buddy.free_frames} free frames {most}, so no more can be had at once."
