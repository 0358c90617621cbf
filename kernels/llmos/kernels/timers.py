"""Timing operations on real devices.

- Inputs are cold: each run takes the next stretch of a pool larger than the last cache, as a model
  that walks through its weights does. They are random, not zeros.
- CPU: one thread, and the CPU time of that thread, which another program's turn on the core does not
  enter. Short operations are run several times under one reading of the clock.
- CUDA: events on the stream, after the L2 cache was overwritten.
- Within `one_thread` torch uses one thread; after it, as many as before.
"""

import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llmos.costs.ops import Op, VectorAdd
from llmos.kernels.matmul import KERNELS, TORCH_DTYPES

SHORTEST_READING_S = 200e-6  # The clock itself takes about 1 us to read: at most half a percent of it.
MOST_RUNS_PER_READING = 64
USUAL_CACHE_BYTES = 32 * 2**20  # Where the system does not tell.
LARGEST_POOL_BYTES = 512 * 2**20
RANDOM_STRETCH = 2**20  # Numbers drawn; the ring repeats them, for what counts is where they lie.


class Pool:
    """Flat tensors of random numbers, handed out in turn from a ring larger than the cache."""

    def __init__(self, size_bytes: int, device: str) -> None:
        self._bytes = size_bytes
        self._device = device
        self._rings: dict[tuple[str, str], Tensor] = {}
        self._next: dict[tuple[str, str], int] = {}

    def take(self, count: int, dtype: str, role: str) -> Tensor:
        """The next `count` elements; what is read ("in") never overlaps what is written ("out")."""
        key = (dtype, role)
        ring = self._rings.get(key)
        if ring is None or ring.numel() < count:
            self._next[key] = 0
            ring = self._rings[key] = self._filled(count, TORCH_DTYPES[dtype])
        start = self._next[key]
        if start + count > ring.numel():
            start = 0
        self._next[key] = start + count
        return ring[start : start + count]

    def _filled(self, count: int, dtype: torch.dtype) -> Tensor:
        elements = max(self._bytes // dtype.itemsize, count)
        stretch = torch.randn(RANDOM_STRETCH, device=self._device).to(dtype)
        return stretch.repeat(-(-elements // RANDOM_STRETCH))


class CpuDevice:
    """One core, timed by the CPU time of one thread."""

    kind = "cpu"
    clock = "CPU time of one thread"

    def __init__(self) -> None:
        self._cache_bytes = last_cache_bytes()
        self._pool = Pool(min(2 * self._cache_bytes, LARGEST_POOL_BYTES), "cpu")
        self._runs: dict[Op, int] = {}

    @property
    def facts(self) -> Mapping[str, str]:
        return {
            "device": cpu_name(),
            "driver": f"CPU capability {torch.backends.cpu.get_cpu_capability()}",
            "torch": str(torch.__version__),
            "threads": str(torch.get_num_threads()),
            "last-level cache": f"{self._cache_bytes / 2**20:g} MiB",
        }

    def lacks(self, op: Op) -> str:
        return lacks(op)

    def sample(self, op: Op) -> float:
        kernel = KERNELS[op.kind]
        runs = self._runs.get(op, 1)
        calls = [
            kernel.operands(op, lambda n, role: self._pool.take(n, op.arithmetic, role)) for _ in range(runs)
        ]
        run = kernel.run
        start = time.thread_time()
        for operands in calls:
            run(*operands)
        seconds = (time.thread_time() - start) / runs
        if op not in self._runs:
            enough = SHORTEST_READING_S / max(seconds, 1e-7)
            self._runs[op] = max(1, min(MOST_RUNS_PER_READING, round(enough)))
        return seconds

    def launch(self) -> float:
        x, y, out = (torch.zeros(1) for _ in range(3))
        run = KERNELS[VectorAdd.kind].run
        start = time.thread_time()
        for _ in range(500):
            run(x, y, out)
        return (time.thread_time() - start) / 500

    def copy_rate(self) -> float:
        count = self._cache_bytes // 4  # As many bytes as the cache, of a ring twice as large.
        source, target = self._pool.take(count, "fp32", "in"), self._pool.take(count, "fp32", "out")
        start = time.thread_time()
        target.copy_(source)
        return 2 * count * 4 / (time.thread_time() - start)


class CudaDevice:
    """The current CUDA device, timed by events on its stream."""

    kind = "cuda"
    clock = "CUDA events, L2 flushed"

    def __init__(self) -> None:
        torch.cuda.init()  # type: ignore[no-untyped-call]
        self._about: Any = torch.cuda.get_device_properties()
        self._pool = Pool(256 * 2**20, "cuda")
        cache_bytes = int(getattr(self._about, "L2_cache_size", 64 * 2**20))
        self._flush = torch.empty(2 * cache_bytes, dtype=torch.uint8, device="cuda")

    @property
    def facts(self) -> Mapping[str, str]:
        return {
            "device": str(self._about.name),
            "driver": f"CUDA {torch.version.cuda}",
            "torch": str(torch.__version__),
            "threads": "1",
            "compute capability": f"{self._about.major}.{self._about.minor}",
            "memory": f"{self._about.total_memory / 2**30:.0f} GiB",
        }

    def lacks(self, op: Op) -> str:
        if op.arithmetic == "bf16" and not torch.cuda.is_bf16_supported():
            return "this GPU has no bf16"
        return lacks(op)

    def sample(self, op: Op) -> float:
        kernel = KERNELS[op.kind]
        operands = kernel.operands(op, lambda n, role: self._pool.take(n, op.arithmetic, role))
        self._flush.zero_()  # Also hides the launch: the GPU is busy while the CPU sends the next call.
        return self._timed(kernel.run, *operands)

    def launch(self) -> float:
        x, y, out = (torch.zeros(1, device="cuda") for _ in range(3))
        run = KERNELS[VectorAdd.kind].run
        few, many = (self._wall(runs, run, x, y, out) for runs in (100, 1100))
        return max((many - few) / 1000, 1e-9)  # The slope: what is paid once falls out.

    def copy_rate(self) -> float:
        count = 32 * 2**20
        source, target = self._pool.take(count, "fp32", "in"), self._pool.take(count, "fp32", "out")
        self._flush.zero_()
        return 2 * count * 4 / self._timed(target.copy_, source)

    def _timed(self, call: Any, *operands: Tensor) -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        start.record()
        call(*operands)
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    def _wall(self, runs: int, call: Any, *operands: Tensor) -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(runs):
            call(*operands)
        torch.cuda.synchronize()
        return time.perf_counter() - start


def lacks(op: Op) -> str:
    """Why there is no kernel for that operation, or "" when there is."""
    if op.arithmetic not in TORCH_DTYPES:
        return f"no kernel here computes in {op.arithmetic}"
    return "" if op.kind in KERNELS else f"there is no kernel for {op.kind}"


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread within the block, and as it was after it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)


def cuda_is_there() -> bool:
    """Whether torch can use a CUDA device here."""
    return torch.cuda.is_available()


def cpu_name() -> str:
    """The model name of the CPU, without anything that tells whose machine it is."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine() or "unknown CPU"


def last_cache_bytes() -> int:
    """The size of the largest cache that the first core can use, or a usual one where nobody tells."""
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        try:
            text = path.read_text(encoding="utf-8").strip()
            sizes.append(int(text.rstrip("KM")) * {"K": 2**10, "M": 2**20}.get(text[-1:], 1))
        except (OSError, ValueError):
            continue
    return max(sizes, default=USUAL_CACHE_BYTES)
