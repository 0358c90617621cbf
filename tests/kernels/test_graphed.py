"""Recorded decode steps say what the eager model says, and write nothing of anybody else's."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from hypothesis import given, settings  # noqa: E402 — what follows needs torch
from hypothesis import strategies as st  # noqa: E402
from machines import engine, execute  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from llmos.costs.decoder import Composition, ModelShape  # noqa: E402
from llmos.costs.variants import _recorded  # noqa: E402
from llmos.errors import LlmosError  # noqa: E402
from llmos.kernels.executor import Executor  # noqa: E402
from llmos.kernels.graphed import Graphed, Step, filled, variant  # noqa: E402
from llmos.kernels.llama import Chunk, Model  # noqa: E402
from llmos.kernels.paged import ContiguousKv  # noqa: E402
from llmos.kernels.timers import one_thread  # noqa: E402
from llmos.kernels.watch import CpuWatch  # noqa: E402
from llmos.replacement.lru import Lru  # noqa: E402
from llmos.scenario.machine import RequestSpec  # noqa: E402
from llmos.sched.fcfs import FCFS  # noqa: E402
from llmos.serving.kv import KvMemory  # noqa: E402

SHAPE = ModelShape(2, 16, 4, 2, 4, 24, 64, dtype="fp32")
BLOCKS, WIDE = 24, 4
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


@pytest.fixture(scope="module", autouse=True)
def one_core():
    with one_thread():
        yield


class Tape(TorchDispatchMode):
    """A CUDA graph on a CPU: the calls of one run, done again at the same addresses with the same numbers.

    What Python computes is not done again. As `ways.record` does, it runs what it records three times before.
    """

    def __init__(self, run):
        super().__init__()
        self.calls = []
        for _ in range(3):
            run()
        with self:
            self.result = run()

    def __torch_dispatch__(self, call, types, args=(), kwargs=None):
        out = call(*args, **(kwargs or {}))
        self.calls.append((call, args, kwargs or {}, out))
        return out

    @torch.inference_mode()
    def __call__(self):
        for call, args, kwargs, out in self.calls:
            again = call(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)
        return self.result


def made(device="cpu", dtype=torch.float64, **changes):
    model = Model(SHAPE, BLOCKS, dtype=dtype, device=device, block_tokens=WIDE, positions=96, **changes)
    generator = torch.Generator().manual_seed(7)
    for layer in model.kv.layers:
        layer.copy_(torch.randn(layer.shape, generator=generator))
    return model


def caches(model):
    """What is anybody's."""
    return torch.stack([layer[:BLOCKS] for layer in model.kv.layers])


@st.composite
def batches(draw, most=6):
    """Requests that decode, somewhere in the cache, of which some have more blocks than they need yet."""
    free, chunks = draw(st.permutations(range(BLOCKS))), []
    for _ in range(draw(st.integers(1, most))):
        context = draw(st.integers(1, 4 * WIDE))
        count = min(-(-context // WIDE) + draw(st.integers(0, 1)), 4)
        blocks, free = free[:count], free[count:]
        chunks.append(Chunk([draw(st.integers(0, 63))], context - 1, blocks, draw(st.booleans())))
    return chunks


@pytest.fixture(scope="module")
def both():
    return made(), Graphed(made(), Tape)


@settings(max_examples=100)
@given(batches())
def test_every_batch_says_what_the_eager_model_says_and_nothing_else_is_touched(both, chunks):
    eager, graphed = both
    before = caches(graphed.model)
    assert graphed.iterate(chunks) == eager.iterate(chunks)
    after = caches(graphed.model)
    torch.testing.assert_close(after, caches(eager), rtol=1e-9, atol=1e-12)
    slots = [slot for chunk in chunks for slot in eager.kv.slots(chunk.blocks, chunk.start, 1)]
    same = torch.ones(BLOCKS * WIDE, dtype=torch.bool)
    same[slots] = False
    flat = (2, BLOCKS * WIDE, -1)
    assert torch.equal(after.view(flat)[:, same], before.view(flat)[:, same])


@pytest.mark.parametrize("requests", range(1, 10))
def test_batches_between_two_sizes_are_filled_up(requests):
    graphed = Graphed(made())
    chunks = [Chunk([i], i, [2 * i, 2 * i + 1, 23]) for i in range(requests)]
    assert len(graphed.iterate(chunks)) == requests
    assert graphed.recorded == [(filled(requests), -(-requests // WIDE))]
    assert filled(requests) == next(size for size in (1, 2, 4, 8, 16) if size >= requests)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_a_step_is_as_large_as_the_cost_model_takes_it_for(contexts):
    graphed = Graphed(made())
    batch = Composition((), tuple(contexts), len(contexts), WIDE)
    graphed._step(len(contexts), max(contexts))
    expected = _recorded(batch)
    assert graphed.recorded == [(len(expected.decode), expected.padded // WIDE)]
    assert expected.sampled == len(expected.decode)


def test_a_step_is_recorded_once_and_then_replayed():
    recorded = []
    graphed = Graphed(made(), lambda step: recorded.append(step) or step)
    graphed.ahead(3, 2 * WIDE)
    assert graphed.recorded == [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2)]
    for context in range(1, 2 * WIDE + 1):
        graphed.iterate([Chunk([5], context - 1, [3, 4])] * 2)
    assert len(recorded) == 6
    graphed.iterate([Chunk([5], 2 * WIDE, [3, 4, 5])])
    assert graphed.recorded[2] == (1, 3)
    assert len(recorded) == 7


def test_recording_changes_nothing_that_is_anybodys():
    model = made()
    before = caches(model)
    Graphed(model, Tape).ahead(4, 3 * WIDE)
    assert torch.equal(caches(model), before)


def test_rows_that_fill_up_would_be_seen_in_a_block_of_somebodys():
    """The mutation: a scratch block that is somebody's."""
    model = made()
    model.kv.scratch = 0
    before = caches(model)
    Graphed(model).iterate([Chunk([1], 2, [block]) for block in (1, 2, 3)])
    assert not torch.equal(caches(model)[:, 0], before[:, 0])


def test_a_step_asks_nothing_of_the_host():
    """On the meta device there are no numbers: who wants to see one fails."""
    model = Model(SHAPE, BLOCKS, device="meta", block_tokens=WIDE)
    tokens = Step(model, 4, 3)()
    assert (tokens.shape, tokens.dtype, tokens.device.type) == ((4,), torch.int64, "meta")
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        model.iterate([Chunk([1], 0, [0])])


def test_prompts_are_read_eagerly_and_what_they_wrote_is_found_by_the_steps():
    eager, graphed = made(), Graphed(made(), Tape)
    for chunks in (
        [Chunk([1, 2, 3, 4, 5], 0, [7, 2])],
        [Chunk([6], 5, [7, 2]), Chunk([9, 9, 9], 0, [4])],
        [Chunk([3], 6, [7, 2]), Chunk([1], 3, [4]), Chunk([2], 0, [11])],
    ):
        assert graphed.iterate(chunks) == eager.iterate(chunks)
        assert graphed.compose(chunks) == eager.compose(chunks)
    assert graphed.recorded == [(4, 2)]


@pytest.mark.parametrize("chunk", [Chunk([1], 8, [0, 1]), Chunk([1], 96, range(25)), Chunk([], 0, [0])])
def test_it_refuses_what_the_model_refuses(chunk):
    with pytest.raises(LlmosError) as eagerly:
        made().iterate([chunk])
    with pytest.raises(LlmosError) as recorded:
        Graphed(made()).iterate([chunk])
    assert str(recorded.value) == str(eagerly.value)


def test_a_serving_engine_says_the_same():
    work = [([1, 2, 3, 1, 2, i], 9, 40_000 * i) for i in range(5)]
    said = []
    for wrap in (lambda model: model, lambda model: Graphed(model, Tape)):
        executor, kept = Executor(wrap(made()), CpuWatch()), {}

        class Listening:
            def pace(self, batch, executor=executor, kept=kept):
                kept.update({share.request.pid: share.request.ids for share in batch.shares})
                return executor.pace(batch)

        specs = [
            RequestSpec(name=f"r{i}", prompt=len(ids), ids=ids, output=output, arrival_ns=at)
            for i, (ids, output, at) in enumerate(work)
        ]
        execute(
            engine(
                FCFS, *specs, slots=3, token_budget=8, skip=False, pacing=Listening(),
                memory=lambda: KvMemory(BLOCKS, WIDE, Lru()),
            )
        )  # fmt: skip
        said.append(kept)
    assert said[0] == said[1]
    assert all(len(ids) == 15 for ids in said[0].values())


def test_who_asks_for_a_variant_gets_it_or_a_reason():
    model = made()
    assert variant(model, "eager") is model
    with pytest.raises(LlmosError, match="dynamic"):
        variant(model, "dynamic")
    with pytest.raises(LlmosError, match="contiguous"):
        Graphed(made(kv=ContiguousKv))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_nothing_is_recorded_and_it_says_so():
    with pytest.raises(LlmosError, match="CUDA"):
        variant(made(), "static")


# --- on a GPU ---


@needs_cuda
@settings(max_examples=20)
@given(st.lists(batches(), min_size=1, max_size=4))
def test_graphs_on_a_gpu_say_what_the_eager_model_says(run):
    eager, graphed = made("cuda"), variant(made("cuda"), "static", requests=2, context=2 * WIDE)
    for chunks in run:
        assert graphed.iterate(chunks) == eager.iterate(chunks)
        torch.testing.assert_close(caches(graphed.model), caches(eager), rtol=1e-9, atol=1e-12)


@needs_cuda
def test_recording_on_a_gpu_changes_nothing_that_is_anybodys():
    model = made("cuda")
    before = caches(model)
    variant(model, "static", requests=4, context=3 * WIDE)
    assert torch.equal(caches(model), before)


@needs_cuda
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_graph_gives_the_very_numbers_of_its_step(dtype):
    graphed = variant(made("cuda", dtype), "static", requests=4, context=4 * WIDE)
    for size in graphed.recorded:
        step, replay = graphed._steps[size]
        for start in range(size[1] * WIDE):
            step.fill([Chunk([start], start, [1, 2, 3, 4])])
            assert replay().tolist() == step().tolist()


@needs_cuda
def test_a_replay_is_a_single_launch():
    graphed = variant(made("cuda"), "static", requests=4, context=WIDE)
    chunks = [Chunk([1], 2, [block]) for block in range(3)]
    graphed.iterate(chunks)
    with torch.profiler.profile() as profile:
        graphed.iterate(chunks)
        torch.cuda.synchronize()
    names = [event.name for event in profile.events()]
    if not any(name.startswith("cuda") for name in names):
        pytest.skip("the profiler does not see CUDA calls here")
    assert names.count("cudaGraphLaunch") == 1
    assert "cudaLaunchKernel" not in names
