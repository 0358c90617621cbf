"""The stories that the shipped scenarios about variants of a model tell: each keeps its promise.

One section per scenario. What is expected comes from bytes, FLOPs and latencies, worked out here in a few
lines: of the H100's data sheet 80 % of the arithmetic and 90 % of the bandwidth, and of Llama the sizes.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import pytest

from llmos.scenario.load import load, shipped
from llmos.scenario.sweep import run_sweep

FLOPS, BYTES = 0.8 * 989e12, 0.9 * 3.35e12  # of an H100, per second
LAUNCH, STEP, LINK = 2.5e-6, 3e-6, 450e9
LAYERS, HIDDEN, VOCAB = 32, 4096, 128_256
PRODUCTS = [(4096, 6144), (4096, 4096), (4096, 28_672), (14_336, 4096)]
"""Of a layer of Llama-3-8B: queries, keys and values; output; gate and up; down."""
INNER = LAYERS * sum(k * n for k, n in PRODUCTS)
HEAD = HIDDEN * VOCAB


@cache
def swept(name, *given, metric="llm.tpot_mean_ns"):
    """Point -> seconds, of a scenario's sweep; `given` are pairs of a key and its values."""
    result = run_sweep(load(shipped()[name]), given=dict(given), executor=lambda: ThreadPoolExecutor(1))
    assert not result.failed
    return {row.values: row.result.metrics[metric] / 1e9 for row in result.rows}


def inner_seconds(tokens, bits):
    """What the products of all layers take: for each the slower of computing and of moving."""
    return LAYERS * sum(
        max(2 * tokens * k * n / FLOPS, (k * n * bits / 8 + 2 * tokens * (k + n)) / BYTES)
        for k, n in PRODUCTS
    )


# --- quantised ----------------------------------------------------------------------------------------

BITS = {"dense": 16, "int8": 8, "int4": 4.25}  # with scale and zero point, of two bytes for 128 weights each
BATCHES = (1, 8, 16, 32, 64, 128, 256, 512)


@pytest.mark.parametrize("weights", BITS)
def test_quantised_alone_a_token_is_the_reading_of_all_weights(weights):
    expected = (INNER * BITS[weights] / 8 + 2 * HEAD) / BYTES
    assert swept("quantised")[weights, 1] == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("batch", BATCHES)
def test_quantised_what_it_saves_is_what_the_products_say(batch):
    found = swept("quantised")
    for weights in ("int8", "int4"):
        saved = inner_seconds(batch, 16) - inner_seconds(batch, BITS[weights])
        assert found["dense", batch] - found[weights, batch] == pytest.approx(saved, rel=0.01, abs=1e-6)


def test_quantised_helps_below_the_ridge_and_not_above():
    found = swept("quantised")
    gain = {w: [found["dense", b] / found[w, b] for b in BATCHES] for w in ("int8", "int4")}
    for gains in gain.values():
        assert gains == sorted(gains, reverse=True)
        assert gains[-1] == pytest.approx(1, abs=0.01)
    assert gain["int4"][0] > 3
    # int4's ridge is at 70, int8's at 131: twice as far on, one is no better than the other.
    assert found["int4", 64] < 0.7 * found["int8", 64]
    assert found["int4", 256] == pytest.approx(found["int8", 256], rel=1e-3)


def test_quantised_activations_compute_faster_too():
    found = swept("quantised", ("engine.weights", ("int8", "int8-dynamic")), ("request.chat.count", (512,)))
    # int8 units compute twice as fast as bf16 ones: 1979 and 989 TFLOP/s.
    saved = 2 * 512 * INNER / FLOPS * (1 - 989 / 1979)
    assert found["int8", 512] - found["int8-dynamic", 512] == pytest.approx(saved, rel=0.03)


# --- pruned -------------------------------------------------------------------------------------------


def test_pruned_alone_a_token_is_the_reading_of_what_is_left():
    found = swept("pruned")
    for (pruned, weights), bits in {(0.0, "dense"): 16, (0.5, "dense"): 8, (0.0, "2:4"): 9}.items():
        expected = (INNER * bits / 8 + 2 * HEAD) / BYTES
        assert found[1, pruned, weights] == pytest.approx(expected, rel=0.01)


def test_pruned_computes_half_in_a_full_batch_and_four_bits_compute_all():
    found = swept("pruned")
    whole, half = found[512, 0.0, "dense"], 512 * INNER / FLOPS
    assert whole - found[512, 0.0, "2:4"] == pytest.approx(half, rel=0.01)
    assert whole - found[512, 0.5, "dense"] > 1.1 * half  # activations, and keys and values, are halved too
    int4 = swept("pruned", ("engine.weights", ("int4",)), ("request.chat.count", (1, 512)))
    assert int4[1, 0.0, "int4"] < min(found[1, 0.5, "dense"], found[1, 0.0, "2:4"])
    assert int4[512, 0.0, "int4"] == pytest.approx(whole, rel=0.01)


# --- distilled ----------------------------------------------------------------------------------------


def test_distilled_alone_reading_counts_and_in_a_batch_computing():
    found = swept("distilled")
    # Published sizes: 3.21 and 1.24 B. All of it is read for a token: the embedding is the output matrix.
    assert found[1, "llama-3.2-3b", "dense"] == pytest.approx(2 * 3.213e9 / BYTES, rel=0.02)
    assert found[1, "llama-3.2-1b", "dense"] == pytest.approx(2 * 1.236e9 / BYTES, rel=0.02)
    assert found[1, "llama-3-8b", "int4"] < 0.8 * found[1, "llama-3.2-3b", "dense"]
    assert found[256, "llama-3.2-3b", "dense"] < 0.6 * found[256, "llama-3-8b", "int4"]


def test_distilled_a_large_vocabulary_gains_less_by_four_bits():
    found = swept("distilled")
    gains = [
        found[1, f"llama-{m}", "dense"] / found[1, f"llama-{m}", "int4"] for m in ("3-8b", "3.2-3b", "3.2-1b")
    ]
    assert gains == sorted(gains, reverse=True)


# --- speculative --------------------------------------------------------------------------------------


@pytest.mark.parametrize("guesses", [2, 4, 8])
def test_speculative_alone_gains_what_leviathan_s_formula_says(guesses):
    # The draft reads 1.236 B weights where the model reads 7.504 B; checking costs what a token costs.
    cost = 1.236e9 / (INNER + HEAD)
    expected = (1 - 0.8 ** (guesses + 1)) / (1 - 0.8) / (1 + guesses * cost)
    found = swept("speculative")
    assert found[0, 1] / found[guesses, 1] == pytest.approx(expected, rel=0.01)


def test_speculative_stops_paying_when_checking_means_computing():
    found = swept("speculative")
    for guesses in (2, 4, 8):
        gains = [found[0, batch] / found[guesses, batch] for batch in (1, 16, 32, 64, 128, 256)]
        assert gains == sorted(gains, reverse=True)
        assert gains[0] > 1.8
        assert gains[-1] < 1
    ridge = 989e12 * 0.8 / (3.35e12 * 0.9)
    for batch in (16, 32, 64, 128, 256):  # up to the ridge a guess costs what it costs alone
        for guesses in (2, 4, 8):
            if batch * (guesses + 1) < ridge:
                assert found[guesses, batch] - found[guesses, 1] < 0.3 * found[guesses, 1]
    best = [min((0, 2, 4, 8), key=lambda g, b=b: found[g, b]) for b in (1, 64, 128, 256)]
    assert best == sorted(best, reverse=True)
    assert (best[0], best[-1]) == (4, 0)


def test_speculative_more_guesses_than_can_be_right_are_too_many():
    # The best number for one request and another acceptance, from the formula with the draft's share.
    cost = 1.236e9 / (INNER + HEAD)
    for acceptance in (0.6, 0.9):
        spec = (("engine.speculative.acceptance", (acceptance,)), ("request.chat.count", (1,)))
        found = swept("speculative", ("engine.speculative.tokens", tuple(range(11))), *spec)
        gain = [sum(acceptance**i for i in range(g + 1)) / (1 + g * cost) for g in range(11)]
        times = [found[g, 1, acceptance] for g in range(11)]
        assert times.index(min(times)) == gain.index(max(gain))


# --- static-graph -------------------------------------------------------------------------------------

OPERATIONS = 28 * 12 + 4
"""Of an iteration of Qwen3-0.6B that decodes: a layer has two norms, four products, rotation, KV write,
attention, activation and two sums; then there are the embedding, a norm, the output matrix and sampling."""


def test_static_graph_saves_all_launches_but_one_at_the_sizes_that_it_knows():
    found = swept("static-graph")
    for batch in (1, 16, 32, 64, 128, 256):
        saved = found["eager", batch] - found["static", batch]
        assert saved == pytest.approx((OPERATIONS - 1) * LAUNCH, rel=1e-3)


def test_static_graph_computes_for_nobody_in_between():
    found = swept("static-graph")
    assert found["static", 129] == pytest.approx(found["static", 256], rel=1e-6)
    assert found["static", 96] == pytest.approx(found["static", 128], rel=1e-6)
    assert found["static", 129] > max(found["eager", 129], found["dynamic", 129])
    assert found["static", 96] < found["dynamic", 96]


def test_static_graph_a_dynamic_one_saves_the_same_at_every_size():
    found = swept("static-graph")
    for batch in (1, 96, 129, 256):
        saved = found["eager", batch] - found["dynamic", batch]
        assert saved == pytest.approx((28 * 3 - 1) * LAUNCH, rel=1e-3)


# --- tensor-parallel ----------------------------------------------------------------------------------

MEETINGS = 2 * LAYERS + 1


@pytest.mark.parametrize(("devices", "ring", "tree"), [(2, 2, 2), (4, 6, 4), (8, 14, 6)])
def test_tensor_parallel_a_token_is_a_part_of_the_reading_and_all_of_the_latency(devices, ring, tree):
    found = swept("tensor-parallel")
    alone = found["ring", 1]
    for how, steps in (("ring", ring), ("tree", tree)):
        expected = alone / devices + (MEETINGS * steps + devices - 1) * STEP
        assert found[how, devices] == pytest.approx(expected, rel=0.03)


def test_tensor_parallel_four_devices_are_best_in_a_ring_and_eight_with_a_tree():
    found = swept("tensor-parallel")
    best = {how: min((1, 2, 4, 8), key=lambda n, how=how: found[how, n]) for how in ("ring", "tree")}
    assert best == {"ring": 4, "tree": 8}


@pytest.mark.parametrize(("devices", "ring", "tree"), [(2, 2, 2), (4, 6, 4), (8, 14, 6)])
def test_tensor_parallel_a_prompt_waits_for_the_bandwidth(devices, ring, tree):
    found = swept("tensor-parallel", metric="llm.ttft_mean_ns")
    size = 4096 * HIDDEN * 2
    longer = MEETINGS * ((tree - ring) * STEP + (2 - 2 * (devices - 1) / devices) * size / LINK)
    assert found["tree", devices] - found["ring", devices] == pytest.approx(longer, rel=1e-3)
    assert found["ring", devices] > found["ring", 1] / devices


# --- cpu-gpu-tpu --------------------------------------------------------------------------------------

SHEETS = {  # FLOP/s and bytes/s promised
    "rtx-4090-data-sheet": (165.2e12, 1.008e12),
    "tpu-v5e-data-sheet": (197e12, 0.819e12),
    "a100-data-sheet": (312e12, 2.039e12),
    "h100-data-sheet": (989e12, 3.35e12),
}
SMALL, SMALL_HEAD = 16 * (2048 * 5120 + 3 * 2048 * 8192), 2048 * VOCAB


def test_cpu_gpu_tpu_a_token_is_reading_and_a_prompt_is_computing():
    tokens, prompts = swept("cpu-gpu-tpu"), swept("cpu-gpu-tpu", metric="llm.ttft_mean_ns")
    for profile, (flops, bandwidth) in SHEETS.items():
        assert tokens[profile, 1] == pytest.approx(2 * (SMALL + SMALL_HEAD) / (0.9 * bandwidth), rel=0.03)
        assert 1 < prompts[profile, 1] / (2 * 512 * SMALL / (0.8 * flops)) < 2
    assert tokens["reference-cpu", 1] > 10 * max(tokens[profile, 1] for profile in SHEETS)
    assert prompts["reference-cpu", 1] > 100 * max(prompts[profile, 1] for profile in SHEETS)


def test_cpu_gpu_tpu_a_machine_can_be_good_at_one_and_bad_at_the_other():
    tokens, prompts = swept("cpu-gpu-tpu"), swept("cpu-gpu-tpu", metric="llm.ttft_mean_ns")
    gpu, tpu = ("rtx-4090-data-sheet", 1), ("tpu-v5e-data-sheet", 1)
    assert tokens[gpu] < tokens[tpu]
    assert prompts[gpu] > prompts[tpu]


def test_cpu_gpu_tpu_a_batch_is_for_those_who_compute_faster_than_they_read():
    tokens = swept("cpu-gpu-tpu")
    assert all(tokens[profile, 64] < 2 * tokens[profile, 1] for profile in SHEETS)
    assert tokens["reference-cpu", 64] > 5 * tokens["reference-cpu", 1]


def test_cpu_gpu_tpu_a_phone_reads_slower_than_it_computes():
    phone = (
        ("profile", ("a17-pro-npu-data-sheet",)),
        ("engine.dtype", ("fp16",)),
        ("request.chat.count", (1,)),
    )
    [token] = swept("cpu-gpu-tpu", *phone).values()
    [prompt] = swept("cpu-gpu-tpu", *phone, metric="llm.ttft_mean_ns").values()
    assert token == pytest.approx(2 * (SMALL + SMALL_HEAD) / (0.9 * 51.2e9), rel=0.03)
    assert prompt / 512 < token / 100
