"""The system calls about files: read, write, fsync, truncate, advice, and drop caches.

- Reading and writing through the page cache is work on the core, page by page (`llmos.memory.file_io`), and
  goes on like references do: the process may be preempted, and waits for devices, in between.
- Direct I/O is one request to the device, past the page cache. Dirty pages of its range are written before
  it; a direct write drops what it has made wrong.
- Who gives no offset goes on where the last read or write has ended; each process has its own position.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from llmos.memory import page_cache, writeback
from llmos.memory.files import FileIo
from llmos.memory.records import Touching, Transfer, Wait
from llmos.process import program

if TYPE_CHECKING:
    from llmos.memory.files import File, OpenFile
    from llmos.memory.memory import Memory
    from llmos.memory.records import Space
    from llmos.process.cores import Core
    from llmos.process.kernel import Kernel
    from llmos.process.task import Process


def read_file(kernel: Kernel, core: Core, process: Process, call: program.ReadFile) -> bool:
    """Read from a file."""
    return _move(kernel, core, process, call)


def write_file(kernel: Kernel, core: Core, process: Process, call: program.WriteFile) -> bool:
    """Write into a file."""
    return _move(kernel, core, process, call)


def _move(
    kernel: Kernel, core: Core, process: Process, call: program.ReadFile | program.WriteFile
) -> bool:  # fmt: skip
    memory, space = the_memory(kernel, process)
    file = _file(kernel, process, memory, call.file)
    opened = page_cache.opened(memory, space, file)
    write, page_bytes = isinstance(call, program.WriteFile), memory.page_bytes
    start, size = _place(call, file.pages * page_bytes, opened, page_bytes)
    if not write:
        size = max(0, min(size, file.pages * page_bytes - start))
    if not size:
        kernel.fetch(process, 0)
        return True
    opened.position = start + size
    first, end = start // page_bytes, -(-(start + size) // page_bytes)
    if call.direct:
        return _direct(kernel, core, process, file, range(first, end), size, write=write)
    edges = {first} if start % page_bytes else set()
    edges |= {end - 1} if (start + size) % page_bytes else set()
    io = FileIo(file, write, start, size, first, end, frozenset(edges))
    process.call, process.remaining, process.burst = Touching(iter(()), io=io), 0, 0
    return True


def _place(
    call: program.ReadFile | program.WriteFile, file_bytes: int, opened: OpenFile, page_bytes: int
) -> tuple[int, int]:
    """Return where `call` begins, and how many bytes it is about."""
    if call.random:
        size = call.bytes or page_bytes
        return opened.dice.randrange(max(0, file_bytes - size) // page_bytes + 1) * page_bytes, size
    start = opened.position if call.offset is None else call.offset
    return start, max(0, file_bytes - start) if call.bytes is None else call.bytes


def _direct(
    kernel: Kernel, core: Core, process: Process, file: File, pages: range, size: int, *, write: bool
) -> bool:
    """Read or write past the page cache."""
    memory, space = the_memory(kernel, process)
    memory.now, memory.cpu = kernel.sim.now, core.cpu
    flights = writeback.write_all(memory, space, file, pages)
    if write:
        file.pages = max(file.pages, pages.stop)
        page_cache.invalidate(memory, process.pid, file, pages.start, pages.stop)
    what = "direct write" if write else "direct read"
    page_cache.report(memory, space, what, file, pages.start, len(pages), 0)
    transfer = Transfer(file.device, len(pages), write=write)
    ask = partial(writeback.when_landed, flights)
    _wait(kernel, core, process, Wait(f"{what} of {file.name}", [transfer], _nothing, ask=ask), size)
    return False


def fsync(kernel: Kernel, core: Core, process: Process, call: program.Fsync) -> bool:
    """Write the dirty pages of a file, and wait until they are on its device."""
    memory, space = the_memory(kernel, process)
    file = _file(kernel, process, memory, call.file)
    memory.now, memory.cpu = kernel.sim.now, core.cpu
    flights = writeback.write_all(memory, space, file)
    if not flights:
        kernel.fetch(process, 0)
        return True
    ask = partial(writeback.when_landed, flights)
    _wait(kernel, core, process, Wait(f"fsync of {file.name}", [], _nothing, on=file.device, ask=ask), 0)
    return False


def truncate(kernel: Kernel, core: Core, process: Process, call: program.Truncate) -> bool:
    """Set the size of a file; pages beyond it are gone, also from who has them mapped."""
    memory, _ = the_memory(kernel, process)
    file = _file(kernel, process, memory, call.file)
    memory.now, memory.cpu = kernel.sim.now, core.cpu
    page_cache.truncate(memory, process.pid, file, -(-call.bytes // memory.page_bytes))
    kernel.fetch(process, 0)
    return True


def drop_caches(kernel: Kernel, core: Core, process: Process, _call: program.DropCaches) -> bool:
    """Drop the clean pages of files that nobody has mapped; return how many."""
    memory, _ = the_memory(kernel, process)
    memory.now, memory.cpu = kernel.sim.now, core.cpu
    kernel.fetch(process, page_cache.drop_clean(memory, process.pid))
    return True


def advise(kernel: Kernel, _core: Core, process: Process, call: program.Advise) -> bool:
    """Say how the process will use a file (posix_fadvise)."""
    memory, space = the_memory(kernel, process)
    file = _file(kernel, process, memory, call.file)
    page_cache.opened(memory, space, file).readahead.advice = call.advice
    kernel.fetch(process, 0)
    return True


def _nothing() -> None:
    """Do nothing."""


def _wait(kernel: Kernel, core: Core, process: Process, wait: Wait, result: int) -> None:
    """Let the process wait; then its call returns `result`, or -1 if the device has failed.

    No signal can take a request back.
    """
    memory, _ = the_memory(kernel, process)
    device = wait.transfers[0].device if wait.transfers else wait.on
    kernel.block(core, process, device, wait.reason, unblock=None)
    woken = partial(kernel.wake, process, "it is done", result)

    def done() -> None:
        kernel.cores.irq(max(0, process.cpu), "io", kernel.costs.io_interrupt_ns, "it is done", woken)

    def failed() -> None:
        kernel.cores.irq(max(0, process.cpu), "io", kernel.costs.io_interrupt_ns, "the device failed", told)

    told = partial(kernel.wake, process, "the device failed", -1)
    memory.begin(wait, process.pid, done, failed)


def _file(kernel: Kernel, process: Process, memory: Memory, name: str) -> File:
    file = memory.files.get(name)
    if file is None:
        known = ", ".join(memory.files) or "none"
        raise kernel.bad_program(process, f"there is no file {name!r:.40}; there are: {known}")
    return file


def the_memory(kernel: Kernel, process: Process) -> tuple[Memory, Space]:
    """Return the machine's memory, and the process's own part of it."""
    if kernel.memory is None or process.space is None:
        raise kernel.bad_program(process, "it uses files; give the machine memory: [memory] with size")
    return kernel.memory, process.space
