"""A small decoder like Llama's, with random weights: what a real engine runs.

- `step` is one iteration: the new tokens of all requests go through every layer as one flat list of
  rows, prompts in chunks and decodes side by side; keys and values are kept in a cache of blocks.
- It runs just the operations that `llmos.costs.decoder.operations` lists for the batch. An observer
  hears of each, and calls it: so operations are timed where they happen. Without one, nothing is asked.
- `plain` is the same model without a cache or a batch, written with other means: the reference.
- A seed fixes the weights, on every device. They are scaled so that activations neither vanish nor
  explode, whatever the size. What the model says means nothing; what it costs does.
- A product is a `Linear`, made of its dense weight: how that is stored is a matter of `linears`.

Source: Touvron et al., LLaMA, 2023; grouped-query attention: Ainslie et al., EMNLP'23.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F  # noqa: N812 — as everybody calls it
from torch import Tensor

from llmos.costs.decoder import (
    Composition,
    ModelShape,
    decode_operations,
    prefill_operations,
    sampling_operations,
    token_operations,
)
from llmos.costs.ops import Op
from llmos.errors import LlmosError
from llmos.kernels.linears import Dense, Linear, linear_of
from llmos.kernels.ops.base import TORCH_DTYPES
from llmos.kernels.paged import PagedKv, causal_mask, decode_attention, padding_mask, prefill_attention

EPSILON = 1e-5
ROTARY_BASE = 10_000.0
MOST_POSITIONS = 4096
# Random weights make an attention that looks everywhere alike, and a gate that shuts most of an MLP
# away: a model that hardly heeds what it reads, and would hide mistakes. These factors mend that.
SHARP, GATED = 1.7, 3.0


class Observe(Protocol):
    """Hears of an operation, does its `work` on the `operands`, and gives back the result."""

    def __call__(self, op: Op, work: Callable[..., Tensor], *operands: object) -> Tensor: ...


class Chunk(NamedTuple):
    """The tokens of one request that an iteration computes.

    ids: the new tokens; start: how many of the request come before; blocks: where all of them lie;
    wants_logits: whether what comes after the last of them is asked for.
    """

    ids: Sequence[int]
    start: int
    blocks: Sequence[int]
    wants_logits: bool = True

    @property
    def context(self) -> int:
        """Tokens of the request, the new ones included."""
        return self.start + len(self.ids)


class Iterates(Protocol):
    """What runs the iterations of an engine: a `Model`, or a `graphed.Graphed`, which replays them."""

    def iterate(self, chunks: Sequence[Chunk]) -> list[int]:
        """Compute these chunks, and give the likeliest next token of those that want one, in their order."""
        ...

    def compose(self, chunks: Sequence[Chunk]) -> Composition:
        """What this batch is to the cost model."""
        ...


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights of one layer."""

    attention_norm: Tensor
    qkv: Linear
    o: Linear
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch as tensors: one row for each new token, those of prompts before those that decode.

    chunks: of each prompt its first and last row, its context, where its keys lie, and its mask.
    decode: where the keys of those that decode lie, and their mask. last: the rows that need logits.
    """

    composition: Composition
    ids: Tensor
    cos: Tensor
    sin: Tensor
    slots: Tensor
    chunks: tuple[tuple[int, int, int, Tensor, Tensor | None], ...]
    decode: tuple[Tensor, Tensor] | None
    last: Tensor | None


Run = Callable[..., Tensor]
"""Is given the name of an operation, its work and its operands."""


def _plainly(_name: Hashable, work: Callable[..., Tensor], *operands: object) -> Tensor:
    return work(*operands)


class Model:
    """A decoder of that shape, its weights from `seed`, with a cache of its own.

    kv: makes the cache of the model. dtype: to compute in, else the shape's. linear: makes a layer's
    products of their weights (n, k), else they are stored as the shape says. positions: the longest
    context. Raises ProfileError when there is no kernel here for weights stored so.
    """

    def __init__(
        self,
        shape: ModelShape,
        blocks: int,
        *,
        seed: int = 0,
        dtype: torch.dtype | None = None,
        device: str = "cpu",
        kv: Callable[..., PagedKv] = PagedKv,
        block_tokens: int = 16,
        linear: Callable[[Tensor], Linear] | None = None,
        positions: int = MOST_POSITIONS,
    ) -> None:
        self.shape = shape
        self.dtype = dtype = dtype or TORCH_DTYPES[shape.dtype]
        self.device = device
        self.kv = kv(shape, blocks, block_tokens=block_tokens, dtype=dtype, device=device)
        linear = linear or linear_of(shape)
        draw = _Draw(seed, dtype, device)
        # All layers together add numbers of about one; the embedding is small beside them, or a model
        # that has it for its output too would only say its last token again.
        deep = 1 / math.sqrt(2 * shape.layers)
        hidden, width = shape.hidden, shape.heads * shape.head_dim
        self.embedding = draw.normal((shape.vocab, hidden), hidden**-0.5)
        self.layers = [
            Layer(
                attention_norm=draw.near_one(hidden),
                qkv=linear(draw.normal((shape.qkv_width, hidden), SHARP * hidden**-0.5)),
                o=linear(draw.normal((hidden, width), deep * width**-0.5)),
                mlp_norm=draw.near_one(hidden),
                gate_up=linear(draw.normal((2 * shape.ffn, hidden), hidden**-0.5)),
                down=linear(draw.normal((hidden, shape.ffn), GATED * deep * shape.ffn**-0.5)),
            )
            for _ in range(shape.layers)
        ]
        self.last_norm = draw.near_one(hidden)
        self.head = Dense(self.embedding if shape.tied else draw.normal((shape.vocab, hidden), hidden**-0.5))
        self._cos, self._sin = _angles(shape.head_dim, positions, dtype, device)

    # --- one iteration --------------------------------------------------------------------------------

    def step(self, chunks: Sequence[Chunk], observe: Observe | None = None) -> Tensor:
        """Compute these chunks, and give the logits of those that want them (rows, vocab), in their order.

        Raises LlmosError when a chunk does not fit into its blocks or the model's positions.
        """
        rows = self.rows(chunks)
        return self.forward(rows, self._run(rows.composition, observe))

    def iterate(self, chunks: Sequence[Chunk], observe: Observe | None = None) -> list[int]:
        """Compute these chunks, and give the likeliest next token of those that want one."""
        rows = self.rows(chunks)
        run = self._run(rows.composition, observe)
        logits = self.forward(rows, run)
        tokens: list[int] = run("sampling", likeliest, logits).tolist() if len(logits) else []
        return tokens

    def rows(self, chunks: Sequence[Chunk]) -> Rows:
        """The batch as tensors on the device."""
        for chunk in chunks:
            self.check(chunk)
        order = sorted(range(len(chunks)), key=lambda number: len(chunks[number].ids) == 1)
        ordered = [chunks[number] for number in order]
        prompts = [chunk for chunk in ordered if len(chunk.ids) > 1]
        lone = ordered[len(prompts) :]
        composition = self.compose(chunks)
        ids = [token for chunk in ordered for token in chunk.ids]
        at = [i for chunk in ordered for i in range(chunk.start, chunk.context)]
        slots = [slot for c in ordered for slot in self.kv.slots(c.blocks, c.start, len(c.ids))]
        ids_at_slots = torch.tensor([ids, at, slots], device=self.device)
        return Rows(
            composition,
            ids_at_slots[0],
            self._cos.index_select(0, ids_at_slots[1]),
            self._sin.index_select(0, ids_at_slots[1]),
            ids_at_slots[2],
            tuple(self._prompts(prompts)),
            self._decoding(lone, composition.padded) if lone else None,
            self._last(chunks, order),
        )

    def decoding(self, ids: Tensor, at: Tensor, slots: Tensor, tables: Tensor) -> Rows:
        """A batch that only decodes, made on the device alone: nothing is asked of the host or told to it.

        Of each of B requests its new token, that token's position and slot (B), and the blocks that are
        read (B, n). All of them get logits.
        """
        batch, padded = len(ids), tables.shape[1] * self.kv.block_tokens
        return Rows(
            Composition((), (padded,) * batch, batch, self.kv.block_tokens, self.kv.layout),
            ids,
            self._cos.index_select(0, at),
            self._sin.index_select(0, at),
            slots,
            (),
            (tables, padding_mask(at + 1, padded, self.dtype, self.device)),
            torch.arange(batch, device=self.device),
        )

    def compose(self, chunks: Sequence[Chunk]) -> Composition:
        """What this batch is to the cost model."""
        return Composition(
            tuple((len(chunk.ids), chunk.context) for chunk in chunks if len(chunk.ids) > 1),
            tuple(chunk.context for chunk in chunks if len(chunk.ids) == 1),
            sum(chunk.wants_logits for chunk in chunks),
            self.kv.block_tokens,
            self.kv.layout,
        )

    def check(self, chunk: Chunk) -> None:
        """Raise LlmosError when that chunk does not fit into its blocks or the model's positions."""
        if not chunk.ids:
            raise LlmosError("a chunk without tokens", hint="leave the request out of the iteration")
        if chunk.context > len(chunk.blocks) * self.kv.block_tokens:
            raise LlmosError(
                f"{len(chunk.blocks)} blocks of {self.kv.block_tokens} tokens cannot hold {chunk.context}",
                hint="give the request another block before the iteration",
            )
        if chunk.context > len(self._cos):
            raise LlmosError(
                f"the model has {len(self._cos)} positions, not {chunk.context}",
                hint="make it with more of them, or keep requests shorter",
            )

    def _prompts(self, prompts: Sequence[Chunk]) -> list[tuple[int, int, int, Tensor, Tensor | None]]:
        found, first = [], 0
        for chunk in prompts:
            new, context = len(chunk.ids), chunk.context
            mask = causal_mask(new, context, self.dtype, self.device) if chunk.start else None
            where = self.kv.where([chunk.blocks], context)
            found.append((first, first + new, context, where, mask))
            first += new
        return found

    def _decoding(self, lone: Sequence[Chunk], padded: int) -> tuple[Tensor, Tensor]:
        where = self.kv.where([chunk.blocks for chunk in lone], padded)
        mask = padding_mask([chunk.context for chunk in lone], padded, self.dtype, self.device)
        return where, mask

    def _last(self, chunks: Sequence[Chunk], order: Sequence[int]) -> Tensor | None:
        """The rows that need logits, in the order of `chunks`; `order` is that of the rows."""
        ends, end = [0] * len(chunks), 0
        for number in order:
            end += len(chunks[number].ids)
            ends[number] = end - 1
        wanted = [end for end, chunk in zip(ends, chunks, strict=True) if chunk.wants_logits]
        return torch.tensor(wanted, device=self.device) if wanted else None

    def _run(self, composition: Composition, observe: Observe | None) -> Run:
        if observe is None:
            return _plainly
        ops = _named_operations(self.shape, composition)
        return lambda name, work, *operands: observe(ops[name], work, *operands)

    @torch.inference_mode()
    def forward(self, rows: Rows, run: Run = _plainly) -> Tensor:
        """The logits of the rows in `rows.last`, (rows, vocab); each operation is run by `run`."""
        x = run("embedding", F.embedding, rows.ids, self.embedding)
        for number, layer in enumerate(self.layers):
            normed = run("norm", norm, x, layer.attention_norm)
            qkv = run("qkv", layer.qkv, normed)
            attended = self._attend(number, rows, qkv, run)
            x = run("add", torch.add, x, run("o", layer.o, attended))
            normed = run("norm", norm, x, layer.mlp_norm)
            active = run("swiglu", swiglu, run("gate_up", layer.gate_up, normed))
            x = run("add", torch.add, x, run("down", layer.down, active))
        if rows.last is None:
            return x.new_empty(0, self.shape.vocab)
        return run("head", self.head, run("last_norm", norm, x.index_select(0, rows.last), self.last_norm))

    def _attend(self, layer: int, rows: Rows, qkv: Tensor, run: Run) -> Tensor:
        """Attention of all rows, their keys and values having been written to the cache."""
        heads, kv_heads = self.shape.heads, self.shape.kv_heads
        vectors = qkv.view(len(qkv), -1, self.shape.head_dim)
        run("rotary", rotate, vectors[:, : heads + kv_heads], rows.cos, rows.sin)
        run("kv_write", self._keep, layer, rows.slots, vectors[:, heads:])
        queries, parts, end = vectors[:, :heads], [], 0
        for first, end, context, where, mask in rows.chunks:
            new = end - first
            parts.append(run((new, context), self._prefill, layer, where, queries[first:end], context, mask))
        if rows.decode:
            parts.append(run("decode", self._decode, layer, *rows.decode, queries[end:]))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _keep(self, layer: int, slots: Tensor, keys_values: Tensor) -> Tensor:
        self.kv.write(layer, slots, keys_values.view(len(slots), 2, self.shape.kv_heads, -1))
        return keys_values

    def _prefill(
        self, layer: int, where: Tensor, queries: Tensor, context: int, mask: Tensor | None
    ) -> Tensor:
        return prefill_attention(queries, self.kv.read(layer, where), context, mask)

    def _decode(self, layer: int, where: Tensor, mask: Tensor, queries: Tensor) -> Tensor:
        return decode_attention(queries, self.kv.read(layer, where), mask)

    # --- the reference --------------------------------------------------------------------------------

    @torch.inference_mode()
    def plain(self, ids: Sequence[int]) -> Tensor:
        """The logits after each of these tokens (len(ids), vocab): one request, all at once, no cache."""
        shape, count = self.shape, len(ids)
        x = self.embedding[torch.tensor(ids, device=self.device)]
        cos, sin = self._cos[:count], self._sin[:count]
        future = torch.ones(count, count, dtype=torch.bool, device=self.device).triu(1)
        for layer in self.layers:
            vectors = layer.qkv(norm(x, layer.attention_norm)).view(count, -1, shape.head_dim)
            rotate(vectors[:, : shape.heads + shape.kv_heads], cos, sin)
            queries, keys, values = torch.split(vectors, [shape.heads, shape.kv_heads, shape.kv_heads], 1)
            shared = shape.heads // shape.kv_heads
            keys, values = (part.repeat_interleave(shared, dim=1) for part in (keys, values))
            scores = torch.einsum("qhd,khd->hqk", queries, keys) / math.sqrt(shape.head_dim)
            weights = scores.masked_fill(future, -math.inf).softmax(-1)
            x = x + layer.o(torch.einsum("hqk,khd->qhd", weights, values).flatten(1))
            x = x + layer.down(swiglu(layer.gate_up(norm(x, layer.mlp_norm))))
        return self.head(norm(x, self.last_norm))


# --- the small operations -------------------------------------------------------------------------------


def norm(x: Tensor, weight: Tensor) -> Tensor:
    """Each row of `x` (T, h) divided by its root mean square, times `weight` (h)."""
    return F.rms_norm(x, weight.shape, weight, EPSILON)


def rotate(vectors: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn `vectors` (T, heads, d) in place by the angles of their positions, (T, 1, d/2) each.

    Source: Su et al., RoFormer, 2021; number i of the first half is paired with number i of the second.
    """
    left, right = vectors.chunk(2, -1)
    turned_left = (left * cos).addcmul_(right, sin, value=-1)
    turned_right = (right * cos).addcmul_(left, sin)
    left.copy_(turned_left)
    right.copy_(turned_right)
    return vectors


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) * up, of both side by side (T, 2 * ffn)."""
    gate, up = gate_up.chunk(2, -1)
    return F.silu(gate).mul_(up)


def likeliest(logits: Tensor) -> Tensor:
    """The number of the largest in each row."""
    return logits.argmax(-1)


def greedy(logits: Tensor) -> list[int]:
    """The likeliest token after each row."""
    tokens: list[int] = likeliest(logits).tolist()
    return tokens


# --- what is fixed beforehand ---------------------------------------------------------------------------


class _Draw:
    """Random weights: drawn in one order, in one type, on the host, and then put where they belong."""

    def __init__(self, seed: int, dtype: torch.dtype, device: str) -> None:
        self._random = torch.Generator().manual_seed(seed)
        self._to = {"dtype": dtype, "device": device}

    def normal(self, size: tuple[int, ...], deviation: float) -> Tensor:
        return self._placed(torch.randn(size, generator=self._random).mul_(deviation))

    def near_one(self, count: int) -> Tensor:
        """Weights of a norm; not all one, so that leaving them out shows."""
        return self._placed(torch.rand(count, generator=self._random).add_(0.5))

    def _placed(self, drawn: Tensor) -> Tensor:
        return drawn.to(**self._to)  # type: ignore[call-overload,no-any-return]


def _angles(head_dim: int, positions: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions, (positions, 1, head_dim / 2) each."""
    speed = ROTARY_BASE ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = torch.outer(torch.arange(positions, dtype=torch.float64), speed)[:, None]
    return angles.cos().to(device, dtype), angles.sin().to(device, dtype)


_TOKENS = ("embedding", "norm", "qkv", "rotary", "kv_write", "o", "gate_up", "swiglu", "down", "add")
_SAMPLING = ("last_norm", "head", "sampling")


def _named_operations(shape: ModelShape, composition: Composition) -> dict[Hashable, Op]:
    """The operations of a batch by the names that `forward` gives them; prompts by their sizes."""
    named: dict[Hashable, Op] = {}
    for name, (_, op) in zip(_TOKENS, token_operations(shape, composition.tokens), strict=True):
        named[name] = op
    for new, context in composition.prefill:
        named[new, context] = prefill_operations(shape, new, context)[0][1]
    if composition.decode:
        batch, padded = len(composition.decode), composition.padded
        named["decode"] = decode_operations(shape, batch, padded, composition.layout)[0][1]
    if composition.sampled:
        for name, (_, op) in zip(_SAMPLING, sampling_operations(shape, composition.sampled), strict=True):
            named[name] = op
    return named
