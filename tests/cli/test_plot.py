"""`llmos plot`: options and sources that do not fit are refused before anything runs."""

import json

import pytest
from commandline import llmos, ok, refused

MEMORY = """\
question = "How many faults?"
[memory]
frames = 3
swap = "1 MiB"
swap_device = "disk"
[[device]]
name = "disk"
service = "1 ms"
[[task]]
name = "A"
program = [{ touch = "heap", pages = [7, 0, 1, 2, 0, 3, 0, 4] }]
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "book.toml").write_text(MEMORY)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["gantt", "convoy", "--title", "Why?"], "--title"),
        (["gantt", "convoy", "--metric", "cpu.tasks"], "--metric"),
        (["queue", "convoy", "--quantity", "response"], "--quantity"),
        (["comparison", "convoy", "--quantity", "response"], "--quantity"),
        (["cdf", "convoy", "--seed", "3"], "--seed"),
        (["load", "convoy", "--seed", "3"], "--seed"),
        (["cdf", "convoy", "--key", "cpu.count"], "--key"),
        (["faults", "book.toml", "--window", "3"], "--window"),
        (["memory", "book.toml", "--references"], "--references"),
        (["load", "convoy", "--replacement", "lru"], "--replacement"),
    ],
)
def test_an_option_of_another_kind_is_refused(folder, words, option):
    refused(llmos(folder, "plot", *words), f"{option} does not go with {words[0]}")
    assert not [*folder.glob("*.png")]


def test_a_saved_run_cannot_be_changed(folder):
    ok(llmos(folder, "run", "book.toml", "--log", "book.jsonl"))
    for kind, *rest in (
        ["gantt", "--scheduler", "rr"],
        ["faults", "--replacement", "fifo"],
        ["cdf", "--seeds", "3"],
        ["residents", "--references"],
        ["memory", "--seed", "2"],
    ):
        refused(llmos(folder, "plot", kind, "book.jsonl", *rest), f"{rest[0]} goes with a scenario")


@pytest.mark.parametrize("kind", ["faults", "memory", "residents", "working-set", "gantt"])
def test_a_run_and_its_log_give_the_same_picture(folder, kind):
    ok(llmos(folder, "run", "book.toml", "--references", "--log", "book.jsonl"))
    ok(llmos(folder, "plot", kind, "book.jsonl", "-o", "log.png"))
    references = ["--references"] if kind == "residents" else []
    ok(llmos(folder, "plot", kind, "book.toml", *references, "-o", "run.png"))
    assert (folder / "log.png").read_bytes() == (folder / "run.png").read_bytes()


def test_names_are_checked_before_the_runs(folder):
    refused(llmos(folder, "compare", "convoy", "--plot", "x.txt"), ".txt")
    refused(llmos(folder, "plot", "gantt", "convoy", "-o", "x.txt"), ".txt")
    refused(llmos(folder, "plot", "comparison", "convoy", "-m", "llm.ttft_mean_ns"), "no metric")
    refused(llmos(folder, "plot", "cdf", "convoy", "--quantity", "cpu.ttft"), "ttft")
    refused(llmos(folder, "sweep", "convoy", "--set", "cpu.count=1,2", "-m", "llm.ttft_mean_ns"), "no metric")


@pytest.mark.parametrize("kind", ["load", "heatmap"])
@pytest.mark.parametrize("source", ["dhall", "book.jsonl", "nothing.csv", "broken.csv", "empty.jsonl"])
def test_what_holds_no_sweep_is_told(folder, kind, source):
    (folder / "broken.csv").write_bytes(b"\xff\xfe\x00a,b\n1")
    (folder / "empty.jsonl").write_text("")
    ok(llmos(folder, "run", "book.toml", "--log", "book.jsonl"))
    refused(llmos(folder, "plot", kind, source), "error: ")


def test_effective_access_time_needs_a_memory_and_a_tlb(folder):
    refused(llmos(folder, "plot", "eat", "convoy"), "no memory")
    (folder / "bare.toml").write_text(MEMORY.replace("frames = 3", "frames = 3\ntlb = false"))
    refused(llmos(folder, "plot", "eat", "bare.toml"), "no TLB")


def test_a_sweep_of_tlb_entries_is_drawn_against_its_reach(folder):
    sweep = '[[sweep]]\nkey = "memory.tlb.first.entries"\nvalues = [4, 8]\n'
    (folder / "reach.toml").write_text(MEMORY + sweep)
    assert "picture" in ok(llmos(folder, "plot", "eat", "reach.toml"))


# --- policies side by side ----------------------------------------------------------------------------


def test_replacement_policies_side_by_side(folder):
    # Silberschatz's string for Belady's anomaly: 9 faults under FIFO, 10 under LRU, three of them into
    # free frames.
    pages = "[1, 2, 3, 4, 1, 2, 5, 1, 2, 3, 4, 5]"
    (folder / "belady.toml").write_text(MEMORY.replace("[7, 0, 1, 2, 0, 3, 0, 4]", pages))
    found = llmos(folder, "compare", "belady.toml", "--replacement", "lru,fifo", "-m", "memory.evictions")
    assert ["evictions", "7", "6"] in [line.split() for line in ok(found).splitlines()]
    two = llmos(folder, "compare", "belady.toml", "--replacement", "lru,fifo", "-s", "rr,fcfs", "--json")
    columns = json.loads(ok(two))["columns"]
    assert [(c["scheduler"], c["replacement"]) for c in columns] == [
        ("rr", "lru"),
        ("rr", "fifo"),
        ("fcfs", "lru"),
        ("fcfs", "fifo"),
    ]
    with_table = (folder / "belady.toml").read_text() + '[compare]\nreplacements = ["fifo", "lru"]\n'
    (folder / "belady.toml").write_text(with_table + 'metrics = ["memory.evictions"]\n')
    assert ["evictions", "6", "7"] in [
        line.split() for line in ok(llmos(folder, "compare", "belady.toml")).splitlines()
    ]


def test_replacement_policies_and_frames_in_a_sweep(folder):
    keys = ["--set", "memory.replacement=fifo,lru", "--set", "memory.frames=3,4", "--jobs", "1"]
    (folder / "belady.toml").write_text(
        MEMORY.replace("[7, 0, 1, 2, 0, 3, 0, 4]", "[1,2,3,4,1,2,5,1,2,3,4,5]")
    )
    out = json.loads(ok(llmos(folder, "sweep", "belady.toml", *keys, "--json")))
    faults = [row["memory.evictions"] + row["memory.frames"] for row in out["rows"]]
    assert faults == [9, 10, 10, 8]  # Silberschatz: FIFO makes more with four frames, LRU fewer
    refused(llmos(folder, "sweep", "belady.toml", "--set", "memory.replacement=lru,opt"), "needs the future")


def test_a_policy_that_does_not_fit_is_refused(folder):
    refused(llmos(folder, "compare", "convoy", "--replacement", "lru"), "no memory")
    refused(llmos(folder, "run", "book.toml", "--replacement", "opt"), "needs the future")
    refused(llmos(folder, "run", "book.toml", "--replacement", "clok"), 'did you mean "clock"')


def test_what_has_no_such_numbers_is_told(folder):
    refused(llmos(folder, "compare", "convoy", "-s", "rr", "-m", "memory.evictions"), "no metric")
