import pytest

from llmos.costs.profile import load_profile
from llmos.errors import ProfileError
from llmos.plot.iterations import BATCHES, iteration_curves
from llmos.plot.predictions import prediction_error


def texts(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_held_out_rows_are_drawn_with_their_error():
    profile = load_profile("reference-cpu")
    figure = prediction_error(profile)
    panels = {ax.get_label(): ax for ax in figure.axes}
    assert {"interpolated", "roofline x residual"} <= set(panels)
    for how in ("interpolated", "roofline x residual"):
        (dots,) = [dots for dots in panels[how].collections if len(dots.get_offsets()) > 10]
        assert len(dots.get_offsets()) == profile.holdout[how].points
    assert any(profile.provenance in text for text in texts(figure))


def test_without_rows_there_is_nothing_to_hold_out():
    assert any("Nothing to show" in text for text in texts(prediction_error(load_profile("h100-data-sheet"))))


def test_more_requests_and_more_context_take_longer():
    figure = iteration_curves(load_profile("h100-data-sheet"), "llama-3-8b")
    panels = {ax.get_label(): ax for ax in figure.axes}
    curves = [
        list(line.get_ydata()) for line in panels["requests in the batch"].lines if len(line.get_xdata()) > 2
    ]
    assert len(curves) == 3
    assert all(curve == sorted(curve) and len(curve) == len(BATCHES) for curve in curves)
    assert curves[0][-1] < curves[1][-1] < curves[2][-1]
    # 15 GB of weights at 90 % of 3.35 TB/s take 5.0 ms, and each of some 400 operations a launch of 2.5 us.
    assert 5.0e6 < curves[0][0] < 7.5e6
    assert any("data sheet, not measured" in text for text in texts(figure))


def test_the_knee_is_at_the_critical_number_of_tokens():
    # 989e12 * 0.8 FLOP/s over 3.35e12 * 0.9 B/s, and two bytes for two FLOPs; int4: a quarter and 1/64 of it.
    for weights, tokens in ((None, 262.4), ("int4", 262.4 * (1 / 4 + 1 / 64))):
        figure = iteration_curves(load_profile("h100-data-sheet"), "llama-3-8b", weights=weights)
        panels = [ax for ax in figure.axes if ax.get_xscale() == "log"]
        assert len(panels) == 2
        for ax in panels:
            [knee] = [line for line in ax.lines if len(set(line.get_xdata())) == 1]
            assert knee.get_xdata()[0] == pytest.approx(tokens, rel=1e-3)


@pytest.mark.parametrize("name", ["h100-data-sheet", "reference-cpu"])
def test_the_name_of_the_knee_is_inside_of_the_axes(name):
    figure = iteration_curves(load_profile(name), "llama-3-8b")
    figure.canvas.draw()
    for ax in (ax for ax in figure.axes if ax.get_xscale() == "log"):
        [knee] = [text for text in ax.texts if text.get_text().startswith("T*")]
        assert knee.get_window_extent().x0 > ax.get_window_extent().x0


def test_a_model_that_there_is_not_is_told():
    with pytest.raises(ProfileError, match="llama-3-8b"):
        iteration_curves(load_profile("h100-data-sheet"), "lama-3-8b")
