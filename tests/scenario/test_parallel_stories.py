"""The stories about several devices: what emerges from tasks, cores and mailboxes is what the formulas say.

The formulas are those of the papers on pipelines and data parallelism and of nccl-tests, written down here
again: from the cost of one product and of one transfer to the whole step.
"""

from math import ceil, log2

import pytest

from llmos.costs.model import CostModel
from llmos.costs.ops import AllReduce, Matmul, Send
from llmos.costs.profile import load_profile
from llmos.scenario.build import build
from llmos.scenario.load import load_text, shipped
from llmos.scenario.machine import run

H100 = CostModel(load_profile("h100-data-sheet"))
LINK = H100.profile.links["interconnect"]
MIB = 2**20


def layer_ns(tokens):
    """One layer of Llama-3-8B: its four products as one."""
    return H100.predict(Matmul(tokens, 4096, 6144 + 4096 + 2 * 14336 + 14336, "bf16")).ns


def state_of(name, *changes):
    """The last state of a scenario of which some text is another one."""
    text = shipped()[name].read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return run(build(load_text(text, folder=shipped()[name].parent))).state


def finish_of(name, *changes):
    """When each task is done, in ns."""
    return {task.name: task.finish_ns for task in state_of(name, *changes).tasks.values()}


# --- pipeline-bubble ----------------------------------------------------------------------------------

STAGES = 4
FORWARD = 8 * layer_ns(2048)
BACKWARD = 2 * FORWARD
SEND = '    { op = "send", size = "16 MiB", on = "nvlink" },\n'


def work_of(state):
    """CPU time of all tasks, as a share of what four cores had."""
    return sum(task.cpu_ns for task in state.tasks.values()) / (STAGES * state.now)


@pytest.mark.parametrize("m", [1, 2, 3, 4, 8, 16, 32])
def test_pipeline_bubble_is_that_of_the_formula(m):
    # The last stage begins after p - 1 others and is never idle for its m; then p - 1 go back.
    state = state_of("pipeline-bubble", ("count = 8\naff", f"count = {m}\naff"), (SEND, ""))
    assert state.now == (m + STAGES - 1) * (FORWARD + BACKWARD)
    idle = 1 - work_of(state)
    assert idle == pytest.approx((STAGES - 1) / (m + STAGES - 1))
    assert idle / (1 - idle) == pytest.approx((STAGES - 1) / m)  # the other convention


@pytest.mark.parametrize("m", [1, 4, 8, 32])
def test_pipeline_bubble_waits_for_activations_between_never_and_always(m):
    state = state_of("pipeline-bubble", ("count = 8\naff", f"count = {m}\naff"))
    free, send = (m + STAGES - 1) * (FORWARD + BACKWARD), H100.predict(Send(16 * MIB)).ns
    # Six transfers when there is one micro-batch, and at most two more on the longest way for each other one.
    assert free + 6 * send <= state.now <= free + (6 + 2 * (m - 1)) * send


def test_pipeline_bubble_needs_no_more_micro_batches_in_flight_than_stages():
    def took(value):
        return state_of("pipeline-bubble", ("value = 4", f"value = {value}"), (SEND, "")).now

    assert took(STAGES) == took(8) == took(100)
    assert took(3) > took(STAGES)
    # One at a time: each goes through all stages, forwards and back, before the next one.
    assert took(1) == 8 * STAGES * (FORWARD + BACKWARD)


# --- data-parallel --------------------------------------------------------------------------------------


def step_ns(tokens, buckets=8, size=1664 * MIB):
    """Forwards, then bucket by bucket: each goes when it is ready and the network is free."""
    forward = 32 * layer_ns(tokens)
    each, travels = 2 * 32 // buckets * layer_ns(tokens), H100.predict(AllReduce(size, 4)).ns
    ready = [forward + (k + 1) * each for k in range(buckets)]
    done = max(ready[k] + (buckets - k) * travels for k in range(buckets))
    bounds = forward + buckets * each, ready[0] + buckets * travels
    return done, ready[-1], buckets * travels, bounds


@pytest.mark.parametrize("tokens", [256, 1024, 2048, 8192])
def test_data_parallel_hides_what_can_be_hidden(tokens):
    finish = finish_of("data-parallel", ("[2048,", f"[{tokens},"))
    done, computed, _, bounds = step_ns(tokens)
    assert set(finish.values()) == {done}
    assert done >= max(bounds)
    if tokens >= 2048:  # as the comments say: all but the last bucket travels for nothing
        assert done - computed == H100.predict(AllReduce(1664 * MIB, 4)).ns
    else:
        assert done == bounds[1]  # the network is the busier side, and has no gap


def test_data_parallel_late_hides_nothing():
    _, computed, travels, _ = step_ns(2048)
    assert set(finish_of("data-parallel-late").values()) == {computed + travels}


def test_data_parallel_waits_for_the_slowest():
    finish = finish_of("data-parallel", ("count = 5", "count = 5\nspeeds = [1, 1, 1, 0.5, 1]"))
    assert set(finish.values()) == {2 * 96 * layer_ns(2048) + H100.predict(AllReduce(1664 * MIB, 4)).ns}


# --- ring-allreduce, tree-allreduce ------------------------------------------------------------------------

N = 8
SMALL = ("256 MiB", "64 KiB")


def ring_s(size):
    return 2 * (N - 1) * LINK.latency_s + 2 * (N - 1) / N * size / LINK.bytes_per_s


def whole_tree_s(size):
    """All of the data in each of the steps up and down."""
    return 2 * ceil(log2(N)) * (LINK.latency_s + size / LINK.bytes_per_s)


@pytest.mark.parametrize("size", [64 * 2**10, 2**20, 256 * MIB, 2**30])
def test_ring_allreduce_takes_what_the_formula_says(size):
    piece = ("32 MiB", f"{size // N} B")
    finish = finish_of("ring-allreduce", piece, ("256 MiB", f"{size} B"))
    ranks = {finish[f"rank-{r}"] for r in range(N)}
    assert len(ranks) == 1
    assert ranks.pop() == pytest.approx(ring_s(size) * 1e9, abs=2 * N)  # each of 14 steps in whole ns
    assert finish["formula"] == pytest.approx(ring_s(size) * 1e9, abs=1)


@pytest.mark.parametrize("size", [64 * 2**10, 256 * MIB])
def test_tree_allreduce_takes_log_n_steps_of_all_the_data(size):
    finish = finish_of("tree-allreduce", ("256 MiB", f"{size} B"))
    ranks = {finish[f"rank-{r}"] for r in range(N)}
    assert max(ranks) == pytest.approx(whole_tree_s(size) * 1e9, abs=6)
    # The formula is that of a tree in pieces: as many latencies, but the data only up and down once.
    assert finish["formula"] == pytest.approx((6 * LINK.latency_s + 2 * size / LINK.bytes_per_s) * 1e9, abs=1)


def test_small_data_goes_by_tree_and_large_data_round_the_ring():
    small_ring = ("32 MiB", "8 KiB"), ("256 MiB", "64 KiB")
    assert max(finish_of("tree-allreduce", SMALL).values()) < 0.5 * max(
        finish_of("ring-allreduce", *small_ring).values()
    )
    assert finish_of("tree-allreduce")["rank-0"] > 3 * finish_of("ring-allreduce")["rank-0"]
    # 14 a + 1.75 S/B = 6 a + 6 S/B
    even = round(8 * LINK.latency_s / 4.25 * LINK.bytes_per_s)
    ring = finish_of("ring-allreduce", ("32 MiB", f"{even // N} B"))["rank-0"]
    assert finish_of("tree-allreduce", ("256 MiB", f"{even} B"))["rank-0"] == pytest.approx(ring, rel=1e-3)


def test_one_slow_link_slows_the_whole_ring_down():
    slow = finish_of("ring-allreduce", ("count = 9", "count = 9\nspeeds = [1, 1, 1, 0.5, 1, 1, 1, 1, 1]"))
    assert max(slow.values()) == pytest.approx(2 * ring_s(256 * MIB) * 1e9, abs=2 * N)
