"""An engine's decode steps as CUDA graphs: recorded once for some sizes, replayed by a single launch.

- A graph repeats the same kernels at the same addresses. So a `Step` has a fixed number of requests, each
  reads a fixed number of blocks, and all that differs from one iteration to the next lies in one tensor.
- Requests are filled up to 1, 2, 4, 8, ... The rows that fill up are token 0 at position 0 in the cache's
  scratch block: they write nothing of anybody's, and nobody reads what they write.
- Contexts are filled up to whole blocks, as the eager attention fills them up; the mask hides the rest.
  So there is a graph for each number of blocks. Engines whose attention reads the context's length from
  memory need just one: that is the price of gathering.
- A step that is asked for first is recorded then; `ahead` records before the clock runs. Iterations with
  prompts are not recorded, and run eagerly.
- Without a GPU a step is run where it would be replayed: padding and all, for tests.

Source: vLLM records its decode steps so (Kwon et al., SOSP'23; vllm/v1/worker/gpu_model_runner.py).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from llmos.costs.decoder import Composition
from llmos.errors import LlmosError
from llmos.kernels.llama import Chunk, Iterates, Model, likeliest
from llmos.kernels.paged import PagedKv
from llmos.kernels.ways import Run, record

Recorder = Callable[[Run], Run]


def variant(model: Model, graph: str, *, requests: int = 0, context: int = 0) -> Iterates:
    """What runs that model's iterations as `graph` says: "eager" or "static", see `costs.variants.GRAPHS`.

    static: the steps of up to `requests` requests of up to `context` tokens are recorded now.
    Raises LlmosError when the model cannot be run so.
    """
    if graph == "eager":
        return model
    if graph != "static":
        raise LlmosError(f"no engine here runs {graph} graphs", hint="eager and static ones are there")
    if model.device != "cuda":
        raise LlmosError("CUDA graphs need a CUDA device", hint="run it eagerly: --graph eager")
    graphed = Graphed(model)
    graphed.ahead(requests, context)
    return graphed


class Step:
    """One decode step of `requests` requests that read `blocks` blocks each, whoever they are.

    Called, it gives the likeliest next token of each (requests), from what `fill` has put into place.
    Until then all rows are nobody's: it can be run, and recorded, without changing anything.
    """

    def __init__(self, model: Model, requests: int, blocks: int) -> None:
        self._model, self._sizes = model, [requests, requests, requests, requests * blocks]
        self._requests, self._blocks = requests, blocks
        self._inputs = torch.empty(sum(self._sizes), dtype=torch.int64, device=model.device)
        self.fill([])

    @torch.inference_mode()
    def fill(self, chunks: Sequence[Chunk]) -> None:
        """Put the new tokens of these requests into the first rows, in one copy; the others are nobody's."""
        kv, spare = self._model.kv, self._requests - len(chunks)
        idle = [kv.scratch] * self._blocks
        ids = [chunk.ids[0] for chunk in chunks] + [0] * spare
        at = [chunk.start for chunk in chunks] + [0] * spare
        tables = [[*chunk.blocks, *idle][: self._blocks] for chunk in chunks] + [idle] * spare
        slots = [kv.slots(table, start, 1)[0] for table, start in zip(tables, at, strict=True)]
        self._inputs.copy_(torch.tensor([*ids, *at, *slots, *(block for table in tables for block in table)]))

    @torch.inference_mode()
    def __call__(self) -> Tensor:
        ids, at, slots, tables = torch.split(self._inputs, self._sizes)
        rows = self._model.decoding(ids, at, slots, tables.view(self._requests, self._blocks))
        return likeliest(self._model.forward(rows))


class Graphed:
    """A model whose decode steps are recorded, and replayed.

    recorder: makes of a step what is called in its place; else `ways.record`, where there is a GPU.
    Raises LlmosError when the model's cache is not a paged one, for others are read at addresses that vary.
    """

    def __init__(self, model: Model, recorder: Recorder | None = None) -> None:
        if model.kv.layout != PagedKv.layout:
            raise LlmosError(
                f"a {model.kv.layout} cache cannot be read from a graph", hint="give the model a paged cache"
            )
        self.model = model
        self._record = recorder or recorder_for(model.device)
        self._steps: dict[tuple[int, int], tuple[Step, Run]] = {}

    @property
    def recorded(self) -> list[tuple[int, int]]:
        """The sizes of the steps there are: requests, and blocks that each reads."""
        return sorted(self._steps)

    def iterate(self, chunks: Sequence[Chunk]) -> list[int]:
        """Compute these chunks, and give the likeliest next token of those that want one."""
        if not all(len(chunk.ids) == 1 for chunk in chunks):
            return self.model.iterate(chunks)
        for chunk in chunks:
            self.model.check(chunk)
        step, replay = self._step(len(chunks), max(chunk.context for chunk in chunks))
        step.fill(chunks)
        tokens = replay().tolist()
        return [token for token, chunk in zip(tokens, chunks, strict=False) if chunk.wants_logits]

    def compose(self, chunks: Sequence[Chunk]) -> Composition:
        """What this batch is to the cost model, before it is filled up."""
        return self.model.compose(chunks)

    def ahead(self, requests: int, context: int) -> None:
        """Record every step of up to so many requests of up to so many tokens each."""
        width = self.model.kv.block_tokens
        sizes = {filled(count) for count in range(1, requests + 1)}
        for size in sorted(sizes, reverse=True):  # The largest first: the others find their memory there.
            for end in range(-(-context // width) * width, 0, -width):
                self._step(size, end)

    def _step(self, requests: int, context: int) -> tuple[Step, Run]:
        size = filled(requests), -(-context // self.model.kv.block_tokens)
        if size not in self._steps:
            step = Step(self.model, *size)
            self._steps[size] = step, self._record(step)
        return self._steps[size]


def filled(requests: int) -> int:
    """How many requests a step is recorded for that serves so many: the next power of two."""
    return 1 << (requests - 1).bit_length()


def recorder_for(device: str) -> Recorder:
    """`record` with one memory for all graphs on "cuda"; elsewhere what leaves a step as it is."""
    if device != "cuda":
        return lambda step: step
    pool: Any = torch.cuda.graph_pool_handle()
    return partial(record, pool=pool)
