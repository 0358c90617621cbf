"""Compact records, written out.

- An `Iterate` record stands for `count` engine iterations; `expand` yields one record for each.
- The end of iteration j since the batch last changed is computed from that moment (the anchor), not
  from iteration j-1, so that one long step and many short ones round alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from llmos.trace.events import Event, Iterate, Run

Cost = tuple[float, float, float]
"""Nanoseconds per iteration, per token, per token of context."""


def iteration_ends(anchor: int, j: int, tokens: int, context: int, cost: Cost) -> int:
    """Return when iteration number `j` (1, 2, ...) of a run with an unchanged batch ends.

    Each iteration computes `tokens` tokens; the context is `context` tokens in the first one and
    grows by `tokens` each time.
    """
    base, per_token, per_context = cost
    grown = context * j + tokens * (j * (j - 1) // 2)
    return anchor + max(j, round(j * (base + per_token * tokens) + per_context * grown))


def tokens_of(record: Iterate) -> int:
    """Return how many tokens each iteration of `record` computes."""
    return len(record.decode) + sum(chunk for _, chunk in record.prefill)


def expand(events: Iterable[Event]) -> list[Event]:
    """Return `events` with every compact record replaced by the single ones it stands for.

    They are in time order again; at one instant iterations come first, the rest as they were. A record
    that names no processor of the log stays as it is.
    """
    costs: dict[int, Cost] = {}
    out: list[Event] = []
    for event in events:
        if isinstance(event, Run):
            costs = {p.id: p.cost for p in event.processors}
        if isinstance(event, Iterate) and event.cpu in costs:
            out.extend(_iterations(event, costs[event.cpu]))
        else:
            out.append(event)
    header, rest = out[:1], out[1:]
    return header + sorted(rest, key=lambda event: (event.t, not isinstance(event, Iterate)))


def _iterations(run: Iterate, cost: Cost) -> Iterator[Iterate]:
    start, tokens = run.start, tokens_of(run)
    for j in range(run.first, run.first + run.count):
        end = iteration_ends(run.anchor, j, tokens, run.context, cost)
        yield Iterate(
            end,
            run.cpu,
            start=start,
            anchor=run.anchor,
            first=j,
            context=run.context,
            prefill=run.prefill,
            decode=run.decode,
        )
        start = end
