"""Compact records, written out.

- An `Iterate` record stands for `count` engine iterations; `expand` yields one record for each.
- The end of iteration j since the batch last changed is computed from that moment (the anchor), not
  from iteration j-1, so that one long step and many short ones round alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llmos.trace.events import Event, Iterate


def iteration_ends(anchor: int, j: int, first_ns: float, growth_ns: float) -> int:
    """Return when iteration number `j` (1, 2, ...) since the anchor ends.

    The first one takes `first_ns`, and every other one `growth_ns` more than the one before it.
    """
    return anchor + max(j, round(j * first_ns + growth_ns * (j * (j - 1) // 2)))


def tokens_of(record: Iterate) -> int:
    """Return how many tokens each iteration of `record` computes."""
    return len(record.decode) + sum(chunk for _, chunk in record.prefill)


def expand(events: Iterable[Event]) -> list[Event]:
    """Return `events` with every compact record replaced by the single ones it stands for.

    They are in time order again; at one instant iterations come first, the rest as they were.
    """
    out: list[Event] = []
    for event in events:
        if isinstance(event, Iterate):
            out.extend(_iterations(event))
        else:
            out.append(event)
    header, rest = out[:1], out[1:]
    return header + sorted(rest, key=lambda event: (event.t, not isinstance(event, Iterate)))


def _iterations(run: Iterate) -> Iterator[Iterate]:
    start = run.start
    for j in range(run.first, run.first + run.count):
        end = iteration_ends(run.anchor, j, *run.pace)
        yield Iterate(
            end,
            run.cpu,
            start=start,
            anchor=run.anchor,
            first=j,
            context=run.context,
            pace=run.pace,
            prefill=run.prefill,
            decode=run.decode,
        )
        start = end
