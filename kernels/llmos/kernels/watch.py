"""Timing a real model's iterations, whole and operation by operation, where they happen.

- `CpuWatch` takes the CPU time of this thread, `CudaWatch` events on the stream. As an observer of
  `Model.step` it times every operation of an iteration; else it only times what is run under it.
- `RealIterations` runs batches that nobody sent: requests of random tokens, the blocks of each in a row
  somewhere in a cache larger than the processor's own. What they say means nothing; what they cost does.
"""

import random
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from llmos.costs.decoder import Composition, ModelShape
from llmos.costs.ops import Op
from llmos.kernels.llama import Chunk, Model, Observe
from llmos.kernels.steady import PROBE
from llmos.kernels.timers import last_cache_bytes, second_cache_bytes

T = TypeVar("T")
FEWEST_BLOCKS = 256


class Watch(Observe, Protocol):
    """Times what runs under it, and as an observer each operation."""

    def whole(self, run: Callable[[], T]) -> tuple[T, float]:
        """What `run` gives, and the seconds that it took."""
        ...

    def parts(self) -> dict[Op, list[float]]:
        """The seconds of every run of each operation observed since this was last asked."""
        ...


class CpuWatch:
    """CPU time of this thread: another program's turn on the core does not enter."""

    def __init__(self) -> None:
        self._taken: defaultdict[Op, list[float]] = defaultdict(list)

    def __call__(self, op: Op, work: Callable[..., Tensor], *operands: object) -> Tensor:
        start = time.thread_time()
        out = work(*operands)
        self._taken[op].append(time.thread_time() - start)
        return out

    def whole(self, run: Callable[[], T]) -> tuple[T, float]:
        start = time.thread_time()
        out = run()
        return out, time.thread_time() - start

    def parts(self) -> dict[Op, list[float]]:
        taken, self._taken = self._taken, defaultdict(list)
        return taken


class CudaWatch:
    """Events on the stream: from when the GPU reaches a call until it is through with it."""

    def __init__(self) -> None:
        self._taken: defaultdict[Op, list[tuple[torch.cuda.Event, torch.cuda.Event]]] = defaultdict(list)

    def __call__(self, op: Op, work: Callable[..., Tensor], *operands: object) -> Tensor:
        start, end = _event(), _event()
        start.record()
        out = work(*operands)
        end.record()
        self._taken[op].append((start, end))
        return out

    def whole(self, run: Callable[[], T]) -> tuple[T, float]:
        start, end = _event(), _event()
        torch.cuda.synchronize()
        start.record()
        out = run()
        end.record()
        end.synchronize()
        return out, start.elapsed_time(end) / 1e3

    def parts(self) -> dict[Op, list[float]]:
        torch.cuda.synchronize()
        taken, self._taken = self._taken, defaultdict(list)
        return {op: [start.elapsed_time(end) / 1e3 for start, end in pairs] for op, pairs in taken.items()}


def watch_for(device: str) -> Watch:
    """The watch for "cpu" or "cuda"."""
    return CudaWatch() if device == "cuda" else CpuWatch()


def probe_blocks(block_tokens: int) -> int:
    """How many blocks of a cache a probe needs."""
    return sum(-(-context // block_tokens) for context in PROBE.decode)


def probe_of(model: Model, watch: Watch, first: int) -> Callable[[], float]:
    """Runs `steady.PROBE` on `model`, in its blocks from number `first` on, and gives the seconds."""
    chunks = []
    for context in PROBE.decode:
        blocks = range(first, first + -(-context // model.kv.block_tokens))
        chunks.append(Chunk([1], context - 1, blocks))
        first = blocks.stop
    return lambda: watch.whole(partial(model.iterate, chunks))[1]


class RealIterations:
    """Iterations of a real model of that shape, on "cpu" or "cuda"."""

    def __init__(self, shape: ModelShape, device: str = "cpu", *, context: int, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._watch = watch_for(device)
        probe = Composition()
        cache_bytes = second_cache_bytes() if device == "cuda" else last_cache_bytes()
        wanted = 2 * cache_bytes // (shape.kv_bytes_per_token * probe.block_tokens)
        blocks = max(FEWEST_BLOCKS, wanted, -(-context // probe.block_tokens))
        self.model = Model(shape, blocks, seed=seed, device=device, positions=context)
        for layer in self.model.kv.layers:
            layer.normal_()

    def seconds(self, batch: Composition) -> float:
        """The time of one iteration, with nobody watching its parts."""
        chunks = self._chunks(batch)
        return self._watch.whole(lambda: self.model.iterate(chunks))[1]

    def parts(self, batch: Composition) -> dict[Op, list[float]]:
        """The times of each operation of one iteration, one for each of its runs."""
        self.model.iterate(self._chunks(batch), self._watch)
        return self._watch.parts()

    def _chunks(self, batch: Composition) -> list[Chunk]:
        """Requests as in that batch; the last of them do not ask for a token when not all do."""
        sizes = [(1, context) for context in batch.decode] + list(batch.prefill)
        return [
            self._chunk(new, context, number < batch.sampled) for number, (new, context) in enumerate(sizes)
        ]

    def _chunk(self, new: int, context: int, wants_logits: bool) -> Chunk:  # noqa: FBT001
        kv, draw = self.model.kv, self._random
        # In a row, as the pager gives them out: scattered ones take up to a quarter longer to gather.
        first = draw.randrange(kv.blocks)
        blocks = [(first + i) % kv.blocks for i in range(-(-context // kv.block_tokens))]
        ids = draw.choices(range(self.model.shape.vocab), k=new)
        return Chunk(ids, context - new, blocks, wants_logits)


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
