"""Attention, over keys and values that are kept from earlier tokens.

- Grouped-query attention: `kv_heads` below `heads`, each key and value serving heads/kv_heads queries.
- Source: FLOPs of a causal prefill count the half of the scores that are used, for each new token
  those of itself and of what came before it.
- Matrix units compute whole tiles of `TILE` queries by `TILE` keys; queries that share a key lie in one tile.
"""

from dataclasses import dataclass
from typing import ClassVar

from llmos.costs.ops.base import DTYPE_BYTES, Op
from llmos.errors import ProfileError

LAYOUTS = ("contiguous", "paged")
"""Where keys and values lie: each request's in one piece, or in blocks found by a block table."""

TILE = 128
"""Queries, and keys, of a tile. Source: J. Shah et al., FlashAttention-3, NeurIPS 2024 (128 dimensions)."""


@dataclass(frozen=True, slots=True)
class PrefillAttention(Op):
    """Causal attention of `tokens` new tokens of each of `batch` requests, which then have `context`.

    context: tokens of one request, the new ones included, so at least `tokens`.
    """

    tokens: int
    context: int
    heads: int
    kv_heads: int
    head_dim: int
    batch: int = 1
    dtype: str = "bf16"
    kind: ClassVar[str] = "prefill_attention"

    def __post_init__(self) -> None:
        Op.__post_init__(self)
        _check_heads(self.kind, self.heads, self.kv_heads)
        if self.context < self.tokens:
            raise ProfileError(f"{self.kind}: a context of {self.context} cannot hold {self.tokens} tokens")

    @property
    def flops(self) -> int:
        pairs = self.tokens * (2 * self.context - self.tokens + 1) // 2  # of a query and a key
        return 4 * self.batch * self.heads * self.head_dim * pairs

    @property
    def tiled_flops(self) -> int:
        tile = _tile(self.dtype)
        queries = self.kv_heads * _whole(self.tokens * self.heads // self.kv_heads, tile)
        keys = 2 * _whole(self.context, tile) - _whole(self.tokens, tile) + tile  # twice those of a query
        return 2 * self.batch * queries * self.head_dim * keys

    @property
    def bytes(self) -> int:
        queries, kept = 2 * self.tokens * self.heads, 2 * self.context * self.kv_heads
        return self.batch * (queries + kept) * self.head_dim * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class DecodeAttention(Op):
    """Attention of one new token of each of `batch` requests over `context` tokens of each."""

    context: int
    batch: int
    heads: int
    kv_heads: int
    head_dim: int
    dtype: str = "bf16"
    layout: str = "paged"
    kind: ClassVar[str] = "decode_attention"
    words: ClassVar[dict[str, tuple[str, ...]]] = {"dtype": tuple(DTYPE_BYTES), "layout": LAYOUTS}

    def __post_init__(self) -> None:
        Op.__post_init__(self)
        _check_heads(self.kind, self.heads, self.kv_heads)

    @property
    def flops(self) -> int:
        return 4 * self.batch * self.heads * self.head_dim * self.context

    @property
    def tiled_flops(self) -> int:
        tile = _tile(self.dtype)
        queries = self.kv_heads * _whole(self.heads // self.kv_heads, tile)
        return 4 * self.batch * queries * self.head_dim * _whole(self.context, tile)

    @property
    def bytes(self) -> int:
        queries, kept = 2 * self.heads, 2 * self.context * self.kv_heads
        return self.batch * (queries + kept) * self.head_dim * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True, slots=True)
class KvWrite(Op):
    """Keys and values of `tokens` new tokens written to their places in the cache."""

    tokens: int
    kv_heads: int
    head_dim: int
    dtype: str = "bf16"
    kind: ClassVar[str] = "kv_write"

    @property
    def bytes(self) -> int:
        return 4 * self.tokens * self.kv_heads * self.head_dim * DTYPE_BYTES[self.dtype]


def _tile(dtype: str) -> int:
    """The side of a tile: numbers of more than 16 bits do without."""
    return TILE if DTYPE_BYTES[dtype] <= 2 else 1


def _whole(size: int, tile: int) -> int:
    """`size`, rounded up to whole tiles."""
    return -(-size // tile) * tile


def _check_heads(kind: str, heads: int, kv_heads: int) -> None:
    if heads % kv_heads:
        raise ProfileError(f"{kind}: {heads} heads cannot share {kv_heads} kv_heads evenly")
