import itertools
from dataclasses import replace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from learning_dynamics import Measurement, Prediction, compare, integrate
from learning_dynamics.evidence.comparison_panels import smooth_lines
from learning_dynamics.evidence.drawing import draw_curves, draw_measurement, draw_panels
from learning_dynamics.evidence.figures import (
    draw_simulation,
    draw_theory,
    figure_style,
    image_grid,
    legend_below,
    new_figure,
    plot_comparison,
    save_figure,
    series_style,
)
from tests.learning_dynamics.kernel import linear_regression

N = np.array([64, 128, 256, 512, 1024])


def comparison(coordinates, truth, *, bias=0.0, offset=0.0, spoil=None):
    truth = np.asarray(truth, dtype=float)
    noise = np.random.default_rng(0).standard_normal((10, *truth.shape))
    draws = truth * (1 + 0.05 * noise)
    if spoil is not None:
        draws[spoil] = np.nan
    predicted = Prediction(truth + offset, 0.0)
    if bias:
        predicted = predicted.with_bias(bias, "4/d")
    measured = Measurement.from_replicas(draws, coordinates)
    return compare(measured, predicted, name="distance", quantity="distance $d$")


def flat(**options):
    return comparison({"samples": N}, 100.0 / N, **options)


def stacked(**options):
    return comparison({"dimension": [8, 16], "samples": N}, [100 / N, 300 / N], **options)


def rendered(figure, tmp_path):
    save_figure(figure, tmp_path / "figure.png")
    return figure


def legend_texts(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_single_series_has_markers_and_line_of_one_colour(tmp_path):
    figure = rendered(plot_comparison(flat(), x_label="samples $n$"), tmp_path)
    main, below = figure.axes
    bars = main.containers[0]
    line = next(line for line in main.lines if line.get_linestyle() == "-")
    assert to_hex(bars[0].get_color()) == to_hex(line.get_color())
    np.testing.assert_allclose(line.get_ydata(), 100 / N)
    assert below.get_xlabel() == "samples $n$"
    assert main.get_ylabel() == "distance $d$"
    assert main.get_title() == "distance"
    assert legend_texts(figure) == ["simulation", "theory"]


def test_two_coordinates_become_series_and_x(tmp_path):
    figure = rendered(plot_comparison(stacked(bias=0.01)), tmp_path)
    assert len(figure.axes[0].containers) == 2
    assert legend_texts(figure) == [
        "simulation",
        "theory",
        "allowed bias 4/d",
        "dimension = 8",
        "dimension = 16",
    ]
    assert "4/d" in figure.axes[1].get_title(loc="left")
    swapped = plot_comparison(stacked(), x="dimension", title="", legend=[f"n{n}" for n in N])
    assert len(swapped.axes[0].containers) == 5
    assert legend_texts(swapped)[2:] == [f"n{n}" for n in N]
    assert plot_comparison(stacked(), series="samples").axes[1].get_xlabel() == "dimension"


def test_legend_covers_no_axes(tmp_path):
    figure = rendered(plot_comparison(stacked(bias=0.01)), tmp_path)
    renderer = FigureCanvasAgg(figure).get_renderer()
    box = figure.legends[0].get_window_extent(renderer)
    assert not any(box.overlaps(axes.get_tightbbox(renderer)) for axes in figure.axes)


@pytest.mark.parametrize(
    ("truth", "scale"),
    [(np.geomspace(1, 40, 5), "log"), (np.geomspace(1, 20, 5), "linear"), (N - 600.0, "linear")],
)
def test_logarithmic_axis_is_chosen_beyond_a_decade_and_a_half(truth, scale):
    figure = plot_comparison(comparison({"samples": N}, truth))
    assert figure.axes[0].get_yscale() == scale
    assert figure.axes[0].get_xscale() == "linear"
    forced = plot_comparison(comparison({"samples": N}, truth), logx=True, logy=False)
    assert (forced.axes[0].get_xscale(), forced.axes[0].get_yscale()) == ("log", "linear")


def test_error_bar_down_to_zero_does_not_stretch_a_logarithmic_axis(tmp_path):
    draws = 1e-3 + np.random.default_rng(1).standard_normal((4, 5))
    draws += 1e-3 - draws.mean(axis=0)
    measured = Measurement.from_replicas(draws, {"x": range(1, 6)})
    wide = compare(measured, Prediction(np.full(5, 1e-3), 0.0), name="a", quantity="b")
    figure = rendered(plot_comparison(wide, logy=True), tmp_path)
    assert figure.axes[0].get_ylim()[0] > 1e-5


def test_fine_curve_replaces_the_line(tmp_path):
    x = np.linspace(64, 1024, 50)
    figure = rendered(plot_comparison(stacked(), fine=(x, [100 / x, 300 / x])), tmp_path)
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 50]
    assert len(lines) == 2
    plot_comparison(flat(), fine=(x, 100 / x))


def test_names_along_x_get_levels_not_a_line(tmp_path):
    named = comparison({"remedy": ["none", "ridge"]}, [1.0, 2.0], bias=0.2)
    figure = rendered(plot_comparison(named), tmp_path)
    assert [t.get_text() for t in figure.axes[1].get_xticklabels()] == ["none", "ridge"]
    assert not any(line.get_linestyle() == "-" for line in figure.axes[0].lines)


@pytest.mark.parametrize("count", [2, 5, 10, 40])
def test_long_names_along_x_do_not_run_into_each_other(count, tmp_path):
    names = [f"harmonic {2**i} to {2 ** (i + 1)}" for i in range(3, 3 + min(count, 10))]
    names = [names[i % 10] for i in range(count)]
    figure = rendered(plot_comparison(comparison({"range": names}, np.ones(count))), tmp_path)
    figure.draw_without_rendering()
    drawn = figure.axes[1].get_xticklabels()
    assert [t.get_text() for t in drawn] == names
    height, angle = drawn[0].get_size() / 72 * figure.dpi, np.deg2rad(drawn[0].get_rotation())
    ends = [t.get_window_extent() for t in drawn]
    apart = np.diff([box.x1 for box in ends])
    if angle:  # lines of text side by side
        assert apart.min() * np.sin(angle) > height
    else:
        assert all(a.x1 < b.x0 for a, b in itertools.pairwise(ends))
    assert min(box.y0 for box in ends) > 0


def test_lost_and_infinite_residuals_stay_visible(tmp_path):
    figure = rendered(plot_comparison(flat(spoil=(slice(None), 2))), tmp_path)
    assert "up to 10 of 10 replicas lost" in figure.axes[1].get_title(loc="left")
    assert any(line.get_marker() == "x" for line in figure.axes[1].lines)
    draws = Measurement.from_replicas(np.ones((3, 2)), {"x": [1, 2]})
    exact = replace(draws, rounding=0.0)
    for sign, marker in ((-1, "^"), (1, "v")):
        off = compare(exact, Prediction(1 + sign * np.ones(2), 0.0), name="a", quantity="b")
        panel = rendered(plot_comparison(off), tmp_path).axes[1]
        assert any(line.get_marker() == marker for line in panel.lines)


def test_large_residuals_compress_the_panel(tmp_path):
    panel = rendered(plot_comparison(flat(offset=50.0)), tmp_path).axes[1]
    assert panel.get_yscale() == "symlog"
    assert len(panel.get_yticks()) <= 9


def test_nothing_leaks():
    before = dict(mpl.rcParams)
    plot_comparison(stacked())
    image_grid([np.zeros((1, 2, 2))], ["row"])
    with figure_style():
        assert mpl.rcParams["legend.frameon"] is False
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == []


def test_svg_is_the_same_twice(tmp_path):
    for name in ("a.svg", "b.svg"):
        save_figure(plot_comparison(flat()), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def _without_layout():
    figure = mpl.figure.Figure(facecolor="red")
    figure.subplots().imshow(np.eye(3))
    return figure


def _images_in_subfigures():
    figure = mpl.figure.Figure(layout="constrained")
    for part in figure.subfigures(1, 2):
        part.subplots().imshow(np.eye(3))
    return figure


@pytest.mark.parametrize(
    "make", [lambda: plot_comparison(flat()), _without_layout, _images_in_subfigures]
)
def test_svg_is_the_one_of_matplotlib_and_the_figure_stays_as_it_was(make, tmp_path):
    figure = make()
    before = figure.canvas, figure.get_layout_engine(), figure.dpi, figure.get_facecolor()
    save_figure(figure, tmp_path / "a.svg")
    assert (figure.canvas, figure.get_layout_engine(), figure.dpi, figure.get_facecolor()) == before
    with figure_style():
        figure.savefig(tmp_path / "b.svg", metadata={"Date": None})
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_series_styles_differ():
    assert len({series_style(i) for i in range(63)}) == 63


def test_custom_panels(tmp_path):
    figure, axes = new_figure(1, 2, title="both", sharey=True)
    assert axes.shape == (1, 2)
    for i, panel in enumerate(axes[0]):
        draw_simulation(panel, N, 1 / N, 0.1 / N, index=i, label=f"simulation {i}")
        draw_theory(panel, N[::-1], 1 / N[::-1], index=i, bias=0.1, label=f"theory {i}")
    legend_below(figure, columns=3)
    rendered(figure, tmp_path)
    assert len(legend_texts(figure)) == 4
    np.testing.assert_array_equal(axes[0, 0].lines[-1].get_xdata(), N)


def test_panels_of_series_have_markers_and_lines_of_one_colour(tmp_path):
    panel = stacked(bias=0.1)
    figure, panels = draw_panels(
        [panel.measured] * 2, [(N, panel.predicted), (2 * N, panel.predicted)], x_label="samples",
        y_labels=["distance"], titles=["a", "b"], ticks={64: "64", 512: "512"},
    )  # fmt: skip
    legend_below(figure)
    rendered(figure, tmp_path)
    assert legend_texts(figure) == ["8", "16"]
    assert [axes.get_title() for axes in panels] == ["a", "b"]
    assert [axes.get_ylabel() for axes in panels] == ["distance", ""]
    for axes, x in zip(panels, (N, 2 * N), strict=True):
        lines = [line for line in axes.lines if line.get_linestyle() == "-"]
        markers = [container.lines[0] for container in axes.containers]
        np.testing.assert_array_equal(lines[0].get_xdata(), x)
        assert [to_hex(line.get_color()) for line in lines] == [
            to_hex(marker.get_color()) for marker in markers
        ]
        assert len(axes.collections) >= 2  # bands of the allowed bias


def test_image_rows(tmp_path):
    images = [np.arange(48.0).reshape(3, 4, 4), np.ones((2, 4, 4))]
    figure = image_grid(images, ["a", "b"], column_labels=list("xyz"), title="t", scale="image")
    rendered(figure, tmp_path)
    assert [bool(axes.images) for axes in figure.axes] == [True] * 5 + [False]
    assert [axes.get_title() for axes in figure.axes[:3]] == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: plot_comparison(comparison({}, 1.0)), "comparison"),
        (
            lambda: plot_comparison(
                comparison({"a": [1], "b": [1], "c": [1, 2]}, np.ones((1, 1, 2)))
            ),
            "comparison",
        ),
        (lambda: plot_comparison(flat(), x="time"), "x"),
        (lambda: plot_comparison(flat(), series="samples"), "series"),
        (lambda: plot_comparison(stacked(), x="samples", series="samples"), "series"),
        (lambda: plot_comparison(stacked(), legend=["one"]), "legend"),
        (lambda: plot_comparison(flat(), legend="a"), "legend"),
        (lambda: plot_comparison(stacked(), fine=([1, 2], [1, 2])), "fine"),
        (lambda: image_grid([], []), "images"),
        (lambda: image_grid([np.zeros((2, 2))], ["a"]), "images"),
        (lambda: image_grid([np.full((1, 2, 2), np.nan)], ["a"]), "images"),
        (lambda: image_grid([np.zeros((1, 2, 2))], []), "row_labels"),
        (lambda: image_grid([np.zeros((1, 2, 2))], ["a"], column_labels=[]), "column_labels"),
        (lambda: image_grid([np.zeros((1, 2, 2))], ["a"], scale="all"), "scale"),
    ],
)
def test_bad_input_names_the_argument(make, argument):
    with pytest.raises(ValueError, match=f"Argument `{argument}` must"):
        make()


def test_panels_that_do_not_fit_are_refused_by_name():
    measured = Measurement(np.ones((2, 3)), np.ones((2, 3)), 5, {"a": [0, 1], "b": [1, 2, 3]})
    law, x = Prediction(np.ones((2, 3))), [1, 2, 3]
    axes = new_figure()[1][0, 0]
    labels = {"x_label": "x", "y_labels": ["y"]}
    for argument, call in (
        ("measured", lambda: draw_panels([], [], **labels)),
        ("laws", lambda: draw_panels([measured], [], **labels)),
        ("titles", lambda: draw_panels([measured], [(x, law)], titles="ab", **labels)),
        ("measured", lambda: draw_measurement(axes, Measurement(1.0, 0.1, 5, {}))),
        ("labels", lambda: draw_measurement(axes, measured, labels=["one"])),
        ("x", lambda: draw_measurement(axes, measured, [1, 2])),
        ("x", lambda: draw_curves(axes, [1, 2], law.values)),
        ("bias", lambda: draw_curves(axes, x, law.values, bias=[1, 2])),
        ("curves", lambda: draw_curves(axes, x, np.ones((2, 2, 3)))),
    ):
        with pytest.raises(ValueError, match=f"Argument `{argument}"):
            call()


@pytest.mark.parametrize("part", [None, Figure().subfigures(), Figure().subplots()])
def test_only_whole_figures_are_written(part, tmp_path):
    with pytest.raises(ValueError, match="figure"):
        save_figure(part, tmp_path / "a.svg")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize("first", [0.0, 0.5])
def test_smooth_lines_of_a_limit_begin_at_its_first_time_on_any_axis(first, logarithmic):
    """No geometric sequence begins at time zero; a logarithmic axis leaves it out."""
    times = np.array([first, 1.0, 4.0])
    limit = integrate(
        linear_regression.problem(0.8), times=times, start=linear_regression.START, points=16,
        method="tensor",
    )  # fmt: skip
    dense, lines = smooth_lines(limit, times, logarithmic)
    assert dense[0] == first
    assert np.all(np.diff(dense) > 0)
    error = 1 - 2 * lines["signal[0,0]"] + lines["norms[0,0]"]
    rate, floor = 2 * 0.8 - 0.8**2, 0.8**2 * linear_regression.NOISE**2
    rest = floor / rate
    exact = rest + (linear_regression.RHO - rest) * np.exp(-rate * dense)
    np.testing.assert_allclose(error, exact, rtol=1e-6)


@pytest.mark.parametrize("points", [3, 40])
def test_a_logarithmic_axis_leaves_out_time_zero(points, tmp_path):
    """A marker far to the left would stretch the layout until nothing is left of it."""
    times = np.linspace(0, 2, points)
    figure = plot_comparison(comparison({"time": times}, 1 + times), logx=True)
    main = rendered(figure, tmp_path).axes[0]
    assert main.get_xlim()[0] > 0
    assert main.get_window_extent().width > 0.5 * figure.bbox.width
