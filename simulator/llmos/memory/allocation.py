"""Who may have how many frames: the pools of tasks and cgroups, and their limits.

- *Global*: all tasks compete in one pool. *Local*: each has a pool of its own, and replaces its own pages.
- Local limits are shares of all frames: *fixed* (all alike), *proportional* (to the virtual size), the
  *working set* (distinct pages of the task's last references), or by *page-fault frequency*.
- They are set anew when a task comes, goes, grows or faults; who has more than its share gives up at once.
- Working sets and fault frequencies take what they need, and leave the rest free. If they need more than
  there is, all get less in proportion (and load control should take somebody out).
- A cgroup or a task may have a limit besides; what is above its limit competes with nobody but itself.

Time is the task's own, in references.

Source: Denning, The working set model, CACM 1968; Chu and Opderbeck, Program behavior and the page fault
frequency replacement algorithm, Computer 1976; Silberschatz, ch. 10 (allocation of frames).
Differs: limits change at faults only, so a page that has left the working set goes at the next fault.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from llmos.memory.pager import Pager, Pool
    from llmos.memory.records import Space

MODES: Final = ("global", "fixed", "proportional", "working-set", "page-fault-frequency")


class Window:
    """The last `size` references of a task."""

    def __init__(self, size: int) -> None:
        self._order: deque[int] = deque(maxlen=size)
        self._times: Counter[int] = Counter()

    def refer(self, vpn: int) -> None:
        """Note a reference to page `vpn`."""
        if len(self._order) == self._order.maxlen:
            oldest = self._order[0]
            self._times[oldest] -= 1
            if not self._times[oldest]:
                del self._times[oldest]
        self._order.append(vpn)
        self._times[vpn] += 1

    def __len__(self) -> int:
        return len(self._times)

    def __contains__(self, vpn: int) -> bool:
        return vpn in self._times


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """How frames are shared out.

    `window` is tau of the working set, in references. Above `upper` page faults per reference a task gets
    a frame more, below `lower` one less.
    """

    mode: str = "global"
    window: int = 1000
    lower: float = 0.01
    upper: float = 0.1
    cgroups: Mapping[str, int] = field(default_factory=dict)
    """The limits of cgroups, in frames."""


@dataclass(slots=True, eq=False)
class Share:
    """What a task with a pool of its own may have."""

    space: Space
    cap: int | None = None
    """Its own limit, whatever its share is."""
    want: int = 1
    """How many frames it needs, by its working set or its faults."""
    out: bool = False
    """Whether the task is swapped out as a whole."""
    fault_at: int | None = None
    """When it faulted last, in its own references."""


class Allocation:
    """The pools of one machine: `make_pool` makes one, `shrink` lets one give up what is over its limit."""

    def __init__(
        self, frames: int, sharing: Sharing, make_pool: Callable[[str, int | None], Pool],
        pager: Pager, shrink: Callable[[Pool], None],
    ) -> None:  # fmt: skip
        self.frames = frames
        self.sharing = sharing
        self.make_pool = make_pool
        self.pager = pager
        self.shrink = shrink
        self.common = make_pool("all tasks", None)
        """The pool of all who have none of their own, and of pages that nobody has."""
        self.groups = {name: make_pool(f"cgroup {name}", limit) for name, limit in sharing.cgroups.items()}
        self.shares: dict[int, Share] = {}
        """By pid: those that have a pool of their own."""

    @property
    def local(self) -> bool:
        """Whether each task replaces its own pages."""
        return self.sharing.mode != "global"

    def pools(self) -> list[Pool]:
        """Return all pools."""
        return [self.common, *self.groups.values(), *(share.space.pool for share in self.shares.values())]

    def pool_for(self, pid: int, group: str, limit: int | None = None) -> Pool:
        """Return the pool of a fresh task, which may have `limit` frames at most."""
        above = self.groups.get(group)
        if limit is None and not self.local:
            return above or self.common
        pool = self.make_pool(f"task {pid}", limit)
        pool.above = above
        return pool

    # --- what happens to tasks ------------------------------------------------------------------------

    def came(self, space: Space) -> None:
        """Note that `space` is there."""
        if space.pool is self.common or space.pool in self.groups.values():
            return
        self.shares[space.pid] = Share(space, cap=space.pool.limit)
        if self.sharing.mode == "working-set":
            space.window = Window(self.sharing.window)
        elif self.sharing.mode == "page-fault-frequency":
            self.shares[space.pid].want = fixed(self.frames, len(self.shares))
        self.share_out()

    def gone(self, space: Space) -> None:
        """Note that `space` has ended; pages of its pool that others have go to theirs, the rest to all."""
        if self.shares.pop(space.pid, None) is None:
            return
        for page in list(space.pool.pages.values()):
            self.pager.move(page, page.holders[0][0].pool if page.holders else self.common)
        self.share_out()

    def faulted(self, space: Space, vpn: int) -> None:
        """Note that `space` refers to page `vpn`, which it does not have."""
        share = self.shares.get(space.pid)
        if share is None:
            return
        if space.window is not None:
            space.window.refer(vpn)
            share.want = len(space.window)
        elif self.sharing.mode == "page-fault-frequency":
            self._adapt(share)
        else:
            return  # its share does not depend on its faults
        self.share_out()

    def swapped(self, space: Space, *, out: bool) -> None:
        """Note that `space` is swapped out as a whole, or is back; who is out has no share."""
        share = self.shares.get(space.pid)
        if share is not None:
            share.out = out
            self.share_out()

    def resized(self, space: Space) -> None:
        """Note that the regions of `space` have become more or fewer."""
        if self.sharing.mode == "proportional" and space.pid in self.shares:
            self.share_out()

    def _adapt(self, share: Share) -> None:
        """Let a task that faults often have a frame more, and one that seldom does one less."""
        now = share.space.references
        if share.fault_at is not None:
            rate = 1 / max(1, now - share.fault_at)
            if rate > self.sharing.upper:
                share.want = min(self.frames, share.want + 1)
            elif rate < self.sharing.lower:
                share.want = max(1, share.want - 1)
        share.fault_at = now

    # --- limits ---------------------------------------------------------------------------------------

    def share_out(self) -> None:
        """Set the limits of all tasks' pools, and let those give up frames that have more."""
        shares = [share for share in self.shares.values() if not share.out]
        for share, limit in zip(shares, self._limits(shares), strict=True):
            pool = share.space.pool
            bounds = [bound for bound in (limit, share.cap) if bound is not None]
            pool.limit = min(bounds) if bounds else None
            if pool.limit is not None:
                pool.policy.resized(pool.limit)
        for pool in dict.fromkeys(p for share in shares for p in share.space.pool.line()):
            if pool.limit is not None and pool.held > pool.limit:
                self.shrink(pool)

    def _limits(self, shares: Sequence[Share]) -> Iterable[int | None]:
        match self.sharing.mode:
            case "global":
                return [None] * len(shares)
            case "fixed":
                return [fixed(self.frames, len(shares))] * len(shares)
            case "proportional":
                return proportional([share.space.regions.pages for share in shares], self.frames)
        wants = [share.want for share in shares]
        return wants if sum(wants) <= self.frames else proportional(wants, self.frames)


def fixed(frames: int, tasks: int) -> int:
    """Return the share of each of `tasks` (at least 1): all alike, and what is left over stays free."""
    return max(1, frames // max(1, tasks))


def proportional(sizes: Sequence[int], frames: int) -> list[int]:
    """Return shares of `frames` in proportion to `sizes` (at least 1 each), rounded down, but not to 0."""
    whole = sum(sizes)
    return [max(1, frames * size // whole) for size in sizes]
