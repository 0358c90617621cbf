"""The pager: who has a frame, who keeps it, and who must give it up.

- A *page* is a key with a frame: a page of a process or of a file, a KV block, a layer's weights. The pager
  looks into none of them; it is the same for all.
- A page has *holders*: page tables that map it, requests that read it. One without holders is *idle*: it
  stays for whoever asks for its key next, until its frame is wanted.
- A *pinned* page never goes. Others go as the replacement policy of their *pool* says.
- Pools are how memory is shared out: one for all (global replacement), or one each with a limit (local).
- Frames are conserved: each is free or has exactly one page.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from llmos.replacement.places import chosen

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator, Sequence

    from llmos.replacement.base import Key, ReplacementPolicy


class Frames(Protocol):
    """Where frames come from: `llmos.memory.buddy.Buddy`, or anything that counts as it does."""

    frames: int
    free_frames: int

    def allocate(self, order: int = 0) -> int | None:
        """Take 2^`order` frames and return the first; None if there are none."""
        ...

    def free(self, first: int, order: int = 0) -> None:
        """Give them back."""
        ...

    def split(self, first: int, order: int) -> None:
        """Let 2^`order` frames that were taken together be given back one by one."""
        ...


@dataclass(slots=True, eq=False)
class Pool:
    """Pages that compete with one another: ordered by `policy`, at most `limit` frames (None: no limit)."""

    name: str
    policy: ReplacementPolicy
    limit: int | None = None
    above: Pool | None = None
    """The pool whose limit holds for this one too, and for others beside it."""
    pages: dict[Key, Page] = field(default_factory=dict)
    held: int = 0
    """The frames of its pages, and of the pages of the pools below it."""

    def full(self, frames: int = 1) -> Pool | None:
        """Return who may not have `frames` more: this pool or the nearest one above; None if all may."""
        return next((p for p in self.line() if p.limit is not None and p.held + frames > p.limit), None)

    def line(self) -> Iterator[Pool]:
        """Yield this pool and those above it."""
        pool: Pool | None = self
        while pool is not None:
            yield pool
            pool = pool.above

    def count(self, frames: int) -> None:
        """Note that it has so many more frames (less, if negative)."""
        for pool in self.line():
            pool.held += frames


@dataclass(slots=True, eq=False)
class Page:
    """A key with 2^`order` frames from `frame` on."""

    key: Key
    frame: int
    pool: Pool
    order: int = 0
    dirty: bool = False
    pins: int = 0
    holders: list[Any] = field(default_factory=list)
    """Who has it: as many entries as it is shared by."""


class Pager:
    """The pages that have frames."""

    def __init__(self, frames: Frames, evicted: Callable[[Page, str], None]) -> None:
        self.frames = frames
        self.evicted = evicted
        """What to do with a page that is about to lose its frame: unmap it, note it, write it back."""
        self.pages: dict[Key, Page] = {}
        self.at: dict[int, Page] = {}
        """The same pages, by their first frame."""
        self.pinned: set[Key] = set()
        self.spared: Container[Key] = self.pinned
        """Who must not go; at least the pinned ones."""

    def load(self, key: Key, pool: Pool, *, write: bool = False, order: int = 0) -> Page | None:
        """Give `key`, which has none, a free frame; None if there is none (then `evict` a victim first)."""
        frame = self.frames.allocate(order)
        if frame is None:
            return None
        page = self.pages[key] = pool.pages[key] = self.at[frame] = Page(key, frame, pool, order, write)
        pool.count(1 << order)
        pool.policy.inserted(key, write=write)
        return page

    def use(self, page: Page, *, write: bool = False) -> None:
        """Note a reference to `page`."""
        if write:
            page.dirty = True
        page.pool.policy.accessed(page.key, write=write)

    def victim(self, pool: Pool, incoming: Key | None = None) -> Page | None:
        """Ask who of `pool` should go; None if nobody can.

        Raises PolicyError if the policy names who is pinned or not there.
        """
        key = chosen(pool.policy, pool.pages, self.spared, incoming)
        return None if key is None else pool.pages[key]

    def evict(self, page: Page, why: str = "") -> str:
        """Take the frame away from `page`, which may be back; return the policy's reason, after `why`."""
        reason = str(page.pool.policy.reason(page.key))
        reason = f"{why}: {reason}" if why else reason
        self.evicted(page, reason)
        page.pool.policy.evicted(page.key)
        self._forget(page)
        return reason

    def drop(self, page: Page) -> None:
        """Take the frame away from `page`, whose content nobody wants any more."""
        page.pool.policy.removed(page.key)
        self._forget(page)

    def move(self, page: Page, pool: Pool) -> None:
        """Let `page` count as one of `pool` from now on."""
        page.pool.policy.removed(page.key)
        del page.pool.pages[page.key]
        page.pool.count(-1 << page.order)
        page.pool = pool
        pool.pages[page.key] = page
        pool.count(1 << page.order)
        pool.policy.inserted(page.key, write=page.dirty)

    def migrate(self, page: Page, frame: int) -> None:
        """Let `page` have the taken `frame` in place of its own, with what it contains."""
        del self.at[page.frame]
        self.frames.free(page.frame, page.order)
        page.frame = frame
        self.at[frame] = page

    def split(self, page: Page, keys: Sequence[Key]) -> list[Page]:
        """Make of `page` as many pages of a frame each, called `keys`; they are dirty and pinned as it is."""
        page.pool.policy.removed(page.key)
        del self.pages[page.key], page.pool.pages[page.key], self.at[page.frame]
        self.pinned.discard(page.key)
        self.frames.split(page.frame, page.order)
        parts = [
            Page(key, page.frame + i, page.pool, dirty=page.dirty, pins=page.pins)
            for i, key in enumerate(keys)
        ]
        for part in parts:
            self.pages[part.key] = page.pool.pages[part.key] = self.at[part.frame] = part
            if part.pins:
                self.pinned.add(part.key)
            page.pool.policy.inserted(part.key, write=part.dirty)
        return parts

    def rename(self, page: Page, key: Key) -> None:
        """Let `page` be known as `key`, which no other page is; nothing else about it changes."""
        page.pool.policy.removed(page.key)
        del self.pages[page.key], page.pool.pages[page.key]
        if page.pins:
            self.pinned.discard(page.key)
            self.pinned.add(key)
        page.key = key
        self.pages[key] = page.pool.pages[key] = page
        page.pool.policy.inserted(key, write=page.dirty)

    def hold(self, page: Page, holder: object) -> None:
        """Let `holder` have `page`, which stays for as long as it has it."""
        page.holders.append(holder)
        self.pin(page)

    def release(self, page: Page, holder: object) -> None:
        """Undo one `hold`, which is a use of `page`: of idle ones, who was released first goes first.

        Differs: that is so by a policy that orders by the last use; others have their own order.
        """
        page.holders.remove(holder)
        self.unpin(page)
        page.pool.policy.accessed(page.key)

    def pin(self, page: Page) -> None:
        """Keep `page` where it is until as many `unpin`."""
        page.pins += 1
        self.pinned.add(page.key)

    def unpin(self, page: Page) -> None:
        """Undo one `pin`."""
        page.pins -= 1
        if not page.pins:
            self.pinned.discard(page.key)

    def cleaned(self, page: Page) -> None:
        """Note that `page` was written back."""
        page.dirty = False
        page.pool.policy.cleaned(page.key)

    def _forget(self, page: Page) -> None:
        del self.pages[page.key], page.pool.pages[page.key], self.at[page.frame]
        page.pool.count(-1 << page.order)
        self.pinned.discard(page.key)
        self.frames.free(page.frame, page.order)
