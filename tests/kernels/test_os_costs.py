import errno
import itertools
import math
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmos.costs.system import WHAT
from llmos.kernels.calibrate import calibrate
from llmos.kernels.os_costs import SystemRounds, cpu, files, memory, pretended_probes, real_probes
from llmos.kernels.os_costs.probes import PRETENDED
from llmos.kernels.os_costs.rounds import FEWEST_ROUNDS, MOST_ROUNDS, LackError

LONG_S = 1e9
IN_MEMORY = Path("/dev") / "shm"


@pytest.fixture(autouse=True)
def own_data(tmp_path, monkeypatch):
    monkeypatch.setenv("LLMOS_DATA", str(tmp_path / "data"))


def silent(fraction, doing):
    pass


def probe(*answers, closed=None):
    """A probe that gives these answers in turn: seconds by name, or an error to raise."""

    @contextmanager
    def opened():
        turns = itertools.cycle(answers)

        def sample():
            answer = next(turns)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        try:
            yield sample
        finally:
            if closed is not None:
                closed.append(True)

    return opened


def measured(probes, *, deadline=LONG_S, progress=silent):
    rounds = SystemRounds(progress)
    rounds.measure(nullcontext(probes), deadline)
    figures, missing = rounds.figures()
    return figures, [*rounds.notes, *missing]


# --- figures ---


def test_a_pretended_machine_is_found_as_it_is():
    figures, notes = measured(pretended_probes())
    assert notes == []
    assert [*figures] == [*WHAT]
    for name, figure in figures.items():
        assert figure.seconds == pytest.approx(PRETENDED[name], rel=0.05)
        assert figure.samples == MOST_ROUNDS


def test_a_figure_is_the_median_and_where_eight_of_ten_samples_fall():
    # 40 rounds of the numbers 1 to 5, eight times each: ranks 4, 20 and 35 of 40 are 1, 3 and 5.
    figures, _ = measured({"calls": probe(*({"syscall": float(n)} for n in (5, 1, 4, 2, 3)))})
    figure = figures["syscall"]
    assert (figure.low, figure.seconds, figure.high) == (1, 3, 5)


def test_a_difference_that_is_now_above_and_now_below_zero_is_no_figure():
    figures, notes = measured({"faults": probe({"zero_page": 1e-6}, {"zero_page": -1e-6})})
    assert figures == {}
    assert notes == ["zero_page left out: it is lost in the noise"]


@given(st.floats(1e-9, 1.0), st.floats(1e-12, 1e-6))
def test_from_a_small_and_a_large_read_come_what_is_fixed_and_what_a_byte_takes(fixed, per_byte):
    small, large = (fixed + per_byte * size for size in (files.SMALL_BYTES, files.LARGE_BYTES))
    found = files.fixed_and_per_byte(small, large)
    assert found[0] == pytest.approx(fixed, rel=1e-6, abs=1e-6 * small)
    assert found[1] == pytest.approx(per_byte, rel=1e-6, abs=1e-12 * large)


def test_a_hand_over_is_half_of_there_and_back_without_its_write_and_read():
    # Twice (1 us to write and read the byte, 3 us to switch).
    assert cpu.one_way(8e-6, 1e-6) == pytest.approx(3e-6)


# --- rounds ---


def test_rounds_take_everything_once_in_ever_new_orders():
    heard = []

    def listening(name):
        @contextmanager
        def opened():
            yield lambda: heard.append(name) or {}

        return opened

    names = list("abcdefgh")
    measured({name: listening(name) for name in names})
    orders = [tuple(heard[i : i + len(names)]) for i in range(0, len(heard), len(names))]
    assert len(orders) == MOST_ROUNDS
    assert all(sorted(order) == names for order in orders)
    assert len(set(orders)) > MOST_ROUNDS // 2


def test_when_the_time_is_over_there_are_still_enough_rounds_for_a_figure():
    figures, _ = measured({"calls": probe({"syscall": 1e-6})}, deadline=0)
    assert figures["syscall"].samples == FEWEST_ROUNDS


def test_what_a_machine_lacks_is_left_out_with_the_reason():
    @contextmanager
    def lacking():
        raise LackError("there is only one core to use")
        yield

    full = OSError(28, "No space left on device")
    good = {"syscall": 1e-6}
    probes = {"wake-ups": lacking, "fsync": probe({"fsync": 1e-3}, full), "calls": probe(good)}
    figures, notes = measured(probes)
    assert [*figures] == ["syscall"]
    assert notes == [
        "wake-ups left out: there is only one core to use",
        "fsync left out: No space left on device",
        f"fsync left out: only 1 of {FEWEST_ROUNDS} samples",
    ]


def test_ctrl_c_keeps_what_there_is_enough_of_and_clears_up():
    closed = []
    seldom = probe({"fsync": 1e-3}, {"fsync": 1e-3}, {}, {}, {}, KeyboardInterrupt(), closed=closed)
    figures, notes = measured({"calls": probe({"syscall": 1e-6}, closed=closed), "fsync": seldom})
    assert [*figures] == ["syscall"]
    assert figures["syscall"].samples >= 5
    assert notes == ["interrupted before its end", f"fsync left out: only 2 of {FEWEST_ROUNDS} samples"]
    assert closed == [True, True]


def test_ctrl_c_in_a_calibration_s_last_part_keeps_all_that_came_before():
    def progress(fraction, doing):
        if doing == "fsync":
            raise KeyboardInterrupt

    profile = calibrate("null", quick=True, progress=progress, save=False)
    assert profile.noise is not None
    assert profile.system == {}
    assert "interrupted before its end" in profile.notes


def test_a_calibration_measures_the_system_too():
    profile = calibrate("null", quick=True, save=False)
    assert [*profile.system] == [*WHAT]
    assert profile.system == calibrate("null", quick=True, save=False).system


# --- the real machine: that it works, not how fast ---


def real(progress=silent):
    rounds = SystemRounds(progress)
    rounds.measure(real_probes(), 0)
    return rounds


def test_every_figure_is_measured_or_has_a_note_and_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    descriptors = Path("/proc/self/fd")
    before = len([*descriptors.iterdir()]) if descriptors.exists() else 0
    rounds = real()
    figures, missing = rounds.figures()
    assert figures.keys() <= WHAT.keys()
    assert all(math.isfinite(figure.high) for figure in figures.values())
    assert len(figures) == len(WHAT) or rounds.notes or missing
    assert [*tmp_path.iterdir()] == []
    assert (len([*descriptors.iterdir()]) if descriptors.exists() else 0) == before


def test_ctrl_c_leaves_neither_files_nor_processes_nor_a_bound_core(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None

    def progress(fraction, doing):
        if fraction > 0:
            raise KeyboardInterrupt

    started = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    assert "interrupted before its end" in real(progress).notes
    assert [*tmp_path.iterdir()] == []
    if cores is not None:
        assert os.sched_getaffinity(0) == cores
        assert started
    assert all(child.poll() is not None for child in started)


def test_a_system_without_pinning_dropping_and_direct_reads_measures_the_rest(monkeypatch):
    for name in ("sched_setaffinity", "posix_fadvise", "O_DIRECT", "fdatasync"):
        monkeypatch.delattr(os, name, raising=False)
    rounds = real()
    assert {"syscall", "minor_fault", "file_read_warm", "memory_copy_per_byte"} <= rounds.samples.keys()
    unbound, undropped = (
        "this system cannot bind a process to a core",
        "cannot drop a file from its page cache",
    )
    for what, reason in [
        ("context switches on one core", unbound),
        ("wake-ups on another core", unbound),
        ("cold reads", undropped),
        ("major faults", undropped),
        ("fsync", undropped),
        ("direct reads", "no O_DIRECT"),
    ]:
        assert any(note.startswith(f"{what} left out") and reason in note for note in rounds.notes)


def test_where_no_file_can_be_written_the_rest_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_folders", lambda: [str(tmp_path / "missing")])
    rounds = real()
    assert {"syscall", "minor_fault"} <= rounds.samples.keys()
    assert not any(name.startswith(("file", "direct", "major", "fsync")) for name in rounds.samples)
    assert sum("no folder takes a temporary file" in note for note in rounds.notes) == 5


@pytest.mark.skipif(not IN_MEMORY.is_dir(), reason="this system has no file system in memory there")
def test_a_file_in_memory_is_never_taken_for_a_disk(monkeypatch):
    monkeypatch.setattr(files, "_folders", lambda: [str(IN_MEMORY)])
    rounds = real()
    assert "file_read_warm" in rounds.samples
    assert not any(name.startswith(("file_read_cold", "direct", "major", "fsync")) for name in rounds.samples)
    assert sum(files.NOT_DROPPED in note for note in rounds.notes) == 4


@pytest.mark.skipif(not IN_MEMORY.is_dir(), reason="this system has no file system in memory there")
def test_a_folder_on_a_disk_is_taken_rather_than_one_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_folders", lambda: [str(IN_MEMORY), str(tmp_path)])
    if not files._tried(str(tmp_path)):
        pytest.skip("nor can the pages of files here be dropped")
    with files.scratch_file() as file:
        assert os.fstat(file).st_dev == tmp_path.stat().st_dev
        assert files._folder_of(file) == str(tmp_path)


def dropped(file):
    """Drop the file from the page cache, or skip the test where that cannot be done."""
    try:
        files.drop(file)
    except LackError as lack:
        pytest.skip(str(lack))


def test_mincore_sees_what_is_read_and_what_is_dropped():
    with files.scratch_file() as file:
        dropped(file)
        assert files.resident_pages(file) == 0
        os.pread(file, 1, 0)
        assert files.resident_pages(file) >= 1


# --- machines that are not like this one --------------------------------------------------------------


def test_a_disk_that_fills_up_meanwhile_is_a_note(monkeypatch):
    write = files._fill_up

    def full(file, size_bytes):
        if size_bytes > files.BLOCK_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(file, size_bytes)

    monkeypatch.setattr(files, "_fill_up", full)
    rounds = real()
    assert {"syscall", "minor_fault"} <= rounds.samples.keys()
    assert sum(note.endswith(os.strerror(errno.ENOSPC)) for note in rounds.notes) == 5


def test_a_folder_with_too_little_room_is_passed_over(tmp_path, monkeypatch):
    little = shutil._ntuple_diskusage(2**40, 2**40, files.FILE_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: little)
    assert files._tried(str(tmp_path)) is None


def test_a_machine_without_a_folder_for_temporary_files_has_others(monkeypatch):
    def none():
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert files._folders() == ["/var/tmp", str(files.user_folder())]  # noqa: S108


def test_too_little_memory_is_a_note():
    @contextmanager
    def greedy():
        raise MemoryError
        yield

    figures, notes = measured({"copying memory": greedy, "calls": probe({"syscall": 1e-6})})
    assert [*figures] == ["syscall"]
    assert notes == ["copying memory left out: MemoryError"]


def droppable():
    with files.scratch_file() as file:
        dropped(file)


def test_without_proc_no_buffered_read_is_taken_for_a_direct_one(tmp_path, monkeypatch):
    droppable()
    monkeypatch.setattr(files, "OPEN_FILES", str(tmp_path / "missing"))
    rounds = real()
    assert "file_read_warm" in rounds.samples
    assert not any(name.startswith(("direct", "file_read_cold")) for name in rounds.samples)


def test_of_pages_of_64_kib_the_file_has_fewer_to_fault_on(monkeypatch):
    droppable()
    monkeypatch.setattr(files, "PAGE_BYTES", 2**16)
    monkeypatch.setattr(files, "resident_pages", lambda file: 0)
    with files.scratch_file() as file, files.major_faults(file) as sample:
        assert all(seconds > 0 for seconds in sample().values())


@pytest.mark.parametrize("module", [files, memory], ids=["major faults", "minor faults"])
def test_ctrl_c_while_pages_are_looked_at_is_nothing_but_that(module, monkeypatch):
    def pressed(*looking):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_clocked" if module is files else "_timed", pressed)
    if module is files:
        droppable()
        with (
            files.scratch_file() as file,
            files.major_faults(file) as sample,
            pytest.raises(KeyboardInterrupt),
        ):
            sample()
    else:
        with memory.minor_faults() as sample, pytest.raises(KeyboardInterrupt):
            sample()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind a process")
def test_no_end_of_a_pipe_is_closed_twice():
    with cpu._partner(min(os.sched_getaffinity(0))):
        others = [os.open(os.devnull, os.O_RDONLY) for _ in range(8)]  # They get the numbers that are free.
    for other in others:
        os.fstat(other)
        os.close(other)
