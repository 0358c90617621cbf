import json

import pytest
from commandline import llmos, ok, refused


def document(folder, *args):
    return json.loads(ok(llmos(folder, "cost", *args, "--json")))


def test_an_iteration_is_the_sum_of_its_operations(tmp_path):
    found = document(tmp_path, "llama-3-8b", "--profile", "h100-data-sheet", "--decode", "8x1024")
    ops = found["operations"]
    assert found["iteration"]["seconds"] == pytest.approx(sum(o["times"] * o["seconds"] for o in ops))
    assert found["tokens_per_s"] == pytest.approx(8 / found["iteration"]["seconds"])
    assert found["ridge_flops_per_byte"] == pytest.approx(989e12 * 0.8 / (3.35e12 * 0.9))
    assert all(o["low"] <= o["seconds"] <= o["high"] for o in ops)
    assert {o["bound"] for o in ops if o["op"] == "matmul"} == {"memory"}
    # int4 weights: all but the last product move about a quarter of the bytes.
    small = document(tmp_path, "llama-3-8b", "--profile", "h100-data-sheet", "--decode", "8x1024",
                     "--weights", "int4")  # fmt: skip
    assert small["iteration"]["seconds"] < 0.5 * found["iteration"]["seconds"]


def test_a_prompt_and_requests_that_write_go_together(tmp_path):
    found = document(tmp_path, "tiny-2m", "--decode", "3x64", "--prefill", "100")
    assert found["tokens"] == 103
    assert {"decode_attention", "prefill_attention"} <= {o["op"] for o in found["operations"]}
    assert "prefill_attention" not in str(document(tmp_path, "tiny-2m")["operations"])


def test_the_table_says_what_holds_up_and_the_picture_is_drawn(tmp_path):
    shown = ok(llmos(tmp_path, "cost", "llama-3-8b", "--profile", "h100-data-sheet", "--prefill", "4096",
                     "--plot", "cost.png"))  # fmt: skip
    assert "matmul 4096x4096x28672 bf16" in shown
    assert "bound by compute" in shown
    assert "262 tokens" in shown
    assert (tmp_path / "cost.png").stat().st_size > 10_000


def test_the_last_token_of_a_prompt_is_a_request_with_a_context_of_its_own(tmp_path):
    shown = ok(llmos(tmp_path, "cost", "tiny-2m", "--decode", "8x1024", "--prefill", "1"))
    assert "8 x a token, the last of 1,024 and 1 x a token, the last of 1\n" in shown


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["lama-3-8b"], "llama-3-8b"),
        (["tiny-2m", "--decode", "8"], "8x1024"),
        (["tiny-2m", "--decode", "0x8"], "8x1024"),
        (["tiny-2m", "--profile", "h100"], "h100-data-sheet"),
        (["tiny-2m", "--dtype", "fp8"], "no figures for fp8"),
        (["tiny-2m", "--plot", "x.bmp"], ".png"),
    ],
)
def test_bad_input_names_the_cure(tmp_path, args, says):
    refused(llmos(tmp_path, "cost", *args), says)
