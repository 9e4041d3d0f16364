"""Shapes that broadcast, and arguments that are refused."""

import numpy as np
import pytest

from learning_dynamics.evidence.comparison import Prediction
from learning_dynamics.noise_schedule import NoiseSchedule
from linear_diffusion import theory

from . import witnesses as w

SPECTRUM = w.spectrum("power1", 8)
SCHEDULE = NoiseSchedule.linear(20, 1e-3, 0.3)
TIMES = np.array([0.5, 5.0, 50.0])


@pytest.mark.parametrize("samples", [5, np.array([5, 20]), np.array([[5], [20]])])
@pytest.mark.parametrize("ridge", [0.1, np.array([0.1, 0.2])])
def test_samples_and_ridge_broadcast(samples, ridge):
    shape = np.broadcast_shapes(np.shape(samples), np.shape(ridge))
    found = [
        theory.implicit_ridge(SPECTRUM, samples, ridge),
        theory.kl(SPECTRUM, samples, ridge, direction="forward"),
        theory.kl(SPECTRUM, samples, ridge, direction="reverse"),
        theory.losses(SPECTRUM, samples, ridge, 0.3).train,
        theory.losses(SPECTRUM, samples, ridge, 0.3).test,
        theory.similarity(SPECTRUM, samples, ridge),
    ]
    for prediction in found:
        assert isinstance(prediction, Prediction)
        assert prediction.values.shape == shape
        assert prediction.values.dtype == np.float64
        assert np.all(np.isfinite(prediction.values))
        assert np.all(prediction.numerical_error >= 0)
    along = theory.training_losses(SPECTRUM, samples, ridge, 0.5, TIMES)
    assert along.test.values.shape == (*shape, 3)
    assert along.train.values.shape == (*shape, 3)
    curve = theory.training_kl(SPECTRUM, samples, ridge, SCHEDULE, TIMES, direction="forward")
    assert curve.values.shape == (*shape, 3)


def test_broadcast_entries_are_those_of_single_calls():
    samples, ridge = np.array([[5], [20]]), np.array([0.1, 0.2])
    together = theory.training_losses(SPECTRUM, samples, ridge, 0.5, TIMES).test
    divergence = theory.kl(SPECTRUM, samples, ridge, direction="forward").values
    level = theory.losses(SPECTRUM, samples, ridge, 0.4).test.values
    for i, j in np.ndindex(2, 2):
        n, c = samples[i, 0], ridge[j]
        alone = theory.training_losses(SPECTRUM, n, c, 0.5, TIMES).test
        error = together.numerical_error[i, j] + alone.numerical_error
        assert np.all(np.abs(alone.values - together.values[i, j]) <= error)
        assert theory.kl(SPECTRUM, n, c, direction="forward").values == pytest.approx(
            divergence[i, j]
        )
        assert theory.losses(SPECTRUM, n, c, 0.4).test.values == pytest.approx(level[i, j])


def test_noise_levels_broadcast_against_samples():
    found = theory.losses(SPECTRUM, np.array([[5], [20]]), 0.1, np.array([0.1, 0.5, 0.9]))
    assert found.train.values.shape == found.test.values.shape == (2, 3)
    assert np.broadcast_shapes(found.bayes.values.shape, (2, 3)) == (2, 3)


def test_the_order_of_samples_and_times_does_not_matter():
    ahead = theory.training_losses(SPECTRUM, 5, 0.1, 0.5, TIMES).test
    back = theory.training_losses(SPECTRUM, 5, 0.1, 0.5, TIMES[::-1]).test
    error = ahead.numerical_error + back.numerical_error[::-1]
    assert np.all(np.abs(ahead.values - back.values[::-1]) <= error)


CALLS = {
    "implicit_ridge": lambda s=SPECTRUM, n=20, c=0.1: theory.implicit_ridge(s, n, c),
    "kl": lambda s=SPECTRUM, n=20, c=0.1: theory.kl(s, n, c, direction="forward"),
    "losses": lambda s=SPECTRUM, n=20, c=0.1: theory.losses(s, n, c, 0.5),
    "training_losses": lambda s=SPECTRUM, n=20, c=0.1: theory.training_losses(s, n, c, 0.5, TIMES),
    "training_kl": lambda s=SPECTRUM, n=20, c=0.1: theory.training_kl(
        s, n, c, SCHEDULE, TIMES, direction="reverse"
    ),
    "optimal_stopping": lambda s=SPECTRUM, n=20, c=0.1: theory.optimal_stopping(s, n, c, 0.5),
    "similarity": lambda s=SPECTRUM, n=20, c=0.1: theory.similarity(s, n, c),
}


@pytest.mark.parametrize("call", CALLS)
def test_wrong_arguments_are_refused(call):
    function = CALLS[call]
    function()
    with pytest.raises(ValueError, match="spectrum"):
        function(s=SPECTRUM[::-1])
    with pytest.raises(ValueError, match="spectrum"):
        function(s=np.array([1.0, 0.0]))
    with pytest.raises(ValueError, match="spectrum"):
        function(s=np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="spectrum"):
        function(s=np.array([np.nan, 1.0]))
    with pytest.raises(ValueError, match="spectrum"):
        function(s=np.ones((2, 2)))
    with pytest.raises(ValueError, match="ridge"):
        function(c=-1e-3)
    with pytest.raises(ValueError, match="samples"):
        function(n=20.5)
    if call != "similarity":  # a known mean leaves one sample some use
        with pytest.raises(ValueError, match="samples"):
            function(n=1)
    with pytest.raises(ValueError, match="samples"):
        function(n=0)


def test_exact_kl_refuses_what_has_no_mean():
    for samples in (1, 9, 10):
        with pytest.raises(ValueError, match="samples"):
            theory.exact_kl(8, samples, direction="forward")
    theory.exact_kl(8, 11, direction="forward")
    for samples in (1, 8):
        with pytest.raises(ValueError, match="samples"):
            theory.exact_kl(8, samples, direction="reverse")
    theory.exact_kl(8, 9, direction="reverse")
    with pytest.raises(ValueError, match="samples"):
        theory.exact_kl(8, np.array([20, 10]), direction="forward")
    with pytest.raises(ValueError, match="dimension"):
        theory.exact_kl(0, 10, direction="forward")


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_singular_covariances_have_no_divergence(direction):
    for samples in (2, 5, 8):
        with pytest.raises(ValueError, match=r"ridge|samples"):
            theory.kl(SPECTRUM, samples, 0.0, direction=direction)
    assert np.isfinite(theory.kl(SPECTRUM, 5, 1e-6, direction=direction).values)


def test_other_arguments_are_refused():
    with pytest.raises(ValueError, match="direction"):
        theory.kl(SPECTRUM, 20, 0.1, direction="sideways")
    with pytest.raises(ValueError, match="direction"):
        theory.exact_kl(8, 20, direction="both")
    with pytest.raises(ValueError, match="ratio"):
        theory.kl_proportional(1.5, direction="forward")
    with pytest.raises(ValueError, match="ratio"):
        theory.kl_proportional(-0.5, direction="reverse")
    for alpha_bar in (0.0, -0.1, 1.0, 1.5, np.nan):
        for call in (
            lambda level: theory.losses(SPECTRUM, 20, 0.1, [0.5, level]),
            lambda level: theory.bayes_loss(SPECTRUM, level),
            lambda level: theory.loss_excess(SPECTRUM, level),
        ):
            with pytest.raises(ValueError, match="`alpha_bar` must"):
                call(alpha_bar)
        with pytest.raises(ValueError, match="alpha_bar"):
            theory.training_losses(SPECTRUM, 20, 0.1, alpha_bar, TIMES)
        with pytest.raises(ValueError, match="alpha_bar"):
            theory.optimal_stopping(SPECTRUM, 20, 0.1, alpha_bar)
    with pytest.raises(ValueError, match="times"):
        theory.training_losses(SPECTRUM, 20, 0.1, 0.5, np.array([-1.0]))
    with pytest.raises(ValueError, match="step_size"):
        theory.training_losses(SPECTRUM, 20, 0.1, 0.5, TIMES, step_size=-0.1)
    with pytest.raises(ValueError, match="sampler"):
        theory.training_kl(SPECTRUM, 20, 0.1, SCHEDULE, TIMES, direction="forward", sampler="euler")
    with pytest.raises(ValueError, match="sampler"):
        theory.generated_variance(np.ones(2), SCHEDULE, sampler="euler")
    with pytest.raises(ValueError, match="sampler"):
        theory.similarity(SPECTRUM, 20, 0.1, sampler="euler")
    with pytest.raises(ValueError, match="schedule"):
        theory.similarity(SPECTRUM, 20, 0.1, sampler="ddpm")
    with pytest.raises(ValueError, match="schedule"):
        theory.similarity(SPECTRUM, 20, 0.1, sampler="flow", schedule=SCHEDULE)
    with pytest.raises(ValueError, match="eigenvalues"):
        theory.generated_variance(np.array([-1.0]), SCHEDULE)
    with pytest.raises(ValueError, match="ridge"):
        theory.generated_variance(np.ones(2), SCHEDULE, ridge=-1.0)
