"""The log: what is written is what is read, also after a crash, and its hash is the file's."""

import gzip
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import cores, execute, task

from llmos.errors import LlmosError, LogError, PolicyError
from llmos.process.program import Io
from llmos.scenario.machine import run
from llmos.sched.fcfs import FCFS
from llmos.sched.rr import RoundRobin
from llmos.trace.events import Dispatch, End, Run
from llmos.trace.log import LogFile, read
from llmos.trace.state import check, fold

SPEC = cores(lambda: RoundRobin(3), task("A", 10, Io("disk"), 4), task("B", 7, at=2))


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz"])
def test_what_is_written_is_read_and_hashed(tmp_path, name):
    path = tmp_path / "new" / name
    events = []
    with LogFile(path) as file:
        outcome = run(SPEC, [file, lambda batch, _: events.extend(batch)])
    assert list(read(path)) == events
    data = path.read_bytes()
    data = gzip.decompress(data) if name.endswith(".gz") else data
    assert hashlib.sha256(data).hexdigest() == outcome.log_sha256
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz"])
@given(cut=st.integers(0, 400))
def test_a_log_that_was_cut_off_is_a_prefix(tmp_path_factory, name, cut):
    path = tmp_path_factory.mktemp("log") / name
    with LogFile(path) as file:
        run(SPEC, [file])
    whole, data = list(read(path)), path.read_bytes()
    path.write_bytes(data[: max(len(data) - cut, 1)])
    try:
        prefix = list(read(path))
    except LogError as error:
        assert "empty" in str(error)  # noqa: PT017
        prefix = []
    assert prefix == whole[: len(prefix)]
    assert fold(prefix).violations == []


def test_a_policy_that_breaks_its_contract_leaves_the_log_so_far(tmp_path):
    class Broken(FCFS):
        def quantum(self, task, now):
            return 2 if now < 6 else 0

    path = tmp_path / "log.jsonl"
    with pytest.raises(PolicyError, match=r"Broken.*answered 0.*6 ns") as error, LogFile(path) as file:
        run(cores(Broken, task("A", 10)), [file])
    assert "at least 1" in str(error.value)
    events = list(read(path))
    assert isinstance(events[-1], End)
    assert not events[-1].ok
    assert check(fold(events)) == []


def test_ctrl_c_leaves_a_log_that_says_so(tmp_path):
    def interrupted():
        yield from ()
        raise KeyboardInterrupt

    path = tmp_path / "log.jsonl"
    spec = cores(FCFS, task("A", 10), task("B", 3, at=4))
    spec.tasks[1].__dict__["program"] = interrupted
    with pytest.raises(KeyboardInterrupt), LogFile(path) as file:
        run(spec, [file])
    assert list(read(path))[-1].reason == "interrupted"


def test_a_killed_run_leaves_a_loadable_part(tmp_path):
    """Kill a process that is in the middle of an endless run."""
    code = (
        "import sys; from machines import *; from llmos.trace.log import LogFile\n"
        "spec = cores(lambda: RoundRobin(1), task('A', 10**9), task('B', 10**9))\n"
        "def wait(events, data): print(flush=True); sys.stdin.readline()\n"
        "with LogFile(sys.argv[1]) as f: run(spec, [f, wait])"
    )
    path = tmp_path / "log.jsonl"
    env = {**os.environ, "PYTHONPATH": ":".join([str(Path(__file__).parents[1]), *sys.path])}
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdout.readline()  # the first batch is in the file
    process.kill()
    process.communicate()
    events = list(read(path.with_name("log.jsonl.part")))
    assert any(isinstance(event, Dispatch) for event in events)
    assert fold(events).violations == []
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"hello\n", "no event"),
        (b'{"kind":"dispatch","t":1}\n', "begins with"),
        (b'{"kind":"run","t":0}\n{"kind":"dispatched","t":1}\n', "2: .*dispatched"),
        (b'{"kind":"run","t":0}\n{"kind":"dispatch","t":"soon"}\n', ":2: .*int"),
        (b"\xff\xfe\x00\x00\n", "no event"),
        (b'{"kind":"run","t":0,"processors":' + b"[" * 100_000 + b"\n", ":1: "),
        (b"\x1f\x8bnot gzip at all", "empty"),
    ],
)
def test_a_damaged_log_is_named_with_its_line(tmp_path, content, says):
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    with pytest.raises(LogError, match=says):
        list(read(path))


def test_a_folder_is_no_log_and_nothing_is_left_beside_it(tmp_path):
    (tmp_path / "logs").mkdir()
    with pytest.raises(LlmosError, match="it is a folder"):
        LogFile(tmp_path / "logs")
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]


def test_a_link_is_followed_and_a_device_stays_one(tmp_path):
    (tmp_path / "link.jsonl").symlink_to("there.jsonl")
    for path in (tmp_path / "link.jsonl", Path(os.devnull)):
        with LogFile(path) as log:
            log([], b"x\n")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "there.jsonl").read_bytes() == b"x\n"
    assert Path(os.devnull).is_char_device()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_told():
    with pytest.raises(LlmosError, match="cannot write the log: No space"), LogFile("/dev/full") as log:
        log([], b"x\n")


def test_a_missing_log_names_a_near_one(tmp_path):
    (tmp_path / "convoy.jsonl").touch()
    with pytest.raises(LogError, match="did you mean"):
        list(read(tmp_path / "convy.jsonl"))
    with pytest.raises(LogError, match="cannot read"):
        list(read(tmp_path))
    with pytest.raises(LlmosError, match="cannot write"):
        LogFile(tmp_path / "convoy.jsonl" / "log")


def test_same_scenario_and_seed_same_bytes_in_every_process():
    code = (
        "from machines import *\n"
        "spec = cores(lambda: RoundRobin(3), task('A', 10, Io('disk'), 4), task('B', 7, at=2), count=2)\n"
        "print(run(spec).log_sha256)"
    )
    hashes = set()
    for hashseed in ("0", "4711"):
        path = ":".join([str(Path(__file__).parents[1]), *sys.path])
        env = {**os.environ, "PYTHONHASHSEED": hashseed, "PYTHONPATH": path}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
        )
        hashes.add(done.stdout)
    assert len(hashes) == 1
    assert len(hashes.pop().strip()) == 64


def test_the_header_comes_first_and_the_end_last():
    events = execute(SPEC).events
    assert isinstance(events[0], Run)
    assert isinstance(events[-1], End)
    assert [e.t for e in events] == sorted(e.t for e in events)


HEADER = b'{"kind":"run","t":0}\n'
NUMBERS = [
    b'{"kind":"end","t":%d}\n',
    b'{"kind":"dispatch","t":1,"cpu":0,"task":%d}\n',
    b'{"kind":"iterate","t":1,"prefill":[[3,%d]]}\n',
]


@pytest.mark.parametrize("line", NUMBERS)
@pytest.mark.parametrize("number", [2**62 + 1, -(2**62) - 1, 10**40])
def test_a_number_that_no_run_can_reach_is_refused_with_its_line(tmp_path, line, number):
    path = tmp_path / "log.jsonl"
    path.write_bytes(HEADER + line % number)
    with pytest.raises(LogError, match=r"(`t`|`task`|`prefill`).*2\*\*62") as error:
        list(read(path))
    assert error.value.line == 2


@pytest.mark.parametrize("number", [2**62, -(2**62)])
def test_the_largest_number_is_read_and_so_is_any_seed(tmp_path, number):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"kind":"run","t":0,"seed":%d}\n' % (2**63 - 1) + NUMBERS[0] % number)
    header, end = read(path)
    assert (header.seed, end.t) == (2**63 - 1, number)
