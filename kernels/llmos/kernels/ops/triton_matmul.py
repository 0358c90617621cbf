"""A tiled matmul in Triton, to learn from: what `blocked` does, with every program on a GPU at once.

- `tiles` says how the result is cut up; read `blocked` first, it is the same loop.
- A program works on whole tiles: `tl.arange` makes the indices of one, an address is a pointer plus
  indices times strides, and a mask keeps it inside of the matrix.
- `tl.dot` is the tensor cores. They add up in fp32, whatever the inputs are.
- Which tile shape is best depends on m, n and k: a few are tried and the fastest is kept.
- Import it only where Triton is installed; to run, it wants a GPU (or TRITON_INTERPRET=1, to step through).

Source: Tillet et al., Triton, MAPL 2019; the order of tiles is that of Triton's tutorial on matmul.
Differs: no split along k, so that a decode-sized product with few tiles leaves most of a GPU idle; no
use of TMA or warp specialisation.
"""

import torch
import triton  # type: ignore[import-not-found, unused-ignore]  # for GPUs only
import triton.language as tl  # type: ignore[import-not-found, unused-ignore]
from torch import Tensor

from llmos.kernels.ops.tiles import TUNED, Tiles


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _program(  # type: ignore[no-untyped-def]  # the types are Triton's: pointers, numbers, constants
    x, weight, out,
    m, n, k,
    x_row, x_column, weight_row, weight_column, out_row, out_column,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:  # fmt: skip
    # Which tile is mine? As `Tiles.tile` has it.
    program = tl.program_id(0)
    rows, columns = tl.cdiv(m, BLOCK_M), tl.cdiv(n, BLOCK_N)
    strip, place = program // (GROUP_M * columns), program % (GROUP_M * columns)
    first = strip * GROUP_M
    high = min(rows - first, GROUP_M)
    row, column = first + place % high, place // high

    # The rows of x, the columns of weight and the steps along k that this program works on. As 64 bits:
    # a row times a stride does not always fit in 32.
    i = (row * BLOCK_M + tl.arange(0, BLOCK_M)).to(tl.int64)[:, None]
    j = (column * BLOCK_N + tl.arange(0, BLOCK_N)).to(tl.int64)[None, :]
    step = tl.arange(0, BLOCK_K)

    sums = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for start in range(0, k, BLOCK_K):
        at = start + step
        # Outside of a matrix there are zeros, which add nothing.
        x_tile = tl.load(x + i * x_row + at[None, :] * x_column, mask=(i < m) & (at[None, :] < k), other=0.0)
        weight_tile = tl.load(
            weight + at[:, None] * weight_row + j * weight_column, mask=(at[:, None] < k) & (j < n), other=0.0
        )
        sums = tl.dot(x_tile, weight_tile, sums, input_precision=PRECISION)

    tl.store(out + i * out_row + j * out_column, sums.to(out.dtype.element_ty), mask=(i < m) & (j < n))


def _config(tiles: Tiles) -> triton.Config:
    blocks = {"BLOCK_M": tiles.block_m, "BLOCK_N": tiles.block_n, "BLOCK_K": tiles.block_k}
    large = tiles.block_m * tiles.block_n >= 128 * 128
    return triton.Config(
        blocks | {"GROUP_M": tiles.group_m}, num_warps=8 if large else 4, num_stages=3 if large else 4
    )


_tuned = triton.autotune(configs=[_config(tiles) for tiles in TUNED], key=["m", "n", "k"])(_program)


def run_triton(x: Tensor, weight: Tensor, out: Tensor, tiles: Tiles | None = None) -> Tensor:
    """`x` (m, k) by `weight` (k, n) into `out` (m, n); without `tiles`, the fastest of `TUNED` are taken.

    To find them, the first call for each m, n and k takes some seconds.
    """
    (m, k), n = x.shape, weight.shape[1]
    strides = (*x.stride(), *weight.stride(), *out.stride())
    # In fp32 tensor cores would round the inputs to 10 bits (TF32), which torch.mm does not by itself.
    precision = "ieee" if x.dtype == torch.float32 else "tf32"
    if tiles is not None:
        _program[(tiles.programs(m, n),)](
            x, weight, out, m, n, k, *strides,
            tiles.block_m, tiles.block_n, tiles.block_k, tiles.group_m, precision,
        )  # fmt: skip
        return out
    grid = lambda chosen: (triton.cdiv(m, chosen["BLOCK_M"]) * triton.cdiv(n, chosen["BLOCK_N"]),)  # noqa: E731
    _tuned[grid](x, weight, out, m, n, k, *strides, PRECISION=precision)
    return out
