"""Products of dense matrices and sums of vectors.

- Weights lie as a model keeps them, one row per output, and are used transposed: on a CPU without
  bf16 instructions the other layout takes a different, ten times slower path.
"""

from typing import Any

import torch
from torch import Tensor

from llmos.costs.ops import BatchedMatmul, Matmul, VectorAdd
from llmos.kernels.ops.base import Kernel, Source


def run_matmul(x: Tensor, weight: Tensor, out: Tensor) -> Tensor:
    """`x` (m, k) by `weight` (k, n) into `out` (m, n)."""
    return torch.mm(x, weight, out=out)


def run_batched_matmul(x: Tensor, y: Tensor, out: Tensor) -> Tensor:
    """`x` (batch, m, k) by `y` (batch, k, n) into `out` (batch, m, n)."""
    return torch.bmm(x, y, out=out)


def run_vector_add(x: Tensor, y: Tensor, out: Tensor) -> Tensor:
    """`x` (n) plus `y` (n) into `out` (n)."""
    return torch.add(x, y, out=out)


def exact_matmul(x: Tensor, weight: Tensor, *_: Any) -> Tensor:
    """The product in float64."""
    return x.double() @ weight.double()


def exact_vector_add(x: Tensor, y: Tensor, *_: Any) -> Tensor:
    """The sum in float64."""
    return x.double() + y.double()


def activations(op: Matmul, source: Source) -> Tensor:
    """The (m, k) inputs of a product."""
    return source.take(op.m * op.k, op.dtype).view(op.m, op.k)


def results(op: Matmul, source: Source) -> Tensor:
    """A place for the (m, n) results of a product."""
    return source.take(op.m * op.n, op.dtype, "out").view(op.m, op.n)


def _matmul_operands(op: Matmul, source: Source) -> tuple[Tensor, ...]:
    weight = source.take(op.n * op.k, op.dtype).view(op.n, op.k)
    return activations(op, source), weight.t(), results(op, source)


def _batched_operands(op: BatchedMatmul, source: Source) -> tuple[Tensor, ...]:
    x = source.take(op.batch * op.m * op.k, op.dtype).view(op.batch, op.m, op.k)
    # As keys lie, one row per output.
    y = source.take(op.batch * op.n * op.k, op.dtype).view(op.batch, op.n, op.k).transpose(1, 2)
    return x, y, source.take(op.batch * op.m * op.n, op.dtype, "out").view(op.batch, op.m, op.n)


def _vector_add_operands(op: VectorAdd, source: Source) -> tuple[Tensor, ...]:
    x, y = source.take(op.n, op.dtype), source.take(op.n, op.dtype)
    return x, y, source.take(op.n, op.dtype, "out")


MATMUL = Kernel(_matmul_operands, run_matmul, exact_matmul, stored=lambda _x, weight, _out: (weight,))
BATCHED_MATMUL = Kernel(_batched_operands, run_batched_matmul, exact_matmul)
VECTOR_ADD = Kernel(_vector_add_operands, run_vector_add, exact_vector_add)
