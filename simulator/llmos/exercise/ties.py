"""Who goes first when several things happen at one instant, or when a policy sees no difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from llmos.engine.order import CONVENTIONS
from llmos.exercise.kinds import Policy
from llmos.sched import base as sched

BY_ARRIVAL: Final = frozenset({"hrrn", "stride"})
"""Policies that look at arrivals among equals, besides those that are `Ordered`."""


def ties(asked: Sequence[Policy], convention: str, *, blocks: bool = False) -> str:
    """The rules for what happens at one instant; `blocks`: whether anybody waits for I/O or sleeps."""
    said = []
    if any(policy.takes_turns for policy in asked):
        order = CONVENTIONS[convention]
        place = "behind" if order.ended < order.came else "before"
        said.append(f"Who becomes ready just when another's quantum is over queues up {place} him.")
    if blocks:
        said.append(
            "Of those that become ready at one instant, newcomers queue up first; then whose I/O or sleep "
            "began first."
        )
    rules: dict[str, list[str]] = {}
    for policy in asked:
        rules.setdefault(_among_equals(policy), []).append(policy.name)
    for rule, names in rules.items():
        where = f" under {' and '.join(dict.fromkeys(names))}" if len(rules) > 1 else ""
        said.append(f"Nobody makes room for an equal; of equals that wait{where}, {rule}, then the name.")
    return " ".join(said)


def _among_equals(policy: Policy) -> str:
    if policy.periodic:
        return "the earlier release goes first"
    if issubclass(policy.cls, sched.Ordered) or policy.name in BY_ARRIVAL:
        return "the earlier arrival goes first"
    return "who has been in the queue for longer goes first"
