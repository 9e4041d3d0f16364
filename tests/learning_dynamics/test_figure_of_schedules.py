"""What a figure of an optimal schedule shows, from the numbers of the schedule."""

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.figure import Figure

from learning_dynamics import schedules
from learning_dynamics.protocols.figures import draw_schedule
from tests.learning_dynamics.kernel.linear_regression import problem


def lines(rate, constants, name="learning_rate", **options):
    axes = Figure().add_subplot()
    optimum = SimpleNamespace(
        problem=problem(rate, **options), constants=constants,
        limit=SimpleNamespace(times=np.array([6.0])),
    )  # fmt: skip
    draw_schedule(axes, optimum, name)
    return [np.asarray(line.get_xydata()) for line in axes.lines]


def test_a_table_has_markers_at_its_values_beside_the_best_constant():
    table = schedules.piecewise_linear([0.0, 2.0, 6.0], [0.9, 0.5, 0.1])
    marked, joined, constant = lines(table, {"learning_rate": 0.4})
    np.testing.assert_array_equal(marked, [[0, 0.9], [2, 0.5], [6, 0.1]])
    np.testing.assert_array_equal(joined, marked)
    np.testing.assert_array_equal(constant[:, 1], 0.4)


def test_a_table_shorter_than_the_run_is_constant_beyond_its_ends():
    marked, joined = lines(schedules.piecewise_linear([1.0, 2.0], [0.9, 0.5]), {})
    np.testing.assert_array_equal(marked, [[1, 0.9], [2, 0.5]])
    np.testing.assert_array_equal(joined, [[0, 0.9], [1, 0.9], [2, 0.5], [6, 0.5]])


@pytest.mark.parametrize(
    ("schedule", "ends"),
    [
        (schedules.power(1.0, 1.0, 2.0), [1.0, 0.25]),
        (schedules.piecewise_constant([3.0], [0.8, 0.2]), [0.8, 0.2]),
    ],
)
def test_another_schedule_is_a_line_up_to_the_last_time(schedule, ends):
    (drawn,) = lines(schedule, {})
    np.testing.assert_allclose(drawn[[0, -1]], np.transpose([[0.0, 6.0], ends]), rtol=1e-6)


def test_schedules_of_other_numbers_are_drawn_by_their_path():
    path = "protocol.label_noise"
    table = schedules.piecewise_linear([0.0, 6.0], [0.5, 0.3])
    marked, *_ = lines(0.5, {}, path, protocol={"label_noise": table})
    np.testing.assert_array_equal(marked, [[0, 0.5], [6, 0.3]])
    with pytest.raises(ValueError, match=r"Argument `name` must be one of the schedules \['proto"):
        lines(0.5, {}, protocol={"label_noise": table})


def test_a_loaded_optimum_has_no_schedule():
    with pytest.raises(ValueError, match="Argument `optimum` must hold its problem"):
        draw_schedule(Figure().add_subplot(), SimpleNamespace(problem=None))
    with pytest.raises(ValueError, match="Argument `optimum` must hold its problem"):
        draw_schedule(Figure().add_subplot(), problem(schedules.constant(0.5)))


@pytest.mark.parametrize("index", [-1, 1.5, True, None])
def test_an_index_that_counts_no_series_is_refused(index):
    optimum = SimpleNamespace(
        problem=problem(schedules.constant(0.5)), constants={},
        limit=SimpleNamespace(times=np.array([6.0])),
    )  # fmt: skip
    with pytest.raises(ValueError, match="Argument `index`"):
        draw_schedule(Figure().add_subplot(), optimum, index=index)
