import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from llmos.costs.ops import Matmul, VectorAdd  # noqa: E402 — what follows needs torch
from llmos.kernels.matmul import KERNELS, TORCH_DTYPES  # noqa: E402

# Relative to the sum of absolute products: half a unit in the last place of the result, with room
# for the order of summing in fp32.
TOLERANCE = {"fp32": 1e-6, "bf16": 2**-8, "fp16": 2**-11}
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
    ),
]


def operands(op, device):
    generator = torch.Generator().manual_seed(7)

    def take(count, role):
        return torch.randn(count, generator=generator).to(TORCH_DTYPES[op.dtype]).to(device)

    return KERNELS[op.kind].operands(op, take)


def double(tensor):
    return tensor.detach().cpu().double().numpy()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", sorted(TORCH_DTYPES))
@pytest.mark.parametrize(("m", "k", "n"), [(1, 64, 32), (3, 128, 17), (33, 257, 65)])
def test_a_product_is_that_of_numpy_in_double(m, k, n, dtype, device):
    op = Matmul(m, k, n, dtype)
    x, weight, out = operands(op, device)
    KERNELS[op.kind].run(x, weight, out)
    assert out.shape == (m, n)
    error = np.abs(double(out) - double(x) @ double(weight))
    assert (error <= TOLERANCE[dtype] * (np.abs(double(x)) @ np.abs(double(weight)))).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", sorted(TORCH_DTYPES))
def test_a_sum_is_that_of_numpy_in_double(dtype, device):
    op = VectorAdd(1000, dtype)
    x, y, out = operands(op, device)
    KERNELS[op.kind].run(x, y, out)
    error = np.abs(double(out) - (double(x) + double(y)))
    assert (error <= TOLERANCE[dtype] * (np.abs(double(x)) + np.abs(double(y)))).all()


@pytest.mark.parametrize("op", [Matmul(3, 5, 7, "bf16"), VectorAdd(11, "fp32")])
def test_operands_are_as_large_as_the_operation_says_it_moves(op):
    tensors = operands(op, "cpu")
    assert sum(tensor.numel() * tensor.element_size() for tensor in tensors) == op.bytes


def test_weights_lie_one_row_per_output():
    _, weight, _ = operands(Matmul(1, 5, 7), "cpu")
    assert weight.t().is_contiguous()
