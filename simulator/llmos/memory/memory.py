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
from functools import partial
from typing import TYPE_CHECKING, Final

from llmos.memory import faults, file_io, page_cache, reclaim, watermarks
from llmos.memory.allocation import Allocation, Sharing
from llmos.memory.commit import committed
from llmos.memory.huge import HugePages
from llmos.memory.ksm import Merging
from llmos.memory.load_control import LoadControl, Thrashing
from llmos.memory.oom import badness
from llmos.memory.pager import Pager
from llmos.memory.records import REFERENCES_PER_EVENT, Transfer
from llmos.memory.tlb import MISS, Tlb
from llmos.memory.translation.base import Pte
from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llmos.engine.simulation import Simulation
    from llmos.memory.buddy import Buddy
    from llmos.memory.commit import Commit
    from llmos.memory.files import File
    from llmos.memory.huge import HugeRules
    from llmos.memory.ksm import MergeRules
    from llmos.memory.oom import Score
    from llmos.memory.page_cache import PageCache
    from llmos.memory.pager import Page, Pool
    from llmos.memory.records import Costs, Space, Touching, Wait
    from llmos.memory.swap import Swap
    from llmos.memory.translation.base import PageTable
    from llmos.memory.watermarks import Watermarks
    from llmos.replacement.base import Key
    from llmos.storage.device import Device
    from llmos.trace.log import Log

GLOBAL: Final = Sharing()
THRASHING: Final = Thrashing()


def _nothing() -> None:
    """Do nothing."""


class Memory:
    """Frames, address spaces, TLBs and swap of one machine."""

    def __init__(
        self,
        sim: Simulation,
        log: Log,
        *,
        frames: Buddy,
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
        cache: PageCache,
        sharing: Sharing = GLOBAL,
        marks: Watermarks | None = None,
        commit: Commit | None = None,
        thrashing: Thrashing = THRASHING,
        load_control: bool = False,
        huge: HugeRules | None = None,
        compacts: bool = True,
        merging: MergeRules | None = None,
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
        self.cache = cache
        self.grain_ns = grain_ns
        self.buddy = frames
        self.pager = Pager(frames, partial(reclaim.leave, self))
        self.pager.spared = reclaim.Spared(self)
        at_most = frames.frames - (marks.high if marks else 0)
        self.allocation = Allocation(at_most, sharing, make_pool, self.pager, partial(reclaim.shrink, self))
        self.common = self.allocation.common
        """The pool of everything that has none of its own."""
        self.marks = marks
        self.background = watermarks.Background(self, marks) if marks else None
        self.commit = commit
        self.load = LoadControl(self, thrashing, cures=load_control)
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
        self.phase = 0
        """In which phase of an instant it acts by itself; the kernel sets it."""
        self.huge = HugePages(self, huge) if huge else None
        self.compacts = compacts
        """Whether pages are moved to make room for huge ones."""
        self.merging = Merging(self, merging) if merging else None
        self.owed_ns = 0
        """Kernel time of the work at hand that nobody has been charged for yet: splits, moves of pages."""
        self.reclaimed_ns = 0
        """What the fault at hand has spent on direct reclaim."""
        self.short: list[Callable[[], None]] = []
        """How to go on with those who wait for a frame."""
        self.postponed: list[Callable[[], None]] | None = None
        """What is to be done after the stretch at hand; None if there is none."""
        self.page_cluster = page_cluster
        """Swap is read back in aligned clusters of 2 to the power of it pages."""
        self.oom_score = oom_score
        self.last = [-1] * len(tlbs)
        """Whose memory each core used last."""
        self.now = 0
        """The time of the reference at hand, which may be ahead of the clock."""
        self.cpu = -1
        """The core on which it is made."""
        self.pid = -1
        """Who makes it."""
        self.victim = ""
        """The first page that had to go for it."""

    # --- references -----------------------------------------------------------------------------------

    def run(self, cpu: int, space: Space, touching: Touching, budget_ns: int) -> int:  # noqa: C901  # the loop
        """Take `space` through references for `budget_ns`, or until something else comes; return the time.

        A reference that hits changes nothing but the order of entries and of pages, if it was made before.
        What is to be told then to the policy of its page is `known` until the next fault; while the first
        level of the TLB has it, too, it takes the quick way. The other way gives the same for all of them.

        `touching.then` or `touching.done` says what comes after that time, if not more references.
        """
        if touching.io is not None:
            return file_io.run(self, cpu, space, touching, touching.io, budget_ns)
        begun = self.sim.now
        self.cpu, self.pid = cpu, space.pid
        space.cpus.add(cpu)
        if self.last[cpu] != space.pid:
            self.last[cpu] = space.pid
            self.tlbs[cpu].switch()
        tlb, lookup, costs = self.tlbs[cpu], space.table.lookup, self.costs
        access_ns, page_at, shown = costs.access_ns, self.pager.at, self.log.shows_references
        pid, use = space.pid, self.pager.use
        levels = [0] * (tlb.levels + 1)
        in_first = tlb.first(pid)
        known: dict[int, tuple[Callable[[Key], object], Key]] = {}
        count = quick = writes = walked = spent = faulted = 0
        references, position = touching.references, touching.position
        window, made = space.window, space.references
        repeats = window is None and not shown
        most = self.sim.left * REFERENCES_PER_EVENT
        postponed: list[Callable[[], None]] = []
        self.postponed = postponed
        while spent < budget_ns or not (count or quick):
            if position == len(references):
                if count + quick > most:
                    break  # the event limit is reached
                chunk = next(touching.chunks, None)
                if chunk is None:
                    touching.done = True
                    break
                references, position = chunk, 0
                continue
            reference = references[position]
            again = known.get(reference)
            if again is not None and (found := in_first.get(reference >> 1)) is not None:
                use_entry, in_tlb, _ = found
                use_entry(in_tlb)
                use_page, in_memory = again
                use_page(in_memory)
                quick += 1
                writes += reference & 1
                position += 1
                spent += access_ns
                continue
            vpn, write = reference >> 1, bool(reference & 1)
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
                space.references = made + count + quick
                known.clear()
                took, then = faults.handle(self, space, vpn, write=write)
                spent += took
                faulted += took
                if then is not None:
                    touching.then = then
                    break
                if postponed:
                    budget_ns = 0  # the stretch ends with this reference
                entry = lookup(vpn)
            if entry is None:
                raise RuntimeError(f"page {vpn:#x} is not mapped after its fault")  # a bug in llmos
            if level == MISS or not hit:
                tlb.fill(pid, vpn, entry)
            if level != 1 or not hit:
                in_first = tlb.first(pid)
            page = page_at[entry.pfn]
            if page.order and self.huge is not None:
                self.huge.touch(page, vpn)
            if space.fresh is page:  # the fault was its reference
                hit = False
                self.settle(space)
                page.dirty = page.dirty or write
            else:
                use(page, write=write)
                if window is not None:
                    window.refer(vpn)
            entry.accessed = True
            if write:
                entry.dirty = True
                writes += 1
            if repeats and hit and level == 1 and not entry.level:
                known[reference] = page.pool.policy.on_hit(write=write), page.key
            levels[level] += 1
            count += 1
            position += 1
            spent += access_ns
            if shown:
                self.emit(
                    ev.Reference(
                        begun + spent, cpu, pid, page=vpn, at=space.at(vpn), write=write, hit=hit,
                        frame=page.frame, victim=space.victim,
                    )
                )  # fmt: skip
                space.victim = ""
        touching.references, touching.position = references, position
        if quick:
            levels[1] += quick
            tlb.hits[1] += quick
            count += quick
        space.references = made + count
        self.sim.work(count // REFERENCES_PER_EVENT)
        self.postponed = None
        for action in postponed:
            self.sim.at(begun + spent, self.phase, action)
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
            self.relieve()

    def later(self, action: Callable[[], None]) -> None:
        """Do `action` after the stretch at hand, or at once if there is none."""
        if self.postponed is not None:
            self.postponed.append(action)
        else:
            self.sim.at(self.sim.now, self.phase, action)

    def when_there_is_room(self, go_on: Callable[[], None]) -> None:
        """Do `go_on` when a page may go that is pinned for the moment, or at once if there is none."""
        if reclaim.will_be_room(self, None):
            self.short.append(go_on)
        else:
            go_on()

    def relieve(self) -> None:
        """Let those try again who wait for a frame: a page may go now, or has gone."""
        if self.short:
            short, self.short = self.short, []
            for go_on in short:
                self.later(go_on)

    # --- pages ----------------------------------------------------------------------------------------

    def map(self, space: Space, vpn: int, page: Page, *, writable: bool) -> None:
        """Let `space` have `page` at page number `vpn`."""
        space.table.map(vpn, Pte(page.frame, writable=writable, level=1 if page.order else 0))
        page.holders.append((space, vpn))
        space.rss += 1 << page.order
        if self._is_locked(space, vpn):
            self.pager.pin(page)
        space.most = max(space.most, space.rss)

    def unmap(self, space: Space, vpn: int, page: Page) -> None:
        """Take `page` away from `space`, which has it at `vpn`; the entry stays, as not present."""
        entry = space.table.lookup(vpn)
        if entry is not None:
            entry.present = False
            if entry.dirty and self.merging is not None:
                self.merging.forget(page.key)
        page.holders.remove((space, vpn))
        space.rss -= 1 << page.order
        if self._is_locked(space, vpn):
            self.pager.unpin(page)
        self.shoot_down(space, vpn, 1 << page.order)

    def _is_locked(self, space: Space, vpn: int) -> bool:
        region = space.regions.find(vpn)
        return region is not None and region.locked

    def shoot_down(self, space: Space, vpn: int, pages: int = 1) -> None:
        """Make sure that no TLB has an entry for any of `pages` pages from `vpn` on any more."""
        for cpu in sorted(space.cpus):
            self.tlbs[cpu].invalidate(space.pid, vpn, pages)
            if cpu != self.cpu:
                self.interrupt(cpu, "ipi", self.costs.shootdown_ns, "TLB shootdown")

    def flush(self, space: Space) -> None:
        """Make sure that no TLB has any entry of `space` any more."""
        for cpu in sorted(space.cpus):
            self.tlbs[cpu].flush(space.pid)
            if cpu != self.cpu:
                self.interrupt(cpu, "ipi", self.costs.shootdown_ns, "TLB flush")

    def goes_offline(self, cpu: int) -> None:
        """Forget what the TLB of core `cpu` knows: nobody will tell it what changes."""
        self.tlbs[cpu].flush()
        for space in self.spaces.values():
            space.cpus.discard(cpu)

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
            if page.order and self.huge is not None:
                self.huge.freed(page)
            self.pager.drop(page)
        if self.merging is not None:
            self.merging.forget(key)
        if self.swap is not None:
            self.swap.take_back(key)

    def take_owed(self) -> int:
        """Return (once) the kernel time that is owed."""
        owed, self.owed_ns = self.owed_ns, 0
        return owed

    def frames_taken(self) -> None:
        """Note that there are fewer free frames now."""
        if self.background is not None:
            self.background.look()

    def frames_wanted(self, frames: int) -> None:
        """Note that so many free frames are about to be taken."""
        if self.marks is not None:
            watermarks.directly(self, self.marks, frames)

    def may_commit(self, pages: int, *, piecemeal: bool = False) -> bool:
        """Whether `pages` more may be promised; `piecemeal`: by many calls that ask for little each."""
        if self.commit is None:
            return True
        promised = committed(space.regions for space in self.spaces.values())
        return self.commit.allows(promised, pages, piecemeal=piecemeal)

    def pools(self) -> list[Pool]:
        """Return all pools: the common one, and those of groups and processes."""
        return self.allocation.pools()

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

    def send(
        self, transfer: Transfer, pid: int = -1, done: Callable[[], None] = _nothing,
        failed: Callable[[], None] = _nothing,
    ) -> None:  # fmt: skip
        """Let `transfer` begin when its device is free, and call `done` when it is over.

        Or, if the device fails, `failed`; then the pages that it should have brought are gone. A device
        goes on trying until it has written what it should.
        """
        device = self.devices[transfer.device]
        ns = device.transfer_ns(transfer.pages * self.page_bytes)

        def over() -> None:
            for page in transfer.brings:
                self.pager.unpin(page)
            self.relieve()
            for page in transfer.brings:
                for tell in self.in_flight.pop(page.key):
                    tell()
                if type(page.key) is int and page.key not in self.users:
                    self.pager.drop(page)  # whoever had it is gone
            done()

        def lost() -> None:
            self._lose(transfer.brings)
            failed()

        device.submit(pid, ns, over, None if transfer.write else lost)

    def _lose(self, pages: Sequence[Page]) -> None:
        """Take the frames of `pages`, which could not be read; whoever joined in waiting tries it himself."""
        for page in pages:
            self.pager.unpin(page)
            for space in self.spaces.values():
                if space.fresh is page:
                    self.settle(space)
        waiting = [tell for page in pages for tell in self.in_flight.pop(page.key)]
        page_cache.lose(self, [page for page in pages if type(page.key) is not int])
        for page in pages:
            if type(page.key) is int:
                self.pager.drop(page)
        self.relieve()
        for tell in waiting:
            tell()

    def begin(
        self, wait: Wait, pid: int, done: Callable[[], None], failed: Callable[[], None] = _nothing
    ) -> None:
        """Do the transfers of `wait` for task `pid`, one after another; then what it wants, then `done`.

        `failed` comes in its place if a device fails.
        """
        if wait.ask is not None:
            ask, wait.ask = wait.ask, None
            ask(lambda: self.begin(wait, pid, done, failed))
        elif wait.transfers:
            self.send(wait.transfers.pop(0), pid, lambda: self.begin(wait, pid, done, failed), failed)
        elif wait.key is not None and wait.key in self.in_flight:
            self.in_flight[wait.key].append(lambda: self.begin(wait, pid, done, failed))
        else:
            wait.finish()
            done()
