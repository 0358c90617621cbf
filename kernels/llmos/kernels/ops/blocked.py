"""A tiled matmul in plain torch: the Triton kernel's twin, which runs anywhere and can be stepped through.

- The same tiles in the same order, the same loop along k, the same sums in fp32. Where Triton starts all
  programs at once, here one follows the other.
- It is for reading. Each of its steps is a call of torch, so it is slow where tiles are small.
"""

import torch
from torch import Tensor

from llmos.kernels.ops.tiles import Tiles

ROUGH = Tiles(64, 256, 256)
"""Large tiles, of which plain torch needs few."""


def run_blocked(x: Tensor, weight: Tensor, out: Tensor, tiles: Tiles = ROUGH) -> Tensor:
    """`x` (m, k) by `weight` (k, n) into `out` (m, n), tile by tile."""
    (m, _), n = x.shape, weight.shape[1]
    for program in range(tiles.programs(m, n)):
        row, column = tiles.tile(program, m, n)
        _one_tile(x, weight, out, tiles, row * tiles.block_m, column * tiles.block_n)
    return out


def _one_tile(x: Tensor, weight: Tensor, out: Tensor, tiles: Tiles, top: int, left: int) -> None:
    """The tile of the result whose first number is at (top, left): the work of one program."""
    rows = slice(top, top + tiles.block_m)  # A slice ends where the matrix ends; Triton masks instead.
    columns = slice(left, left + tiles.block_n)
    sums = torch.zeros_like(out[rows, columns], dtype=torch.float32)
    for start in range(0, x.shape[1], tiles.block_k):
        inner = slice(start, start + tiles.block_k)
        sums += x[rows, inner].float() @ weight[inner, columns].float()
    out[rows, columns] = sums  # rounded once, at the end
