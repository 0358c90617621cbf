"""Tables of timed operations that others publish: which columns they have, which operation a line is.

- gemm: dtype, m, n, k, latency_ms. C[m,n] = A[m,k] B[k,n].
- attention: batch_size, isl, step, num_heads, num_key_value_heads, head_dim, latency_ms. One new token
  over a past of `step` is decoding; anything else is a prefill of `isl` tokens after `step` others.
- layers: an engine's layers, of one model, in three files: layer, tokens, time_us; layer, sequences,
  time_us; and prefill_chunk, kv_prefill, n_decode, kv_decode, time_us. Its sizes come from a model shape.
- vidur: what its profiler writes. Linear operations: num_tokens, n_head, n_kv_head, n_embd,
  n_expanded_embd, vocab_size, use_gated_mlp, num_tensor_parallel_workers, and time_stats.OPERATION.median
  in ms. Attention: batch_size, prefill_chunk_size, kv_cache_size, n_q_head, n_kv_head, n_embd,
  num_tensor_parallel_workers, and the times of attn_prefill, attn_decode and attn_kv_cache_save.
- Other columns are passed over. A line may hold several operations, as vidur's do.
- A line that makes no sense raises ProfileError, or ValueError where a number is none; it is for the
  caller to name the line.

Source: columns as in NVIDIA's aiconfigurator (gemm, attention), LLMServingSim (layers) and vidur.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from llmos.costs.decoder import ModelShape
from llmos.costs.ops import (
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
from llmos.errors import ProfileError

Line = Mapping[str, str]
Timed = Iterator[tuple[Op, float]]
"""Operations with their seconds."""

DTYPES = {"bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float": "fp32"}


@dataclass(frozen=True, slots=True)
class Told:
    """What a table does not say itself: the numbers' dtype, and for layers the model that they are of."""

    dtype: str
    shape: ModelShape | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of file: the columns that tell it, and what a line of it means."""

    format: str
    columns: frozenset[str]
    read: Callable[[Line, Told], Timed]
    needs_shape: bool = False


def table_of(columns: frozenset[str], wanted: str = "auto") -> Table:
    """The kind of table that has these columns, of the format that is wanted.

    Raises ProfileError, naming the columns that each kind needs, when there is none.
    """
    kinds = [table for table in TABLES if wanted in ("auto", table.format)]
    for table in kinds:
        if table.columns <= columns:
            return table
    needed = "; ".join(f"{table.format}: {', '.join(sorted(table.columns))}" for table in kinds)
    raise ProfileError("its columns are of no table that is known", hint=f"needed are {needed}")


def _gemm(line: Line, _: Told) -> Timed:
    name = line["dtype"].strip()
    yield Matmul(int(line["m"]), int(line["k"]), int(line["n"]), DTYPES.get(name, name)), _ms(line)


def _attention(line: Line, told: Told) -> Timed:
    new, past, batch = (int(line[name]) for name in ("isl", "step", "batch_size"))
    heads = (int(line["num_heads"]), int(line["num_key_value_heads"]), int(line["head_dim"]))
    if new == 1 and past:
        yield DecodeAttention(new + past, batch, *heads, told.dtype), _ms(line)
    else:
        yield PrefillAttention(new, new + past, *heads, batch, told.dtype), _ms(line)


def _ms(line: Line, name: str = "latency_ms") -> float:
    return float(line[name]) / 1e3


# --- layers of an engine ------------------------------------------------------------------------------


def _shape(told: Told) -> ModelShape:
    if told.shape is None:
        raise ProfileError("this table does not say what sizes its layers have", hint="name the model")
    return told.shape


def _by_tokens(line: Line, told: Told) -> Timed:
    shape, dtype, tokens = _shape(told), told.dtype, int(line["tokens"])
    name, width = line["layer"].strip(), shape.heads * shape.head_dim
    match name:
        case "qkv_proj":
            op: Op = Matmul(tokens, shape.hidden, shape.qkv_width, dtype)
        case "o_proj":
            op = Matmul(tokens, width, shape.hidden, dtype)
        case "gate_up_proj":
            op = Matmul(tokens, shape.hidden, 2 * shape.ffn, dtype)
        case "down_proj":
            op = Matmul(tokens, shape.ffn, shape.hidden, dtype)
        case "act_fn":
            op = SwiGlu(tokens, shape.ffn, dtype)
        case "rotary_emb":
            op = Rotary(tokens, shape.heads + shape.kv_heads, shape.head_dim, dtype)
        case "embedding":
            op = Embedding(tokens, shape.hidden, shape.vocab, dtype)
        case "layernorm" | "final_layernorm":
            op = RmsNorm(tokens, shape.hidden, dtype)
        case _:
            raise ProfileError(f"unknown layer {name[:40]!r}")
    yield op, _us(line)


def _by_sequences(line: Line, told: Told) -> Timed:
    shape, rows, name = _shape(told), int(line["sequences"]), line["layer"].strip()
    if name not in ("lm_head", "sampler"):
        raise ProfileError(f"unknown layer {name[:40]!r}")
    if name == "lm_head":
        yield Matmul(rows, shape.hidden, shape.vocab, told.dtype), _us(line)
    else:
        yield Sampling(rows, shape.vocab, told.dtype), _us(line)


def _mixed_attention(line: Line, told: Told) -> Timed:
    shape = _shape(told)
    new, past, batch, context = (
        int(line[name]) for name in ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")
    )
    heads = (shape.heads, shape.kv_heads, shape.head_dim)
    if new and batch:
        raise ProfileError(MIXED)
    if new:
        yield PrefillAttention(new, new + past, *heads, 1, told.dtype), _us(line)
    else:
        yield DecodeAttention(context, batch, *heads, told.dtype), _us(line)


MIXED = "prefill and decode in one call, which is no operation of ours"


def _us(line: Line) -> float:
    return float(line["time_us"]) / 1e6


# --- vidur --------------------------------------------------------------------------------------------


def _vidur_linear(line: Line, told: Told) -> Timed:
    tokens, hidden, heads, kv_heads, ffn, vocab, parts = (
        int(float(line[name]))
        for name in ("num_tokens", "n_embd", "n_head", "n_kv_head", "n_expanded_embd", "vocab_size",
                     _PARALLEL)
    )  # fmt: skip
    dtype, dim, gated = told.dtype, hidden // heads, line["use_gated_mlp"].strip().lower() in ("true", "1")
    heads, kv_heads, ffn, vocab = (_split(each, parts) for each in (heads, kv_heads, ffn, vocab))
    ops: dict[str, Op] = {
        "attn_pre_proj": Matmul(tokens, hidden, (heads + 2 * kv_heads) * dim, dtype),
        "attn_post_proj": Matmul(tokens, heads * dim, hidden, dtype),
        "mlp_up_proj": Matmul(tokens, hidden, (2 if gated else 1) * ffn, dtype),
        "mlp_down_proj": Matmul(tokens, ffn, hidden, dtype),
        "attn_rope": Rotary(tokens, heads + kv_heads, dim, dtype),
        "emb": Embedding(tokens, hidden, vocab, dtype),
        "input_layernorm": RmsNorm(tokens, hidden, dtype),
        "post_attention_layernorm": RmsNorm(tokens, hidden, dtype),
        "add": VectorAdd(tokens * hidden, dtype),
    }
    if gated:
        ops["mlp_act"] = SwiGlu(tokens, ffn, dtype)
    yield from _medians(line, ops)


def _vidur_attention(line: Line, told: Told) -> Timed:
    batch, new, past, heads, kv_heads, hidden, parts = (
        int(float(line[name]))
        for name in ("batch_size", "prefill_chunk_size", "kv_cache_size", "n_q_head", "n_kv_head", "n_embd",
                     _PARALLEL)
    )  # fmt: skip
    dim, dtype = hidden // heads, told.dtype
    heads, kv_heads = _split(heads, parts), _split(kv_heads, parts)
    ops: dict[str, Op] = {"attn_kv_cache_save": KvWrite(max(new, 1) * batch, kv_heads, dim, dtype)}
    if new:
        ops["attn_prefill"] = PrefillAttention(new, new + past, heads, kv_heads, dim, batch, dtype)
    else:
        ops["attn_decode"] = DecodeAttention(past, batch, heads, kv_heads, dim, dtype)
    yield from _medians(line, ops)


_PARALLEL = "num_tensor_parallel_workers"


def _split(size: int, parts: int) -> int:
    if parts < 1 or size % parts:
        raise ProfileError(f"{size} cannot be split over {parts} workers")
    return size // parts


def _medians(line: Line, ops: Mapping[str, Op]) -> Timed:
    """The operations that the line has a time of."""
    for name, op in ops.items():
        if (line.get(f"time_stats.{name}.median") or "").strip():
            yield op, _ms(line, f"time_stats.{name}.median")


def _columns(text: str) -> frozenset[str]:
    return frozenset(text.split())


TABLES = (
    Table("gemm", _columns("dtype m n k latency_ms"), _gemm),
    Table(
        "attention",
        _columns("batch_size isl step num_heads num_key_value_heads head_dim latency_ms"),
        _attention,
    ),
    Table("layers", _columns("layer tokens time_us"), _by_tokens, needs_shape=True),
    Table("layers", _columns("layer sequences time_us"), _by_sequences, needs_shape=True),
    Table(
        "layers",
        _columns("prefill_chunk kv_prefill n_decode kv_decode time_us"),
        _mixed_attention,
        needs_shape=True,
    ),
    Table(
        "vidur",
        _columns(f"num_tokens n_head n_kv_head n_embd n_expanded_embd vocab_size use_gated_mlp {_PARALLEL}"),
        _vidur_linear,
    ),
    Table(
        "vidur",
        _columns(f"batch_size prefill_chunk_size kv_cache_size n_q_head n_kv_head n_embd {_PARALLEL}"),
        _vidur_attention,
    ),
)
FORMATS = ("auto", *dict.fromkeys(table.format for table in TABLES))
