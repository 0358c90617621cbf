"""The word "measured" in place of a cost: it is what the profile says, and nothing else."""

import pytest

from llmos.costs.profile import Profile, load_profile, save_profile
from llmos.costs.system import WHAT, Measured
from llmos.errors import ScenarioError
from llmos.process.dispatcher import Costs
from llmos.scenario.build import build
from llmos.scenario.load import load, load_text, shipped
from llmos.scenario.machine import run
from llmos.scenario.measured import FIGURES

US, MS = 10**3, 10**6

SCENARIO = """
question = "What does it cost?"
profile = "mine.json"
[cpu]
scheduler = { policy = "rr", quantum = "1 ms" }
costs = { context_switch = "measured", syscall = "measured", ipi = "measured", timer = "7 us" }
[memory]
frames = 64
page = "8 KiB"
costs = { minor_fault = "measured", major_fault = "measured", zero_page = "measured", copy_page = "measured" }
[[device]]
name = "disk"
service = "measured"
bandwidth = "measured"
[[task]]
name = "job"
count = 2
burst = "2 ms"
"""
SECONDS = {
    "context_switch": 3e-6,
    "syscall": 200e-9,
    "wakeup": 20e-6,
    "minor_fault": 1.25e-6,
    "zero_page": 1.5e-6,
    "major_fault": 50e-6,
    "memory_copy_per_byte": 1e-10,
    "device_wait": 80e-6,
    "direct_read_per_byte": 5e-10,
}


def profile(seconds, **changes):
    facts = {
        "name": "mine",
        "kind": "measured",
        "device": "paper",
        "clock": "none",
        "date": "2026-01-31",
        "peak_flops": {"fp32": 1e12},
        "bandwidth_bytes_per_s": 1e11,
        "launch_s": 1e-6,
        "system": {name: Measured(s, s / 2, 2 * s, 8) for name, s in seconds.items()},
    }
    return Profile(**(facts | changes))


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Builds a scenario in whose folder there is a profile of these figures."""
    monkeypatch.setenv("LLMOS_DATA", str(tmp_path / "data"))

    def built(text=SCENARIO, seconds=SECONDS, **options):
        save_profile(profile(seconds), tmp_path / "mine.json")
        return build(load_text(text, folder=tmp_path), **options)

    return built


def test_costs_are_what_the_profile_says(machine):
    spec = machine()
    assert spec.cpu.costs == Costs(context_switch_ns=3000, syscall_ns=200, ipi_ns=20_000, timer_ns=7000)
    memory = spec.memory.costs
    assert (memory.minor_fault_ns, memory.zero_page_ns, memory.major_fault_ns) == (1250, 1500, 50_000)
    assert memory.copy_page_ns == 819  # 8192 bytes at 10 GB/s
    assert memory.fork_page_ns == 50  # nobody asked for anything else
    assert [(d.service_ns, d.bytes_per_s) for d in spec.devices] == [(80_000, 2 * 10**9)]


def test_a_run_pays_what_was_measured(machine):
    text = SCENARIO.replace(', timer = "7 us"', "")
    # Two jobs of 2 ms take turns of 1 ms: each of the four is a switch of 3 us. Each ends with a system call.
    assert run(machine(text)).state.now == 4 * (MS + 3 * US) + 2 * 200


def test_another_profile_gives_other_costs(machine, tmp_path):
    slow = profile({name: 10 * s for name, s in SECONDS.items()}, name="slow")
    save_profile(slow, tmp_path / "slow.json")
    spec = machine(profile=str(tmp_path / "slow.json"))
    assert spec.cpu.costs.context_switch_ns == 30_000
    assert spec.devices[0].bytes_per_s == 2 * 10**8


def test_nothing_measured_is_free(machine):
    spec = machine(seconds=dict.fromkeys(SECONDS, 1e-13))
    assert spec.cpu.costs.context_switch_ns == 1
    assert spec.memory.costs.copy_page_ns == 1


def problems(machine, *args, **options):
    with pytest.raises(ScenarioError) as raised:
        machine(*args, **options)
    return raised.value.problems


def test_what_a_profile_lacks_is_told_at_each_key_with_the_cure(machine):
    found = problems(machine, seconds={"syscall": 1e-6})
    assert [(p.key, p.line) for p in found] == [
        ("cpu.costs.context_switch", 6),
        ("cpu.costs.ipi", 6),
        ("memory.costs.minor_fault", 10),
        ("memory.costs.major_fault", 10),
        ("memory.costs.zero_page", 10),
        ("memory.costs.copy_page", 10),
        ("device[0].service", 13),
        ("device[0].bandwidth", 14),
    ]
    assert "profile mine has no wakeup (waking a process up" in found[1].message
    assert all("llmos calibrate --quick" in p.hint for p in found)


def test_a_data_sheet_has_no_operating_system(machine):
    text = SCENARIO.replace("mine.json", "h100-data-sheet")
    assert "profile h100-data-sheet has no context_switch" in problems(machine, text)[0].message


def test_without_a_profile_nothing_was_measured(machine):
    found = problems(machine, SCENARIO.replace('profile = "mine.json"', ""))
    assert found[0].key == "cpu.costs.context_switch"
    assert "comes from a profile" in found[0].message
    assert 'profile = "reference-cpu"' in found[0].hint


def test_a_profile_that_is_not_there_is_the_only_problem(machine):
    (problem,) = problems(machine, SCENARIO.replace("mine.json", "nine.json"))
    assert problem.key == "profile"


@pytest.mark.parametrize("key", ["decision", "timer", "migration"])
def test_what_nobody_measures_cannot_say_so(machine, key):
    found = problems(machine, SCENARIO.replace('timer = "7 us"', f'{key} = "measured"'))
    assert [p.key for p in found] == [f"cpu.costs.{key}"]


def test_numbers_and_words_go_side_by_side_in_a_sweep(machine):
    machine(SCENARIO + '[[sweep]]\nkey = "cpu.costs.context_switch"\nvalues = ["measured", "1 ms", "0 ns"]\n')


def test_every_figure_that_is_used_is_one_that_is_measured():
    assert set(FIGURES.values()) <= WHAT.keys()
    assert set(FIGURES.values()) == SECONDS.keys()


# --- real-costs ---------------------------------------------------------------------------------------


def ns(name, bytes_=1):
    """What the reference was measured to take, in ns."""
    return round(load_profile("reference-cpu").system[name].seconds * 1e9 * bytes_)


def test_real_costs_by_hand():
    state = run(build(load(shipped()["real-costs"]))).state
    tasks = {task.name: task for task in state.tasks.values()}
    took = {name: task.finish_ns - task.arrival_ns for name, task in tasks.items()}
    call, switch = ns("syscall"), ns("context_switch")
    # Each maps its pages, touches them and exits; each finds that another one was on the core last.
    assert took["new-pages"] == switch + 2 * call + 1000 * (ns("minor_fault") + ns("zero_page"))
    rate = round(1 / load_profile("reference-cpu").system["direct_read_per_byte"].seconds)
    disk = ns("device_wait") + -(-4096 * 10**9 // rate)
    # Nobody else was there while it waited, so that it comes back without a switch.
    assert took["from-disk"] == switch + 2 * call + 100 * (ns("major_fault") + disk)
    # 200 turns of 1 ms for each of the two, each with a switch; the last is that of job-2.
    assert took["job-2"] == 400 * (MS + switch) + 2 * call


def test_real_costs_keeps_its_promises():
    """A switch is little beside 1 ms; a new page costs about one, a page from the disk dozens of them."""
    switch, new_page = ns("context_switch"), ns("minor_fault") + ns("zero_page")
    assert switch < MS / 100
    assert switch / 4 < new_page < switch * 4
    assert ns("major_fault_wait") > 24 * switch
    assert 1 / 4 < ns("major_fault") / ns("major_fault_wait") < 3 / 4


@pytest.mark.parametrize("word", ["mesured", "Measured", "measured "])
@pytest.mark.parametrize("key", ['context_switch = "measured"', 'bandwidth = "measured"'])
def test_a_word_that_is_nearly_measured_is_told(machine, key, word):
    with pytest.raises(ScenarioError, match=f'"{word}" cannot be read') as caught:
        machine(SCENARIO.replace(key, key.replace("measured", word)))
    assert 'did you mean "measured"?' in str(caught.value)


def test_builds_share_a_profile_s_costs_until_it_is_another_one(tmp_path):
    text = SCENARIO.replace('burst = "2 ms"', 'program = [{ vector_add = "8 MiB", dtype = "fp32" }]')

    def built(**changes):
        save_profile(profile(SECONDS, **changes), tmp_path / "mine.json")
        return build(load_text(text, folder=tmp_path))

    def took(spec):
        return [task.cpu_ns for task in run(spec).state.tasks.values()]

    once, again, slower = built(), built(), built(bandwidth_bytes_per_s=1e10)
    assert once.cost_model is again.cost_model
    assert took(once) == took(again)
    # Two arrays of 8 MiB are read and one is written; the rest is the same.
    more = round(3 * (8 << 20) * (1 / 1e10 - 1 / 1e11) * 1e9)
    assert [late - early for early, late in zip(took(once), took(slower), strict=True)] == pytest.approx(
        [more, more], abs=2
    )
