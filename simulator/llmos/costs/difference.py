"""What two profiles make of the same work: which is quicker, family by family, and by how much.

- Only operations that both have timed are compared; a ratio is the second one's time over the first one's.
"""

from dataclasses import dataclass

from llmos.costs.ops import show_family
from llmos.costs.profile import Profile
from llmos.quantile import quantile


@dataclass(frozen=True, slots=True)
class FamilyRatio:
    """The times of one family in the second profile over those in the first, over `rows` operations."""

    family: str
    rows: int
    median: float
    p5: float
    p95: float


@dataclass(frozen=True, slots=True)
class Difference:
    """The rows in common, by family, and pairs of the devices' figures, None where one has none."""

    families: tuple[FamilyRatio, ...]
    figures: dict[str, tuple[float | None, float | None]]


def difference(first: Profile, second: Profile) -> Difference:
    """Hold the second profile against the first."""
    known = {row.op: row.seconds for row in first.rows}
    ratios: dict[str, list[float]] = {}
    for row in second.rows:
        if row.op in known:
            ratios.setdefault(show_family(row.op), []).append(row.seconds / known[row.op])
    families = tuple(
        FamilyRatio(family, len(found), *(quantile(found, part) for part in (0.5, 0.05, 0.95)))
        for family, found in sorted(ratios.items())
    )
    figures: dict[str, tuple[float | None, float | None]] = {}
    for dtype in dict.fromkeys([*first.peak_flops, *second.peak_flops]):
        figures[f"peak {dtype} (FLOP/s)"] = _reached(first, dtype), _reached(second, dtype)
    figures["bandwidth (B/s)"] = (
        first.bandwidth_bytes_per_s * first.memory_efficiency,
        second.bandwidth_bytes_per_s * second.memory_efficiency,
    )
    figures["launch (s)"] = first.launch_s, second.launch_s
    for name in dict.fromkeys([*first.system, *second.system]):
        figures[f"{name} (s)"] = _system(first, name), _system(second, name)
    return Difference(families, figures)


def _reached(profile: Profile, dtype: str) -> float | None:
    peak = profile.peak_flops.get(dtype)
    return None if peak is None else peak * profile.compute_efficiency


def _system(profile: Profile, name: str) -> float | None:
    return profile.system[name].seconds if name in profile.system else None
