"""Weights with fewer numbers: what goes, what stays, and where that is faster."""

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from hypothesis import given  # noqa: E402 — what follows needs torch
from hypothesis import strategies as st  # noqa: E402
from torch.sparse import SparseSemiStructuredTensorCUSPARSELT  # noqa: E402

from llmos.costs.ops import Matmul  # noqa: E402
from llmos.kernels.accuracy import difference, error_of, pruned_error, stored_bytes  # noqa: E402
from llmos.kernels.ops import kernel_of, sparse  # noqa: E402
from llmos.kernels.ops.dense import run_matmul  # noqa: E402
from llmos.kernels.ops.sparse import is_2_of_4, prune_2_of_4, prune_outputs  # noqa: E402
from llmos.kernels.pool import Fresh  # noqa: E402

# The root of the share that the two smallest of four normal numbers have in the sum of their squares.
SQUARES = np.sort(np.random.default_rng(1).normal(size=(100_000, 4)) ** 2, axis=1)
LOST = (SQUARES[:, :2].sum() / SQUARES.sum()) ** 0.5


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**31))
def test_two_of_four_stay_and_they_are_the_largest(n, fours, seed):
    weight = torch.randn(n, 4 * fours, generator=torch.Generator().manual_seed(seed))
    pruned = prune_2_of_4(weight)
    assert is_2_of_4(pruned)
    kept = pruned != 0
    assert torch.equal(pruned[kept], weight[kept])
    for before, after in zip(weight.view(-1, 4), pruned.view(-1, 4), strict=True):
        assert after.count_nonzero() == 2
        assert sorted(after.abs().tolist())[2:] == sorted(before.abs().tolist())[2:]


def test_the_pattern_is_two_of_four_not_half_of_all():
    assert is_2_of_4(torch.tensor([[1.0, 1, 0, 0, 0, 1, 0, 1]]))
    assert not is_2_of_4(torch.tensor([[1.0, 1, 1, 0, 0, 0, 0, 0]]))


@given(st.integers(1, 20), st.floats(0, 0.99), st.integers(0, 2**31))
def test_the_smallest_outputs_go(n, share, seed):
    weight = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    fewer, kept = prune_outputs(weight, share)
    assert fewer.shape[0] == max(1, n - round(share * n))
    assert torch.equal(fewer, weight[kept])
    assert kept.tolist() == sorted(set(kept.tolist()))
    size = weight.square().sum(1)
    gone = [row for row in range(n) if row not in kept.tolist()]
    assert all(size[row] <= size[kept].min() for row in gone)


def test_pruning_keeps_the_answers_of_what_stays():
    weight, x = torch.randn(8, 16), torch.randn(3, 16)
    fewer, kept = prune_outputs(weight, 0.5)
    torch.testing.assert_close(x @ fewer.t(), (x @ weight.t())[:, kept])


def test_half_of_the_outputs_of_a_random_layer_are_more_than_half_of_it():
    # The error is the root of the share that went: less than sqrt(1/2), for the smaller half went.
    error = pruned_error(Matmul(16, 64, 64, "fp32"), run_matmul, Fresh("cpu"))
    assert 0.6 < error < 0.71


def test_two_of_four_random_weights_are_a_third_of_the_answer():
    x, weight = torch.randn(64, 512), torch.randn(256, 512)
    error = difference(x @ prune_2_of_4(weight).t(), x.double() @ weight.double().t())
    assert error == pytest.approx(LOST, rel=0.05)


def test_elsewhere_it_says_what_is_missing():
    assert "NVIDIA" in kernel_of(Matmul(16, 64, 64, "bf16", "2:4"), "cpu")


@pytest.mark.parametrize("m", [1, 8, 13])
def test_a_product_with_a_weight_in_torchs_own_format_has_the_right_size(m):
    """On the meta device: what torch calls the parts of such a weight, and that it fills up few rows."""
    n, k = 32, 64
    packed = torch.empty(n, k * 9 // 16, dtype=torch.bfloat16, device="meta")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the interface may change
        weight = SparseSemiStructuredTensorCUSPARSELT(
            torch.Size([n, k]), packed=packed, meta=None, packed_t=None, meta_t=None,
            compressed_swizzled_bitmask=None,
        )  # fmt: skip
    x = torch.empty(m, k, dtype=torch.bfloat16, device="meta")
    with torch.inference_mode():
        answer = sparse.run_2_of_4(x, weight)
    assert (answer.shape, answer.dtype, answer.is_contiguous()) == ((m, n), torch.bfloat16, True)
    (kept,) = sparse.SPARSE.stored(x, weight)
    assert kept.numel() * kept.element_size() == Matmul(m, k, n, "bf16", "2:4").weight_bytes


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_sparse_product_on_a_gpu(dtype):
    op = Matmul(64, 512, 256, dtype, "2:4")
    kernel = kernel_of(op, "cuda")
    if isinstance(kernel, str):
        pytest.skip(kernel)
    assert "16" in kernel_of(Matmul(64, 100, 256, dtype, "2:4"), "cuda")
    with torch.inference_mode():
        source = Fresh("cuda")
        x = kernel.operands(op, source)[0]
        weight = source.take(op.n * op.k, dtype).view(op.n, op.k)
        answer = kernel.run(x, *kernel.pack(weight)).double()
        expected = x.double() @ prune_2_of_4(weight).double().t()
        assert (answer - expected).square().mean().sqrt() < 0.01 * expected.square().mean().sqrt()
        # cuSPARSELt says how much it needs; it may align what says where the numbers were.
        assert op.weight_bytes <= stored_bytes(op, kernel, source) < 1.1 * op.weight_bytes
        assert error_of(op, kernel, kernel.run, source) == pytest.approx(LOST, rel=0.05)
