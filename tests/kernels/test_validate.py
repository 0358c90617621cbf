"""Validation with a model that only pretends, so that every figure is known beforehand."""

import json

import msgspec
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

from commandline import llmos, ok, refused  # noqa: E402 — what follows needs torch

from llmos.costs.decoder import model_shape  # noqa: E402
from llmos.costs.iteration import IterationModel  # noqa: E402
from llmos.costs.model import CostModel  # noqa: E402
from llmos.costs.profile import IterationFit, Spread, load_profile  # noqa: E402
from llmos.errors import LlmosError  # noqa: E402
from llmos.kernels import validate as module  # noqa: E402
from llmos.kernels.llama import Model  # noqa: E402
from llmos.kernels.steady import PROBE  # noqa: E402
from llmos.kernels.validate import Compared, Engine, validate  # noqa: E402
from llmos.kernels.watch import CpuWatch, CudaWatch, probe_blocks, probe_of  # noqa: E402
from llmos.plot.validation import draw_validation  # noqa: E402
from llmos.scenario.machine import PolicySpec  # noqa: E402
from llmos.sched.fcfs import FCFS  # noqa: E402

SHAPE = model_shape("tiny-2m")
PROFILE = load_profile("h100-data-sheet")
ENGINE = Engine(PolicySpec(name="fcfs", make=FCFS), slots=4, token_budget=64, blocks=64)


class Pretended:
    """A model and a watch in one: an iteration takes `factor` times its prediction."""

    def __init__(self, factor):
        self.costs = IterationModel(CostModel(PROFILE), SHAPE)
        self.factor = factor
        self.batch = None

    def compute(self, model, chunks):
        self.batch = model.compose(chunks)
        return [1] * self.batch.sampled

    def whole(self, run):
        out = run()
        return out, self.factor * self.costs.predict(self.batch).seconds


@pytest.fixture
def pretended(monkeypatch):
    def make(factor):
        watch = Pretended(factor)
        monkeypatch.setattr(
            Model, "iterate", lambda model, chunks, observe=None: watch.compute(model, chunks)
        )
        return watch

    return make


def test_a_machine_that_is_slower_by_a_quarter_is_seen_to_be(pretended):
    found = validate("tiny-2m", SHAPE, PROFILE, ENGINE, pretended(1.25), requests=8)
    error, noise = found.iterations.error, found.iterations.noise
    assert (error.median, error.p95, error.bias) == pytest.approx((0.2, 0.2, -0.2))
    assert (noise.median, noise.p95, noise.bias) == (0, 0, 0)
    assert found.iterations.total == pytest.approx((-0.2, 0.0))
    assert found.waits["tbt"].error.bias < -0.15
    assert set(found.kinds) == {"decode", "mixed", "prefill"}


def test_what_the_profile_knows_exactly_is_simulated_exactly(pretended):
    """But for the straight lines between two lengths of context, which are a few percent off at most."""
    found = validate("tiny-2m", SHAPE, PROFILE, ENGINE, pretended(1.0), requests=8)
    assert found.iterations.error.p95 == pytest.approx(0, abs=1e-9)
    for compared in found.waits.values():
        assert compared.error.p95 < 0.03
        assert compared.noise.p95 == 0


class Drifting(Pretended):
    """The same on a machine that is slower from iteration to iteration."""

    def whole(self, run):
        self.factor *= 1.001
        return super().whole(run)


def test_the_drift_of_a_machine_is_told_from_errors_of_the_model(pretended, monkeypatch):
    watch = Drifting(1.25)
    monkeypatch.setattr(Model, "iterate", lambda model, chunks, observe=None: watch.compute(model, chunks))
    spread = Spread(0.01, 0.02, 10)
    # At 1.25 times of what the operations add up to, a probe takes what stands in the profile.
    probe_s = 1.25 * watch.costs.predict(PROBE).seconds
    fit = IterationFit("tiny-2m", "fp32", 1.0, 0.0, spread, spread, probe_s=probe_s)
    known = msgspec.structs.replace(PROFILE, iterations=(fit,))
    found = validate("tiny-2m", SHAPE, known, ENGINE, watch, requests=8)
    assert found.iterations.error.bias == pytest.approx(-0.2, abs=0.005)
    assert found.iterations.total == pytest.approx((-0.2, 0.0), abs=0.005)
    assert found.as_they_came.error.bias < -0.5
    assert found.as_they_came.noise.bias > 0.1
    assert 1.0 < found.slowdown.low < found.slowdown.median < found.slowdown.high
    as_is = validate("tiny-2m", SHAPE, known, ENGINE, watch, requests=8, probes=False)
    assert as_is.slowdown is None
    assert as_is.iterations == as_is.as_they_came


def test_a_replayed_engine_is_held_against_predictions_of_static_graphs(pretended, monkeypatch):
    watch, asked = pretended(1.0), []

    def variant(model, graph, **sizes):
        asked.append((graph, sizes["requests"], sizes["context"] > 0))
        return model

    monkeypatch.setattr(module, "variant", variant)
    found = validate("tiny-2m", SHAPE, PROFILE, ENGINE, watch, graph="static", requests=8)
    assert asked == [("static", ENGINE.slots, True)] * 2
    error = dict(zip(found.kinds, _errors(found.iterations), strict=True))
    assert error["decode"] < -0.5, "launches are what decoding of so small a model consists of"
    assert error["mixed"] == error["prefill"] == pytest.approx(0.0), "prompts are never replayed"


def _errors(compared):
    return [p / m - 1 for p, m in zip(compared.predicted, compared.measured, strict=True)]


def test_graphs_without_a_gpu_are_refused_with_the_cure():
    with pytest.raises(LlmosError, match="need a CUDA device") as caught:
        validate("tiny-2m", SHAPE, PROFILE, ENGINE, CpuWatch(), graph="static", requests=5)
    assert "--graph eager" in str(caught.value)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("graph", ["eager", "static"])
def test_it_runs_on_a_gpu(graph):
    found = validate("tiny-2m", SHAPE, PROFILE, ENGINE, CudaWatch(), device="cuda", graph=graph, requests=8)
    assert all(seconds > 0 for seconds in found.iterations.measured)


def test_a_probe_leaves_what_requests_have_written_alone():
    model = Model(SHAPE, 8 + probe_blocks(16), seed=1)
    for layer in model.kv.layers:
        layer.normal_()
    before = [layer.clone() for layer in model.kv.layers]
    assert probe_of(model, CpuWatch(), 8)() > 0
    for layer, was in zip(model.kv.layers, before, strict=True):
        assert torch.equal(layer[:8], was[:8])
        assert not torch.equal(layer[8:], was[8:])


def test_errors_by_hand():
    compared = Compared([1.0, 2.0, 4.0], [1.0, 2.0, 5.0], [1.1, 1.8, 4.0])
    assert compared.error.median == pytest.approx(0.1)
    assert compared.error.bias == pytest.approx(0.0)
    assert compared.total == pytest.approx((-0.1 / 7, 1 / 7))
    assert compared.noise.median == 0


def test_requests_that_cannot_fit_are_told_with_the_cure(pretended):
    small = Engine(PolicySpec(name="fcfs", make=FCFS), blocks=4)
    with pytest.raises(LlmosError, match=r"4 KV blocks cannot hold a request of \d+ tokens") as caught:
        validate("tiny-2m", SHAPE, PROFILE, small, pretended(1.0), requests=8)
    assert "--kv-blocks" in str(caught.value)


def test_the_picture_shows_every_iteration_and_both_errors(pretended):
    document = validate("tiny-2m", SHAPE, PROFILE, ENGINE, pretended(1.25), requests=8).document()
    json.dumps(document)
    figure = draw_validation(document)
    scatter, errors = (ax for ax in figure.axes if ax.get_label() != "paper")
    shown = sum(len(each.get_offsets()) for each in scatter.collections[1:])
    assert shown == len(document["points"]["iteration"]["measured"])
    assert [line.get_label() for line in errors.lines] == [
        "predicted: median 20.0%, p95 20.0%",
        "measured again: median 0.0%, p95 0.0%",
    ]


def test_the_command_says_all_of_it(pretended, monkeypatch, tmp_path):
    watch = pretended(1.25)
    monkeypatch.setattr("llmos.kernels.watch.watch_for", lambda device: watch)
    picture = tmp_path / "v.svg"
    out = ok(
        llmos(tmp_path, "validate", "--model", "tiny-2m", "--profile", "h100-data-sheet", "--requests", "8",
              "--plot", "v.svg")
    )  # fmt: skip
    assert "predicted -20.0%" in out
    assert "data sheet, not measured" in out
    assert "no probe tells how fast it was" in out
    assert picture.stat().st_size > 1000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "tiny-20"], 'did you mean "tiny-20m"'),
        (["--model", "llama-3-70b"], "llama-3-70b is too large to be run here"),
        (["--dtype", "fp8"], "no model runs in fp8"),
        (["--profile", "nobody"], "there is no profile 'nobody'"),
        (["--slots", "9", "--token-budget", "8"], "less than a token for each of 9 slots"),
        (["--scheduler", "fcsf"], 'did you mean "fcfs"'),
        (["--plot", "x.bmp"], 'cannot be written as ".bmp"'),
    ],
)
def test_what_is_wrong_is_told_before_anything_runs(options, message, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "validate", None)
    refused(llmos(tmp_path, "validate", "--profile", "h100-data-sheet", *options), message)
