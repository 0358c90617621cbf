"""Every kernel gives what numpy gives in float64, by a formula written here once more."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from llmos.costs.ops import (  # noqa: E402 — what follows needs torch
    OPS,
    BatchedMatmul,
    Copy,
    DecodeAttention,
    Embedding,
    KvWrite,
    Matmul,
    PrefillAttention,
    RmsNorm,
    Rotary,
    Sampling,
    Send,
    Softmax,
    SwiGlu,
    VectorAdd,
    make_op,
)  # fmt: skip
from llmos.kernels.ops import KERNELS, NOT_HERE, TORCH_DTYPES, kernel_name, kernel_of  # noqa: E402
from llmos.kernels.pool import Fresh  # noqa: E402

# Half a unit in the last place of a result near 1; in fp32 with room for the order of summing.
ROUNDING = {"fp32": 1e-6, "bf16": 2**-8, "fp16": 2**-11}
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
    ),
]
everywhere = pytest.mark.parametrize("device", DEVICES)
in_each_dtype = pytest.mark.parametrize("dtype", sorted(TORCH_DTYPES))


def run(op, device):
    """The operands and the answer, as numpy in float64, of one run of an operation."""
    kernel = kernel_of(op, device)
    with torch.inference_mode():
        operands = kernel.operands(op, Fresh(device, seed=7))
        before = [double(each) if isinstance(each, torch.Tensor) else each for each in operands]
        answer = kernel.run(*operands)
    return before, double(answer)


def double(tensor):
    return tensor.detach().cpu().double().numpy()


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@everywhere
@in_each_dtype
@pytest.mark.parametrize(("m", "k", "n"), [(1, 64, 32), (3, 128, 17), (33, 257, 65)])
def test_a_product(m, k, n, dtype, device):
    (x, weight, _), answer = run(Matmul(m, k, n, dtype), device)
    assert answer.shape == (m, n)
    assert (np.abs(answer - x @ weight) <= ROUNDING[dtype] * (np.abs(x) @ np.abs(weight))).all()


@everywhere
@in_each_dtype
def test_products_in_a_batch(dtype, device):
    (x, y, _), answer = run(BatchedMatmul(5, 33, 7, 3, dtype), device)
    assert answer.shape == (3, 5, 7)
    for i in range(3):
        assert (np.abs(answer[i] - x[i] @ y[i]) <= ROUNDING[dtype] * (np.abs(x[i]) @ np.abs(y[i]))).all()


@everywhere
@in_each_dtype
def test_a_sum(dtype, device):
    (x, y, _), answer = run(VectorAdd(1000, dtype), device)
    assert (np.abs(answer - (x + y)) <= ROUNDING[dtype] * (np.abs(x) + np.abs(y))).all()


@everywhere
@in_each_dtype
@pytest.mark.parametrize(("tokens", "context", "batch"), [(9, 9, 2), (4, 11, 1), (1, 5, 1)])
def test_a_prefill_sees_what_came_before_each_token(tokens, context, batch, dtype, device):
    op = PrefillAttention(tokens, context, heads=4, kv_heads=2, head_dim=16, batch=batch, dtype=dtype)
    (q, keys, values, _), answer = run(op, device)
    for b in range(batch):
        for head in range(4):
            for i in range(tokens):
                seen = slice(context - tokens + i + 1)
                weights = softmax(keys[b, head // 2, seen] @ q[b, head, i] / 4)
                expected = weights @ values[b, head // 2, seen]
                assert answer[b, head, i] == pytest.approx(expected, abs=8 * ROUNDING[dtype])


@everywhere
@in_each_dtype
def test_a_decode_sees_all_tokens_of_its_request(dtype, device):
    (q, keys, values), answer = run(DecodeAttention(21, 3, 6, 2, 16, dtype, "contiguous"), device)
    assert answer.shape == (3, 2, 3, 16)
    for b in range(3):
        for shared in range(2):
            for head in range(3):
                weights = softmax(keys[b, :, shared] @ q[b, shared, head] / 4)
                expected = weights @ values[b, :, shared]
                assert answer[b, shared, head] == pytest.approx(expected, abs=8 * ROUNDING[dtype])


@everywhere
@in_each_dtype
def test_new_keys_land_in_their_slots_and_nowhere_else(dtype, device):
    op = KvWrite(5, 2, 8, dtype)
    kernel = kernel_of(op, device)
    keys, values, slots, new_keys, new_values = kernel.operands(op, Fresh(device))
    kernel.run(keys, values, slots, new_keys, new_values)
    assert len(set(slots.tolist())) == 5
    for kept, new in ((keys, new_keys), (values, new_values)):
        for slot, row in zip(slots.tolist(), new, strict=True):
            assert torch.equal(kept[slot], row)
        assert torch.count_nonzero(kept.abs().sum((1, 2))) == 5


@everywhere
@in_each_dtype
def test_a_norm(dtype, device):
    (x, weight), answer = run(RmsNorm(6, 48, dtype), device)
    expected = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-6) * weight
    assert answer == pytest.approx(expected, rel=4 * ROUNDING[dtype], abs=ROUNDING[dtype])


@everywhere
@in_each_dtype
def test_rotary_turns_each_pair(dtype, device):
    (x, cosine, sine, _), answer = run(Rotary(3, 4, 10, dtype), device)
    first, second = x[..., :5], x[..., 5:]
    expected = np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    assert np.abs(answer - expected).max() <= 16 * ROUNDING[dtype]


def test_rotary_of_an_odd_size_is_refused_in_words():
    assert "odd" in kernel_of(Rotary(3, 4, 5), "cpu")


@everywhere
@in_each_dtype
def test_an_activation(dtype, device):
    (gate, up, _), answer = run(SwiGlu(3, 50, dtype), device)
    expected = gate / (1 + np.exp(-gate)) * up
    assert answer == pytest.approx(expected, rel=4 * ROUNDING[dtype], abs=ROUNDING[dtype])


@everywhere
@in_each_dtype
def test_rows_of_a_table(dtype, device):
    (table, tokens, _), answer = run(Embedding(7, 12, 30, dtype), device)
    assert (answer == table[tokens.astype(int)]).all()


@everywhere
@in_each_dtype
def test_a_softmax(dtype, device):
    (x, _), answer = run(Softmax(4, 33, dtype), device)
    assert answer == pytest.approx(softmax(x), rel=4 * ROUNDING[dtype], abs=ROUNDING[dtype] / 33)


@everywhere
@in_each_dtype
def test_the_likeliest_token(dtype, device):
    (x, _), answer = run(Sampling(8, 100, dtype), device)
    assert (x[np.arange(8), answer.astype(int)] == x.max(axis=1)).all()


@everywhere
@pytest.mark.parametrize("route", ["device", "to-device", "from-device"])
@pytest.mark.parametrize("host", ["pinned", "pageable"])
def test_a_copy(route, host, device):
    op = Copy(1000, route, host)
    if route != "device" and device == "cpu":
        assert "host" in kernel_of(op, device)
        return
    kernel = kernel_of(op, device)
    source, target = kernel.operands(op, Fresh(device))
    kernel.run(source, target)
    if device == "cuda":
        torch.cuda.synchronize()
    assert torch.equal(source.cpu(), target.cpu())


# --- what there is ------------------------------------------------------------------------------------


def test_every_operation_has_a_kernel_or_a_reason():
    names = {name.split()[0] for name in KERNELS}
    assert names | set(NOT_HERE) == set(OPS)
    assert not names & set(NOT_HERE)


@pytest.mark.parametrize(
    ("op", "why"),
    [(Matmul(1, 1, 1, "fp8"), "fp8"), (Send(10), "predicted"), (make_op("file_read", {"size": 9}), "files")],
)
def test_what_is_not_run_here_says_why(op, why):
    assert why in kernel_of(op, "cpu")


def test_an_operation_that_nobody_wrote_a_kernel_for_is_told(monkeypatch):
    monkeypatch.delitem(KERNELS, "softmax")
    assert kernel_of(Softmax(1, 1), "cpu") == "there is no kernel for softmax"


# What the operation says that it moves, and what its kernel is given to move. What is not all read (a
# table, a cache), or read through a table of its own, is left out here.
@in_each_dtype
@pytest.mark.parametrize(
    "op",
    [
        Matmul(3, 5, 7), BatchedMatmul(3, 5, 7, 2), VectorAdd(11), RmsNorm(3, 8), Rotary(3, 4, 8),
        SwiGlu(3, 9), Softmax(3, 9), Sampling(3, 9), Copy(100),
        Matmul(3, 256, 32, weights="int8"), Matmul(3, 256, 32, weights="int4"),
        Matmul(3, 200, 32, weights="int4"), Matmul(3, 256, 32, weights="int8-dynamic"),
    ],
    ids=kernel_name,
)  # fmt: skip
def test_operands_are_as_large_as_the_operation_says_it_moves(op, dtype):
    op = make_op(op.kind, {**{name: getattr(op, name) for name in (*op.sizes(), *op.words)},
                           **({"dtype": dtype} if "dtype" in op.words else {})})  # fmt: skip
    tensors = kernel_of(op, "cpu").operands(op, Fresh("cpu"))
    moved = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    # Kernels that allocate their result are not given a place for it.
    missing = {"rms_norm": op.dims[0] * op.dims[-1], "matmul": op.dims[0] * op.dims[-1]}.get(op.kind, 0)
    assert op.bytes - moved in (0, missing * torch.empty(0, dtype=TORCH_DTYPES[dtype]).element_size())


def test_weights_lie_one_row_per_output():
    op = Matmul(1, 5, 7)
    _, weight, _ = kernel_of(op, "cpu").operands(op, Fresh("cpu"))
    assert weight.t().is_contiguous()
