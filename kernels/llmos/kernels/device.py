"""What calibration needs of a machine, and a machine that only pretends.

- `Device` is the contract: anything with these attributes and methods can be calibrated.
- `NullDevice` does nothing and reports a roofline's times, so that all of calibration runs, and is
  tested, without hardware. Same seed and same order of calls: same times.
- `open_device` finds a device by its kind; only a real one imports torch.
"""

import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from llmos.costs.ops import Matmul, Op
from llmos.errors import ProfileError, did_you_mean

KINDS = ("cpu", "cuda", "null")
EAGER = "eager"
"""The usual way to run a kernel; `llmos.kernels.ways` has the others."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What is known of a kernel beside its time.

    error: relative to float64, None where nothing was computed. stored_bytes: what a model keeps for
    it, its weights or its keys and values. note: which of several kernels it is.
    """

    error: float | None
    stored_bytes: int
    note: str = ""


class Device(Protocol):
    """A machine to be timed. Times are in seconds, of one run with cold inputs."""

    @property
    def kind(self) -> str:
        """One of `KINDS`."""
        ...

    @property
    def clock(self) -> str:
        """How time is taken, in words."""
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """Provenance: `device`, `driver`, `torch`, `threads`, then whatever else is worth telling."""
        ...

    def lacks(self, op: Op, way: str = EAGER) -> str:
        """Why that operation cannot be timed here, for whatever size it has; "" when it can."""
        ...

    def sample(self, op: Op, way: str = EAGER) -> float:
        """The time of one run of `op`, run this way."""
        ...

    def launch(self, way: str = EAGER) -> float:
        """The time of an operation on almost nothing, run this way."""
        ...

    def examine(self, op: Op, way: str = EAGER) -> Examined:
        """How exact `op` is when it is run this way, and what it keeps in memory."""
        ...

    def copy_rate(self) -> float:
        """Bytes per second of a large copy, reading and writing both counted."""
        ...


@dataclass
class NullDevice:
    """A pretended machine with that roofline; `ripple` is the standard deviation of its log times."""

    peak_flops: float = 100e9
    bandwidth: float = 20e9
    launch_s: float = 2e-6
    ripple: float = 0.02
    seed: int = 1
    kind: str = "null"
    clock: str = "pretended"
    facts: Mapping[str, str] = field(
        default_factory=lambda: {"device": "null device", "driver": "", "torch": "", "threads": "1"}
    )

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def lacks(self, op: Op, way: str = EAGER) -> str:
        return ""

    def sample(self, op: Op, way: str = EAGER) -> float:
        return self._rippled(self.launch_s + max(op.flops / self.peak_flops, op.bytes / self.bandwidth))

    def launch(self, way: str = EAGER) -> float:
        return self._rippled(self.launch_s)

    def examine(self, op: Op, way: str = EAGER) -> Examined:
        return Examined(None, op.weight_bytes if isinstance(op, Matmul) else 0)

    def copy_rate(self) -> float:
        return self._rippled(self.bandwidth)

    def _rippled(self, value: float) -> float:
        return value * math.exp(self._random.gauss(0, self.ripple))


@contextmanager
def open_device(kind: str) -> Iterator[Device]:
    """The device of that kind, ready to be timed until the block ends.

    Raises ProfileError, with the cure, when there is none.
    """
    if kind not in KINDS:
        hint = did_you_mean(kind, KINDS) or f"there are: {', '.join(KINDS)}"
        raise ProfileError(f"unknown device {kind[:40]!r}", hint=hint)
    if kind == "null":
        yield NullDevice()
        return
    try:
        from llmos.kernels import timers
    except (ImportError, OSError) as error:  # OSError: torch is there, but a library of its is not.
        raise ProfileError(
            f"measuring needs torch, which cannot be loaded: {error}",
            hint="pip install 'llmos[kernels]', or use a shipped profile: llmos profile list",
        ) from error
    if kind == "cuda" and not timers.cuda_is_there():
        raise ProfileError("torch finds no CUDA device here", hint="take the CPU: --device cpu")
    with timers.one_thread():
        yield timers.CudaDevice() if kind == "cuda" else timers.CpuDevice()
