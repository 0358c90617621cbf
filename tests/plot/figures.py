"""What the tests of the figures share: a comparison made by hand, and ways to look into a figure."""

import random

from matplotlib.figure import Figure
from matplotlib.text import Text

from llmos.scenario.compare import Column, Comparison


def texts(figure: Figure) -> list[Text]:
    """Every text that can be seen."""
    figure.draw_without_rendering()
    found = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    beyond = _beyond(figure)
    return [text for text in found if text not in beyond]


def _beyond(figure: Figure) -> set[Text]:
    """Labels of ticks outside an axis' limits: they exist and are not drawn."""
    hidden = set()
    for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not axis.axes.axison or not low <= tick.get_loc() <= high:
                hidden |= {tick.label1, tick.label2}
    return hidden


def words(figure: Figure) -> str:
    """All that is written in a figure."""
    return "\n".join(text.get_text() for text in texts(figure))


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that cover each other by more than a pixel, and texts that leave the page."""
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
    wrong = []
    for i, (name, box) in enumerate(boxes):
        if box.x0 < 0 or box.y0 < 0 or box.x1 > figure.bbox.width or box.y1 > figure.bbox.height:
            wrong.append((name, "the edge of the page"))
        for other, there in boxes[:i]:
            wide = min(box.x1, there.x1) - max(box.x0, there.x0)
            high = min(box.y1, there.y1) - max(box.y0, there.y0)
            if wide > 1 and high > 1:
                wrong.append((other, name))
    return wrong


def panel(figure: Figure, label: str):
    """The axes with that label."""
    [ax] = [ax for ax in figure.axes if ax.get_label() == label]
    return ax


NAMES = ("fcfs", "srtf", "rr", "mlfq")
METRICS = ("cpu.response_mean_ns", "cpu.turnaround_mean_ns", "llm.ttft_mean_ns", "llm.turnaround_mean_ns")


def compared(names=NAMES, metrics=METRICS, seeds=(0, 1, 2, 3, 4), **more) -> Comparison:
    """A comparison with made-up numbers: a few milliseconds, more under each further scheduler."""
    draw = random.Random(7)
    columns = []
    for i, name in enumerate(names):
        values = {m: [1e6 * (i + 1) * (1 + draw.random()) for _ in seeds] for m in metrics}
        samples = {
            f"{world}.{quantity}": [draw.lognormvariate(14 + i / 2, 1.5) for _ in range(60)]
            for world in ("cpu", "llm")
            for quantity in ("response", "turnaround", "ttft")
        }
        columns.append(Column(name, values, samples))
    about = {"question": "Who is first?", "profile": "reference-cpu, measured; error 2 %"} | more
    return Comparison("test", about["question"], about["profile"], list(seeds), columns)
