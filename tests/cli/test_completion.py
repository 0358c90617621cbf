"""The tab key: what the shells get, and that nobody else pays for it."""

import io
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stdout

import pytest

from llmos.cli.main import COMMANDS, main
from llmos.errors import LlmosError
from llmos.scenario.load import shipped
from llmos.scenario.policies import REPLACEMENT, names


def asked(*words, shell="bash"):
    """What llmos offers for the last of `words`, as (kind, value)."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        patch.setattr(sys, "argv", ["llmos"])
        patch.setenv("_LLMOS_COMPLETE", f"{shell}_complete")
        patch.setenv("COMP_WORDS", " ".join(["llmos", *words]))
        patch.setenv("COMP_CWORD", str(len(words)))
        with pytest.raises(SystemExit) as left:
            main()
    assert not left.value.code
    return [tuple(line.split(",", 1)) for line in out.getvalue().splitlines()]


def plain(found):
    return [value for kind, value in found if kind == "plain"]


def test_commands_are_offered_by_their_beginning():
    assert plain(asked("")) == list(COMMANDS)
    assert plain(asked("sw")) == ["sweep"]
    assert plain(asked("run", "--se")) == ["--seed"]


@pytest.mark.parametrize("command", ["run", "compare", "sweep", "check", "tui"])
def test_scenarios_are_offered_and_files(command):
    assert plain(asked(command, "")) == list(shipped())
    assert asked(command, "con") == [("file", "con"), ("plain", "convoy")]


def test_policies_are_offered_in_lists_too():
    assert plain(asked("run", "convoy", "-s", "")) == names()
    assert plain(asked("compare", "convoy", "-s", "fcfs,ml")) == ["fcfs,mlfq"]
    assert plain(asked("explain", "ml")) == ["mlfq"]
    assert plain(asked("explain", "si")) == ["sieve"]
    assert plain(asked("run", "convoy", "--replacement", "")) == names(REPLACEMENT)
    assert plain(asked("compare", "convoy", "--replacement", "lru,si")) == ["lru,sieve"]
    assert plain(asked("mrc", "x.csv", "--policies", "arc,si")) == ["arc,sieve"]
    assert plain(asked("plot", "gantt", "convoy", "-s", "ml")) == ["mlfq"]


def test_profiles_assignments_and_metrics_are_offered():
    assert "reference-cpu" in plain(asked("run", "convoy", "--profile", "ref"))
    assert "reference-cpu" in plain(asked("profile", "show", "ref"))
    # No file is called so on purpose.
    assert asked("assignment", "start", "ml") == [("plain", "mlfq")]
    assert asked("compare", "convoy", "-m", "cpu.turnaround_me") == [("plain", "cpu.turnaround_mean_ns")]
    assert asked("log", "x.jsonl", "--kind", "io_") == [("plain", "io_start"), ("plain", "io_done")]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_that_its_shell_understands(shell, tmp_path):
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        patch.setattr(sys, "argv", ["llmos", "completion", shell])
        with pytest.raises(SystemExit):
            main()
    assert f"_LLMOS_COMPLETE={shell}_complete" in out.getvalue()
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    (tmp_path / "script").write_text(out.getvalue())
    done = subprocess.run([shell, "-n", tmp_path / "script"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


IN_SHELL = {
    "bash": """eval "$(llmos completion bash)"; COMP_WORDS=({words}); COMP_CWORD={last}
        _llmos_completion llmos 2>/dev/null; printf '%s\\n' "${{COMPREPLY[@]}}" """,
    "fish": 'llmos completion fish | source; complete -C "{words}"',
}


@pytest.mark.parametrize("shell", IN_SHELL)
@pytest.mark.parametrize(
    ("words", "offered"), [("run conv", "convoy"), ("compare convoy -s fcfs,sr", "fcfs,srtf")]
)
def test_the_shell_itself_offers_it(shell, words, offered, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    llmos = tmp_path / "llmos"
    llmos.write_text(
        f"#!/bin/sh\nexec '{sys.executable}' -c 'from llmos.cli.main import main; main()' \"$@\"\n"
    )
    llmos.chmod(0o755)
    script = IN_SHELL[shell].format(words=f"llmos {words}", last=len(words.split()))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(tmp_path)}
    env["PATH"] = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = subprocess.run(
        [shell, "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert offered in done.stdout.split(), done.stderr


def test_a_plugin_that_does_not_load_does_not_disturb(monkeypatch):
    def broken():
        raise LlmosError("it does not load")

    monkeypatch.setattr("llmos.cli.exercise.topics", broken)  # first: importing it binds the other one
    monkeypatch.setattr("llmos.exercise.base.topics", broken)
    assert asked("exercise", "") == []


def test_a_shell_that_nobody_knows_is_no_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["llmos"])
    monkeypatch.setenv("_LLMOS_COMPLETE", "tcsh_complete")
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 1


def test_commands_are_offered_without_loading_any():
    script = "import sys\nfrom llmos.cli.main import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
    script += "print(*sorted(m for m in sys.modules if m.startswith('llmos.')), file=sys.stderr)"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COMP_WORDS": "llmos ", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env={**env, "_LLMOS_COMPLETE": "bash_complete"}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert "plain,sweep" in done.stdout
    assert done.stderr.split() == ["llmos.cli", "llmos.cli.completion", "llmos.cli.main", "llmos.errors"]
