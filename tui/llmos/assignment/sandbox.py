"""Where a student's file runs: inside bubblewrap where that works, else a plain process, plainly told.

- `find()` says which of the two this machine offers; it tries the sandbox before it promises it.
- Inside there are Python's own library and the one folder that is shown, read-only; no network, no
  other process, no home, no environment, nowhere to write.
- A grader that runs as root gives the process to nobody: root is bound by no limit on processes.
- A plain process has the limits on time and memory, and the grader's own rights otherwise.

Source: bwrap(1). What is asked for here was tried against attacks; tests/assignment has them.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmos.assignment import seccomp

NOBODY: Final = 65534
INSIDE: Final = "/box"
"""Where the shown folder appears in the sandbox."""
READY: Final = b'{"n": 0}\n'
"""What the worker says before it loads the student's file."""
_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64")
_ENVIRONMENT: Final = {"PYTHONHASHSEED": "0", "LANG": "C.UTF-8"}
_FLAGS: Final = ("-s", "-S", "-P", "-B", "-u")  # not -I: that would ignore PYTHONHASHSEED


@dataclass(frozen=True)
class Started:
    """A process that has been started; `inside` is the pid, as seen from here, of the one in the sandbox."""

    process: subprocess.Popen[bytes]
    inside: int | None = None

    def kill(self) -> None:
        """End it and what it may have started."""
        if self.inside is not None and self.process.poll() is None:
            os.kill(self.inside, signal.SIGKILL)  # the first process in there: all others go with it
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=1)  # bubblewrap buries it and ends
                return
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            self.process.kill()  # the group is gone, or was given to nobody
        self.process.wait()


@dataclass(frozen=True)
class Sandbox:
    """How student processes are started here."""

    why_not: str = ""
    """Why they are not sandboxed; "" if they are."""
    drop: bool = False
    """Whether the grader is root and gives them to nobody."""

    @property
    def told(self) -> str:
        """Say it in a sentence."""
        if not self.why_not:
            return "sandboxed with bubblewrap"
        return f"not sandboxed: {self.why_not}; a plain process with limits on time and memory ran the file"

    def start(self, folder: Path, file: str, limits: dict[str, int]) -> Started:
        """Start the worker for `file` in `folder`, which holds `worker.py` too, under these RLIMITs."""
        if not self.why_not:
            return _start_inside(folder, file, limits, drop=self.drop)
        drop = os.getuid() == 0 and all(_open_to_all(path) for path in (folder, _python(), _library()))
        return Started(_popen(_worker(str(folder), file, limits, drop=drop)))


@functools.cache
def find() -> Sandbox:
    """Return the best that this machine offers."""
    if sys.platform != "linux":
        return Sandbox("bubblewrap, which needs Linux, is not here")
    if shutil.which("bwrap") is None:
        return Sandbox("bubblewrap (bwrap) is not installed")
    why_not = ""
    for drop in (True, False) if os.getuid() == 0 else (False,):  # root of a container may not drop it
        why_not = _try_out(drop=drop)
        if not why_not:
            return Sandbox(drop=drop)
    return Sandbox(f"bubblewrap does not work here ({why_not})")


def _try_out(*, drop: bool) -> str:
    """Start a worker inside; return why that fails, "" if it works."""
    tried = None
    try:
        tried = _start_inside(Path(__file__).parent, "", {}, drop=drop)
        out, told = tried.process.communicate(timeout=20)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return type(error).__name__
    finally:
        if tried is not None:
            tried.kill()
    lines = told.decode(errors="replace").strip().splitlines() or ["it gives no reason"]
    return "" if out == READY else lines[-1][:200]


def _start_inside(folder: Path, file: str, limits: dict[str, int], *, drop: bool) -> Started:
    command = _worker(INSIDE, file, limits, drop=drop)
    told, tell = os.pipe()
    passed = [tell]
    try:
        options = [*_options(folder, drop=drop), "--info-fd", str(tell)]
        rules = seccomp.bytecode(platform.machine())
        if rules is not None:
            passed.append(_pipe_holding(rules))
            options += ["--seccomp", str(passed[-1])]
        process = _popen([shutil.which("bwrap") or "bwrap", *options, "--", *command], passed)
    except BaseException:
        os.close(told)
        raise
    finally:
        for fd in passed:
            os.close(fd)
    words = b""
    while b"}" not in words and (more := os.read(told, 4096)):
        words += more
    os.close(told)
    return Started(process, json.loads(words)["child-pid"] if words else None)


def _options(folder: Path, *, drop: bool) -> list[str]:
    """Return what bubblewrap is asked for."""
    libraries = [Path(name) for name in _LIBRARIES if Path(name).is_dir()]
    shown = [*libraries, _library(), *_library().parent.glob("libpython3*.so*"), _python()]
    packages = {path for place in libraries for path in place.glob("python3*/*-packages")}
    packages |= set(_library().glob("*-packages"))
    options = ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    options += ["--as-pid-1", "--die-with-parent", "--hostname", "box"]
    if drop:  # these two are gone when the worker is nobody
        options += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        options += ["--unshare-user"]
    parents = {parent for path in shown for parent in path.parents}
    for parent in sorted(parents - {Path("/")}):  # bubblewrap's own way would close them to nobody
        options += ["--dir", str(parent)]
    for path in shown:
        options += ["--ro-bind", str(path), str(path)]
    for path in sorted(packages):  # other people's modules, and llmos itself with its solutions
        options += ["--tmpfs", str(path), "--remount-ro", str(path)]
    options += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache", "--ro-bind", str(folder), INSIDE]
    return [*options, "--dev", "/dev", "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/"]


def _worker(folder: str, file: str, limits: dict[str, int], *, drop: bool) -> list[str]:
    user = NOBODY if drop else None
    settings = {"folder": folder, "file": file, "limits": limits, "user": user, "must": folder == INSIDE}
    return [str(_python()), *_FLAGS, f"{folder}/worker.py", json.dumps(settings)]


def _popen(command: Sequence[str], passed: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_ENVIRONMENT,
        pass_fds=passed,
        start_new_session=True,
        bufsize=0,
    )


def _python() -> Path:
    """Return the interpreter itself, not a virtual environment's link to it."""
    return Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))


def _library() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _open_to_all(path: Path) -> bool:
    """Whether anybody may read `path`, wherever it lies."""
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (path, *path.parents))


def _pipe_holding(data: bytes) -> int:
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    return read
