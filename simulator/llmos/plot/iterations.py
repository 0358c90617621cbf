"""What an iteration of a model takes on a device: writing against the batch, reading against the prompt.

- Left: one iteration in which every request of the batch writes one token, for some lengths of their
  context. While weights are the bottleneck, more requests cost hardly more.
- Right: one iteration that reads a prompt, against its length, after some context already kept.
- A band is the interval of the prediction. The line at T* is where a product's arithmetic takes as long as
  reading its weights: left of it another token costs hardly anything, right of it what it computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from llmos.costs.bottleneck import critical_tokens
from llmos.costs.decoder import Composition, model_shape
from llmos.costs.iteration import IterationModel
from llmos.costs.model import Cost, CostModel
from llmos.costs.profile import Profile
from llmos.plot.labels import name_ends
from llmos.plot.looks import QUIET, RULE, look
from llmos.plot.page import BODY_WIDTH, HEAD, decades, head, page, style
from llmos.plot.texts import SMALL

HEIGHT = 3.2
LEFT, RIGHT, BETWEEN = 0.75, 0.6, 0.2
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
CONTEXTS = (128, 1024, 8192)
PROMPTS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
PASTS = (0, 4096, 32768)


def iteration_curves(
    profile: Profile, model: str, dtype: str | None = None, weights: str | None = None
) -> Figure:
    """Return the times of decoding and of prefill of a named model on the device of a profile.

    dtype, weights: how the model computes and how its weights are stored, if not as usual.

    Raises ProfileError when there is no such model, or the profile knows nothing of its dtype.
    """
    shape = model_shape(model, dtype, weights)
    iterations = IterationModel(CostModel(profile), shape)
    knee = critical_tokens(profile, shape.dtype, shape.weights)

    def decoding(context: int, batch: int) -> Cost:
        return iterations.predict(Composition(decode=(context,) * batch, sampled=batch))

    def reading(past: int, prompt: int) -> Cost:
        return iterations.predict(Composition(prefill=((prompt, past + prompt),), sampled=1))

    decode = {f"{context:,}": [decoding(context, batch) for batch in BATCHES] for context in CONTEXTS}
    prefill = {f"{past:,}": [reading(past, prompt) for prompt in PROMPTS] for past in PASTS}
    sources = sorted({cost.source for costs in (*decode.values(), *prefill.values()) for cost in costs})
    title = f"What does an iteration of {model} take on {profile.device}?"
    stored = "" if shape.weights == "dense" else f", {shape.weights} weights"
    at_knee = f"T* = {knee:,.0f} tokens: a product computes as long as it reads its weights"
    caption = [
        f"{shape.dtype}{stored}; {at_knee}",
        f"bands: the predictions' intervals; {'; '.join(sources)}",
    ]
    with style():
        sheet = page(title, caption, HEAD + HEIGHT + 0.42)
        width = (BODY_WIDTH - 2 * (LEFT + RIGHT) - BETWEEN) / 2
        paper, right = sheet.paper(), 2 * LEFT + width + RIGHT + BETWEEN
        head(paper, LEFT, 0, width, "Decode", "a token of each request; at the ends: its context")
        head(paper, right, 0, width, "Prefill", "one request; at the ends: tokens before it")
        for x, label, sizes, curves in (
            (LEFT, "requests in the batch", BATCHES, decode),
            (right, "tokens of the prompt", PROMPTS, prefill),
        ):
            ax = sheet.axes(x, HEAD, width, HEIGHT)
            ax.set_label(label)
            _panel(ax, sizes, curves)
            _knee(ax, knee)
            ax.set_xlabel(f"{label} (logarithmic scale)", color=QUIET)
    return sheet.figure


def _panel(ax: Axes, sizes: Sequence[int], curves: dict[str, list[Cost]]) -> None:
    ax.set(xscale="log", yscale="log", xlim=(sizes[0], sizes[-1]))
    for i, (name, costs) in enumerate(curves.items()):
        seen = look(i)
        low, high = [1e9 * cost.low for cost in costs], [1e9 * cost.high for cost in costs]
        ax.fill_between(sizes, low, high, color=seen.colour, alpha=0.15, linewidth=0)
        [drawn] = ax.plot(sizes, [1e9 * c.seconds for c in costs], color=seen.ink, linewidth=1.7, label=name)
        drawn.set_dashes(seen.dash or (None, None))
    decades(ax.xaxis, timed=False)
    decades(ax.yaxis, timed=True)
    ax.grid(visible=True, axis="y", color=RULE, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.set_ylim(*ax.get_ylim())  # Names are written where the ends are, so these must stay.
    name_ends(ax, ax.lines)


def _knee(ax: Axes, tokens: float) -> None:
    """Mark T*, where the axis has it; its name is left of the line if there is room."""
    left, right = ax.get_xlim()
    if left < tokens < right:
        ax.axvline(tokens, color=QUIET, linewidth=1.0, dashes=(2, 2), zorder=0.5)
        room = log(tokens / left) > log(right / left) / 5
        ax.annotate(
            f"T* {tokens:,.0f}", (tokens, 1), (-3 if room else 3, -3), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="right" if room else "left", va="top", color=QUIET, fontsize=SMALL,
        )  # fmt: skip
