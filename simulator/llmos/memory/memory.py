"""The memory of a machine: what a reference costs, and what it sets going.

- A *reference* goes TLB -> page table -> page. A hit costs no event: `run` takes a process through as many
  references as fit into a stretch of time, and stops early where the process must wait or die.
- A fault is handled by `llmos.memory.faults`; frames are found by `llmos.memory.reclaim`; what a process
  may touch is changed by `llmos.memory.mapping`.
- What happens in a stretch is emitted with its own time, which lies ahead of the clock: the log puts it in
  order. A stretch ends before the next alarm, so on one core nothing can come in between. With several
  cores it also ends after `grain_ns`, and a task that is preempted within that owes the rest of the time.
- Nothing here knows of programs or of the dispatcher: `llmos.process.touching` puts it under the kernel.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from llmos.memory import faults, reclaim
from llmos.memory.oom import badness
from llmos.memory.pager import Pager
from llmos.memory.records import Transfer
from llmos.memory.tlb import MISS, Tlb
from llmos.memory.translation.base import Pte
from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmos.engine.simulation import Simulation
    from llmos.memory.files import File
    from llmos.memory.oom import Score
    from llmos.memory.pager import Frames, Page, Pool
    from llmos.memory.records import Costs, Space, Touching, Wait
    from llmos.memory.swap import Swap
    from llmos.memory.translation.base import PageTable
    from llmos.replacement.base import Key
    from llmos.storage.device import Device
    from llmos.trace.log import Log


def _nothing() -> None:
    """Do nothing."""


class Memory:
    """Frames, address spaces, TLBs and swap of one machine."""

    def __init__(
        self,
        sim: Simulation,
        log: Log,
        *,
        frames: Frames,
        page_bytes: int,
        costs: Costs,
        make_pool: Callable[[str, int | None], Pool],
        make_table: Callable[[], PageTable],
        tlbs: Sequence[Tlb],
        swap: Swap | None,
        devices: Mapping[str, Device],
        files: Mapping[str, File],
        grain_ns: int,
        page_cluster: int = 0,
        oom_score: Score = badness,
    ) -> None:
        self.sim = sim
        self.log = log
        self.emit = log.emit
        self.page_bytes = page_bytes
        self.costs = costs
        self.make_pool = make_pool
        self.make_table = make_table
        self.tlbs = tlbs
        self.swap = swap
        self.devices = devices
        self.files = files
        self.files_by_inode: dict[int, File] = {file.inode: file for file in files.values()}
        self.grain_ns = grain_ns
        self.pager = Pager(frames, self._evicted)
        self.pager.spared = reclaim.Spared(self)
        self.common = make_pool("all", None)
        """The pool of everything that has none of its own."""
        self.spaces: dict[int, Space] = {}
        self.users: Counter[int] = Counter()
        """By how many page numbers each anonymous page is had."""
        self.next_anon = 0
        self.in_flight: dict[Key, list[Callable[[], None]]] = {}
        """Pages that are being read, and who waits for them."""
        self.writes: Counter[str] = Counter()
        """Pages that the fault at hand must have written to each device before it goes on."""
        self.interrupt: Callable[[int, str, int, str], object] = lambda *_: None
        """How another core is interrupted (core, name, cost in ns, reason); the kernel sets it."""
        self.kill: Callable[[int, str], None] = lambda *_: None
        """How a process is killed (pid, reason); the kernel sets it."""
        self.page_cluster = page_cluster
        """Swap is read back in aligned clusters of 2 to the power of it pages."""
        self.oom_score = oom_score
        self.last = [-1] * len(tlbs)
        """Whose memory each core used last."""
        self.now = 0
        """The time of the reference at hand, which may be ahead of the clock."""
        self.cpu = -1
        """The core on which it is made."""

    # --- references -----------------------------------------------------------------------------------

    def run(self, cpu: int, space: Space, touching: Touching, budget_ns: int) -> int:  # noqa: C901  # the loop
        """Take `space` through references for `budget_ns`, or until something else comes; return the time.

        `touching.then` or `touching.done` says what comes after that time, if not more references.
        """
        begun = self.sim.now
        self.cpu = cpu
        space.cpus.add(cpu)
        if self.last[cpu] != space.pid:
            self.last[cpu] = space.pid
            self.tlbs[cpu].switch()
        tlb, lookup, costs = self.tlbs[cpu], space.table.lookup, self.costs
        access_ns, page_at, shown = costs.access_ns, self.pager.at, self.log.shows_references
        pid, use = space.pid, self.pager.use
        levels = [0] * (tlb.levels + 1)
        count = writes = walked = spent = faulted = 0
        references, position = touching.references, touching.position
        while spent < budget_ns or not count:
            if position == len(references):
                chunk = next(touching.chunks, None)
                if chunk is None:
                    touching.done = True
                    break
                references, position = chunk, 0
                continue
            vpn, write = references[position] >> 1, bool(references[position] & 1)
            level = tlb.lookup(pid, vpn)
            entry = lookup(vpn)
            if level == MISS:
                steps = tlb.walk(pid, vpn, space.table.accesses(vpn))
                walked += steps
                spent += steps * costs.walk_ns
            elif level > 1:
                spent += costs.second_tlb_ns
            hit = entry is not None and entry.present and (entry.writable or not write)
            if not hit:
                self.now = begun + spent
                took, then = faults.handle(self, space, vpn, write=write)
                spent += took
                faulted += took
                if then is not None:
                    touching.then = then
                    break
                entry = lookup(vpn)
            if entry is None:
                raise RuntimeError(f"page {vpn:#x} is not mapped after its fault")  # a bug in llmos
            if level == MISS or not hit:
                tlb.fill(pid, vpn, entry)
            page = page_at[entry.pfn]
            if space.fresh is page:  # the fault was its reference
                hit = False
                self.settle(space)
                page.dirty = page.dirty or write
            else:
                use(page, write=write)
            entry.accessed = True
            if write:
                entry.dirty = True
                writes += 1
            levels[level] += 1
            count += 1
            position += 1
            spent += access_ns
            if shown:
                self.emit(
                    ev.Reference(begun + spent, cpu, pid, page=vpn, write=write, hit=hit, frame=page.frame)
                )
        touching.references, touching.position = references, position
        if count or spent > faulted:
            self.emit(
                ev.Touched(
                    begun + spent, cpu, pid, count=count, writes=writes, tlb=levels, walked=walked,
                    spent_ns=spent - faulted,
                )
            )  # fmt: skip
        return spent

    def settle(self, space: Space) -> None:
        """Let the page go that the last fault has brought: it was used, or will never be."""
        if space.fresh is not None:
            self.pager.unpin(space.fresh)
            space.fresh = None

    # --- pages ----------------------------------------------------------------------------------------

    def map(self, space: Space, vpn: int, page: Page, *, writable: bool) -> None:
        """Let `space` have `page` at page number `vpn`."""
        space.table.map(vpn, Pte(page.frame, writable=writable))
        page.holders.append((space, vpn))
        space.rss += 1 << page.order

    def unmap(self, space: Space, vpn: int, page: Page) -> None:
        """Take `page` away from `space`, which has it at `vpn`; the entry stays, as not present."""
        entry = space.table.lookup(vpn)
        if entry is not None:
            entry.present = False
        page.holders.remove((space, vpn))
        space.rss -= 1 << page.order
        self.shoot_down(space, vpn)

    def shoot_down(self, space: Space, vpn: int) -> None:
        """Make sure that no TLB has an entry for `vpn` any more."""
        for cpu in sorted(space.cpus):
            self.tlbs[cpu].invalidate(space.pid, vpn)
            if cpu != self.cpu:
                self.interrupt(cpu, "ipi", self.costs.shootdown_ns, "TLB shootdown")

    def flush(self, space: Space) -> None:
        """Make sure that no TLB has any entry of `space` any more."""
        for cpu in sorted(space.cpus):
            self.tlbs[cpu].flush(space.pid)
            if cpu != self.cpu:
                self.interrupt(cpu, "ipi", self.costs.shootdown_ns, "TLB flush")

    def new_key(self) -> int:
        """Return a key for a fresh anonymous page."""
        self.next_anon += 1
        return self.next_anon

    def give_up(self, key: int) -> None:
        """Note that one page number less has the anonymous page `key`; nobody's page goes, with its slot."""
        self.users[key] -= 1
        if self.users[key]:
            return
        del self.users[key]
        page = self.pager.pages.get(key)
        if page is not None and key not in self.in_flight:  # else it goes when it has come
            self.pager.drop(page)
        if self.swap is not None:
            self.swap.take_back(key)

    def _evicted(self, page: Page, reason: str) -> None:
        reclaim.leave(self, page, reason)

    def frames_taken(self) -> None:
        """Note that there are fewer free frames now."""

    def may_commit(self, pages: int) -> bool:
        """Whether `pages` more may be promised."""
        return True

    def pool_for(self, pid: int, group: str) -> Pool:
        """Return the pool of a fresh process."""
        return self.common

    def pools(self) -> list[Pool]:
        """Return all pools: the common one, and those of groups and processes."""
        return list(dict.fromkeys([self.common, *(space.pool for space in self.spaces.values())]))

    def file_of(self, page: Page) -> File:
        """Return the file to which `page` belongs."""
        inode: int = page.key[0]  # type: ignore[index]  # such a page has the key (inode, index)
        return self.files_by_inode[inode]

    # --- transfers ------------------------------------------------------------------------------------

    def read(self, device: str, pages: Sequence[Page]) -> Transfer:
        """Return the transfer that fills `pages`, which stay where they are until it is done."""
        for page in pages:
            self.pager.pin(page)
            self.in_flight[page.key] = []
        return Transfer(device, sum(1 << page.order for page in pages), brings=tuple(pages))

    def send(self, transfer: Transfer, pid: int = -1, done: Callable[[], None] = _nothing) -> None:
        """Let `transfer` begin when its device is free, and call `done` when it is over."""
        device = self.devices[transfer.device]
        ns = device.transfer_ns(transfer.pages * self.page_bytes)

        def over() -> None:
            for page in transfer.brings:
                self.pager.unpin(page)
            for page in transfer.brings:
                for tell in self.in_flight.pop(page.key):
                    tell()
                if type(page.key) is int and page.key not in self.users:
                    self.pager.drop(page)  # whoever had it is gone
            done()

        device.submit(pid, ns, over)

    def begin(self, wait: Wait, pid: int, done: Callable[[], None]) -> None:
        """Do the transfers of `wait` for task `pid`, one after another; then what it wants, then `done`."""
        if wait.transfers:
            self.send(wait.transfers.pop(0), pid, lambda: self.begin(wait, pid, done))
        elif wait.key is not None and wait.key in self.in_flight:
            self.in_flight[wait.key].append(lambda: self.begin(wait, pid, done))
        else:
            wait.finish()
            done()
