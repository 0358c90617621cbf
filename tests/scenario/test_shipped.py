"""The shipped scenarios: the golden summaries of all, and what makes six of them worth shipping.

Each has at least one figure that is computed in another way: by hand, or by a few lines that know
nothing of the simulator. Each also keeps the promise that its comments make. The stories about processes
and schedulers are in test_stories.py.
"""

import importlib.util
import json
import math
from pathlib import Path
from random import Random
from statistics import mean

import pytest
from comparisons import compared

from llmos.costs.model import CostModel
from llmos.costs.ops import Matmul
from llmos.costs.profile import load_profile
from llmos.engine.streams import stream
from llmos.scenario.build import build
from llmos.scenario.compare import compare, estimate
from llmos.scenario.load import load, load_text, shipped
from llmos.scenario.machine import run

MS = 10**6


def _golden():
    spec = importlib.util.spec_from_file_location("golden", Path(__file__).with_name("golden.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


golden = _golden()


def tasks_of(name, **options):
    """The tasks of a run by name, in their last state."""
    state = run(build(load(shipped()[name]), **options)).state
    return {task.name: task for task in state.tasks.values()}


def means(name):
    """Metric -> one mean per scheduler, in the order of the scenario's [compare]."""
    columns = compared(name).columns
    return {
        metric: [estimate(column.values[metric]).mean for column in columns] for metric in columns[0].values
    }


@pytest.mark.parametrize("name", shipped())
def test_the_golden_summary(name):
    expected = json.loads((golden.FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    found = golden.summary(shipped()[name], lambda scenario: compared(scenario.name))
    assert found["metrics"] == pytest.approx(expected.pop("metrics"), rel=1e-6)
    means = expected.pop("compare")
    assert found["compare"].keys() == means.keys()
    for scheduler, values in means.items():
        assert found["compare"][scheduler] == pytest.approx(values, rel=1e-6)
    assert {key: found[key] for key in expected} == expected, (
        "if this is meant: python tests/scenario/golden.py"
    )


# --- convoy -----------------------------------------------------------------------------------------


def test_convoy_by_hand():
    # The truck takes 100 ms, car i of ten leaves 5 i ms later and came at 1 ms. Under SRTF the cars
    # go at once, car i leaves at 1 + 5 i, and the truck after all of them.
    fcfs, sjf, srtf, _ = means("convoy")["cpu.turnaround_mean_ns"]
    assert fcfs == sjf == pytest.approx((100 + sum(100 + 5 * i - 1 for i in range(1, 11))) / 11 * MS)
    assert srtf == pytest.approx((150 + sum(5 * i for i in range(1, 11))) / 11 * MS)


def test_convoy_if_the_truck_comes_second():
    # As the comments say: with the cars there first, SJF helps. One car runs when the truck comes at 2.
    text = shipped()["convoy"].read_text().replace("arrival = 0", "arrival = 2")
    fcfs, sjf = (run(build(load_text(text), scheduler=s)).state for s in ("fcfs", "sjf"))
    assert [t.finish_ns for t in fcfs.tasks.values()] == [t.finish_ns for t in sjf.tasks.values()]
    assert max(t.finish_ns for t in sjf.tasks.values() if t.name != "truck") == 51 * MS


# --- rr-quantum -------------------------------------------------------------------------------------


def round_robin(bursts, quantum, switch):
    """The mean turnaround and response of bursts that are all there at 0."""
    queue = [[i, burst] for i, burst in enumerate(bursts)]
    now, last, finish, first = 0, None, {}, {}
    while queue:
        i, left = queue.pop(0)
        now += switch if i != last else 0
        first.setdefault(i, now)
        now += min(left, quantum)
        last = i
        if left > quantum:
            queue.append([i, left - quantum])
        else:
            finish[i] = now
    return mean(finish.values()), mean(first.values())


def test_rr_quantum_against_fifteen_lines():
    found = means("rr-quantum")
    expected = [round_robin([160, 80, 24, 12, 6, 6, 6], q, 0.5) for q in (1, 2, 4, 8, 16, 32, 64, 128)]
    assert found["cpu.turnaround_mean_ns"] == pytest.approx([turnaround * MS for turnaround, _ in expected])
    assert found["cpu.response_mean_ns"] == pytest.approx([response * MS for _, response in expected])


def test_rr_quantum_has_its_best_place_in_the_middle():
    found = means("rr-quantum")
    turnaround = found["cpu.turnaround_mean_ns"]
    best = turnaround.index(min(turnaround))
    assert turnaround[: best + 1] == sorted(turnaround[: best + 1], reverse=True)
    assert turnaround[best:] == sorted(turnaround[best:])
    assert min(turnaround[0], turnaround[-1]) > 1.3 * turnaround[best]
    assert found["cpu.overhead"] == sorted(found["cpu.overhead"], reverse=True)
    assert found["cpu.response_mean_ns"] == sorted(found["cpu.response_mean_ns"])


# --- mlfq-gaming ------------------------------------------------------------------------------------


def test_mlfq_gaming_by_hand():
    # The gamer's first piece ends at 9. While it does its I/O the honest jobs have their only quantum
    # at the top, 9-19 and 19-29; its second piece ends at 38, and then one more every 9 + 1 ms: the
    # thirtieth at 38 + 28 * 10. The core never rests, so all is done after 270 + 2 * 60.
    tasks = tasks_of("mlfq-gaming")
    assert tasks["gamer"].finish_ns == (38 + 28 * 10) * MS
    assert max(task.finish_ns for task in tasks.values()) == 390 * MS


def test_mlfq_gaming_pays_only_with_the_hole():
    hole, cure, boost = means("mlfq-gaming")["cpu.slowdown_max"]
    assert hole > 2 * cure
    assert hole > 2 * boost


# --- srtf-starvation --------------------------------------------------------------------------------


def test_srtf_starvation_by_hand():
    # The thesis has 2 ms in each gap. After 146 gaps, at 1460, it has 8 ms left: as little as the small
    # job that comes then, and a tie does not preempt. It is done at 1468; that job waits for 8 ms, the
    # next ones for 6, 4 and 2, and all others have their 8 ms at once.
    tasks = tasks_of("srtf-starvation")
    assert tasks["thesis"].finish_ns == (146 * 10 + 8) * MS
    small = [task.finish_ns - task.arrival_ns for task in tasks.values() if task.name != "thesis"]
    assert sorted(small) == [8 * MS] * 196 + [10 * MS, 12 * MS, 14 * MS, 16 * MS]


def test_srtf_starvation_is_no_matter_of_the_mean():
    found = means("srtf-starvation")
    srtf, fcfs, _, _, stride = found["cpu.turnaround_max_ns"]
    assert fcfs < stride < srtf / 2
    assert min(found["cpu.turnaround_mean_ns"]) == found["cpu.turnaround_mean_ns"][0]


# --- inference-beside-batch -------------------------------------------------------------------------


def test_an_answer_costs_what_the_profile_s_rows_say():
    rows = {row.op: row.seconds for row in load_profile("reference-cpu").rows}

    def ns(m, k, n, count=1):
        return round(rows[Matmul(m, k, n, "fp32")] * 1e9) * count

    layers = [(512, 1024), (512, 512), (512, 3072), (1536, 512)]
    prompt = sum(ns(32, k, n, 6) for k, n in layers) + ns(1, 512, 2048)
    token = sum(ns(1, k, n, 6) for k, n in layers) + ns(1, 512, 2048)
    system_calls = (12 + 1) * 300  # twelve tokens sent, and the exit
    # Kernel work is not the task's own time; the calls are charged, the products are what it runs.
    task = tasks_of("inference-beside-batch")["answer-3"]
    assert task.cpu_ns in (prompt + 11 * token, prompt + 11 * token + system_calls)


def test_people_wait_for_batch_unless_the_scheduler_tells_them_apart():
    fcfs, rr, priority, mlfq, forgiving = means("inference-beside-batch")["cpu.turnaround_p50_ns"]
    assert priority < forgiving < rr / 2 < rr < mlfq < fcfs
    tasks = tasks_of("inference-beside-batch", scheduler="fcfs")
    batch = max(task.finish_ns for name, task in tasks.items() if name.startswith("batch"))
    assert all(task.finish_ns > batch for name, task in tasks.items() if name.startswith("answer"))


# --- two-worlds -------------------------------------------------------------------------------------


def test_two_worlds_under_fcfs_against_lindley_s_recursion():
    # Waiting under FCFS: w' = max(0, w + burst - gap). The draws come from the documented streams; a
    # load is a mean gap of burst / load.
    product = CostModel(load_profile("reference-cpu")).predict(Matmul(64, 512, 512, "fp32")).ns
    arrivals = []
    for name, count, load_, burst in (("job", 180, 0.1, 10 * product), ("big", 20, 0.6, 500 * product)):
        now, random = 0.0, stream(1, f"workload/{name}/arrival")
        for _ in range(count):
            now -= math.log(1 - random.random()) * burst / load_
            arrivals.append((now, burst))
    free, turnaround = 0.0, []
    for now, burst in sorted(arrivals):
        free = max(now, free) + burst
        turnaround.append(free - now)
    column = compare(load(shipped()["two-worlds"]), ["fcfs"], [1]).columns[0]
    assert column.values["cpu.turnaround_mean_ns"][0] == pytest.approx(mean(turnaround), rel=1e-6)


def test_two_worlds_computes_every_token_once():
    def whole(low, high, random: Random):
        return low + int(random.random() * (high - low + 1))

    chats, essays = stream(1, "workload/chat/prompt"), stream(1, "workload/essay/prompt")
    tokens = sum(whole(10, 60, chats) + 15 for _ in range(180))
    tokens += sum(whole(10, 60, essays) + 399 for _ in range(20))
    state = run(build(load(shipped()["two-worlds"]), scheduler="mlfq")).state
    assert sum(task.computed for task in state.tasks.values() if task.world == "request") == tokens


def test_two_worlds_says_the_same_on_any_machine():
    """Its arrivals ask for a load: on hardware a hundred times as fast, the core is as busy."""
    busy = []
    for profile in ("reference-cpu", "h100-data-sheet"):
        spec = build(load(shipped()["two-worlds"]), profile=profile)
        last = max(task.arrival_ns for task in spec.tasks)
        work = sum(
            call.count * spec.cost_model.predict(call.op).ns for t in spec.tasks for call in t.program()
        )
        busy.append(work / last)
    assert busy[0] == pytest.approx(busy[1], rel=1e-4)


def test_two_worlds_has_one_order():
    found = means("two-worlds")
    for world in ("cpu", "llm"):
        fcfs, srtf, rr, mlfq = found[f"{world}.turnaround_mean_ns"]
        assert srtf < mlfq < rr < fcfs
    for answer in ("cpu.response_mean_ns", "llm.ttft_mean_ns"):
        fcfs, srtf, rr, mlfq = found[answer]
        assert mlfq < min(fcfs, srtf, rr) / 10


def test_two_worlds_differ_in_a_wide_batch_with_a_rush():
    text = shipped()["two-worlds"].read_text().replace("slots = 4", "slots = 32")
    text = text.replace("load = 0.3", "load = 30").replace("load = 0.8", "load = 80")
    columns = compare(load_text(text), seeds=[1, 2]).columns
    fcfs, _, rr, mlfq = (mean(column.values["llm.turnaround_mean_ns"]) for column in columns)
    assert fcfs < min(rr, mlfq)
