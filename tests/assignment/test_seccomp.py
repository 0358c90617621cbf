"""The filter, run by an interpreter of its own language and compared with the system's numbers."""

import errno
import re
import struct
from pathlib import Path

import pytest

from llmos.assignment import seccomp

ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
HEADERS = {
    "x86_64": "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "aarch64": "/usr/include/asm-generic/unistd.h",
}


def verdict(machine, number, architecture=None):
    """What the kernel would do with this call."""
    data = struct.pack("=II", number, architecture or AUDIT[machine])
    program = list(struct.iter_unpack("=HBBI", seccomp.bytecode(machine)))
    at = value = 0
    while True:
        code, yes, no, k = program[at]
        at += 1
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, k)
        elif code == 0x15:
            at += yes if value == k else no
        elif code == 0x35:
            at += yes if value >= k else no
        else:
            assert code == 0x06
            return k


@pytest.mark.parametrize(
    ("machine", "number", "told"),
    [
        ("x86_64", 0, ALLOW),  # read
        ("x86_64", 59, ALLOW),  # execve, by which bubblewrap starts the command
        ("x86_64", 57, FAIL | errno.EPERM),  # fork
        ("x86_64", 41, FAIL | errno.EPERM),  # socket
        ("x86_64", 435, FAIL | errno.ENOSYS),  # clone3
        ("x86_64", 0x40000000, FAIL | errno.EPERM),  # the second set of numbers
        ("aarch64", 63, ALLOW),  # read
        ("aarch64", 220, FAIL | errno.EPERM),  # clone
        ("aarch64", 198, FAIL | errno.EPERM),  # socket
    ],
)
def test_what_happens_to_a_call(machine, number, told):
    assert verdict(machine, number) == told


def test_a_call_of_another_architecture_ends_the_process():
    assert verdict("x86_64", 2, architecture=0x40000003) == KILL  # fork of 32-bit x86


def test_a_machine_that_is_not_known_has_no_filter():
    assert seccomp.bytecode("riscv64") is None


@pytest.mark.parametrize("machine", HEADERS)
def test_the_numbers_are_those_of_the_system(machine):
    header = Path(HEADERS[machine])
    if not header.exists():
        pytest.skip(f"{header} is not here")
    known = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text()))
    column = list(HEADERS).index(machine)
    ours = {name: numbers[column] for name, numbers in seccomp.DENIED.items()}
    assert {name: int(known[name]) for name in ours if name in known} == {
        name: number for name, number in ours.items() if name in known
    }
    assert len(set(ours) & set(known)) > len(ours) - 4
