import pytest

from llmos.costs.model import CostModel
from llmos.costs.ops import AllReduce, Copy, Matmul
from llmos.costs.profile import list_profiles, load_profile

SHEETS = ("a100", "h100", "h200", "rtx-4090", "tpu-v5e", "a17-pro-npu")


@pytest.fixture(params=SHEETS)
def sheet(request):
    return load_profile(f"{request.param}-data-sheet")


def test_it_is_listed_and_says_what_it_is(sheet):
    assert sheet.kind == "data-sheet"
    assert sheet.source
    assert sheet.name in [found.name for found in list_profiles()]
    assert (sheet.rows, sheet.dropped, sheet.noise, sheet.holdout) == ((), (), None, {})
    assert "data sheet, not measured" in sheet.provenance
    assert "Not measured" in sheet.notes[0]
    assert any("launch_s is a" in note for note in sheet.notes)


def test_it_predicts_in_each_of_its_dtypes_and_says_how(sheet):
    model = CostModel(sheet)
    for dtype in {"bf16", "fp16", "fp32", "fp8"} & set(sheet.peak_flops):
        cost = model.predict(Matmul(1, 4096, 4096, dtype))
        assert 0 < cost.low < cost.seconds < cost.high
        assert cost.source == f"roofline ({sheet.name}, data sheet, not measured)"


# FLOPs per byte at which computing and moving take as long, from peak and bandwidth.
@pytest.mark.parametrize(
    ("name", "dtype", "ridge"),
    [("a100", "bf16", 153), ("h100", "bf16", 295), ("h200", "bf16", 206), ("rtx-4090", "bf16", 164),
     ("tpu-v5e", "bf16", 241)],
)  # fmt: skip
def test_the_ridge_is_where_the_figures_put_it(name, dtype, ridge):
    profile = load_profile(f"{name}-data-sheet")
    assert profile.peak_flops[dtype] / profile.bandwidth_bytes_per_s == pytest.approx(ridge, abs=0.5)


def test_decoding_is_faster_on_more_bandwidth_and_prefill_on_more_arithmetic():
    a100, h100, h200 = (CostModel(load_profile(f"{name}-data-sheet")) for name in ("a100", "h100", "h200"))
    decode, prefill = Matmul(1, 8192, 8192, "bf16"), Matmul(8192, 8192, 8192, "bf16")
    assert h200.predict(decode).seconds < h100.predict(decode).seconds < a100.predict(decode).seconds
    assert h200.predict(prefill).seconds == h100.predict(prefill).seconds < a100.predict(prefill).seconds


def test_links_are_one_way():
    profile = load_profile("h100-data-sheet")
    # NVLink: 900 GB/s both ways together. Of 2 devices, each sends half of the data twice.
    assert profile.roofline(AllReduce(900_000_000, 2)) == pytest.approx(2 * 3e-6 + 900e6 / 450e9)
    assert profile.roofline(Copy(64_000_000, "to-device")) == pytest.approx(1e-5 + 1e-3)
