"""What can happen in a run: one small record per kind of event.

- Every event has a time `t` in nanoseconds and, where they apply, the processor `cpu`, the task
  (its pid) and the reason for what happened. Other fields are the event's own arguments.
- Events are emitted in time order. Everything else in llmos (metrics, plots, the TUI, the grader)
  is computed from them.
- A processor is a core (one slot) or an engine (many slots); both appear as `cpu`.
- `Iterate` is compact: one record stands for a run of engine iterations; see `llmos.trace.expand`.
- A field that has its default value is left out of the written line.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field


class Event(Struct, tag_field="kind", omit_defaults=True, gc=False):
    """Something that happened at time `t` (ns)."""

    t: int
    cpu: int = -1
    task: int = -1
    reason: str = ""


class Processor(Struct, omit_defaults=True):
    """A core or an engine, as the log's first line describes it.

    `speed` is a core's.
    """

    id: int
    kind: str
    policy: str
    name: str = ""
    slots: int = 1
    token_budget: int = 0
    speed: float = 1.0


class Run(Event, tag="run", gc=True):
    """The first line of every log: what was run, on which machine, with which costs.

    A machine with memory has so many `frames` of `page_bytes`, and a `replacement` policy for them.
    """

    schema: int = 1
    version: str = ""
    scenario: str = ""
    question: str = ""
    seed: int = 0
    convention: str = ""
    profile: str = ""
    processors: list[Processor] = field(default_factory=list)
    frames: int = 0
    page_bytes: int = 0
    replacement: str = ""


# --- the life of a task -------------------------------------------------------------------------------


class Arrive(Event, tag="arrive"):
    """A task is created (new) and becomes ready. `world` is "process" or "request"."""

    name: str = ""
    world: str = "process"
    parent: int = -1
    priority: int = 0
    tickets: int = 1
    client: str = ""
    deadline: int = -1
    prompt: int = 0
    output: int = 0
    nice: int = 0
    group: str = ""


class Dispatch(Event, tag="dispatch"):
    """ready -> running. The processor first spends `decision_ns` and `switch_ns`, then runs the task.

    `quantum` is the service (ns or tokens) after which the policy is asked again; 0 means none.
    """

    decision_ns: int = 0
    switch_ns: int = 0
    quantum: int = 0


class Renew(Event, tag="renew"):
    """The policy was asked again and keeps the task running where it is."""

    decision_ns: int = 0
    quantum: int = 0


class Preempt(Event, tag="preempt"):
    """running -> ready, against the task's will."""


class Yield(Event, tag="yield"):
    """running -> ready, by the task's own will."""


class Block(Event, tag="block"):
    """running -> blocked. `on` names what the task waits for: a device, "sleep", "child"."""

    on: str = ""


class Wake(Event, tag="wake"):
    """blocked -> ready."""


class Exit(Event, tag="exit"):
    """running -> terminated."""


class Suspend(Event, tag="suspend"):
    """ready -> blocked: a signal has stopped the task."""

    on: str = ""


class Reap(Event, tag="reap"):
    """A parent has waited for its terminated child `task`, which is no zombie any more."""


class Exec(Event, tag="exec"):
    """A process has become another program, called `name`."""

    name: str = ""


class Change(Event, tag="change"):
    """The priority or the nice value of a task has changed."""

    priority: int = 0
    nice: int = 0


class Signal(Event, tag="signal"):
    """A signal reaches the task."""

    signal: str = ""


class Migrate(Event, tag="migrate"):
    """A ready task has moved from the queue of the core `origin` to that of `cpu`."""

    origin: int = 0


class Hotplug(Event, tag="hotplug"):
    """The core `cpu` goes offline, or is `online` again; or it stays, being the last one."""

    online: bool = False


class Warm(Event, tag="warm", gc=True):
    """The working set of the task is in the core's cache; those of `evicted` are not any more."""

    evicted: list[int] = field(default_factory=list)


class Share(Event, tag="share", gc=True):
    """A task has used something shared, called `name`: a mutex, semaphore, condition, pipe or mailbox.

    Afterwards the task `holder` has it (-1 = nobody), there is `level` of it, and `waiters` wait.
    """

    name: str = ""
    what: str = ""
    holder: int = -1
    level: int = 0
    waiters: list[int] = field(default_factory=list)


class Deadlock(Event, tag="deadlock", gc=True):
    """The tasks of `cycle` wait for one another, each for its one of `locks`, which the next one has.

    It is a mutex or a semaphore; or "child", and the next one is that.
    """

    cycle: list[int] = field(default_factory=list)
    locks: list[str] = field(default_factory=list)


class Queue(Event, tag="queue", gc=True):
    """The ready queue as the policy sees it after a decision: (heading, [(pid, figure), ...]) each shelf."""

    shelves: list[tuple[str, list[tuple[int, str]]]] = field(default_factory=list)


# --- what the kernel does -----------------------------------------------------------------------------


class Syscall(Event, tag="syscall"):
    """The running task enters the kernel, which works for `cost_ns` from now on."""

    name: str = ""
    cost_ns: int = 0


class Interrupt(Event, tag="interrupt"):
    """The processor handles an interrupt for `cost_ns` from now on.

    `irq` is "timer", "io", "ipi" (from another processor), "release" (of a job), or one that a
    scenario injects.
    """

    irq: str = ""
    cost_ns: int = 0


class Tick(Event, tag="tick"):
    """The policy reordered its ready queue at a time it had asked for (a boost, an aging step)."""


class IoStart(Event, tag="io_start"):
    """A device starts to serve the task's request, which takes `service_ns`."""

    device: str = ""
    service_ns: int = 0


class IoDone(Event, tag="io_done"):
    """A device has served the task's request, or has failed to: `error` is "EIO" then."""

    device: str = ""
    error: str = ""


# --- periodic jobs ------------------------------------------------------------------------------------


class Release(Event, tag="release"):
    """Job number `job` of a periodic task is released; it should be complete by `deadline` (ns)."""

    job: int = 0
    deadline: int = 0


class Complete(Event, tag="complete"):
    """Job number `job` of a periodic task is complete."""

    job: int = 0


class Abort(Event, tag="abort"):
    """Job number `job` is given up: its task is blocked until the next one."""

    job: int = 0


class Miss(Event, tag="miss"):
    """A task, or job number `job` of it, was not complete by its `deadline`."""

    job: int = 0
    deadline: int = 0


# --- memory -------------------------------------------------------------------------------------------


class Touched(Event, tag="touched", gc=True):
    """A task has made `count` references to memory, `writes` of them writes; the last one ended at `t`.

    `tlb` counts those that missed in all levels of the TLB, that hit in the first, in the second, ...; the
    misses made `walked` references to page tables. All that took `spent_ns`, the faults among it apart.
    """

    count: int = 0
    writes: int = 0
    tlb: list[int] = field(default_factory=list)
    walked: int = 0
    spent_ns: int = 0


class Reference(Event, tag="reference"):
    """A task has referred to page number `page`, which is `at`: "heap[7]".

    A `hit` was there and permitted; else there is a fault, and it may have cost the page `victim` its frame.
    """

    page: int = -1
    at: str = ""
    write: bool = False
    hit: bool = False
    frame: int = -1
    victim: str = ""


class Fault(Event, tag="fault", gc=True):
    """A reference to page number `page` trapped into the kernel, which works for `cost_ns` from now on.

    `at` says the same for people: "heap[7]". `what` is "minor" (done at once), "major" (waits for a device),
    "short" (waits for a frame), or the signal that the task dies of: "segv", "bus". `pages` were mapped: this
    one, into `frame`, with the others of its huge page, or with the page numbers `around` it that were in the
    page cache; then it has `rss` pages. A minor one `waits` too if a victim must be written. `swapped_in`
    pages come from swap.
    """

    what: str = ""
    page: int = -1
    at: str = ""
    frame: int = -1
    pages: int = 0
    cost_ns: int = 0
    rss: int = 0
    waits: bool = False
    swapped_in: int = 0
    around: list[int] = field(default_factory=list)


class Evict(Event, tag="evict", gc=True):
    """A page has lost its frame, for the sake of the task; `holders` (pid, page number) have it no more.

    `page` is its key: a number if it is anonymous, (inode, index) if it is of a file; `at` says whose it was:
    "A heap[7]". If it was `dirty`, it is written: anonymous, to swap. `unused`: it was read ahead in vain.
    """

    page: str = ""
    at: str = ""
    frame: int = -1
    pages: int = 1
    dirty: bool = False
    unused: bool = False
    holders: list[tuple[int, int]] = field(default_factory=list)


class Region(Event, tag="region"):
    """A task has changed what it may touch: `call` is "mmap", "munmap", "brk", "mprotect", "fork" ...

    It is about `pages` pages from page number `page` on, called `name`; then it has `rss` pages.
    """

    call: str = ""
    name: str = ""
    page: int = -1
    pages: int = 0
    rss: int = 0


class FileAccess(Event, tag="file_access"):
    """A task has asked for `pages` pages of `file` from `page` on; `hits` of them were in the page cache.

    `what` is "read", "write", "map" (a fault), "around" (mapped beside it, unasked), "dirty" (about to be
    written through a mapping), "direct read" or "direct write" (past the page cache). `ahead` pages had been
    read ahead and are used for the first time; `dirtied` are dirty from now on. To copy them the kernel
    works for `cost_ns` from now on.
    """

    what: str = ""
    file: str = ""
    page: int = -1
    pages: int = 0
    hits: int = 0
    ahead: int = 0
    dirtied: int = 0
    cost_ns: int = 0


class Readahead(Event, tag="readahead"):
    """`pages` pages of a window of `file` from `page` on are read; nobody has asked for `ahead` of them.

    When the task comes to page `marker` (-1: none), the next window is read.
    """

    file: str = ""
    page: int = -1
    pages: int = 0
    ahead: int = 0
    marker: int = -1


class Writeback(Event, tag="writeback"):
    """`pages` dirty pages of `file` from `page` on begin to be written, and are clean from now on."""

    file: str = ""
    page: int = -1
    pages: int = 0


class Drop(Event, tag="drop"):
    """`pages` pages of `file` ("": of any) are not in the page cache any more, and nobody has their frames.

    `unused` of them were read ahead in vain; `dirty` ones are lost.
    """

    file: str = ""
    pages: int = 0
    unused: int = 0
    dirty: int = 0


class Huge(Event, tag="huge"):
    """Something has happened to a huge page of `pages` base pages at page number `page`.

    `what` is "fault" (a first touch has brought it), "promote" (the scanner has put it in place of base
    pages; then the task has `rss` pages), "split" (into base pages), "swap" (it had to make room), "free"
    (nobody has it any more), or "none": there was no block of frames for one, as memory is in pieces
    (`fragmentation` near 1) or full (near 0). Of one that is no more, `untouched` base pages were never used.
    """

    what: str = ""
    page: int = -1
    frame: int = -1
    pages: int = 0
    untouched: int = 0
    cost_ns: int = 0
    rss: int = 0
    fragmentation: float = 0.0


class Compact(Event, tag="compact"):
    """Compaction has `moved` pages to make a block of 2^`order` frames, which takes the kernel `cost_ns`.

    The fragmentation for that order (near 1: frames are free, but in pieces) was `before`; `after` it is 0
    if there is such a block.
    """

    moved: int = 0
    order: int = 0
    before: float = 0.0
    after: float = 0.0
    cost_ns: int = 0


class Merge(Event, tag="merge"):
    """The scanner of same-page merging has looked at `scanned` pages, in `cost_ns`, and `merged` some.

    Now `shared` pages stand for others, so that `saved` pages need no frame; less the scanner's own records
    that is a profit of `profit_bytes`, which may be negative.
    """

    scanned: int = 0
    merged: int = 0
    shared: int = 0
    saved: int = 0
    profit_bytes: int = 0
    cost_ns: int = 0


class OomKill(Event, tag="oom_kill", gc=True):
    """The task is killed as no page can go; `scores` (pid, score) are those of all candidates.

    So `pages` pages of memory, swap and page tables are free.
    """

    pages: int = 0
    scores: list[tuple[int, int]] = field(default_factory=list)


class Reclaim(Event, tag="reclaim"):
    """Watermarks have made somebody evict `pages` pages, so that `free` frames are free.

    `how` is "background" (kswapd), or "direct": the task's own fault does it, in `cost_ns`.
    """

    how: str = ""
    pages: int = 0
    free: int = 0
    cost_ns: int = 0


class Thrashing(Event, tag="thrashing"):
    """The machine has begun to thrash, or it is `over`: what the window of `window_ns` that ends now shows.

    Of `faults` major faults `refaults` brought back what was evicted only lately, and the cores were `busy`
    for that share of the time.
    """

    over: bool = False
    window_ns: int = 0
    faults: int = 0
    refaults: int = 0
    busy: float = 0.0


class SwapTask(Event, tag="swap_task"):
    """Load control takes the task `out`: it is kept from running, and `pages` pages were evicted.

    Or it lets it go on, as there is room for the `pages` pages that it needs. It has `rss` pages now.
    """

    out: bool = False
    pages: int = 0
    rss: int = 0


# --- engines ------------------------------------------------------------------------------------------


class Iterate(Event, tag="iterate", gc=True):
    """An engine has done `count` iterations with the same batch; the last one ended at `t`.

    `prefill` lists (pid, prompt tokens computed), `decode` the pids that got one token per iteration.
    Iteration number j since the batch last changed (at `anchor`) takes first_ns + (j - 1) * growth_ns,
    the two numbers of `pace`; this record covers j = first .. first + count - 1, and `start` is where the
    first of them began. `context` is the total context (tokens, incl. new) of iteration number 1.
    """

    start: int = 0
    anchor: int = 0
    first: int = 1
    count: int = 1
    context: int = 0
    pace: tuple[float, float] = (0.0, 0.0)
    prefill: list[tuple[int, int]] = field(default_factory=list)
    decode: list[int] = field(default_factory=list)


class Found(Event, tag="found"):
    """The first `tokens` tokens of a request are in KV memory already: it shares their blocks."""

    tokens: int = 0


class Lost(Event, tag="lost"):
    """A request's KV blocks were needed by others: it must compute its `tokens` tokens again."""

    tokens: int = 0


class FirstToken(Event, tag="first_token"):
    """A request's prompt is computed and its first output token is out."""


class End(Event, tag="end"):
    """The last line of every complete log. `ok` is False if the run did not do what it set out to do."""

    ok: bool = True


KINDS: tuple[type[Event], ...] = (
    Run, Arrive, Dispatch, Renew, Preempt, Yield, Block, Wake, Exit, Suspend, Reap, Exec, Change, Signal,
    Migrate, Hotplug, Warm, Share, Deadlock, Queue, Syscall, Interrupt, Tick, IoStart, IoDone, Release,
    Complete, Abort, Miss, Touched, Reference, Fault, Evict, Region, FileAccess,
    Readahead, Writeback, Drop, Huge, Compact, Merge, OomKill, Reclaim, Thrashing, SwapTask,
    Iterate, Found, Lost, FirstToken, End,
)  # fmt: skip


def kind_of(event: Event) -> str:
    """Return the event's kind as it is written in the log."""
    return str(event.__struct_config__.tag)


def kernel_ns(event: Event) -> int:
    """Return how long the kernel works for the sake of `event` on its processor, as soon as that is free.

    What others cost is part of one of these, an interrupt's or a fault's; what a dispatch costs is its own.
    """
    return event.cost_ns if isinstance(event, Syscall | Interrupt | Fault | FileAccess) else 0


def arguments(event: Event) -> dict[str, Any]:
    """Return the event's own arguments: every field but time, cpu, task and reason."""
    names = event.__struct_fields__[4:]
    return {name: getattr(event, name) for name in names}
