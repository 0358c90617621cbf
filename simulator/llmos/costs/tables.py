"""Tables of timed operations that others publish: which columns they have, which operation a line is.

- gemm: dtype, m, n, k, latency_ms. C[m,n] = A[m,k] B[k,n].
- attention: batch_size, isl, step, num_heads, num_key_value_heads, head_dim, latency_ms. One new token
  over a past of `step` is decoding; anything else is a prefill of `isl` tokens after `step` others.
- layers: an engine's layers, of one model, in three files: layer, tokens, time_us; layer, sequences,
  time_us; and prefill_chunk, kv_prefill, n_decode, kv_decode, time_us. Its sizes come from a model shape.
- vidur: what its profiler writes. Linear operations (mlp.csv): num_tokens, n_head, n_kv_head, n_embd,
  n_expanded_embd, vocab_size, use_gated_mlp, num_tensor_parallel_workers, and time_stats.OPERATION.median
  in ms. Attention (attention.csv): batch_size, prefill_chunk_size, kv_cache_size, n_q_head, n_kv_head,
  n_embd, num_tensor_parallel_workers, and the times of attn_prefill, attn_decode and attn_kv_cache_save.
- Other columns are passed over. A line may hold several operations, as vidur's do.
- A line that makes no sense raises ProfileError, or ValueError where a number is none; it is for the
  caller to name the line.

Source: columns as in NVIDIA's aiconfigurator (gemm, attention), LLMServingSim (layers) and vidur. Vidur's
were checked against commit 7d47513 of microsoft/vidur: headers of data/profiling/compute/*/*/*/mlp.csv and
of data/profiling/a100/attention.csv, what profiling/{mlp,attention}/*_wrapper.py and mlp_impl.py write, and
what execution_time_predictor/sklearn_execution_time_predictor.py reads. They say that
- the numbers are fp16, and times are GPU time in ms, counted in whole microseconds (profiling/common);
- n_* are of the whole model, but the times of one of the workers that share it;
- kv_cache_size counts the tokens before the new ones, for decoding too. So do kv_prefill and kv_decode of
  LLMServingSim (its profiler's core/hooks/batch.py, commit 4a23e9f);
- a block without post_attention_layernorm (phi-2) has a LayerNorm and, in `add`, two sums.
Differs: these two, and GELU of an MLP without a gate, are no operations of ours and passed over; so are the
biases of some projections, and reshapes around attention. LLMServingSim's layernorm adds the residual as
well in every second call, as vLLM does; here that sum stands beside it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

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
    """What a table does not say itself: the numbers' dtype, and for layers the model that they are of.

    dtype: left out, the one that is usual for such a table.
    """

    dtype: str = ""
    shape: ModelShape | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of file: the columns that tell it, and what a line of it means."""

    format: str
    columns: frozenset[str]
    meaning: Callable[[Line, Told], Timed]
    needs_shape: bool = False
    dtype: str = "bf16"

    def read(self, line: Line, told: Told) -> list[tuple[Op, float]]:
        """The operations of a line with their seconds; all of them, or it raises."""
        return list(self.meaning(line, replace(told, dtype=told.dtype or self.dtype)))


def table_of(columns: frozenset[str], wanted: str = "auto") -> Table:
    """The kind of table that has these columns, of the format that is wanted.

    Raises ProfileError, naming the columns that each kind needs, when there is none.
    """
    if not columns:
        raise ProfileError("it is empty", hint="its first line should name the columns")
    kinds = [table for table in TABLES if wanted in ("auto", table.format)]
    for table in kinds:
        if table.columns <= columns:
            return table
    needed = "; ".join(f"{table.format}: {', '.join(sorted(table.columns))}" for table in kinds)
    raise ProfileError("its columns are of no table that is known", hint=f"needed are {needed}")


def _gemm(line: Line, _: Told) -> Timed:
    name = line["dtype"].strip()
    m, k, n = _whole(line, "m", "k", "n")
    yield Matmul(m, k, n, DTYPES.get(name, name)), _ms(line)


def _attention(line: Line, told: Told) -> Timed:
    new, past, batch = _whole(line, "isl", "step", "batch_size")
    heads, kv_heads, dim = _whole(line, "num_heads", "num_key_value_heads", "head_dim")
    if new == 1 and past:
        yield DecodeAttention(new + past, batch, heads, kv_heads, dim, told.dtype), _ms(line)
    else:
        yield PrefillAttention(new, new + past, heads, kv_heads, dim, batch, told.dtype), _ms(line)


def _whole(line: Line, *names: str) -> list[int]:
    """These fields as whole numbers, also where a program has written 8 as 8.0."""
    numbers = [float(line[name]) for name in names]
    if not all(number.is_integer() for number in numbers):
        raise ValueError("a size is no whole number")
    return [int(number) for number in numbers]


def _ms(line: Line, name: str = "latency_ms") -> float:
    return float(line[name]) / 1e3


# --- layers of an engine ------------------------------------------------------------------------------


def _shape(told: Told) -> ModelShape:
    if told.shape is None:
        raise ProfileError("this table does not say what sizes its layers have", hint="name the model")
    return told.shape


def _by_tokens(line: Line, told: Told) -> Timed:
    shape, dtype, (tokens,) = _shape(told), told.dtype, _whole(line, "tokens")
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
    shape, (rows,), name = _shape(told), _whole(line, "sequences"), line["layer"].strip()
    if name not in ("lm_head", "sampler"):
        raise ProfileError(f"unknown layer {name[:40]!r}")
    if name == "lm_head":
        yield Matmul(rows, shape.hidden, shape.vocab, told.dtype), _us(line)
    else:
        yield Sampling(rows, shape.vocab, told.dtype), _us(line)


def _mixed_attention(line: Line, told: Told) -> Timed:
    shape = _shape(told)
    new, past, batch, kept = _whole(line, "prefill_chunk", "kv_prefill", "n_decode", "kv_decode")
    heads = (shape.heads, shape.kv_heads, shape.head_dim)
    if new and batch:
        raise ProfileError(MIXED)
    if new:
        yield PrefillAttention(new, new + past, *heads, 1, told.dtype), _us(line)
    else:
        yield DecodeAttention(1 + kept, batch, *heads, told.dtype), _us(line)


MIXED = "prefill and decode in one call, which is no operation of ours"


def _us(line: Line) -> float:
    return float(line["time_us"]) / 1e6


# --- vidur --------------------------------------------------------------------------------------------


def _vidur_linear(line: Line, told: Told) -> Timed:
    tokens, hidden, heads, kv_heads, ffn, vocab, parts = _whole(
        line, "num_tokens", "n_embd", "n_head", "n_kv_head", "n_expanded_embd", "vocab_size", _WORKERS
    )
    dtype, dim = told.dtype, _split(hidden, heads, "heads")
    gated = line["use_gated_mlp"].strip().lower() == "true"
    heads, kv_heads, ffn, vocab = (_split(each, parts) for each in (heads, kv_heads, ffn, vocab))
    ops: dict[str, Op] = {
        "attn_pre_proj": Matmul(tokens, hidden, (heads + 2 * kv_heads) * dim, dtype),
        "attn_post_proj": Matmul(tokens, heads * dim, hidden, dtype),
        "mlp_up_proj": Matmul(tokens, hidden, (2 if gated else 1) * ffn, dtype),
        "mlp_down_proj": Matmul(tokens, ffn, hidden, dtype),
        "attn_rope": Rotary(tokens, heads + kv_heads, dim, dtype),
        "emb": Embedding(tokens, hidden, vocab, dtype),
    }
    if gated:
        ops["mlp_act"] = SwiGlu(tokens, ffn, dtype)
    if _median(line, "post_attention_layernorm"):
        ops["input_layernorm"] = ops["post_attention_layernorm"] = RmsNorm(tokens, hidden, dtype)
        ops["add"] = VectorAdd(tokens * hidden, dtype)
    yield from _medians(line, ops)


def _vidur_attention(line: Line, told: Told) -> Timed:
    batch, new, past, heads, kv_heads, hidden, parts = _whole(
        line, "batch_size", "prefill_chunk_size", "kv_cache_size", "n_q_head", "n_kv_head", "n_embd", _WORKERS
    )
    dim, dtype = _split(hidden, heads, "heads"), told.dtype
    heads, kv_heads = _split(heads, parts), _split(kv_heads, parts)
    ops: dict[str, Op] = {"attn_kv_cache_save": KvWrite(max(new, 1) * batch, kv_heads, dim, dtype)}
    if new:
        ops["attn_prefill"] = PrefillAttention(new, new + past, heads, kv_heads, dim, batch, dtype)
    else:
        ops["attn_decode"] = DecodeAttention(1 + past, batch, heads, kv_heads, dim, dtype)
    yield from _medians(line, ops)


_WORKERS = "num_tensor_parallel_workers"


def _split(size: int, parts: int, among: str = "workers") -> int:
    if parts < 1 or size % parts:
        raise ProfileError(f"{size} cannot be split over {parts} {among}")
    return size // parts


def _median(line: Line, name: str) -> str:
    return (line.get(f"time_stats.{name}.median") or "").strip()


def _medians(line: Line, ops: Mapping[str, Op]) -> Timed:
    """The operations that the line has a time of."""
    for name, op in ops.items():
        if _median(line, name):
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
        _columns(f"num_tokens n_head n_kv_head n_embd n_expanded_embd vocab_size use_gated_mlp {_WORKERS}"),
        _vidur_linear,
        dtype="fp16",
    ),
    Table(
        "vidur",
        _columns(f"batch_size prefill_chunk_size kv_cache_size n_q_head n_kv_head n_embd {_WORKERS}"),
        _vidur_attention,
        dtype="fp16",
    ),
)
FORMATS = ("auto", *dict.fromkeys(table.format for table in TABLES))
