"""On a real terminal: it starts, quits with 0, and leaves everything as it was."""

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

SCRIPT = "import sys; from llmos.tui.app import run_tui; sys.exit(run_tui(sys.argv[1]))"

LIVE = """
import sys, time
from dataclasses import replace
from machines import cores, task
from llmos.process.program import Compute
from llmos.sched.rr import RoundRobin
from llmos.tui.app import run_tui
from llmos.tui.source import LiveRun

calls = 10_000

def program():
    print("garbage on the screen", flush=True)
    for _ in range(calls):
        yield Compute(5)
    while True:  # and never come back
        pass

spec = cores(lambda: RoundRobin(3), replace(task("loop"), program=program))
"""

ALT_SCREEN, NORMAL_SCREEN, SHOW_CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"
PATIENCE_S = 20


def paths(root):
    return os.pathsep.join(str(root / part) for part in ("simulator", "kernels", "tui", "tests"))


class Terminal:
    """A program on a pseudo-terminal of 100 x 30."""

    def __init__(self, root, script, *arguments):
        self.fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "PYTHONPATH": paths(root), "TERM": "xterm-256color"},
            start_new_session=True,
        )
        self.theirs = theirs
        self.output = b""

    def wait_for(self, text, since=0):
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.output[since:]:
            assert time.monotonic() < deadline, self.output[-2000:]
            self.pump(0.05)

    def pump(self, seconds):
        if select.select([self.fd], [], [], seconds)[0]:
            self.output += os.read(self.fd, 65536)

    def send(self, keys):
        os.write(self.fd, keys)

    def ended(self):
        """Wait for the end; return the exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.output[-2000:]
            self.pump(0.05)
        self.pump(0.2)
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.theirs)
        os.close(self.fd)


@pytest.fixture
def terminal(root):
    opened = []

    def open_terminal(script, *arguments):
        opened.append(Terminal(root, script, *arguments))
        return opened[-1]

    yield open_terminal
    for each in opened:
        each.close()


def assert_restored(terminal):
    assert terminal.output.rindex(NORMAL_SCREEN) > terminal.output.rindex(ALT_SCREEN)
    assert SHOW_CURSOR in terminal.output[terminal.output.rindex(ALT_SCREEN) :]
    assert termios.tcgetattr(terminal.theirs) == terminal.before


@pytest.mark.parametrize("keys", [b"q", b"\x03", b"nnN\x1b[Cq", b" q", b"gxx\r\x1bq"])
def test_it_starts_and_quits(terminal, desk_log, keys):
    it = terminal(SCRIPT, desk_log)
    it.wait_for(b"A shared desk")
    for key in keys.split(b"\x1b", 1)[:1]:
        it.send(key)
    if b"\x1b" in keys:
        time.sleep(0.3)  # a lone escape is told from the beginning of a sequence by a pause
        it.send(b"\x1b" + keys.split(b"\x1b", 1)[1][:-1])
        time.sleep(0.3)
        it.send(b"q")
    assert it.ended() == 0
    assert_restored(it)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(terminal, desk_log, number):
    it = terminal(SCRIPT, desk_log)
    it.wait_for(b"A shared desk")
    it.process.send_signal(number)
    it.ended()
    assert_restored(it)


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for children in /proc")


@needs_proc
def test_a_live_run_ends_with_the_screen_and_never_writes_on_it(terminal):
    it = terminal(LIVE + "sys.exit(run_tui(spec))")
    it.wait_for(b"the run goes on")
    it.send(b"n")
    it.wait_for(b"dispatch")
    (child,) = children(it.process.pid)
    it.send(b"q")
    assert it.ended() == 0
    assert_restored(it)
    assert gone(child)
    assert b"garbage" not in it.output


@needs_proc
def test_a_live_run_dies_with_its_parent_even_if_its_program_never_returns(root):
    script = LIVE + "calls = 10\nrun = LiveRun(spec)\nprint('ready', flush=True)\ntime.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": paths(root)},
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as parent:
        assert parent.stdout.readline() == b"ready\n"
        (child,) = children(parent.pid)
        time.sleep(0.5)  # it is in the endless loop by now
        parent.kill()
    deadline = time.monotonic() + PATIENCE_S
    while not gone(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_error_comes_before_the_screen(terminal, tmp_path):
    it = terminal(SCRIPT, tmp_path / "nothing.jsonl")
    it.ended()
    assert b"there is no such file" in it.output
    assert ALT_SCREEN not in it.output


@pytest.mark.skipif(shutil.which("tmux") is None, reason="the tests above do the same without tmux")
def test_under_tmux(root, desk_log, tmp_path):
    code = tmp_path / "code"
    command = (
        f"PYTHONPATH={paths(root)} {sys.executable} -c '{SCRIPT}' {desk_log}; echo $? > {code}; sleep 60"
    )
    tmux = ["tmux", "-S", str(tmp_path / "socket"), "-f", os.devnull]

    def on_screen():
        return subprocess.run(
            [*tmux, "capture-pane", "-p"], capture_output=True, text=True, check=True
        ).stdout

    def wait_for(said):
        deadline = time.monotonic() + PATIENCE_S
        while not said():
            assert time.monotonic() < deadline, on_screen()
            time.sleep(0.05)

    subprocess.run([*tmux, "new-session", "-d", "-x", "100", "-y", "30", command], check=True)
    try:
        wait_for(lambda: "A shared desk" in on_screen())
        subprocess.run([*tmux, "send-keys", "N"], check=True)
        wait_for(lambda: "event 1 of" not in on_screen())
        subprocess.run([*tmux, "send-keys", "q"], check=True)
        wait_for(lambda: code.exists() and code.read_text())
        assert code.read_text() == "0\n"
        wait_for(lambda: "A shared desk" not in on_screen())
    finally:
        subprocess.run([*tmux, "kill-server"], check=False)
