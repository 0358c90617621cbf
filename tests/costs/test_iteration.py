import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.costs.decoder import Composition, model_shape, operations
from llmos.costs.iteration import (
    IterationModel,
    predict_iteration,
    relative_fit,
)
from llmos.costs.model import CostModel
from llmos.costs.ops import Matmul, show_op
from llmos.costs.profile import IterationFit, Spread, load_profile
from llmos.errors import ProfileError


# From the models' own published sizes; KV in KiB per token at two bytes a number.
@pytest.mark.parametrize(
    ("name", "billions", "kv_kib"),
    [
        ("llama-2-7b", 6.738, 512),
        ("llama-3-8b", 8.030, 128),
        ("llama-3-70b", 70.55, 320),
        ("qwen3-0.6b", 0.596, 112),
        ("llama-3.2-1b", 1.236, 32),
        ("llama-3.2-3b", 3.213, 112),
    ],
)
def test_shapes_have_the_parameters_and_the_kv_of_the_models_they_name(name, billions, kv_kib):
    shape = model_shape(name)
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=1e-3)
    assert shape.kv_bytes_per_token == kv_kib * 1024


def test_the_weights_of_a_layer_are_those_of_its_matmuls():
    # 218.1 M a layer in Llama-3-8B, and two bytes of each are read once an iteration.
    shape = model_shape("llama-3-8b")
    weights = sum(
        op.k * op.n for times, op in operations(shape, Composition(decode=(1,))) if op.kind == "matmul"
    )
    assert weights / 1e6 == pytest.approx(218.1, abs=0.05)


def test_the_vocabulary_is_only_paid_for_rows_that_are_sampled():
    *_, head, _ = operations(model_shape("llama-3-8b"), Composition(((2048, 2048),), sampled=1))
    assert head == (1, Matmul(1, 4096, 128_256, "bf16"))


def test_decoding_an_8b_model_on_an_h100_takes_about_what_reading_its_weights_takes():
    # 15 GB of weights at 3.35 TB/s take 4.5 ms at the promised speed, 5.0 at 90 % of it.
    costs = CostModel(load_profile("h100-data-sheet"))
    cost = predict_iteration(costs, model_shape("llama-3-8b"), Composition(decode=(1,), sampled=1))
    assert 4.5e-3 < cost.seconds < 6.5e-3


def test_where_only_moving_costs_an_iteration_reads_the_weights_once(make):
    profile = make(peak_flops={"fp32": 1e20}, bandwidth_bytes_per_s=1e9, launch_s=0.0)
    shape = model_shape("tiny-20m")
    one, all_eight = (
        predict_iteration(CostModel(profile), shape, Composition(decode=(1,) * n, sampled=n)).seconds
        for n in (1, 8)
    )
    # Six layers of 512*1024 + 512*512 + 512*3072 + 1536*512 weights, and the vocabulary; four bytes each.
    weights = (6 * 3_145_728 + 512 * 2048) * 4 / 1e9
    assert weights < one < all_eight < 1.1 * weights


def test_launches_are_paid_for_each_operation(make):
    shape = model_shape("tiny-20m")
    free, dear = (
        predict_iteration(CostModel(make(launch_s=s)), shape, Composition(decode=(1,), sampled=1)).seconds
        for s in (0.0, 1e-3)
    )
    # An embedding; six layers of two norms, four matmuls, rotary, KV write, attention, activation and two
    # sums; a norm, the head and sampling: 76 launches.
    assert dear - free == pytest.approx(0.076, rel=1e-3)


seconds = st.floats(1e-3, 1.0)


@given(st.lists(seconds, min_size=5, max_size=5), seconds, seconds)
def test_no_other_line_is_nearer_in_relative_error(sums, other_base, other_slope):
    tokens = (1, 2, 8, 32, 100)

    def distance(base, slope):
        return sum(((base + slope * x - y) / y) ** 2 for x, y in zip(tokens, sums, strict=True))

    base, slope = relative_fit([1] * len(tokens), tokens, sums)
    assert min(base, slope) >= 0
    for a, b in ((other_base, other_slope), (base * 1.01, slope), (base, slope * 1.01), (other_base, 0.0)):
        assert distance(base, slope) <= distance(a, b) * (1 + 1e-9)


# --- compositions ---


@st.composite
def compositions(draw):
    prefill = draw(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 500)), max_size=3))
    decode = draw(st.lists(st.integers(1, 700), min_size=not prefill, max_size=9))
    sampled = draw(st.integers(0, len(prefill) + len(decode)))
    chunks = tuple((new, new + past) for new, past in prefill)
    return Composition(chunks, tuple(decode), sampled, draw(st.sampled_from((8, 16, 32))))


def test_the_operations_of_a_mixed_batch_are_those_of_a_decoder():
    # By hand: 3 + 5 new tokens and two that decode; the longer of these has 40 tokens, three blocks.
    batch = Composition(prefill=((3, 3), (5, 21)), decode=(17, 40), sampled=3)
    shown = [(times, show_op(op)) for times, op in operations(model_shape("tiny-20m"), batch)]
    assert sorted(shown) == sorted([
        (1, "embedding 10x512x2048 fp32"),
        (12, "rms_norm 10x512 fp32"),
        (6, "matmul 10x512x1024 fp32"),
        (6, "rotary 10x12x64 fp32"),
        (6, "kv_write 10x4x64 fp32"),
        (6, "prefill_attention 3x3x8x4x64x1 fp32"),
        (6, "prefill_attention 5x21x8x4x64x1 fp32"),
        (6, "decode_attention 48x2x8x4x64 fp32"),
        (6, "matmul 10x512x512 fp32"),
        (6, "matmul 10x512x3072 fp32"),
        (6, "swiglu 10x1536 fp32"),
        (6, "matmul 10x1536x512 fp32"),
        (12, "vector_add 5120 fp32"),
        (1, "rms_norm 3x512 fp32"),
        (1, "matmul 3x512x2048 fp32"),
        (1, "sampling 3x2048 fp32"),
    ])  # fmt: skip


@given(compositions())
def test_products_compute_two_flops_for_each_weight_and_token(batch):
    shape = model_shape("llama-3-8b")
    flops = sum(times * op.flops for times, op in operations(shape, batch) if op.kind == "matmul")
    head = shape.vocab * shape.hidden
    inner = shape.parameters - 2 * head - (2 * shape.layers + 1) * shape.hidden
    assert flops == 2 * (batch.tokens * inner + batch.sampled * head)


def test_an_iteration_costs_the_sum_of_its_operations(make):
    costs, shape = CostModel(make()), model_shape("tiny-20m")

    @given(compositions())
    def check(batch):
        cost = predict_iteration(costs, shape, batch)
        parts = [(times, costs.predict(op)) for times, op in operations(shape, batch)]
        assert cost.seconds == pytest.approx(sum(times * part.seconds for times, part in parts))
        assert cost.low == pytest.approx(sum(times * part.low for times, part in parts))
        assert cost.high == pytest.approx(sum(times * part.high for times, part in parts))

    check()


def test_a_sum_is_as_sure_as_its_least_sure_part(make):
    shape, batch = model_shape("tiny-20m"), Composition(decode=(9,), sampled=1)
    exact = [(op, 1e-4) for _, op in operations(shape, batch)]
    assert "at worst exact row (by-hand" in predict_iteration(CostModel(make(exact)), shape, batch).source
    assert "at worst roofline (by-hand" in predict_iteration(CostModel(make(exact[1:])), shape, batch).source


def fitted(model, dtype, scale):
    return IterationFit(model, dtype, scale, 1e-6, Spread(0.01, 0.25, 9), Spread(0.01, 0.02, 9))


def test_scale_and_overhead_are_those_of_the_same_model_or_else_of_its_dtype(make):
    batch = Composition(prefill=((4, 4),), decode=(5, 6), sampled=2)
    fits = (fitted("medium-1b", "bf16", 3.0), fitted("tiny-2m", "fp32", 2.0), fitted("tiny-20m", "fp32", 1.5))
    plain, known = CostModel(make()), CostModel(make(iterations=fits))
    for name, scale in (("tiny-20m", 1.5), ("tiny-2m", 2.0), ("llama-3-8b", 3.0)):
        shape = model_shape(name)
        count = sum(times for times, _ in operations(shape, batch))
        bare, cost = (predict_iteration(costs, shape, batch) for costs in (plain, known))
        assert cost.seconds == pytest.approx(scale * bare.seconds + count * 1e-6)
        if name == "llama-3-8b":
            assert cost.high - cost.seconds == pytest.approx(scale * (bare.high - bare.seconds))
        else:
            assert (cost.low, cost.high) == pytest.approx((cost.seconds / 1.25, cost.seconds * 1.25))


def test_what_was_asked_before_changes_nothing(make):
    costs, shape = CostModel(make()), model_shape("tiny-2m")
    batches = [
        Composition(prefill=((2, 2),)), Composition(decode=(2, 2)), Composition(decode=(16,), sampled=1),
        Composition(prefill=((1, 16),), sampled=1), Composition(prefill=((2, 16), (2, 16)), decode=(1,)),
    ]  # fmt: skip
    model = IterationModel(costs, shape)
    for batch in batches + batches[::-1]:
        assert model.predict(batch) == predict_iteration(costs, shape, batch)


def test_the_last_token_of_a_prompt_is_the_work_of_a_decode():
    batch = Composition(prefill=((4, 9), (1, 7)), decode=(3,), sampled=2)
    assert batch == Composition(prefill=((4, 9),), decode=(3, 7), sampled=2)
    assert (batch.tokens, batch.context) == (6, 19)


def test_quantised_weights_are_those_of_the_layers_only():
    ops = operations(model_shape("tiny-20m", "bf16", "int8"), Composition(decode=(1,), sampled=1))
    stored = [(op.n, op.weights) for _, op in ops if op.kind == "matmul"]
    assert stored == [(1024, "int8"), (512, "int8"), (3072, "int8"), (512, "int8"), (2048, "dense")]


def test_unknown_names_are_told_with_those_there_are():
    with pytest.raises(ProfileError, match='did you mean "llama-3-8b"'):
        model_shape("lama-3-8b")
    with pytest.raises(ProfileError, match="int8-dynamic"):
        model_shape("llama-3-8b", weights="int3")
    with pytest.raises(ProfileError, match="fp32, bf16, fp16"):
        model_shape("llama-3-8b", "int3")


def test_a_shape_in_another_dtype_keeps_its_sizes():
    assert model_shape("llama-3-8b", "fp32").kv_bytes_per_token == 2 * 131_072
