"""The section on linear diffusion models: it passes on data it claims to hold for, and can fail."""

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

from learning_dynamics.evidence.comparison import Comparison
from learning_dynamics.inspection.samples import as_samples
from linear_diffusion import inspections, theory
from linear_diffusion.inspections import finite_samples

KEY = jax.random.key(0)
NAMES = [
    "training and test loss",
    "forward and reverse divergence",
    "similarity of two models",
    "best ridge",
    "best stopping time",
]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(Comparison, "plot", lambda self, **options: Figure())
    monkeypatch.setattr(inspections, "DIRECTIONS", 24)
    monkeypatch.setattr(inspections, "RATIOS", np.array([0.5, 1.0, 2.0]))


def rows(law="normal", contrast=False):
    rng = np.random.default_rng(0)
    found = (getattr(rng, law)(size=(4000, 24)) - 0.5 * (law == "uniform")) * np.arange(
        1.0, 25.0
    ) ** -0.5
    return found * np.exp(0.7 * rng.standard_normal((4000, 1))) if contrast else found


@pytest.mark.parametrize("law", ["normal", pytest.param("uniform", marks=pytest.mark.slow)])
def test_theory_passes_on_independent_coordinates(law):
    found = finite_samples(as_samples(rows(law)), KEY)
    assert [each.name for each in found.comparisons] == NAMES
    assert [each.verdict for each in found.comparisons] == ["pass"] * 5
    assert all(each.catches < 0.35 for each in found.comparisons)
    assert not found.unclaimed
    numbers = {number.name: number.value for number in found.numbers}
    spectrum = as_samples(rows(law)).spectrum.spectrum
    expected = theory.losses(spectrum, 4000, 0.0, 0.9)
    np.testing.assert_allclose(numbers["predicted test loss"], expected.test.values, rtol=1e-12)
    assert numbers["transition from memorising to generalising"] == 24
    assert not any(number.unclaimed for number in found.numbers)
    twice = "N at which the test loss is twice the best"
    error = next(n.error for n in found.numbers if n.name == f"{twice}, measured")
    shift = numbers[f"{twice}, measured"] - numbers[f"{twice}, predicted"]
    assert abs(shift - 0.5) < 5 * error + 0.5  # the prediction is a whole number
    assert (
        f"; the theory says {numbers[f'{twice}, predicted']}. You have 4000 rows." in found.answer
    )


@pytest.mark.slow
def test_contrast_that_fluctuates_is_not_claimed():
    found = finite_samples(as_samples(rows(contrast=True)), KEY)
    assert not found.comparisons
    assert [each.name for each, _ in found.unclaimed] == NAMES
    assert any(each.verdict == "fail" for each, _ in found.unclaimed)
    assert all("contrast" in reason for _, reason in found.unclaimed)
    marked = {number.name: number.unclaimed for number in found.numbers}
    assert marked["predicted test loss"]
    assert marked["N at which the test loss is twice the best, predicted"]
    assert not marked["N at which the test loss is twice the best, measured"]
    assert not marked["loss of the best linear denoiser"]
    assert "which is not claimed for such data" in found.answer


def test_wrong_theory_fails(monkeypatch):
    """Control: losses and divergences of models with twice the data."""
    losses, kl = theory.losses, theory.kl
    monkeypatch.setattr(theory, "losses", lambda s, N, *rest: losses(s, 2 * np.asarray(N), *rest))
    monkeypatch.setattr(
        theory, "kl", lambda s, N, *rest, **how: kl(s, 2 * np.asarray(N), *rest, **how)
    )
    found = finite_samples(as_samples(rows()), KEY)
    assert [each.verdict for each in found.comparisons[:2]] == ["fail", "fail"]


def test_too_few_rows_for_subsamples():
    found = finite_samples(as_samples(rows()[:20]), KEY)
    assert not found.comparisons
    assert not found.unclaimed
    assert "too few" in found.notes[-1]
    assert "too few" in found.answer
    assert any(number.unclaimed for number in found.numbers)
    assert all(np.isfinite(number.value) for number in found.numbers)


def test_largest_subsamples_bound_the_search_for_twice_the_best_loss():
    """An eighth of 240 rows is 30, between what the theory says and the next size, 1.4 of it."""
    numbers, answer = inspections._doubled(as_samples(rows()[:240]), KEY, True)
    predicted = numbers[0].value
    assert 24 <= predicted <= 25
    assert abs(numbers[1].value - predicted) < 5 * numbers[1].error + predicted**2 / 240
    assert f"measured on subsamples; the theory says {predicted}." in answer
    numbers, answer = inspections._doubled(as_samples(rows()[:120]), KEY, True)
    assert len(numbers) == 1
    assert "up to N = 15 rows, the largest subsamples" in answer
