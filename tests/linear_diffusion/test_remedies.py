"""Best ridge and best stopping time of simulated models."""

import jax
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from learning_dynamics.spectra import power_law
from linear_diffusion import LatentLaw, draw_modes, kl_of_modes, losses_of_modes
from linear_diffusion.remedies import early_stopping, ridge_regularisation

LAW, SIZES = LatentLaw(power_law(30, 1.0)), [15, 24]
MODES = draw_modes(LAW, SIZES, replicas=8, key=jax.random.key(1))
PARTS = [MODES.at(i) for i in range(len(SIZES))]


def mean_kl(part, c):
    return kl_of_modes(MODES, MODES.variance + c, direction="forward")[:, part].mean()


def mean_loss(part, tau):
    return losses_of_modes(MODES, 0.0, 0.9, tau)[1][:, part].mean()


@pytest.mark.parametrize(
    ("remedy", "error"), [(ridge_regularisation(), mean_kl), (early_stopping(0.9), mean_loss)]
)
def test_the_measured_optimum_minimises_the_mean_error(remedy, error):
    near = [float(remedy.best(LAW.spectrum, N).values) for N in SIZES]
    found = remedy.optimum(PARTS, near, {"N": SIZES})
    for i, guess in enumerate(near):
        brute = minimize_scalar(
            lambda log, i=i: error(i, np.exp(log)), bounds=np.log([guess / 2, guess * 2]),
            method="bounded",
        )  # fmt: skip
        assert found.values[i] == pytest.approx(np.exp(brute.x), rel=0.02)  # the jackknife's bias
        assert abs(found.values[i] - guess) < 5 * found.standard_error[i] + guess / 15
    values = np.array([0.1, 1.0, 3.0])
    errors = remedy.errors(PARTS, values, {"N": SIZES})
    assert list(errors.coordinates) == ["N", remedy.axis]
    assert errors.values[1, 2] == pytest.approx(error(1, 3.0))
    expected = remedy.expected(LAW.spectrum, SIZES, values)
    assert expected.values.shape == (2, 3)
    gap = np.abs(errors.values - expected.values)
    assert np.all(gap < 5 * errors.standard_error + 10 / 15**2)


@pytest.mark.parametrize("near", [[0.1], [0.1, -1.0], [0.1, np.inf]])
def test_a_guess_for_each_case_is_needed(near):
    with pytest.raises(ValueError, match="`near` must"):
        early_stopping(0.9).optimum(PARTS, near, {"N": SIZES})


def test_remedies_refuse_what_they_cannot_measure():
    drawn = draw_modes(LatentLaw(np.ones(3)), [5, 6], replicas=2, key=jax.random.key(0))
    ridge = ridge_regularisation()
    with pytest.raises(ValueError, match="`direction`"):
        ridge_regularisation("sideways")
    with pytest.raises(ValueError, match="`alpha_bar`"):
        early_stopping(2.0)
    with pytest.raises(ValueError, match="`values`"):
        ridge.errors([drawn.at(0)], [-0.1], {"N": [5]})
    for sets in ([], [drawn]):
        with pytest.raises(ValueError, match="`drawn`"):
            ridge.errors(sets, [0.1], {"N": [5]})
    with pytest.raises(ValueError, match="`size`"):
        drawn.at(2)
