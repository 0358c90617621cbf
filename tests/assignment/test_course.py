"""From `start` to results.json: what the command line calls."""

import json
import os
import shutil
import stat

import pytest

from llmos.assignment import check, course, grade, list_assignments, sandbox, start
from llmos.errors import LlmosError

SEEDS = {"public": [1], "hidden": [101]}
FEW = ("levels", "preemption")


@pytest.fixture
def few_cases(monkeypatch, topics):
    """One public and one hidden case of two topics."""

    def seeds(_name, kind):
        return {topic: SEEDS[kind] if topic in FEW else [] for topic in topics}

    monkeypatch.setattr(course, "_seeds", seeds)


@pytest.fixture
def folder(tmp_path, right):
    """A right submission."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mlfq.py").write_text(right, encoding="utf-8")
    return tmp_path / "sub"


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret.txt"
    path.write_text("nobody knows this sentence\n", encoding="utf-8")
    return path


def test_the_assignments_are_listed_from_their_statements(root):
    [mlfq] = list_assignments()
    assert (mlfq.name, mlfq.title, mlfq.file) == ("mlfq", "Write MLFQ", "mlfq.py")
    assert mlfq.summary.startswith("Write the multi-level feedback queue")
    assert sorted(path.name for path in (root / "assignments").iterdir()) == ["mlfq"]


def test_start_gives_the_statement_the_starter_and_the_public_cases_only(tmp_path, root):
    written = start("mlfq", tmp_path / "new")
    assert sorted(path.name for path in written) == ["README.md", "cases.md", "mlfq.py"]
    assert sorted(written) == sorted((tmp_path / "new").iterdir())
    home = root / "assignments/mlfq"
    assert (tmp_path / "new/mlfq.py").read_bytes() == (home / "starter.py").read_bytes()
    cases = (tmp_path / "new/cases.md").read_text(encoding="utf-8")
    assert "## io public 2" in cases
    assert "hidden" not in cases


def test_start_overwrites_nothing(tmp_path):
    (tmp_path / "mlfq.py").write_text("my work")
    with pytest.raises(LlmosError, match="your work is not overwritten") as error:
        start("mlfq", tmp_path)
    assert "another folder" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["mlfq.py"]
    assert (tmp_path / "mlfq.py").read_text() == "my work"


def test_start_knows_what_was_meant(tmp_path):
    with pytest.raises(LlmosError, match='did you mean "mlfq"'):
        start("mlqf", tmp_path)


def test_the_starter_gets_no_points_and_is_told_where_to_begin(tmp_path, few_cases):
    start("mlfq", tmp_path)
    report = check(tmp_path)
    assert report.score == 0
    assert "enqueue is yours to write (mlfq.py, line" in report.rows[0].output


def test_check_runs_the_public_cases(folder):
    report = check(folder)
    assert len(report.rows) == 12
    assert {row.visibility for row in report.rows} == {"visible"}
    assert (report.score, report.max_score, report.passed) == (40, 40, True)


def test_check_says_how_to_start(tmp_path):
    with pytest.raises(LlmosError, match="llmos assignment start mlfq"):
        check(tmp_path)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(LlmosError, match="there is no such folder"):
        grade(tmp_path / "nowhere")


def test_a_right_submission_gets_everything(folder):
    report = grade(folder)
    assert [row.name for row in report.rows if not row.passed] == []
    assert (report.score, report.max_score, len(report.rows)) == (100, 100, 30)
    assert report.topics()["io"] == (20, 20)


def test_results_are_what_gradescope_reads(folder, tmp_path, few_cases, right):
    (folder / "mlfq.py").write_text(right.replace("return victim", "return None"))
    report = grade(folder, json_path=tmp_path / "out" / "results.json")
    results = json.loads((tmp_path / "out/results.json").read_text(encoding="utf-8"))
    assert results["score"] == report.score == sum(test["score"] for test in results["tests"])
    assert results["stdout_visibility"] == "hidden"
    for test in results["tests"]:
        assert {"name", "score", "max_score", "output", "visibility", "status"} <= test.keys()
        assert test["visibility"] == ("after_published" if "hidden" in test["name"] else "visible")
        assert test["status"] == ("passed" if test["score"] == test["max_score"] else "failed")
        assert bool(test["output"]) == (test["status"] == "failed")
    assert {test["name"] for test in results["tests"] if test["status"] == "failed"} == {
        "preemption public 1",
        "preemption hidden 1",
    }


def test_grading_twice_gives_the_same_bytes(folder, tmp_path, few_cases, secret):
    noisy = "print({'b', 'a', 'c'}, object(), hash('x'))\n"
    source = (folder / "mlfq.py").read_text(encoding="utf-8")
    wrong = source.replace("return victim", "print(victim); return None")
    (folder / "mlfq.py").write_text(noisy + wrong, encoding="utf-8")
    for name in ("first.json", "second.json"):
        report = grade(folder, json_path=tmp_path / name, secret=secret)
    assert 0 < report.score < report.max_score
    assert "your program printed" in (tmp_path / "first.json").read_text(encoding="utf-8")
    assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()


@pytest.mark.parametrize("what", ["missing", "a link", "a pipe", "a folder", "too large"])
def test_a_file_that_cannot_be_taken_is_a_result(what, folder, tmp_path, few_cases, secret):
    path = folder / "mlfq.py"
    path.unlink()
    if what == "a link":
        path.symlink_to(secret)
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "a folder":
        path.mkdir()
    elif what == "too large":
        path.write_bytes(b"#" * ((1 << 20) + 1))
    report = grade(folder, json_path=tmp_path / "results.json")
    assert report.score == 0
    told = {
        "missing": "No such file or directory",
        "a link": "it is a link; submit the file itself",
        "a pipe": "mlfq.py is not a file",
        "a folder": "mlfq.py is not a file",
        "too large": "larger than 1,048,576 bytes",
    }
    assert all(told[what] in row.output for row in report.rows)
    assert "nobody knows" not in (tmp_path / "results.json").read_text(encoding="utf-8")


def test_a_secret_makes_other_hidden_cases_and_the_same_public_ones(secret, few_cases):
    shipped, own = course._cases("mlfq"), course._cases("mlfq", secret.read_bytes().strip())
    for one, other in zip(shipped, own, strict=True):
        assert one.name == other.name
        assert (one.work == other.work) is not one.hidden


def test_a_right_submission_is_right_for_any_secret(folder, few_cases, secret):
    report = grade(folder, secret=secret)
    assert report.passed
    assert "hidden cases: from the instructor's secret" in report.notes


def test_the_environment_may_name_the_secret(folder, few_cases, secret, monkeypatch):
    monkeypatch.setenv("LLMOS_ASSIGNMENT_SECRET", str(secret))
    assert "hidden cases: from the instructor's secret" in grade(folder).notes


def test_without_a_secret_the_report_says_that_anybody_can_read_the_cases(folder, few_cases, monkeypatch):
    monkeypatch.delenv("LLMOS_ASSIGNMENT_SECRET", raising=False)
    assert any("anybody can read" in note for note in grade(folder).notes)


@pytest.mark.parametrize("content", [None, "", "short"])
def test_a_secret_that_is_none_is_refused(content, folder, tmp_path):
    path = tmp_path / "poor.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(LlmosError, match="secret"):
        grade(folder, secret=path, json_path=tmp_path / "results.json")
    assert not (tmp_path / "results.json").exists()


# --- with and without a sandbox -----------------------------------------------------------------------


@pytest.fixture
def fresh_find():
    sandbox.find.cache_clear()
    yield
    sandbox.find.cache_clear()


def test_where_bubblewrap_is_missing_the_report_says_so(folder, few_cases, tmp_path, monkeypatch, fresh_find):
    monkeypatch.setenv("PATH", str(tmp_path))
    report = grade(folder)
    assert not report.sandboxed
    assert report.notes[0].startswith("not sandboxed: bubblewrap (bwrap) is not installed; a plain process")
    assert report.passed


def test_where_bubblewrap_fails_its_reason_is_told(folder, few_cases, tmp_path, monkeypatch, fresh_find):
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path))
    report = check(folder)
    assert not report.sandboxed
    assert "bubblewrap does not work here (bwrap: No permissions to create new namespace)" in report.notes[0]
    assert report.passed


def test_who_demands_a_sandbox_gets_one_or_nothing(folder, tmp_path, monkeypatch, fresh_find):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LlmosError, match="a sandbox is demanded, and there is none"):
        grade(folder, require_sandbox=True, json_path=tmp_path / "results.json")
    assert not (tmp_path / "results.json").exists()


def test_where_there_is_a_sandbox_the_report_says_so(folder, few_cases):
    if not shutil.which("bwrap") or sandbox.find().why_not:
        pytest.skip("no sandbox here")
    report = check(folder, require_sandbox=True)
    assert (report.sandboxed, report.notes) == (True, ("sandboxed with bubblewrap",))
