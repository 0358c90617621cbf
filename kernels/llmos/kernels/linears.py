"""The products of a real model, by how their weights are stored.

- Dense weights are torch's own linear layer. The other formats are the kernels of `llmos.kernels.ops`,
  packed once, when the model is made.
- A kernel is chosen by the size of the weight, never by that of the batch: what one request gets does
  not depend on who is beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from inspect import signature
from typing import Any

import torch.nn.functional as F  # noqa: N812 — as everybody calls it
from torch import Tensor

from llmos.costs.decoder import ModelShape
from llmos.costs.ops import Matmul
from llmos.errors import ProfileError
from llmos.kernels.ops import kernel_of
from llmos.kernels.ops.base import TORCH_DTYPES

Linear = Callable[[Tensor], Tensor]
"""A product with weights: (T, k) to (T, n)."""


@dataclass(frozen=True, slots=True)
class Dense:
    """A product with a weight (n, k), one row for each output."""

    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


@dataclass(frozen=True, slots=True)
class Stored:
    """A product by a kernel that keeps the weight of `outputs` outputs in a format of its own."""

    run: Callable[..., Tensor]
    kept: tuple[Any, ...]
    outputs: int
    writes: bool
    """Whether the kernel wants a place for its result."""

    def __call__(self, x: Tensor) -> Tensor:
        place = (x.new_empty(len(x), self.outputs),) if self.writes else ()
        return self.run(x, *self.kept, *place)


def linear_of(shape: ModelShape) -> Callable[[Tensor], Linear]:
    """What makes a product of a dense weight (n, k), in the format of that model."""
    return Dense if shape.weights == "dense" else partial(_stored, shape)


def _stored(shape: ModelShape, weight: Tensor) -> Linear:
    """The product with that weight; raises ProfileError when no kernel here can store it so."""
    n, k = weight.shape
    kernel = kernel_of(Matmul(1, k, n, shape.dtype, shape.weights), weight.device.type)
    if isinstance(kernel, str) or kernel.pack is None or weight.dtype != TORCH_DTYPES[shape.dtype]:
        why = (
            kernel
            if isinstance(kernel, str)
            else f"no kernel keeps {shape.weights} weights in {weight.dtype}"
        )
        raise ProfileError(f"a model with {shape.weights} weights cannot run here: {why}")
    return Stored(kernel.run, kernel.pack(weight), n, "out" in signature(kernel.run).parameters)
