"""Which operations to time: `grid` for a calibration, and what a decoder's layer has for a table.

- Along each curve the running size goes from decoding to prefill, as the cost model interpolates along it.
- Products are those of real models, some wider ones, and in a thorough calibration some with weights of
  eight and four bits. The rest is of one or two models.
- `few` is for a table that people read: one or two of each kind.
"""

from llmos.costs.decoder import SHAPES, Composition, ModelShape, operations
from llmos.costs.ops import (
    BatchedMatmul,
    Copy,
    DecodeAttention,
    Embedding,
    KvWrite,
    Matmul,
    Op,
    PrefillAttention,
    RmsNorm,
    Rotary,
    Sampling,
    Softmax,
    SwiGlu,
    VectorAdd,
)
from llmos.kernels.device import Device

DTYPES = ("fp32", "bf16", "fp16")
DECODE_TO_PREFILL = (1, 2, 3, 4, 8, 16, 32, 64, 128, 256, 512)
BETWEEN = (6, 12, 24, 48, 96, 192, 384)
LARGEST_CPU_WEIGHTS, LARGEST_CUDA_WEIGHTS = 2**24, 2**27
QUANTISED = ("int8", "int4", "int8-dynamic")
SPARSE = "2:4"

TOKENS, FEW_TOKENS = (1, 4, 16, 64, 256, 512), (1, 64)
CHUNKS = ((64, 64), (256, 256), (512, 512), (16, 512), (64, 512), (256, 512), (64, 1024), (256, 1024))
"""Of a prefill: new tokens and context, these included."""
CONTEXTS, BATCHES = (32, 128, 512, 1024), (1, 4, 16)
LONG_TOKENS, LONG_CONTEXTS = (1024, 4096), (4096, 8192)
LONG_CHUNKS = ((1024, 1024), (4096, 4096), (512, 4096), (2048, 8192))
"""What a GPU is asked in addition."""
COPY_SIZES = tuple(2**power for power in range(12, 27, 2))


def grid(device: Device, *, quick: bool) -> list[Op]:
    """The operations to time in a calibration."""
    cuda = device.kind == "cuda"
    limit = LARGEST_CUDA_WEIGHTS if cuda else LARGEST_CPU_WEIGHTS
    first = "llama-3-8b" if cuda else "tiny-20m"
    layers = _layers("qwen3-0.6b", "llama-3-8b") if cuda else _layers(first)
    if not quick:
        layers |= _layers("qwen3-0.6b", "llama-3-8b") | {(256, 256), (4096, 4096)}
    curves = sorted((k, n) for k, n in layers | {(2048, 2048)} if k * n <= limit)
    tokens = DECODE_TO_PREFILL if quick else sorted(DECODE_TO_PREFILL + BETWEEN)
    if cuda:
        tokens = [*tokens, 1024, 2048, 4096]
    ops: list[Op] = []
    for dtype in DTYPES:
        ops += [Matmul(m, k, n, dtype) for k, n in curves for m in tokens]
        ops += [VectorAdd(2**power, dtype) for power in range(10, 25)]
    models = (first,) if quick else (first, "qwen3-0.6b")
    for dtype in DTYPES[:2] if quick and not cuda else DTYPES[1:] if quick else DTYPES:
        for model in models:
            ops += attention_ops(SHAPES[model], dtype, long=cuda)
            ops += layer_ops(SHAPES[model], dtype, long=cuda)
    if not quick:
        ops += _compressed(sorted(_layers(first)), cuda=cuda)
    fitting = [op for op in ops if not isinstance(op, Embedding) or op.vocab * op.hidden <= limit]
    return list(dict.fromkeys(fitting)) + copy_ops(device.kind)


def _layers(*shapes: str) -> set[tuple[int, int]]:
    """The (k, n) of the matmuls of these models."""
    one = Composition(decode=(1,), sampled=1)
    ops = [op for shape in shapes for _, op in operations(SHAPES[shape], one)]
    return {(op.k, op.n) for op in ops if isinstance(op, Matmul)}


def _compressed(curves: list[tuple[int, int]], *, cuda: bool) -> list[Op]:
    """Products with weights of fewer bits, and on a GPU of fewer weights."""
    weights = (*QUANTISED, SPARSE) if cuda else QUANTISED
    tokens = [*DECODE_TO_PREFILL, 1024, 2048, 4096] if cuda else DECODE_TO_PREFILL
    return [
        Matmul(m, k, n, dtype, stored)
        for dtype in (("bf16",) if cuda else ("fp32", "bf16"))
        for stored in weights
        for k, n in curves
        for m in tokens
    ]  # fmt: skip


def attention_ops(shape: ModelShape, dtype: str, *, few: bool = False, long: bool = False) -> list[Op]:
    """Attention of prefill and decoding, and the writing of keys and values; `long` ones too."""
    heads = (shape.heads, shape.kv_heads, shape.head_dim)
    chunks = ((256, 256), (64, 512)) if few else CHUNKS + (LONG_CHUNKS if long else ())
    ops: list[Op] = [PrefillAttention(new, context, *heads, dtype=dtype) for new, context in chunks]
    for layout in ("contiguous", "paged"):
        contexts = (512,) if few else CONTEXTS + (LONG_CONTEXTS if long else ())
        batches = (4,) if few else BATCHES
        ops += [DecodeAttention(c, b, *heads, dtype, layout) for b in batches for c in contexts]
    tokens = FEW_TOKENS[-1:] if few else TOKENS + (LONG_TOKENS if long else ())
    return ops + [KvWrite(each, shape.kv_heads, shape.head_dim, dtype) for each in tokens]


def layer_ops(shape: ModelShape, dtype: str, *, few: bool = False, long: bool = False) -> list[Op]:
    """What lies between attention and products, for tokens from decoding to prefill; `long` ones too."""
    tokens = FEW_TOKENS[-1:] if few else TOKENS + (LONG_TOKENS if long else ())
    both = shape.heads + shape.kv_heads
    ops: list[Op] = [RmsNorm(each, shape.hidden, dtype) for each in tokens]
    ops += [Rotary(each, both, shape.head_dim, dtype) for each in tokens]
    ops += [SwiGlu(each, shape.ffn, dtype) for each in tokens]
    ops += [Embedding(each, shape.hidden, shape.vocab, dtype) for each in tokens]
    rows = [each for each in tokens if each <= FEW_TOKENS[-1]]  # one for each request
    ops += [Sampling(each, shape.vocab, dtype) for each in rows]
    ops += [Softmax(each, shape.vocab, dtype) for each in rows]
    return ops + [BatchedMatmul(each, shape.head_dim, 256, shape.heads, dtype) for each in rows]


def copy_ops(device: str) -> list[Op]:
    """Copies within a device, and between it and the host where that is another memory."""
    ops: list[Op] = [Copy(size) for size in COPY_SIZES]
    if device == "cuda":
        ops += [
            Copy(size, route, host)
            for route in ("to-device", "from-device")
            for host in ("pinned", "pageable")
            for size in COPY_SIZES
        ]
    return ops
