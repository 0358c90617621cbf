"""Memory under the kernel: how a process goes through references, and the system calls about memory.

- References are work on the core. They are taken in stretches: as many as fit before the next alarm, the
  end of the quantum or the machine's grain. The time of a stretch is a burst like any other; a task that is
  preempted in it owes the rest.
- After a stretch comes what it met: the process waits for a page, dies, or goes on.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from llmos.engine.streams import stream
from llmos.memory import faults, mapping, writeback
from llmos.memory.records import Death, Touching, Wait
from llmos.process import program, signals, swapping
from llmos.trace import events as ev

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmos.memory.memory import Memory
    from llmos.memory.records import Space
    from llmos.memory.space import Region
    from llmos.process.cores import Core
    from llmos.process.kernel import Kernel
    from llmos.process.task import Process


def attach(kernel: Kernel, memory: Memory) -> None:
    """Put `memory` under `kernel`."""
    kernel.memory = memory
    memory.interrupt = kernel.cores.interrupt
    tick = kernel.order.tick
    if memory.huge is not None:
        kernel.cores.beat(memory.huge.rules.scan_ns, tick, memory.huge.scan, while_idle=True)
    if memory.merging is not None:
        kernel.cores.beat(memory.merging.rules.sleep_ns, tick, memory.merging.scan, while_idle=True)
    memory.phase = kernel.order.came
    memory.load.tasks = swapping.KernelTasks(kernel)

    def kill(pid: int, reason: str) -> None:
        signals.deliver(kernel, kernel.processes[pid], "KILL", reason, max(0, memory.cpu))

    memory.kill = kill


def begin(kernel: Kernel, process: Process, call: program.Touch) -> Touching:
    """Return the references that `call` makes."""
    memory, space = _memory(kernel, process)
    region = None
    if call.region:
        region = _region(kernel, process, call.region)
    return Touching(_placed(memory, space, region, _references(kernel, process, call)))


def _references(kernel: Kernel, process: Process, call: program.Touch) -> Iterator[Sequence[int]]:
    """Return what `call` touches. Lots do not depend on the pid, which may be another with another policy."""
    if not call.drawn:
        return call.references()
    process.draws += 1
    return call.references(stream(kernel.seed, f"touch/{process.name}/{process.draws}"))


def _placed(
    memory: Memory, space: Space, region: Region | None, chunks: Iterator[Sequence[int]]
) -> Iterator[Sequence[int]]:
    """Turn references into `region` into references into the space; the heap grows to what is touched."""
    for chunk in chunks:
        if region is None:
            yield chunk
            continue
        if region is space.regions.heap and chunk:
            pages = (max(chunk) >> 1) + 1
            if pages > region.pages:
                mapping.brk(memory, space, pages, piecemeal=True)
        base = region.start << 1
        yield [reference + base for reference in chunk]


def go_on(kernel: Kernel, core: Core, process: Process, touching: Touching) -> bool:
    """Take the core's task further through its references; return whether it is done with them."""
    if process.remaining:
        if core.quantum_left is not None and core.quantum_left <= 0:
            kernel.cores.timer(core)
        else:
            kernel.cores.resume(core)
        return False
    then, touching.then = touching.then, None
    if isinstance(then, Death):
        process.doomed = then.reason
        kernel.emit(ev.Signal(kernel.sim.now, core.cpu, process.pid, then.reason, signal=then.signal))
        kernel.fetch(process, None)
        return True
    if then is not None:
        _wait(kernel, core, process, touching, then)
        return False
    if touching.done:
        kernel.fetch(process, touching.io.result if touching.io else None)
        return True
    if core.quantum_left is not None and core.quantum_left <= 0:
        kernel.cores.timer(core)
        return False
    if kernel.sim.exhausted():
        return False
    memory, space = _memory(kernel, process)
    budget = min(memory.grain_ns, kernel.sim.peek() - kernel.sim.now)
    if core.quantum_left is not None:
        budget = min(budget, core.quantum_left)
    spent = memory.run(core.cpu, space, touching, int(max(1, budget)))
    _note(space, touching.then)
    process.remaining = process.burst = spent
    if not spent:
        return True
    kernel.cores.resume(core)
    return False


def _note(space: Space, met: Wait | Death | None) -> None:
    """Remember what a process will wait for when its stretch is over: it may die before."""
    if isinstance(met, Wait):
        space.waits.append(met)


def _wait(kernel: Kernel, core: Core, process: Process, touching: Touching, wait: Wait) -> None:
    """Let the process wait for its page. No signal can take a request back from the device."""
    memory, space = _memory(kernel, process)
    space.waits.remove(wait)
    device = wait.transfers[0].device if wait.transfers else wait.on
    source = wait.transfers[-1].device if wait.transfers else device  # writes come first, and cannot fail
    kernel.block(core, process, device, wait.reason, unblock=None)

    def done() -> None:
        kernel.cores.irq(max(0, process.cpu), "io", kernel.costs.io_interrupt_ns, wait.over, woken)

    def failed() -> None:
        memory.now, memory.cpu = kernel.sim.now, max(0, process.cpu)
        if touching.io is not None:
            touching.done = True  # its call returns -1
        else:
            touching.then = faults.failed(memory, space, touching.references[touching.position] >> 1, source)
        kernel.cores.irq(max(0, process.cpu), "io", kernel.costs.io_interrupt_ns, "the device failed", told)

    woken = partial(kernel.wake, process, wait.over)
    told = partial(kernel.wake, process, "the device failed", -1 if touching.io else None)
    memory.begin(wait, process.pid, done, failed)


# --- system calls ---------------------------------------------------------------------------------------


def mmap(kernel: Kernel, core: Core, process: Process, call: program.Mmap) -> bool:
    """Map a file, or anonymous memory."""
    memory, space = _called(kernel, core, process)
    file = None
    if call.file:
        file = memory.files.get(call.file)
        if file is None:
            known = ", ".join(memory.files) or "none"
            raise kernel.bad_program(process, f"there is no file {call.file!r:.40}; there are: {known}")
    size = call.bytes if call.bytes is not None or file is None else file.pages * memory.page_bytes
    pages = _pages(memory, size or 0)
    start = mapping.mmap(
        memory, space, call.name, pages, file=file, offset=_pages(memory, call.offset), shared=call.shared,
        readable="r" in call.protection, writable="w" in call.protection,
    )  # fmt: skip
    return _answer(kernel, core, process, "mmap", call.name, start, pages, start)


def munmap(kernel: Kernel, core: Core, process: Process, call: program.Munmap) -> bool:
    """Unmap a region."""
    memory, space = _called(kernel, core, process)
    region = _region(kernel, process, call.name)
    start, pages = region.start, region.pages
    result = mapping.munmap(memory, space, start, pages)
    return _answer(kernel, core, process, "munmap", call.name, start, pages, result)


def mprotect(kernel: Kernel, core: Core, process: Process, call: program.Mprotect) -> bool:
    """Set the protection of a region."""
    memory, space = _called(kernel, core, process)
    region = _region(kernel, process, call.name)
    result = mapping.mprotect(
        memory, space, region.start, region.pages, readable="r" in call.protection,
        writable="w" in call.protection,
    )  # fmt: skip
    return _answer(kernel, core, process, "mprotect", call.name, region.start, region.pages, result)


def brk(kernel: Kernel, core: Core, process: Process, call: program.Brk) -> bool:
    """Set the size of the heap."""
    memory, space = _called(kernel, core, process)
    result = mapping.brk(memory, space, _pages(memory, call.bytes))
    heap = space.regions.heap
    return _answer(kernel, core, process, "brk", "heap", heap.start, heap.pages, result)


def mlock(kernel: Kernel, core: Core, process: Process, call: program.Mlock) -> bool:
    """Keep the pages of a region in memory, or let them go again."""
    memory, space = _called(kernel, core, process)
    region = _region(kernel, process, call.name)
    result = mapping.mlock(memory, space, region.start, region.pages, lock=call.lock)
    what = "mlock" if call.lock else "munlock"
    return _answer(kernel, core, process, what, call.name, region.start, region.pages, result)


def madvise(kernel: Kernel, core: Core, process: Process, call: program.Madvise) -> bool:
    """Note what is said about a region."""
    _, space = _called(kernel, core, process)
    region = _region(kernel, process, call.name)
    result = mapping.madvise(space, region.start, region.pages, call.advice)
    return _answer(kernel, core, process, "madvise", call.name, region.start, region.pages, result)


def fill(kernel: Kernel, core: Core, process: Process, call: program.Fill) -> bool:
    """Give what was just written a name; without same-page merging nobody cares."""
    memory, space = _called(kernel, core, process)
    region = _region(kernel, process, call.name)
    if memory.merging is not None:
        memory.merging.fill(space, region.start + call.first, call.pages, call.content)
    kernel.fetch(process, 0)
    return True


# --- families -------------------------------------------------------------------------------------------


def price(kernel: Kernel, process: Process, call: object) -> int:
    """Return what `call` costs beyond entering the kernel: a fork shares each page that is there."""
    if kernel.memory is None or process.space is None or not isinstance(call, program.Fork):
        return 0
    return process.space.rss * kernel.memory.costs.fork_page_ns


def born(kernel: Kernel, process: Process) -> None:
    """Give a process its memory: that of its parent, or a fresh one."""
    memory = kernel.memory
    if memory is None:
        return
    memory.now = kernel.sim.now
    limit = process.memory_limit_bytes
    limit = None if limit is None else max(1, limit // memory.page_bytes)
    parent = process.parent
    if parent is not None and parent.space is not None:
        memory.cpu = max(0, parent.cpu)
        process.space = mapping.fork(memory, parent.space, process.pid, process.name, limit)
        _tell(kernel, max(0, parent.cpu), process.space, "fork", "", 0, process.space.rss)
    else:
        process.space = mapping.create(
            memory, process.pid, process.name, process.group, limit=limit,
            oom_score_adj=process.oom_score_adj,
        )  # fmt: skip
        writeback.watch(memory)  # what those before it have left dirty


def may_be_born(kernel: Kernel, parent: Process) -> bool:
    """Whether the memory of a child may be promised."""
    return kernel.memory is None or parent.space is None or mapping.may_fork(kernel.memory, parent.space)


def gone(kernel: Kernel, core: Core, process: Process) -> None:
    """Take the memory of a process that has ended."""
    if kernel.memory is not None and process.space is not None:
        memory, space = kernel.memory, process.space
        memory.now, memory.cpu, space.dead = kernel.sim.now, core.cpu, True
        mapping.release(memory, space)
        for wait in space.waits:  # it was killed before it could wait; others may wait for the same page
            memory.begin(wait, process.pid, lambda: None)
        writeback.rest(kernel.memory)
        _tell(kernel, core.cpu, process.space, "exit", "", 0, 0)


def renewed(kernel: Kernel, core: Core, process: Process) -> None:
    """Give a process that has become another program an empty memory."""
    if kernel.memory is not None and process.space is not None:
        memory, space = _called(kernel, core, process)
        mapping.renew(memory, space)
        space.name = process.name
        _tell(kernel, core.cpu, space, "exec", "", 0, 0)


def _answer(
    kernel: Kernel, core: Core, process: Process, call: str, name: str, page: int, pages: int, result: int
) -> bool:
    """Log what a call has changed, and return its result to the program."""
    memory, space = _memory(kernel, process)
    if result >= 0:
        _tell(kernel, core.cpu, space, call, name, page, pages)
    if owed := memory.take_owed():
        kernel.cores.interrupt(core.cpu, "split", owed, "huge pages are split")
    kernel.fetch(process, result if result <= 0 else result * memory.page_bytes)
    return True


def _tell(kernel: Kernel, cpu: int, space: Space, call: str, name: str, page: int, pages: int) -> None:
    kernel.emit(
        ev.Region(kernel.sim.now, cpu, space.pid, call=call, name=name, page=page, pages=pages, rss=space.rss)
    )


def _memory(kernel: Kernel, process: Process) -> tuple[Memory, Space]:
    if kernel.memory is None or process.space is None:
        raise kernel.bad_program(process, "it uses memory; give the machine some: [memory] with size")
    return kernel.memory, process.space


def _called(kernel: Kernel, core: Core, process: Process) -> tuple[Memory, Space]:
    """Return the memory of a process that makes a system call now, on `core`."""
    memory, space = _memory(kernel, process)
    memory.now, memory.cpu = kernel.sim.now, core.cpu
    return memory, space


def _region(kernel: Kernel, process: Process, name: str) -> Region:
    _, space = _memory(kernel, process)
    region = space.regions.named(name)
    if region is None:
        known = ", ".join(dict.fromkeys(region.name for region in space.regions))
        what = f"it has no memory called {name!r:.40} (an mmap that fails gives none); it has: {known}"
        raise kernel.bad_program(process, what)
    return region


def _pages(memory: Memory, size_bytes: int) -> int:
    return -(-size_bytes // memory.page_bytes)
