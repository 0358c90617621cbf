"""Profiles made by hand, so that what is expected of them can be computed by hand."""

from collections.abc import Callable, Iterable

import pytest

from llmos.costs.ops import Op
from llmos.costs.profile import Profile, Row, Spread

Make = Callable[..., Profile]


@pytest.fixture
def make() -> Make:
    """A measured profile of rows (operation, seconds): 1 TFLOP/s, 100 GB/s, launches of 1 us."""

    def made(rows: Iterable[tuple[Op, float]] = (), **changes: object) -> Profile:
        facts: dict[str, object] = {
            "name": "by-hand",
            "kind": "measured",
            "device": "paper",
            "clock": "none",
            "date": "2026-01-31T12:00:00Z",
            "peak_flops": {"fp32": 1e12, "bf16": 2e12},
            "bandwidth_bytes_per_s": 1e11,
            "launch_s": 1e-6,
            "noise": Spread(0.01, 0.05, 10),
            "rows": tuple(Row(op, seconds, seconds * 0.9, seconds * 1.2, 8) for op, seconds in rows),
        }
        return Profile(**(facts | changes))  # type: ignore[arg-type]

    return made
