"""Attention over keys and values that are kept, and the writing of new ones.

- Keys and values are kept token by token, (tokens, kv_heads, d), so that a new token is one row.
- Paged: they lie in blocks of `BLOCK_TOKENS` rows, anywhere in a pool, and a block table says where.
- Decoding, the query heads that share a key are taken as rows of one small product: no key is copied
  for each of them.

Differs: a paged kernel of a serving engine reads blocks where they lie (vLLM's PagedAttention, Kwon et
al., SOSP'23). Plain torch has none, so blocks are gathered first: keys and values are moved three times
where such a kernel moves them once.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right

from llmos.costs.decoder import BLOCK_TOKENS
from llmos.costs.ops import DecodeAttention, KvWrite, PrefillAttention
from llmos.kernels.ops.base import Kernel, Source

FEWEST_SLOTS = 4096
"""Of the cache that new keys and values are written to."""


def run_prefill(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Causal attention of the last tokens of each sequence to all of it.

    q: (batch, heads, tokens, d). keys, values: (batch, kv_heads, context, d). mask: which key a query
    sees, (tokens, context); None when all tokens are new. Returns (batch, heads, tokens, d).
    """
    return functional.scaled_dot_product_attention(
        q, keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )


def run_decode(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention of one token of each sequence to all of it.

    q: (batch, kv_heads, heads / kv_heads, d). keys, values: (batch, context, kv_heads, d).
    Returns the shape of q.
    """
    return functional.scaled_dot_product_attention(q, keys.transpose(1, 2), values.transpose(1, 2))


def run_paged_decode(q: Tensor, keys: Tensor, values: Tensor, table: Tensor, context: int) -> Tensor:
    """The same, of keys and values (blocks, BLOCK_TOKENS, kv_heads, d) that a block table finds.

    table: (batch, blocks of a sequence), int64. context: tokens of a sequence; the rest of its last
    block is left out.
    """
    return run_decode(q, gather(keys, table, context), gather(values, table, context))


def gather(pool: Tensor, table: Tensor, context: int) -> Tensor:
    """The first `context` rows of each sequence, (batch, context, kv_heads, d), copied from its blocks."""
    return pool[table].flatten(1, 2)[:, :context]


def run_kv_write(keys: Tensor, values: Tensor, slots: Tensor, new_keys: Tensor, new_values: Tensor) -> Tensor:
    """New keys and values (tokens, kv_heads, d) written to rows `slots` of those that are kept.

    Returns the keys.
    """
    values.index_copy_(0, slots, new_values)
    return keys.index_copy_(0, slots, new_keys)


def exact_attention(q: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    """Attention in float64 by its formula, on (batch, heads, tokens, d); kv heads may be fewer."""
    shared = q.shape[1] // keys.shape[1]
    keys, values = (each.double().repeat_interleave(shared, dim=1) for each in (keys, values))
    scores = q.double() @ keys.transpose(2, 3) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(-1) @ values


def exact_prefill(q: Tensor, keys: Tensor, values: Tensor, _mask: Any) -> Tensor:
    """The same as `run_prefill` in float64."""
    return exact_attention(q, keys, values, _seen(q.shape[2], keys.shape[2], q.device))


def exact_decode(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """The same as `run_decode` in float64."""
    one = q.flatten(1, 2).unsqueeze(2)  # (batch, heads, 1, d)
    return exact_attention(one, keys.transpose(1, 2), values.transpose(1, 2), None).view(q.shape)


def exact_paged_decode(q: Tensor, keys: Tensor, values: Tensor, table: Tensor, context: int) -> Tensor:
    """The same as `run_paged_decode` in float64, row by row."""
    places = torch.arange(context, device=table.device)
    rows = table[:, places // BLOCK_TOKENS] * BLOCK_TOKENS + places % BLOCK_TOKENS
    return exact_decode(q, keys.flatten(0, 1)[rows], values.flatten(0, 1)[rows])


def exact_kv_write(keys: Tensor, _values: Tensor, slots: Tensor, new_keys: Tensor, _new: Tensor) -> Tensor:
    """What the keys must be afterwards."""
    after = keys.double().clone()
    after[slots] = new_keys.double()
    return after


def _seen(tokens: int, context: int, device: torch.device | str) -> Tensor:
    """Which of `context` keys each of the last `tokens` queries sees."""
    return torch.ones(tokens, context, dtype=torch.bool, device=device).tril(context - tokens)


def _mask(op: PrefillAttention, source: Source) -> Any:
    if op.tokens == op.context:
        return None
    # A mask that torch knows by its name lets it keep its fused kernel, which there is in 16 bits.
    if source.device == "cuda" and op.dtype in ("bf16", "fp16"):
        return causal_lower_right(op.tokens, op.context)
    return source.once(("mask", op.tokens, op.context), lambda: _seen(op.tokens, op.context, source.device))


def _prefill_operands(op: PrefillAttention, source: Source) -> tuple[Any, ...]:
    shape = (op.batch, op.tokens, op.heads, op.head_dim)
    q = source.take(math.prod(shape), op.dtype).view(shape).transpose(1, 2)
    shape = (op.batch, op.context, op.kv_heads, op.head_dim)
    keys, values = (source.take(math.prod(shape), op.dtype).view(shape).transpose(1, 2) for _ in range(2))
    return q, keys, values, _mask(op, source)


def _queries(op: DecodeAttention, source: Source) -> Tensor:
    shape = (op.batch, op.kv_heads, op.heads // op.kv_heads, op.head_dim)
    return source.take(math.prod(shape), op.dtype).view(shape)


def _decode_operands(op: DecodeAttention, source: Source) -> tuple[Tensor, ...]:
    shape = (op.batch, op.context, op.kv_heads, op.head_dim)
    keys, values = (source.take(math.prod(shape), op.dtype).view(shape) for _ in range(2))
    return _queries(op, source), keys, values


def _paged_operands(op: DecodeAttention, source: Source) -> tuple[Any, ...]:
    each = -(-op.context // BLOCK_TOKENS)
    shape = (op.batch * each, BLOCK_TOKENS, op.kv_heads, op.head_dim)
    keys, values = (source.take(math.prod(shape), op.dtype).view(shape) for _ in range(2))
    table = source.places(op.batch * each, op.batch * each).view(op.batch, each)
    return _queries(op, source), keys, values, table, op.context


def _kv_write_operands(op: KvWrite, source: Source) -> tuple[Tensor, ...]:
    slots, row = max(op.tokens, FEWEST_SLOTS), op.kv_heads * op.head_dim
    kept = (source.take(slots * row, op.dtype, "out").view(slots, op.kv_heads, op.head_dim) for _ in range(2))
    new = (source.take(op.tokens * row, op.dtype).view(op.tokens, op.kv_heads, op.head_dim) for _ in range(2))
    return (*kept, source.places(op.tokens, slots), *new)


def _kept(_q: Tensor, keys: Tensor, values: Tensor, *_: Any) -> tuple[Tensor, ...]:
    return keys, values


PREFILL = Kernel(_prefill_operands, run_prefill, exact_prefill, stored=_kept)
CONTIGUOUS_DECODE = Kernel(_decode_operands, run_decode, exact_decode, stored=_kept)
PAGED_DECODE = Kernel(_paged_operands, run_paged_decode, exact_paged_decode, stored=_kept)
KV_WRITE = Kernel(
    _kv_write_operands, run_kv_write, exact_kv_write, stored=lambda _keys, _values, _slots, *new: new
)
