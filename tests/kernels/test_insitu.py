import time
from collections import Counter
from itertools import count

import pytest

from llmos.costs.decoder import Composition, model_shape, operations
from llmos.costs.iteration import IterationModel
from llmos.costs.model import CostModel
from llmos.costs.ops import Matmul, RmsNorm
from llmos.costs.profile import IterationFit, Profile, Row, Spread, load_profile, save_profile
from llmos.errors import ProfileError
from llmos.kernels.calibrate import calibrate
from llmos.kernels.device import NullDevice
from llmos.kernels.insitu import (
    DECODING,
    FEWEST_ROUNDS,
    MOST_ROUNDS,
    PROMPTS,
    InSitu,
    PretendedIterations,
    plan,
    taught,
    usual,
)
from llmos.kernels.steady import PROBE, Steady

SHAPE = model_shape("tiny-2m")
LONG_AGO = 0.0


def silent(fraction, doing):
    pass


def measured(device=None, *, budget_s=60.0, progress=silent, **changes):
    iterations = PretendedIterations(device or NullDevice(), SHAPE, **changes)
    found = InSitu(lambda: iterations, time.monotonic() + budget_s, progress)
    found.measure()
    return found


def profile(rows=(), **changes):
    facts = {
        "name": "null-device", "kind": "measured", "device": "null", "clock": "pretended",
        "date": "2026-01-31T12:00:00Z", "peak_flops": {"fp32": 100e9, "bf16": 100e9},
        "bandwidth_bytes_per_s": 20e9, "launch_s": 2e-6, "rows": rows,
    }  # fmt: skip
    return Profile(**(facts | changes))


@pytest.fixture(scope="module")
def steady():
    """A machine without ripple, whose iterations take 10 % and 3 us an operation more than their parts."""
    return measured(NullDevice(ripple=0), scale=1.1, overhead_s=3e-6)


# --- what is learnt ---


def test_scale_and_overhead_are_found(steady):
    (fit,) = taught(profile(), steady, SHAPE, "tiny-2m").iterations
    assert fit.scale == pytest.approx(1.1, rel=0.01)
    assert fit.overhead_s == pytest.approx(3e-6, rel=0.05)
    assert (fit.model, fit.dtype, fit.weights) == ("tiny-2m", "fp32", "dense")
    assert fit.noise.p95 == pytest.approx(0, abs=1e-9)
    assert fit.holdout.median < 0.02, "between rows it is the cost model that errs"
    assert fit.holdout.points == len(steady.held_out)


def test_a_profile_that_was_taught_predicts_whole_iterations(steady, tmp_path):
    save_profile(taught(profile(), steady, SHAPE, "tiny-2m"), tmp_path / "p.json")
    model = IterationModel(CostModel(load_profile(tmp_path / "p.json")), SHAPE)
    for batch in (Composition(decode=(100,) * 5, sampled=5), Composition(((50, 90),), (3, 500), 2)):
        ops = operations(SHAPE, batch)
        device = NullDevice(ripple=0)
        truth = sum(times * (1.1 * device.sample(op) + 3e-6) for times, op in ops)
        cost = model.predict(batch)
        assert cost.seconds == pytest.approx(truth, rel=0.05)
        assert cost.low < cost.seconds < cost.high


def test_an_unsteady_machine_shows_in_the_noise_and_in_the_error():
    fit = taught(profile(), measured(NullDevice(ripple=0.3)), SHAPE, "tiny-2m").iterations[0]
    assert fit.noise.median > 0.005
    assert fit.holdout.median > 0.005


class Moody(PretendedIterations):
    """A model on a machine whose speed changes by up to a half after every hundred calls."""

    def mood(self):
        calls = next(self.calls)
        return (1.0, 1.3, 0.9, 1.5, 1.1)[calls // 100 % 5]

    def seconds(self, batch):
        return self.mood() * super().seconds(batch)

    def parts(self, batch):
        mood = self.mood()
        return {op: [mood * each for each in runs] for op, runs in super().parts(batch).items()}


def test_the_moods_of_a_machine_do_not_count(steady):
    model = Moody(NullDevice(ripple=0), SHAPE, scale=1.1, overhead_s=3e-6)
    object.__setattr__(model, "calls", count())
    found = InSitu(lambda: model, time.monotonic() + 60, silent)
    found.measure()
    (fit,) = taught(profile(), found, SHAPE, "tiny-2m").iterations
    assert fit.noise.median < 0.001
    assert fit.noise.p95 < 0.03, "a mood that comes between a probe and what follows it does count"
    assert fit.scale == pytest.approx(1.1, rel=0.01)
    # What does count is how fast it usually is; that, too, is in the profile.
    (quiet,) = taught(profile(), steady, SHAPE, "tiny-2m").iterations
    usually = fit.probe_s / quiet.probe_s
    assert usually == pytest.approx(1.1)
    for batch in steady.held_out:
        assert found.usual(batch) == pytest.approx(usually * steady.usual(batch), rel=0.02)


def test_a_hiccup_does_not_count_and_the_rest_is_averaged():
    assert usual([3.0, 1.0, 2.0]) == 2.0
    assert usual([5.0, 900.0, 4.0, 6.0, 5.0, 5.0, 0.1, 5.0]) == 5.0


def test_batches_that_check_teach_nothing(steady):
    learnt = {op for batch in steady.learnt for _, op in operations(SHAPE, batch)}
    assert {row.op for row in steady.rows()} == learnt
    assert not set(steady.learnt) & set(steady.held_out)


def test_rows_from_inside_a_model_replace_those_timed_alone(steady):
    width = SHAPE.qkv_width
    sizes = sorted(row.op.m for row in steady.rows() if row.op.dims[1:] == (192, width))
    alone = [
        Matmul(sizes[0] + 5, 192, width, "fp32"),  # amid those of the model: goes
        Matmul(sizes[-1] + 1, 192, width, "fp32"),  # larger than any of it: stays
        Matmul(8, 192, width + 1, "fp32"),  # of another curve: stays
        RmsNorm(8, 192, "bf16"),  # of another dtype: stays
    ]
    before = profile(tuple(Row(op, 1.0, 1.0, 1.0, 1) for op in alone))
    after = taught(before, steady, SHAPE, "tiny-2m")
    kept = [row.op for row in after.rows if row.seconds == 1.0]
    assert kept == alone[1:]
    assert len(after.rows) == len(kept) + len(steady.rows())
    assert len({row.op for row in after.rows}) == len(after.rows)


def test_what_another_model_taught_is_kept_and_ones_own_is_replaced(steady):
    spread = Spread(0.1, 0.2, 3)
    old = [IterationFit(name, "fp32", 9.0, 0.0, spread, spread) for name in ("tiny-2m", "tiny-20m")]
    fits = taught(profile(iterations=tuple(old)), steady, SHAPE, "tiny-2m").iterations
    assert [fit.model for fit in fits] == ["tiny-20m", "tiny-2m"]
    assert [fit.scale == 9.0 for fit in fits] == [True, False]


# --- the plan ---


def test_the_plan_has_every_size_of_a_batch_and_of_a_prompt_to_learn_from():
    learnt, held_out = plan(0)
    decodes = {len(batch.decode) for batch in learnt if not batch.prefill}
    prompts = {batch.prefill[0][0] for batch in learnt if not batch.decode}
    assert decodes >= set(DECODING)
    assert prompts >= set(PROMPTS)
    for batch in learnt + held_out:
        assert batch.tokens
        assert max(batch.decode, default=1) <= 1024
        assert all(new <= context <= 1024 for new, context in batch.prefill)
        assert batch.sampled <= len(batch.decode) + len(batch.prefill)
    assert plan(0) == plan(0) != plan(1)


# --- under way ---


class Recording(PretendedIterations):
    heard: list  # set below: the class it extends is frozen

    def seconds(self, batch):
        self.heard.append((batch, "whole"))
        return super().seconds(batch)

    def parts(self, batch):
        self.heard.append((batch, "parts"))
        return super().parts(batch)


def test_rounds_take_every_batch_whole_and_in_parts_in_ever_new_orders():
    iterations = Recording(NullDevice(), SHAPE)
    object.__setattr__(iterations, "heard", [])
    found = InSitu(lambda: iterations, time.monotonic() + 60, silent)
    found.measure()
    turns = len(found.wholes) + len(found.learnt)
    heard = [each for each in iterations.heard if each[0] != PROBE][len(found.wholes) :]
    rounds = [tuple(heard[start : start + turns]) for start in range(0, len(heard), turns)]
    assert len(rounds) == MOST_ROUNDS
    assert len(set(rounds)) == MOST_ROUNDS
    for each in rounds:
        assert len(set(each)) == turns


def stop_at(words):
    def progress(fraction, doing):
        if words in doing:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("moment", ["making", "warming up", "round 1", f"round {FEWEST_ROUNDS}"])
def test_interrupted_too_early_it_teaches_nothing(moment):
    after = taught(profile(), measured(progress=stop_at(moment)), SHAPE, "tiny-2m")
    assert after.notes[0] == "iterations: interrupted before the end"
    assert after == profile(notes=after.notes)


def test_interrupted_later_it_keeps_what_there_is():
    found = measured(progress=stop_at(f"round {FEWEST_ROUNDS + 1}"))
    assert {len(samples) for samples in found.wholes.values()} == {FEWEST_ROUNDS}
    after = taught(profile(), found, SHAPE, "tiny-2m")
    assert "iterations: interrupted before the end" in after.notes
    assert after.iterations[0].holdout.points == len(found.held_out)


def test_without_time_it_teaches_nothing_and_says_so():
    after = taught(profile(), measured(budget_s=-1.0), SHAPE, "tiny-2m")
    assert (after.rows, after.iterations) == ((), ())
    assert "batches left out as too slow for the budget" in after.notes[0]
    assert after.notes[1].startswith("nothing was learnt of tiny-2m: give it more time (--budget)")


class Clocked(PretendedIterations):
    """A model on a clock that stands still but for it: a millisecond a token."""

    def seconds(self, batch):
        self.spend(batch.tokens * 1e-3)
        return super().seconds(batch)


def test_what_the_budget_has_no_room_for_is_left_out_with_a_note(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("llmos.kernels.insitu.time.monotonic", lambda: now[0])
    model = Clocked(NullDevice(), SHAPE)
    object.__setattr__(model, "spend", lambda seconds: now.__setitem__(0, now[0] + seconds))
    every = {batch for part in plan(0) for batch in part}
    # To warm up takes one such sum, two times six rounds would take twelve: there is room for half.
    found = InSitu(lambda: model, 7e-3 * sum(batch.tokens for batch in every), silent)
    found.measure()
    left_out = every - set(found.wholes)
    assert 0 < len(left_out) < len(every) / 2
    assert max(batch.tokens for batch in found.wholes) <= min(batch.tokens for batch in left_out)
    assert found.notes == [
        f"iterations: {len(left_out)} of {len(every)} batches left out as too slow for the budget"
    ]


# --- as a part of a calibration ---


def test_a_calibration_with_a_model_predicts_its_iterations(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMOS_DATA", str(tmp_path))
    found = calibrate("null", quick=True, model="tiny-2m", dtype="bf16")
    assert load_profile("null-device") == found
    (fit,) = found.iterations
    assert (fit.model, fit.dtype) == ("tiny-2m", "bf16")
    assert fit.scale == pytest.approx(1.05, rel=0.05)
    assert fit.holdout.median < 0.05
    assert "timed inside tiny-2m bf16" in " ".join(found.notes)
    assert {"rms_norm", "decode_attention", "prefill_attention"} <= {row.op.kind for row in found.rows}
    assert found.system


@pytest.mark.parametrize("moment", ["making the model", "warming up an iteration", "round 2: an iteration"])
def test_an_interrupted_model_does_not_cost_what_was_measured_before(moment):
    found = calibrate("null", quick=True, model="tiny-2m", save=False, progress=stop_at(moment))
    assert found.iterations == ()
    assert found.rows
    assert "iterations: interrupted before the end" in found.notes


@pytest.mark.parametrize(
    ("model", "how", "words"),
    [
        ("tiny-2mm", {}, 'did you mean "tiny-2m"'),
        ("llama-3-8b", {}, "too large to be run here"),
        ("tiny-2m", {"dtype": "fp8"}, "fp32, bf16, fp16"),
        ("tiny-2m", {"weights": "int9"}, "int8, int4"),
    ],
)
def test_a_model_that_cannot_run_is_refused_before_anything_is_measured(model, how, words):
    with pytest.raises(ProfileError, match=words):
        calibrate("null", model=model, **how, progress=stop_at(""))


@pytest.mark.parametrize("words", [{"dtype": "bf16"}, {"weights": "int8"}])
def test_what_is_said_of_a_model_needs_one(words):
    with pytest.raises(ProfileError, match="are for a model") as caught:
        calibrate("null", **words, progress=stop_at(""))
    assert "--model" in str(caught.value)


def test_what_a_model_taught_is_for_weights_stored_as_they_were():
    shape = model_shape("tiny-2m", None, "int8")
    found = InSitu(lambda: PretendedIterations(NullDevice(), shape), time.monotonic() + 60, silent)
    found.measure()
    after = taught(profile(), found, shape, "tiny-2m")
    assert after.iterations[0].weights == "int8"
    assert IterationModel(CostModel(after), shape).own == after.iterations[0]
    assert IterationModel(CostModel(after), SHAPE).own is None


def times_of(batch):
    times = Counter()
    for often, op in operations(SHAPE, batch):
        times[op] += often
    return times


def test_an_operation_counts_as_often_as_it_runs():
    """One that is slow once in a prompt's iteration, and quick in twelve places of another."""

    class Uneven(PretendedIterations):
        def parts(self, batch):
            slow = 100.0 if batch.prefill else 1.0
            return {op: [slow * each for each in runs] for op, runs in super().parts(batch).items()}

    found = InSitu(lambda: Uneven(NullDevice(ripple=0), SHAPE), 0.0, silent)
    found.learnt = found.held_out = [Composition(((8, 8),), sampled=1), Composition(decode=(64,), sampled=1)]
    found.wholes = {batch: [] for batch in found.learnt}
    found.steady = Steady(lambda: 1.0)
    found._round(found.open(), 0)
    row = next(row for row in found.rows() if row.op == RmsNorm(1, SHAPE.hidden, SHAPE.dtype))
    assert row.samples == 1 + 2 * SHAPE.layers + 1
    assert row.seconds == pytest.approx(NullDevice(ripple=0).sample(row.op)), "one of so many is trimmed away"


# --- for real ---


def test_a_real_model_is_timed_whole_and_in_parts():
    pytest.importorskip("torch", reason="torch is not installed")
    from llmos.kernels.timers import one_thread
    from llmos.kernels.watch import RealIterations

    with one_thread():
        real = RealIterations(SHAPE, context=64)
        for batch in (Composition(decode=(9, 30), sampled=2), Composition(((5, 5), (3, 20)), (7,), 2)):
            assert real.seconds(batch) > 0
            parts = real.parts(batch)
            assert set(parts) == {op for _, op in operations(SHAPE, batch)}
            assert all(seconds > 0 for runs in parts.values() for seconds in runs)
            assert {op: len(runs) for op, runs in parts.items()} == times_of(batch)
