"""`llmos profile import`, `diff` and `plot`: what they print, write and refuse."""

import json

import pytest
from commandline import llmos, ok, refused

SIZES = [(m, n) for m in (1, 2, 4, 8) for n in (512, 1024)]
TABLE = "dtype,m,n,k,latency_ms\n" + "".join(
    f"bfloat16,{m},{n},1024,{0.01 * m + n / 1e5}\n" for m, n in SIZES
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "table.csv").write_text(TABLE + "bfloat16,8,8,8,-1\n")
    return tmp_path


def imported(folder, *options):
    return llmos(folder, "profile", "import", "table.csv", "--name", "theirs", *options)


def test_a_table_becomes_a_profile_that_says_whose_it_is(folder):
    shown = ok(imported(folder, "--like", "h100-data-sheet", "--source", "a paper"))
    assert "theirs, imported from a paper, not measured here" in shown
    assert "left out 1: the time is not above zero, or no number (table.csv:10: matmul 8x8x8 bf16)" in shown
    assert "imported from a paper, not measured here" in ok(llmos(folder, "profile", "show", "theirs"))
    rows = {row["name"]: row for row in json.loads(ok(llmos(folder, "profile", "list", "--json")))}
    assert (rows["theirs"]["kind"], rows["theirs"]["source"]) == ("imported", "a paper")


def test_the_summary_as_json(folder):
    figures = ("--peak", "bf16=1e15", "--bandwidth", "3e12", "--out", "theirs.json", "--json")
    document = json.loads(ok(imported(folder, *figures)))
    assert (document["schema"], document["profile"], document["rows"]) == (1, "theirs", len(SIZES))
    assert document["left_out"] == [
        {"why": "the time is not above zero, or no number", "lines": 1,
         "first": ["table.csv:10: matmul 8x8x8 bf16"]}
    ]  # fmt: skip
    assert document["path"] == "theirs.json"
    assert (folder / "theirs.json").is_file()
    assert not (folder / "data").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "--like h100-data-sheet"),
        (("--like", "h100-data-shet"), 'did you mean "h100-data-sheet"'),
        (("--like", "h100-data-sheet", "--format", "vidur"), "needed are vidur"),
        (("--like", "h100-data-sheet", "--model", "lama-3-8b"), "llama-3-8b"),
        (("--peak", "fast"), "bf16=989e12"),
        (("--like", "h100-data-sheet", "--out", "table.csv"), "--out table.json"),
        (("--like", "h100-data-sheet", "--name", "reference-cpu"), "another profile's name"),
        (("--like", "h100-data-sheet", "--peak", "bf16=-1"), "figures are wrong"),
    ],
)
def test_what_cannot_be_imported_leaves_nothing_behind(folder, options, says):
    before = (folder / "table.csv").read_text()
    refused(imported(folder, *options), says)
    assert not (folder / "data").exists()
    assert (folder / "table.csv").read_text() == before


def test_a_row_that_is_wrong_is_shown_as_left_out(folder):
    ok(imported(folder, "--like", "h100-data-sheet", "--out", "p.json"))
    document = json.loads((folder / "p.json").read_text())
    document["rows"][0] |= {"op": "warp"}
    (folder / "p.json").write_text(json.dumps(document))
    shown = ok(llmos(folder, "profile", "show", "./p.json"))
    assert "left out" in shown
    assert "1 of the file's rows: row 1: unknown operation 'warp'" in shown
    assert "7 of 7 rows" in shown


def test_two_profiles_side_by_side(folder):
    ok(imported(folder, "--like", "h100-data-sheet"))
    shown = ok(llmos(folder, "profile", "diff", "theirs", "theirs"))
    assert "matmul bf16" in shown
    assert "1.000" in shown
    document = json.loads(ok(llmos(folder, "profile", "diff", "a100-data-sheet", "theirs", "--json")))
    assert document["families"] == []
    peak = next(each for each in document["figures"] if each["figure"] == "peak bf16 (FLOP/s)")
    assert (peak["first"], peak["second"]) == (pytest.approx(0.8 * 312e12), pytest.approx(0.8 * 989e12))
    refused(llmos(folder, "profile", "diff", "theirs"), "llmos calibrate --quick")
    slow = ok(llmos(folder, "profile", "diff", "theirs", "reference-cpu"))
    (row,) = (line.split() for line in slow.splitlines() if line.startswith("peak bf16"))
    assert 0 < float(row[-1]) < 0.001
    assert float(row[-1]) == pytest.approx(float(row[-2]) / float(row[-3]), rel=0.01)


def test_a_damaged_profile_does_not_spoil_the_list(folder):
    ok(imported(folder, "--like", "h100-data-sheet"))
    (folder / "data" / "profiles" / "broken.json").write_text("{")
    rows = [line.split() for line in ok(llmos(folder, "profile", "list")).splitlines()]
    assert ["broken", "unreadable"] in [row[:2] for row in rows]
    assert ["theirs", "imported"] in [row[:2] for row in rows]


@pytest.mark.parametrize("kind", ["roofline", "error", "iterations"])
def test_pictures(folder, kind):
    ok(imported(folder, "--like", "h100-data-sheet"))
    assert "picture: p.svg" in ok(
        llmos(folder, "profile", "plot", "theirs", "--kind", kind, "--out", "p.svg")
    )
    assert (folder / "p.svg").read_text().startswith("<?xml")


def test_a_data_sheet_has_nothing_to_draw_under_its_roofline(folder):
    refused(llmos(folder, "profile", "plot", "h100-data-sheet", "--out", "p.svg"), "--kind iterations")
    assert not (folder / "p.svg").exists()
