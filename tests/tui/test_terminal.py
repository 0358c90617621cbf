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
import itertools, os, sys
from machines import cores, task
from llmos.process.program import Compute
from llmos.sched.rr import RoundRobin
from dataclasses import replace
from llmos.tui.app import run_tui

def program():
    print("garbage on the screen")
    while True:
        yield Compute(5)

sys.exit(run_tui(cores(lambda: RoundRobin(3), replace(task("loop"), program=program)), title="a live one"))
"""

ALT_SCREEN, NORMAL_SCREEN, SHOW_CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"
PATIENCE_S = 20


class Terminal:
    """A program on a pseudo-terminal of 100 x 30."""

    def __init__(self, root, script, *arguments):
        self.fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.before = termios.tcgetattr(theirs)
        path = os.pathsep.join(str(root / part) for part in ("simulator", "kernels", "tui", "tests"))
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, *map(str, arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "PYTHONPATH": path, "TERM": "xterm-256color"},
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
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for children in /proc")
@pytest.mark.parametrize("how", ["quit", "kill"])
def test_a_live_run_ends_with_the_screen_and_never_writes_on_it(terminal, how):
    it = terminal(LIVE)
    it.wait_for(b"the run goes on")
    (child,) = children(it.process.pid)
    if how == "quit":
        it.send(b"q")
        assert it.ended() == 0
        assert_restored(it)
    else:
        it.process.kill()
    deadline = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text():
        assert time.monotonic() < deadline
        it.pump(0.05)
    assert b"garbage" not in it.output


def test_an_error_comes_before_the_screen(terminal, tmp_path):
    it = terminal(SCRIPT, tmp_path / "nothing.jsonl")
    it.ended()
    assert b"there is no such file" in it.output
    assert ALT_SCREEN not in it.output


@pytest.mark.skipif(shutil.which("tmux") is None, reason="the tests above do the same without tmux")
def test_under_tmux(root, desk_log, tmp_path):
    path = os.pathsep.join(str(root / part) for part in ("simulator", "kernels", "tui"))
    code = tmp_path / "code"
    command = f"PYTHONPATH={path} {sys.executable} -c '{SCRIPT}' {desk_log}; echo $? > {code}; sleep 60"
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
