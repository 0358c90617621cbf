"""Colours that are told apart in grey and with any colour vision, and numbers as people write them."""

from itertools import combinations

import numpy as np
import pytest

from llmos.plot.looks import COLOURS, IDLE, INK, KERNEL, WHITE, lightness, look, mix, rgb
from llmos.plot.words import counted, duration, number, ranges, seeds, time_unit, wording

# G. M. Machado et al., A Physiologically-based Model for Simulation of Color Vision Deficiency, 2009,
# severity 1.0; on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear(colour):
    parts = np.array(rgb(colour)) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(light):
    """CIE L*a*b* of linear RGB under D65."""
    xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    ratio = xyz @ np.clip(light, 0, 1) / [0.95047, 1.0, 1.08883]
    f = np.where(ratio > 216 / 24389, np.cbrt(ratio), (24389 / 27 * ratio + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def grey(colour):
    """What a grey copy makes of it, 0..255 (ITU-R BT.601)."""
    return float(np.dot([0.299, 0.587, 0.114], rgb(colour)))


def contrast(a, b):
    """WCAG 2 contrast ratio."""
    light, dark = sorted(float(np.dot([0.2126, 0.7152, 0.0722], linear(c))) for c in (a, b))[::-1]
    return (light + 0.05) / (dark + 0.05)


def test_eight_things_stay_eight_things_in_grey():
    assert min(abs(grey(a) - grey(b)) for a, b in combinations(COLOURS, 2)) >= 15
    assert min(abs(grey(a) - grey(b)) for a, b in combinations(COLOURS[:4], 2)) >= 25


@pytest.mark.parametrize("vision", VISION)
def test_eight_things_stay_eight_things_with_any_colour_vision(vision):
    seen = [lab(np.array(VISION[vision]) @ linear(colour)) for colour in COLOURS]
    # A difference of 2.3 can just be noticed.
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 15


def test_idle_time_is_paler_than_any_task():
    assert all(grey(colour) < grey(IDLE) - 15 for colour in (*COLOURS, KERNEL))


def test_the_first_sixtyfour_looks_all_differ():
    assert len({(look(i).colour, look(i).hatch) for i in range(64)}) == 64


@pytest.mark.parametrize("index", range(8))
def test_text_and_lines_can_be_read(index):
    assert contrast(look(index).on_it, look(index).colour) >= 4.5
    assert contrast(look(index).ink, WHITE) >= 3
    assert contrast(look(index).hatch_colour, look(index).colour) >= 1.3


def test_lightness_is_that_of_the_standard():
    assert lightness("#000000") == 0
    assert lightness("#FFFFFF") == pytest.approx(100)
    assert lightness("#777777") == pytest.approx(50.03, abs=0.01)
    assert lightness("#0072B2") == pytest.approx(lab(linear("#0072B2"))[0], abs=0.01)


def test_mixing():
    assert mix("#000000", "#FFFFFF", 0.5) == "#808080"
    assert mix(INK, WHITE, 0.0) == INK


# --- words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (1.5, "1.50"),
        (12.345, "12.3"),
        (123.4, "123"),
        (1234.5, "1,234"),
        (0.01234, "0.0123"),
        (9.999, "10.0"),
        (2e12, "2.00e+12"),
        (1e-9, "1.00e-09"),
        (float("nan"), "–"),
        (-3.14159, "-3.14"),
        (3.0, "3"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("ns", "name"),
    [(0, "ns"), (999, "ns"), (1000, "µs"), (999_999, "µs"), (10**6, "ms"), (10**9, "s"), (10**15, "s")],
)
def test_the_unit_is_the_largest_that_is_filled(ns, name):
    assert time_unit(ns).name == name


def test_durations():
    assert [duration(ns) for ns in (0, 7, 1500, 2_000_000, 3e9)] == ["0 ns", "7 ns", "1.5 µs", "2 ms", "3 s"]
    assert duration(1e13) == "10,000 s"


def test_seeds_are_written_shortly():
    assert [seeds(each) for each in ([], [3], [0, 1, 2, 3], [7, 1, 2])] == [
        "",
        "seed 3",
        "seeds 0–3",
        "seeds 1, 2, 7",
    ]
    assert ranges([5, 5, 4, 3]) == "3–5"
    assert [counted(n, "core") for n in (0, 1, 2000)] == ["0 cores", "1 core", "2,000 cores"]


@pytest.mark.parametrize(
    ("metric", "title", "small_print"),
    [
        ("cpu.response_mean_ns", "Response time", "mean in ms, lower is better"),
        ("llm.turnaround_p95_ns", "End-to-end time", "95th percentile in ms, lower is better"),
        ("cpu.throughput_per_s", "Throughput", "per s, higher is better"),
        ("llm.tokens_per_s", "Token rate", "tokens per s, higher is better"),
        ("cpu.utilisation", "Utilisation", "%, higher is better"),
        ("cpu.slowdown_max", "Slowdown", "longest, lower is better"),
        ("cpu.tasks", "Tasks", ""),
        ("llm.deadline_misses", "Deadline misses", "lower is better"),
        ("cpu.page_faults", "Page faults", ""),
    ],
)
def test_metrics_in_words(metric, title, small_print):
    found, words = wording(metric)
    assert (found, words.small_print(words.unit([2e6]))) == (title, small_print)
