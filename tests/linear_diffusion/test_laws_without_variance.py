"""Laws whose covariance has directions without variance, and pools made from a covariance."""

import jax
import numpy as np
import pytest

from learning_dynamics.spectra import from_covariance
from linear_diffusion import EmpiricalLaw, draw, draw_modes, kl_of_modes, losses_of_modes, theory

RANK = 6


def few_rows():
    """Seven rows of dimension 10: six directions vary."""
    return np.random.default_rng(0).standard_normal((RANK + 1, 10)) + 3


def flat_rows(count=4000):
    """Rows of dimension 9 in a space of dimension 6."""
    rng = np.random.default_rng(1)
    plane = np.linalg.qr(rng.standard_normal((9, RANK)))[0]
    return (rng.standard_normal((count, RANK)) * np.sqrt([4, 2, 1, 1, 0.5, 0.5])) @ plane.T - 1


@pytest.mark.parametrize("rows", [few_rows(), flat_rows()], ids=["few rows", "a plane"])
def test_directions_without_variance_are_left_out(rows):
    law, d = EmpiricalLaw.of(rows), rows.shape[1]
    assert law.spectrum.shape == (RANK,)
    assert law.basis.shape == (d, RANK)
    np.testing.assert_allclose(law.basis.T @ law.basis, np.eye(RANK), atol=1e-10)
    rebuilt = (law.basis * law.spectrum) @ law.basis.T
    np.testing.assert_allclose(rebuilt, np.cov(rows.T, bias=True), atol=1e-12)
    whitened = (rows - rows.mean(axis=0)) @ law.basis / np.sqrt(law.spectrum)
    np.testing.assert_allclose(law.fourth_moment, ((whitened**2).sum(axis=1) ** 2).mean())


def test_samples_keep_all_components_and_stay_in_the_plane(key):
    law = EmpiricalLaw.of(flat_rows())
    drawn = np.asarray(draw(law, 20, key=key), np.float64) - law.mean
    assert drawn.shape == (20, 9)
    np.testing.assert_allclose(drawn @ law.basis @ law.basis.T, drawn, atol=1e-5)


def test_theory_holds_in_the_directions_that_vary(key):
    law = EmpiricalLaw.of(flat_rows())
    modes = draw_modes(law, [60], replicas=60, key=key)
    assert modes.overlap.shape == (60, 1, RANK, RANK)
    train, test = losses_of_modes(modes, 0.0, 0.5)
    predicted = theory.losses(law.spectrum, 60, 0.0, 0.5)
    kl = kl_of_modes(modes, modes.variance, direction="reverse")
    exact = theory.exact_kl(RANK, 60, direction="reverse")
    for measured, value in (
        (train, predicted.train), (test, predicted.test), (kl, exact),
    ):  # fmt: skip
        error = measured.std(ddof=1) / np.sqrt(60)
        assert abs(measured.mean() - float(value.values)) < 5 * error
        assert error < 0.1 * measured.mean()


COVARIANCE = np.diag([3.0, 0.0, 1.0, 0.5])


def test_pool_from_a_covariance_has_exactly_its_moments(key):
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((4, 4)))[0]
    covariance, mean = turn @ COVARIANCE @ turn.T, np.arange(4.0)
    law = EmpiricalLaw.from_covariance(covariance, mean, pool=3000, key=key)
    np.testing.assert_allclose(law.rows.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(law.rows.T @ law.rows / 3000, covariance, atol=1e-12)
    np.testing.assert_array_equal(law.mean, mean)
    np.testing.assert_allclose(law.spectrum, [3.0, 1.0, 0.5], rtol=1e-12)
    # E|y|^4 = d (d + 2) of Gaussian rows, and d fixed by the whitening
    assert abs(law.fourth_moment - 15) < 5 * np.sqrt(2 * 15 * 20 / 3000)
    again = EmpiricalLaw.of(law.rows + mean)
    np.testing.assert_allclose(again.spectrum, law.spectrum, rtol=1e-9)
    other = EmpiricalLaw.from_covariance(covariance, pool=3000, key=jax.random.key(5))
    assert not np.allclose(other.rows, law.rows)


@pytest.mark.parametrize(
    ("covariance", "mean", "pool", "name"),
    [
        (np.ones((2, 3)), None, 9, "covariance"),
        ([[1.0, 0.5], [0.2, 1.0]], None, 9, "covariance"),
        ([[1.0, 2.0], [2.0, 1.0]], None, 9, "covariance"),
        (np.zeros((2, 2)), None, 9, "covariance"),
        (np.eye(2), np.zeros(3), 9, "mean"),
        (np.eye(2), None, 2, "pool"),
        (np.eye(2) * np.nan, None, 9, "covariance"),
        (np.zeros((0, 0)), None, 9, "covariance"),
        (2.0, None, 9, "covariance"),
    ],
)
def test_bad_covariance(covariance, mean, pool, name, key):
    with pytest.raises(ValueError, match=f"`{name}` must"):
        EmpiricalLaw.from_covariance(covariance, mean, pool=pool, key=key)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("seed", range(4))
def test_rounding_of_a_covariance_is_no_variance_and_not_refused(dtype, seed):
    """Null directions of a matrix in a short number type have eigenvalues of its rounding."""
    rows = np.random.default_rng(seed).standard_normal((5, 30)).astype(dtype)
    centred = rows - rows.mean(axis=0)
    covariance = (centred.T @ centred / 5).astype(dtype)
    assert np.linalg.eigvalsh(covariance.astype(np.float64))[0] < 0
    law = EmpiricalLaw.from_covariance(covariance, pool=50, key=seed)
    assert law.spectrum.shape == (4,)
    np.testing.assert_allclose(
        law.rows.T @ law.rows / 50, covariance, atol=20 * np.finfo(dtype).eps
    )


def test_what_is_wrong_with_a_covariance_is_said():
    for matrix, message in (
        ([[1.0, 0.3], [0.0, 1.0]], "be symmetric, but got entries that differ by up to 0.3"),
        (np.diag([1.0, 1.0, -0.2]), "have no negative eigenvalue, but got -0.2"),
        (np.float32([[1.0, 0.3], [0.2999, 1.0]]), "be symmetric"),
        (np.float32(np.diag([1.0, -1e-5])), "have no negative eigenvalue"),
        (np.ones((3, 2)), r"be square, but got shape \(3, 2\)"),
    ):
        with pytest.raises(ValueError, match=f"`covariance` must {message}"):
            from_covariance(matrix)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.ones((1, 10)), "hold at least two samples"),
        (np.zeros((0, 3)), "hold at least two samples"),
        (np.ones((4, 3)), "vary"),
        (np.ones(4), "have 2 dimension"),
        ([[1.0, np.nan], [0.0, 1.0]], "be finite"),
    ],
)
def test_a_pool_that_is_no_law_is_refused_by_name(data, message):
    with pytest.raises(ValueError, match=f"`data` must {message}"):
        EmpiricalLaw.of(data)


@pytest.mark.parametrize("rows", [few_rows()[:2], np.outer(np.arange(5.0), [0, 1, 0]) + 7.3])
def test_a_single_direction_that_varies_is_a_law(rows, key):
    law = EmpiricalLaw.of(rows)
    assert law.spectrum.shape == (1,)
    modes = draw_modes(law, [4], replicas=3, key=key)
    np.testing.assert_allclose(modes.overlap**2, 1, rtol=1e-6)
    assert np.all(np.isfinite(theory.kl(law.spectrum, 4, 0.1, direction="forward").values))


def test_spectrum_of_a_covariance():
    found = from_covariance(COVARIANCE)
    np.testing.assert_allclose(found.spectrum, [3, 1, 0.5])
    np.testing.assert_allclose(np.abs(found.basis.T @ [1, 1, 1, 1]), [1, 1, 1])
