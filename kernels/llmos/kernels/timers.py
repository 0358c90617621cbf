"""Timing operations on real devices.

- Inputs are cold: each run takes the next stretch of a pool larger than the last cache.
- CPU: one thread, and the CPU time of that thread, which another program's turn on the core does not
  enter. Short operations are run several times under one reading of the clock.
- CUDA: events on the stream, after the L2 cache was overwritten.
- What a way has to do first (compile, tune, record) is done before the clock starts; on CUDA, where
  libraries load a kernel when it is first called, any first run.
- Within `one_thread` torch uses one thread, and no attention of cuDNN's; after it, as before.
"""

import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from llmos.costs.ops import Matmul, Op, show_op
from llmos.errors import ProfileError
from llmos.kernels.accuracy import checked, error_of, pruned_error, stored_bytes
from llmos.kernels.device import EAGER, Examined
from llmos.kernels.ops import Kernel, kernel_of
from llmos.kernels.ops.dense import run_vector_add
from llmos.kernels.pool import Fresh, Pool
from llmos.kernels.ways import Run, first_line, prepare, record, way_lacks

SHORTEST_READING_S = 200e-6  # The clock itself takes about 1 us to read: at most half a percent of it.
MOST_RUNS_PER_READING = 64
USUAL_CACHE_BYTES = 32 * 2**20  # Where the system does not tell.
USUAL_GPU_CACHE_BYTES = 64 * 2**20  # Where torch does not tell.
LARGEST_POOL_BYTES = 512 * 2**20
LAUNCHES = 500


class CpuDevice:
    """One core, timed by the CPU time of one thread."""

    kind = "cpu"
    clock = "CPU time of one thread"

    def __init__(self) -> None:
        self._cache_bytes = last_cache_bytes()
        self._pool = Pool(min(2 * self._cache_bytes, LARGEST_POOL_BYTES), "cpu")
        self._runs: dict[tuple[Op, str], int] = {}

    @property
    def facts(self) -> Mapping[str, str]:
        return {
            "device": cpu_name(),
            "driver": f"CPU capability {torch.backends.cpu.get_cpu_capability()}",
            "torch": str(torch.__version__),
            "threads": str(torch.get_num_threads()),
            "last-level cache": f"{self._cache_bytes / 2**20:g} MiB",
        }

    def lacks(self, op: Op, way: str = EAGER) -> str:
        return lacks(op, way, "cpu")

    def sample(self, op: Op, way: str = EAGER) -> float:
        kernel = kernel_for(op, "cpu")
        run = prepare(kernel.run, way)
        runs = self._runs.get((op, way), 0)
        calls = [kernel.operands(op, self._pool) for _ in range(max(runs, 1))]
        if not runs and way != EAGER:
            first_run(op, way, run, calls[0])
        start = time.thread_time()
        for operands in calls:
            run(*operands)
        seconds = (time.thread_time() - start) / len(calls)
        if not runs:
            enough = SHORTEST_READING_S / max(seconds, 1e-7)
            self._runs[op, way] = max(1, min(MOST_RUNS_PER_READING, round(enough)))
        return seconds

    def launch(self, way: str = EAGER) -> float:
        x, y, out = (torch.zeros(1) for _ in range(3))
        run = prepare(run_vector_add, way)
        run(x, y, out)
        start = time.thread_time()
        for _ in range(LAUNCHES):
            run(x, y, out)
        return (time.thread_time() - start) / LAUNCHES

    def examine(self, op: Op, way: str = EAGER) -> Examined:
        return examined(op, way, "cpu")

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
        self._flush = torch.empty(2 * second_cache_bytes(), dtype=torch.uint8, device="cuda")
        self._ready: set[tuple[Op, str]] = set()

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

    def lacks(self, op: Op, way: str = EAGER) -> str:
        if op.arithmetic == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
            return "this GPU has no bf16"
        return lacks(op, way, "cuda")

    def sample(self, op: Op, way: str = EAGER) -> float:
        kernel = kernel_for(op, "cuda")
        operands = kernel.operands(op, self._pool)
        if way == "cuda-graph":  # A graph keeps the addresses that it was recorded with.
            recorded = operands
            run, operands = self._pool.once(("graph", op), lambda: record(kernel.run, *recorded)), ()
        else:
            run = prepare(kernel.run, way)
        if (op, way) not in self._ready:
            first_run(op, way, run, operands)
            self._ready.add((op, way))
        self._flush.zero_()  # Also hides the launch: the GPU is busy while the CPU sends the next call.
        return self._timed(run, *operands)

    def launch(self, way: str = EAGER) -> float:
        x, y, out = (torch.zeros(1, device="cuda") for _ in range(3))
        run = prepare(run_vector_add, way)

        def some(times: int) -> None:
            for _ in range(times):
                run(x, y, out)

        def seconds(times: int) -> float:
            call = record(some, times) if way == "cuda-graph" else lambda: some(times)
            call()
            return self._wall(call)

        # The slope: what is paid once falls out.
        return max((seconds(2 * LAUNCHES) - seconds(LAUNCHES)) / LAUNCHES, 1e-9)

    def examine(self, op: Op, way: str = EAGER) -> Examined:
        return examined(op, way, "cuda")

    def copy_rate(self) -> float:
        count = 32 * 2**20
        source, target = self._pool.take(count, "fp32", "in"), self._pool.take(count, "fp32", "out")
        self._flush.zero_()
        return 2 * count * 4 / self._timed(target.copy_, source)

    def _timed(self, call: Run, *operands: Any) -> float:
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        start.record()
        call(*operands)
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    def _wall(self, call: Run) -> float:
        torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        return time.perf_counter() - start


def lacks(op: Op, way: str, device: str) -> str:
    """Why that operation cannot be run this way on a "cpu" or "cuda" device, or "" when it can."""
    kernel = kernel_of(op, device)
    return kernel if isinstance(kernel, str) else way_lacks(op, way, device)


def kernel_for(op: Op, device: str) -> Kernel:
    """The operation's kernel; raises ProfileError when there is none."""
    kernel = kernel_of(op, device)
    if isinstance(kernel, str):
        raise ProfileError(f"{op.kind} cannot be run here: {kernel}")
    return kernel


def first_run(op: Op, way: str, run: Run, operands: Sequence[Any]) -> None:
    """Run what has not run yet: a compiler compiles, tiles are tuned, kernels are loaded.

    Raises ProfileError when that fails in a way that is not torch's own.
    """
    try:
        run(*operands)
    except Exception as error:
        raise ProfileError(f"{show_op(op)} cannot be run {way} here: {first_line(error)}") from error


def examined(op: Op, way: str, device: str) -> Examined:
    """The error of that operation run this way, and the memory it keeps."""
    kernel, fewer = kernel_for(op, device), checked(op)
    run, source = _finished(prepare(kernel.run, way), device), Fresh(device)
    if way == "pruned" and isinstance(fewer, Matmul):
        error = pruned_error(fewer, run, source)
    else:
        error = error_of(fewer, kernel_for(fewer, device), run, source)
    return Examined(error, stored_bytes(fewer, kernel, source), kernel.note)


def _finished(run: Run, device: str) -> Run:
    """`run`, which returns when its work is done: a copy to the host can be read then."""

    def call(*operands: Any) -> Any:
        result = run(*operands)
        torch.cuda.synchronize()
        return result

    return call if device == "cuda" else run


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread within the block, and as it was after it.

    On a GPU without cuDNN's attention, too. Torch 2.13 prefers it on Hopper, and it makes a plan for every
    new number of requests and length of context, which takes tens of milliseconds or more: decoding, that
    is every few iterations. An engine's attention has no such plans.
    """
    threads = torch.get_num_threads()
    plans: bool = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.set_num_threads(1)
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(plans)
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


def second_cache_bytes() -> int:
    """The size of the GPU's second-level cache, its last, or a usual one where torch does not tell."""
    about: Any = torch.cuda.get_device_properties()
    return int(getattr(about, "L2_cache_size", USUAL_GPU_CACHE_BYTES))


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
