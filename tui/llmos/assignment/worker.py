"""The student's process: it loads the student's file and answers one scheduler call at a time.

- It knows the present only: each request is one line of JSON with the call, the time and what a
  policy may see of the tasks concerned. There is no case file, no log and no simulator in here.
- The channel is private: before the student's code is loaded, what it prints is led elsewhere, and
  its input is empty.
- It imports nothing but Python's own modules and the contract (`llmos.sched.base`, `llmos.parameters`),
  which are all there is inside the sandbox. Limits are set here, before the student's code is loaded, and
  cannot be raised again.
- Whatever the student's code does wrong becomes a reply. What it does to this process is noticed
  outside.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

PR_SET_PDEATHSIG, SIGKILL = 1, 9
LARGEST = 2**62
"""No time and no service in a simulation is as large."""


def main() -> None:
    """Serve the requests on standard input until there are no more."""
    settings = json.loads(sys.argv[1])
    requests, replies = _private_channel()
    _set_limits(settings["limits"])
    if settings["user"] is not None:
        try:
            _become(settings["user"])
        except PermissionError:  # root of a container that may not change its user
            if settings["must"]:
                raise
    sys.path.insert(0, settings["folder"])
    sys.argv = [settings["file"]]
    os.write(replies, b'{"n": 0}\n')  # what goes wrong from here on is the student's
    student = Student(settings["folder"], settings["file"])
    for line in requests:
        request = json.loads(line)
        reply = {"n": request.pop("n"), **student.answer(**request)}
        os.write(replies, json.dumps(reply).encode() + b"\n")


class Student:
    """The student's policy and the tasks that it has been shown."""

    def __init__(self, folder: str, file: str) -> None:
        self._folder = folder
        self._file = file
        self._policy: Any = None
        self._task: Any = None
        self._tasks: dict[int, Any] = {}

    def answer(self, call: str, **arguments: Any) -> dict[str, Any]:
        """Return the reply to one request: an answer, nonsense in words, or an error and its place."""
        try:
            if call == "new":
                return self._new(**arguments)
            return self._decide(call, **arguments)
        except BaseException as error:  # noqa: BLE001  # sys.exit and Ctrl-C of the student's own included
            return {"error": _in_words(error), "where": self._place(error)}

    def _new(self, name: str, parameters: dict[str, Any]) -> dict[str, Any]:
        from llmos.sched.base import Scheduler

        self._task = _seen_task()
        module = self._load()
        policy = getattr(module, name, None)
        if policy is None:
            return {"error": f"it has no class {name}", "where": self._file}
        if not (isinstance(policy, type) and issubclass(policy, Scheduler)):
            return {"error": f"{name} is not derived from Scheduler", "where": self._file}
        self._policy = policy(**parameters)
        return {}

    def _load(self) -> ModuleType:
        module = ModuleType("student")
        sys.modules["student"] = module  # dataclasses look a class's module up here
        with open(os.path.join(self._folder, self._file), "rb") as file:  # noqa: PTH118, PTH123
            code = compile(file.read(), self._file, "exec", dont_inherit=True)
        exec(code, vars(module))  # noqa: S102  # running the student's file is the point
        return module

    def _decide(
        self,
        call: str,
        now: int,
        task: dict[str, Any] | None = None,
        why: str | None = None,
        service: int | None = None,
        running: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        from llmos.sched.base import Why

        given: list[Any] = []
        if task is not None:
            given.append(self._seen(task))
        if running is not None:
            given.append([self._seen(view) for view in running])
        if service is not None:
            given.append(service)
        if why is not None:
            given.append(Why(why))
        answer = getattr(self._policy, call)(*given, now)
        if call == "remove" and why == Why.EXITED and task is not None:
            del self._tasks[task["pid"]]
        return ANSWERS.get(call, _nothing)(self, answer)

    def _seen(self, view: dict[str, Any]) -> Any:
        """Return the one object that stands for this task, brought up to date."""
        task = self._tasks.get(view["pid"])
        if task is None:
            task = self._tasks[view["pid"]] = self._task(pid=view["pid"], name=view["name"])
        for name, value in view.items():
            setattr(task, name, value)
        return task

    def pid_of(self, answer: object) -> dict[str, Any]:
        """Return the pid of a task that was shown."""
        for pid, task in self._tasks.items():
            if task is answer:
                return {"answer": pid}
        return {"answer": None} if answer is None else _nonsense(answer)

    def _place(self, error: BaseException) -> str:
        """Return the line of the student's file where it went wrong, "" if it is not in there."""
        if isinstance(error, SyntaxError) and error.filename == self._file:
            return f"{self._file}, line {error.lineno}"
        place, trace = "", error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == self._file:
                place = f"{self._file}, line {trace.tb_lineno}, in {trace.tb_frame.f_code.co_name}"
            trace = trace.tb_next
        return place


def _number(_student: Student, answer: object) -> dict[str, Any]:
    if answer is None or (type(answer) is int and abs(answer) < LARGEST):
        return {"answer": answer}
    return _nonsense(answer)


def _text(_student: Student, answer: object) -> dict[str, Any]:
    return {"answer": answer[:200]} if type(answer) is str else _nonsense(answer)


def _nothing(_student: Student, _answer: object) -> dict[str, Any]:
    return {}


ANSWERS: dict[str, Callable[[Student, object], dict[str, Any]]] = {
    "pick": Student.pid_of,
    "preempts": Student.pid_of,
    "quantum": _number,
    "next_tick": _number,
    "tick": _text,
    "reason": _text,
}
"""How the answer of each call is written; the other calls have none."""


def _nonsense(answer: object) -> dict[str, Any]:
    try:
        shown = repr(answer)
    except Exception:  # noqa: BLE001  # a number of a million digits, a list inside itself, a repr that fails
        shown = "something that cannot be shown"
    return {"nonsense": f"{shown[:100]} ({type(answer).__name__})"}


def _in_words(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # the student's own exception may fail to be shown
        text = ""
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__


def _seen_task() -> type:
    """Return the class of tasks that a student sees: what nobody knows in advance cannot be read."""
    from llmos.sched.base import Task

    def future(name: str) -> property:
        def read(_task: Task) -> int:
            raise AttributeError(f"task.{name} is the future; this policy must decide from the past")

        return property(read, lambda _task, _value: None)

    def shown(task: Task) -> str:
        return f"Task(pid={task.pid}, name={task.name!r}, attained={task.attained})"

    hidden = {name: future(name) for name in ("remaining", "burst", "deadline_ns")}
    return type("Task", (Task,), {"__slots__": (), "__repr__": shown, **hidden})


def _private_channel() -> tuple[Any, int]:
    """Return where requests come from and where replies go; prints go to standard error's pipe."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, replies


def _set_limits(limits: dict[str, int]) -> None:
    for name, most in limits.items():
        try:
            resource.setrlimit(getattr(resource, name), (most, most))
        except (AttributeError, ValueError, OSError):
            continue  # macOS knows no RLIMIT_AS; the limits on time hold everywhere


def _become(user: int) -> None:
    """Stop being root, which is bound by no limit on processes, and die with the parent all the same."""
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)


if __name__ == "__main__":
    main()
