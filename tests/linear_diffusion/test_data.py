import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from learning_dynamics.images import cut_patches, load_bundled
from learning_dynamics.spectra import power_law
from learning_dynamics.testing import assert_same_law
from linear_diffusion import EmpiricalLaw, LatentLaw, draw, draw_moments
from linear_diffusion.data import BLOCK, KURTOSIS, LATENTS

D = 4


def law(latents="gaussian"):
    basis = stats.ortho_group.rvs(D, random_state=np.random.default_rng(7))
    return LatentLaw(power_law(D, 1.0), np.array([1.0, -2.0, 0.0, 30.0]), basis, latents)


def pool(rows=40):
    rng = np.random.default_rng(11)
    return rng.standard_t(6, (rows, D)) @ rng.standard_normal((D, D)) + 3


def covariance(law):
    return (law.basis * law.spectrum) @ law.basis.T


def whitened(law, rows):
    return (np.asarray(rows, np.float64) - law.mean) @ (law.basis / np.sqrt(law.spectrum))


def deviation(draws, expected):
    """Difference of the mean over the leading axis from `expected` in standard errors."""
    draws = np.asarray(draws, np.float64)
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    return np.abs(draws.mean(axis=0) - expected) / error


@pytest.mark.parametrize("latents", LATENTS)
def test_moments(latents, key):
    one = law(latents)
    rows = draw(one, 100_000, key=key)
    assert rows.dtype == jnp.float32
    y = whitened(one, rows)
    assert np.all(deviation(y, 0) < 5)
    fourth = (y**2).sum(axis=1) ** 2
    if latents == "rademacher":  # squares do not fluctuate at all
        np.testing.assert_allclose(y**2, 1, rtol=1e-4)
        np.testing.assert_allclose(fourth, one.fourth_moment, rtol=1e-4)
    elif latents != "student":  # without eighth moment there is no standard error
        assert deviation(fourth, one.fourth_moment) < 5
    pairs = np.triu_indices(D, k=1 if latents == "rademacher" else 0)
    products = (y[:, :, None] * y[:, None, :])[:, *pairs]
    assert np.all(deviation(products, np.eye(D)[pairs]) < 5)


@pytest.mark.parametrize(
    ("latents", "exact"),
    [
        ("gaussian", stats.norm()),
        ("uniform", stats.uniform(-np.sqrt(3), 2 * np.sqrt(3))),
        ("laplace", stats.laplace(scale=1 / np.sqrt(2))),
        ("student", stats.t(5, scale=np.sqrt(3 / 5))),
    ],
)
def test_distribution_of_the_latents(latents, exact, key):
    """The whole law by a Kolmogorov-Smirnov test, and its kurtosis."""
    rows = np.asarray(draw(LatentLaw([1.0], latents=latents), 20_000, key=key))[:, 0]
    assert_same_law(rows, exact.cdf, false_alarm=1e-4)
    assert exact.var() == pytest.approx(1)
    assert exact.stats("k") + 3 == pytest.approx(KURTOSIS[latents])


@pytest.mark.parametrize("samples", [2, BLOCK, BLOCK + 1, 1000])
@pytest.mark.parametrize("source", ["latent", "pool"])
def test_accumulated_moments_are_those_of_the_drawn_rows(samples, source, key):
    one = law("uniform") if source == "latent" else EmpiricalLaw.of(pool())
    with jax.enable_x64(True):
        rows = np.asarray(draw(one, samples, key=key, dtype=np.float64))
        mean, second = draw_moments(one, samples, key=key)
    assert rows.shape == (samples, D)
    np.testing.assert_allclose(mean, rows.mean(axis=0) - one.mean, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(second, np.cov(rows.T, bias=True), rtol=1e-9, atol=1e-12)


def test_moments_in_single_precision(key):
    mean, second = draw_moments(law(), 700, key=key, dtype=np.float32)
    assert mean.dtype == second.dtype == jnp.float32
    rows = np.asarray(draw(law(), 700, key=key), np.float64)
    np.testing.assert_allclose(mean, rows.mean(axis=0) - law().mean, atol=1e-5)
    np.testing.assert_allclose(second, np.cov(rows.T, bias=True), atol=1e-5)


def test_smaller_set_is_the_beginning_of_the_larger(key):
    long = draw(law(), 3 * BLOCK + 5, key=key)
    for samples in (BLOCK - 1, BLOCK + 1):
        np.testing.assert_array_equal(draw(law(), samples, key=key), long[:samples])


def test_sample_size_and_law_do_not_recompile_the_moments(key):
    draw_moments(law(), 10, key=key, dtype=np.float32)
    other, compiled = LatentLaw(power_law(D, 2.0)), []

    def count(event, *_, **__):
        compiled.extend([event] if event.endswith("backend_compile_duration") else [])

    jax.monitoring.register_event_duration_secs_listener(count)
    try:
        for samples in (11, 5000):
            draw_moments(other, samples, key=key, dtype=np.float32)
    finally:
        jax.monitoring.unregister_event_duration_listener(count)
    assert compiled == []


@pytest.mark.parametrize("source", ["latent", "pool"])
def test_keys_give_independent_sets(source, key):
    one = law() if source == "latent" else EmpiricalLaw.of(pool())
    sets = [whitened(one, draw(one, 4000, key=jax.random.fold_in(key, r))) for r in range(2)]
    assert not np.allclose(sets[0], sets[1])
    assert np.all(deviation(sets[0] * sets[1], 0) < 5)
    assert np.all(deviation(sets[0][1:] * sets[0][:-1], 0) < 5)  # rows of one set
    np.testing.assert_array_equal(
        draw(one, 50, key=jax.random.fold_in(key, 1)), draw(one, 50, key=jax.random.fold_in(key, 1))
    )


def test_empirical_moments_are_those_of_the_pool():
    rows = pool()
    one = EmpiricalLaw.of(rows)
    np.testing.assert_allclose(one.mean, rows.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(covariance(one), np.cov(rows.T, bias=True), rtol=1e-10, atol=1e-12)
    precision = np.linalg.inv(np.cov(rows.T, bias=True))
    centred = rows - rows.mean(axis=0)
    squares = np.einsum("ni,ij,nj->n", centred, precision, centred)
    assert one.fourth_moment == pytest.approx(np.mean(squares**2), rel=1e-10)


def test_empirical_draws_are_rows_of_the_pool_drawn_uniformly(key):
    rows = pool(20)
    one = EmpiricalLaw.of(rows)
    drawn = np.asarray(draw(one, 10_000, key=key), np.float64)
    distance = np.abs(drawn[:, None] - rows).max(axis=-1)
    chosen = distance.argmin(axis=1)
    assert distance.min(axis=1).max() < 1e-5
    counts = np.bincount(chosen, minlength=20)
    assert np.all(np.abs(counts - 500) < 5 * np.sqrt(500 * 0.95))


def test_image_patches_as_the_population(key):
    patches = cut_patches(load_bundled("camera"), 4, drop_flat=1e-6).patches
    one = EmpiricalLaw.of(patches)
    assert one.spectrum.shape == (16,)
    np.testing.assert_allclose(
        covariance(one), np.cov(patches.astype(np.float64).T, bias=True), atol=1e-12
    )
    drawn = np.asarray(draw(one, 2000, key=key))
    known = {tuple(row) for row in np.round(patches, 4)}
    assert np.mean([tuple(row) in known for row in np.round(drawn, 4)]) > 0.9
    assert np.all(deviation(whitened(one, drawn), 0) < 5)


@pytest.mark.parametrize("source", ["latent", "pool"])
def test_double_precision(source, key):
    one = law("student") if source == "latent" else EmpiricalLaw.of(pool())
    with jax.enable_x64(True):
        rows = draw(one, 10, key=key, dtype=np.float64)
    assert rows.dtype == np.float64
    assert np.any(np.asarray(rows) != np.asarray(rows).astype(np.float32))


def test_laws_pass_through_transformations(key):
    one = law()
    shape = jax.eval_shape(lambda law: draw(law, 7, key=key), one)
    assert shape.shape == (7, D)
    keys = jax.random.split(key, 3)
    many = jax.vmap(lambda key: draw(one, 7, key=key))(keys)
    np.testing.assert_allclose(many[1], draw(one, 7, key=keys[1]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (([1.0, 2.0],), "spectrum"),
        (([1.0, 0.0],), "spectrum"),
        (([],), "spectrum"),
        (([1.0, 1.0], [0.0]), "mean"),
        (([1.0, 1.0], [0.0, np.nan]), "mean"),
        (([1.0, 1.0], None, np.ones((2, 2))), "basis"),
        (([1.0, 1.0], None, np.eye(3)), "basis"),
        (([1.0, 1.0], None, None, "cauchy"), "latents"),
    ],
)
def test_bad_law(arguments, name):
    with pytest.raises(ValueError, match=f"`{name}` must"):
        LatentLaw(*arguments)


@pytest.mark.parametrize("samples", [1, 0, -3, 2.5])
def test_bad_sample_size(samples, key):
    with pytest.raises(ValueError, match="`samples` must"):
        draw(law(), samples, key=key)


@pytest.mark.parametrize(
    "rows", [np.ones(3), np.ones((5, 2)), np.eye(3)[:1], np.full((4, 2), np.nan)]
)
def test_bad_pool(rows):
    with pytest.raises(ValueError, match=r"`(rows|data)` must"):
        EmpiricalLaw.of(rows)
