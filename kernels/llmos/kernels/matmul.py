"""Real operations in torch: what each reads and writes, and the call that does it.

- An operation's sizes and dtype come from `llmos.costs.ops`; here are the tensors and the call.
- Weights lie as a model keeps them, one row per output, and are used transposed: on a CPU without
  bf16 instructions the other layout takes a different, ten times slower path.
- The result goes into a given tensor, so that no allocation is timed.
- A new operation is one entry in `KERNELS`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from llmos.costs.ops import Matmul, Op, VectorAdd

TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

# Takes a number of elements and a role, gives a flat tensor of that many: where operands come from.
Take = Callable[[int, str], Tensor]


@dataclass(frozen=True, slots=True)
class Kernel:
    """How to run one kind of operation.

    operands: tensors for one run, from a source of flat ones ("in" is read, "out" is written).
    run: does the work on these operands.
    """

    operands: Callable[[Op, Take], tuple[Tensor, ...]]
    run: Callable[..., object]


def run_matmul(x: Tensor, weight: Tensor, out: Tensor) -> Tensor:
    """`x` (m, k) by `weight` (k, n) into `out` (m, n)."""
    return torch.mm(x, weight, out=out)


def run_vector_add(x: Tensor, y: Tensor, out: Tensor) -> Tensor:
    """`x` (n) plus `y` (n) into `out` (n)."""
    return torch.add(x, y, out=out)


def _matmul_operands(op: Op, take: Take) -> tuple[Tensor, ...]:
    m, k, n = op.dims
    weight = take(n * k, "in").view(n, k).t()
    return take(m * k, "in").view(m, k), weight, take(m * n, "out").view(m, n)


def _vector_add_operands(op: Op, take: Take) -> tuple[Tensor, ...]:
    (n,) = op.dims
    return take(n, "in"), take(n, "in"), take(n, "out")


KERNELS: dict[str, Kernel] = {
    Matmul.kind: Kernel(_matmul_operands, run_matmul),
    VectorAdd.kind: Kernel(_vector_add_operands, run_vector_add),
}
