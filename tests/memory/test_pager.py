"""The pager, driven as an LLM server will: no machine, no processes, blocks of tokens in place of pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replacements import NAMES, make

from llmos.memory.pager import Page, Pager, Pool
from llmos.replacement.base import ReplacementPolicy
from llmos.replacement.fifo import Fifo
from llmos.replacement.lru import Lru

TOKENS = 2
"""Tokens of a block."""

Hash = int
"""A block is known by its content: the hash of the block before it and of its own tokens."""


class Blocks:
    """Free blocks, counted: all that the pager wants of its frames, if none is larger than another."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self._free = list(range(frames))

    @property
    def free_frames(self) -> int:
        return len(self._free)

    def allocate(self, order: int = 0) -> int | None:
        assert order == 0
        return self._free.pop(0) if self._free else None

    def free(self, first: int, order: int = 0) -> None:
        assert order == 0
        assert first not in self._free
        self._free.append(first)

    def split(self, first: int, order: int) -> None:
        raise AssertionError("blocks are not split")


class ByRelease(Fifo):
    """First released, first gone: the queue of idle blocks that vLLM keeps."""

    def accessed(self, key: Any, *, write: bool = False) -> None:
        self.removed(key)
        self.inserted(key)


@dataclass(eq=False)
class Request:
    """An owner: its tokens only grow at their end, and so does its table of blocks."""

    name: int
    tokens: list[int]
    table: list[Page] = field(default_factory=list)


class Server:
    """As much of an LLM server as has to do with memory."""

    def __init__(self, blocks: int, policy: ReplacementPolicy, *, tail_first: bool = True) -> None:
        self.gone: list[Hash] = []
        self.pager = Pager(Blocks(blocks), lambda page, _: self.gone.append(page.key))  # type: ignore[arg-type]
        self.pool = Pool("blocks", policy)
        self.tail_first = tail_first
        self.parents: dict[Hash, Hash | None] = {}
        self.running: list[Request] = []
        self.hits = 0

    def begin(self, request: Request) -> bool:
        """Let `request` have the blocks of its prompt, found or fresh; None of them if not all can be had."""
        for key in self.keys(request.tokens):
            page = self._get(key)
            if page is None:
                self.end(request)
                return False
            self._hold(request, page)
        self.running.append(request)
        return True

    def grow(self, request: Request, token: int) -> bool:
        """Append a token; a block that it fills has content, and is known by it from now on."""
        request.tokens.append(token)
        keys = self.keys(request.tokens)
        if len(keys) == len(request.table):
            return True
        page = self._get(keys[-1])
        if page is None:
            request.tokens.pop()
            return False
        self._hold(request, page)
        return True

    def end(self, request: Request) -> None:
        """Let its blocks go; they stay as they are until somebody needs their frames."""
        for page in reversed(request.table) if self.tail_first else request.table:
            self.pager.release(page, request)
        request.table.clear()
        if request in self.running:
            self.running.remove(request)

    def keys(self, tokens: list[int]) -> list[Hash]:
        """Return the names of the full blocks of `tokens`, and note who comes after whom."""
        keys: list[Hash] = []
        for end in range(TOKENS, len(tokens) + 1, TOKENS):
            before = keys[-1] if keys else None
            keys.append(hash((before, tuple(tokens[end - TOKENS : end]))))
            self.parents[keys[-1]] = before
        return keys

    def _hold(self, request: Request, page: Page) -> None:
        self.pager.hold(page, request)
        request.table.append(page)

    def _get(self, key: Hash) -> Page | None:
        self.hits += key in self.pager.pages
        return self.pager.pages.get(key) or self._fresh(key)

    def _fresh(self, key: Hash) -> Page | None:
        while (page := self.pager.load(key, self.pool)) is None:
            victim = self.pager.victim(self.pool, key)
            if victim is None:
                return None  # all of them are in use
            self.pager.evict(victim)
        return page

    @property
    def idle(self) -> set[Hash]:
        return {key for key, page in self.pager.pages.items() if not page.holders}  # type: ignore[misc]

    def check(self) -> None:
        """See that blocks are conserved and shared by count, and that only idle ones can go."""
        pager = self.pager
        assert pager.frames.free_frames + len(pager.pages) == pager.frames.frames
        assert sorted(page.frame for page in pager.pages.values()) == sorted(set(pager.at))
        had = [page for request in self.running for page in request.table]
        for key, page in pager.pages.items():
            assert page.pins == len(page.holders) == had.count(page)
            assert (key in pager.pinned) == (page in had)
            assert sorted(r.name for r in page.holders) == sorted(
                r.name for r in self.running if page in r.table
            )
        for request in self.running:
            assert [page.key for page in request.table] == self.keys(request.tokens)

    def check_prefixes(self) -> None:
        """See that whoever has a block in the cache has the one before it too."""
        for key in self.pager.pages:
            parent = self.parents[key]  # type: ignore[index]
            assert parent is None or parent in self.pager.pages, "a block is cached without its parent"


# --- by hand ------------------------------------------------------------------------------------------


def test_blocks_of_the_same_beginning_are_shared_by_count() -> None:
    server = Server(8, Lru())
    one, two = Request(1, [1, 2, 3, 4]), Request(2, [1, 2, 9, 9])
    assert server.begin(one)
    assert server.begin(two)
    assert [len(page.holders) for page in one.table] == [2, 1]
    assert one.table[0] is two.table[0]
    assert server.pager.frames.free_frames == 5
    server.end(one)
    assert [len(page.holders) for page in two.table] == [1, 1]
    assert len(server.idle) == 1


def test_the_same_tokens_after_others_are_another_block() -> None:
    server = Server(8, Lru())
    assert server.begin(Request(1, [1, 2, 5, 6]))
    assert server.begin(Request(2, [3, 4, 5, 6]))
    assert len(server.pager.pages) == 4


def test_idle_blocks_are_revived_and_the_tail_of_who_ended_first_goes_first() -> None:
    server = Server(4, Lru())
    first, second = Request(1, [1, 1, 2, 2]), Request(2, [3, 3, 4, 4])
    for request in (first, second):
        server.begin(request)
        server.end(request)
    blocks = server.keys([1, 1, 2, 2])
    assert server.begin(Request(3, [5, 5]))
    assert server.gone == [blocks[1]]
    again = Request(4, [1, 1])
    assert server.begin(again)
    assert server.hits == 1
    assert again.table[0].key == blocks[0]
    # The next victims are the tail and then the head of the second; the revived one is in use.
    assert server.begin(Request(5, [6, 6, 7, 7]))
    assert server.gone[1:] == list(reversed(server.keys([3, 3, 4, 4])))
    assert not server.begin(Request(6, [8, 8]))  # all blocks are in use
    server.check()


def test_who_grows_holds_one_block_more_at_each_block_that_is_full() -> None:
    server = Server(4, Lru())
    request = Request(1, [1, 1])
    assert server.begin(request)
    for token in (2, 2, 3, 3):
        assert server.grow(request, token)
        server.check()
    assert len(request.table) == 3


# --- whatever happens ---------------------------------------------------------------------------------

moves = st.lists(
    st.one_of(
        st.lists(st.integers(0, 1), min_size=TOKENS, max_size=4 * TOKENS),
        st.tuples(st.integers(0, 9), st.integers(0, 1)),
        st.integers(0, 9),
    ),
    max_size=60,
)


def drive(server: Server, drawn: list[Any], *, prefixes: bool) -> None:
    """Begin a request (its prompt), let one grow (who, token), or end one (who)."""
    for number, move in enumerate(drawn):
        if isinstance(move, list):
            server.begin(Request(number, list(move)))
        elif server.running and isinstance(move, tuple):
            server.grow(server.running[move[0] % len(server.running)], move[1])
        elif server.running:
            server.end(server.running[move % len(server.running)])
        server.check()
        if prefixes:
            server.check_prefixes()


@pytest.mark.parametrize("policy", [Lru, ByRelease])
@given(drawn=moves, blocks=st.integers(1, 8))
def test_with_the_tail_released_first_the_cache_is_closed_under_prefixes(
    policy: type[ReplacementPolicy], drawn: list[Any], blocks: int
) -> None:
    drive(Server(blocks, policy()), drawn, prefixes=True)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("opt")])
@given(drawn=moves, blocks=st.integers(1, 8))
@settings(max_examples=20)
def test_under_any_policy_blocks_are_conserved_and_who_is_in_use_stays(
    name: str, drawn: list[Any], blocks: int
) -> None:
    drive(Server(blocks, make(name, blocks)), drawn, prefixes=False)


@given(drawn=moves, blocks=st.integers(1, 8))
def test_a_hit_is_a_block_that_was_there_and_is_not_read_again(drawn: list[Any], blocks: int) -> None:
    """Against a second record: what was loaded and not evicted since."""
    server = Server(blocks, Lru())
    loaded: list[Hash] = []
    fresh = server._fresh

    def noted(key: Hash) -> Page | None:
        assert loaded.count(key) == server.gone.count(key), "it is there already"
        page = fresh(key)
        if page is not None:
            loaded.append(key)
        return page

    server._fresh = noted  # type: ignore[method-assign]
    drive(server, drawn, prefixes=False)


@pytest.mark.parametrize("policy", [Lru, ByRelease])
def test_with_the_head_released_first_the_tail_is_left_without_it(policy: type[ReplacementPolicy]) -> None:
    """A mutation: the order of release is what keeps prefixes whole."""
    server = Server(2, policy(), tail_first=False)
    request = Request(1, [1, 1, 2, 2])
    server.begin(request)
    server.end(request)
    server.begin(Request(2, [3, 3]))
    with pytest.raises(AssertionError, match="without its parent"):
        server.check_prefixes()


def test_by_the_order_of_loading_the_head_goes_before_the_tail() -> None:
    """FIFO proper orders by when a block has come, and the head of a request comes first."""
    server = Server(2, Fifo())
    request = Request(1, [1, 1, 2, 2])
    server.begin(request)
    server.end(request)
    server.begin(Request(2, [3, 3]))
    with pytest.raises(AssertionError, match="without its parent"):
        server.check_prefixes()


def test_what_is_released_without_a_use_may_go_before_its_tail() -> None:
    """A mutation: without the use that a release is, who was loaded first goes first."""
    server = Server(2, Lru())

    def silent(page: Page, holder: object) -> None:
        page.holders.remove(holder)
        server.pager.unpin(page)

    server.pager.release = silent  # type: ignore[method-assign]
    request = Request(1, [1, 1, 2, 2])
    server.begin(request)
    server.end(request)
    server.begin(Request(2, [3, 3]))
    with pytest.raises(AssertionError, match="without its parent"):
        server.check_prefixes()


def test_release_in_the_middle_of_sharing_keeps_the_rest() -> None:
    server = Server(3, Lru())
    requests = [Request(i, [1, 1, *tail]) for i, tail in enumerate([[2, 2], [3, 3]])]
    for request in requests:
        server.begin(request)
    server.end(requests[0])
    assert not server.begin(Request(9, [4, 4, 5, 5]))
    pairs = pairwise(server.keys(requests[1].tokens))
    assert all(before in server.pager.pages and after in server.pager.pages for before, after in pairs)
    server.check()
    server.check_prefixes()
