"""Products with weights of eight and four bits.

- int8: a weight is q * scale, q from -127 to 127, with one scale for each output.
- int4: a weight is (q - 8) * scale + zero, q from 0 to 15, with a scale and a zero for every 128 weights
  of an output; the zero is the middle of their range.
- Weight-only: they become numbers of the operation's dtype on their way into the product. Where torch
  has a kernel that does so as it multiplies, that is taken; else the weights are written out in full
  first, which saves memory and costs time.
- Dynamic: the inputs become int8 as they come, a scale for each row, and int8 is multiplied by int8.

Source: torch's own calls are those that torchao, PyTorch's library for this, makes: `torch._int_mm`,
`torch._weight_int8pack_mm`, `torch._weight_int4pack_mm` and its twin for CPUs. They have no public name.
(`torch.ao.quantization` and quantised tensors are being removed from torch.)
"""

from typing import Any

import torch
from torch import Tensor

from llmos.costs.ops import Matmul
from llmos.costs.ops.dense import GROUP
from llmos.kernels.ops.base import Kernel, Source
from llmos.kernels.ops.dense import activations, exact_matmul, results

INNER_TILES = 8
"""Tiles of 16 inputs that a thread of torch's CUDA kernel for int4 takes at a time."""
FEWEST_INT_ROWS = 32
"""More than 16 rows are what `torch._int_mm` wants on CUDA; fewer are filled up with zeros."""

WIDEST_LANES = 16
"""Numbers of fp32 in a register of a CPU with AVX-512."""


# --- from numbers to codes and back -------------------------------------------------------------------


def quantise_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The codes (n, k), int8, and scales (n) of `weight` (n, k). A weight is off by scale / 2 at most."""
    scale = weight.float().abs().amax(1).clamp(min=1e-12) / 127
    codes = (weight.float() / scale[:, None]).round().clamp(-127, 127).to(torch.int8)
    return codes, scale.to(weight.dtype)


def dequantise_int8(codes: Tensor, scale: Tensor) -> Tensor:
    """The weights (n, k) that those codes stand for, in the scales' dtype."""
    return codes.to(scale.dtype) * scale[:, None]


def quantise_int4(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The codes (n, k), uint8, and scales and zeros (n, groups) of `weight` (n, k).

    A weight is off by scale / 2 at most.
    """
    n, k = weight.shape
    groups = -(-k // GROUP)
    # What fills the last group up is its own last weight, which leaves its range as it is.
    filler = weight[:, -1:].expand(n, groups * GROUP - k)
    grouped = torch.cat([weight, filler], 1).float().view(n, groups, GROUP)
    low, high = grouped.amin(2), grouped.amax(2)
    scale = (high - low).clamp(min=1e-6) / 15
    zero = low + 8 * scale
    codes = ((grouped - zero[..., None]) / scale[..., None] + 8).round().clamp(0, 15)
    return codes.to(torch.uint8).view(n, -1)[:, :k], scale.to(weight.dtype), zero.to(weight.dtype)


def dequantise_int4(codes: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """The weights (n, k) that those codes stand for, in the scales' dtype."""
    k = codes.shape[1]
    scale, zero = (each.repeat_interleave(GROUP, dim=1)[:, :k] for each in (scale, zero))
    return (codes.to(scale.dtype) - 8) * scale + zero


def pack_nibbles(codes: Tensor) -> Tensor:
    """Two codes below 16 in each byte, flat: the first of a pair in its lower half."""
    flat = codes.flatten()
    if flat.numel() % 2:
        flat = torch.cat([flat, flat.new_zeros(1)])
    return flat[::2] | flat[1::2] << 4


def unpack_nibbles(packed: Tensor, n: int, k: int) -> Tensor:
    """The codes (n, k) in those bytes."""
    return torch.stack([packed & 15, packed >> 4], 1).flatten()[: n * k].view(n, k)


# --- products -----------------------------------------------------------------------------------------


def run_int8(x: Tensor, codes: Tensor, scale: Tensor, out: Tensor) -> Tensor:
    """`x` (m, k) by int8 weights, written out in `x`'s dtype first; scaled at the end, a column at a time."""
    return torch.mm(x, codes.to(x.dtype).t(), out=out).mul_(scale)


def run_int8_packed(x: Tensor, codes: Tensor, scale: Tensor, _out: Any = None) -> Tensor:
    """The same in one call, which reads the codes as they are."""
    return torch._weight_int8pack_mm(x, codes, scale)


def run_int4(x: Tensor, packed: Tensor, scale: Tensor, zero: Tensor, out: Tensor) -> Tensor:
    """`x` (m, k) by int4 weights, written out in `x`'s dtype first."""
    weight = dequantise_int4(unpack_nibbles(packed, out.shape[1], x.shape[1]), scale, zero)
    return torch.mm(x, weight.t(), out=out)


def run_int4_on_cpu(x: Tensor, packed: Tensor, scale_and_zero: Tensor, _out: Any = None) -> Tensor:
    """The same in one call, of weights in that call's own order."""
    return torch._weight_int4pack_mm_for_cpu(x, packed, GROUP, scale_and_zero)


def run_int4_on_cuda(x: Tensor, packed: Tensor, scale_and_zero: Tensor, _out: Any = None) -> Tensor:
    """The same in one call, of weights in that call's own order."""
    return torch._weight_int4pack_mm(x, packed, GROUP, scale_and_zero)


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """The codes of `x` (m, k), from -127 to 127, and each row's scale (m, 1), both in fp32."""
    x = x.float()
    scale = x.abs().amax(1, keepdim=True).clamp(min=1e-6) / 127
    return (x / scale).round().clamp(-127, 127), scale


def run_dynamic(x: Tensor, codes: Tensor, scale: Tensor, out: Tensor) -> Tensor:
    """`x` (m, k), made int8 row by row, by int8 weights, in integers."""
    rows, row_scale = quantise_rows(x)
    sums = multiply_codes(rows.to(torch.int8), codes, FEWEST_INT_ROWS if x.is_cuda else 0)
    return torch.mul(sums * row_scale, scale, out=out)


def multiply_codes(rows: Tensor, codes: Tensor, fewest: int = 0) -> Tensor:
    """`rows` (m, k) by `codes` (n, k), both int8, as int32.

    Fewer rows than `fewest` are filled up with zeros meanwhile.
    """
    missing = max(0, fewest - len(rows))
    filled = torch.nn.functional.pad(rows, (0, 0, 0, missing)) if missing else rows
    return torch._int_mm(filled, codes.t())[: len(rows)]


def run_dynamic_in_fp32(x: Tensor, codes: Tensor, scale: Tensor, out: Tensor) -> Tensor:
    """The same with the integers in fp32, for CPUs that have no instruction for products of int8.

    No sum is rounded below k = 1040: it stays under 2**24.
    """
    rows, row_scale = quantise_rows(x)
    sums = torch.mm(rows, codes.float().t())
    return torch.mul(sums * row_scale, scale, out=out)


# --- as they are stored -------------------------------------------------------------------------------


def pack_int4(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`weight` (n, k) as `run_int4` takes it."""
    codes, scale, zero = quantise_int4(weight)
    return pack_nibbles(codes), scale, zero


def pack_int4_for_cpu(weight: Tensor) -> tuple[Tensor, Tensor]:
    """`weight` (n, k) as `run_int4_on_cpu` takes it."""
    codes, scale, zero = quantise_int4(weight)
    packed = torch._convert_weight_to_int4pack_for_cpu(codes.int(), 1)
    return packed, _together(scale, zero)


def pack_int4_for_cuda(weight: Tensor) -> tuple[Tensor, Tensor]:
    """`weight` (n, k) as `run_int4_on_cuda` takes it."""
    codes, scale, zero = quantise_int4(weight)
    # This call has the first of a pair in the upper half of the byte.
    packed = torch._convert_weight_to_int4pack(codes[:, ::2] << 4 | codes[:, 1::2], INNER_TILES)
    return packed, _together(scale, zero)


def _together(scale: Tensor, zero: Tensor) -> Tensor:
    """(groups, n, 2), as torch's calls for int4 take scales and zeros."""
    return torch.stack([scale.t(), zero.t()], 2).contiguous()


def _int8_operands(op: Matmul, source: Source) -> tuple[Tensor, ...]:
    codes = source.take(op.n * op.k, torch.int8).view(op.n, op.k)
    return activations(op, source), codes, source.take(op.n, op.dtype), results(op, source)


def _int4_operands(op: Matmul, source: Source) -> tuple[Tensor, ...]:
    packed = source.take(-(-op.n * op.k // 2), torch.uint8)
    groups = -(-op.k // GROUP)
    scale, zero = (source.take(op.n * groups, op.dtype).view(op.n, groups) for _ in range(2))
    return activations(op, source), packed, scale, zero, results(op, source)


def _int4_cpu_operands(op: Matmul, source: Source) -> tuple[Tensor, ...]:
    packed = source.take(op.n * op.k // 2, torch.uint8).view(op.n, op.k // 2)
    return activations(op, source), packed, _scales(op, source)


def _int4_cuda_operands(op: Matmul, source: Source) -> tuple[Tensor, ...]:
    shape = (op.n // 8, op.k // (INNER_TILES * 16), 32, INNER_TILES // 2)
    packed = source.take(op.n * op.k // 2, torch.uint8).view(torch.int32).view(shape)
    return activations(op, source), packed, _scales(op, source)


def _scales(op: Matmul, source: Source) -> Tensor:
    return source.take(op.k // GROUP * op.n * 2, op.dtype).view(op.k // GROUP, op.n, 2)


# --- which of them ------------------------------------------------------------------------------------


def _only_bf16_on_cpu(op: Matmul, device: str) -> str:
    # On CUDA there is one, too: in fp32 and without tensor cores, so that writing out is the better way.
    return "" if (op.dtype, device) == ("bf16", "cpu") else "torch's kernel for it is for bf16 on CPUs"


def _int8_on_cpu_lacks(op: Matmul, device: str) -> str:
    # It takes 8 or 16 weights of a row at a time and has no end: it reads past them, and may crash.
    whole = op.k % (2 * WIDEST_LANES) == 0
    return _only_bf16_on_cpu(op, device) or ("" if whole else "k is no multiple of 32")


def _int4_on_cpu_lacks(op: Matmul, device: str) -> str:
    whole = op.k % GROUP == 0 and op.n % 16 == 0
    return _only_bf16_on_cpu(op, device) or ("" if whole else "k is no multiple of 128, or n none of 16")


def _int4_on_cuda_lacks(op: Matmul, device: str) -> str:
    if device != "cuda" or op.dtype != "bf16" or torch.cuda.get_device_capability() < (8, 0):
        return "torch's kernel for it is for bf16 on NVIDIA GPUs from Ampere on"
    return "" if op.k % GROUP == 0 and op.n % 8 == 0 else "k is no multiple of 128, or n none of 8"


def _int_mm_lacks(op: Matmul, device: str) -> str:
    if device == "cuda":
        return "" if op.k % 8 == 0 and op.n % 8 == 0 else "k and n must be multiples of 8"
    return "" if torch.cpu._is_vnni_supported() else "this CPU has no instruction for products of int8"


def _in_fp32_lacks(_op: Matmul, device: str) -> str:
    return "" if device == "cpu" else "k and n must be multiples of 8"


def _first_and_second(_x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
    return rest[:2]


INT8 = (
    Kernel(
        _int8_operands, run_int8_packed, exact_matmul, _first_and_second, quantise_int8,
        _int8_on_cpu_lacks, "torch._weight_int8pack_mm",
    ),
    Kernel(_int8_operands, run_int8, exact_matmul, _first_and_second, quantise_int8, note="written out"),
)  # fmt: skip
INT4 = (
    Kernel(
        _int4_cpu_operands, run_int4_on_cpu, exact_matmul, _first_and_second, pack_int4_for_cpu,
        _int4_on_cpu_lacks, "torch._weight_int4pack_mm_for_cpu",
    ),
    Kernel(
        _int4_cuda_operands, run_int4_on_cuda, exact_matmul, _first_and_second, pack_int4_for_cuda,
        _int4_on_cuda_lacks, "torch._weight_int4pack_mm",
    ),
    Kernel(
        _int4_operands, run_int4, exact_matmul, lambda _x, *rest: rest[:3], pack_int4, note="written out",
    ),
)  # fmt: skip
DYNAMIC = (
    Kernel(
        _int8_operands, run_dynamic, exact_matmul, _first_and_second, quantise_int8, _int_mm_lacks,
        "torch._int_mm",
    ),
    Kernel(
        _int8_operands, run_dynamic_in_fp32, exact_matmul, _first_and_second, quantise_int8,
        _in_fp32_lacks, "int8 multiplied as fp32",
    ),
)  # fmt: skip
