"""Pictures of sweeps: means and intervals are those of the rows, and keys are in order."""

import json
import math
import statistics
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from plot.figures import overlaps, panel, words

from llmos.errors import LlmosError
from llmos.plot import Results, heatmap, load_curve, read_results, save
from llmos.plot.labels import spread
from llmos.plot.load import curve_name
from llmos.plot.looks import COLOURS, lightness
from llmos.plot.results import scaled

MS = 1e6
RESPONSE = "cpu.response_mean_ns"


def swept(value=lambda scheduler, load, seed: MS * load * (1 + seed), **more):
    """Rows as `llmos sweep` writes them: two schedulers, three loads, three seeds."""
    points = [(s, load) for s in ("fcfs", "rr") for load in (0.9, 0.3, 0.5)]
    return [
        {"point": i, "seed": seed, "cpu.scheduler": s, "workload.w.arrival.load": load, "ok": True,
         "reason": "", "log_sha256": "0f", RESPONSE: value(s, load, seed)} | more
        for i, (s, load) in enumerate(points) for seed in (1, 2, 3)
    ]  # fmt: skip


def as_csv(rows):
    cells = [[str(v).lower() if isinstance(v, bool) else str(v) for v in row.values()] for row in rows]
    return "\n".join([",".join(rows[0]), *(",".join(row) for row in cells)]) + "\n"


# --- reading ------------------------------------------------------------------------------------------


def test_csv_and_json_lines_say_the_same(tmp_path):
    rows = swept()
    (tmp_path / "a.csv").write_text(as_csv(rows))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    table, lines = read_results(tmp_path / "a.csv"), read_results(tmp_path / "a.jsonl")
    assert lines.rows == rows
    assert [{k: v for k, v in row.items() if k != "reason"} for row in table.rows] == [
        {k: v for k, v in row.items() if k != "reason"} for row in rows
    ]
    assert table.keys == lines.keys
    assert table.metrics == lines.metrics == [RESPONSE]


@pytest.mark.parametrize(
    "odd", [10**400, 1e308, -1e308, math.inf, math.nan, "much"], ids=lambda odd: str(odd)[:8]
)
def test_what_is_no_measurement_counts_for_nothing(odd):
    rows = swept() + [row | {RESPONSE: odd, "seed": 9} for row in swept()]
    results = Results(rows)
    there = Results(swept()).means(RESPONSE, ["cpu.scheduler"])
    assert results.means(RESPONSE, ["cpu.scheduler"]) == there
    heatmap(results)
    with pytest.raises(LlmosError, match="no key of these results is an amount"):
        load_curve(Results([row | {"workload.w.arrival.load": odd} for row in swept()] + swept()))


def test_keys_are_what_varies_in_order():
    results = Results(swept(extra="always"))
    assert results.keys == {"cpu.scheduler": ["fcfs", "rr"], "workload.w.arrival.load": [0.3, 0.5, 0.9]}
    rows = [{"q": q, RESPONSE: 1.0} for q in ("10 ms", "100 us", "1 s", "5 ms")]
    assert Results(rows).keys == {"q": ["100 us", "5 ms", "10 ms", "1 s"]}
    rows = [{"q": q, RESPONSE: 1.0} for q in ("rr", "5 ms", "fcfs")]
    assert Results(rows).keys == {"q": ["rr", "5 ms", "fcfs"]}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5], ([1, 2.5], "")),
        (["5 ms", "20 ms"], ([5, 20], "ms")),
        (["500 us", "2 ms"], ([0.5, 2], "ms")),
        (["20 /s", "5 /s"], ([20, 5], "/s")),
        (["16 tokens", "5 ms"], None),
        (["rr", 1], None),
        ([True, False], None),
        ([None, 1], None),
    ],
)
def test_amounts_of_one_kind_are_numbers(values, expected):
    found = scaled(values)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert found[0] == pytest.approx(expected[0])
        assert found[1] == expected[1]


def test_means_are_over_the_seeds_of_runs_that_went_well():
    rows = [
        {"seed": 1, "k": 1, "ok": True, RESPONSE: 2.0},
        {"seed": 2, "k": 1, "ok": True, RESPONSE: 4.0},
        {"seed": 3, "k": 1, "ok": False, RESPONSE: 900.0},
        {"seed": 1, "k": 2, "ok": True, RESPONSE: None},
        {"seed": 2, "k": 2, "ok": True, RESPONSE: math.nan},
    ]
    results = Results(rows)
    found = results.means(RESPONSE, ["k"])
    assert set(found) == {(1,)}
    # Student's t for one degree of freedom is 12.706.
    assert (found[1,].mean, found[1,].half_width) == (3, pytest.approx(12.706))
    assert "1 of 5 runs failed and are left out" in results.caption()[0]


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.jsonl", '{"seed": 1}\n{"seed', "line|:2"),
        ("a.jsonl", "[1, 2]\n", "no row"),
        ("a.jsonl", '{"kind":"run","t":0}\n', "no results of a sweep"),
        ("a.csv", "a,b\n1,2\n", "llmos sweep"),
        ("a.csv", "", "llmos sweep"),
    ],
)
def test_what_is_no_result_of_a_sweep_is_refused(name, text, says, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(LlmosError) as error:
        read_results(tmp_path / name)
    assert any(each in str(error.value) for each in says.split("|"))


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(LlmosError, match="cannot read"):
        read_results(tmp_path / "a.csv")


# --- load ---------------------------------------------------------------------------------------------


def lines(figure, metric=RESPONSE):
    return {
        line.get_label(): np.column_stack(line.get_data()).tolist() for line in panel(figure, metric).lines
    }


def test_a_curve_per_scheduler_through_the_means():
    found = lines(load_curve(Results(swept())))
    # load x 1 ms x the mean of 2, 3 and 4.
    assert found["fcfs"] == [pytest.approx([x, 3 * x]) for x in (0.3, 0.5, 0.9)]
    assert set(found) == {"fcfs", "rr"}


def test_whiskers_are_the_95_percent_intervals():
    ax = panel(load_curve(Results(swept(lambda _s, _load, seed: MS * seed))), RESPONSE)
    half = 4.303 * statistics.stdev([1, 2, 3]) / math.sqrt(3)
    for whiskers in ax.collections:
        for segment in whiskers.get_segments():
            assert segment[:, 1] == pytest.approx([2 - half, 2 + half])
    assert len(ax.collections) == 2


def test_one_seed_has_no_whisker():
    figure = load_curve(Results([row for row in swept() if row["seed"] == 1]))
    assert not panel(figure, RESPONSE).collections
    assert "confidence" not in words(figure)
    assert "seed 1" in words(figure)


def test_a_wide_span_has_a_logarithmic_axis():
    def wide(_scheduler, load, _seed):
        return MS * 10 ** (4 * load)

    assert panel(load_curve(Results(swept(wide))), RESPONSE).get_yscale() == "log"
    ax = panel(load_curve(Results(swept())), RESPONSE)
    assert (ax.get_yscale(), ax.get_ylim()[0]) == ("linear", 0)


def test_other_keys_make_curves_and_any_amount_can_go_across():
    rows = [row | {"engine.slots": slots} for slots in (2, 4) for row in swept()]
    found = lines(load_curve(Results(rows)))
    assert set(found) == {f"{s}, slots = {n}" for s in ("fcfs", "rr") for n in (2, 4)}
    found = lines(load_curve(Results(rows), keys=["engine.slots"]))
    assert [x for x, _ in found["rr, load = 0.3"]] == [2, 4]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"metrics": ["cpu.respnse_mean_ns"]}, RESPONSE),
        ({"keys": ["load"]}, "these do: cpu.scheduler"),
        ({"keys": ["cpu.scheduler"]}, "no amounts"),
        ({"keys": ["cpu.scheduler", "workload.w.arrival.load"]}, "heatmap"),
    ],
)
def test_what_cannot_be_drawn_is_a_clear_error(arguments, says):
    with pytest.raises(LlmosError) as error:
        load_curve(Results(swept()), **arguments)
    assert says in str(error.value)


def test_too_many_curves_are_refused():
    rows = [row | {"n": n} for n in range(6) for row in swept()]
    with pytest.raises(LlmosError, match="too many"):
        load_curve(Results(rows), keys=["workload.w.arrival.load"])


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=9), st.floats(1, 50))
def test_names_are_spread_no_further_than_needed(wishes, step):
    wishes = sorted(wishes)
    places = spread(wishes, step)
    assert all(b - a >= step - 1e-6 for a, b in pairwise(places))
    assert sum(places) == pytest.approx(sum(wishes), abs=1e-3)
    if all(b - a >= step for a, b in pairwise(wishes)):
        assert places == pytest.approx(wishes)


# --- heatmap ------------------------------------------------------------------------------------------


def cells(figure, label=RESPONSE):
    """(column, row) -> (colour, the number in it)."""
    ax = panel(figure, label)
    found = {}
    for patch in ax.patches:
        if isinstance(patch, Rectangle) and patch.get_width() == 1:
            place = (round(patch.get_x() + 0.5), round(patch.get_y() + 0.5))
            inside = [t.get_text() for t in ax.texts if abs(t.get_position()[0] - place[0]) < 0.5
                      and abs(t.get_position()[1] - place[1]) < 0.5 and t.get_text()]  # fmt: skip
            found[place] = (to_hex(patch.get_facecolor()), inside)
    return found


def test_a_cell_holds_its_mean_and_its_interval():
    found = cells(heatmap(Results(swept())))
    assert len(found) == 6
    # fcfs at 0.3: 0.6, 0.9 and 1.2 ms.
    assert found[0, 0][1] == ["0.900", f"± {4.303 * 0.3 / math.sqrt(3):.2g}"]
    assert found[1, 2][1][0] == "2.70"


def test_darker_is_more():
    found = cells(heatmap(Results(swept(lambda s, load, _seed: MS * load * (1 if s == "rr" else 2)))))
    order = sorted(found, key=lambda place: float(found[place][1][0]))
    shades = [lightness(found[place][0]) for place in order]
    assert shades == sorted(shades, reverse=True)
    assert found[order[-1]][0].upper() == COLOURS[0]


def test_the_best_mean_has_a_frame():
    ax = panel(heatmap(Results(swept(lambda s, load, _seed: MS * load * (1 if s == "rr" else 2)))), RESPONSE)
    [frame] = [p for p in ax.patches if isinstance(p, Rectangle) and not p.get_fill()]
    assert (round(frame.get_x() + 0.46), round(frame.get_y() + 0.44)) == (1, 0)


def test_a_cell_without_a_run_is_hatched_and_empty():
    rows = [row for row in swept() if (row["cpu.scheduler"], row["workload.w.arrival.load"]) != ("rr", 0.5)]
    figure = heatmap(Results(rows))
    assert cells(figure)[1, 1][1] == []
    assert [p.get_hatch() for p in panel(figure, RESPONSE).patches].count("///") == 1


def test_a_third_key_makes_panels_with_the_same_colours():
    rows = [row | {"n": n, RESPONSE: row[RESPONSE] * n} for n in (1, 2) for row in swept()]
    figure = heatmap(Results(rows), keys=["cpu.scheduler", "workload.w.arrival.load"])
    few, many = (cells(figure, f"{RESPONSE} n = {n}") for n in (1, 2))
    assert few[0, 2][1][0] == "2.70"
    assert many[0, 2][1][0] == "5.40"
    assert lightness(few[0, 2][0]) > lightness(many[0, 2][0])


def test_two_keys_are_needed_and_one_metric():
    with pytest.raises(LlmosError, match="two keys"):
        heatmap(Results([row for row in swept() if row["cpu.scheduler"] == "rr"]))
    rows = swept(**{"cpu.switches": 3})
    with pytest.raises(LlmosError, match="one metric"):
        heatmap(Results(rows), [RESPONSE, "cpu.switches"])


def test_a_curve_s_name_leaves_out_what_its_values_say_themselves():
    keys, values = ["engine.model", "weights", "slots"], ["tiny-2m", "int4", 4]
    assert curve_name(keys, values) == "tiny-2m, int4, slots = 4"


# --- both ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("draw", [load_curve, heatmap])
def test_it_says_question_seeds_and_what_failed(draw, tmp_path):
    rows = swept()
    rows[0]["ok"] = False
    figure = draw(Results(rows, "a.csv", "Who bears the load?", profile="reference-cpu; error 2 %"))
    for expected in ("Who bears the load?", "Results a.csv", "seeds 1–3", "1 of 18 runs failed",
                     "reference-cpu; error 2 %", "mean in ms, lower is better", "confidence"):  # fmt: skip
        assert expected in words(figure)
    for suffix in ("png", "svg", "pdf"):
        save(figure, tmp_path / f"a.{suffix}")
    assert "How do" in words(draw(Results(rows))) or "How does" in words(draw(Results(rows)))


@pytest.mark.parametrize("draw", [load_curve, heatmap])
def test_no_text_covers_another(draw):
    def close(scheduler, load, _seed):
        return MS * load * len(scheduler)

    for i, rows in enumerate([swept(), swept(close), swept(lambda *_: 5.0)]):
        many = [row | {"n": n} for n in (1, 2, 3) for row in rows] if i else rows
        assert overlaps(draw(Results(many, "results of mine.csv", "Why " + "very " * 60 + "long?"))) == []


@pytest.mark.parametrize("draw", [load_curve, heatmap])
def test_without_a_run_that_went_well_it_says_so(draw):
    assert "Nothing to show" in words(draw(Results([row | {"ok": False} for row in swept()])))
