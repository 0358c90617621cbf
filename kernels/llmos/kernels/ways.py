"""Ways to run a kernel: call by call, compiled, as a graph, or by another implementation.

- eager: each of torch's calls is looked up and launched in turn.
- compiled: `torch.compile` fuses the calls into one kernel, anew for each shape (a static graph).
- compiled-dynamic: the same, once for all shapes: their sizes stay variables.
- cuda-graph: the calls are recorded once, with their addresses, and replayed by a single launch.
- blocked, triton: a product by our own tiles, in plain torch or in Triton.
- pruned: as eager; the operation is what is left of a larger one, some of whose outputs were taken away.
- What a machine lacks for a way is a sentence, not a traceback: a compiler, a GPU, Triton.
"""

import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch

from llmos.costs.ops import Matmul, Op
from llmos.kernels.ops.blocked import run_blocked
from llmos.kernels.ops.dense import run_vector_add

Run = Callable[..., Any]
MOST_SHAPES = 4096
"""For each of which a function may be compiled anew; torch's own limit of 8 ends in eager, silently."""


def way_lacks(op: Op, way: str, device: str) -> str:
    """Why that operation cannot be run this way on a "cpu" or "cuda" device; "" when it can."""
    match way:
        case "compiled" | "compiled-dynamic":
            if op.kind == "copy" or getattr(op, "weights", "dense") == "2:4":
                return "there is nothing to compile"
            return compiler_lacks(device)
        case "cuda-graph" if device != "cuda":
            return "CUDA graphs need a CUDA device"
        case "cuda-graph" if op.kind == "copy" and op.dims and op.link != "memory":
            return "a copy from or to the host is no kernel"
        case "blocked" | "triton" if not _dense(op):
            return "our own tiles are for products of dense matrices"
        case "triton" if device != "cuda":
            return "Triton needs a GPU"
        case "triton" if find_spec("triton") is None:
            return "Triton is not installed"
        case "pruned" if not _dense(op):
            return "what is pruned here are the outputs of a dense product"
    return ""


def prepare(run: Run, way: str) -> Run:
    """`run`, to be called this way; cuda-graph is prepared with its operands, by `record`."""
    match way:
        case "compiled" | "compiled-dynamic":
            return compiled(run, dynamic=way == "compiled-dynamic")
        case "blocked":
            return run_blocked
        case "triton":
            from llmos.kernels.ops.triton_matmul import run_triton

            return run_triton
    return run


@cache
def compiled(run: Run, *, dynamic: bool) -> Run:
    """`run`, compiled at its first call, and again for what it was not compiled for.

    It is one graph or an error: no part of it is left to Python.
    """
    fast = torch.compile(run, dynamic=dynamic, fullgraph=True)

    def call(*operands: Any) -> Any:
        return fast(*operands)

    return call


def record(run: Run, *operands: Any, pool: Any = None) -> Run:
    """A CUDA graph of `run` on these operands, as a call without arguments that returns its result.

    Before it is recorded it is run three times, with all that it does to its operands. pool: from
    `torch.cuda.graph_pool_handle`, for graphs that never run side by side: they share the memory of what
    lies between their calls.
    Source: torch.cuda.CUDAGraph; the calls before recording are those that it asks for.
    """
    aside = _aside()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            run(*operands)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool, stream=aside):
        result = run(*operands)

    kept = result, operands  # A graph knows addresses only; what is there must stay.

    def replay() -> Any:
        graph.replay()
        return kept[0]

    return replay


@cache
def _aside() -> torch.cuda.Stream:
    """The stream that everything is run on before it is recorded, and then recorded on.

    cuBLAS has a workspace for each stream. Made by the calls before, it outlives every graph; made while
    the first graph is recorded it would be freed with that one, and the others would go on using it.
    """
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


@cache
def compiler_lacks(device: str) -> str:
    """Why `torch.compile` does not work here; "" when it does. The first time takes seconds: it tries."""
    torch._dynamo.config.recompile_limit = MOST_SHAPES  # noqa: SLF001 — it has no public name
    x = torch.ones(8, device=device)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch has to say of itself
            compiled(run_vector_add, dynamic=False)(x, x, torch.empty_like(x))
    except Exception as error:  # noqa: BLE001 — whatever it is, nothing can be compiled
        cure = "install g++, or name a compiler in CXX" if device == "cpu" else "it needs Triton"
        return f"torch.compile does not work here ({first_line(error)}); {cure}"
    return ""


def first_line(error: Exception) -> str:
    """What an error of somebody else's says, in short."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:120]


def _dense(op: Op) -> bool:
    return isinstance(op, Matmul) and op.weights == "dense"
