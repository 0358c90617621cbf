"""Figures to show people: who ran when and waited, who had which pages, policies side by side, sweeps.

- Each function folds a run's state, a comparison or the results of a sweep into one matplotlib `Figure`;
  `save` writes it.
- matplotlib loads here and nowhere else, object by object: no pyplot, and nobody's settings change.
- The title is the scenario's question; the caption says scenario, seeds, convention and costs.
- Every figure reads in grey and with any colour vision: lightness, hatches, dashes, and names beside
  what they name.
- Nothing to show is a figure that says so, never an exception.
"""

from matplotlib.figure import Figure

from llmos.plot.bars import comparison
from llmos.plot.curves import cdf, check_quantity
from llmos.plot.faults import faults
from llmos.plot.heatmap import heatmap
from llmos.plot.load import load_curve
from llmos.plot.misses import miss_ratio
from llmos.plot.page import check_path, save
from llmos.plot.queue import queue
from llmos.plot.reach import eat
from llmos.plot.resident import memory
from llmos.plot.residents import residents
from llmos.plot.results import Results, read_results
from llmos.plot.service import service
from llmos.plot.timeline import gantt
from llmos.plot.working_set import working_set

__all__ = [
    "Figure",
    "Results",
    "cdf",
    "check_path",
    "check_quantity",
    "comparison",
    "eat",
    "faults",
    "gantt",
    "heatmap",
    "load_curve",
    "memory",
    "miss_ratio",
    "queue",
    "read_results",
    "residents",
    "save",
    "service",
    "working_set",
]
