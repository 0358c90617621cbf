"""The exported trace: every event has the keys that the format asks for, and it says what the log says."""

import json
from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import POLICIES, cores, engine, execute, overheads, requests, task, tasks

from llmos.errors import LlmosError
from llmos.process.dispatcher import Costs
from llmos.process.program import Io
from llmos.scenario.machine import RequestSpec
from llmos.sched.edf import EDF
from llmos.sched.fcfs import FCFS
from llmos.sched.rr import RoundRobin
from llmos.trace import events as ev
from llmos.trace.perfetto import CPUS, TASKS, trace_events, write
from llmos.trace.records import Mode
from llmos.trace.state import fold

# The keys that "Trace Event Format" asks for, phase by phase.
REQUIRED = {
    "X": {"name", "cat", "ph", "ts", "dur", "pid", "tid", "args"},
    "i": {"name", "ph", "ts", "pid", "s"},
    "C": {"name", "ph", "ts", "pid", "args"},
    "s": {"name", "cat", "ph", "ts", "pid", "tid", "id"},
    "f": {"name", "cat", "ph", "ts", "pid", "tid", "id", "bp"},
    "M": {"name", "ph", "pid", "args"},
}
METADATA = {
    "process_name": ("name", str),
    "process_sort_index": ("sort_index", int),
    "thread_name": ("name", str),
    "thread_sort_index": ("sort_index", int),
}

WORK = [task("A", 30, Io("disk", 50), 5), task("B", 15)]
COSTS = Costs(context_switch_ns=10, syscall_ns=3, decision_ns=2, timer_ns=4, io_interrupt_ns=5, ipi_ns=1)


def ns(microseconds):
    """Nanoseconds, as a reader of the format gets them."""
    return round(microseconds * 1000)


class Trace:
    """A trace as a viewer sorts it: by phase, by thread, by name."""

    def __init__(self, events):
        self.events = list(trace_events(events))
        self.threads = {
            (e["pid"], e["tid"]): e["args"]["name"] for e in self.events if e["name"] == "thread_name"
        }

    def of(self, phase, **wanted):
        return [e for e in self.events if e["ph"] == phase and wanted.items() <= e.items()]

    def slices(self, thread, cat):
        """(start, end, name) in ns."""
        return [
            (ns(e["ts"]), ns(e["ts"] + e["dur"]), e["name"])
            for e in self.of("X", cat=cat)
            if self.threads[e["pid"], e["tid"]] == thread
        ]


def traced(spec):
    ran = execute(spec)
    return ran, Trace(ran.events)


def joined(pieces):
    """Spans with those that touch made one, as the state keeps them."""
    out = []
    for start, end, name in sorted(pieces):
        if out and out[-1][1] == start and out[-1][2] == name:
            out[-1] = (out[-1][0], end, name)
        else:
            out.append((start, end, name))
    return out


def any_machine():
    return st.builds(
        lambda policy, work, count, costs, servers: cores(
            POLICIES[policy], *work, count=count, costs=costs, servers=servers
        ),
        st.sampled_from(sorted(POLICIES)),
        st.lists(tasks, max_size=6),
        st.integers(1, 3),
        overheads,
        st.integers(0, 2),
    ) | st.builds(
        lambda policy, work, slots: engine(POLICIES[policy], *work, slots=slots),
        st.sampled_from(sorted(POLICIES)),
        st.lists(requests, max_size=6),
        st.integers(1, 5),
    )


def test_a_timeline_worked_out_by_hand():
    """The same run as in test_state.py: round robin with quantum 20, and every cost there is."""
    _, trace = traced(cores(lambda: RoundRobin(20), *WORK, costs=COSTS))
    assert trace.slices("cpu0", "task") == [(12, 32, "A"), (48, 63, "B"), (78, 88, "A"), (148, 153, "A")]
    assert trace.slices("cpu0", "kernel") == [
        (0, 2, "decision"), (2, 12, "context switch"), (32, 36, "timer interrupt"), (36, 38, "decision"),
        (38, 48, "context switch"), (63, 66, "exit"), (66, 68, "decision"), (68, 78, "context switch"),
        (88, 91, "io"), (141, 146, "io interrupt"), (146, 148, "decision"), (153, 156, "exit"),
    ]  # fmt: skip
    assert trace.slices("A", "state") == [
        (0, 36, "running"), (36, 66, "ready"), (66, 91, "running"), (91, 146, "blocked"),
        (146, 156, "running"),
    ]  # fmt: skip
    assert trace.slices("B", "state") == [(0, 36, "ready"), (36, 66, "running")]
    # A arrives and runs at once, B waits, A wakes up.
    arrows = [(ns(s["ts"]), ns(f["ts"])) for s, f in zip(trace.of("s"), trace.of("f"), strict=True)]
    assert sorted(arrows) == [(0, 12), (0, 48), (146, 148)]
    ready = [(ns(e["ts"]), e["args"]["value"]) for e in trace.of("C", name="ready tasks")]
    assert ready == [(0, 1), (66, 0)]
    [preempted] = trace.of("i", name="preempt")
    assert (ns(preempted["ts"]), preempted["args"]) == (36, {"task": "A", "reason": "quantum expired"})


def test_every_slice_has_its_reason():
    _, trace = traced(cores(lambda: RoundRobin(20), *WORK, costs=COSTS))
    [blocked] = trace.of("X", name="blocked")
    assert blocked["args"]["on"] == "disk"
    reasons = [e["args"]["reason"] for e in trace.of("X", name="ready")]
    assert sorted(reasons) == ["arrival", "quantum expired"]
    assert all(e["args"]["reason"] for e in trace.of("X", cat="task"))


@given(any_machine())
def test_every_event_has_the_keys_that_the_format_asks_for(spec):
    _, trace = traced(spec)
    for event in trace.events:
        assert set(event) >= REQUIRED[event["ph"]], event
        assert isinstance(event["pid"], int)
        if event["ph"] == "M":
            key, kind = METADATA[event["name"]]
            assert isinstance(event["args"][key], kind)
            continue
        assert event["ts"] >= 0
        assert ns(event["ts"]) == pytest.approx(event["ts"] * 1000, abs=1e-6)
        if event["ph"] == "X":
            assert event["dur"] > 0
        if event["ph"] == "i":
            assert event["s"] in {"t", "p", "g"}
            assert ("tid" in event) == (event["s"] == "t")
        if event["ph"] == "C":
            assert all(isinstance(value, int) and value >= 0 for value in event["args"].values())
        if event["ph"] == "f":
            assert event["bp"] == "e"
        if "tid" in event:
            assert (event["pid"], event["tid"]) in trace.threads


@given(any_machine())
def test_slices_of_a_thread_follow_one_another(spec):
    _, trace = traced(spec)
    by_thread = defaultdict(list)
    for e in trace.of("X"):
        by_thread[e["pid"], e["tid"]].append((ns(e["ts"]), ns(e["ts"] + e["dur"])))
    for found in by_thread.values():
        assert all(a[1] <= b[0] for a, b in pairwise(found))


@given(any_machine())
def test_who_runs_on_a_processor_is_what_the_state_says(spec):
    ran, trace = traced(spec)
    state = ran.outcome.state
    for p in state.processors.values():
        threads = [n for n in trace.threads.values() if n == p.name or n.startswith(f"{p.name} slot")]
        found = [piece for thread in threads for piece in trace.slices(thread, "task")]
        expected = [(s.start_ns, s.end_ns, s.pid) for s in state.spans if s.cpu == p.id]
        if p.is_core:
            names = {pid: t.name for pid, t in state.tasks.items()}
            assert joined(found) == joined((a, b, names[pid]) for a, b, pid in expected)
        else:
            assert sum(b - a for a, b, _ in found) == sum(b - a for a, b, _ in expected)
            assert len(threads) - 1 <= p.slots


@given(any_machine())
def test_times_add_up_to_what_the_state_has_counted(spec):
    ran, trace = traced(spec)
    state = ran.outcome.state
    for p in state.processors.values():
        kernel = sum(b - a for a, b, _ in trace.slices(p.name, "kernel"))
        assert kernel == p.spent_ns[Mode.KERNEL] + p.spent_ns[Mode.SWITCH]
        iterated = sum(b - a for a, b, _ in trace.slices(p.name, "iteration"))
        assert iterated == (0 if p.is_core else p.spent_ns[Mode.USER])
    ran_ns, waited, blocked = Counter(), Counter(), Counter()
    for e in trace.of("X"):
        pid = e["tid"] - 10
        if e["cat"] == "task":
            ran_ns[e["args"]["pid"]] += ns(e["dur"])
        elif e["name"] == "ready":
            waited[pid] += ns(e["dur"])
        elif e["name"] == "blocked":
            blocked[pid] += ns(e["dur"])
    for t in state.tasks.values():
        assert (ran_ns[t.pid], waited[t.pid], blocked[t.pid]) == (t.cpu_ns, t.waiting_ns, t.blocked_ns)


@given(any_machine())
def test_arrows_leave_and_end_within_slices_that_are_written_before_them(spec):
    """A viewer binds an arrow to the slice that it has already met at that time, or loses it."""
    _, trace = traced(spec)
    ends = {"s": {}, "f": {}}
    open_slices = defaultdict(list)
    for e in trace.events:
        if e["ph"] == "X":
            open_slices[e["pid"], e["tid"]].append((ns(e["ts"]), ns(e["ts"] + e["dur"]), e["name"]))
        elif e["ph"] in ends:
            assert e["id"] not in ends[e["ph"]]
            around = [s for s in open_slices[e["pid"], e["tid"]] if s[0] <= ns(e["ts"]) < s[1]]
            assert len(around) == 1
            ends[e["ph"]][e["id"]] = (ns(e["ts"]), trace.threads[e["pid"], e["tid"]], around[0][2])
    assert ends["s"].keys() == ends["f"].keys()
    for number, (left, name, state) in ends["s"].items():
        reached, _, who = ends["f"][number]
        assert left <= reached
        assert state in {"ready", "running"}
        assert who == name


@given(any_machine())
def test_whoever_became_ready_and_then_ran_has_an_arrow(spec):
    ran, trace = traced(spec)
    came = Counter(e.task for e in ran.events if isinstance(e, ev.Arrive | ev.Wake))
    arrows = Counter(e["tid"] - 10 for e in trace.of("s"))
    for t in ran.outcome.state.tasks.values():
        assert (arrows[t.pid] > 0) == (t.cpu_ns > 0)
        assert arrows[t.pid] <= came[t.pid]


@given(any_machine())
def test_counters_say_how_many_are_ready_and_run(spec):
    ran, trace = traced(spec)
    shown = defaultdict(dict)
    for e in trace.of("C"):
        shown[ns(e["ts"])][e["name"]] = e["args"]["value"]
    now = defaultdict(int)
    for t in sorted(shown):
        now.update(shown[t])
        state = fold(e for e in ran.events if e.t <= t)
        running = sum(len(p.running) for p in state.processors.values())
        assert sum(n for name, n in now.items() if name.startswith("ready")) == len(state.ready)
        assert sum(n for name, n in now.items() if name.startswith("running")) == running


@given(any_machine(), st.data())
def test_a_log_that_was_cut_off_is_a_trace_up_to_there(spec, data):
    events = execute(spec).events
    cut = events[: data.draw(st.integers(1, len(events)))]
    trace, state = Trace(cut), fold(cut)
    state.advance(state.now)
    waited = sum(ns(e["dur"]) for e in trace.of("X", name="ready"))
    assert waited == sum(t.waiting_ns for t in state.tasks.values())
    assert all(ns(e["ts"] + e["dur"]) <= state.now for e in trace.of("X"))


def test_a_slot_of_an_engine_is_a_thread_and_is_used_again():
    work = [RequestSpec(name=f"r{i}", prompt=9, output=5, arrival_ns=10 * i) for i in range(6)]
    _, trace = traced(engine(FCFS, *work, slots=2))
    on_cpus = [name for (pid, _), name in trace.threads.items() if pid == CPUS]
    assert [name.rpartition("slot")[2] for name in on_cpus[1:]] == [" 0", " 1"]
    assert {e["name"] for e in trace.of("X", cat="iteration")} <= {"prefill", "decode", "prefill + decode"}


def test_a_missed_deadline_and_an_exit_are_instants():
    late = task("late", 20, deadline_ns=5)
    _, trace = traced(cores(EDF, late))
    [miss] = trace.of("i", name="miss")
    assert (ns(miss["ts"]), miss["pid"], trace.threads[miss["pid"], miss["tid"]]) == (5, TASKS, "late")
    assert [e["pid"] for e in trace.of("i", cat="exit")] == [CPUS]


def test_groups_and_threads_have_names_and_an_order():
    _, trace = traced(cores(FCFS, task("A", 5), task("B", 5), count=2))
    named = {e["pid"]: e["args"]["name"] for e in trace.of("M", name="process_name")}
    assert named == {CPUS: "CPUs", TASKS: "Tasks"}
    assert list(trace.threads.values()) == ["cpu0", "cpu1", "A", "B"]
    order = [e["args"]["sort_index"] for e in trace.of("M", name="thread_sort_index", pid=TASKS)]
    assert order == sorted(order)


def test_a_forged_log_is_still_a_trace():
    head = [ev.Run(0, processors=[ev.Processor(0, "core", "fcfs")]), ev.Arrive(0, task=1, name="A")]
    forged = [
        ev.Dispatch(5, 7, 1), ev.Exit(6, 0, 99), ev.Block(7, 0, 1), ev.Preempt(8, 0, 1), ev.Iterate(9, 3),
        ev.Tick(10), ev.Wake(9, 0, 1), ev.End(12),
    ]  # fmt: skip
    for event in Trace([*head, *forged]).events:
        assert set(event) >= REQUIRED[event["ph"]]


# --- the file -----------------------------------------------------------------------------------------


def test_the_file_is_one_json_object_with_the_unit_first_and_the_same_bytes_each_time(tmp_path):
    events = execute(cores(lambda: RoundRobin(20), *WORK, costs=COSTS, question="Why?")).events
    for name in ("a.json", "b.json"):
        write(events, tmp_path / name)
    data = (tmp_path / "a.json").read_bytes()
    assert data == (tmp_path / "b.json").read_bytes()
    assert data.startswith(b'{"displayTimeUnit":"ns"')
    document = json.loads(data)
    assert document["traceEvents"] == list(trace_events(events))
    assert document["otherData"]["question"] == "Why?"


def test_strange_names_stay_as_they_are(tmp_path):
    names = ['"quoted"', "back\\slash", "new\nline", "\x00", "\U0001f9ff", "</script>"]
    write(execute(cores(FCFS, *(task(name, 5) for name in names))).events, tmp_path / "a.json")
    threads = [
        e["args"]["name"]
        for e in json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["traceEvents"]
        if e["name"] == "thread_name" and e["pid"] == TASKS
    ]
    assert threads == names


def test_what_cannot_be_written_is_a_clear_error_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LlmosError, match="cannot write"):
        write(execute(cores(FCFS, *WORK)).events, tmp_path / "file" / "a.json")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_empty_log_is_a_clear_error(tmp_path):
    with pytest.raises(LlmosError, match="nothing to export"):
        write([], tmp_path / "a.json")


def test_a_slice_comes_out_as_soon_as_it_is_over():
    """So what is kept in memory does not grow with the log."""
    ran = execute(cores(lambda: RoundRobin(1), task("A", 400), task("B", 400)))
    latest = 0

    def counted():
        nonlocal latest
        for event in ran.events:
            latest = event.t
            yield event

    late = {latest - ns(e["ts"] + e["dur"]) for e in trace_events(counted()) if e["ph"] == "X"}
    assert late == {0}
