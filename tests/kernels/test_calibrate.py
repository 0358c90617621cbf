import json
import math
import platform
import subprocess
import sys
import time

import pytest

import llmos.kernels
from llmos.costs.model import CostModel
from llmos.costs.ops import OPS, Copy, Matmul, VectorAdd, show_op
from llmos.costs.profile import load_profile, user_folder
from llmos.errors import ProfileError
from llmos.kernels.calibrate import calibrate, cpu_pressure, wait_until_quiet
from llmos.kernels.device import NullDevice, open_device
from llmos.kernels.drift import check_profile
from llmos.kernels.grids import copy_ops, grid
from llmos.kernels.rounds import FEWEST_ROUNDS, MOST_ROUNDS, SMALL_S, VISITS, Rounds, bends
from llmos.kernels.steady import PRODUCT


@pytest.fixture(autouse=True)
def own_data(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMOS_DATA", str(tmp_path / "data"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A quick calibration of the null device, and the folder that it was kept in."""
    folder = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLMOS_DATA", str(folder))
        return calibrate("null", quick=True), folder


@pytest.fixture
def profile(saved, monkeypatch):
    monkeypatch.setenv("LLMOS_DATA", str(saved[1]))
    return saved[0]


def silent(fraction, doing):
    pass


def rounds_of(device, ops, *, budget_s=5.0, progress=silent):
    rounds = Rounds(device, time.monotonic() + budget_s, budget_s, progress)
    rounds.warm_up(ops)
    return rounds


# --- a whole calibration, of nothing ---


def test_a_calibration_finds_the_machine_that_was_pretended(profile):
    # The null device computes 100 GFLOP/s, moves 20 GB/s and launches in 2 us, give or take a few percent.
    for rate in profile.peak_flops.values():
        assert rate == pytest.approx(100e9, rel=0.1)
    assert profile.bandwidth_bytes_per_s == pytest.approx(20e9, rel=0.1)
    assert profile.launch_s == pytest.approx(2e-6, rel=0.1)
    assert 0 < profile.noise.median < profile.noise.p95 < 0.1
    assert profile.holdout["interpolated"].median < 0.1
    assert profile.kind == "measured"
    assert profile.notes == ()


def test_a_calibration_is_kept_under_its_name_and_predicts(profile):
    assert load_profile("null-device") == profile
    cost = CostModel(profile).predict(Matmul(5, 640, 640))
    # On paper: 1.66 MB at 20 GB/s and a launch.
    assert cost.seconds == pytest.approx(2e-6 + 1_664_000 / 20e9, rel=0.1)
    assert cost.source.startswith("roofline x residual (null-device, measured")


def test_a_pretended_machine_is_never_this_machine(profile):
    with pytest.raises(ProfileError, match="has not been measured"):
        load_profile("this-machine")


def test_a_null_calibration_repeats_itself_and_is_written_only_when_asked_to(saved):
    again = calibrate("null", quick=True, save=False)
    assert again.rows == saved[0].rows
    assert again.noise == saved[0].noise
    assert again.holdout == saved[0].holdout
    assert not user_folder().exists()


def test_the_grid_is_measured_from_decode_to_prefill_in_all_dtypes(profile):
    curves = {}
    for row in profile.rows:
        if row.op.kind == "matmul":
            curves.setdefault((row.op.dtype, row.op.dims[1:]), []).append(row.op.dims[0])
        visits = VISITS if row.high < SMALL_S else 1
        assert row.samples in (2 * MOST_ROUNDS * visits, 2 * MOST_ROUNDS * VISITS)
    assert {dtype for dtype, _ in curves} == {"fp32", "bf16", "fp16"}
    assert all({1, 2, 3, 4, 512} <= set(tokens) for tokens in curves.values())
    assert set(grid(NullDevice(), quick=True)) < set(grid(NullDevice(), quick=False))


def test_progress_goes_from_start_to_end():
    heard = []
    calibrate(
        "null", quick=True, save=False, progress=lambda fraction, doing: heard.append((fraction, doing))
    )
    fractions = [fraction for fraction, _ in heard]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    assert all(doing for _, doing in heard)


def test_the_profile_tells_neither_whose_machine_it_is_nor_where(profile):
    text = (user_folder() / "null-device.json").read_text()
    assert platform.node() not in text
    assert str(user_folder()) not in text


@pytest.mark.parametrize("budget_s", [0, -1, math.nan, math.inf, 1e9])
def test_a_budget_without_sense_is_refused(budget_s):
    with pytest.raises(ProfileError, match="1 to 3600 s"):
        calibrate("null", budget_s=budget_s)


@pytest.mark.parametrize("name", ["../up", "a/b", "Big", "-x", ".hidden", "this-machine", "x" * 65, "a\n"])
def test_a_name_that_is_no_file_of_its_own_is_refused_before_measuring(name):
    with pytest.raises(ProfileError, match="cannot be called"):
        calibrate("null", name=name, progress=stop_at(""))
    assert not user_folder().exists()


def test_a_profile_can_be_given_a_name():
    profile = calibrate("null", quick=True, name="my-null.2")
    assert load_profile("my-null.2") == profile


def test_an_unknown_device_is_told_with_those_there_are():
    with pytest.raises(ProfileError, match="cpu, cuda, null"):
        calibrate("abacus")
    with pytest.raises(ProfileError, match='did you mean "cuda"'), open_device("cudda"):
        pass


# --- interrupted ---


def stop_at(words):
    """Progress that presses Ctrl-C when it hears these words."""

    def progress(fraction, doing):
        if words in doing:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("moment", ["opening", "warming up", "bandwidth", "pass 1 of 2, round 2"])
def test_interrupted_too_early_it_leaves_nothing(moment):
    with pytest.raises(KeyboardInterrupt):
        calibrate("null", quick=True, progress=stop_at(moment))
    assert not user_folder().exists()


def test_interrupted_in_the_second_pass_it_keeps_what_there_is():
    profile = calibrate("null", quick=True, progress=stop_at("pass 2 of 2, round 2"))
    assert load_profile("null-device") == profile
    assert profile.noise is None, "there was no second pass to compare with"
    assert "interrupted before its end" in profile.notes
    assert min(row.samples for row in profile.rows) >= MOST_ROUNDS


def test_interrupted_late_in_the_first_pass_it_keeps_what_there_is():
    profile = calibrate("null", quick=True, progress=stop_at(f"pass 1 of 2, round {FEWEST_ROUNDS + 1}"))
    assert min(row.samples for row in profile.rows) == FEWEST_ROUNDS
    assert "interpolated" in profile.holdout


# --- rounds ---


def test_a_machine_without_ripple_has_no_noise():
    ops = [Matmul(m, 64, 64) for m in (1, 2, 4)]
    rounds = rounds_of(NullDevice(ripple=0), ops)
    rounds.measure()
    assert rounds.noise().p95 == pytest.approx(0, abs=1e-12)
    for row in rounds.rows():
        expected = 2e-6 + max(row.op.flops / 100e9, row.op.bytes / 20e9)
        assert row.seconds == pytest.approx(expected, rel=1e-6)
        assert row.low == row.seconds == row.high


def test_only_what_computes_says_how_fast_that_is():
    rounds = rounds_of(NullDevice(ripple=0), [Copy(2**20), Matmul(64, 64, 64), VectorAdd(4096, "bf16")])
    rounds.measure()
    assert set(rounds.peaks()) == {"fp32", "bf16"}


class Bus(NullDevice):
    """Copies from and to the host at 5 GB/s, after 20 us."""

    def sample(self, op, way="eager"):
        return super().sample(op, way) if op.link == "memory" else 20e-6 + op.bytes / 5e9


def test_copies_over_a_link_give_its_latency_and_bandwidth():
    device = Bus(kind="cuda", ripple=0)
    rounds = rounds_of(device, copy_ops("cuda"))
    rounds.measure()
    links = rounds.links()
    assert set(links) == {
        f"{way} {host}" for way in ("to-device", "from-device") for host in ("pinned", "pageable")
    }
    for link in links.values():
        assert link.latency_s == pytest.approx(20e-6, rel=1e-3)
        assert link.bytes_per_s == pytest.approx(5e9, rel=1e-3)


def test_a_thorough_grid_has_weights_of_every_kind_that_the_device_has():
    stored = {op.weights for op in grid(NullDevice(), quick=False) if op.kind == "matmul"}
    assert stored == {"dense", "int8", "int4", "int8-dynamic"}
    stored = {op.weights for op in grid(NullDevice(kind="cuda"), quick=False) if op.kind == "matmul"}
    assert stored == {"dense", "int8", "int4", "int8-dynamic", "2:4"}
    assert {op.weights for op in grid(NullDevice(), quick=True) if op.kind == "matmul"} == {"dense"}


@pytest.mark.parametrize(("kind", "longest"), [("null", 1024), ("cuda", 8192)])
def test_a_gpu_is_asked_for_longer_contexts(kind, longest):
    ops = [op for op in grid(NullDevice(kind=kind), quick=True) if "attention" in op.kind]
    assert max(op.context for op in ops) == longest
    assert all(op.tokens <= op.context for op in ops if op.kind == "prefill_attention")


class Slowing(NullDevice):
    """A machine that takes twice as long once it has been asked often enough."""

    asked = 0
    slow_after = 0

    def sample(self, op):
        self.asked += op != PRODUCT
        return super().sample(op) * (2 if self.asked > self.slow_after else 1)


class Fitful(NullDevice):
    """A machine with two fast moments in five, which takes half as long again in the others."""

    asked = 0

    def sample(self, op):
        self.asked += 1
        return super().sample(op) * (1.0 if self.asked // 2 % 5 < 2 else 1.5)


def test_rows_are_of_the_usual_speed_of_a_machine():
    ops = [Matmul(m, 1024, 1024) for m in (1, 2, 4)]
    rounds = rounds_of(Fitful(ripple=0), ops)
    rounds.measure()
    for row in rounds.rows():
        assert row.seconds == pytest.approx(1.5 * NullDevice(ripple=0).sample(row.op))


def test_a_machine_that_changes_between_the_passes_shows_as_noise():
    ops = [Matmul(m, 64, 64) for m in (1, 2, 4)]
    device = Slowing(ripple=0)
    device.slow_after = len(ops) * (2 + VISITS * MOST_ROUNDS)  # two warm-ups, then the first pass
    rounds = rounds_of(device, ops)
    rounds.measure()
    assert rounds.noise().median == pytest.approx(1)


class Recording(NullDevice):
    def __post_init__(self):
        super().__post_init__()
        self.heard = []

    def sample(self, op):
        if op != PRODUCT:
            self.heard.append(op)
        return super().sample(op)


def test_rounds_take_everything_in_ever_new_orders_and_what_is_small_more_often():
    small, *large = [Matmul(1, 64, 64), *(Matmul(m, 1024, 1024) for m in (1, 2, 3, 4, 6, 8, 12))]
    device = Recording()
    rounds_of(device, [small, *large]).measure()
    each, heard = sorted([*[small] * VISITS, *large], key=show_op), device.heard[2 * (1 + len(large)) :]
    orders = [tuple(heard[start : start + len(each)]) for start in range(0, len(heard), len(each))]
    assert len(orders) == 2 * MOST_ROUNDS
    assert all(sorted(order, key=show_op) == each for order in orders)
    assert len(set(orders)) > MOST_ROUNDS


class Slow(NullDevice):
    def sample(self, op):
        return 10.0 if op.dtype == "bf16" and op.dims[0] > 8 else super().sample(op)

    def lacks(self, op):
        return "this device has no fp16" if op.dtype == "fp16" else ""


def test_what_is_too_slow_or_not_there_is_left_out_with_a_note():
    ops = [Matmul(m, 64, 64, dtype) for dtype in ("fp32", "bf16", "fp16") for m in (1, 8, 64, 512)]
    rounds = rounds_of(Slow(), ops)
    rounds.measure()
    kept = [(row.op.dtype, row.op.dims[0]) for row in rounds.rows()]
    assert kept == [("bf16", 1), ("bf16", 8), ("fp32", 1), ("fp32", 8), ("fp32", 64), ("fp32", 512)]
    assert rounds.notes == [
        "left out, this device has no fp16: matmul fp16",
        "left out as too slow for the budget: 2 of matmul bf16, from matmul 64x64x64 bf16 up",
    ]


def test_what_is_larger_than_the_too_slow_is_not_even_tried():
    class SlowRecording(Recording, Slow):
        pass

    device = SlowRecording()
    rounds_of(device, [Matmul(m, 64, 64, "bf16") for m in (1, 8, 64, 128, 256)])
    assert max(op.dims[0] for op in device.heard) == 64


def test_a_device_on_which_nothing_is_fast_enough_is_told():
    class Hopeless(NullDevice):
        def sample(self, op):
            return 1e3

    with pytest.raises(ProfileError, match="--budget 60s"):
        rounds_of(Hopeless(), [Matmul(1, 64, 64)]).measure()


# --- drift ---


def test_a_machine_that_did_not_change_has_not_drifted(profile):
    drift = check_profile(profile, "null")
    assert drift.ratio == pytest.approx(1, abs=0.03)
    assert drift.low <= drift.ratio <= drift.high
    assert len(drift.probes) == 12
    assert {getattr(row.op, "dtype", "") for row, _ in drift.probes} >= {"fp32", "bf16", "fp16"}
    assert drift.within_noise


def test_a_machine_twice_as_slow_has_drifted_by_two(profile, monkeypatch):
    monkeypatch.setattr(Slowing, "slow_after", 0)
    monkeypatch.setattr("llmos.kernels.device.NullDevice", Slowing)
    drift = check_profile(profile, "null")
    assert drift.ratio == pytest.approx(2, abs=0.06)
    assert not drift.within_noise


def test_a_data_sheet_cannot_drift():
    with pytest.raises(ProfileError, match="was not measured"):
        check_profile(load_profile("h100-data-sheet"), "null")


# --- surroundings ---


def test_pressure_is_a_percentage_or_unknown():
    pressure = cpu_pressure()
    assert pressure is None or 0 <= pressure <= 100


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("llmos.kernels.calibrate.time.monotonic", lambda: now[0])
    monkeypatch.setattr("llmos.kernels.calibrate.time.sleep", lambda s: now.__setitem__(0, now[0] + s))
    return now


@pytest.mark.parametrize(
    ("pressures", "waited_s", "words"),
    [
        ([5.0], 0, ""),
        ([None], 0, ""),
        ([80.0, 40.0, 19.0], 2, ""),
        ([45.0] * 9, 4, "in 45 % of the ten seconds before"),
    ],
)
def test_a_busy_machine_is_waited_for_but_not_for_ever(pressures, waited_s, words, clock, monkeypatch):
    left = iter(pressures)
    monkeypatch.setattr("llmos.kernels.calibrate.cpu_pressure", lambda: next(left))
    notes = wait_until_quiet(4.0)
    assert clock[0] == waited_s
    assert words in " ".join(notes)
    assert bool(notes) == bool(words)


def test_nothing_of_torch_is_loaded_to_pretend():
    script = """
import sys
import llmos.kernels
from llmos.kernels.calibrate import calibrate
calibrate("null", quick=True, save=False)
sys.exit("torch" in sys.modules)
"""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=environment, check=False).returncode == 0


def test_where_torch_is_not_there_the_cure_is_named(monkeypatch):
    monkeypatch.delattr(llmos.kernels, "timers", raising=False)
    monkeypatch.setitem(sys.modules, "llmos.kernels.timers", None)
    with pytest.raises(ProfileError, match=r"pip install 'llmos\[kernels\]'"), open_device("cpu"):
        pass


def test_the_file_of_a_calibration_is_plain_json(profile):
    document = json.loads((user_folder() / "null-device.json").read_text())
    assert document["schema"] == 2
    assert {row["op"] for row in document["rows"]} == set(OPS) - {
        "file_read",
        "all_reduce",
        "all_gather",
        "send",
    }


def cliff(op):
    """A power law, but that it takes half as long from 100 tokens on."""
    return 1e-6 * op.m**0.8 * (0.5 if op.m >= 100 else 1.0)


def test_where_a_curve_bends_sizes_are_added():
    ops = [Matmul(m, 64, 64) for m in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)]
    found = bends({op: cliff(op) for op in ops})
    # 64 and 128 stand at either side of the cliff: sizes before, in and behind it.
    assert {op.m for op in found} == {45, 91, 181}
    assert not bends({op: 1e-6 * op.m**0.8 for op in ops})
    assert not bends({op: cliff(op) for op in ops[:2]})


def test_small_sizes_have_nothing_between_them():
    ops = [Matmul(m, 64, 64) for m in (1, 2, 3)]
    assert bends(dict(zip(ops, (1.0, 5.0, 1.0), strict=True))) == []


class Cliff(NullDevice):
    def sample(self, op):
        return cliff(op)


def test_a_calibration_times_the_sizes_at_a_cliff_too():
    ops = [Matmul(2**power, 64, 64) for power in range(10)]
    rounds = rounds_of(Cliff(), ops)
    rounds.refine()
    rounds.measure()
    assert {row.op.m for row in rounds.rows()} - {2**power for power in range(10)} <= {45, 91, 181}
    assert rounds.refined
