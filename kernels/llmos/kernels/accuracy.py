"""How far a kernel's answer is from the exact one, and how much memory it keeps.

- The error of an answer is the root of its mean squared distance from the exact one, over the root mean
  square of the exact one: 0.01 is noise of one percent. Exact is the plain formula in float64, from the
  same inputs; for weights that were quantised or pruned, from the weights before that.
- Weights are drawn from a normal distribution. Real ones have outliers, which groups of 128 bear better
  than whole rows.
- For sampling it is the share of rows for which another token was chosen.
- A large operation is checked on less of its running size (fewer rows, a shorter context), for float64 is
  slow.
"""

import dataclasses
from typing import Any

import torch
from torch import Tensor

from llmos.costs.ops import Matmul, Op
from llmos.kernels.ops import TORCH_DTYPES, Kernel, Source
from llmos.kernels.ops.sparse import prune_outputs
from llmos.kernels.ways import Run

MOST_FLOPS = 2**29
PRUNED_SHARE = 0.5
"""Of the outputs of a layer that `pruned` takes away."""


def checked(op: Op) -> Op:
    """`op`, so small that it can be checked quickly."""
    every: Any = op
    name, rows = op.sizes()[0], op.dims[0]
    fewer = max(1, min(rows, rows * MOST_FLOPS // max(op.flops, 1)))
    smaller: Op = dataclasses.replace(every, **{name: fewer})
    return smaller


def error_of(op: Op, kernel: Kernel, run: Run, source: Source) -> float:
    """The relative error of `run` on random operands of `op`."""
    if isinstance(op, Matmul) and kernel.pack is not None:
        operands, weight = _packed(op, kernel, source)
        exact = kernel.exact(operands[0], weight.t())
    else:
        operands = kernel.operands(op, source)
        exact = kernel.exact(*operands)
    return difference(run(*operands), exact)


def pruned_error(op: Matmul, run: Run, source: Source) -> float:
    """The error of a layer of twice `op`'s outputs of which only the larger half were kept."""
    dtype = TORCH_DTYPES[op.dtype]
    x = source.take(op.m * op.k, op.dtype).view(op.m, op.k)
    whole = source.take(2 * op.n * op.k, op.dtype).view(2 * op.n, op.k)
    fewer, kept = prune_outputs(whole, PRUNED_SHARE)
    answer = torch.zeros(op.m, 2 * op.n, dtype=dtype, device=x.device)
    answer[:, kept] = run(x, fewer.t(), torch.empty(op.m, op.n, dtype=dtype, device=x.device))
    return difference(answer, x.double() @ whole.double().t())


def difference(answer: Tensor, exact: Tensor) -> float:
    """How far `answer` is from `exact`; both of one shape."""
    if not exact.dtype.is_floating_point:
        return float((answer != exact).double().mean())
    distance = (answer.double() - exact).square().mean().sqrt()
    return float(distance / exact.square().mean().sqrt().clamp(min=torch.finfo(torch.float64).tiny))


def stored_bytes(op: Op, kernel: Kernel, source: Source) -> int:
    """The bytes that a model keeps for this operation: weights as they are stored, keys and values."""
    stored = kernel.stored(*kernel.operands(op, source))
    return sum(tensor.numel() * tensor.element_size() for tensor in stored)


def _packed(op: Matmul, kernel: Kernel, source: Source) -> tuple[tuple[Any, ...], Tensor]:
    """Operands with weights stored as that kernel wants them, and these weights before."""
    weight = source.take(op.n * op.k, op.dtype).view(op.n, op.k)
    timed = kernel.operands(op, source)
    stored = kernel.pack(weight) if kernel.pack else ()
    return (timed[0], *stored, *timed[1 + len(stored) :]), weight
