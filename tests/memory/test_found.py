"""Mistakes that random scenarios and careless users have found, each as small as it could be made."""

import pytest
from commandline import llmos, refused
from memories import play

from llmos.errors import ScenarioError
from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.trace.events import Evict, Fault, Interrupt

DISK = """
[[device]]
name = "disk"
service = "1 ms"
"""


def scenario(memory, *programs, rest=""):
    """Return the machine of a scenario whose tasks "a", "b", ... run `programs`."""
    tasks = "".join(
        f'[[task]]\nname = "{"abcd"[i]}"\nprogram = [{program}]\n' for i, program in enumerate(programs)
    )
    return build(load_text(f'question = "?"\n[memory]\n{memory}\n{DISK}{tasks}{rest}'))


@pytest.mark.parametrize("levels", [2, 3, 4, 5])
def test_a_process_lies_where_its_page_table_reaches(levels):
    spec = scenario(
        f"frames = 8\nlevels = {levels}",
        '{ touch = "stack", pages = [0] }, { mmap = "m", size = "8 KiB" }, { touch = "m", pages = ["1w"] }',
    )
    outcome, events, _ = play(spec)
    assert outcome.ok
    faults = [event for event in events if isinstance(event, Fault)]
    assert [(fault.what, fault.at) for fault in faults] == [("minor", "stack[0]"), ("minor", "m[1]")]
    assert all(fault.page < 1 << (9 * levels - 1) for fault in faults)


def test_the_walk_cache_has_no_more_kinds_of_pointers_than_there_are_tables():
    memory, step = "frames = 8\ntlb = { walk_cache = [4, 2] }\nlevels = ", '{ touch = "stack", pages = [0] }'
    with pytest.raises(ScenarioError, match="2 levels have 1 kinds of pointers"):
        scenario(f"{memory}2", step)
    play(scenario(f"{memory}3", step))


@pytest.mark.parametrize("memory", ["", "ksm = {}", 'huge_pages = "always"\nkhugepaged = { scan = "1 ms" }'])
def test_a_vast_region_costs_what_is_in_it(memory):
    """Each of these went through all page numbers of the region: 20 TiB of them."""
    spec = scenario(
        f"frames = 8\n{memory}",
        '{ mmap = "m", size = "20 TiB" }, { madvise = "m", advice = "mergeable" }, '
        '{ touch = "m", pages = ["3w", 1] }, { mlock = "m" }, { mprotect = "m", protection = "r" }, '
        '{ mprotect = "m", protection = "" }, { mprotect = "m", protection = "r" }, '
        '{ fork = "child" }, { wait = true }, { sleep = "100 ms" }, { munmap = "m" }',
        rest='[programs]\nchild = { steps = [{ touch = "m", pages = [3] }] }\n',
    )
    outcome, events, _ = play(spec)
    assert outcome.ok
    assert {event.what for event in events if isinstance(event, Fault)} == {"minor"}


def test_no_memory_has_more_frames_than_can_be_kept():
    with pytest.raises(ScenarioError, match="more than"):
        scenario('size = "16000 TiB"', '{ compute = "1 us" }')


MINE = """
from llmos.replacement.lru import Lru
class Mine(Lru):
    def {method}(self, *given, **more):
        return {value}
"""
BROKEN = [
    ("inserted", "1 // 0", "mine.py:5: policy Mine: it failed: ZeroDivisionError"),
    ("victim", "1 // 0", "mine.py:5: policy Mine: it failed: ZeroDivisionError"),
    ("victim", "'x'", "its victim 'x' is not resident"),
    ("victim", "[1]", "its victim [1] is not resident"),
    ("victim", "ReplacementPolicy.victim(self)", "policy Mine: it has no `victim`"),
]


@pytest.mark.parametrize(("method", "value", "says"), BROKEN)
@pytest.mark.parametrize("place", ["run", "tlb", "paging", "mrc"])
def test_a_policy_of_ones_own_that_breaks_is_blamed_everywhere(tmp_path, method, value, says, place):
    mine = MINE.format(method=method, value=value)
    (tmp_path / "mine.py").write_text("from llmos.replacement.base import ReplacementPolicy" + mine)
    (tmp_path / "trace.txt").write_text("1\n2\n3\n")
    own = 'tlb = { first = { entries = 1 }, second = false, replacement = "mine.py" }'
    (tmp_path / "small.toml").write_text(
        'question = "?"\n[memory]\nframes = 2\nswap = "1 MiB"\nswap_device = "disk"\n'
        f"{own if place == 'tlb' else ''}\n{DISK}"
        '[[task]]\nname = "a"\nprogram = [{ touch = "heap", pages = [1, 2, 3] }]\n'
    )
    commands = {
        "run": ["run", "small.toml", "--replacement", "mine.py"],
        "tlb": ["run", "small.toml"],
        "paging": ["paging", "--policy", "mine.py", "--frames", "2", "1", "2", "3"],
        "mrc": ["mrc", "trace.txt", "--policies", "mine.py", "--sizes", "2"],
    }
    refused(llmos(tmp_path, *commands[place]), says)


def test_what_a_policy_wants_written_must_be_there(tmp_path):
    mine = MINE.format(method="to_clean", value="['x']")
    (tmp_path / "mine.py").write_text(mine)
    (tmp_path / "small.toml").write_text(
        f'question = "?"\n[memory]\nframes = 2\nreplacement = "mine.py"\nswap = "1 MiB"\n'
        f'swap_device = "disk"\n{DISK}[[task]]\nprogram = [{{ touch = "heap", pages = [1, 2, 3] }}]\n'
    )
    refused(llmos(tmp_path, "run", "small.toml"), "it wants 'x' written, which is not resident")


def test_a_policy_that_has_pages_written_early_does_so_while_swap_has_room():
    """The victim took the last slot; the next one that WSClock wanted written was a crash."""
    spec = scenario(
        'frames = 4\nreplacement = { policy = "wsclock", tau = 1 }\nswap = "8 KiB"\nswap_device = "disk"',
        '{ touch = "heap", pages = ["0w", "1w", "2w", "3w", "4w", "4w", "4w", "4w", "5w"] }',
    )
    outcome, events, _ = play(spec)
    assert outcome.ok
    assert sum(isinstance(event, Evict) for event in events) == 2


def test_a_policy_that_names_nobody_though_somebody_may_go(tmp_path):
    (tmp_path / "mine.py").write_text(MINE.format(method="victim", value="None"))
    refused(llmos(tmp_path, "paging", "--policy", "mine.py", "-f", "2", "1", "2", "3"), "it names no victim")


@pytest.mark.parametrize(
    ("option", "value"), [("--sample", "-3"), ("--sample", "0"), ("--page-size", "1" + "0" * 30)]
)
def test_numbers_that_no_curve_can_be_made_of(tmp_path, option, value):
    (tmp_path / "trace.txt").write_text("1\n2\n3\n")
    refused(llmos(tmp_path, "mrc", "trace.txt", option, value), f"Invalid value for '{option}'")


def told(events):
    """Return which cores were told that their TLBs know too much, and why."""
    return [(e.cpu, e.reason) for e in events if isinstance(e, Interrupt) and e.reason.startswith("TLB")]


CALLS = ['{ munmap = "m" }', '{ mprotect = "m", protection = "r" }', '{ fork = "p" }', '{ exec = "p" }']


@pytest.mark.parametrize("call", CALLS)
def test_nobody_interrupts_his_own_core_to_shoot_down_a_page(call):
    """The other core was the last on which memory was used; the caller has only ever run on its own."""
    spec = scenario(
        "frames = 8",
        '{ affinity = [0] }, { mmap = "m", size = "8 KiB" }, { touch = "m", pages = ["0w"] }, '
        '{ compute = "1 ms" }, ' + call,
        '{ affinity = [1] }, { compute = "500 us" }, { touch = "heap", pages = [0] }, { compute = "2 ms" }',
        rest='[cpu]\ncount = 2\n[programs]\np = { steps = [{ compute = "1 us" }] }\n',
    )
    _, events, _ = play(spec)
    assert told(events) == []


@pytest.mark.parametrize("call", CALLS)
def test_nobody_shoots_down_what_a_core_knew_that_is_offline(call):
    """Core 0 goes offline and its task goes on on core 1, which got the interrupt in its place."""
    spec = scenario(
        "frames = 8",
        '{ mmap = "m", size = "8 KiB" }, { touch = "m", pages = ["0w"] }, { compute = "2 ms" }, ' + call,
        rest='[cpu]\ncount = 2\n[programs]\np = { steps = [{ compute = "1 us" }] }\n'
        '[[inject]]\nat = "1 ms"\noffline = 0\n',
    )
    _, events, _ = play(spec)
    assert told(events) == []


def test_a_core_on_which_a_process_ran_before_is_told_what_it_unmaps():
    """It runs on core 0, is moved to core 1, and unmaps there; the core 0 that may know the page is told."""
    spec = scenario(
        "frames = 8",
        '{ affinity = [0] }, { mmap = "m", size = "4 KiB" }, { touch = "m", pages = ["0w"] }, '
        '{ affinity = [1] }, { compute = "1 ms" }, { munmap = "m" }',
        rest="[cpu]\ncount = 2\n",
    )
    _, events, _ = play(spec)
    assert told(events) == [(0, "TLB shootdown"), (0, "TLB flush")]
