"""The rate at which a neuron keeps a relation between phases, and where it rests."""

import jax
import numpy as np
import pytest

from fourier_simplicity import (
    FourierInputs,
    TieOverlap,
    detection_auc,
    harmonic,
    largest_rate,
    phase_problem,
    recovery_law,
    recovery_shift,
    resting_overlaps,
    triad,
)
from fourier_simplicity.claims.detection import RATE, resting_auc
from fourier_simplicity.diffusion import neuron_diffusion
from fourier_simplicity.theory import leading_form, slope_moments

INPUTS = FourierInputs(64, harmonic(1))
BOUND = largest_rate(INPUTS, "he4")


def test_the_bound_on_the_rate_holds_at_all_sizes_of_the_claim():
    assert 0.8 * 12 * BOUND < RATE < 12 * BOUND
    rests = [resting_auc(n) for n in (12, 24, 10**6)]
    assert np.all(np.diff(rests) > 0)
    best = np.sqrt([0.75, 0, 0.25, 0])  # |m_1|^3 |m_3| at its largest
    assert rests[-1] == pytest.approx(float(detection_auc(INPUTS, "he4", best)), abs=1e-4)
    with pytest.raises(ValueError, match="rate"):
        resting_overlaps(INPUTS, "he4", 0.5 / 12)


@pytest.mark.parametrize(("tie", "activation"), [(harmonic(1), "he4"), (triad(1, 2), "he3")])
def test_at_rest_growth_balances_noise(tie, activation):
    """2 k f rho^(k-2) (1 - rho^2) = delta V, on the branch that ends at the bound."""
    inputs = FourierInputs(64, tie)
    bound, form = largest_rate(inputs, activation), leading_form(inputs, activation)
    k, steepest, noise = form.order, -form.lowest()[0], slope_moments(activation)[0]
    rests = []
    for rate in (0.2 * bound, 0.9 * bound, (1 - 1e-9) * bound):
        overlaps = resting_overlaps(inputs, activation, rate)
        rests.append(rho := np.linalg.norm(overlaps))
        assert -float(form(overlaps)) == pytest.approx(steepest * rho**k)
        growth = 2 * k * steepest * rho ** (k - 2) * (1 - rho**2)
        assert growth == pytest.approx(rate * noise)
    assert rests[0] > rests[1] > rests[2] == pytest.approx(np.sqrt((k - 2) / k), abs=1e-4)


def test_the_shift_of_the_law_falls_as_log_n_over_n():
    sizes = np.array([10**3, 10**4, 10**5])
    shifts = [recovery_shift(INPUTS, "he4", RATE, dimension=n, share=0.25) for n in sizes.tolist()]
    assert np.all(np.array(shifts) > 0)
    scaled = np.array(shifts) * sizes / np.log(sizes)
    assert 0.8 < scaled[2] / scaled[1] < 1.25


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "keeps"), [(0.4, True), (1.4, False)])
def test_neurons_rest_where_growth_balances_noise(rate, keeps):
    n, watched = 24, TieOverlap(INPUTS)
    paths = neuron_diffusion(
        phase_problem(INPUTS, "he4", learning_rate=rate / n), dimension=n, times=[20.0 * n**2],
        paths=128, key=jax.random.key(1), step=0.05,
    )  # fmt: skip
    signal = paths.values["signal"][:, -1, 0]
    share = np.asarray(watched.along(signal[:, None]))[:, 0] / watched.largest
    assert (rate / n < BOUND) == keeps
    if not keeps:
        assert share.mean() < 0.1
        return
    square = (1 + np.sqrt(1 - rate / n / BOUND)) / 2
    known = watched.known(paths, 0.25)[:, 0]
    assert known.sum() > 110
    # fluctuations of order 1 / N about the resting place
    assert share[known].mean() == pytest.approx(square**2, abs=2.5 / n)
    auc = detection_auc(INPUTS, "he4", signal[known][:32]).mean() - 0.5
    rest = detection_auc(INPUTS, "he4", resting_overlaps(INPUTS, "he4", rate / n)) - 0.5
    assert auc == pytest.approx(float(rest), rel=2.5 / n + 0.05)


@pytest.mark.slow
def test_a_faster_rate_shortens_the_law_up_to_the_best_one():
    medians = {
        rate: np.median(
            recovery_law(INPUTS, "he4", rate, key=jax.random.key(0), draws=256, longest=4.0)
        )
        for rate in (0.4, 1.4, 3.0)
    }
    assert medians[0.4] > 1.3 * medians[1.4]
    assert medians[3.0] > 1.3 * medians[1.4]
