"""Weights with fewer numbers: whole outputs left out, or two of every four.

- Structured pruning leaves a smaller dense product: faster anywhere, and what is gone is gone.
- 2:4: of every four weights in a row two are zero and not stored. NVIDIA's tensor cores skip them, from
  Ampere on; no other device gains anything.
- Which weights go is decided by their size alone. Real methods look at the activations too, and train
  again afterwards.

Source: Mishra et al., Accelerating Sparse Deep Neural Networks, 2021 (arXiv 2104.08378).
"""

import warnings
from typing import Any

import torch
from torch import Tensor

from llmos.costs.ops import Matmul
from llmos.kernels.ops.base import Kernel, Source
from llmos.kernels.ops.dense import activations, exact_matmul


def prune_outputs(weight: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """`weight` (n, k) without that share (0 to below 1) of its rows, and the numbers of those kept.

    The rows with the smallest sums of squares go. At least one stays.
    """
    keep = max(1, weight.shape[0] - round(share * weight.shape[0]))
    kept = weight.float().square().sum(1).topk(keep).indices.sort().values
    return weight[kept], kept


def prune_2_of_4(weight: Tensor) -> Tensor:
    """`weight` (n, k), k a multiple of 4, with the two smallest of every four in a row made zero."""
    fours = weight.view(-1, 4)
    smallest = fours.float().abs().argsort(1)[:, :2]
    return fours.scatter(1, smallest, 0.0).view(weight.shape)


def is_2_of_4(weight: Tensor) -> bool:
    """Whether of every four numbers in a row at most two are not zero."""
    return bool(((weight.view(-1, 4) != 0).sum(1) <= 2).all())


def run_2_of_4(x: Tensor, weight: Any) -> Tensor:
    """`x` (m, k) by `weight` (n, k), stored as 2:4."""
    return torch.nn.functional.linear(x, weight)


def pack_2_of_4(weight: Tensor) -> tuple[Any]:
    """`weight` (n, k), pruned and stored as 2:4."""
    from torch.sparse import to_sparse_semi_structured

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that its interface may change
        return (to_sparse_semi_structured(prune_2_of_4(weight)),)


def _operands(op: Matmul, source: Source) -> tuple[Any, ...]:
    def make() -> Any:
        return pack_2_of_4(source.take(op.n * op.k, op.dtype).view(op.n, op.k))[0]

    return activations(op, source), source.once(("2:4", op.k, op.n, op.dtype), make)


def _stored(_x: Tensor, weight: Any) -> tuple[Tensor, ...]:
    """The numbers that are left and where they were: one tensor of cuSPARSELt's."""
    return tuple(part for part in (weight.packed, weight.meta) if part is not None)


def _lacks(op: Matmul, device: str) -> str:
    if device != "cuda" or torch.cuda.get_device_capability() < (8, 0):
        return "2:4 sparsity needs an NVIDIA GPU, Ampere or later"
    if not torch.backends.cusparselt.is_available():
        return "this torch is built without cuSPARSELt"
    if op.dtype not in ("bf16", "fp16"):
        return "torch has 2:4 sparsity in bf16 and fp16"
    return "" if op.k % 16 == 0 and op.n % 16 == 0 else "k and n must be multiples of 16"


SPARSE = Kernel(
    _operands, run_2_of_4, exact_matmul, _stored, pack_2_of_4, _lacks,
    "torch.sparse.to_sparse_semi_structured",
)  # fmt: skip
