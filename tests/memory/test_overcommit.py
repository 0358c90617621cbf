"""What may be promised: the limit by hand, and the calls that fail."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memories import machine, memory, play, touch

from llmos.memory.commit import Commit, committed, counts
from llmos.memory.files import File
from llmos.memory.memory import Memory
from llmos.memory.space import STACK_TOP, Region, layout
from llmos.process.program import Brk, Compute, Fork, Mmap, Mprotect, Munmap, Wait
from llmos.scenario.build import build
from llmos.scenario.load import load_text
from llmos.trace import events as ev

PAGE = 4096


def test_the_limit_by_hand() -> None:
    # Linux's documentation: swap, and overcommit_ratio per cent of memory.
    assert Commit(frames=100, swap_pages=20, mode=2).limit == 70
    assert Commit(frames=1001, swap_pages=0, mode=2, ratio=80).limit == 800
    assert Commit(frames=100, swap_pages=20, mode=2, ratio=0).limit == 20


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_modes(promised: int, more: int) -> None:
    given_: dict[str, Any] = {"frames": 100, "swap_pages": 20}
    assert Commit(mode=1, **given_).allows(promised, more)
    assert Commit(mode=0, **given_).allows(promised, more) == (more <= 120)
    assert Commit(mode=0, **given_).allows(promised, more, piecemeal=True)
    assert Commit(mode=2, **given_).allows(promised, more) == (promised + more <= 70)
    assert Commit(mode=2, **given_).allows(promised, more, piecemeal=True) == (promised + more <= 70)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ({}, True),  # private, writable
        ({"writable": False}, False),  # it can never be anything but zeros
        ({"writable": False, "shared": True}, True),
        ({"file": File("book", 1, 8, "disk")}, True),  # private: each page may be copied
        ({"file": File("book", 1, 8, "disk"), "writable": False}, False),
        ({"file": File("book", 1, 8, "disk"), "shared": True}, False),  # the file keeps it
    ],
)
def test_what_is_committed(what: dict[str, Any], expected: bool) -> None:  # noqa: FBT001
    region = Region(0, 8, "data", **what)
    assert counts(region) == expected
    regions = layout()
    regions.map(8, region)
    assert committed([regions]) == 1 + 8 * expected  # and the stack


def results(has: Any, program: Any) -> list[object]:
    """What the calls of `program` return."""
    answers: list[object] = []

    def noted():
        steps, answer = program(), None
        while True:
            try:
                call = steps.send(answer)
            except StopIteration:
                return
            answer = yield call
            answers.append(answer if answer in (0, -1, None) else "an address")

    outcome, _, _ = play(machine(has, noted))
    assert outcome.ok
    return answers


def asking():
    """Ask for 60 pages, 61 more, all at once, and 60 again when the first are given back."""
    yield Mmap("one", 60 * PAGE)
    yield Mmap("two", 61 * PAGE)
    yield Brk(121 * PAGE)
    yield Munmap("one")
    yield Mmap("three", 60 * PAGE)


def test_asking_for_too_much_fails_as_the_mode_says() -> None:
    # 100 frames and 20 in swap. Mode 2: the limit is 70, and the stack is one page.
    yes, no = "an address", -1
    at = {mode: memory(100, swap_pages=20, overcommit=mode) for mode in (0, 1, 2)}
    assert results(at[0], asking) == [yes, yes, no, 0, yes]
    assert results(at[1], asking) == [yes, yes, 0, 0, yes]
    assert results(at[2], asking) == [yes, no, no, 0, yes]


@pytest.mark.parametrize(
    ("convention", "said", "mode"),
    [
        ("textbook", "", 1),
        ("ostep", "", 1),
        ("linux", "", 0),
        ("linux", "overcommit = 1", 1),
        ("ostep", "overcommit = 0", 0),
    ],
)
def test_what_a_scenario_leaves_out_is_as_its_convention_has_it(
    convention: str, said: str, mode: int
) -> None:
    spec = build(load_text(f'question = "?"\nconvention = "{convention}"\n[memory]\nframes = 8\n{said}\n'
                           '[[task]]\nname = "a"\nprogram = [{ compute = "1 us" }]\n'))  # fmt: skip
    assert spec.memory is not None
    assert spec.memory.overcommit == mode


def test_a_fork_promises_all_again() -> None:
    def child():
        yield Compute(1)

    def program():
        yield Mmap("data", 40 * PAGE)
        yield Fork(child)
        yield Wait()
        yield Munmap("data")
        yield Fork(child)

    # 41 pages twice are more than 70; a page of stack twice is not.
    at = {mode: memory(100, swap_pages=20, overcommit=mode) for mode in (0, 2)}
    assert results(at[0], program) == ["an address", "an address", "an address", 0, "an address"]
    assert results(at[2], program) == ["an address", -1, -1, 0, "an address"]


@pytest.mark.parametrize(("below", "mode", "what"), [(60, 2, "minor"), (80, 2, "segv"), (80, 0, "minor")])
def test_a_stack_that_grows_is_promised(below: int, mode: int, what: str) -> None:
    def program():
        yield touch(STACK_TOP - below, region="")

    _, events, _ = play(machine(memory(100, swap_pages=20, overcommit=mode), program))
    assert [event.what for event in events if isinstance(event, ev.Fault)] == [what]


def test_pages_that_become_writable_are_promised() -> None:
    def changing():
        yield Mmap("data", 40 * PAGE, protection="r")
        yield Mmap("more", 40 * PAGE, protection="r")
        yield Mprotect("data", "rw")
        yield Mprotect("more", "rw")

    at = {mode: memory(100, swap_pages=20, overcommit=mode) for mode in (0, 2)}
    assert results(at[0], changing) == ["an address", "an address", 0, 0]
    assert results(at[2], changing) == ["an address", "an address", 0, -1]  # 80 and the stack, of 70


def test_in_mode_2_nobody_is_killed_for_want_of_memory() -> None:
    # Whatever is promised can be kept: memory is larger than the limit.
    def greedy():
        pages = 1
        while (yield Brk(pages * PAGE)) == 0:
            yield touch(f"{pages - 1}w")
            pages += 1

    strict, _, _ = play(machine(memory(40, swap_pages=10, overcommit=2, overcommit_ratio=100), *[greedy] * 3))
    assert strict.ok
    assert not strict.state.memory.oom_kills
    # 50 pages can be had: the stacks are 3 of them until their tasks end.
    assert strict.state.memory.tasks[1].accesses < 50
    lax, _, _ = play(machine(memory(40, swap_pages=10, overcommit=0), *[greedy] * 3, until_ns=10**9))
    assert lax.state.memory.oom_kills


def test_what_is_committed_is_never_more_than_the_limit() -> None:
    limit = Commit(frames=16, swap_pages=4, mode=2, ratio=100).limit
    seen: list[int] = []
    run = Memory.run

    def run_noted(self: Memory, *arguments: Any) -> int:
        seen.append(committed(space.regions for space in self.spaces.values()))
        return run(self, *arguments)

    def program():
        for pages in (3, 9, 2, 14, 5):
            yield Brk(pages * PAGE)
            yield touch(0)

    with patch.object(Memory, "run", run_noted):
        play(machine(memory(16, swap_pages=4, overcommit=2, overcommit_ratio=100), *[program] * 3))
    assert seen
    assert max(seen) <= limit
