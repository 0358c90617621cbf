"""What a statement says of a policy: its rule, what else one must know to do it by hand, its parameters.

- A statement has to do without the simulator. A policy that is not in `RULES` needs no more than its one
  sentence, or is one's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llmos.exercise.base import Part, Table, Text
from llmos.scenario import policies

KEEPS_PLACE: Final = "Who is preempted keeps the place at the head of the queue and the rest of the quantum."

RULES: Final = {
    "bsd": (
        "The priority is 63 - (recent cpu / 4 + 2 nice), with the bracket rounded down, and 0 to 63; it is "
        "worked out when somebody joins the queue and at each decay. Recent cpu begins at 0 and grows by 1 "
        "with each tick of service. At a decay, first load (at first 0) becomes 59/60 load + 1/60 for each "
        "who is ready or runs; then every recent cpu becomes 2 load / (2 load + 1) of what it was, plus "
        f"nice. In the new queue equals keep their order. {KEEPS_PLACE}"
    ),
    "cfs": (
        "Vruntime grows with service. With n ready or running, a turn is latency / n, but min_granularity "
        "at least; it is fixed when somebody is chosen. A newcomer begins a turn above the smallest vruntime "
        "of all, who is back from I/O at most half a latency below it; that smallest never falls. Who comes "
        "takes the place of who runs if his vruntime is smaller by more than wakeup_granularity."
    ),
    "eevdf": (
        "Vruntime grows with service; a newcomer's is the mean of all others'. Eligible is whose vruntime is "
        "not above the mean (lag is how far it is below). A request is due base_slice after the vruntime at "
        "which it begins, a newcomer's first one half as much. Who is chosen runs until his vruntime is "
        "that; a newcomer who should be chosen takes his place if he is not eligible any more."
    ),
    "hrrn": "The ratio is (waiting time + length) / length.",
    "llf": "Among equal laxities who was preempted last goes before all others.",
    "lottery": "Tickets are numbered from 0 on, in the order of the names.",
    "mlfq": (
        f"{KEEPS_PLACE} At a boost all get a full quantum of the top queue; those of the lower queues line "
        "up behind those who are there already, the lowest queue first, who runs being the first of his own."
    ),
    "multilevel": KEEPS_PLACE,
    "sjf-predicted": (
        "After a burst of length t the guess for the next one is alpha t + (1 - alpha) times the last guess."
    ),
    "stride": (
        "A pass begins at that of whoever was chosen last, and grows by 1 / tickets with each ms of service."
    ),
}
"""By policy."""


def takes_draws(choice: Mapping[str, Any]) -> bool:
    """Whether the policy takes a number out of a list for every turn, so that each must be told."""
    return "draws" in choice


def policy_parts(choice: Mapping[str, Any]) -> list[Part]:
    """What a statement says of a policy: its rule, and its parameters."""
    name = choice["policy"]
    info = policies.describe(name)
    meaning = {parameter.name: parameter.doc for parameter in info.parameters}
    rows = [[key, _shown(choice[key]), meaning.get(key, "")] for key in choice if key != "policy"]
    said = [
        info.summary or "A policy of your own.",
        RULES.get(name, ""),
        f"(All of it: llmos explain {name})",
    ]
    parts: list[Part] = [Text(" ".join(filter(None, said)))]
    return [*parts, Table("", ("parameter", "value", "meaning"), rows, left=3)] if rows else parts


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
