"""`llmos translate` as a person or a script meets it."""

import json

import pytest
from commandline import llmos, ok, refused


def test_a_walk_is_shown_step_by_step(tmp_path):
    out = ok(llmos(tmp_path, "translate", "0x1234", "--map", "0x1000=5:rw"))
    assert "page table[1]" in out
    assert "=> physical address 0x5234" in out
    assert "The tables take 16,384 bytes." in out


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["430", "--base", "3000", "--bounds", "472"], "3000 + 430 = 3430"),
        (["776", "--base", "3000", "--bounds", "472"], "fault, outside"),
        (["0x1000:w", "--map", "0x1000=5:r"], "fault, protection: the page is read-only"),
        (["0x1000:w", "--map", "0x1000=5:rws", "--kernel"], "physical address 0x5000"),
        (["100", "--segment", "code 32k 2k rx", "--segment", "-"], "32768 + 100 = 32868"),
    ],
)
def test_schemes_rights_and_segments(tmp_path, args, says):
    assert says in ok(llmos(tmp_path, "translate", *args))


def test_a_file_describes_an_address_space_and_options_go_over_it(tmp_path):
    (tmp_path / "space.toml").write_text('levels = [4, 4]\npage_size = 64\n[map]\n0x3f80 = "55:r"\n')
    (tmp_path / "space.json").write_text('{"levels": [4, 4], "page_size": 64, "map": {"0x3f80": "55:r"}}')
    for name in ("space.toml", "space.json"):
        args = ["0x3f80", "0", "--file", name, "--map", "0=3", "--json"]
        document = json.loads(ok(llmos(tmp_path, "translate", *args)))
        assert [walk["physical"] for walk in document["translations"]] == [0xDC0, 3 * 64]
        assert document["scheme"] == "multi-level"


def test_an_option_goes_over_a_page_of_the_file_however_it_is_written(tmp_path):
    for pages in ({"0x1000": "5:rw", "0x2000": 6}, ["0x1000=5:rw", "0x2000=6"]):
        (tmp_path / "space.json").write_text(json.dumps({"map": pages}))
        args = ["0x1000", "0x2000", "--file", "space.json", "--map", "4096=9", "--json"]
        walks = json.loads(ok(llmos(tmp_path, "translate", *args)))["translations"]
        assert [walk["physical"] for walk in walks] == [9 << 12, 6 << 12]


def test_a_tlb_saves_the_walk(tmp_path):
    addresses = map(str, range(100, 140, 4))
    pages = [word for vpn in (6, 7, 8) for word in ("--map", f"{vpn * 16}={vpn}")]
    shape = ["--scheme", "linear", "--page-size", "16", "--address-bits", "8", "--tlb", "4"]
    out = ok(llmos(tmp_path, "translate", *addresses, *pages, *shape, "--json"))
    walks = json.loads(out)["translations"]
    assert "".join(walk["tlb"][0] for walk in walks) == "mhhmhhhmhh"  # OSTEP ch. 19
    assert [walk["references"] for walk in walks] == [int(walk["tlb"] == "miss") for walk in walks]


def test_an_exercise_is_posed_and_solved(tmp_path):
    posed = ok(llmos(tmp_path, "translate", "--exercise", "--seed", "3", "--scheme", "linear"))
    solved = ok(llmos(tmp_path, "translate", "--exercise", "--seed", "3", "--scheme", "linear", "--solve"))
    assert "=> " not in posed
    assert "=> " in solved
    document = json.loads(ok(llmos(tmp_path, "translate", "--exercise", "--solve", "--json")))
    assert len(document["solution"]["translations"]) == len(document["given"]["addresses"]) == 5


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "which address?"),
        (["zz"], "is no number"),
        (["5:q"], "is no access"),
        (["5", "--map", "0x1000"], "write ADDRESS=FRAME"),
        (["5", "--map", "0x1000=1", "--map", "4k=2"], "4k is mapped twice"),
        (["5", "--solve"], "belong to --exercise"),
        (["5", "--seed", "0"], "belong to --exercise"),
        (["5", "--exercise"], "--exercise draws"),
        (["--exercise", "--map", "0=1"], "--exercise draws"),
        (["--exercise", "--scheme", "image"], "there is no exercise"),
        (["5", "--tlb", "4", "--base", "1", "--bounds", "9"], "no pages to remember"),
        (["5", "--tlb", "0x4"], "is no TLB"),
        (["5", "--file", "nothing.toml"], "cannot be read"),
        (["5", "--file", "bad.toml"], "cannot be read"),
        (["5", "--file", "list.json"], "holds no table"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, args, says):
    (tmp_path / "bad.toml").write_text("a = \n")
    (tmp_path / "list.json").write_text("[]")
    refused(llmos(tmp_path, "translate", *args), says)
