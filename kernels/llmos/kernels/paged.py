"""Keys and values kept in blocks, and attention over them.

- One tensor a layer holds them for all tokens: `(blocks, block_tokens, 2, kv_heads, head_dim)`. Keys
  and values of a token lie side by side, so that one call writes both and one call reads both.
- A request's *block table* lists its blocks in the order of its tokens. Token i lies in slot
  `table[i // block_tokens] * block_tokens + i % block_tokens`; nothing is known of what else a block's
  owner shares it with, so requests may share the blocks of a common prefix.
- Who owns which block is decided elsewhere: here is only memory. One block more, *scratch*, is never
  anybody's: what only fills a batch up is written there.
- A batch that decodes is read in one piece, each request padded to the blocks of the longest; what is
  read past a request's end is hidden by a mask.
- `ContiguousKv` is the cache of engines before paging: a request's blocks follow one another, and
  are read where they lie, without being gathered.

Source: Kwon et al., Efficient Memory Management for LLM Serving with PagedAttention, SOSP'23.
Differs: blocks are gathered into one piece before the attention, instead of being read by it.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812 — as everybody calls it
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right

from llmos.costs.decoder import BLOCK_TOKENS, ModelShape
from llmos.errors import LlmosError

Tables = Sequence[Sequence[int]]
FUSED = (torch.bfloat16, torch.float16)
"""What torch's fused attention on CUDA (flash) computes in; it knows this mask by its name, and no other."""


class PagedKv:
    """The keys and values of `blocks` blocks of `block_tokens` tokens, for all layers of a model."""

    layout = "paged"

    def __init__(
        self,
        shape: ModelShape,
        blocks: int,
        *,
        block_tokens: int = BLOCK_TOKENS,
        dtype: torch.dtype,
        device: str = "cpu",
    ) -> None:
        self.blocks = self.scratch = blocks
        self.block_tokens = block_tokens
        self.device = device
        size = (blocks + 1, block_tokens, 2, shape.kv_heads, shape.head_dim)
        # Zeros: what a mask hides is still multiplied by nought, and must not be an infinity.
        self.layers = [torch.zeros(size, dtype=dtype, device=device) for _ in range(shape.layers)]

    def slots(self, table: Sequence[int], start: int, count: int) -> list[int]:
        """Where tokens `start` to `start + count` of the request with that block table lie."""
        wide = self.block_tokens
        return [table[i // wide] * wide + i % wide for i in range(start, start + count)]

    def write(self, layer: int, slots: Tensor, new: Tensor) -> None:
        """Put keys and values `new` (T, 2, kv_heads, head_dim) into their slots (T)."""
        self.layers[layer].flatten(0, 1).index_copy_(0, slots, new)

    def where(self, tables: Tables, context: int) -> Tensor:
        """What `read` needs, to read `context` tokens of each of these requests: blocks (B, n)."""
        count = -(-context // self.block_tokens)
        rows = [[*table[:count], *(0,) * (count - len(table))] for table in tables]
        return torch.tensor(rows, device=self.device)

    def read(self, layer: int, where: Tensor) -> Tensor:
        """Keys and values of all these tokens, `(B, n * block_tokens, 2, kv_heads, head_dim)`."""
        found = self.layers[layer].index_select(0, where.flatten())
        return found.view(len(where), -1, *found.shape[2:])


class ContiguousKv(PagedKv):
    """A cache in which the blocks of each request follow one another.

    Requests that lie evenly apart, as in regions of one size, are read in place, others are stacked.
    """

    layout = "contiguous"

    def where(self, tables: Tables, context: int) -> Tensor:
        """The first block of each request and how many it reads, on the host."""
        for table in tables:
            if any(block != table[0] + i for i, block in enumerate(table)):
                raise LlmosError(
                    "the blocks of a request do not follow one another",
                    hint="a contiguous cache needs regions; use a paged one",
                )
        count = -(-context // self.block_tokens)
        if max(table[0] for table in tables) + count > self.blocks:
            raise LlmosError("a request's region ends past the cache", hint="give the cache more blocks")
        return torch.tensor([[table[0], count] for table in tables])

    def read(self, layer: int, where: Tensor) -> Tensor:
        cache, firsts = self.layers[layer], where[:, 0].tolist()
        count = int(where[0, 1])
        apart = firsts[1] - firsts[0] if len(firsts) > 1 else 1
        if any(first != firsts[0] + i * apart for i, first in enumerate(firsts)) or apart <= 0:
            return torch.stack([cache[first : first + count].flatten(0, 1) for first in firsts])
        size = (len(firsts), count * self.block_tokens, *cache.shape[2:])
        stride = (apart * cache.stride(0), *cache.stride()[1:])
        return cache.as_strided(size, stride, firsts[0] * cache.stride(0))


def causal_mask(new: int, context: int, dtype: torch.dtype, device: str = "cpu") -> Tensor:
    """What to add to the scores (new, context) of the last `new` tokens: -inf for what comes later."""
    if device == "cuda" and dtype in FUSED:
        return causal_lower_right(new, context)
    hidden = torch.ones(new, context, dtype=torch.bool, device=device).triu(context - new + 1)
    return torch.zeros(new, context, dtype=dtype, device=device).masked_fill_(hidden, -math.inf)


def padding_mask(
    contexts: Sequence[int] | Tensor, padded: int, dtype: torch.dtype, device: str = "cpu"
) -> Tensor:
    """What to add to the scores of a batch (B, 1, 1, padded): -inf past the end of each request."""
    ends = torch.as_tensor(contexts, device=device).view(-1, 1, 1, 1)
    hidden = torch.arange(padded, device=device) >= ends
    return torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, -math.inf)


def prefill_attention(queries: Tensor, kept: Tensor, context: int, mask: Tensor | None) -> Tensor:
    """Attention of one request's new tokens (T, heads, head_dim), as (T, heads * head_dim).

    kept: what its `read` gave, (1, n, 2, kv_heads, head_dim), the new tokens' included. mask: None when
    there is nothing but the new tokens, so that the usual causal path applies.
    """
    keys, values = (part.transpose(1, 2) for part in kept[:, :context].unbind(2))
    out = F.scaled_dot_product_attention(
        queries.transpose(0, 1)[None], keys, values, mask, is_causal=mask is None, enable_gqa=True
    )
    return out[0].transpose(0, 1).flatten(1)


def decode_attention(queries: Tensor, kept: Tensor, mask: Tensor) -> Tensor:
    """Attention of one new token of each of B requests (B, heads, head_dim), as (B, heads * head_dim).

    kept: (B, n, 2, kv_heads, head_dim); mask: (B, 1, 1, n). The queries that share a key take the
    place of the tokens, so that no key is copied.
    """
    keys, values = (part.transpose(1, 2) for part in kept.unbind(2))
    grouped = queries.view(len(queries), keys.shape[1], -1, queries.shape[2])
    return F.scaled_dot_product_attention(grouped, keys, values, mask).flatten(1)
