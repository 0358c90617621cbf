"""Copies within a device's memory, and between it and the host's."""

import torch
from torch import Tensor

from llmos.costs.ops import Copy
from llmos.kernels.ops.base import Kernel, Source


def run_copy(source: Tensor, target: Tensor) -> Tensor:
    """The bytes of `source` into `target`; from or to pinned memory without waiting for the end."""
    return target.copy_(source, non_blocking=True)


def _operands(op: Copy, source: Source) -> tuple[Tensor, ...]:
    if op.route == "device":
        return source.take(op.size, torch.uint8), source.take(op.size, torch.uint8, "out")
    host = source.host(op.size, pinned=op.host == "pinned")
    if op.route == "to-device":
        return host, source.take(op.size, torch.uint8, "out")
    return source.take(op.size, torch.uint8), host


def _lacks(op: Copy, device: str) -> str:
    if op.route != "device" and device == "cpu":
        return "a CPU's memory is the host's own"
    return ""


COPY = Kernel(_operands, run_copy, lambda source, target: source.to(target.device).double(), lacks=_lacks)
