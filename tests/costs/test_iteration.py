import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.costs.iteration import SHAPES, IterationCost, _fit, fit_iteration, model_shape, operations
from llmos.costs.model import CostModel
from llmos.costs.profile import load_profile
from llmos.errors import ProfileError


# From the models' own published sizes; KV in KiB per token at two bytes a number.
@pytest.mark.parametrize(
    ("name", "billions", "kv_kib"),
    [
        ("llama-2-7b", 6.738, 512),
        ("llama-3-8b", 8.030, 128),
        ("llama-3-70b", 70.55, 320),
        ("qwen3-0.6b", 0.596, 112),
    ],
)
def test_shapes_have_the_parameters_and_the_kv_of_the_models_they_name(name, billions, kv_kib):
    shape = model_shape(name)
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=1e-3)
    assert shape.kv_bytes_per_token == kv_kib * 1024


def test_the_weights_of_a_layer_are_those_of_its_matmuls():
    # 218.1 M a layer in Llama-3-8B, and two bytes of each are read once an iteration.
    shape = model_shape("llama-3-8b")
    weights = sum(op.k * op.n for times, op in operations(shape, 1) if op.kind == "matmul" and times > 1)
    assert weights / 1e6 == pytest.approx(218.1, abs=0.05)


def test_the_vocabulary_is_not_paid_for_every_token_of_a_prefill():
    *_, (times, head) = operations(model_shape("llama-3-8b"), 2048)
    assert (times, head.n) == (1, 128_256)
    assert head.m < 2048


def test_decoding_an_8b_model_on_an_h100_takes_about_what_reading_its_weights_takes():
    # 15 GB of weights at 3.35 TB/s take 4.5 ms at the promised speed, 5.0 at 90 % of it.
    law = fit_iteration(
        CostModel(load_profile("h100-data-sheet")), model_shape("llama-3-8b"), (1, 2, 4, 8, 16)
    )
    assert 4.5e-3 < law.seconds(1, 0) < 6.5e-3
    assert law.per_context_s == pytest.approx(131_072 / (3.35e12 * 0.9), rel=1e-8)


def test_a_straight_machine_is_fitted_without_error(make):
    # Computing always wins on this one, so that sums are straight lines of the tokens.
    profile = make(peak_flops={"fp32": 1e6}, bandwidth_bytes_per_s=1e15, launch_s=0.0)
    tokens = (1, 2, 4, 8, 16, 32)
    law = fit_iteration(CostModel(profile), model_shape("tiny-20m"), tokens)
    flops = sum(times * op.flops for times, op in operations(model_shape("tiny-20m"), 1))
    assert law.base_s == pytest.approx(0, abs=1e-6 * flops / 1e6)
    assert law.per_token_s == pytest.approx(flops / 1e6, rel=1e-6)
    assert law.worst == pytest.approx(0, abs=1e-6)


def test_where_only_moving_costs_the_base_is_the_weights(make):
    profile = make(peak_flops={"fp32": 1e20}, bandwidth_bytes_per_s=1e9, launch_s=0.0)
    shape = replace(model_shape("tiny-20m"), vocab=1)
    law = fit_iteration(CostModel(profile), shape, (1, 2, 3, 4))
    # Six layers of 512*1024 + 512*512 + 512*3072 + 1536*512 weights, and a word; four bytes each.
    assert law.base_s == pytest.approx((6 * 3_145_728 + 512) * 4 / 1e9, rel=1e-6)


def test_launches_of_small_operations_are_in_the_base(make):
    shape = model_shape("tiny-20m")
    free, dear = (fit_iteration(CostModel(make(launch_s=s)), shape, (1, 2, 4)) for s in (0.0, 1e-3))
    # Six layers of four matmuls, two sums and six small operations, and the head: 73 launches.
    assert dear.base_s - free.base_s == pytest.approx(0.073, rel=1e-3)


@pytest.mark.parametrize("profile", ["reference-cpu", "h100-data-sheet"])
@pytest.mark.parametrize("name", sorted(SHAPES))
def test_every_shape_has_a_finite_law_whose_interval_holds_its_own_sums(profile, name):
    costs = CostModel(load_profile(profile))
    shape = model_shape(name)
    tokens = (1, 4, 16, 64, 256)
    law = fit_iteration(costs, shape, tokens)
    for value in (law.base_s, law.per_token_s, law.per_context_s):
        assert 0 <= value < math.inf
    assert law.seconds(1, 1) > 0
    assert 0 < law.low <= 1 <= law.high
    assert law.fit.median <= law.worst
    for count in tokens:
        total = sum(times * costs.predict(op).seconds for times, op in operations(shape, count))
        total += 6 * shape.layers * costs.profile.launch_s
        assert abs(law.seconds(count, 0) / total - 1) <= law.worst + 1e-9
        assert law.low * law.seconds(count, 0) <= total <= law.high * law.seconds(count, 0)


seconds = st.floats(1e-3, 1.0)


@given(st.lists(seconds, min_size=5, max_size=5), seconds, seconds)
def test_no_other_line_is_nearer_in_relative_error(sums, other_base, other_slope):
    tokens = (1, 2, 8, 32, 100)

    def distance(base, slope):
        return sum(((base + slope * x - y) / y) ** 2 for x, y in zip(tokens, sums, strict=True))

    base, slope = _fit(tokens, sums)
    assert min(base, slope) >= 0
    for a, b in ((other_base, other_slope), (base * 1.01, slope), (base, slope * 1.01), (other_base, 0.0)):
        assert distance(base, slope) <= distance(a, b) * (1 + 1e-9)


def test_coefficients_have_nine_digits():
    law = fit_iteration(CostModel(load_profile("reference-cpu")), model_shape("tiny-20m"))
    for value in (law.base_s, law.per_token_s, law.per_context_s):
        assert value == float(f"{value:.8e}")


@given(st.integers(1, 10**6), st.integers(0, 10**9))
def test_the_law_is_linear_in_tokens_and_context(tokens, context):
    law = IterationCost(2e-3, 3e-6, 5e-9, "by hand")
    assert law.seconds(tokens, context) == pytest.approx(2e-3 + tokens * 3e-6 + context * 5e-9)


def test_unknown_names_are_told_with_those_there_are():
    with pytest.raises(ProfileError, match='did you mean "llama-3-8b"'):
        model_shape("lama-3-8b")
    with pytest.raises(ProfileError, match="fp32, bf16, fp16"):
        model_shape("llama-3-8b", "int3")


def test_a_shape_in_another_dtype_keeps_its_sizes():
    assert model_shape("llama-3-8b", "fp32").kv_bytes_per_token == 2 * 131_072
