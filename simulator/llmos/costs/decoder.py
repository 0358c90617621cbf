"""What a language model computes in one iteration of an engine: its shape, a batch, the operations.

- A `ModelShape` is a decoder as Llama's: grouped-query attention, RMS norms, rotary positions, a gated
  MLP. `SHAPES` has some by name, from two million weights to what a rack is bought for.
- A `Composition` is the batch of one iteration: the new tokens of all its requests go through every
  layer as one flat list of rows; only the attention knows whose they are.
- `operations` lists all that is computed for it. The real engine runs just these, and tests hold the
  two against each other.
- A shape may be the part of a model that one of several devices has (`costs.variants.shard`): then the
  operations are those of this device, and those with which it meets the others.

Source: the operations and their sizes are those of Llama (Touvron et al., 2023), and the flat batch
of prefills and decodes is that of vLLM (Kwon et al., SOSP'23) and Sarathi (Agrawal et al., OSDI'24). Who
meets when, of several devices: Shoeybi et al., Megatron-LM, 2019, section 3.
Differs: a device computes or sends, never both at once.
"""

from dataclasses import dataclass, replace

from llmos.costs.ops import (
    DTYPE_BYTES,
    AllGather,
    AllReduce,
    DecodeAttention,
    Embedding,
    KvWrite,
    Matmul,
    Op,
    PrefillAttention,
    RmsNorm,
    Rotary,
    Sampling,
    SwiGlu,
    VectorAdd,
)
from llmos.costs.ops.dense import WEIGHTS
from llmos.errors import ProfileError, did_you_mean

BLOCK_TOKENS = 16
"""Tokens whose keys and values one block of the cache holds, where nobody says otherwise."""

Operations = list[tuple[int, Op]]
"""Operations, each with how often it is run."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The sizes of a decoder: `kv_heads` below `heads` is grouped-query attention.

    tied: the embedding is also the output matrix. dtype: a key of `DTYPE_BYTES`, for weights and KV.
    weights: how those of the layers' products are stored, one of `WEIGHTS`; the embedding and the
    output matrix stay dense, as quantised models have them.
    devices, all_reduce: so many share the model, and this is the part of one of them; how they add up.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    tied: bool = False
    dtype: str = "bf16"
    weights: str = "dense"
    devices: int = 1
    all_reduce: str = "ring"

    @property
    def qkv_width(self) -> int:
        """Outputs of the joint query, key and value projection."""
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    @property
    def parameters(self) -> int:
        """Weights of the whole model, norms included."""
        attention = self.hidden * (self.qkv_width + self.heads * self.head_dim)
        layer = attention + 3 * self.hidden * self.ffn + 2 * self.hidden
        return self.layers * layer + (1 if self.tied else 2) * self.vocab * self.hidden + self.hidden

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of keys and values that one token keeps, over all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * DTYPE_BYTES[self.dtype]


SHAPES = {
    "tiny-2m": ModelShape(4, 192, 6, 2, 32, 576, 1024, tied=True, dtype="fp32"),
    "tiny-20m": ModelShape(6, 512, 8, 4, 64, 1536, 2048, tied=True, dtype="fp32"),
    "small-100m": ModelShape(12, 768, 12, 4, 64, 2560, 16_384, tied=True),
    "qwen3-0.6b": ModelShape(28, 1024, 16, 8, 128, 3072, 151_936, tied=True),
    "medium-1b": ModelShape(16, 2048, 32, 8, 64, 8192, 32_768, tied=True),
    "llama-3.2-1b": ModelShape(16, 2048, 32, 8, 64, 8192, 128_256, tied=True),
    "llama-3.2-3b": ModelShape(28, 3072, 24, 8, 128, 8192, 128_256, tied=True),
    "llama-2-7b": ModelShape(32, 4096, 32, 32, 128, 11_008, 32_000),
    "llama-3-8b": ModelShape(32, 4096, 32, 8, 128, 14_336, 128_256),
    "llama-3-70b": ModelShape(80, 8192, 64, 8, 128, 28_672, 128_256),
}


@dataclass(frozen=True, slots=True)
class Composition:
    """The batch of one iteration.

    prefill: for each request that reads its prompt, its new tokens and its context, these included.
    decode: for each request that writes, its context, the new token included; a prompt of which one
    token is left counts here, for that is the same work.
    sampled: how many requests need the vocabulary, for a token that comes next: those that decode and
    those whose prompt ends.
    block_tokens, layout: how many tokens a block of the cache holds, and how a request's lie.
    guesses: tokens that each request that writes has checked beside its new one (speculative decoding).
    """

    prefill: tuple[tuple[int, int], ...] = ()
    decode: tuple[int, ...] = ()
    sampled: int = 0
    block_tokens: int = BLOCK_TOKENS
    layout: str = "paged"
    guesses: int = 0

    def __post_init__(self) -> None:
        if any(new == 1 for new, _ in self.prefill):
            lone = tuple(context for new, context in self.prefill if new == 1)
            object.__setattr__(self, "prefill", tuple(chunk for chunk in self.prefill if chunk[0] > 1))
            object.__setattr__(self, "decode", self.decode + lone)

    @property
    def tokens(self) -> int:
        """New tokens of all requests together."""
        return len(self.decode) * (1 + self.guesses) + sum(new for new, _ in self.prefill)

    @property
    def context(self) -> int:
        """Context of all requests together, in tokens."""
        return sum(self.decode) + sum(context for _, context in self.prefill)

    @property
    def padded(self) -> int:
        """The context that the attention of a decoding batch reads for each of its requests.

        It gathers as many blocks for each of them as the longest has, so that one call serves them
        all: a short request beside a long one costs as much as the long one.
        """
        longest = max(self.decode, default=0)
        return -(-longest // self.block_tokens) * self.block_tokens


def model_shape(name: str, dtype: str | None = None, weights: str | None = None) -> ModelShape:
    """The named shape, computing in `dtype` and with its weights stored as `weights` when these are given.

    Raises ProfileError when there is no such shape, dtype or way of storing.
    """
    if name not in SHAPES:
        hint = did_you_mean(name, SHAPES) or f"there are: {', '.join(SHAPES)}"
        raise ProfileError(f"unknown model shape {name[:80]!r}", hint=hint)
    shape = SHAPES[name]
    if dtype is not None and dtype not in DTYPE_BYTES:
        raise ProfileError(f"unknown dtype {dtype[:80]!r}", hint=f"there are: {', '.join(DTYPE_BYTES)}")
    if weights is not None and weights not in WEIGHTS:
        raise ProfileError(f"unknown weights {weights[:80]!r}", hint=f"there are: {', '.join(WEIGHTS)}")
    return replace(shape, dtype=dtype or shape.dtype, weights=weights or shape.weights)


def operations(shape: ModelShape, composition: Composition) -> Operations:
    """All operations of one iteration, each with how often it is run."""
    ops = token_operations(shape, composition.tokens)
    for new, context in composition.prefill:
        ops += prefill_operations(shape, new, context)
    if composition.decode:
        batch, rows = len(composition.decode), 1 + composition.guesses
        ops += decode_operations(shape, batch, composition.padded, composition.layout, rows)
    if composition.sampled:
        ops += sampling_operations(shape, composition.sampled)
    return ops


def token_operations(shape: ModelShape, tokens: int) -> Operations:
    """What depends on nothing but how many tokens are computed: all but attention and vocabulary."""
    hidden, dtype, stored, layers = shape.hidden, shape.dtype, shape.weights, shape.layers
    heads, width = shape.heads + shape.kv_heads, shape.heads * shape.head_dim
    ops: Operations = [
        (1, Embedding(tokens, hidden, shape.vocab, dtype)),
        (2 * layers, RmsNorm(tokens, hidden, dtype)),
        (layers, Matmul(tokens, hidden, shape.qkv_width, dtype, stored)),
        (layers, Rotary(tokens, heads, shape.head_dim, dtype)),
        (layers, KvWrite(tokens, shape.kv_heads, shape.head_dim, dtype)),
        (layers, Matmul(tokens, width, hidden, dtype, stored)),
        (layers, Matmul(tokens, hidden, 2 * shape.ffn, dtype, stored)),  # gate and up in one
        (layers, SwiGlu(tokens, shape.ffn, dtype)),
        (layers, Matmul(tokens, shape.ffn, hidden, dtype, stored)),
        (2 * layers, VectorAdd(tokens * hidden, dtype)),  # the two residual sums
    ]
    if shape.devices > 1:  # after the embedding, the attention and the MLP of each layer
        size = tokens * hidden * DTYPE_BYTES[dtype]
        ops.append((1 + 2 * layers, AllReduce(size, shape.devices, shape.all_reduce)))
    return ops


def prefill_operations(shape: ModelShape, new: int, context: int) -> Operations:
    """The attention of one request that reads its prompt: each has a call of its own."""
    heads, kv_heads, head_dim = shape.heads, shape.kv_heads, shape.head_dim
    return [(shape.layers, PrefillAttention(new, context, heads, kv_heads, head_dim, 1, shape.dtype))]


def decode_operations(
    shape: ModelShape, batch: int, padded: int, layout: str = "paged", rows: int = 1
) -> Operations:
    """The attention of all requests that write, in one call over `padded` tokens of each.

    rows: new tokens of each request. They read its keys and values together, as more heads would.
    """
    heads, kv_heads, head_dim = rows * shape.heads, shape.kv_heads, shape.head_dim
    return [(shape.layers, DecodeAttention(padded, batch, heads, kv_heads, head_dim, shape.dtype, layout))]


def sampling_operations(shape: ModelShape, rows: int) -> Operations:
    """From the last layer's output to the next tokens, for the requests that need one."""
    whole = shape.vocab * shape.devices
    ops: Operations = [
        (1, RmsNorm(rows, shape.hidden, shape.dtype)),
        (1, Matmul(rows, shape.hidden, shape.vocab, shape.dtype)),
        (1, Sampling(rows, whole, shape.dtype)),
    ]
    if shape.devices > 1:
        ops.append((1, AllGather(rows * whole * DTYPE_BYTES[shape.dtype], shape.devices)))
    return ops
