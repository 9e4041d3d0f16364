"""One figure of several levels of description beside a law."""

import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.evidence.levels import plot_levels

TIMES = np.array([1.0, 2.0, 4.0])
LAW = ld.Prediction(np.ones((3, 2)) * TIMES[:, None], 0.0, 0.1, "1/N", "limit")


def level(name):
    axes = {"time": TIMES, "direction": ["u", "v"]}
    return ld.Measurement(LAW.values, 0.1 * np.ones((3, 2)), 5, axes, label=name)


def test_levels_stand_side_by_side_about_the_times():
    figure = plot_levels([level("all"), level("chain")], LAW, x_label="n / N", y_label="overlap")
    (axes,) = figure.axes
    points = [line.get_xdata() for line in axes.lines if line.get_linestyle() == "None"]
    marks = np.unique([x for x in points if len(x) == 3], axis=0)
    assert len(marks) == 2
    np.testing.assert_allclose(marks.mean(axis=0), TIMES)
    assert 0 < np.ptp(marks, axis=0).max() < 0.2
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert {"u, all", "v, chain", "v, limit"} <= set(names)
    with pytest.raises(ValueError, match="`measured`"):
        plot_levels([level("all").select(direction=0)], LAW, x_label="", y_label="")
    with pytest.raises(ValueError, match="`measured`"):
        plot_levels([], LAW, x_label="", y_label="")


@pytest.mark.parametrize("change", [{"time": [1.0, 2.0, 5.0]}, {"direction": ["u", "w"]}])
def test_levels_at_other_times_or_of_other_quantities_are_refused(change):
    other = level("chain")
    other = ld.Measurement(
        other.values, other.standard_error, 5, {**other.coordinates, **change}, label="chain"
    )
    with pytest.raises(ValueError, match="`measured`"):
        plot_levels([level("all"), other], LAW, x_label="", y_label="")
