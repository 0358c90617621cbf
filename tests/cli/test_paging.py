"""`llmos paging`: OSTEP's own answers through the command line, Belady's anomaly, writes, and bad input."""

import json
import re
from pathlib import Path

import pytest
from commandline import llmos, ok, refused

ORACLES = Path(__file__).parents[1] / "oracles"
POLICY = {"FIFO": "fifo", "LRU": "lru", "MRU": "mru", "OPT": "opt", "UNOPT": "opt worst=true"}
CASES = [
    pytest.param(case["input"], case["expected"], id=case["id"])
    for case in json.loads((ORACLES / "ostep_page_replacement.json").read_text())["cases"]
    if case["input"]["policy"] in POLICY  # RAND and CLOCK draw from Python's own random: tests/replacement
]
BELADY = ["1", "2", "3", "4", "1", "2", "5", "1", "2", "3", "4", "5"]


def runs(folder, *args):
    return json.loads(ok(llmos(folder, "paging", *args, "--json")))["runs"]


@pytest.mark.parametrize(("given", "expected"), CASES)
def test_ostep(tmp_path, given, expected):
    policy, refs = POLICY[given["policy"]], map(str, given["refs"])
    [run] = runs(tmp_path, "--policy", policy, "--frames", str(given["frames"]), *refs)
    steps = run["steps"]
    assert (run["hits"], run["misses"]) == (expected["hits"], expected["misses"])
    assert "".join("H" if step["hit"] else "M" for step in steps) == expected["outcome"]
    assert [step["victim"] for step in steps] == expected["victims"]
    for step, memory in zip(steps, expected["memory_after"], strict=True):
        assert sorted(page for page in step["frames"] if page is not None) == sorted(memory)
        if policy in ("fifo", "lru"):
            assert [key for key, _ in step["shown"][""]] == memory  # in its order, too


def test_a_page_keeps_its_frame_and_takes_its_victims(tmp_path):
    """Silberschatz draws FIFO's frames so: 2 0 1 after the fourth reference, 2 3 1, 2 3 0, 4 3 0, ..."""
    [run] = runs(tmp_path, "--policy", "fifo", *["7", "0", "1", "2", "0", "3", "0", "4", "2", "3", "0"])
    drawn = [step["frames"] for step in run["steps"] if not step["hit"]]
    assert drawn[2:] == [
        [7, 0, 1],
        [2, 0, 1],
        [2, 3, 1],
        [2, 3, 0],
        [4, 3, 0],
        [4, 2, 0],
        [4, 2, 3],
        [0, 2, 3],
    ]
    for before, after in zip(run["steps"], run["steps"][1:], strict=False):
        moved = [f for f, (a, b) in enumerate(zip(before["frames"], after["frames"], strict=True)) if a != b]
        assert moved == ([] if after["hit"] else [after["frame"]])


def test_the_table_tells_hits_frames_victims_and_reasons(tmp_path):
    out = ok(llmos(tmp_path, "paging", "--policy", "lru", "--frames", "2", "A", "B", "A", "C"))
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["lru,", "2", "frames"]
    assert lines[4][:6] == ["3", "A", "hit", "A", "B", "-"]
    assert lines[5] == ["4", "C", "miss", "A", "C", "B", "least", "recently", "used", "A", "C"]
    assert "Miss ratio: 3 / 4 = 75 %" in out


def test_beladys_anomaly_is_named(tmp_path):
    """FIFO: nine misses with 3 frames and ten with 4 (Belady, Nelson and Shedler 1969); LRU has none."""
    out = ok(llmos(tmp_path, "paging", "--policy", "fifo,lru", "--frames", "1..8", *BELADY))
    assert "fifo misses 10 times with 4 frames, and 9 times with 3" in " ".join(out.split())
    assert out.count("anomaly") == 1
    document = json.loads(ok(llmos(tmp_path, "paging", "-p", "fifo", "-f", "3,4,5", *BELADY, "--json")))
    assert document["anomalies"] == [{"policy": "fifo", "frames": [3, 4], "misses": [9, 10]}]


def test_all_policies_side_by_side(tmp_path):
    """Nobody beats OPT, and all of them miss each page once."""
    played = runs(tmp_path, "--policies", "all", "--frames", "3", *BELADY)
    misses = {run["policy"]: run["misses"] for run in played}
    assert {"fifo", "lru", "clock", "opt", "arc"} <= misses.keys()
    assert misses["opt"] == min(misses.values()) == 7
    out = ok(llmos(tmp_path, "paging", "--policies", "all", "--frames", "3", *BELADY))
    assert all(name in out for name in misses)


def test_pages_that_were_written_are_written_back(tmp_path):
    """Two frames, FIFO: 1 is written and goes at 3; 2 is not; 3 is written by a hit and goes at 1."""
    [run] = runs(tmp_path, "--policy", "fifo", "--frames", "2", *["1w", "2", "3", "3w", "2", "4", "1"])
    assert [step["written_back"] for step in run["steps"]] == [[], [], [1], [], [], [], [3]]
    assert run["write_backs"] == 2


def test_a_policy_of_ones_own_and_its_parameters(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from llmos.replacement.lru import Lru\n"
        "class Mine(Lru):\n"
        "    def victim(self, spared=(), incoming=None):\n"
        "        return 99\n"
    )
    refused(llmos(tmp_path, "paging", "--policy", "mine.py", "-f", "1", "1", "2"), "99", "not resident")
    (tmp_path / "mine.py").write_text(
        "from llmos.replacement.lru import Lru\n"
        "class Mine(Lru):\n"
        "    def victim(self, spared=(), incoming=None):\n"
        "        return 1 // 0\n"
    )
    failed = llmos(tmp_path, "paging", "--policy", "mine.py", "-f", "1", "1", "2")
    refused(failed, "mine.py:4", "it failed: ZeroDivisionError")


def test_what_a_policy_shows_is_kept_as_it_was_then(tmp_path):
    """A policy that shows its own list, which goes on changing, and one that shows no pairs."""
    mine = (
        "from llmos.replacement.fifo import Fifo\n"
        "class Mine(Fifo):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.pairs = []\n"
        "    def inserted(self, key, *, write=False):\n"
        "        super().inserted(key)\n"
        "        self.pairs.append((key, ''))\n"
        "    def show(self):\n"
        "        return {'': self.pairs}\n"
    )
    (tmp_path / "mine.py").write_text(mine)
    [run] = runs(tmp_path, "--policy", "mine.py", "1", "2")
    assert [step["shown"][""] for step in run["steps"]] == [[[1, ""]], [[1, ""], [2, ""]]]
    (tmp_path / "mine.py").write_text(mine.replace("(key, '')", "key"))
    refused(llmos(tmp_path, "paging", "--policy", "mine.py", "1", "2"), "Mine: ", "it failed: TypeError")


def test_a_policy_with_parameters(tmp_path):
    """Two frames: 1 has two uses to spare where they are counted, so it is still there at the end."""
    refs = ["1", "1", "1", "2", "3", "4", "1"]
    one, two = runs(tmp_path, "--policy", "clock,clock bits=2", "--frames", "2", *refs)
    assert (one["policy"], two["policy"]) == ("clock", "clock bits=2")
    assert (one["steps"][-1]["hit"], two["steps"][-1]["hit"]) == (False, True)


def test_random_is_the_same_for_the_same_seed(tmp_path):
    refs = [str(i * i % 7) for i in range(40)]
    first, again, other = (
        [step["victim"] for step in runs(tmp_path, "-p", "random", "--seed", seed, *refs)[0]["steps"]]
        for seed in ("1", "1", "2")
    )
    assert first == again != other


def test_an_exercise_is_posed_and_solved(tmp_path):
    posed = ok(llmos(tmp_path, "paging", "--exercise", "--seed", "4"))
    assert posed == ok(llmos(tmp_path, "exercise", "paging", "--seed", "4"))
    assert "victim" not in posed
    own = ["paging", "--exercise", "--policy", "fifo", "--frames", "2", "1", "2", "3"]
    solved = ok(llmos(tmp_path, *own, "--solve"))
    assert "1 2 3" in solved
    assert "first in" in solved
    document = json.loads(ok(llmos(tmp_path, *own, "--solve", "--json")))
    assert document["given"] == {"policies": ["fifo"], "frames": 2, "references": "1 2 3"}
    assert document["solution"]["policies"] == runs(tmp_path, "-p", "fifo", "-f", "2", "1", "2", "3")


def test_the_page_about_it_names_every_key(tmp_path, root):
    page = (root / "docs" / "paging.md").read_text()
    documented = {
        key: re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.+?) \|", table, flags=re.MULTILINE)[1:]))
        for key, table in re.findall(r"\| key of a (\w+) \|(.+?)\n\n", page + "\n\n", flags=re.DOTALL)
    }
    [run] = runs(tmp_path, "1")
    assert documented == {"run": [*run], "step": [*run["steps"][0]]}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "there are no references"),
        (["1", "x"], "7 0 1w A"),
        (["--policy", "lur", "1"], 'did you mean "lru"'),
        (["--policy", "clock bit=2", "1"], 'did you mean "bits"'),
        (["--frames", "0", "1"], "write 3"),
        (["--frames", "8..1", "1"], "1..8"),
        (["--frames", "1..999", "1"], "at most 100"),
        (["--solve", "1"], "--exercise"),
        (["--exercise", "--frames", "1..4"], "one number of frames"),
    ],
)
def test_bad_input_names_the_cure(tmp_path, args, says):
    refused(llmos(tmp_path, "paging", *args), says)
