import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.costs.model import UNKNOWN_ERROR, Cost, CostModel
from llmos.costs.ops import Matmul, PrefillAttention, RmsNorm, VectorAdd
from llmos.costs.profile import Profile, Row, Spread, load_profile
from llmos.errors import ProfileError

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


def power_law(m: float) -> float:
    return 3e-5 * m**0.7


def test_an_exact_row_is_given_back_as_it_is(make):
    op = Matmul(4, 512, 512)
    cost = CostModel(make([(op, 3.25e-4), (Matmul(8, 512, 512), 9e-4)])).predict(op)
    assert cost.seconds == 3.25e-4
    assert (cost.low, cost.high) == (3.25e-4 * 0.9, 3.25e-4 * 1.2)
    assert cost.source == "exact row (by-hand, measured 2026-01-31)"


def test_the_interval_of_an_exact_row_is_never_narrower_than_the_noise(make):
    op = Matmul(4, 512, 512)
    profile = make([(op, 1e-3)], noise=Spread(0.1, 0.5, 10))
    cost = CostModel(profile).predict(op)
    assert cost.low == pytest.approx(1e-3 / 1.5)
    assert cost.high == pytest.approx(1e-3 * 1.5)


def test_an_exact_row_of_a_kind_with_its_own_noise_has_that_interval(make):
    product, norm, wide = Matmul(4, 512, 512), RmsNorm(4, 512, "fp32"), Spread(0.2, 0.6, 10)
    rows = [(product, 1e-3), (norm, 1e-5)]
    costs = CostModel(make(rows, noise=Spread(0.1, 0.5, 20), noise_of={"rms_norm": wide}))
    assert costs.predict(norm).high == pytest.approx(1e-5 * 1.6)
    assert costs.predict(norm).low == pytest.approx(1e-5 / 1.6)
    assert costs.predict(product).high == pytest.approx(1e-3 * 1.5), "of the others, that of all together"


def test_no_interval_is_narrower_than_the_noise_of_its_kind(make):
    known, noisy = {"interpolated": Spread(0.05, 0.3, 9)}, {"matmul": Spread(0.1, 0.7, 10)}
    rows = [(Matmul(m, 512, 512), power_law(m)) for m in SIZES]
    cost = CostModel(make(rows, holdout=known, noise_of=noisy)).predict(Matmul(5, 512, 512))
    assert cost.high == pytest.approx(cost.seconds * 1.7)


def on_a_device(make, *, tiled):
    """Attention on a device that computes 50 times slower than its data sheet says, in whole tiles or not."""
    ops = [
        PrefillAttention(t, t, heads, 2, 64, batch)
        for t in (4, 16, 64, 200, 500)
        for heads in (2, 8, 32)
        for batch in (1, 8)
    ]
    flops = [op.tiled_flops if tiled else op.flops for op in ops]
    taken = [1e-6 + math.hypot(50 * f / 2e12, op.bytes / 1e11) for f, op in zip(flops, ops, strict=True)]
    return CostModel(make(zip(ops, taken, strict=True)))


@pytest.mark.parametrize("tiled", [True, False])
def test_the_rows_tell_whether_a_device_computes_whole_tiles(make, tiled):
    # In tiles, the 4 x 8 queries that share a key are 128, and the 300 keys of each are 384.
    new = PrefillAttention(8, 300, 8, 2, 64, 8)
    flops = 4 * 8 * 2 * 128 * 64 * 384 if tiled else 4 * 8 * 8 * 64 * (8 * 593 // 2)
    seconds = 1e-6 + math.hypot(50 * flops / 2e12, new.bytes / 1e11)
    assert on_a_device(make, tiled=tiled).predict(new).seconds == pytest.approx(seconds, rel=0.05)


@given(st.integers(1, 256))
def test_between_rows_of_a_power_law_the_law_is_met(m):
    rows = tuple(Row(Matmul(x, 64, 64), power_law(x), 1e-9, 1, 1) for x in SIZES)
    profile = Profile(
        name="law", kind="measured", device="", clock="", date="2026-01-31", rows=rows,
        peak_flops={"fp32": 1e12}, bandwidth_bytes_per_s=1e11, launch_s=0.0,
    )  # fmt: skip
    cost = CostModel(profile).predict(Matmul(m, 64, 64))
    assert cost.seconds == pytest.approx(power_law(m), rel=1e-12)
    assert cost.source.startswith("exact row" if m in SIZES else "interpolated")


def rounded(parts):
    launch, compute, memory = parts
    return launch + math.hypot(compute, memory)


def test_a_new_curve_gets_the_roofline_times_what_its_neighbours_took_of_it(make):
    # Every row takes three times its roofline, whose corner is round; so should one of another k and n.
    ops = [Matmul(m, k, n) for k, n in ((256, 256), (1024, 256), (2048, 2048)) for m in SIZES]
    bare = make()
    model = CostModel(make([(op, 3 * rounded(bare.parts(op))) for op in ops]))
    cost = model.predict(Matmul(12, 512, 1024))
    # On paper: 12.58 MFLOP take 12.6 us, 2.17 MB take 21.7 us; a launch comes on top.
    assert cost.seconds == pytest.approx(
        3 * (1e-6 + math.hypot(12_582_912 / 1e12, 2_170_880 / 1e11)), rel=1e-5
    )
    assert cost.source.startswith("roofline x residual (by-hand")


def test_the_nearer_curve_counts_more(make):
    bare = make()
    corners = [(256, 256, 4.0), (256, 512, 4.0), (512, 256, 4.0), (8192, 8192, 1.0), (4096, 8192, 1.0)]
    rows = [(op, share * rounded(bare.parts(op))) for k, n, share in corners for op in [Matmul(8, k, n)]]
    model = CostModel(make(rows))
    near_slow, near_fast = Matmul(8, 512, 512), Matmul(8, 4096, 4096)
    shares = [model.predict(op).seconds / rounded(bare.parts(op)) for op in (near_slow, near_fast)]
    assert shares[0] > 1.5 * shares[1]


def test_one_kernel_that_is_too_slow_does_not_make_its_neighbours_slow(make):
    bare = make()
    ops = [Matmul(m, k, n) for m in (1, 16, 256) for k in (256, 512, 2048) for n in (256, 1024, 4096)]
    slow = ops[13]
    rows = [(op, rounded(bare.parts(op)) * (5 if op == slow else 1)) for op in ops]
    other = Matmul(slow.m, slow.k, slow.n * 5 // 4)
    assert CostModel(make(rows)).predict(other).seconds < 1.3 * rounded(bare.parts(other))


def test_beyond_the_largest_row_its_share_of_the_roofline_holds(make):
    bare = make()
    ops = [Matmul(m, 512, 512) for m in SIZES]
    model = CostModel(make([(op, 2 * rounded(bare.parts(op))) for op in ops]))
    far = Matmul(4096, 512, 512)
    assert model.predict(far).seconds == pytest.approx(2 * rounded(bare.parts(far)), rel=1e-4)
    assert model.predict(far).source.startswith("roofline x residual")


def test_no_line_is_drawn_between_rows_that_are_far_apart(make):
    bare = make()
    rows = [(op, rounded(bare.parts(op))) for m in (1, 4, 64, 256) for op in [Matmul(m, 2048, 2048)]]
    model = CostModel(make(rows))
    near, far = model.predict(Matmul(100, 2048, 2048)), model.predict(Matmul(16, 2048, 2048))
    assert near.source.startswith("interpolated")
    assert far.source.startswith("roofline x residual")
    # 134 MFLOP take 134 us and 17 MB 168 us; the line from m = 4 to 64 would say half as much again.
    assert far.seconds == pytest.approx(rounded(bare.parts(Matmul(16, 2048, 2048))), rel=0.02)


def test_the_interval_is_wider_where_the_rows_say_little(make):
    bare = make()
    ops = [Matmul(m, k, n) for m in (8, 32, 128) for k in (256, 512, 1024) for n in (256, 512, 1024)]
    model = CostModel(make([(op, bare.roofline(op) * (op.k / op.n) ** 0.2) for op in ops]))
    near, far = (model.predict(op) for op in (Matmul(32, 512, 600), Matmul(100_000, 7, 70_000)))
    assert near.high == pytest.approx(near.seconds * (1 + UNKNOWN_ERROR["roofline x residual"]))
    assert far.high / far.seconds > 1.5 * (near.high / near.seconds)


def test_without_rows_there_is_the_roofline(make):
    model = CostModel(make())
    # 2 * 1000**3 operations at 1 TFLOP/s take 2 ms, 12 MB at 100 GB/s 0.12 ms: computing wins.
    assert model.predict(Matmul(1000, 1000, 1000)).seconds == pytest.approx(1e-6 + 2e-3)
    # 12 MB of vectors at 100 GB/s: moving wins.
    assert model.predict(VectorAdd(10**6)).seconds == pytest.approx(1e-6 + 1.2e-4)


def test_the_data_sheet_says_that_nobody_measured_it():
    model = CostModel(load_profile("h100-data-sheet"))
    cost = model.predict(Matmul(8192, 8192, 8192, "bf16"))
    # 1.0995 PFLOP at 989 TFLOP/s, of which 80 % are reached.
    assert cost.seconds == pytest.approx(2.5e-6 + 2 * 8192**3 / (989e12 * 0.8))
    assert cost.source == "roofline (h100-data-sheet, data sheet, not measured)"
    # One H100 was measured at 798 TFLOP/s on this product.
    assert cost.low < 2 * 8192**3 / 798e12 < cost.high
    # Decoding reads 2 * 4096 * 4096 bytes of weights at 90 % of 3.35 TB/s.
    assert model.predict(Matmul(1, 4096, 4096, "bf16")).seconds == pytest.approx(1.363e-5, rel=1e-3)


def test_a_dtype_without_figures_is_refused_with_those_there_are(make):
    with pytest.raises(ProfileError, match="fp32, bf16"):
        CostModel(make()).predict(Matmul(1, 1, 1, "fp16"))


def test_one_dtype_never_answers_for_another(make):
    rows = [(Matmul(m, 512, 512, "fp32"), 1.0) for m in SIZES]
    cost = CostModel(make(rows)).predict(Matmul(4, 512, 512, "bf16"))
    assert cost.source.startswith("roofline (")


def test_held_out_errors_become_the_interval(make):
    rows = [(Matmul(m, 512, 512), power_law(m)) for m in SIZES]
    known = {"interpolated": Spread(0.05, 0.3, 9)}
    cost = CostModel(make(rows, holdout=known)).predict(Matmul(5, 512, 512))
    assert cost.high == pytest.approx(cost.seconds * 1.3)
    assert cost.low == pytest.approx(cost.seconds / 1.3)
    unknown = CostModel(make(rows)).predict(Matmul(5, 512, 512))
    assert unknown.high == pytest.approx(unknown.seconds * (1 + UNKNOWN_ERROR["interpolated"]))
    noisy = CostModel(make(rows, holdout=known, noise=Spread(0.1, 0.4, 9))).predict(Matmul(5, 512, 512))
    assert noisy.high == pytest.approx(noisy.seconds * 1.4)


def test_nanoseconds_are_whole_and_at_least_one():
    assert Cost(1.2345e-6, 0, 1, "").ns == 1234
    assert Cost(1e-12, 0, 1, "").ns == 1


@given(st.data())
def test_more_tokens_never_cost_less_where_no_row_says_so(data):
    steps = data.draw(st.lists(st.floats(1.0, 4.0), min_size=len(SIZES), max_size=len(SIZES)))
    seconds, rows = 1e-5, []
    for m, step in zip(SIZES, steps, strict=True):
        seconds *= step
        rows.append(Row(Matmul(m, 64, 64), seconds, seconds, seconds, 1))
    profile = Profile(
        name="rising", kind="measured", device="", clock="", date="2026-01-31", rows=tuple(rows),
        peak_flops={"fp32": 1e13}, bandwidth_bytes_per_s=1e12, launch_s=1e-7,
    )  # fmt: skip
    model = CostModel(profile)
    costs = [model.predict(Matmul(m, 64, 64)) for m in range(1, 257)]
    for before, after in pairwise(costs):
        assert before.seconds <= after.seconds * (1 + 1e-12)
    for m in (257, 300, 1000, 10**6):
        assert model.predict(Matmul(m, 64, 64)).seconds >= costs[-1].seconds
