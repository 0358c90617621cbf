"""Operations that cost time: what they are, how much they compute and how much they move.

- `base` has the contract, the other modules the kinds: `dense` products, `attention`, the small
  `layers` between them, and `transfers`.
- A new kind of operation is one dataclass there and one entry in `OPS`; profiles and the cost model
  know nothing else about it.
"""

from dataclasses import MISSING, fields
from typing import Any

from llmos.costs.ops.attention import DecodeAttention, KvWrite, PrefillAttention
from llmos.costs.ops.base import DTYPE_BYTES, LARGEST, Op
from llmos.costs.ops.dense import BatchedMatmul, Matmul, VectorAdd
from llmos.costs.ops.layers import Embedding, RmsNorm, Rotary, Sampling, Softmax, SwiGlu
from llmos.costs.ops.transfers import AllGather, AllReduce, Copy, FileRead, Send
from llmos.errors import ProfileError, did_you_mean

OPS: dict[str, type[Op]] = {
    op.kind: op
    for op in (
        Matmul, BatchedMatmul, VectorAdd,
        PrefillAttention, DecodeAttention, KvWrite,
        RmsNorm, Rotary, SwiGlu, Embedding, Softmax, Sampling,
        Copy, FileRead, AllReduce, AllGather, Send,
    )
}  # fmt: skip


def make_op(kind: str, values: dict[str, Any]) -> Op:
    """The operation of that kind with those fields, as read from a file; words may be left out.

    Raises ProfileError when the kind is unknown, or a field is missing, unknown or out of range.
    """
    if kind not in OPS:
        hint = did_you_mean(kind, OPS) or f"there are: {', '.join(OPS)}"
        raise ProfileError(f"unknown operation {kind[:40]!r}", hint=hint)
    every: Any = OPS[kind]
    names = [field.name for field in fields(every)]
    needed = {field.name for field in fields(every) if field.default is MISSING}
    if wrong := sorted(needed - set(values) | set(values) - set(names)):
        raise ProfileError(f"{kind} takes {', '.join(names)}; look at {', '.join(wrong)[:200]}")
    op: Op = every(**values)
    return op


def op_fields(op: Op) -> dict[str, Any]:
    """The operation as plain fields, the inverse of `make_op`; words that are as usual are left out."""
    every: Any = op
    values = {field.name: (getattr(op, field.name), field.default) for field in fields(every)}
    return {name: value for name, (value, usual) in values.items() if name == "dtype" or value != usual}


def show_op(op: Op) -> str:
    """The operation as people write it, as in `matmul 8x1024x4096 bf16`."""
    return " ".join([op.kind, "x".join(map(str, op.dims)), *_words(op)])


def show_family(op: Op) -> str:
    """What the operation can be compared with, as in `matmul bf16`."""
    return " ".join([op.kind, *_words(op)])


def _words(op: Op) -> list[str]:
    return [value for name, value in op_fields(op).items() if name in op.words]


__all__ = [
    "DTYPE_BYTES", "LARGEST", "OPS", "AllGather", "AllReduce", "BatchedMatmul", "Copy", "DecodeAttention",
    "Embedding", "FileRead", "KvWrite", "Matmul", "Op", "PrefillAttention", "RmsNorm", "Rotary", "Sampling",
    "Send", "Softmax", "SwiGlu", "VectorAdd", "make_op", "op_fields", "show_family", "show_op",
]  # fmt: skip
