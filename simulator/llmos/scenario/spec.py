"""A machine and what it shall do, as plain data.

- `MachineSpec` says everything: cores, engine, devices, what tasks share, tasks, requests, limits.
- It is what a scenario file becomes, and what tests and notebooks write directly.
- Times are in nanoseconds, sizes in bytes or tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from llmos.costs.model import CostModel
from llmos.engine.simulation import FOREVER
from llmos.memory.allocation import Sharing
from llmos.memory.huge import HugeRules
from llmos.memory.ksm import MergeRules
from llmos.memory.load_control import Thrashing
from llmos.memory.page_cache import CacheRules
from llmos.memory.records import Costs as MemoryCosts
from llmos.memory.tlb import Tlb
from llmos.memory.translation.base import PageTable
from llmos.memory.watermarks import Watermarks
from llmos.process.balance import Balancing
from llmos.process.channels import Mailbox, Pipe
from llmos.process.cores import Rules
from llmos.process.dispatcher import Costs
from llmos.process.program import Program
from llmos.process.shared import Shared
from llmos.process.sync import Condition, Mutex, Semaphore
from llmos.replacement.base import ReplacementPolicy
from llmos.sched.base import Scheduler
from llmos.serving.kv import KvMemory
from llmos.serving.pacing import Pacing


@dataclass(frozen=True, kw_only=True)
class PolicySpec:
    """A scheduler: how to make one, and what to call it ("rr", "mine.py:Mine")."""

    name: str
    make: Callable[[], Scheduler]


@dataclass(frozen=True, kw_only=True)
class ReplacementSpec:
    """A replacement policy: how to make one for a number of places, and what to call it ("clock bits=2")."""

    name: str
    make: Callable[[int], ReplacementPolicy]
    offline: bool = False
    """Whether it must be told the future."""


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A process to come. Times in ns; `program` makes a fresh generator of system calls."""

    name: str
    program: Callable[[], Program]
    arrival_ns: int = 0
    priority: int = 0
    tickets: int = 1
    client: str = ""
    deadline_ns: int | None = None
    """Relative to the arrival; for a periodic task, to each release (default: the period)."""
    period_ns: int | None = None
    jobs: int | None = None
    wcet_ns: int | None = None
    """Declared worst-case execution time of a job, for policies that plan with it."""
    nice: int = 0
    group: str = ""
    affinity: frozenset[int] | None = None
    working_set_bytes: int = 0
    memory_limit_bytes: int | None = None
    """How much memory it may have, if that is limited."""
    oom_score_adj: int = 0


@dataclass(frozen=True, kw_only=True)
class RequestSpec:
    """An LLM request to come. Sizes in tokens, times in ns, the deadline relative to the arrival."""

    name: str
    prompt: int
    output: int
    arrival_ns: int = 0
    priority: int = 0
    tickets: int = 1
    client: str = ""
    deadline_ns: int | None = None
    nice: int = 0
    group: str = ""
    ids: Sequence[int] = ()
    """What the tokens of the prompt are, where that matters: equal beginnings share KV blocks."""


@dataclass(frozen=True, kw_only=True)
class DeviceSpec:
    """An I/O device: service time in ns, requests served at a time (0 = all)."""

    name: str
    service_ns: int
    servers: int = 1
    bytes_per_s: int = 0
    """How fast it transfers pages, beyond the service time; 0 = at once."""


@dataclass(frozen=True, kw_only=True)
class SharedSpec:
    """Something that tasks share: a "mutex", "semaphore", "condition", "pipe" or "mailbox".

    `size` is the first value of a semaphore, the bytes of a pipe, the messages of a mailbox (0 = any
    number), the ceiling of a mutex; `protocol` is a mutex's: "none", "inherit" or "ceiling". An `owned`
    semaphore is added to only by those who have taken from it.
    """

    name: str
    kind: str
    size: int = 0
    protocol: str = "none"
    owned: bool = False

    def make(self) -> Shared:
        """Make a fresh one."""
        match self.kind:
            case "mutex":
                return Mutex(name=self.name, protocol=self.protocol, ceiling=self.size)
            case "semaphore":
                return Semaphore(name=self.name, value=self.size, owned=self.owned)
            case "condition":
                return Condition(name=self.name)
            case "pipe":
                return Pipe(name=self.name, capacity_bytes=self.size)
            case "mailbox":
                return Mailbox(name=self.name, capacity=self.size)
        raise ValueError(f"kind: there is no {self.kind}")


@dataclass(frozen=True, kw_only=True)
class CacheSpec:
    """The cache of each core.

    A task is warm after `warmup_ns` there; then it does `warm_rate` ns of work in 1000 ns.
    """

    size_bytes: int
    warmup_ns: int
    warm_rate: int


@dataclass(frozen=True, kw_only=True)
class CpuSpec:
    """`count` cores; on one ready queue, or with `per_core` each on its own.

    `speeds` are ns of work per 1000 ns, one per core; none = all alike.
    """

    policy: PolicySpec
    count: int = 1
    costs: Costs = field(default_factory=Costs)
    rules: Rules = field(default_factory=Rules)
    per_core: bool = False
    balancing: Balancing = field(default_factory=Balancing)
    speeds: Sequence[int] = ()
    cache: CacheSpec | None = None


@dataclass(frozen=True, kw_only=True)
class Injection:
    """Something that happens to the machine from outside, `count` times from `at_ns` on, `every_ns`.

    An interrupt of `cost_ns` on core `cpu`, called `name`; or, with `signal`, a signal to the task
    called `name`; or, with `device`, a pause of so long as `cost_ns` during which it serves nobody, or so
    many requests that it `fails`; or core `cpu` goes `offline` for `cost_ns` (0 = for good).
    """

    name: str
    at_ns: int
    every_ns: int = 0
    count: int = 1
    cpu: int = 0
    cost_ns: int = 0
    signal: str = ""
    device: str = ""
    fails: int = 0
    offline: bool = False


@dataclass(frozen=True, kw_only=True)
class FileSpec:
    """A file of so many bytes on the device called `device`."""

    name: str
    size_bytes: int
    device: str


@dataclass(frozen=True, kw_only=True)
class MemorySpec:
    """The memory: `frames` of `page_bytes` each, and how it is used.

    `table` makes a page table for a process, `tlb` the TLB of a core. `swap_pages` lie on `swap_device`.
    """

    frames: int
    replacement: ReplacementSpec
    page_bytes: int = 4096
    costs: MemoryCosts = field(default_factory=MemoryCosts)
    table: Callable[[], PageTable]
    tlb: Callable[[], Tlb]
    swap_pages: int = 0
    swap_device: str = ""
    page_cluster: int = 0
    page_cache: CacheRules = field(default_factory=CacheRules)
    oom: str = "badness"
    sharing: Sharing = field(default_factory=Sharing)
    watermarks: Watermarks | None = None
    swappiness: int | None = None
    """How much anonymous pages are to go rather than pages of files, 0 to 200; None = one order for all."""
    overcommit: int = 1
    overcommit_ratio: int = 50
    thrashing: Thrashing = field(default_factory=Thrashing)
    load_control: bool = False
    grain_ns: int = 1_000_000
    huge: HugeRules | None = None
    compacts: bool = True
    merging: MergeRules | None = None
    files: Sequence[FileSpec] = ()


@dataclass(frozen=True, kw_only=True)
class EngineSpec:
    """An LLM engine.

    pacing: where the times of its iterations come from. memory: makes its KV memory; None = there is
    always enough.
    """

    policy: PolicySpec
    pacing: Pacing
    slots: int = 8
    token_budget: int = 512
    skip: bool = True
    memory: Callable[[], KvMemory] | None = None


@dataclass(frozen=True, kw_only=True)
class MachineSpec:
    """A machine and its workload. `tasks` and `requests` get their pids in this order, from 1."""

    scenario: str = ""
    question: str = ""
    seed: int = 0
    convention: str = "textbook"
    profile: str = ""
    cpu: CpuSpec | None = None
    engine: EngineSpec | None = None
    memory: MemorySpec | None = None
    devices: Sequence[DeviceSpec] = ()
    shared: Sequence[SharedSpec] = ()
    most_in_group: Mapping[str, int] = field(default_factory=dict)
    """How many processes a cgroup may have, where that is limited."""
    injections: Sequence[Injection] = ()
    shows_queues: bool = False
    """Whether the log shows the ready queue after every decision."""
    shows_references: bool = False
    """Whether the log shows every reference to memory."""
    tasks: Sequence[TaskSpec] = ()
    requests: Sequence[RequestSpec] = ()
    until_ns: int = FOREVER
    max_events: int = 50_000_000
    cost_model: CostModel | None = None
