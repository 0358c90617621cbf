import pytest

from llmos.costs.bottleneck import bound_of, critical_tokens, ridge, shares
from llmos.costs.decoder import Composition, model_shape
from llmos.costs.model import CostModel
from llmos.costs.ops import Matmul, RmsNorm, Send
from llmos.costs.profile import Link, load_profile
from llmos.errors import ProfileError


def test_the_ridge_is_peak_over_bandwidth_as_far_as_they_are_reached(make):
    # 2 TFLOP/s over 100 GB/s; with half of the one and four fifths of the other, 1 TFLOP/s over 80 GB/s.
    assert ridge(make(), "bf16") == pytest.approx(20)
    assert ridge(make(compute_efficiency=0.5, memory_efficiency=0.8), "bf16") == pytest.approx(12.5)
    with pytest.raises(ProfileError, match="no figures for int8"):
        ridge(make(), "int8")


# 312 and 989 TFLOP/s, 2.04 and 3.35 TB/s, all of it: 153 and 295 tokens in bf16, half of that with a byte for
# each weight, a quarter with half a byte and what a group of 128 has in addition (1/32 of a byte a weight).
@pytest.mark.parametrize(("peak", "bandwidth", "tokens"), [(312e12, 2.04e12, 153), (989e12, 3.35e12, 295)])
def test_the_critical_number_of_tokens_goes_with_the_bytes_of_a_weight(make, peak, bandwidth, tokens):
    profile = make(peak_flops={"bf16": peak, "int8": 2 * peak}, bandwidth_bytes_per_s=bandwidth)
    assert critical_tokens(profile, "bf16") == pytest.approx(tokens, abs=0.5)
    assert critical_tokens(profile, "bf16", "int8") == pytest.approx(tokens / 2, rel=0.01)
    assert critical_tokens(profile, "bf16", "int4") == pytest.approx(tokens / 4 * (1 + 1 / 16), rel=0.01)
    # Computed in int8 as well: half the bytes, but twice the speed.
    assert critical_tokens(profile, "bf16", "int8-dynamic") == pytest.approx(tokens, rel=0.01)


@pytest.mark.parametrize("weights", ["dense", "int8", "int4", "2:4"])
def test_a_large_layer_is_bound_by_memory_below_and_by_computing_above(weights):
    profile = load_profile("h100-data-sheet")
    critical = critical_tokens(profile, "bf16", weights)
    sizes = 2**16, 2**16  # so large that the tokens' own bytes are hardly any beside the weights
    assert bound_of(profile, Matmul(int(0.98 * critical), *sizes, "bf16", weights)) == "memory"
    assert bound_of(profile, Matmul(int(1.02 * critical) + 1, *sizes, "bf16", weights)) == "compute"


def test_what_is_small_is_bound_by_its_launch_and_what_is_sent_by_its_link(make):
    profile = make(links={"interconnect": Link(1e-6, 1e9)})
    assert bound_of(profile, RmsNorm(1, 64)) == "launch"
    assert bound_of(profile, Send(1)) == "link"


def test_the_shares_of_an_iteration_are_its_operations():
    profile, shape = load_profile("h100-data-sheet"), model_shape("llama-3-8b")
    found = shares(CostModel(profile), shape, Composition(decode=(1024,), sampled=1))
    products = [share for share in found if isinstance(share.op, Matmul)]
    # All weights but the embedding and the norms, read once, and two FLOPs for each.
    weights = sum(share.times * share.op.weight_bytes for share in products)
    assert weights == 2 * (32 * 4096 * 53_248 + 4096 * 128_256)
    assert sum(share.times * share.op.flops for share in products) == weights
    assert {share.bound for share in products} == {"memory"}
    assert all(share.intensity < ridge(profile, "bf16") for share in found)
    prefill = shares(CostModel(profile), shape, Composition(prefill=((2048, 2048),)))
    assert {share.bound for share in prefill if isinstance(share.op, Matmul)} == {"compute"}
