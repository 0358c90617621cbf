"""Pages and files: whole, of the right kind, the same bytes each time, and nobody's settings changed."""

import hashlib
import os
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import cores, execute, task
from matplotlib.font_manager import FontProperties
from matplotlib.image import imread
from matplotlib.text import Text
from plot.figures import compared

from llmos.errors import LlmosError
from llmos.plot import cdf, comparison, gantt, save
from llmos.plot.page import page, style
from llmos.plot.texts import shorten, width_of, wrap
from llmos.sched.rr import RoundRobin


def figures():
    ran = execute(cores(lambda: RoundRobin(5), task("A", 12), task("B", 9, at=2)))
    return {
        "gantt": gantt(ran.outcome.state, ran.events),
        "comparison": comparison(compared()),
        "cdf": cdf(compared(), "response"),
    }


FORMATS = ("png", "svg", "pdf")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with each figure in each format."""
    folder = tmp_path_factory.mktemp("figures")
    for name, figure in figures().items():
        for suffix in FORMATS:
            save(figure, folder / f"{name}.{suffix}")
    return folder


@pytest.mark.parametrize("kind", ["gantt", "comparison", "cdf"])
def test_the_three_formats_are_what_they_say(kind, saved):
    assert (saved / f"{kind}.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    height, width, _ = imread(saved / f"{kind}.png").shape
    assert width == 1800  # Twice the width of a README.
    assert height > 300
    assert ET.parse(saved / f"{kind}.svg").getroot().tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314
    pdf = (saved / f"{kind}.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert pdf.rstrip().endswith(b"%%EOF")
    assert {path.name for path in saved.glob(f"{kind}*")} == {f"{kind}.{suffix}" for suffix in FORMATS}


SCRIPT = """
import sys
sys.modules["matplotlib.pyplot"] = None  # Whoever imports it fails.
from plot.test_page import FORMATS, figures
from llmos.plot import save
for name, figure in figures().items():
    for suffix in FORMATS:
        save(figure, f"{sys.argv[1]}/{name}.{suffix}")
"""


def test_the_same_input_gives_the_same_bytes_in_another_process(root, saved, tmp_path):
    """One with other hashes, another zone of time, and a user's own settings."""
    rc, there = tmp_path / "matplotlibrc", tmp_path / "figures"
    rc.write_text("axes.facecolor: yellow\nfont.size: 30\nxtick.direction: in\nhatch.linewidth: 4\n")
    there.mkdir()
    paths = os.pathsep.join(str(root / name) for name in ("simulator", "kernels", "tui", "tests"))
    env = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "2", "TZ": "UTC-2", "MATPLOTLIBRC": str(rc)}
    subprocess.run([sys.executable, "-c", SCRIPT, str(there)], env=env, check=True)
    here, other = (
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        for folder in (saved, there)
    )
    assert len(here) == 9
    assert here == other


def test_a_figure_can_be_saved_twice(tmp_path):
    figure = comparison(compared())
    for name in ("a.svg", "b.svg"):
        save(figure, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_the_users_settings_are_left_alone(tmp_path):
    before = dict(mpl.rcParams)
    save(comparison(compared()), tmp_path / "a.png")
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", ["figure.jpg", "figure", "figure.png.exe", "figure."])
def test_an_unknown_suffix_names_the_allowed_ones(name, tmp_path):
    with pytest.raises(LlmosError) as error:
        save(comparison(compared()), tmp_path / name)
    assert "allowed: .png, .svg, .pdf" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_the_suffix_may_be_in_capitals(tmp_path):
    save(comparison(compared()), tmp_path / "A.PNG")
    assert (tmp_path / "A.PNG").read_bytes().startswith(b"\x89PNG")


def test_a_file_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LlmosError, match="cannot write"):
        save(comparison(compared()), tmp_path / "file" / "figure.png")


def test_the_title_is_in_the_file_for_those_who_cannot_see_it(tmp_path):
    save(comparison(compared(question="Is a < b & c?")), tmp_path / "a.svg")
    titles = [e.text for e in ET.parse(tmp_path / "a.svg").iter() if e.tag.endswith("}title")]  # noqa: S314
    assert titles[0] == "Is a < b & c?"


# --- texts --------------------------------------------------------------------------------------------


@given(st.text(max_size=60), st.sampled_from([7.5, 8.0, 13.0]), st.booleans())
def test_a_text_is_never_wider_than_it_was_measured(text, size, bold):
    short = shorten(text, 2.0, size, bold=bold)
    with style(), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = page("", [], 1).figure
        drawn = Text(
            0, 0, short, fontproperties=FontProperties(size=size, weight="bold" if bold else "normal")
        )
        figure.add_artist(drawn)
        assert drawn.get_window_extent().width / figure.dpi <= 2.05


@pytest.mark.parametrize(
    ("text", "expected"),
    [("short", "short"), ("", ""), (" spaces \n and\tlines ", "spaces and lines"), ("\U0001f9ff\x00", "□□")],
)
def test_what_fits_is_kept(text, expected):
    assert shorten(text, 5.0, 8.0) == expected


def test_what_does_not_fit_is_cut_where_it_says_least():
    assert shorten("a" * 10_000, 1.0, 8.0).endswith("a…")
    path = shorten("/home/somebody/course/mine.py:Scheduler", 1.6, 8.0, middle=True)
    assert path.startswith("/home")
    assert path.endswith("Scheduler")
    assert "…" in path
    assert shorten("word", 0.01, 8.0) == ""


@given(st.lists(st.text("abc def", min_size=1), max_size=30))
def test_wrapped_lines_hold_all_words_in_order(words):
    text = " ".join(words)
    lines = wrap(text, 2.0, 9.0, 100)
    assert all(width_of(line, 9.0) <= 2.0 for line in lines)
    if not any("…" in line for line in lines):
        assert " ".join(lines).split() == text.split()


def test_too_many_lines_end_in_an_ellipsis():
    lines = wrap("word " * 100, 2.0, 9.0, 2)
    assert len(lines) == 2
    assert lines[1].endswith("…")
