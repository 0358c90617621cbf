"""Paged and contiguous attention are the same attention."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from hypothesis import given  # noqa: E402 — what follows needs torch
from hypothesis import strategies as st  # noqa: E402
from torch.nn.attention.bias import causal_lower_right  # noqa: E402

from llmos.costs.decoder import BLOCK_TOKENS  # noqa: E402
from llmos.costs.ops import DecodeAttention  # noqa: E402
from llmos.kernels.ops.attention import (  # noqa: E402
    PAGED_DECODE,
    exact_decode,
    exact_paged_decode,
    gather,
    run_decode,
    run_paged_decode,
    run_prefill,
)  # fmt: skip
from llmos.kernels.pool import Fresh  # noqa: E402


@st.composite
def requests(draw):
    """Queries, keys and values in order, and the same in the blocks of a pool, in any of its places."""
    batch, context = draw(st.integers(1, 3)), draw(st.integers(1, 50))
    kv_heads, shared = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    each = -(-context // BLOCK_TOKENS)
    blocks = batch * each + draw(st.integers(0, 3))
    table = torch.tensor(draw(st.permutations(range(blocks)))[: batch * each]).view(batch, each)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    q = torch.randn(batch, kv_heads, shared, 8, generator=generator)
    pools = [torch.randn(blocks, BLOCK_TOKENS, kv_heads, 8, generator=generator) for _ in range(2)]
    rows = [
        torch.stack(
            [
                torch.stack([pool[table[b, t // BLOCK_TOKENS], t % BLOCK_TOKENS] for t in range(context)])
                for b in range(batch)
            ]
        )
        for pool in pools
    ]
    return q, pools, table, context, rows


@given(requests())
def test_where_the_blocks_are_does_not_matter(drawn):
    q, (keys, values), table, context, (in_order, values_in_order) = drawn
    assert torch.equal(gather(keys, table, context), in_order)
    paged = run_paged_decode(q, keys, values, table, context)
    assert torch.equal(paged, run_decode(q, in_order, values_in_order))
    exact = exact_paged_decode(q, keys, values, table, context)
    torch.testing.assert_close(exact, exact_decode(q, in_order, values_in_order))
    torch.testing.assert_close(paged.double(), exact, rtol=1e-4, atol=1e-5)


def test_what_is_behind_the_context_is_not_seen():
    op = DecodeAttention(context=20, batch=2, heads=4, kv_heads=2, head_dim=8, dtype="fp32")
    q, keys, values, table, context = PAGED_DECODE.operands(op, Fresh("cpu"))
    before = run_paged_decode(q, keys, values, table, context)
    values[table[:, -1], 20 % BLOCK_TOKENS :] = 1e9
    keys[table[:, -1], 20 % BLOCK_TOKENS :] = 1e9
    assert torch.equal(run_paged_decode(q, keys, values, table, context), before)


def test_a_prefill_in_two_chunks_is_one_prefill():
    source = Fresh("cpu")
    q = source.take(4 * 12 * 8, "fp32").view(1, 4, 12, 8)
    keys, values = (source.take(2 * 12 * 8, "fp32").view(1, 2, 12, 8) for _ in range(2))
    whole = run_prefill(q, keys, values, None)
    first = run_prefill(q[:, :, :7], keys[:, :, :7], values[:, :, :7], None)
    mask = torch.ones(5, 12, dtype=torch.bool).tril(7)
    second = run_prefill(q[:, :, 7:], keys, values, mask)
    torch.testing.assert_close(torch.cat([first, second], 2), whole)


@pytest.mark.parametrize(("new", "context"), [(1, 9), (5, 12), (7, 7)])
def test_the_mask_that_torch_knows_by_its_name_is_the_same_mask(new, context):
    """On a GPU it is given to torch in place of the mask; here torch makes the mask of it."""
    source = Fresh("cpu")
    q = source.take(4 * new * 8, "fp32").view(1, 4, new, 8)
    keys, values = (source.take(2 * context * 8, "fp32").view(1, 2, context, 8) for _ in range(2))
    seen = torch.ones(new, context, dtype=torch.bool).tril(context - new)
    named = run_prefill(q, keys, values, causal_lower_right(new, context))
    torch.testing.assert_close(named, run_prefill(q, keys, values, seen))


def test_blocks_are_different_ones_in_random_order():
    op = DecodeAttention(context=100, batch=4, heads=2, kv_heads=2, head_dim=8)
    tables = [PAGED_DECODE.operands(op, Fresh("cpu", seed))[3] for seed in (1, 2)]
    for table in tables:
        assert sorted(table.flatten().tolist()) == list(range(4 * 7))
    assert not torch.equal(*tables)
