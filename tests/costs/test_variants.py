"""Variants of a model: smaller, shared, recorded, guessed ahead; by hand and against known figures."""

from dataclasses import replace
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.costs.decoder import SHAPES, Composition, model_shape, operations
from llmos.costs.iteration import IterationModel
from llmos.costs.model import CostModel
from llmos.costs.ops import AllReduce, show_op
from llmos.costs.profile import Link, load_profile
from llmos.costs.variants import (
    Graph,
    Guessing,
    Speculative,
    prune,
    shard,
    tokens_per_round,
    variant,
)
from llmos.errors import ProfileError

LLAMA = model_shape("llama-3-8b")


def sheet(name, **changes):
    """The promised speed of a data sheet, all of it, and launches for nothing."""
    facts = {"launch_s": 0.0, "compute_efficiency": 1.0, "memory_efficiency": 1.0} | changes
    return CostModel(msgspec.structs.replace(load_profile(f"{name}-data-sheet"), **facts))


def decoding(batch, context=1):
    return Composition(decode=(context,) * batch, sampled=batch)


# --- what others have found ---------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "ms"), [("a100", 7.4), ("h100", 4.5)])
def test_reading_the_weights_is_what_a_token_takes(name, ms):
    # Llama-3-8B, context 1,000: 8.03 B weights at two bytes, at the promised 2.04 and 3.35 TB/s. The table
    # of the embedding is not read, half a billion weights of these.
    seconds = IterationModel(sheet(name), LLAMA).predict(decoding(1, 1000)).seconds
    assert seconds * 1e3 == pytest.approx(ms, rel=0.02)


@pytest.mark.parametrize(("devices", "us"), [(8, 43.5), (2, 6.9)])
def test_adding_up_a_few_tokens_is_latency(devices, us):
    # 32 tokens of 4,096 numbers; 3 us a step, 300 GB/s.
    cost = CostModel(load_profile("a100-data-sheet")).predict(AllReduce(32 * 4096 * 2, devices))
    assert cost.seconds * 1e6 == pytest.approx(us, abs=0.05)


@pytest.mark.parametrize(("weights", "tokens"), [("dense", 295), ("int8", 148), ("int4", 74 * 4.25 / 4)])
def test_a_product_reads_its_weights_for_nothing_up_to_the_ridge(weights, tokens):
    # T* = peak / bandwidth * bytes a weight / 2, if next to nothing but weights is moved: k and n large.
    # With their scales and zero points, two bytes each for every 128, int4 weights have 4.25 bits.
    shape = replace(LLAMA, hidden=2**20, ffn=2**20, vocab=8, weights=weights)
    costs = sheet("h100")
    [product] = [op for _, op in operations(shape, decoding(1)) if op.kind == "matmul" and op.n > 2**20]

    def seconds(m):
        return costs.predict(replace(product, m=m)).seconds

    assert seconds(int(tokens * 0.97)) == pytest.approx(seconds(1), rel=0.02)
    assert seconds(int(2 * tokens)) == pytest.approx(2 * seconds(1), rel=0.05)


@pytest.mark.parametrize(
    ("acceptance", "guesses", "times"), [(0.6, 4, 1.92), (0.8, 8, 3.09), (0.9, 13, 4.67)]
)
def test_the_best_number_of_guesses(acceptance, guesses, times):
    # The draft costs a twentieth, and checking costs what a token costs (Leviathan et al., 2023).
    gain = {g: tokens_per_round(g, acceptance) / (1 + 0.05 * g) for g in range(30)}
    assert max(gain, key=gain.get) == guesses
    assert gain[guesses] == pytest.approx(times, abs=0.005)


def test_a_round_yields_what_dice_say():
    random, rounds, tokens = Random(1), 100_000, 0
    for _ in range(rounds):
        for _ in range(4):
            tokens += 1
            if random.random() >= 0.8:
                break
        else:
            tokens += 1
    assert tokens / rounds == pytest.approx(tokens_per_round(4, 0.8), rel=0.005)


# --- pruned -------------------------------------------------------------------------------------------


def test_a_quarter_of_llama_by_hand():
    small = prune(LLAMA, 0.25)
    assert (small.heads, small.kv_heads, small.ffn) == (24, 6, 10_752)
    assert small.kv_bytes_per_token == LLAMA.kv_bytes_per_token * 3 / 4
    # 8.030 B, of which 1.051 B are embedding and head; the rest by three quarters, but for the norms.
    assert small.parameters / 1e9 == pytest.approx(1.0507 + 0.75 * 6.9793, rel=1e-3)


@given(st.sampled_from(sorted(SHAPES)), st.floats(0, 0.999))
def test_what_is_left_is_a_model(name, share):
    whole = SHAPES[name]
    small = prune(whole, share)
    assert 1 <= small.kv_heads <= whole.kv_heads
    assert small.heads / small.kv_heads == whole.heads / whole.kv_heads
    assert 8 <= small.ffn <= whole.ffn
    assert small.ffn % 8 == 0
    assert prune(whole, 0.0) == whole


# --- shared -------------------------------------------------------------------------------------------


def test_what_each_of_two_devices_does_by_hand():
    part = shard(model_shape("tiny-20m"), 2)
    shown = [(times, show_op(op)) for times, op in operations(part, Composition(decode=(17, 40), sampled=2))]
    assert sorted(shown) == sorted([
        (1, "embedding 2x512x1024 fp32"),
        (12, "rms_norm 2x512 fp32"),
        (6, "matmul 2x512x512 fp32"),
        (6, "rotary 2x6x64 fp32"),
        (6, "kv_write 2x2x64 fp32"),
        (6, "decode_attention 48x2x4x2x64 fp32"),
        (6, "matmul 2x256x512 fp32"),
        (6, "matmul 2x512x1536 fp32"),
        (6, "swiglu 2x768 fp32"),
        (6, "matmul 2x768x512 fp32"),
        (12, "vector_add 1024 fp32"),
        (13, "all_reduce 4096x2"),  # two in each layer, and one after the embedding
        (1, "rms_norm 2x512 fp32"),
        (1, "matmul 2x512x1024 fp32"),
        (1, "all_gather 16384x2"),  # the logits
        (1, "sampling 2x2048 fp32"),
    ])  # fmt: skip


@pytest.mark.parametrize("devices", [2, 4, 8])
def test_all_devices_together_have_the_whole_model(devices):
    part = shard(LLAMA, devices)
    products = [sum(times * op.flops for times, op in operations(shape, decoding(3)) if op.kind == "matmul")
                for shape in (part, LLAMA)]  # fmt: skip
    assert products[0] * devices == products[1]
    assert part.kv_bytes_per_token * devices == LLAMA.kv_bytes_per_token


def test_a_model_that_cannot_be_dealt_out_says_to_how_many_it_can():
    with pytest.raises(ProfileError, match="8 kv_heads cannot be dealt out evenly to 16 devices") as told:
        shard(LLAMA, 16)
    assert told.value.hint == "this model can be shared by: 1, 2, 4, 8"
    with pytest.raises(ProfileError, match=r"32 heads .* 3 devices"):
        shard(LLAMA, 3)


def test_sharing_helps_where_reading_weights_takes_long_and_not_where_latency_does(make):
    # Tokens x hidden numbers take 2 (n - 1) steps; 65 of these, and a gathering of n - 1, whatever the model.
    links = {"interconnect": Link(1e-5, 1e15)}
    costs = CostModel(make(links=links, launch_s=0.0))
    for name, faster in (("llama-3-8b", True), ("tiny-2m", False)):
        shape = model_shape(name)
        one, two = (IterationModel(costs, shard(shape, n)).predict(decoding(1)).seconds for n in (1, 2))
        latency = ((2 * shape.layers + 1) * 2 + 1) * 1e-5
        assert (two < one) is faster
        assert one / 2 + latency < two < one / 2 * 1.1 + latency * 1.01


# --- recorded and compiled ----------------------------------------------------------------------------


def test_a_recorded_iteration_is_one_launch_of_the_next_power_of_two(make):
    shape = model_shape("tiny-20m")
    model, free = (IterationModel(CostModel(make(launch_s=s)), shape) for s in (1e-4, 0.0))
    static = Graph(model, "static")
    for batch, recorded in ((1, 1), (2, 2), (3, 4), (5, 8), (8, 8), (9, 16), (129, 256)):
        expected = 1e-4 + free.predict(decoding(recorded, 50)).seconds
        assert static.predict(decoding(batch, 50)).seconds == pytest.approx(expected)


def test_prompts_are_read_eagerly(make):
    model = IterationModel(CostModel(make(launch_s=1e-4)), model_shape("tiny-20m"))
    batch = Composition(prefill=((5, 5),), decode=(3, 4, 5), sampled=4)
    assert Graph(model, "static").predict(batch) == Graph(model).predict(batch) == model.predict(batch)


def test_a_compiler_saves_three_launches_in_a_layer_but_one(make):
    model = IterationModel(CostModel(make(launch_s=1e-4)), model_shape("tiny-20m"))
    for batch in (decoding(3, 9), Composition(prefill=((5, 5),), decode=(3,), sampled=1)):
        saved = model.predict(batch).seconds - Graph(model, "dynamic").predict(batch).seconds
        assert saved == pytest.approx((6 * 3 - 1) * 1e-4)


@given(st.integers(1, 300), st.floats(1e-8, 1e-3))
def test_a_static_graph_pays_unless_filling_up_costs_more_than_launches(batch, launch):
    costs = sheet("h100", launch_s=launch)
    model = IterationModel(costs, LLAMA)
    recorded = 1 << (batch - 1).bit_length()
    eager, static = (Graph(model, how).predict(decoding(batch)).seconds for how in ("eager", "static"))
    filling = model.predict(decoding(recorded)).seconds - model.predict(decoding(batch)).seconds
    launches = 32 * 12 + 4 - 1  # all but one
    assert eager - static == pytest.approx(launches * launch - filling, abs=1e-9)


# --- guessed ahead ------------------------------------------------------------------------------------


def test_who_guesses_nothing_has_the_model_as_it_is(make):
    costs, shape = CostModel(make()), model_shape("tiny-20m")
    bare = variant(costs, shape)
    alike = variant(costs, shape, guessing=Guessing(model_shape("tiny-2m"), 0, 0.5))
    assert alike.predict(decoding(3, 9)).seconds == pytest.approx(bare.predict(decoding(3, 9)).seconds)


def test_a_round_by_hand(make):
    # 2 requests of context 30, 3 guesses: the model computes and samples 8 tokens, the draft 2, three times.
    costs, shape, small = CostModel(make()), model_shape("tiny-20m"), model_shape("tiny-2m")
    checked = Composition(decode=(33, 33), sampled=8, guesses=3)
    assert checked.tokens == 8
    ops = [show_op(op) for _, op in operations(shape, checked)]
    assert "matmul 8x512x1024 fp32" in ops
    assert "decode_attention 48x2x32x4x64 fp32" in ops  # four tokens of each, over the same keys and values
    round_s = (
        sum(times * costs.predict(op).seconds for times, op in operations(shape, checked))
        + 3 * IterationModel(costs, small).predict(decoding(2, 30)).seconds
    )
    found = variant(costs, shape, guessing=Guessing(small, 3, 0.5)).predict(decoding(2, 30))
    assert found.seconds == pytest.approx(round_s / (1 + 0.5 + 0.25 + 0.125))
    assert found.low < found.seconds < found.high


def test_both_models_read_prompts(make):
    costs, shape, small = CostModel(make()), model_shape("tiny-20m"), model_shape("tiny-2m")
    batch = Composition(prefill=((9, 9),), decode=(4,), sampled=2)
    each = [IterationModel(costs, s).predict(batch).seconds for s in (shape, small)]
    found = variant(costs, shape, guessing=Guessing(small, 3, 0.5)).predict(batch)
    assert found.seconds == pytest.approx(sum(each))


@pytest.mark.parametrize("acceptance", [0.6, 0.8, 0.9])
def test_guessing_is_worth_what_the_formula_says_while_checking_costs_nothing(acceptance):
    # A draft that costs a twentieth. Four guesses are checked for what one token costs: the promised H100
    # reads weights for 295 tokens, and here are five.
    model = IterationModel(sheet("h100"), LLAMA)
    token = model.predict(decoding(1))
    found = Speculative(model, _Fraction(model, 0.05), 4, acceptance).predict(decoding(1))
    expected = tokens_per_round(4, acceptance) / (1 + 0.05 * 4)
    assert token.seconds / found.seconds == pytest.approx(expected, rel=0.005)


class _Fraction:
    """A model that takes a share of the time of another one."""

    def __init__(self, model, share):
        self.model, self.share = model, share

    def predict(self, batch):
        cost = self.model.predict(batch)
        return replace(cost, seconds=cost.seconds * self.share)
