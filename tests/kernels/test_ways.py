"""Ways to run a kernel give the same answer, and what a machine lacks for one is a sentence."""

import contextlib

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from llmos.costs.ops import Copy, Matmul, RmsNorm, VectorAdd  # noqa: E402 — what follows needs torch
from llmos.errors import ProfileError  # noqa: E402
from llmos.kernels import ways  # noqa: E402
from llmos.kernels.device import EAGER, open_device  # noqa: E402
from llmos.kernels.ops import kernel_of  # noqa: E402
from llmos.kernels.pool import Fresh  # noqa: E402
from llmos.kernels.timers import lacks  # noqa: E402

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


@pytest.fixture
def without_inductor(monkeypatch):
    """torch.compile as it is, but for the last step: no C++ is written and compiled, which takes long."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda run, **how: compile_(run, backend="aot_eager", **how))
    ways.compiled.cache_clear()
    ways.compiler_lacks.cache_clear()
    yield
    ways.compiled.cache_clear()
    ways.compiler_lacks.cache_clear()
    torch._dynamo.reset()


@pytest.mark.parametrize("way", ["compiled", "compiled-dynamic"])
@pytest.mark.parametrize("op", [RmsNorm(5, 32, "fp32"), Matmul(4, 128, 32, "bf16", "int8")])
def test_a_compiled_kernel_gives_the_same(op, way, without_inductor):
    kernel = kernel_of(op, "cpu")
    assert lacks(op, way, "cpu") == ""
    operands = kernel.operands(op, Fresh("cpu"))
    with torch.inference_mode():
        expected = kernel.run(*operands).clone()
        torch.testing.assert_close(ways.prepare(kernel.run, way)(*operands), expected)


def test_more_shapes_than_torch_expects_are_compiled_all_the_same(without_inductor):
    op = VectorAdd(10, "fp32")
    assert lacks(op, "compiled", "cpu") == ""
    run = ways.prepare(kernel_of(op, "cpu").run, "compiled")
    with torch.inference_mode():
        for n in range(2, 14):  # torch gives up at 8, and runs the rest eagerly or, of one graph, not at all
            x = torch.ones(n)
            assert torch.equal(run(x, x, torch.empty(n)), torch.full((n,), 2.0))


def test_a_static_graph_is_compiled_for_each_shape_and_a_dynamic_one_once(monkeypatch):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda run, **how: compile_(run, backend=backend, **how))
    counts = {}
    for dynamic in (False, True):
        ways.compiled.cache_clear()
        torch._dynamo.reset()
        compiled.clear()
        run = ways.compiled(lambda x: x * 2 + 1, dynamic=dynamic)
        for n in (4, 5, 6, 7):
            run(torch.ones(n))
        counts[dynamic] = len(compiled)
    ways.compiled.cache_clear()
    torch._dynamo.reset()
    assert counts == {False: 4, True: 1}


def test_a_missing_compiler_is_told_with_the_cure(monkeypatch):
    def broken(run, **how):
        def call(*operands):
            raise RuntimeError("\n  InvalidCxxCompiler: No working C++ compiler found\n  a long tale")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    ways.compiled.cache_clear()
    ways.compiler_lacks.cache_clear()
    why = lacks(VectorAdd(10, "fp32"), "compiled", "cpu")
    assert "No working C++ compiler found" in why
    assert "install g++" in why
    assert "\n" not in why
    with open_device("cpu") as cpu, pytest.raises(ProfileError, match="cannot be run compiled here: Invalid"):
        cpu.sample(VectorAdd(10, "fp32"), "compiled")
    ways.compiled.cache_clear()
    ways.compiler_lacks.cache_clear()


@pytest.mark.parametrize("way", ["blocked", "pruned"])
def test_our_own_tiles_are_timed_and_examined(way):
    op = Matmul(33, 128, 48, "bf16")
    with open_device("cpu") as cpu:
        assert cpu.lacks(op, way) == ""
        cpu.sample(op, way)
        assert cpu.sample(op, way) > 0
        error = cpu.examine(op, way).error
    assert (0.6 < error < 0.71) if way == "pruned" else error < 2**-8


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize(("way", "says"), [("cuda-graph", "CUDA"), ("triton", "GPU")])
def test_what_needs_a_gpu_says_so(way, says):
    assert says in lacks(Matmul(4, 4, 4), way, "cpu")


@pytest.mark.parametrize("way", ["blocked", "triton", "pruned"])
def test_tiles_are_for_dense_products(way):
    assert "dense" in lacks(Matmul(4, 128, 4, "fp32", "int8"), way, "cuda" if way == "triton" else "cpu")
    assert "dense" in lacks(RmsNorm(4, 4), way, "cpu")


def test_a_copy_has_nothing_to_compile():
    assert lacks(Copy(10), "compiled", "cpu") == "there is nothing to compile"


def test_launches_are_timed():
    with open_device("cpu") as cpu:
        assert 0 < cpu.launch(EAGER) < 1e-2


def test_what_is_recorded_runs_before_on_the_very_stream_that_it_is_recorded_on(monkeypatch):
    """With a CUDA that only writes down what it is asked."""
    log = []

    class Stream:
        def wait_stream(self, other):
            log.append("wait")

    class Graph:
        def replay(self):
            log.append("replay")

    @contextlib.contextmanager
    def on(stream):
        log.append(("on", stream))
        yield
        log.append("off")

    @contextlib.contextmanager
    def recording(graph, pool=None, stream=None):
        log.append(("recording", pool, stream))
        yield

    for name, stand_in in {"Stream": Stream, "current_stream": Stream, "CUDAGraph": Graph, "stream": on,
                           "graph": recording}.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    ways._aside.cache_clear()
    replays = [ways.record(lambda x: log.append("run") or x, 5, pool="pool") for _ in range(2)]
    aside = ways._aside()
    ways._aside.cache_clear()
    once = ["wait", ("on", aside), "run", "run", "run", "off", "wait", ("recording", "pool", aside), "run"]
    assert [replay() for replay in replays] == [5, 5]
    assert log == [*once, *once, "replay", "replay"]


@needs_cuda
@pytest.mark.parametrize("way", ["eager", "compiled", "compiled-dynamic", "cuda-graph", "blocked", "triton"])
def test_every_way_gives_the_same_on_a_gpu(way):
    op = Matmul(64, 256, 128, "bf16")
    if why := lacks(op, way, "cuda"):
        pytest.skip(why)
    with open_device("cuda") as cuda:
        cuda.sample(op, way)
        assert 0 < cuda.sample(op, way) < 1
        assert cuda.examine(op, way).error < 2**-7
        if way in (EAGER, "compiled", "compiled-dynamic", "cuda-graph"):
            assert 0 < cuda.launch(way) < 1e-2


@needs_cuda
def test_a_graph_is_launched_more_quickly_than_its_kernels_one_by_one():
    with open_device("cuda") as cuda:
        assert cuda.launch("cuda-graph") < cuda.launch(EAGER)


@needs_cuda
def test_a_graph_is_replayed_on_the_operands_that_it_was_recorded_with():
    x, y, out = torch.ones(8, device="cuda"), torch.ones(8, device="cuda"), torch.zeros(8, device="cuda")
    replay = ways.record(kernel_of(VectorAdd(8, "fp32"), "cuda").run, x, y, out)
    x.fill_(5)
    replay()
    torch.cuda.synchronize()
    assert out.tolist() == [6.0] * 8
