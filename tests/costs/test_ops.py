import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.costs.ops import (
    OPS,
    AllGather,
    AllReduce,
    BatchedMatmul,
    Copy,
    DecodeAttention,
    Embedding,
    FileRead,
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
    op_fields,
    show_family,
    show_op,
)
from llmos.errors import ProfileError


@st.composite
def some_op(draw):
    """An operation of any kind, attention with sizes that fit together."""
    kind = draw(st.sampled_from(sorted(OPS)))
    values = {name: draw(st.integers(1, 10**6)) for name in OPS[kind].sizes()}
    if "kv_heads" in values and "heads" in values:
        values["heads"] = values["kv_heads"] * draw(st.integers(1, 16))
    if kind == "prefill_attention":
        values["context"] = values["tokens"] + draw(st.integers(0, 10**6))
    words = {name: draw(st.sampled_from(allowed)) for name, allowed in OPS[kind].words.items()}
    return make_op(kind, values | words)


def test_a_small_product_counted_on_paper():
    # (2, 3) by (3, 4): 8 results of 3 products and 3 sums; 6 + 12 + 8 numbers move.
    assert Matmul(2, 3, 4, "fp32").flops == 48
    assert Matmul(2, 3, 4, "fp32").bytes == 26 * 4
    assert Matmul(2, 3, 4, "bf16").bytes == 26 * 2


def test_the_worked_example_of_1024x512_by_512x64():
    op = Matmul(1024, 512, 64, "fp16")
    assert op.flops == 67_108_864
    assert op.bytes == (524_288 + 32_768 + 65_536) * 2


def test_a_vector_add_reads_two_and_writes_one():
    assert VectorAdd(1000, "fp32").flops == 1000
    assert VectorAdd(1000, "fp32").bytes == 12_000


def test_equal_operations_are_one_key_and_different_ones_are_not():
    assert len({Matmul(1, 2, 3), Matmul(1, 2, 3, "fp32"), Matmul(1, 3, 2), Matmul(1, 2, 3, "bf16")}) == 3


@given(some_op())
def test_an_operation_survives_being_written_as_fields(op):
    assert make_op(op.kind, op_fields(op)) == op


def test_people_read_the_sizes_in_the_order_m_k_n():
    assert show_op(Matmul(8, 1024, 4096, "bf16")) == "matmul 8x1024x4096 bf16"


@pytest.mark.parametrize("size", [0, -1, 1.0, True, "7", None, 2**41, float("nan")])
def test_a_size_is_a_whole_number_within_reason(size):
    with pytest.raises(ProfileError, match="k is a whole number"):
        Matmul(1, size, 1)
    with pytest.raises(ProfileError, match="n is a whole number"):
        VectorAdd(size)


@pytest.mark.parametrize("dtype", ["fp7", "", None, [], 4])
def test_an_unknown_dtype_is_told_with_those_there_are(dtype):
    with pytest.raises(ProfileError, match="fp32, bf16, fp16, fp8"):
        Matmul(1, 1, 1, dtype)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("matmull", {"m": 1, "k": 1, "n": 1, "dtype": "fp32"}, 'did you mean "matmul"'),
        ("matmul", {"m": 1, "k": 1, "dtype": "fp32"}, "look at n"),
        ("vector_add", {"n": 1, "dtype": "fp32", "m": 2}, "look at m"),
    ],
)
def test_fields_that_make_no_operation_are_named(kind, fields, message):
    with pytest.raises(ProfileError, match=message):
        make_op(kind, fields)


# Weights as they are stored, counted on paper for 4 tokens through 256 inputs and 8 outputs in bf16: the
# inputs and outputs are (4*256 + 4*8) * 2 = 2112 bytes, the weights 2048 numbers.
@pytest.mark.parametrize(
    ("weights", "stored", "flops"),
    [
        ("dense", 4096, 16384),
        ("int8", 2048 + 8 * 2, 16384),  # a scale for each of 8 outputs
        ("int8-dynamic", 2048 + 8 * 2, 16384),
        ("int4", 1024 + 8 * 2 * 4, 16384),  # two groups of 128 for each output, scale and zero point
        ("2:4", 2048 + 256, 8192),  # half of the numbers, and two bits for each that is left
    ],
)
def test_what_weights_take_as_they_are_stored(weights, stored, flops):
    op = Matmul(4, 256, 8, "bf16", weights)
    assert (op.weight_bytes, op.bytes, op.flops) == (stored, 2112 + stored, flops)


def test_a_batch_of_products_is_as_many_products():
    one, all_of_them = Matmul(5, 7, 11, "bf16"), BatchedMatmul(5, 7, 11, 3, "bf16")
    assert (all_of_them.flops, all_of_them.bytes) == (3 * one.flops, 3 * one.bytes)


@given(st.integers(1, 40), st.integers(0, 40))
def test_causal_attention_counts_the_pairs_that_it_looks_at(tokens, past):
    pairs = sum(past + number for number in range(1, tokens + 1))
    op = PrefillAttention(tokens, past + tokens, 6, 2, 16, batch=3)
    assert op.flops == 3 * 6 * 16 * pairs * 4  # a product and a sum for the score, two for the value


@given(st.integers(1, 300), st.integers(0, 300), st.sampled_from([1, 2, 3]))
def test_causal_attention_in_whole_tiles_counts_the_tiles_that_it_looks_at(tokens, past, group):
    # Each new token has a key of its own; tiles of keys end with the tile of tokens that sees them last.
    op = PrefillAttention(tokens, past + tokens, 2 * group, 2, 16, batch=3)
    keys, rows = -(-op.context // 128), -(-tokens // 128)
    seen = [keys - later for later in range(rows)]
    queries = 2 * 128 * -(-tokens * group // 128)
    assert op.tiled_flops * len(seen) == 4 * 3 * queries * 16 * 128 * sum(seen)
    assert op.tiled_flops >= op.flops
    exact = PrefillAttention(tokens, past + tokens, 2 * group, 2, 16, batch=3, dtype="fp32")
    assert exact.tiled_flops == exact.flops


@given(st.integers(1, 1000))
def test_a_prefill_of_one_token_is_a_decode(context):
    prefill = PrefillAttention(1, context, 8, 2, 64, 5)
    decode = DecodeAttention(context, 5, 8, 2, 64)
    assert (prefill.flops, prefill.bytes) == (decode.flops, decode.bytes)
    assert prefill.tiled_flops == decode.tiled_flops


def test_decoding_reads_all_keys_and_values_once():
    # Llama-3-8B keeps 128 KiB a token in 32 layers: 4 KiB in one. Besides, 32 queries and results of 128.
    assert DecodeAttention(1000, 1, 32, 8, 128).bytes == 1000 * 4096 + 2 * 32 * 128 * 2
    assert KvWrite(1000, 8, 128).bytes == 2 * 1000 * 4096  # read once, written once


@pytest.mark.parametrize(
    ("op", "flops", "moved"),
    [
        (RmsNorm(3, 10, "fp32"), 120, (60 + 10) * 4),
        (Rotary(2, 5, 8, "fp32"), 240, (160 + 16) * 4),
        (SwiGlu(2, 10, "fp32"), 100, 240),
        (Embedding(2, 10, 1000, "fp32"), 0, 160 + 16),
        (Softmax(2, 10, "fp32"), 100, 160),
        (Sampling(2, 100, "fp32"), 200, 816),
        (Copy(1000), 0, 2000),
        (Copy(1000, "to-device"), 0, 1000),
        (FileRead(4096, "warm"), 0, 4096),
        (Send(77), 0, 77),
    ],
)
def test_small_operations_counted_on_paper(op, flops, moved):
    assert (op.flops, op.bytes) == (flops, moved)


# nccl-tests: a ring sends 2(n-1)/n of the data in 2(n-1) steps, half of each to gather only.
def test_a_ring_sends_its_part_n_minus_1_times_twice():
    ring = AllReduce(800, 8)
    assert (ring.bytes, ring.steps) == (1400, 14)
    gather = AllGather(800, 8)
    assert (gather.bytes, gather.steps) == (700, 7)


@pytest.mark.parametrize(("devices", "steps"), [(1, 0), (2, 2), (4, 4), (5, 6), (8, 6)])
def test_a_tree_goes_up_and_down_a_logarithm_of_steps(devices, steps):
    tree = AllReduce(800, devices, "tree")
    assert (tree.steps, tree.bytes) == (steps, 1600 if devices > 1 else 0)


def test_one_device_has_nobody_to_talk_to():
    assert (AllReduce(800, 1).bytes, AllReduce(800, 1).steps) == (0, 0)
    assert (AllGather(800, 1).bytes, AllGather(800, 1).steps) == (0, 0)


def test_words_are_told_when_they_are_not_as_usual():
    assert show_op(Matmul(8, 1024, 4096, "bf16", "int4")) == "matmul 8x1024x4096 bf16 int4"
    assert (
        show_family(DecodeAttention(9, 1, 2, 1, 4, layout="contiguous")) == "decode_attention bf16 contiguous"
    )
    assert show_op(Send(5)) == "send 5"


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("matmul", {"m": 1, "k": 1, "n": 1, "weights": "int3"}, "unknown weights 'int3'"),
        ("prefill_attention", {"tokens": 5, "context": 4, "heads": 1, "kv_heads": 1, "head_dim": 1},
         "a context of 4 cannot hold 5 tokens"),
        ("decode_attention", {"context": 5, "batch": 1, "heads": 6, "kv_heads": 4, "head_dim": 1},
         "6 heads cannot share 4 kv_heads"),
        ("copy", {"size": 5, "route": "sideways"}, "unknown route"),
        ("all_reduce", {"size": 5, "devices": 0}, "devices is a whole number"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(kind, values, message):
    with pytest.raises(ProfileError, match=message):
        make_op(kind, values)
