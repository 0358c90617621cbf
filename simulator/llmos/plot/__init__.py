"""Figures that people would show: who ran when, who waited, schedulers side by side, distributions, sweeps.

- Each function folds a run's state, a comparison or the results of a sweep into one matplotlib `Figure`;
  `save` writes it.
- matplotlib loads here and nowhere else, object by object: no pyplot, and nobody's settings change.
- The title is the scenario's question; the caption says scenario, seeds, convention and costs.
- Every figure reads in grey and with any colour vision: lightness, hatches, dashes, and names beside
  what they name.
- Nothing to show is a figure that says so, never an exception.
"""

from llmos.plot.bars import comparison
from llmos.plot.curves import cdf
from llmos.plot.heatmap import heatmap
from llmos.plot.load import load_curve
from llmos.plot.misses import miss_ratio
from llmos.plot.page import check_path, save
from llmos.plot.queue import queue
from llmos.plot.results import Results, read_results
from llmos.plot.service import service
from llmos.plot.timeline import gantt

__all__ = [
    "Results",
    "cdf",
    "check_path",
    "comparison",
    "gantt",
    "heatmap",
    "load_curve",
    "miss_ratio",
    "queue",
    "read_results",
    "save",
    "service",
]
