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
from llmos.costs.profile import load_profile, read_profile, save_profile
from llmos.costs.tables import FORMATS, TABLES, Told
from llmos.errors import ProfileError

GEMM = "dtype,m,n,k,latency_ms\n"
ATTENTION = "batch_size,isl,step,num_heads,num_key_value_heads,head_dim,latency_ms\n"


@pytest.fixture
def bring(tmp_path):
    """Imports texts as files of a device of 1 TFLOP/s and 100 GB/s."""

    def bring(*texts, told=None, wanted="auto", source=""):
        paths = []
        for i, text in enumerate(texts):
            paths.append(tmp_path / f"table{i}.csv")
            paths[-1].write_bytes(text if isinstance(text, bytes) else text.encode())
        bare = roofline_of("mine", "paper", {"bf16": 1e12, "fp8": 2e12}, 1e11)
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
        DecodeAttention(256, 8, 32, 8, 128): 7e-4,
    }
    (why,) = made.left_out.counts
    assert "prefill and decode in one call" in why


def test_layers_without_a_model_are_refused_with_the_cure(bring):
    with pytest.raises(ProfileError, match="--model llama-3-8b"):
        bring("layer,tokens,time_us\nqkv_proj,4,9000\n")


def test_vidur_s_linear_operations_are_split_over_the_workers(bring):
    head = "n_head,n_kv_head,n_embd,n_expanded_embd,vocab_size,use_gated_mlp,num_tokens,"
    head += "num_tensor_parallel_workers"
    names = ("attn_pre_proj", "mlp_up_proj", "mlp_act", "attn_rope", "emb", "input_layernorm", "add")
    text = f"{head},{','.join(f'time_stats.{name}.median' for name in names)}\n"
    made = bring(
        text
        + "32,8,4096,14336,128256,True,4,2,20,30,1,2,3,4,\n32,8,4096,14336,128256,True,4,3,1,1,1,1,1,1,1\n"
    )
    assert times(made) == {
        Matmul(4, 4096, 3072, "bf16"): 20e-3,
        Matmul(4, 4096, 14336, "bf16"): 30e-3,
        SwiGlu(4, 7168): 1e-3,
        Rotary(4, 20, 128): 2e-3,
        Embedding(4, 4096, 64_128): 3e-3,
        RmsNorm(4, 4096): 4e-3,
    }
    assert VectorAdd(4 * 4096, "bf16") not in times(made), "it has no time there"
    assert list(made.left_out.counts) == ["32 cannot be split over 3 workers"]


def test_vidur_s_attention(bring):
    head = "n_embd,n_q_head,n_kv_head,batch_size,prefill_chunk_size,kv_cache_size,num_tensor_parallel_workers"
    names = ("attn_prefill", "attn_decode", "attn_kv_cache_save")
    text = f"{head},{','.join(f'time_stats.{name}.median' for name in names)}\n"
    made = bring(text + "4096,32,8,1,256,512,1,2,,0.5\n4096,32,8,16,0,1024,1,,3,\n")
    assert times(made) == {
        PrefillAttention(256, 768, 32, 8, 128): 2e-3,
        DecodeAttention(1024, 16, 32, 8, 128): 3e-3,
        KvWrite(256, 8, 128): 5e-4,
    }


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("bfloat16,8,512,1024,-1", "the time is not above zero"),
        ("bfloat16,8,512,1024,0", "the time is not above zero"),
        ("bfloat16,8,512,1024,nan", "the time is not above zero"),
        ("bfloat16,8,512,1024,inf", "the time is not above zero"),
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
        ("", "of no table that is known"),
        ("a,b\n1,2\n", "gemm: dtype, k, latency_ms, m, n"),
        (GEMM, "they have no lines"),
        (GEMM + "bfloat16,1,1,1,-1\n", "nothing of these tables can be used: left out 1: the time is not"),
        (b"\xff\xfe\x00", "UTF-8"),
        (GEMM + '"' + "x" * 100_000, "too long"),
    ],
    ids=range(6),
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
    with pytest.raises(ProfileError, match="no such file"):
        import_tables([tmp_path / "none.csv"], bare, Told("bf16"))


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
        found = list(table.read(line, Told("bf16", model_shape("llama-3-8b"))))
    except (ProfileError, ValueError, ZeroDivisionError, OverflowError):
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
