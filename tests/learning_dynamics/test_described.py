"""Figures in words: what is plotted against what, and the entries of the legends."""

import numpy as np

from learning_dynamics import Measurement, Prediction, compare
from learning_dynamics.evidence.described import describe
from learning_dynamics.evidence.figures import new_figure, plot_comparison


def test_panels_axes_scales_and_legends_are_told():
    figure, grid = new_figure(1, 2)
    left, right = grid[0]
    left.plot([1, 2], label=r"$\hat\Sigma$ of 32 runs")
    left.set(xlabel=r"time $\tau$", ylabel="loss", yscale="log", title="all levels")
    left.legend()
    right.imshow(np.ones((2, 2)))
    right.set_axis_off()
    right.set_title("eigenvectors")
    assert describe(figure) == (
        "2 panels: all levels: loss (logarithmic) against time tau; eigenvectors. "
        "Legend: Sigma of 32 runs."
    )


def test_empty_axes_are_left_out():
    figure, _ = new_figure(1, 3)
    assert describe(figure) == "No panel."


def test_a_comparison_names_its_quantity_and_both_sides():
    measured = Measurement.from_replicas(
        np.random.default_rng(0).normal(size=(8, 3)), {"time": [0.0, 1.0, 2.0]}, label="runs"
    )
    compared = compare(measured, Prediction(np.zeros(3), label="law"), quantity="overlap")
    text = describe(plot_comparison(compared))
    for words in ("overlap", "against time", "runs", "law", "residual"):
        assert words in text, text
