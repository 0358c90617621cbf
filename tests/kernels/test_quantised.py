"""Weights of eight and four bits: what a code stands for, and how far that may be off."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from hypothesis import given  # noqa: E402 — what follows needs torch
from hypothesis import strategies as st  # noqa: E402
from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from llmos.costs.ops import Matmul  # noqa: E402
from llmos.kernels.accuracy import difference, error_of, stored_bytes  # noqa: E402
from llmos.kernels.ops import KERNELS, TORCH_DTYPES, kernel_of  # noqa: E402
from llmos.kernels.ops import quantised as q  # noqa: E402
from llmos.kernels.pool import Fresh  # noqa: E402

DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
    ),
]
everywhere = pytest.mark.parametrize("device", DEVICES)
in_each_dtype = pytest.mark.parametrize("dtype", sorted(TORCH_DTYPES))
FORMATS = ("int8", "int4", "int8-dynamic")


@st.composite
def weights(draw):
    n, k = draw(st.integers(1, 5)), draw(st.integers(1, 300))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    size = draw(st.sampled_from([1e-3, 1.0, 1e3]))
    return torch.randn(n, k, generator=generator) * size + draw(st.sampled_from([0.0, 3 * size]))


@given(weights())
def test_eight_bits_are_half_a_step_off_at_most(weight):
    codes, scale = q.quantise_int8(weight)
    assert codes.dtype == torch.int8
    assert codes.abs().max() <= 127
    off = (q.dequantise_int8(codes, scale) - weight).abs()
    assert (off <= scale[:, None] * 0.5001).all()
    assert torch.allclose(scale, weight.abs().amax(1) / 127)


@given(weights())
def test_four_bits_are_half_a_step_of_their_group_off_at_most(weight):
    codes, scale, zero = q.quantise_int4(weight)
    assert codes.max() <= 15
    off = (q.dequantise_int4(codes, scale, zero) - weight).abs()
    for group in range(scale.shape[1]):
        part = slice(group * 128, (group + 1) * 128)
        step = (weight[:, part].amax(1) - weight[:, part].amin(1)) / 15
        # fp32 rounds numbers of this size itself
        allowed = step.clamp(min=1e-6) * 0.501 + weight[:, part].abs().amax(1) * 1e-5
        assert (off[:, part] <= allowed[:, None]).all()


def test_a_row_of_zeros_stays_one():
    weight = torch.zeros(2, 256)
    assert torch.equal(q.dequantise_int8(*q.quantise_int8(weight)), weight)
    assert q.dequantise_int4(*q.quantise_int4(weight)).abs().max() < 1e-5


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**31))
def test_nibbles_come_out_as_they_went_in(n, k, seed):
    codes = torch.randint(0, 16, (n, k), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    packed = q.pack_nibbles(codes)
    assert packed.numel() == -(-n * k // 2)
    assert torch.equal(q.unpack_nibbles(packed, n, k), codes)


def test_a_pair_of_codes_is_a_byte_with_the_first_in_its_lower_half():
    assert q.pack_nibbles(torch.tensor([[1, 2, 3]], dtype=torch.uint8)).tolist() == [0x21, 0x03]


@everywhere
@in_each_dtype
@pytest.mark.parametrize("weights", FORMATS)
@pytest.mark.parametrize(("m", "k", "n"), [(1, 256, 32), (5, 384, 48), (40, 256, 64)])
def test_a_product_is_that_of_the_weights_that_the_codes_stand_for(weights, m, k, n, dtype, device):
    op = Matmul(m, k, n, dtype, weights)
    for kernel in [each for each in KERNELS[f"matmul {weights}"] if not each.lacks(op, device)]:
        source = Fresh(device)
        with torch.inference_mode():
            weight = source.take(n * k, dtype).view(n, k)
            timed = kernel.operands(op, source)
            stored = kernel.pack(weight)
            answer = kernel.run(timed[0], *stored, *timed[1 + len(stored) :])
            meant = (q.dequantise_int4(*q.quantise_int4(weight)) if weights == "int4"
                     else q.dequantise_int8(*q.quantise_int8(weight)))  # fmt: skip
            # Dynamic inputs are rounded to a hundredth themselves.
            allowed = {"fp32": 1e-5, "bf16": 1e-2, "fp16": 2e-3}[dtype] + 0.02 * (weights == "int8-dynamic")
            assert difference(answer, timed[0].double() @ meant.double().t()) < allowed, kernel.note


@in_each_dtype
@pytest.mark.parametrize("weights", FORMATS)
@pytest.mark.parametrize(("m", "k", "n"), [(8, 63, 5), (3, 1, 1), (2, 100, 7)])
def test_no_kernel_is_given_a_size_that_it_reads_past(weights, m, k, n, dtype):
    """Torch's own calls for packed weights have no end of a row; one of them crashed at k = 63."""
    op = Matmul(m, k, n, dtype, weights)
    kernel = kernel_of(op, "cpu")
    assert "pack_mm" not in kernel.note
    with torch.inference_mode():
        assert error_of(op, kernel, kernel.run, Fresh("cpu")) < 0.2


@everywhere
@in_each_dtype
@pytest.mark.parametrize("weights", FORMATS)
def test_what_is_timed_is_what_would_be_stored(weights, dtype, device):
    op = Matmul(3, 256, 32, dtype, weights)
    kernel = kernel_of(op, device)
    timed = kernel.stored(*kernel.operands(op, Fresh(device)))
    stored = kernel.pack(torch.randn(32, 256, device=device).to(TORCH_DTYPES[dtype]))
    assert [(t.shape, t.dtype, t.stride()) for t in timed] == [(t.shape, t.dtype, t.stride()) for t in stored]
    assert stored_bytes(op, kernel, Fresh(device)) == op.weight_bytes


@everywhere
@in_each_dtype
@pytest.mark.parametrize(("weights", "least", "most"), [("int8", 3e-3, 1.3e-2), ("int4", 0.05, 0.12),
                                                        ("int8-dynamic", 5e-3, 2e-2)])  # fmt: skip
def test_the_error_is_that_of_so_many_bits(weights, least, most, dtype, device):
    # On paper: a uniform error of a step has a standard deviation of step / sqrt(12). A group of 128
    # normal numbers spans about 5.1 of their standard deviations, a fifteenth of which is a step of int4:
    # 0.098. A row of 512 has a largest of 3.2, a 127th of which is a step of int8: 0.007.
    op = Matmul(16, 512, 64, dtype, weights)
    kernel = kernel_of(op, device)
    with torch.inference_mode():
        assert least < error_of(op, kernel, kernel.run, Fresh(device)) < most


def test_eight_bits_are_better_than_four_and_both_cost_accuracy():
    errors = []
    for weights in ("dense", "int8", "int4"):
        op = Matmul(16, 512, 64, "fp32", weights)
        kernel = kernel_of(op, "cpu")
        errors.append(error_of(op, kernel, kernel.run, Fresh("cpu")))
    assert errors[0] < errors[1] / 100
    assert errors[1] < errors[2] / 5


def test_integers_and_fp32_give_the_same_dynamic_product():
    op = Matmul(5, 256, 32, "fp32", "int8-dynamic")
    x, codes, scale, out = kernel_of(op, "cpu").operands(op, Fresh("cpu"))
    in_integers = q.run_dynamic(x, codes, scale, torch.empty_like(out))
    torch.testing.assert_close(q.run_dynamic_in_fp32(x, codes, scale, out), in_integers)


# --- what torch's CUDA kernels want, as far as it can be known without one ---


@given(st.integers(1, 40), st.integers(1, 3), st.integers(0, 50), st.integers(0, 2**31))
def test_rows_that_fill_up_leave_the_product_as_it_is(m, eights, fewest, seed):
    generator = torch.Generator().manual_seed(seed)
    rows, codes = (
        torch.randint(-127, 128, (count, 8 * eights), generator=generator, dtype=torch.int8)
        for count in (m, 16)
    )
    product = q.multiply_codes(rows, codes, fewest)
    assert torch.equal(product, rows.int() @ codes.int().t())


def test_on_a_gpu_rows_are_more_than_sixteen(monkeypatch):
    seen, multiply = [], torch._int_mm
    monkeypatch.setattr(torch, "_int_mm", lambda x, y: seen.append(len(x)) or multiply(x, y))
    for m in (1, 16, 17, 40):
        q.multiply_codes(torch.ones(m, 8, dtype=torch.int8), torch.ones(8, 8, dtype=torch.int8), 32)
    assert seen == [32, 32, 32, 40]
    assert q.FEWEST_INT_ROWS > 16


def test_pairs_of_codes_are_packed_for_a_gpu_with_the_first_in_the_upper_half(monkeypatch):
    # int4mm.cu: v[0] of [n][k] int4 is the high half of v[0] of [n][k / 2] bytes; in.is_contiguous().
    given_to, weight = [], torch.randn(16, 256).bfloat16()
    monkeypatch.setattr(torch, "_convert_weight_to_int4pack", lambda *args: given_to.extend(args))
    _, scale_and_zero = q.pack_int4_for_cuda(weight)
    pairs, tiles = given_to
    codes, scale, zero = q.quantise_int4(weight)
    assert (pairs.shape, pairs.dtype, pairs.is_contiguous()) == ((16, 128), torch.uint8, True)
    assert torch.equal(torch.stack([pairs >> 4, pairs & 15], 2).flatten(1), codes)
    assert tiles in (2, 4, 8)
    assert scale_and_zero.is_contiguous()
    assert torch.equal(scale_and_zero[1, :, 0], scale[:, 1])
    assert torch.equal(scale_and_zero[1, :, 1], zero[:, 1])


@pytest.mark.parametrize(("m", "k", "n"), [(1, 128, 8), (17, 384, 48)])
def test_a_gpus_kernel_for_int4_takes_what_is_stored_and_what_is_timed(m, k, n):
    op, kernel = Matmul(m, k, n, "bf16", "int4"), q.INT4[1]
    timed = kernel.operands(op, Fresh("cpu"))
    with FakeTensorMode(allow_non_fake_inputs=True):  # Sizes and types by torch's own rules; no numbers.
        stored = kernel.pack(torch.empty(n, k, dtype=torch.bfloat16))
        answers = [kernel.run(timed[0], *kept) for kept in (stored, timed[1:])]
    assert [(t.shape, t.dtype, t.stride()) for t in kernel.stored(*timed)] == [
        (t.shape, t.dtype, t.stride()) for t in stored
    ]
    assert [(answer.shape, answer.dtype) for answer in answers] == [((m, n), torch.bfloat16)] * 2


@pytest.mark.parametrize(("k", "n"), [(200, 48), (256, 20)])
def test_sizes_that_torchs_kernel_refuses_are_written_out(k, n):
    op = Matmul(3, k, n, "bf16", "int4")
    kernel = kernel_of(op, "cpu")
    assert kernel.note == "written out"
    assert error_of(op, kernel, kernel.run, Fresh("cpu")) < 0.12
