"""One figure of all levels: markers of the simulation, a line of its own for each theory."""

import numpy as np
import pytest

import learning_dynamics as ld

TIME = np.geomspace(0.1, 10, 6)
LABELS = ["overlaps, N = 400", "limit", "first order"]


def comparisons(names=("norms[0,0]", "signal[0,0]"), logarithmic=True, theories=3):
    rng = np.random.default_rng(0)
    truth = np.exp(-TIME[:, None] / (1 + np.arange(len(names)))) - (0 if logarithmic else 0.5)
    axes = {"time": TIME, "quantity": np.array(names)}
    draws = truth * (1 + 0.01 * rng.normal(size=(10, *truth.shape)))
    seen = ld.Measurement.from_replicas(draws, axes, label="ambient, N = 400")
    laws = [ld.Prediction(truth * (1 + 0.3 * i), 1e-3, label=LABELS[i]) for i in range(theories)]
    return ld.compare_each(seen, *laws, name="levels")


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("logarithmic", [True, False])
def test_points_once_and_a_line_for_each_theory(logarithmic, tmp_path):
    result = comparisons(logarithmic=logarithmic)
    figure = result.plot(tmp_path / "levels.png", overlay=True)
    main, *residuals = figure.axes
    assert len(main.containers) == 2  # error bars, one for each series
    drawn = [line for line in main.lines if line.get_linestyle() in ("-", "--", ":")]
    assert sorted(line.get_linestyle() for line in drawn) == ["-", "-", "--", "--", ":", ":"]
    for style, item in zip(("-", "--", ":"), result, strict=True):
        heights = [line.get_ydata() for line in drawn if line.get_linestyle() == style]
        np.testing.assert_allclose(np.transpose(heights), item.predicted.values)
    assert len(residuals) == 3
    for axes, label in zip(residuals, LABELS, strict=True):
        assert axes.get_title(loc="left").startswith(f"{label}: ")
    assert texts(figure.legends[0])[:4] == ["ambient, N = 400", *LABELS]
    assert texts(figure.legends[0])[4:] == ["norms[0,0]", "signal[0,0]"]
    low, high = main.get_ylim()
    everything = np.concatenate([item.predicted.values for item in result])
    assert low < everything.min()
    assert high > everything.max()
    assert main.get_yscale() == ("log" if logarithmic else "linear")
    assert (tmp_path / "levels.png").stat().st_size > 1000


def test_many_series_and_the_form_side_by_side():
    names = [f"norms[{i},{j}]" for i in range(5) for j in range(i, 5)]
    result = comparisons(names, theories=2)
    figure = result.plot(overlay=True)
    assert len(figure.axes) == 2 * 3
    assert [len(axes.containers) for axes in figure.axes[:2]] == [8, 7]
    beside = comparisons().plot()
    assert [axes.get_title() for axes in beside.axes[:3]] == LABELS


def test_names_along_x():
    seen = ld.Measurement(np.ones(3), 0.1, 4, {"model": ["a", "b", "c"]}, label="seen")
    laws = [ld.Prediction(np.full(3, v), label=f"law {v}") for v in (1.0, 1.2)]
    figure = ld.compare_each(seen, *laws).plot(overlay=True)
    assert [lines.get_linestyle()[0][1] is None for lines in figure.axes[0].collections[-2:]]
    assert len(figure.axes) == 3
