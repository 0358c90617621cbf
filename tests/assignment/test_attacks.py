"""What a submission may try, by mistake or on purpose: each is a graded result with a clear message."""

import contextlib
import time
from dataclasses import replace
from pathlib import Path

import pytest

from llmos.assignment import mlfq, sandbox
from llmos.assignment.box import Limits
from llmos.assignment.case import Job
from llmos.process.program import MS

ANYTIME = Limits()
PLAIN = sandbox.Sandbox("the test wants it so")

HEAD = "import ctypes, gc, os, sys, time\nfrom llmos.sched.base import Scheduler, Task, Why\n"

# A policy that does right by its only queue, with something on top in one of its methods.
BODY = """
class MLFQ(Scheduler):
    def __init__(self, **parameters):
        self.queue = []
        self.turn = parameters["quantum"][0]
        self.levels = parameters["levels"]
    def enqueue(self, task, why, now):
        self.queue.append(task)
    def pick(self, now):
        {pick}
        return self.queue.pop(0) if self.queue else None
    def quantum(self, task, now):
        {quantum}
        return self.turn
"""

# Writes to every file descriptor that may be the private channel.
FORGE = """
def forge(data):
    for fd in range(3, 20):
        try: os.write(fd, data)
        except OSError: pass
"""


def source(*, top="", pick="pass", quantum="pass"):
    return HEAD + FORGE + "\n" + top + BODY.format(pick=pick, quantum=quantum)


# name: (source, what the student is told)
ANYWHERE = {
    "an exception": (source(pick="{}['x']"), "KeyError: 'x' (mlfq.py, line"),
    "an exception in the constructor": (
        HEAD + "class MLFQ(Scheduler):\n    def __init__(self, **parameters): 1 / 0",
        "ZeroDivisionError: division by zero (mlfq.py, line 4, in __init__), while your file was loaded",
    ),
    "a syntax error": ("def broken(:\n", "SyntaxError: invalid syntax (mlfq.py, line 1)"),
    "bytes that are no text": ("x = '\\0\0'", "while your file was loaded"),
    "no class": ("x = 1", "it has no class MLFQ"),
    "a class of another kind": ("class MLFQ: pass", "MLFQ is not derived from Scheduler"),
    "the solution, imported": ("from llmos.sched.mlfq import MLFQ", "ModuleNotFoundError"),
    "the grader, imported": ("import llmos.assignment.mlfq", "ModuleNotFoundError"),
    "a number for a task": (
        source(pick="return 3"),
        "pick answered 3 (int); the contract: pick returns a task",
    ),
    "a task made up": (source(pick="return Task(pid=1, name='A')"), "pick answered Task(pid=1"),
    "the same task twice": (
        source(pick="return self.queue[0]"),
        "the contract: pick returns a task from the ready",
    ),
    "a bool for a number": (source(quantum="return True"), "quantum answered True (bool)"),
    "a float": (source(quantum="return 1.5"), "quantum answered 1.5 (float)"),
    "not a number": (source(quantum="return float('nan')"), "quantum answered nan (float)"),
    "no time at all": (source(quantum="return 0"), "the contract: quantum returns an int, at least 1"),
    "a large number": (source(quantum="return 10**17"), "quantum answered 100000000000000000"),
    "a huge number": (source(quantum="return 10**30"), "quantum answered 1000000000000"),
    "a number of a million digits": (
        source(quantum="return 1 << 4_000_000"),
        "something that cannot be shown (int)",
    ),
    "a list inside itself": (source(pick="x = []; x.append(x); return x"), "pick answered [[...]] (list)"),
    "a deep list": (
        source(pick="x = []\n        for _ in range(100_000): x = [x]\n        return x"),
        "something that cannot be shown (list)",
    ),
    "an answer that hides": (
        source(top="class Odd:\n    def __repr__(self): raise SystemExit\n", pick="return Odd()"),
        "SystemExit",
    ),
    "an exception that cannot be told": (
        source(top="class Odd(Exception):\n    def __str__(self): return 5\n", pick="raise Odd"),
        "Odd (mlfq.py, line",
    ),
    "a tick in the past": (
        source() + "    def next_tick(self, now): return now\n",
        "next_tick returns a time after",
    ),
    "a tick that never ends": (
        source() + "    def next_tick(self, now): return now + 1\n",
        "event limit of 500",
    ),
    "slices of a nanosecond": (source(quantum="return 1"), "is a quantum very small"),
    "a reason that is none": (
        source() + "    def reason(self, task, now): return 7\n",
        "reason answered 7 (int)",
    ),
    "idling": (source(pick="return None"), "nothing can ever happen again"),
    "leaving": (source(pick="sys.exit(0)"), "SystemExit: 0"),
    "leaving at import": ("raise SystemExit", "SystemExit"),
    "ending the process": (
        source(pick="os._exit(0)"),
        "the process ended (exit code 0) while pick was asked",
    ),
    "a crash": (source(pick="ctypes.string_at(0)"), "the process crashed (SIGSEGV) while pick was asked"),
    "endless recursion": (source(pick="return self.pick(now)"), "RecursionError"),
    "all the memory": (source(pick="self.x = bytearray(1 << 40)"), "MemoryError"),
    "memory bit by bit": (
        source(pick="x = []\n        while True: x.append(bytearray(1 << 20))"),
        "MemoryError",
    ),
    "a flood": (
        source(pick="while True: print('spam' * 1000)"),
        "your program printed more than 100,000 bytes",
    ),
    "an errant error stream": (
        source(pick="while True: sys.stderr.write('spam' * 1000)"),
        "your program printed more than 100,000 bytes",
    ),
    "an answer forged": (
        source(pick='forge(b\'{"n": 99, "answer": 1}\\n\')'),
        "the grader's private channel",
    ),
    "an answer in advance": (
        source(pick='forge(b\'{"n": %d, "answer": 1}\\n\' % 2)'),
        "the grader's private channel",
    ),
    "no line at all": (source(pick="while True: forge(b'x' * 1000)"), "the grader's private channel"),
    "deep JSON": (source(pick="forge(b'[' * 3000 + b'\\n')"), "the grader's private channel"),
    "the channel closed": (
        source(pick="os.closerange(3, 20)"),
        "the process ended (exit code 1) while pick was asked",
    ),
    "reading what is to come": (
        source(pick="print(sum(task.remaining for task in self.queue))"),
        "is the future",
    ),
    "a wrong clock": (
        source(top="import builtins\nbuiltins.len = None\n", pick="len(self.queue)"),
        "TypeError",
    ),
}


# name: (source, limits, what the student is told)
LATE = {
    "an endless loop at import": (
        "while True: pass",
        {"load_s": 0.3},
        "loading your file took longer than 0.3 s",
    ),
    "an endless loop in a decision": (
        source(pick="while True: pass"),
        {"decision_s": 0.2},
        "pick gave no answer within 0.2 s",
    ),
    "sleeping": (
        source(quantum="time.sleep(60)"),
        {"decision_s": 0.2},
        "quantum gave no answer within 0.2 s",
    ),
    "dawdling": (
        source(pick="time.sleep(0.1)"),
        {"case_s": 0.3, "decision_s": 20},
        "all its decisions together took longer than 0.3 s",
    ),
}


@pytest.mark.parametrize("attack", LATE)
def test_who_is_late_is_told_so(attack, submit, place):
    text, limits, told = LATE[attack]
    [row] = submit(text, place=place, limits=replace(ANYTIME, **limits))
    assert told in row.output
    assert row.score == 0


@pytest.mark.parametrize("attack", ANYWHERE)
def test_whatever_it_does_is_a_result(attack, submit):
    text, told = ANYWHERE[attack]
    [row] = submit(text, place=sandbox.find())
    assert told in row.output
    assert row.score == 0


WITHOUT = (
    "a bool for a number", "a crash", "ending the process", "the solution, imported", "all the memory",
    "a flood", "an answer in advance",
)  # fmt: skip


@pytest.mark.parametrize("attack", WITHOUT)
def test_it_is_a_result_without_a_sandbox_too(attack, submit):
    text, told = ANYWHERE[attack]
    [row] = submit(text, place=PLAIN)
    assert told in row.output
    assert row.score == 0


def test_the_policy_under_the_attacks_is_right(submit, place):
    [row] = submit(source(), place=place)
    assert (row.output, row.passed) == ("", True)


def test_an_extra_reply_after_the_last_answer_is_noticed(submit, place):
    ends = "        if why is Why.EXITED: forge(b'{}\\n')\n"
    [row] = submit(source() + "    def remove(self, task, why, now):\n" + ends, place=place)
    assert "the grader's private channel" in row.output


def test_prints_are_shown_when_a_case_fails_and_cut(submit, place):
    [row] = submit(source(pick="print('\\x1b[31mhere I am', self, 'x' * 5000)", quantum="1 / 0"), place=place)
    assert "your program printed:\n  ?[31mhere I am <student.MLFQ object at 0x...>" in row.output
    assert "(cut here)" in row.output
    assert len(row.output) < 4000


def test_prints_do_no_harm_when_a_case_is_right(submit, place):
    [row] = submit(source(pick="print('hello'); print(1, file=sys.stderr)"), place=place)
    assert row.passed


def test_closing_its_own_streams_does_no_harm(submit, place):
    [row] = submit(source(pick="os.closerange(0, 3)"), place=place)
    assert row.passed


def test_its_input_is_empty(submit, place):
    [row] = submit(source(pick="print('read', repr(sys.stdin.read())); 1 / 0"), place=place)
    assert "read ''" in row.output


def test_processor_time_is_limited(submit, place):
    limits = replace(ANYTIME, cpu_s=1, decision_s=60, case_s=60)
    [row] = submit(source(pick="while True: pass"), place=place, limits=limits)
    assert "the process was killed (processor time is limited to 1 s)" in row.output


NOT_RUN = "not run: 2 cases like it have run out of time already"


def test_after_two_timeouts_in_a_topic_its_other_cases_are_not_begun(submit, topics):
    cases = [mlfq.case(topics[name], seed) for name in ("levels", "basics") for seed in range(3)]
    slow = source(pick="time.sleep(60 * (self.levels > 1))")
    rows = submit(slow, cases, limits=replace(ANYTIME, decision_s=0.1))
    late = "pick gave no answer within 0.1 s"
    assert [late in row.output for row in rows[:3]] == [True, True, False]
    assert [row.output == NOT_RUN for row in rows] == [False, False, True, False, False, False]


def test_a_file_that_does_not_load_is_not_tried_for_ever(submit, topics):
    cases = [mlfq.case(topic, 1) for topic in topics.values()]
    rows = submit("while True: pass", cases, limits=replace(ANYTIME, load_s=0.1))
    assert ["loading your file took longer than 0.1 s" in row.output for row in rows[:2]] == [True, True]
    assert {row.output for row in rows[2:]} == {NOT_RUN}


def test_a_submission_has_a_time_in_all(submit, basic_case):
    rows = submit(source(pick="time.sleep(0.05)"), [basic_case] * 3, limits=replace(ANYTIME, total_s=0.1))
    assert [row.output for row in rows[1:]] == [
        "not run: the time for the whole submission, 0.1 s, is used up"
    ] * 2


def test_the_future_is_nowhere_in_its_process(submit, place, basic_case):
    """Everything that can be reached from a frame, the heap, the arguments or an open file is searched."""
    secret = 86_420_975
    work = [Job("A", 0, (3 * MS,)), Job("omega", 2 * MS, (secret,))]
    search = """
        seen = repr(gc.get_objects()) + repr(sys.argv) + repr(dict(os.environ))
        frame = sys._getframe()
        while frame:
            seen += repr(frame.f_locals) + repr(frame.f_globals)
            frame = frame.f_back
        wanted = ["".join(reversed(word)) for word in ("57902468", "agemo")]
        print("looked at", len(seen) > 10_000, "found", [word for word in wanted if word in seen])
        1 / 0"""
    case = replace(basic_case, work=work)
    [row] = submit(source(pick=search), [case], place=place)
    assert "looked at True found []" in row.output


# --- what only the sandbox prevents -------------------------------------------------------------------

LOOK = """
def attempt(name, act):
    try: print(name, "GOT", act())
    except BaseException as error: print(name, "held:", type(error).__name__)
"""

INSIDE = {
    "fork": "os.fork()",
    "another process": "__import__('subprocess').run(['/bin/sh', '-c', 'echo'])",
    "this python again": "os.posix_spawn(sys.executable, [sys.executable, '-c', '1'], {})",
    "a thread": "__import__('threading').Thread(target=print).start()",
    "the network": "__import__('socket').create_connection(('127.0.0.1', 22), 0.1)",
    "a socket of any kind": "__import__('socket').socket(40, 1)",
    "a file in /tmp": "open('/tmp/llmos-was-here', 'w')",
    "a file in shared memory": "open('/dev/shm/llmos-was-here', 'w')",
    "its own folder": "open('/box/new', 'w')",
    "its own source": "open('/box/mlfq.py', 'a')",
    "the root folder": "os.mkdir('/new')",
    "the users": "open('/etc/passwd').read()",
    "the passwords": "open('/etc/shadow').read()",
    "any home": "[f for f in os.listdir('/root') if f != '.pyenv'][0]",
    "other processes": "open('/proc/1/environ').read()",
    "the parent": "os.kill(os.getppid() or -1, 9)",
    "memory that is not counted": "os.memfd_create('x')",
    "a shared memory segment": "1 // (ctypes.CDLL(None).shmget(0, 1 << 20, 0o1600) + 1)",
    "tracing": "1 // (ctypes.CDLL(None).ptrace(0, 0, 0, 0) + 1)",
    "a name space of its own": "1 // (ctypes.CDLL(None).unshare(0x10000000) + 1)",
    "being root again": "os.setuid(0) or 1 // os.getuid()",
    "more memory": "__import__('resource').setrlimit(9, (1 << 40, 1 << 40))",
    "other modules": "__import__('msgspec')",
}


def test_the_sandbox_holds(submit, inside):
    tries = "".join(f"attempt({name!r}, lambda: {act})\n" for name, act in INSIDE.items())
    [row] = submit(HEAD + LOOK + tries, place=inside, limits=replace(ANYTIME, load_s=10))
    assert {name for name in INSIDE if f"{name} held:" not in row.output} == set()
    assert "GOT" not in row.output


def test_some_of_these_succeed_where_there_is_no_sandbox(submit):
    """So that the test above cannot pass by a slip of its own."""
    names = ("the users", "memory that is not counted")
    tries = "".join(f"attempt({name!r}, lambda: {INSIDE[name]})\n" for name in names)
    [row] = submit(HEAD + LOOK + tries)
    assert "the users GOT root" in row.output
    assert "memory that is not counted GOT" in row.output


def test_no_hidden_case_no_solution_and_no_secret_lies_in_its_reach(submit, inside, tmp_path, monkeypatch):
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret of the instructor")
    monkeypatch.setenv("LLMOS_ASSIGNMENT_SECRET", str(secret))
    walk = f"""
files, bad = 0, []
for folder, _, names in os.walk("/"):
    for name in names:
        files += 1
        if name in ("hidden.toml", "public.toml", "secret.txt", "results.json") or "/assignment" in folder:
            bad.append(folder + "/" + name)
        if name == "mlfq.py" and folder != "/box":
            bad.append(folder + "/" + name)
there = os.path.exists({str(secret)!r})
print("walked", files > 100, bad, there, sorted(os.environ), sorted(os.listdir("/box")))
"""
    [row] = submit(HEAD + walk, place=inside, limits=replace(ANYTIME, load_s=10))
    box = "['llmos', 'mlfq.py', 'worker.py']"
    variables = "['LANG', 'PWD', 'PYTHONHASHSEED']"
    assert f"walked True [] False {variables} {box}" in row.output


def test_nothing_survives_the_sandbox(submit, inside):
    """A process that leaves its session and asks not to die with its parent is gone all the same."""
    stay = """
ctypes.CDLL(None).prctl(15, b"llmos-survivor")
ctypes.CDLL(None).prctl(1, 0)
try: os.setsid()
except OSError: pass
print("staying", flush=True)
time.sleep(1000)
"""
    [row] = submit(HEAD + stay, place=inside, limits=replace(ANYTIME, load_s=0.5))
    assert "staying" in row.output
    patience = time.monotonic() + 10  # the kernel takes its time to bury it
    while "llmos-survivor" in _names_of_processes() and time.monotonic() < patience:
        time.sleep(0.01)
    assert "llmos-survivor" not in _names_of_processes()


def _names_of_processes():
    names = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            names.add(path.read_text(encoding="utf-8").strip())
    return names
