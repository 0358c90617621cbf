import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed")

from torch.nn.attention.bias import CausalBias  # noqa: E402 — what follows needs torch

from llmos.costs.decoder import ModelShape  # noqa: E402
from llmos.errors import LlmosError  # noqa: E402
from llmos.kernels.paged import (  # noqa: E402
    ContiguousKv,
    PagedKv,
    causal_mask,
    decode_attention,
    padding_mask,
    prefill_attention,
)

SHAPE = ModelShape(2, 16, 4, 2, 8, 24, 50)
DEVICES = [
    "cpu",
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
    ),
]


def random(*size, seed=0, device="cpu"):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device)


def cache(kind=PagedKv, *, blocks=12, block_tokens=4, device="cpu"):
    return kind(SHAPE, blocks, block_tokens=block_tokens, dtype=torch.float64, device=device)


def attention_in_numpy(queries, keys, values, position):
    """Of one query a head, by the book: (heads, d) over (n, kv_heads, d), of which it sees `position + 1`."""
    out = []
    for head, query in enumerate(queries):
        shared = head // (len(queries) // keys.shape[1])
        scores = keys[: position + 1, shared] @ query / math.sqrt(len(query))
        weights = np.exp(scores - scores.max())
        out.append(weights / weights.sum() @ values[: position + 1, shared])
    return np.concatenate(out)


# --- slots ---


def test_tokens_lie_where_the_block_table_says():
    # Blocks of four: token 5 is the second of the request's second block, which is block 9.
    kv = cache()
    assert kv.slots([2, 9, 0], 3, 6) == [11, 36, 37, 38, 39, 0]


@given(st.permutations(range(12)), st.integers(1, 48), st.data())
def test_what_was_written_is_read_in_the_order_of_tokens(blocks, context, data):
    kv, new = cache(), random(context, 2, 2, 8)
    cut = data.draw(st.integers(0, context))
    for start, end in ((0, cut), (cut, context)):
        kv.write(1, torch.tensor(kv.slots(blocks, start, end - start), dtype=torch.int64), new[start:end])
    read = kv.read(1, kv.where([blocks], context))
    assert read.shape[1] == -(-context // 4) * 4
    assert torch.equal(read[0, :context], new)
    assert not kv.layers[0].any(), "the other layer has not been written to"


def test_a_batch_is_padded_to_its_longest():
    kv = cache()
    assert kv.where([[5], [1, 2, 3]], 12).tolist() == [[5, 0, 0], [1, 2, 3]]
    assert kv.where([[5, 6, 7], [1, 2, 3]], 8).tolist() == [[5, 6], [1, 2]]


# --- attention ---


def test_masks_hide_the_future_and_what_lies_past_a_request():
    shown = causal_mask(2, 4, torch.float64) == 0
    assert shown.tolist() == [[True, True, True, False], [True, True, True, True]]
    shown = padding_mask([1, 3], 4, torch.float64) == 0
    assert shown.flatten(1).tolist() == [[True, False, False, False], [True, True, True, False]]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("new", "context"), [(5, 5), (3, 11), (8, 9), (2, 30)])
def test_the_attention_of_a_chunk_is_that_of_the_book(new, context, device):
    queries, kept = random(new, 4, 8, seed=1, device=device), random(1, 32, 2, 2, 8, seed=2, device=device)
    mask = None if new == context else causal_mask(new, context, torch.float64, device)
    out = prefill_attention(queries, kept, context, mask).cpu().numpy()
    keys, values = kept[0].cpu().numpy().transpose(1, 0, 2, 3)
    for i, query in enumerate(queries.cpu().numpy()):
        expected = attention_in_numpy(query, keys, values, context - new + i)
        np.testing.assert_allclose(out[i], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("new", [1, 4, 9])
def test_the_mask_that_torch_knows_by_its_name_is_the_same_mask(new):
    """On a GPU it stands for the mask in 16 bits; here torch makes the mask of it."""
    named = causal_mask(new, 9, torch.bfloat16, "cuda")
    assert isinstance(named, CausalBias)
    queries, kept = random(new, 4, 8, seed=1), random(1, 12, 2, 2, 8, seed=2)
    plain = prefill_attention(queries, kept, 9, causal_mask(new, 9, torch.float64))
    torch.testing.assert_close(prefill_attention(queries, kept, 9, named), plain)


@pytest.mark.parametrize("device", DEVICES)
def test_the_attention_of_a_batch_that_decodes_is_that_of_the_book(device):
    contexts = [1, 16, 5]
    queries, kept = random(3, 4, 8, seed=1, device=device), random(3, 16, 2, 2, 8, seed=2, device=device)
    out = decode_attention(queries, kept, padding_mask(contexts, 16, torch.float64, device)).cpu().numpy()
    for i, context in enumerate(contexts):
        keys, values = kept[i].cpu().numpy().transpose(1, 0, 2, 3)
        expected = attention_in_numpy(queries[i].cpu().numpy(), keys, values, context - 1)
        np.testing.assert_allclose(out[i], expected, rtol=1e-12, atol=1e-12)


# --- contiguous ---


@given(st.lists(st.sampled_from((0, 3, 6, 9)), min_size=1, max_size=4, unique=True), st.integers(1, 12))
def test_a_contiguous_cache_reads_what_a_paged_one_gathers(firsts, context):
    tables = [list(range(first, first + 3)) for first in firsts]
    paged, contiguous = cache(), cache(ContiguousKv)
    everything = random(48, 2, 2, 8)
    for kv in (paged, contiguous):
        kv.write(0, torch.arange(48), everything)
    gathered = paged.read(0, paged.where(tables, context))
    in_place = contiguous.read(0, contiguous.where(tables, context))
    assert torch.equal(gathered, in_place)


def test_requests_evenly_apart_are_not_copied():
    kv = cache(ContiguousKv)
    read = kv.read(0, kv.where([[0, 1], [4, 5], [8, 9]], 8))
    assert read.untyped_storage().data_ptr() == kv.layers[0].untyped_storage().data_ptr()


def test_a_contiguous_cache_refuses_scattered_blocks_and_regions_that_end_outside():
    kv = cache(ContiguousKv)
    with pytest.raises(LlmosError, match="do not follow one another"):
        kv.where([[0, 1], [2, 4]], 8)
    with pytest.raises(LlmosError, match="ends past the cache"):
        kv.where([[0, 1], [11]], 8)
