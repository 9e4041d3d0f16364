"""Figures of trajectories: many series, symmetric entries, several theories, widths of journals."""

import pickle

import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.evidence.figures import plot_comparison, plot_comparisons, save_figure

TIME = np.geomspace(0.1, 10, 7)


def pair(neurons, *, symmetric=True, points=7):
    """Norms and signals of some neurons, close to exponentials."""
    rng, time = np.random.default_rng(1), np.geomspace(0.1, 10, points)
    pairs = [(i, j) for i in range(neurons) for j in range(neurons)]
    names = [f"norms[{i},{j}]" for i, j in pairs] + [f"signal[{i},0]" for i in range(neurons)]
    rates = np.array([1 + i + j for i, j in pairs] + [*range(1, neurons + 1)])
    truth = np.exp(-time[:, None] / rates)
    draws = truth + 0.01 * rng.normal(size=(10, *truth.shape))
    if symmetric:
        for k, (i, j) in enumerate(pairs):
            draws[..., k] = draws[..., neurons * min(i, j) + max(i, j)]
    axes = {"time": time, "quantity": np.array(names)}
    measured = ld.Measurement.from_replicas(draws, axes, label="ambient, N = 400")
    return measured, ld.Prediction(truth, 1e-3, label="limit")


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_symmetric_entries_are_drawn_once():
    figure = plot_comparison(ld.compare(*pair(2)))
    series = texts(figure.legends[0])[2:]
    assert series == ["norms[0,0]", "norms[0,1]", "norms[1,1]", "signal[0,0]", "signal[1,0]"]
    assert len(figure.axes[0].containers) == 5
    whole = plot_comparison(ld.compare(*pair(2, symmetric=False)))
    assert "norms[1,0]" in texts(whole.legends[0])
    named = plot_comparison(ld.compare(*pair(2)), legend=list("abcdef"))
    assert texts(named.legends[0])[2:] == list("abcdef")  # labels of all series were given


@pytest.mark.slow
def test_more_than_eight_series_become_small_multiples(tmp_path):
    figure = plot_comparison(ld.compare(*pair(4), name="four neurons"))
    upper = figure.axes[:2]
    assert [len(axes.containers) for axes in upper] == [7, 7]
    assert texts(upper[0].get_legend())[0] == "norms[0,0]"
    assert texts(upper[1].get_legend())[-1] == "signal[3,0]"
    assert texts(figure.legends[0]) == ["ambient, N = 400", "limit"]
    assert figure.get_suptitle() == "four neurons"
    save_figure(figure, tmp_path / "a.png")
    lines = [to for axes in upper for to in axes.lines if to.get_linestyle() == "-"]
    colours = [line.get_color() for line in lines[:7]]
    assert len(set(colours)) == 7  # told apart within a panel
    many = plot_comparison(ld.compare(*pair(7)))  # 35 series: five panels in two rows
    assert len(many.axes) == 10


def test_time_goes_along_x_even_where_quantities_are_more():
    figure = plot_comparison(ld.compare(*pair(2, points=3)))
    assert "time" in figure.axes[1].get_xlabel()


def test_columns_of_several_theories_are_named():
    measured, limit = pair(2)
    other = ld.Prediction(limit.values, 1e-3, label="exact process").with_bias(0.01, "4/N")
    result = ld.compare_each(measured, limit, other, name="levels")
    figure = plot_comparisons(result, logx=False, logy=True, x_label="t")
    assert [axes.get_title() for axes in figure.axes[:2]] == ["limit", "exact process"]
    assert texts(figure.legends[0])[:3] == ["ambient, N = 400", "theory above", "allowed bias 4/N"]
    assert {axes.get_xscale() for axes in figure.axes} == {"linear"}
    assert {axes.get_yscale() for axes in figure.axes[:2]} == {"log"}
    assert figure.axes[2].get_xlabel() == "t"
    assert plot_comparisons(result).axes[0].get_xscale() == "log"
    alone = plot_comparisons(ld.compare_each(measured, limit))
    assert texts(alone.legends[0])[:2] == ["ambient, N = 400", "limit"]
    swapped = plot_comparisons(result, x="quantity", series="time")
    assert len(swapped.axes[0].containers) == 7


@pytest.mark.parametrize(
    ("width", "inches"),
    [
        ("column", 3.4),
        pytest.param("page", 7.0, marks=pytest.mark.slow),
        pytest.param(5.0, 5.0, marks=pytest.mark.slow),
    ],
)
def test_widths_of_journals(width, inches, tmp_path):
    for figure in (
        plot_comparison(ld.compare(*pair(2)), width=width),
        plot_comparisons(ld.compare_each(*pair(2)), width=width),
    ):
        assert figure.get_figwidth() == inches
        save_figure(figure, tmp_path / "a.pdf")
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= inches * figure.dpi
    letters = [plot_comparison(ld.compare(*pair(2)), width=w) for w in ("column", 6.4)]
    small, large = (f.axes[0].yaxis.label.get_fontsize() for f in letters)
    assert small < large


class _Solvable:
    """A limit with the order parameters exp(-t) and 1 + t."""

    def __init__(self, starts=2, seconds=0.0):
        self.times = np.array([1.0, 2.0, 4.0, 8.0])
        self.paths = {"signal": np.zeros((starts, 4, 1, 1))}
        self.solve, self.asked, self.attributes = True, [], {"seconds_again": seconds}

    def at(self, times):
        self.asked.append(len(times))
        signal = np.broadcast_to(np.exp(-times)[:, None, None], (2, len(times), 1, 1))
        return ld.Overlaps(signal, np.zeros((2, len(times), 1, 1, 1)), {"a": signal[..., 0, 0] + 1})

    def prediction(self, quantities=None):
        both = np.stack([np.exp(-self.times), 1 + np.exp(-self.times), self.times], axis=1)
        return ld.Prediction(both).with_bias(0.01, "4/N")


def smooth_pair(**options):
    limit = _Solvable(**options)
    axes = {"time": limit.times, "quantity": np.array(["signal[0,0]", "a", "own"])}
    seen = ld.Measurement(limit.prediction().values, 0.1, 4, axes)
    return ld.Comparison(seen, limit.prediction(), "", "", 1e-3, limit), limit


def test_the_line_of_a_limit_is_smooth(tmp_path):
    compared, limit = smooth_pair()
    figure = plot_comparison(compared)
    lines = [line for line in figure.axes[0].lines if line.get_linestyle() == "-"]
    signal, a, own = (line.get_xydata() for line in lines)
    assert len(signal) == len(a) == 37
    assert len(own) == 4  # what the user observes is not known between the times
    np.testing.assert_allclose(signal[:, 1], np.exp(-signal[:, 0]), rtol=1e-12)
    np.testing.assert_allclose(a[:, 1], 1 + np.exp(-a[:, 0]), rtol=1e-12)
    assert (signal[0, 0], signal[-1, 0]) == (1.0, 8.0)
    assert set(limit.asked) == {3}  # with the last time as many as before: one compiled program
    save_figure(figure, tmp_path / "a.png")


@pytest.mark.parametrize(("seconds", "parts"), [(0.1, 12), (1.0, 5), (2.5, 2), (2.6, None)])
def test_solving_again_for_a_line_takes_seconds_at_most(seconds, parts):
    compared, limit = smooth_pair(seconds=seconds)
    plot_comparison(compared)
    assert len(limit.asked) == (parts or 0)


def test_lines_stay_straight_where_solving_is_costly_or_impossible():
    for compared, limit in (smooth_pair(starts=65), smooth_pair()):
        if limit.paths["signal"].shape[0] == 2:
            limit.solve = None
        figure = plot_comparison(compared)
        assert not limit.asked
        assert all(len(line.get_xdata()) <= 4 for line in figure.axes[0].lines)
    loaded = pickle.loads(pickle.dumps(ld.compare(*pair(2))))
    assert loaded.theory is None
    plot_comparison(loaded)


def test_unknown_widths_are_refused():
    with pytest.raises(ValueError, match="`width` must be one of 'column', 'page'"):
        plot_comparison(ld.compare(*pair(2)), width="wide")
