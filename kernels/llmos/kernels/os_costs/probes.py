"""What is measured of an operating system: the list, for a real machine and for one that is pretended."""

import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Final

from llmos.kernels.os_costs import cpu, files, memory
from llmos.kernels.os_costs.rounds import LackError, Probe, Sample

PRETENDED: Final = {
    "syscall": 200e-9,
    "context_switch": 3e-6,
    "wakeup": 20e-6,
    "minor_fault": 1e-6,
    "zero_page": 500e-9,
    "major_fault": 10e-6,
    "major_fault_wait": 100e-6,
    "file_read_warm": 300e-9,
    "file_read_warm_per_byte": 1e-10,
    "file_read_cold": 80e-6,
    "file_read_cold_per_byte": 4e-10,
    "direct_read": 80e-6,
    "direct_read_per_byte": 4e-10,
    "device_wait": 70e-6,
    "fsync": 400e-6,
    "fdatasync": 200e-6,
    "memory_copy_per_byte": 1e-10,
}
"""Seconds on the pretended machine."""


@contextmanager
def real_probes() -> Iterator[Mapping[str, Probe]]:
    """Yield what is measured on this machine, by what it is in words."""
    on_cpu: dict[str, Probe] = {
        "system calls": cpu.system_call,
        "context switches on one core": cpu.same_core,
        "wake-ups on another core": cpu.other_core,
        "minor faults": memory.minor_faults,
        "copying memory": memory.copying,
    }
    on_file: dict[str, Callable[[int], AbstractContextManager[Sample]]] = {
        "reads from the page cache": files.warm_reads,
        "cold reads": files.cold_reads,
        "direct reads": files.direct_reads,
        "major faults": files.major_faults,
        "fsync": files.syncing,
    }
    with ExitStack() as stack:
        try:
            scratch = stack.enter_context(files.scratch_file())
        except (LackError, OSError) as error:
            yield on_cpu | dict.fromkeys(on_file, partial(_lacking, error))
            return
        yield on_cpu | {what: partial(probe, scratch) for what, probe in on_file.items()}


def _lacking(error: Exception) -> AbstractContextManager[Sample]:
    raise error


def pretended_probes(*, ripple: float = 0.02, seed: int = 1) -> Mapping[str, Probe]:
    """Return probes that do nothing and report `PRETENDED`, give or take `ripple` of its logarithm."""
    draw = random.Random(seed)

    @contextmanager
    def probe(name: str, seconds: float) -> Iterator[Sample]:
        yield lambda: {name: seconds * math.exp(draw.gauss(0, ripple))}

    return {name: partial(probe, name, seconds) for name, seconds in PRETENDED.items()}
