"""`llmos mrc`: what it prints, draws and writes, and what it refuses."""

import csv
import json

import pytest
from commandline import llmos, ok, refused

from llmos.replacement.lru import Lru
from llmos.replacement.places import Places
from llmos.replacement.rand import RandomChoice
from llmos.scenario.policies import REPLACEMENT, names, replacement_spec

BELADY = [1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "belady.txt").write_text(" ".join(map(str, BELADY)), encoding="utf-8")
    (tmp_path / "long.txt").write_text(
        "\n".join(str(i * i % 997 % (10 + i % 90)) for i in range(6000)), encoding="utf-8"
    )
    return tmp_path


def curves(folder, *args):
    return json.loads(ok(llmos(folder, "mrc", *args, "--json")))


def test_beladys_anomaly(folder):
    """Belady, Nelson and Shedler 1969: FIFO misses 9 times with 3 frames and 10 times with 4."""
    document = curves(folder, "belady.txt", "-p", "fifo,lru,opt", "--sizes", "3,4")
    assert (document["references"], document["pages"]) == (12, 5)
    misses = {c["policy"]: [round(12 * ratio) for ratio in c["miss_ratio"]] for c in document["curves"]}
    assert misses == {"fifo": [9, 10], "lru": [10, 8], "opt": [7, 6]}
    assert all(c["ci95_half_width"] == [0, 0] for c in document["curves"])


def test_all_policies_at_once_and_none_beats_opt(folder):
    document = curves(folder, "belady.txt", "-p", "all", "--sizes", "3")
    found = {c["policy"]: c["miss_ratio"][0] for c in document["curves"]}
    assert set(found) == set(names(REPLACEMENT))
    assert min(found.values()) == found["opt"]


def test_a_policy_without_a_loop_and_one_of_ones_own_run_too(folder):
    (folder / "mine.py").write_text("from llmos.replacement.lru import Lru\nclass Mine(Lru): pass\n")
    document = curves(folder, "long.txt", "-p", "lru,mine.py,random", "--sizes", "5,20", "--seed", "3")
    lru, mine, lots = (c["miss_ratio"] for c in document["curves"])
    assert mine == lru
    policy = replacement_spec("random", seed=3).make(5)
    assert isinstance(policy, RandomChoice)
    places = Places(5, policy)
    keys = (folder / "long.txt").read_text().split()
    assert lots[0] == sum(not places.refer(key).hit for key in keys) / len(keys)


def test_the_table_and_the_files(folder):
    shown = ok(
        llmos(folder, "mrc", "long.txt", "-p", "lru,clock bits=2", "--sizes", "8,64", "--out", "c.csv")
    )
    rows = list(csv.DictReader((folder / "c.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["policy"], row["pages"]) for row in rows] == [
        ("lru", "8"), ("lru", "64"), ("clock bits=2", "8"), ("clock bits=2", "64"),
    ]  # fmt: skip
    places = Places(8, Lru())
    keys = (folder / "long.txt").read_text().split()
    ratio = sum(not places.refer(key).hit for key in keys) / len(keys)
    assert float(rows[0]["miss_ratio"]) == ratio
    assert f"{ratio:.2%}" in shown
    ok(llmos(folder, "mrc", "long.txt", "--out", "c.png"))
    assert (folder / "c.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("sample", ["0.5", "40"])
def test_a_sample_tells_its_error(folder, sample):
    exact = curves(folder, "long.txt", "-p", "lru,fifo", "--sizes", "30,60")
    part = curves(folder, "long.txt", "-p", "lru,fifo", "--sizes", "30,60", "--sample", sample)
    assert 0 < part["sampled_pages"] < exact["pages"] == part["pages"]
    for true, told in zip(exact["curves"], part["curves"], strict=True):
        for ratio, estimate, half in zip(
            true["miss_ratio"], told["miss_ratio"], told["ci95_half_width"], strict=True
        ):
            assert half > 0
            assert abs(ratio - estimate) <= half
    assert "95 % band" in ok(llmos(folder, "mrc", "long.txt", "--sample", sample))


def test_lackeys_own_page_size_and_data_only(folder, root):
    trace = str(root / "scenarios/traces/ls.lackey.xz")
    pages = [
        curves(folder, trace, "--sizes", "4", *more)["pages"]
        for more in ((), ("--data-only",), ("--page-size", "65536"))
    ]
    assert pages[0] > pages[1] > 0
    assert pages[0] > pages[2] > 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("none.txt",), "there is no such trace"),
        (("long.txt", "-p", "lrx"), 'did you mean "lru"'),
        (("long.txt", "-p", "clock bit=2"), 'did you mean "bits"'),
        (("long.txt", "-p", ","), "no policy is named"),
        (("long.txt", "--sizes", "3,x"), '"x" is no size'),
        (("long.txt", "--sizes", "0"), '"0" is no size'),
        (("long.txt", "--sample", "1.5"), "no sample"),
        (("long.txt", "--sample", "nan"), "no sample"),
        (("long.txt", "--sample", "1e-12"), "take a larger sample"),
        (("long.txt", "--out", "c.txt"), "name such a file"),
        (("empty.txt",), "the trace has no references"),
        (("bad.txt",), "bad.txt:2"),
    ],
)
def test_what_cannot_be_is_refused_with_the_cure(folder, args, says):
    (folder / "empty.txt").write_text("# nothing\n")
    (folder / "bad.txt").write_text("1\nx\n")
    refused(llmos(folder, "mrc", *args), says)
