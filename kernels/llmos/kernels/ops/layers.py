"""The small operations of a decoder between its products."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from llmos.costs.ops import Embedding, RmsNorm, Rotary, Sampling, Softmax, SwiGlu
from llmos.kernels.ops.base import Kernel, Source

EPSILON = 1e-6
"""Added to the mean square of a row, lest a row of zeros is divided by zero."""


def run_rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """Each row of `x` (tokens, hidden) over its root mean square, times `weight` (hidden)."""
    return functional.rms_norm(x, weight.shape, weight, EPSILON)


def run_rotary(x: Tensor, cosine: Tensor, sine: Tensor, out: Tensor) -> Tensor:
    """The vectors `x` (tokens, heads, d), turned pair by pair, into `out`.

    cosine, sine: of each token's angles (tokens, 1, d/2). A pair is a number of the first half and the
    one at the same place of the second half.
    """
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    turned = (first * cosine).addcmul_(second, sine, value=-1), (second * cosine).addcmul_(first, sine)
    return torch.cat(turned, -1, out=out)


def run_swiglu(gate: Tensor, up: Tensor, out: Tensor) -> Tensor:
    """silu(`gate`) times `up`, both (tokens, ffn), into `out`."""
    return torch.mul(functional.silu(gate), up, out=out)


def run_embedding(table: Tensor, tokens: Tensor, out: Tensor) -> Tensor:
    """The rows `tokens` of `table` (vocab, hidden) into `out` (tokens, hidden)."""
    return torch.index_select(table, 0, tokens, out=out)


def run_softmax(x: Tensor, out: Tensor) -> Tensor:
    """The softmax of each row of `x` (rows, width) into `out`."""
    return torch.softmax(x, -1, out=out)


def run_sampling(x: Tensor, out: Tensor) -> Tensor:
    """The place of the largest number of each row of `x` (rows, vocab) into `out` (rows), int64."""
    return torch.argmax(x, -1, out=out)


def exact_rms_norm(x: Tensor, weight: Tensor) -> Tensor:
    """The same in float64."""
    x = x.double()
    return x / (x.square().mean(-1, keepdim=True) + EPSILON).sqrt() * weight.double()


def exact_rotary(x: Tensor, cosine: Tensor, sine: Tensor, *_: Any) -> Tensor:
    """The same in float64: each pair is a complex number, turned by another."""
    first, second = x.double().chunk(2, -1)
    turned = torch.complex(first, second) * torch.complex(cosine.double(), sine.double())
    return torch.cat([turned.real, turned.imag], -1)


def exact_swiglu(gate: Tensor, up: Tensor, *_: Any) -> Tensor:
    """The same in float64."""
    return gate.double() / (1 + (-gate.double()).exp()) * up.double()


def exact_softmax(x: Tensor, *_: Any) -> Tensor:
    """The same in float64."""
    powers = (x.double() - x.double().amax(-1, keepdim=True)).exp()
    return powers / powers.sum(-1, keepdim=True)


def _rows(op: Any, source: Source, rows: int, width: int, role: str = "in") -> Tensor:
    return source.take(rows * width, op.dtype, role).view(rows, width)


def _rms_norm_operands(op: RmsNorm, source: Source) -> tuple[Tensor, ...]:
    return _rows(op, source, op.tokens, op.hidden), source.take(op.hidden, op.dtype)


def _rotary_operands(op: Rotary, source: Source) -> tuple[Tensor, ...]:
    shape, half = (op.tokens, op.heads, op.head_dim), op.head_dim // 2
    x, out = (source.take(op.tokens * op.heads * op.head_dim, op.dtype, role).view(shape)
              for role in ("in", "out"))  # fmt: skip
    cosine, sine = (source.take(op.tokens * half, op.dtype).view(op.tokens, 1, half) for _ in range(2))
    return x, cosine, sine, out


def _rotary_lacks(op: Rotary, _device: str) -> str:
    return "" if op.head_dim % 2 == 0 else "rotary turns pairs of numbers, and head_dim is odd"


def _swiglu_operands(op: SwiGlu, source: Source) -> tuple[Tensor, ...]:
    gate, up, out = (_rows(op, source, op.tokens, op.ffn, role) for role in ("in", "in", "out"))
    return gate, up, out


def _embedding_operands(op: Embedding, source: Source) -> tuple[Tensor, ...]:
    table = _rows(op, source, op.vocab, op.hidden)
    return table, source.places(op.tokens, op.vocab), _rows(op, source, op.tokens, op.hidden, "out")


def _softmax_operands(op: Softmax, source: Source) -> tuple[Tensor, ...]:
    return _rows(op, source, op.rows, op.width), _rows(op, source, op.rows, op.width, "out")


def _sampling_operands(op: Sampling, source: Source) -> tuple[Tensor, ...]:
    return _rows(op, source, op.rows, op.vocab), source.take(op.rows, torch.int64, "out")


RMS_NORM = Kernel(_rms_norm_operands, run_rms_norm, exact_rms_norm, stored=lambda _x, weight: (weight,))
ROTARY = Kernel(_rotary_operands, run_rotary, exact_rotary, lacks=_rotary_lacks)
SWIGLU = Kernel(_swiglu_operands, run_swiglu, exact_swiglu)
EMBEDDING = Kernel(
    _embedding_operands,
    run_embedding,
    lambda table, tokens, _out: table.double()[tokens],
    stored=lambda table, _tokens, _out: (table,),
)
SOFTMAX = Kernel(_softmax_operands, run_softmax, exact_softmax)
SAMPLING = Kernel(_sampling_operands, run_sampling, lambda x, _out: x.double().argmax(-1))
