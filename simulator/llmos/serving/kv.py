"""KV memory: the keys and values of tokens, in blocks that are pages of the one pager.

- A block holds the keys and values of `block_tokens` tokens of one request, for all layers. A request
  holds its blocks while it has them in its table; held blocks never go.
- A full block is known by its content: by its own tokens and, through its parent's name, by all before
  it. So a request with the same beginning finds it, and shares it by count: the prefix cache.
- Blocks that nobody holds stay, idle, until a block is needed; then the replacement policy says which
  goes. Tails are released before heads, for a tail is of no use without its head.
- Blocks are all alike: whoever wants one gets the one that was freed first.
"""

from __future__ import annotations

from array import array
from collections import deque
from hashlib import blake2b
from typing import TYPE_CHECKING

from llmos.memory.pager import Page, Pager, Pool

if TYPE_CHECKING:
    from llmos.replacement.base import Key, ReplacementPolicy
    from llmos.serving.request import Request


class KvMemory:
    """`blocks` blocks of `block_tokens` tokens each; idle ones go as `policy` says."""

    def __init__(
        self, blocks: int, block_tokens: int, policy: ReplacementPolicy, *, shares: bool = True
    ) -> None:
        self.block_tokens = block_tokens
        self.shares = shares
        """Whether requests find the blocks of others with the same beginning."""
        self.pager = Pager(FreeBlocks(blocks), _forgotten)
        self.pool = Pool("kv", policy)
        self.evictions = 0
        self._names: dict[Request, list[Key]] = {}
        """Of each request that holds blocks, the names of the full ones."""

    @property
    def blocks(self) -> int:
        """How many there are."""
        return self.pager.frames.frames

    def fits(self, tokens: int) -> bool:
        """Whether one request of that many tokens can have blocks for all of them."""
        return tokens <= self.blocks * self.block_tokens

    def find(self, request: Request) -> int:
        """Give `request`, which has no blocks, those that hold its beginning; return how many tokens that is.

        At least one token is left to compute, for without it there is nothing to sample from.
        """
        names = self._names[request] = []
        if not self.shares:
            return 0
        for name in self._full(request, request.known - 1):
            page = self.pager.pages.get(name)
            if page is None:
                break
            self._hold(request, page)
            names.append(name)
        return len(names) * self.block_tokens

    def make_room(self, request: Request, tokens: int) -> bool:
        """Let `request` have blocks for its first `tokens` tokens; False, and nothing more, if it cannot."""
        missing = self.missing(request, tokens)
        if missing > self.available:
            return False
        for _ in range(missing):
            key = (request.pid, len(request.table))
            while (page := self.pager.load(key, self.pool)) is None:
                victim = self.pager.victim(self.pool, key)
                if victim is None:
                    raise RuntimeError("an idle block was counted that is not there")
                self.pager.evict(victim)
                self.evictions += 1
            self._hold(request, page)
        return True

    @property
    def available(self) -> int:
        """The blocks that nobody holds."""
        return self.pager.frames.free_frames + len(self.pager.pages) - len(self.pager.pinned)

    def missing(self, request: Request, tokens: int) -> int:
        """How many more blocks `request` needs for its first `tokens` tokens."""
        return max(0, -(-tokens // self.block_tokens) - len(request.table))

    def left_in_block(self, request: Request) -> int:
        """How many more tokens `request` can compute before it needs another block."""
        return len(request.table) * self.block_tokens - request.computed

    def filled(self, request: Request) -> None:
        """Let the blocks of `request` that are full by now be found by their content."""
        if not self.shares:
            return
        names = self._names[request]
        for name in self._full(request, request.computed, names):
            page = request.table[len(names)]
            if name not in self.pager.pages:  # else somebody has computed the same, and came first
                self.pager.rename(page, name)
            names.append(name)

    def release(self, request: Request) -> None:
        """Take all its blocks from `request`, the last one first; those with a name can be found again."""
        for page in reversed(request.table):
            self.pager.release(page, request)
            if not page.holders and isinstance(page.key, tuple):
                self.pager.drop(page)
        request.table.clear()
        self._names.pop(request, None)

    def _hold(self, request: Request, page: Page) -> None:
        self.pager.hold(page, request)
        request.table.append(page)

    def _full(self, request: Request, tokens: int, names: list[Key] | None = None) -> list[bytes]:
        """Name the full blocks among the first `tokens` tokens, those that have `names` already left out."""
        size = self.block_tokens
        parent = names[-1] if names else b""
        found: list[bytes] = []
        for end in range((len(names or ()) + 1) * size, min(tokens, len(request.ids)) + 1, size):
            content = array("q", request.ids[end - size : end]).tobytes()
            parent = blake2b(parent + content, digest_size=16).digest()  # type: ignore[operator]
            found.append(parent)
        return found


def _forgotten(_page: Page, _reason: str) -> None:
    """A block that goes is not written back: what it held can be computed again."""


class FreeBlocks:
    """Free blocks, given out in the order in which they were freed: the frames of a `Pager`."""

    def __init__(self, frames: int) -> None:
        self.frames = self.free_frames = frames
        self._free = deque(range(frames))

    def allocate(self, order: int = 0) -> int | None:
        """Take one; None if there is none."""
        if not self._free:
            return None
        self.free_frames -= 1
        return self._free.popleft()

    def free(self, first: int, order: int = 0) -> None:
        """Give it back."""
        self.free_frames += 1
        self._free.append(first)

    def split(self, first: int, order: int) -> None:
        """Do nothing: no block is larger than another."""
