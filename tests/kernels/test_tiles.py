"""A result in tiles: each number computed once, whatever the tiles; in plain torch and in Triton."""

import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from hypothesis import given  # noqa: E402 — what follows needs torch
from hypothesis import strategies as st  # noqa: E402

from llmos.kernels.ops.blocked import run_blocked  # noqa: E402
from llmos.kernels.ops.tiles import TUNED, Tiles  # noqa: E402

TOLERANCE = {torch.float32: 1e-6, torch.bfloat16: 2**-8, torch.float16: 2**-11}
sizes = st.integers(1, 40)
tilings = st.builds(Tiles, *[st.integers(1, 20)] * 3, st.integers(1, 4))


@given(tilings, sizes, sizes)
def test_each_tile_has_one_program(tiles, m, n):
    programs = tiles.programs(m, n)
    rows, columns = -(-m // tiles.block_m), -(-n // tiles.block_n)
    found = {tiles.tile(program, m, n) for program in range(programs)}
    assert found == {(row, column) for row in range(rows) for column in range(columns)}
    assert programs == rows * columns


def test_programs_go_through_a_strip_column_by_column():
    tiles = Tiles(1, 1, 1, group_m=2)
    assert [tiles.tile(p, 3, 2) for p in range(6)] == [(0, 0), (1, 0), (0, 1), (1, 1), (2, 0), (2, 1)]


@given(tilings, sizes, sizes, sizes, st.sampled_from(sorted(TOLERANCE, key=str)), st.integers(0, 2**31))
def test_blocked_is_the_product_of_numpy_in_double(tiles, m, k, n, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(m, k, generator=generator).to(dtype)
    weight = torch.randn(n, k, generator=generator).to(dtype).t()
    out = run_blocked(x, weight, torch.full((m, n), torch.nan, dtype=dtype), tiles)
    a, b = x.double().numpy(), weight.double().numpy()
    assert (np.abs(out.double().numpy() - a @ b) <= TOLERANCE[dtype] * (np.abs(a) @ np.abs(b)) + 1e-9).all()


def test_sums_are_rounded_once_at_the_end():
    # Each step of one would round to bf16's 8 bits: 256 + 1 is 256 there.
    x, weight = torch.ones(1, 300, dtype=torch.bfloat16), torch.ones(300, 1, dtype=torch.bfloat16)
    out = run_blocked(x, weight, torch.empty(1, 1, dtype=torch.bfloat16), Tiles(16, 16, 1))
    assert out.item() == 300


TRITON = """
import torch
from llmos.kernels.ops.tiles import Tiles
from llmos.kernels.ops.triton_matmul import run_triton
for dtype, most in ((torch.float32, 1e-6), (torch.float16, 2**-11)):
    for m, k, n in ((1, 64, 32), (33, 70, 65)):
        for tiles in (Tiles(16, 16, 16, 2), Tiles(32, 64, 32, 8)):
            x, weight = torch.randn(m, k).to(dtype), torch.randn(n, k).to(dtype).t()
            out = run_triton(x, weight, torch.full((m, n), torch.nan, dtype=dtype), tiles)
            exact, size = x.double() @ weight.double(), x.double().abs() @ weight.double().abs()
            assert ((out.double() - exact).abs() <= most * size).all(), (dtype, m, k, n, tiles)
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_triton_computes_the_same_step_by_step():
    """In Triton's interpreter, which needs no GPU. (It has no bf16.)"""
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", TRITON], env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    not torch.cuda.is_available() or find_spec("triton") is None, reason="Triton and a CUDA device are needed"
)
@pytest.mark.parametrize("dtype", sorted(TOLERANCE, key=str), ids=str)
@pytest.mark.parametrize(("m", "k", "n"), [(1, 512, 256), (100, 300, 200), (256, 1024, 512)])
@pytest.mark.parametrize("tiles", [None, TUNED[0], TUNED[-2]])
def test_triton_computes_the_same_on_a_gpu(tiles, m, k, n, dtype):
    from llmos.kernels.ops.triton_matmul import run_triton

    x, weight = torch.randn(m, k).to(dtype).cuda(), torch.randn(n, k).to(dtype).cuda().t()
    out = run_triton(x, weight, torch.full((m, n), torch.nan, dtype=dtype, device="cuda"), tiles)
    exact, size = x.double() @ weight.double(), x.double().abs() @ weight.double().abs()
    assert ((out.double() - exact).abs() <= 2 * TOLERANCE[dtype] * size).all()
    torch.testing.assert_close(out, x @ weight, rtol=2e-2, atol=2e-2 * k**0.5)
