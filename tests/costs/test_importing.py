import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.costs.decoder import model_shape
from llmos.costs.difference import difference
from llmos.costs.importing import import_tables, roofline_of
from llmos.costs.model import CostModel
from llmos.costs.ops import (
    DecodeAttention,
    Embedding,
    KvWrite,
    Matmul,
    PrefillAttention,
    RmsNorm,
    Rotary,
    Sampling,
    SwiGlu,
    VectorAdd,
)
from llmos.costs.profile import load_profile, read_profile, save_calibration, save_profile
from llmos.costs.tables import FORMATS, TABLES, Told
from llmos.errors import ProfileError

GEMM = "dtype,m,n,k,latency_ms\n"
ATTENTION = "batch_size,isl,step,num_heads,num_key_value_heads,head_dim,latency_ms\n"


@pytest.fixture
def bring(tmp_path):
    """Imports texts as files of a device of 1 TFLOP/s and 100 GB/s."""

    def bring(*texts, told=None, wanted="auto", source="", peaks=None):
        paths = []
        for i, text in enumerate(texts):
            paths.append(tmp_path / f"table{i}.csv")
            paths[-1].write_bytes(text if isinstance(text, bytes) else text.encode())
        bare = roofline_of("mine", "paper", peaks or {"bf16": 1e12, "fp8": 2e12}, 1e11)
        return import_tables(paths, bare, told or Told("bf16"), wanted=wanted, source=source)

    return bring


def times(imported):
    return {row.op: row.seconds for row in imported.profile.rows}


def test_a_gemm_table(bring):
    made = bring(GEMM + "bfloat16,8,512,1024,0.25\nfp8,8,512,1024,0.125\n")
    assert times(made) == {Matmul(8, 1024, 512, "bf16"): 2.5e-4, Matmul(8, 1024, 512, "fp8"): 1.25e-4}
    assert made.left_out.total == 0


def test_an_attention_table_tells_decode_from_prefill(bring):
    made = bring(
        ATTENTION + "4,256,0,32,8,128,1.5\n4,256,768,32,8,128,30\n16,1,1023,32,8,128,2\n2,1,0,8,8,64,1\n"
    )
    assert times(made) == {
        PrefillAttention(256, 256, 32, 8, 128, 4): 1.5e-3,
        PrefillAttention(256, 1024, 32, 8, 128, 4): 30e-3,
        DecodeAttention(1024, 16, 32, 8, 128): 2e-3,
        PrefillAttention(1, 1, 8, 8, 64, 2): 1e-3,
    }


def test_the_layers_of_an_engine_have_the_sizes_of_their_model(bring):
    dense = "layer,tokens,time_us\n" + "".join(
        f"{name},4,9000\n"
        for name in ("qkv_proj", "o_proj", "gate_up_proj", "down_proj", "act_fn", "rotary_emb", "embedding",
                     "layernorm", "final_layernorm")
    )  # fmt: skip
    per_sequence = "layer,sequences,time_us\nlm_head,2,99000\nsampler,2,900\n"
    attention = (
        "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us\n16,64,0,0,500\n0,0,8,256,700\n16,64,8,256,9\n"
    )
    made = bring(dense, per_sequence, attention, told=Told("bf16", model_shape("llama-3-8b")))
    assert times(made) == {
        Matmul(4, 4096, 6144, "bf16"): 9e-3,
        Matmul(4, 4096, 4096, "bf16"): 9e-3,
        Matmul(4, 4096, 28672, "bf16"): 9e-3,
        Matmul(4, 14336, 4096, "bf16"): 9e-3,
        SwiGlu(4, 14336): 9e-3,
        Rotary(4, 40, 128): 9e-3,
        Embedding(4, 4096, 128_256): 9e-3,
        RmsNorm(4, 4096): 9e-3,
        Matmul(2, 4096, 128_256, "bf16"): 99e-3,
        Sampling(2, 128_256): 9e-4,
        PrefillAttention(16, 80, 32, 8, 128): 5e-4,
        DecodeAttention(257, 8, 32, 8, 128): 7e-4,
    }
    (why,) = made.left_out.counts
    assert "prefill and decode in one call" in why


def test_layers_without_a_model_are_refused_with_the_cure(bring):
    with pytest.raises(ProfileError, match="--model llama-3-8b"):
        bring("layer,tokens,time_us\nqkv_proj,4,9000\n")


STATS = ("min", "max", "mean", "median", "std")
LLAMA = ("emb", "input_layernorm", "attn_pre_proj", "attn_rope", "attn_post_proj", "post_attention_layernorm",
         "mlp_up_proj", "mlp_act", "mlp_down_proj", "add")  # fmt: skip
PHI = tuple(name for name in LLAMA if name != "post_attention_layernorm")
ATTENDING = ("attn_input_reshape", "attn_kv_cache_save", "attn_decode", "attn_output_reshape", "attn_prefill")


def vidur(operations, sizes, *lines):
    """A table as vidur's profiler writes it: five statistics of each operation, then what was run.

    lines: the median of each operation in ms, "" for none, and then the values of `sizes`.
    """
    head = [f"time_stats.{name}.{stat}" for name in operations for stat in STATS] + sizes.split(",")
    rows = [",".join(head)]
    for line in lines:
        medians, rest = line[: len(operations)], line[len(operations) :]
        times = [(ms and ms / 2, ms and ms * 9, ms and ms * 2, ms, ms and 0.001) for ms in medians]
        rows.append(",".join(str(each) for each in [*(each for five in times for each in five), *rest]))
    return "\n".join(rows) + "\n"


def vidur_mlp(operations, *lines):
    sizes = "n_head,n_kv_head,n_embd,n_expanded_embd,vocab_size,use_gated_mlp,num_tokens,"
    return vidur(operations, sizes + "num_tensor_parallel_workers", *lines)


def vidur_attention(*lines):
    sizes = "n_embd,n_q_head,n_kv_head,block_size,num_tensor_parallel_workers,max_model_len,batch_size,"
    sizes += "prefill_chunk_size,kv_cache_size,is_prefill,attention_backend"
    return vidur(ATTENDING, sizes, *lines)


@pytest.fixture
def bring_vidur(bring):
    """Imports without a word of the numbers' dtype."""
    return lambda *texts: bring(*texts, told=Told(), peaks={"fp16": 1e12})


def test_vidur_s_linear_operations_are_those_of_one_worker_in_fp16(bring_vidur):
    medians = (3, 4, 20, 2, 40, 4, 30, 1, 50, 5)
    shape = (32, 8, 4096, 14336, 128256, True, 4)
    made = bring_vidur(vidur_mlp(LLAMA, (*medians, *shape, 2), (*medians, *shape, 3)))
    assert times(made) == {
        Matmul(4, 4096, 3072, "fp16"): 20e-3,
        Matmul(4, 2048, 4096, "fp16"): 40e-3,
        Matmul(4, 4096, 14336, "fp16"): 30e-3,
        Matmul(4, 7168, 4096, "fp16"): 50e-3,
        SwiGlu(4, 7168, "fp16"): 1e-3,
        Rotary(4, 20, 128, "fp16"): 2e-3,
        Embedding(4, 4096, 64_128, "fp16"): 3e-3,
        RmsNorm(4, 4096, "fp16"): 4e-3,
        VectorAdd(4 * 4096, "fp16"): 5e-3,
    }
    assert made.left_out.counts == {"32 cannot be split over 3 workers": 1}


def test_of_a_block_with_another_norm_vidur_s_norm_and_sums_are_passed_over(bring_vidur):
    made = bring_vidur(
        vidur_mlp(PHI, (3, 4, 20, 2, 40, 30, 1, 50, 5, 32, 32, 2560, 10240, 51200, False, 4, 1))
    )
    assert {op.kind for op in times(made)} == {"matmul", "rotary", "embedding"}
    assert times(made)[Matmul(4, 2560, 10240, "fp16")] == 30e-3, "without a gate there is one product of it"


def test_vidur_s_attention_counts_the_cache_without_the_new_tokens(bring_vidur):
    backend = "AttentionBackend.FLASHINFER"
    made = bring_vidur(
        vidur_attention(
            (0.0, 0.5, "", 0.0, 2, 4096, 32, 8, 16, 1, 4096, 1, 256, 512, True, backend),
            (0.0, "", 3, 0.0, "", 4096, 32, 8, 16, 2, 4096, 16, 0, 1024, False, backend),
        )
    )
    assert times(made) == {
        PrefillAttention(256, 768, 32, 8, 128, 1, "fp16"): 2e-3,
        KvWrite(256, 8, 128, "fp16"): 5e-4,
        DecodeAttention(1025, 16, 16, 4, 128, "fp16"): 3e-3,
    }
    assert made.left_out.total == 0


def test_a_dtype_that_is_told_is_taken(bring):
    text = vidur_mlp(("mlp_act",), (1, 32, 8, 4096, 14336, 128256, True, 4, 1))
    assert [*times(bring(text, told=Told("bf16")))] == [SwiGlu(4, 14336, "bf16")]
    layer = "layer,tokens,time_us\nact_fn,4,9000\n"
    assert [*times(bring(layer, told=Told(shape=model_shape("llama-3-8b"))))] == [SwiGlu(4, 14336, "bf16")]


def test_a_line_with_no_time_is_told(bring):
    text = vidur_mlp(
        ("mlp_act",), (1, 32, 8, 4096, 14336, 128256, True, 4, 1), ("", *"11", 1, 1, 1, True, 1, 1)
    )
    assert bring(text).left_out.counts == {"it has no time of an operation of ours": 1}


def test_of_a_line_that_breaks_off_nothing_is_taken(bring):
    text = vidur_mlp(("emb", "mlp_act"), (1, 1, 32, 8, 4096, 14336, 128256, True, 4, 1))
    made = bring(text + text.splitlines()[1].replace("1,0.001", "fast,0.001").replace(",4,1", ",5,1") + "\n")
    assert {op.dims[0] for op in times(made)} == {4}


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffdtype,m,n,k,latency_ms\r\nbfloat16,8,512,1024,0.25\r\n",
        " dtype , m , n , k , latency_ms \n bfloat16 , 8 , 512 , 1024 , 0.25 \n",
        "dtype,m,n,k,latency_ms\rbfloat16,8,512,1024,0.25\r",
        "latency_ms,extra,k,n,m,dtype\n0.25,x,1024.0,512.0,8.0,bfloat16",
        '"dtype","m","n","k","latency_ms"\n\n"bfloat16","8","512","1024","0.25"\n\n',
    ],
)
def test_a_table_may_be_written_in_many_ways(bring, text):
    made = bring(text)
    assert times(made) == {Matmul(8, 1024, 512, "bf16"): 2.5e-4}
    assert made.left_out.total == 0


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("bfloat16,8,512,1024,-1", "the time is not above zero"),
        ("bfloat16,8,512,1024,0", "the time is not above zero"),
        ("bfloat16,8,512,1024,nan", "the time is not above zero"),
        ("bfloat16,8,512,1024,inf", "the time is not above zero"),
        ("bfloat16,8,512,1024,1e9", "the time is more than 1,000,000 s"),
        ("bfloat16,8,512,1024,", "a field is missing, or no number"),
        ("bfloat16,8,512,1024", "a field is missing, or no number"),
        ("bfloat16,8.5,512,1024,1", "a field is missing, or no number"),
        ("bfloat16,0,512,1024,1", "m is a whole number"),
        ("bfloat17,8,512,1024,1", "unknown dtype"),
        ("float32,8,512,1024,1", "no figures for fp32"),
        # 137 GFLOP take 137 ms at 1 TFLOP/s: 40 ms are impossible.
        ("bfloat16,4096,4096,4096,40", "3 times faster than the roofline"),
    ],
)
def test_a_line_that_makes_no_sense_is_named_and_left_out(bring, line, why):
    made = bring(f"{GEMM}bfloat16,8,512,1024,0.25\n{line}\n")
    assert len(made.profile.rows) == 1
    ((found, places),) = made.left_out.first.items()
    assert why in found
    assert places[0].startswith("table0.csv:3")
    assert any(found in note for note in made.profile.notes)


def test_of_many_bad_lines_a_few_are_named_and_all_are_counted(bring):
    made = bring(GEMM + "bfloat16,8,512,1024,0.25\n" + "bfloat16,8,512,1024,-1\n" * 100)
    assert made.left_out.total == 100
    assert made.left_out.words()[0].endswith("table0.csv:7: matmul 8x1024x512 bf16, ...)")


def test_the_same_operation_several_times_is_its_median(bring):
    made = bring(GEMM + "".join(f"bfloat16,8,512,1024,{ms}\n" for ms in (3, 1, 2, 9)))
    (row,) = made.profile.rows
    assert (row.low, row.seconds, row.high, row.samples) == (1e-3, 2.5e-3, 9e-3, 4)


def test_the_profile_says_whose_it_is_and_survives_a_file(bring, tmp_path):
    made = bring(GEMM + "bfloat16,8,512,1024,0.25\nbfloat16,64,512,1024,1\n", source="Somebody's table, 2026")
    save_profile(made.profile, tmp_path / "p.json")
    profile = read_profile(tmp_path / "p.json")
    assert profile == made.profile
    assert profile.kind == "imported"
    source = CostModel(profile).predict(Matmul(8, 1024, 512, "bf16")).source
    assert source == "exact row (mine, imported from Somebody's table, 2026, not measured here)"


def test_the_held_out_error_is_in_the_profile(bring):
    lines = [f"bfloat16,{m},{n},1024,{0.1 + m * n / 1e5}" for m in (1, 2, 4, 8, 16) for n in (256, 512, 1024)]
    found = bring(GEMM + "\n".join(lines)).profile.holdout
    assert {how: spread.points for how, spread in found.items()} == {
        "interpolated": 3,
        "roofline x residual": 15,
        "roofline x residual: matmul": 15,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        (GEMM.replace("k,", "k,m,"), "it has a column twice: m"),
        ("a,b\n1,2\n", "gemm: dtype, k, latency_ms, m, n"),
        (GEMM, "they have no lines"),
        (GEMM + "bfloat16,1,1,1,-1\n", "nothing of these tables can be used: left out 1: the time is not"),
        (b"\xff\xfe\x00", "UTF-8"),
        (GEMM + '"' + "x" * 100_000, "too long"),
    ],
    ids=range(7),
)
def test_what_is_no_table_is_refused_with_the_cure(bring, text, message):
    with pytest.raises(ProfileError, match=message) as caught:
        bring(text)
    assert caught.value.hint


def test_another_format_than_the_columns_say_is_refused(bring):
    with pytest.raises(ProfileError, match="vidur: "):
        bring(GEMM + "bfloat16,8,512,1024,0.25\n", wanted="vidur")


def test_a_missing_file_is_told(tmp_path):
    bare = roofline_of("mine", like=load_profile("h100-data-sheet"))
    for path, message in [("none.csv", "no such file"), (".", "it is a folder"), ("n" * 300, "cannot read")]:
        with pytest.raises(ProfileError, match=message):
            import_tables([tmp_path / path], bare, Told("bf16"))


@pytest.mark.parametrize(
    "name", ["this-machine", "this-machine-x", "reference-cpu", "h100-data-sheet", "A B"]
)
def test_a_table_takes_nobody_else_s_name(name):
    with pytest.raises(ProfileError, match=r"called|name"):
        roofline_of(name, peaks={"bf16": 1e12}, bandwidth_bytes_per_s=1e11)


def test_a_table_does_not_replace_what_was_measured_here_but_may_be_imported_again(
    bring, tmp_path, monkeypatch
):
    monkeypatch.setenv("LLMOS_DATA", str(tmp_path))
    made = bring(GEMM + "bfloat16,8,512,1024,0.25\n").profile
    save_calibration(made)
    assert bring(GEMM + "bfloat16,8,512,1024,0.5\n").profile.rows[0].seconds == 5e-4
    save_calibration(msgspec.structs.replace(made, kind="measured"))
    with pytest.raises(ProfileError, match="mine is a profile already, measured"):
        bring(GEMM + "bfloat16,8,512,1024,0.25\n")


def test_a_peak_of_no_dtype_is_told():
    with pytest.raises(ProfileError, match="'bf'") as caught:
        roofline_of("mine", peaks={"bf": 1e12}, bandwidth_bytes_per_s=1e11)
    assert "bf16" in str(caught.value.hint)


def test_figures_come_from_a_known_profile_unless_they_are_given():
    sheet = load_profile("h100-data-sheet")
    bare = roofline_of("mine", peaks={"bf16": 5e14}, like=sheet)
    assert bare.peak_flops == sheet.peak_flops | {"bf16": 5e14}
    assert (bare.bandwidth_bytes_per_s, bare.links) == (sheet.bandwidth_bytes_per_s, sheet.links)
    assert (bare.kind, bare.device, bare.rows) == ("imported", sheet.device, ())


@pytest.mark.parametrize("options", [{}, {"peaks": {"bf16": 1e12}}, {"bandwidth_bytes_per_s": 1e11}])
def test_without_a_roofline_nothing_can_be_checked(options):
    with pytest.raises(ProfileError, match="--like h100-data-sheet"):
        roofline_of("mine", **options)


@pytest.mark.parametrize("peaks", [{"bf16": -1.0}, {"bf16": float("nan")}, {"bf16": 1e30}])
def test_impossible_figures_are_refused(peaks):
    with pytest.raises(ProfileError, match="figures are wrong"):
        roofline_of("mine", peaks=peaks, bandwidth_bytes_per_s=1e11)


@given(st.sampled_from(TABLES), st.data())
def test_no_line_makes_a_reader_fail_otherwise(table, data):
    word = st.sampled_from(
        ["", "0", "1", "-3", "8", "nan", "inf", "x", "True", "1e400", "bfloat16", "qkv_proj"]
    )
    line = {name: data.draw(word) for name in sorted(table.columns)}
    try:
        found = table.read(line, Told("bf16", model_shape("llama-3-8b")))
    except (ProfileError, ValueError, OverflowError):
        return
    assert all(isinstance(seconds, float) for _, seconds in found)


def test_every_format_has_a_table():
    assert set(FORMATS) == {"auto", "gemm", "attention", "layers", "vidur"}


def test_two_profiles_are_compared_where_both_have_rows(make):
    ops = [Matmul(m, 64, 64) for m in (1, 2, 4)]
    first = make([(op, 1e-3) for op in ops])
    second = make([(op, 2e-3 * op.m) for op in ops[:2]] + [(VectorAdd(9), 1.0)], launch_s=2e-6)
    found = difference(first, second)
    (family,) = found.families
    assert (family.family, family.rows, family.median) == ("matmul fp32", 2, 3.0)
    assert (family.p5, family.p95) == (pytest.approx(2.1), pytest.approx(3.9))
    assert found.figures["launch (s)"] == (1e-6, 2e-6)
    assert found.figures["peak bf16 (FLOP/s)"] == (2e12, 2e12)
    assert difference(make(), second).families == ()
