"""The rate at which a neuron keeps a relation between phases, and where it rests."""

import jax
import numpy as np
import pytest

from fourier_simplicity import TieOverlap, detection_auc, phase_problem, recovery_law
from fourier_simplicity.claims.detection import INPUTS, RATE, largest_rate, recovered_auc
from fourier_simplicity.diffusion import neuron_diffusion


def test_the_bound_on_the_rate_grows_with_the_dimension_and_holds_at_all_sizes_of_the_claim():
    assert largest_rate(24) == pytest.approx(2 * largest_rate(12))
    assert 0.8 * largest_rate(12) < RATE < largest_rate(12)
    rests = [recovered_auc(n) for n in (12, 24, 10**6)]
    assert np.all(np.diff(rests) > 0)
    best = np.sqrt([0.75, 0, 0.25, 0])  # |m_1|^3 |m_3| at its largest
    assert rests[-1] == pytest.approx(float(detection_auc(INPUTS, "he4", best)), abs=1e-4)
    with pytest.raises(ValueError, match="rate"):
        recovered_auc(12, 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "keeps"), [(0.4, True), (1.4, False)])
def test_neurons_rest_where_growth_balances_noise(rate, keeps):
    n, watched = 24, TieOverlap(INPUTS)
    law = neuron_diffusion(
        phase_problem(INPUTS, "he4", learning_rate=rate / n), dimension=n, times=[20.0 * n**2],
        paths=128, key=jax.random.key(1), step=0.05,
    )  # fmt: skip
    signal = law.values["signal"][:, -1, 0]
    share = np.asarray(watched.along(signal[:, None]))[:, 0] / watched.largest
    assert (rate < largest_rate(n)) == keeps
    if not keeps:
        assert share.mean() < 0.1
        return
    square = (1 + np.sqrt(1 - rate / largest_rate(n))) / 2
    known = share[share > 0.25]
    assert len(known) > 110
    # fluctuations of order 1 / N about the resting place
    assert known.mean() == pytest.approx(square**2, abs=2.5 / n)
    auc = detection_auc(INPUTS, "he4", signal[share > 0.25][:32]).mean() - 0.5
    assert auc == pytest.approx(recovered_auc(n, rate) - 0.5, rel=2.5 / n + 0.05)


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
