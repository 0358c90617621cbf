"""The bench: what it times, beside which roof, and what it says of what it cannot time."""

import json

import pytest
from click.testing import CliRunner

from llmos.cli.kernels import command
from llmos.costs.ops import Matmul, VectorAdd
from llmos.errors import ProfileError
from llmos.kernels import bench as benches
from llmos.kernels.bench import EXAMPLE, MOST, VARIANTS, Case, bench, cases_of
from llmos.kernels.device import NullDevice


def of_matmul(**chosen):
    return bench("null", cases_of(["matmul"], **chosen), budget_s=1)


def row(measured, variant, dtype="fp32"):
    [found] = [r for r in measured.rows if r.case.variant == variant and r.case.op.dtype == dtype]
    return found


def test_all_variants_of_the_worked_example():
    measured = of_matmul(variants=list(VARIANTS))
    assert len(measured.rows) == 3 * len(VARIANTS)
    for each in measured.rows:
        assert (each.case.op.m, each.case.op.k) == EXAMPLE[:2]
        assert each.samples == 2 * MOST
        assert each.low <= each.seconds <= each.high
    assert measured.left_out == ()


def test_times_and_rates_are_those_of_the_machine_that_was_pretended():
    measured = of_matmul(dtypes=["fp32"])
    eager = row(measured, "eager")
    # 1024 x 512 x 64 products and sums at 100 GFLOP/s, and a launch of 2 us.
    assert eager.seconds == pytest.approx(2 * 1024 * 512 * 64 / 100e9 + 2e-6, rel=0.1)
    assert eager.flops_per_s == pytest.approx(100e9, rel=0.1)
    assert eager.bytes_per_s == pytest.approx((1024 * 512 + 512 * 64 + 1024 * 64) * 4 / eager.seconds)
    assert measured.peak_flops["fp32"] == pytest.approx(100e9, rel=0.1)
    assert measured.bandwidth_bytes_per_s == pytest.approx(20e9, rel=0.1)
    assert measured.launches["eager"] == pytest.approx(2e-6, rel=0.1)
    assert 0 < measured.noise.p95 < 0.1


def test_what_computes_is_held_against_the_peak_and_what_moves_against_the_memory():
    cases = [Case("eager", Matmul(512, 1024, 1024)), Case("eager", VectorAdd(2**22))]
    measured = bench("null", cases, budget_s=1)
    for each in measured.rows:
        assert 0.9 < each.of_roofline <= 1


def test_nothing_is_faster_than_the_roof_of_its_own_run():
    measured = bench("null", cases_of(["all"], variants=list(VARIANTS)), budget_s=1)
    assert all(0 < each.of_roofline <= 1 for each in measured.rows)


def test_memory_is_that_of_the_weights_as_stored():
    measured = of_matmul(dtypes=["bf16"])
    stored = {each.case.variant: each.examined.stored_bytes for each in measured.rows}
    assert stored["eager"] == 512 * 64 * 2
    assert stored["int8"] == 512 * 64 + 64 * 2
    assert stored["int4"] == 512 * 64 // 2 + 64 * 4 * 2 * 2
    assert stored["pruned"] == stored["eager"] // 2


def test_a_pruned_product_is_counted_with_what_is_left_of_it():
    pruned = row(of_matmul(dtypes=["fp32"]), "pruned")
    assert pruned.case.op == Matmul(1024, 512, 32)


def test_other_operations_run_in_those_ways_only_that_are_not_about_weights():
    cases = cases_of(["attention", "layers"], dtypes=["fp32"], variants=["eager", "int8", "compiled"])
    assert {case.variant for case in cases} == {"eager", "compiled"}
    kinds = {case.op.kind for case in cases}
    assert {"prefill_attention", "decode_attention", "kv_write", "rms_norm", "swiglu", "rotary"} <= kinds
    assert {getattr(case.op, "layout", "paged") for case in cases} == {"paged", "contiguous"}


@pytest.mark.parametrize(
    ("chosen", "says"),
    [
        ({"variants": ["eagre"]}, 'did you mean "eager"'),
        ({"dtypes": ["fp31"]}, 'did you mean "fp32"'),
        ({"kinds": ["matmuls"]}, 'did you mean "matmul"'),
    ],
)
def test_a_name_that_is_misspelt_is_told(chosen, says):
    with pytest.raises(ProfileError, match=says):
        cases_of(chosen.pop("kinds", ["matmul"]), **chosen)


class Picky(NullDevice):
    """Has no compiler, fails at int4, and is slow in fp16."""

    def lacks(self, op, way="eager"):
        return "there is no compiler" if way == "compiled" else ""

    def sample(self, op, way="eager"):
        if getattr(op, "weights", "") == "int4":
            raise RuntimeError("out of\nmemory")
        return 1e3 if getattr(op, "dtype", "") == "fp16" else super().sample(op, way)


def test_what_cannot_be_timed_is_left_out_with_the_reason(monkeypatch):
    monkeypatch.setattr("llmos.kernels.device.NullDevice", Picky)
    cases = cases_of(["matmul"], variants=["eager", "int4", "compiled"], dtypes=["fp32", "fp16"])
    measured = bench("null", [*cases, Case("eager", Matmul(2**20, 2**20, 1))], budget_s=1)
    assert [each.case for each in measured.rows] == [Case("eager", Matmul(*EXAMPLE))]
    assert measured.left_out == (
        "int4, matmul 1024x512x64 fp32 int4: out of memory",
        "compiled: there is no compiler",
        "eager, matmul 1024x512x64 fp16: 1e+03 s a run is too slow for a budget of 1 s",
        "int4, matmul 1024x512x64 fp16 int4: out of memory",
        "eager, matmul 1048576x1048576x1 fp32: its operands are more than 4 GiB",
    )


ASKED = []


class Counted(NullDevice):
    """Notes what it is asked to run, and has no memory to examine products of bf16."""

    def sample(self, op, way="eager"):
        ASKED.append(op)
        return super().sample(op, way)

    def examine(self, op, way="eager"):
        if op.dtype == "bf16":
            raise RuntimeError("[enforce fail] not enough memory: you tried to allocate 8 bytes")
        return super().examine(op, way)


def test_a_product_that_would_take_minutes_is_not_even_begun(monkeypatch):
    monkeypatch.setattr("llmos.kernels.device.NullDevice", lambda: Counted(ripple=0))
    long = Matmul(16_000, 16_000, 16_000)
    measured = bench("null", [Case("eager", long), Case("eager", Matmul(8, 64, 64))], budget_s=2)
    assert long not in ASKED
    (why,) = measured.left_out
    assert why.endswith("81.9 s a run, at best, is too slow for a budget of 2 s"), (
        "8.192 TFLOP at 100 GFLOP/s"
    )


def test_without_the_memory_for_an_exact_answer_there_is_still_a_time(monkeypatch):
    monkeypatch.setattr("llmos.kernels.device.NullDevice", Counted)
    measured = bench("null", cases_of(["matmul"], variants=["eager"], dtypes=["fp32", "bf16"]), budget_s=1)
    assert [each.examined.stored_bytes > 0 for each in measured.rows] == [True, False]
    assert measured.rows[1].seconds > 0
    (why,) = measured.left_out
    assert why.startswith("the error of eager, matmul 1024x512x64 bf16: [enforce fail] not enough memory")


def test_when_nothing_can_be_timed_that_is_an_error(monkeypatch):
    monkeypatch.setattr("llmos.kernels.device.NullDevice", Picky)
    with pytest.raises(ProfileError, match="nothing of this can be timed here") as raised:
        bench("null", cases_of(["matmul"], variants=["int4"]), budget_s=1)
    assert "out of memory" in raised.value.hint


class Slowing(NullDevice):
    """Takes half as long again once it has been asked often enough."""

    asked = 0

    def sample(self, op, way="eager"):
        self.asked += 1
        return super().sample(op, way) * (1.5 if self.asked > 2 * 2 + 2 * MOST else 1)


def test_a_machine_that_changes_between_the_passes_shows_as_noise(monkeypatch):
    monkeypatch.setattr("llmos.kernels.device.NullDevice", lambda: Slowing(ripple=0))
    measured = bench("null", [Case("eager", Matmul(8, 64, 64))], budget_s=5)
    assert measured.noise.median == pytest.approx(0.5)


# --- on the command line ------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(command, ["bench", "--device", "null", "--budget", "1", *arguments])


@pytest.mark.parametrize("budget", ["2", "2s", "2000 ms"])
def test_a_budget_may_have_its_unit(budget, monkeypatch):
    asked = []
    monkeypatch.setattr("llmos.cli.kernels.bench", lambda *_, budget_s, **__: asked.append(budget_s) or 1 / 0)
    CliRunner().invoke(command, ["bench", "--device", "null", "--budget", budget])
    assert asked == [2.0]


@pytest.mark.parametrize("budget", ["0.5", "2h", "-1s", "nan", "soon"])
def test_a_budget_without_sense_is_told(budget):
    shown = CliRunner().invoke(command, ["bench", "--device", "null", "--budget", budget])
    assert shown.exit_code == 2
    assert "--budget" in shown.output


def test_the_table_has_a_line_for_each_variant():
    shown = run("--dtype", "bf16", "--variant", "eager,int8", "--shape", "8x64x32")
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert lines[0].split() == ["variant", "operation", "time", "noise", "GFLOP/s", "GB/s", "of", "roofline",
                                "error", "memory"]  # fmt: skip
    assert "matmul 8x64x32 bf16" in lines[1]
    assert "4.0 KiB" in lines[1]
    assert lines[2].startswith("int8")
    assert any(line.startswith("noise") and "two passes" in line for line in lines)


def test_json_has_all_that_the_table_has():
    document = json.loads(run("--dtype", "fp32", "--json").output)
    assert document["schema"] == 1
    assert {record["variant"] for record in document["rows"]} == set(benches.USUAL)
    first = document["rows"][0]
    assert first["op"] == {"kind": "matmul", "m": 1024, "k": 512, "n": 64, "dtype": "fp32"}
    assert first["flops"] == 2 * 1024 * 512 * 64
    assert first["error"] is None


def test_a_picture_is_drawn(tmp_path):
    shown = run("--plot", str(tmp_path / "roof.svg"), "--ops", "all", "--dtype", "fp32,bf16")
    assert shown.exit_code == 0, shown.output
    assert "GFLOP/s" in (tmp_path / "roof.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--shape", "8x64"), "m x k x n"),
        (("--shape", "0x1x1"), "m x k x n"),
        (("--variant", "int5"), "int8"),
        (("--model", "tiny"), "tiny-2m"),
        (("--plot", "roof.txt"), ".png"),
    ],
)
def test_what_is_mistyped_is_told_with_the_cure(arguments, says):
    shown = run(*arguments)
    assert shown.exit_code != 0
    assert says in shown.output + str(shown.exception)
