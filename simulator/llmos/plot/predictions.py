"""How well a profile predicts: each held-out time as it was predicted against what was measured.

- Every point is an operation that the prediction did not see. On the line the two are equal.
- The band is a factor of 1.1 to either side; what is outside of it is more than that off.
"""

from __future__ import annotations

from itertools import chain

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmos.costs.holdout import predictions
from llmos.costs.profile import Profile, Spread
from llmos.plot.looks import QUIET, RULE, look
from llmos.plot.page import BODY_WIDTH, HEAD, decades, head, nothing, page, style

HEIGHT = 3.4
LEFT, BETWEEN = 0.75, 0.75
BAND = 1.1


def prediction_error(profile: Profile) -> Figure:
    """Return the held-out operations of a profile, a panel for each way of predicting."""
    title = f"How far off are predictions for {profile.device}?"
    caption = [f"{profile.provenance}; {profile.clock}"]
    panels = {
        how: ([(row.seconds, cost.seconds) for row, cost, _ in found], [error for *_, error in found])
        for how, found in predictions(profile).items()
        if found
    }
    if not panels:
        return nothing(
            title, caption, "Nothing to show: the profile has too few rows to hold any of them out."
        )
    with style():
        sheet = page(title, caption, HEAD + HEIGHT + 0.42)
        width = (BODY_WIDTH - LEFT - (LEFT + BETWEEN) * (len(panels) - 1) - 0.1) / len(panels)
        paper = sheet.paper()
        for i, (how, (pairs, errors)) in enumerate(panels.items()):
            x = LEFT + i * (width + LEFT + BETWEEN)
            found = Spread.of(errors)
            small = f"{found.points} held out; median {found.median:.1%} off, p95 {found.p95:.1%}"
            head(paper, x, 0, width, how.capitalize(), small)
            ax = sheet.axes(x, HEAD, width, HEIGHT)
            ax.set_label(how)
            _panel(ax, pairs, i)
    return sheet.figure


def _panel(ax: Axes, pairs: list[tuple[float, float]], i: int) -> None:
    """Draw measured times to the right, predicted ones upwards, in ns."""
    xs, ys = [1e9 * measured for measured, _ in pairs], [1e9 * predicted for _, predicted in pairs]
    ends = (min(chain(xs, ys)) / 1.5, max(chain(xs, ys)) * 1.5)
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    ax.fill_between(ends, [e / BAND for e in ends], [e * BAND for e in ends], color=RULE, linewidth=0)
    ax.plot(ends, ends, color=QUIET, linewidth=1.0)
    ax.scatter(xs, ys, s=9, color=look(i).ink, alpha=0.6, linewidth=0, zorder=3)
    decades(ax.xaxis, timed=True)
    decades(ax.yaxis, timed=True)
    ax.set_xlabel("measured", color=QUIET)
    ax.set_ylabel("predicted", color=QUIET)
