"""The system calls that a policy has no business with, as a filter that Linux enforces.

- `bytecode(machine)` is a classic BPF program for `bwrap --seccomp`: a call that is listed fails
  with "Operation not permitted", the others go on.
- It closes what name spaces and resource limits leave open: new processes (RLIMIT_NPROC does not
  bind root), memory that RLIMIT_AS does not count, sockets of families that a network name space
  does not divide, and large doors into the kernel.

Source: seccomp(2); the numbers of asm/unistd_64.h (x86_64) and asm-generic/unistd.h (aarch64).
"""

from __future__ import annotations

import errno
import struct
from typing import Final

# name: (x86_64, aarch64)
DENIED: Final[dict[str, tuple[int, int | None]]] = {
    # processes and threads
    "fork": (57, None), "vfork": (58, None), "clone": (56, 220),
    # memory outside the address space, and queues
    "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
    # the network
    "socket": (41, 198), "socketpair": (53, 199),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "kcmp": (312, 272), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    # name spaces and mounts
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "open_by_handle_at": (304, 265),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    # large doors
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "personality": (135, 92),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
}  # fmt: skip
CLONE3: Final = 435
"""Its arguments lie in memory, out of the filter's sight: answered "no such call", so that the C
library falls back to clone."""

_ARCHITECTURES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32: Final = 0x4000_0000  # x86_64's second set of numbers starts here

_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_KILL, _FAIL, _ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000


def bytecode(machine: str) -> bytes | None:
    """Return the filter for `machine` (as `platform.machine()` names it); None if it is not known."""
    if machine not in _ARCHITECTURES:
        return None
    column, architecture = _ARCHITECTURES[machine]
    numbers = [pair[column] for pair in DENIED.values()]
    program = [
        (_LOAD, 0, 0, 4),  # the architecture that the call was made for
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),  # the number of the call
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, _FAIL | errno.EPERM),
        (_EQUAL, 0, 1, CLONE3),
        (_RETURN, 0, 0, _FAIL | errno.ENOSYS),
    ]
    for number in numbers:
        if number is not None:
            program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _FAIL | errno.EPERM)]
    program.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
