import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm, sqrtm
from scipy.stats import ortho_group

from learning_dynamics.noise_schedule import NoiseSchedule, noise_levels
from learning_dynamics.spectra import power_law
from linear_diffusion import (
    Denoiser,
    LatentLaw,
    denoiser_losses,
    draw,
    draw_modes,
    gaussian_kl,
    generated_moments,
    kl_of_modes,
    losses_of_modes,
    optimum,
    population_gains,
    root_overlap,
    trained_variance,
)
from linear_diffusion.simulation import SampleModes, learning_times, modes_of, sgd_gains

D = 5
SIZES = [3, 12]
REPLICAS = 2
KEY = jax.random.key(77)
SCHEDULE = NoiseSchedule.linear(40, 1e-3, 0.15)


def make_law(mean=None):
    basis = ortho_group.rvs(D, random_state=np.random.default_rng(1))
    return LatentLaw(power_law(D, 1.0), mean, basis, "uniform")


LAW = make_law()


@pytest.fixture(scope="module")
def modes():
    return draw_modes(LAW, SIZES, replicas=REPLICAS, key=KEY)


def population():
    return (LAW.basis * LAW.spectrum) @ LAW.basis.T


def each():
    """Index, mean and covariance of every data set, drawn as rows."""
    for r in range(REPLICAS):
        for i, N in enumerate(SIZES):
            key = jax.random.fold_in(jax.random.fold_in(KEY, r), N)
            with jax.enable_x64(True):
                rows = np.asarray(draw(LAW, N, key=key, dtype=np.float64))
            yield (r, i), rows.mean(axis=0), np.cov(rows.T, bias=True)


def vectors(modes, index):
    """Eigenvectors of the sample covariance as columns, in the coordinates of the data."""
    return LAW.basis @ modes.overlap[index].T


def weights_after(covariance, ridge, a, time):
    """Gradient flow from zero by a matrix exponential: the matrix equation's own solution."""
    identity = np.eye(D)
    rate = a * (covariance + ridge * identity) + (1 - a) * identity
    growth = identity if np.isinf(time) else identity - expm(-rate * time)
    return np.sqrt(1 - a) * np.linalg.solve(rate, growth)


def test_modes_are_those_of_the_drawn_rows(modes):
    assert modes.variance.shape == (REPLICAS, len(SIZES), D)
    assert modes.overlap.shape == (REPLICAS, len(SIZES), D, D)
    np.testing.assert_array_equal(modes.samples, SIZES)
    for index, mean, covariance in each():
        v = vectors(modes, index)
        np.testing.assert_allclose(v.T @ v, np.eye(D), atol=1e-12)
        rebuilt = (v * modes.variance[index]) @ v.T
        np.testing.assert_allclose(rebuilt, covariance, atol=1e-12)
        np.testing.assert_allclose(modes.mean_error[index], v.T @ mean, atol=1e-12)
        signal = np.diagonal(v.T @ population() @ v)
        precision = np.diagonal(v.T @ np.linalg.inv(population()) @ v)
        np.testing.assert_allclose(modes.signal[index], signal, rtol=1e-10)
        np.testing.assert_allclose(modes.precision[index], precision, rtol=1e-10)


def test_null_directions_are_exact():
    sizes = [2, D, D + 1, 30]
    found = draw_modes(LAW, sizes, replicas=3, key=KEY)
    for i, N in enumerate(sizes):
        null = max(D - (N - 1), 0)
        assert np.all(found.variance[:, i, :null] == 0)
        assert np.all(found.variance[:, i, null:] > 1e-10)


def test_same_data_set_whatever_else_is_asked(modes):
    more = draw_modes(LAW, [30, 12, 7, 3], replicas=4, key=KEY)
    alone = draw_modes(LAW, 12, replicas=1, key=KEY)
    for name in ("variance", "mean_error", "overlap"):
        few, many, one = (getattr(m, name) for m in (modes, more, alone))
        np.testing.assert_allclose(few, many[:REPLICAS][:, [3, 1]], atol=1e-12)
        np.testing.assert_allclose(one[0, 0], few[0, 1], atol=1e-12)
    assert not np.allclose(more.variance[0], more.variance[1])
    other = draw_modes(LAW, SIZES, replicas=REPLICAS, key=jax.random.fold_in(KEY, 1))
    assert not np.allclose(other.variance, modes.variance)


def test_population_mean_does_not_matter(modes):
    shifted = draw_modes(make_law(np.full(D, 3.0)), SIZES, replicas=REPLICAS, key=KEY)
    np.testing.assert_allclose(shifted.variance, modes.variance, atol=1e-12)
    np.testing.assert_allclose(shifted.mean_error, modes.mean_error, atol=1e-12)


def test_bad_arguments(modes):
    with pytest.raises(ValueError, match="`samples` must be at least 2"):
        draw_modes(LAW, [5, 1], replicas=1, key=KEY)
    with pytest.raises(ValueError, match="`samples` must be whole"):
        draw_modes(LAW, [2.5], replicas=1, key=KEY)
    with pytest.raises(ValueError, match="`replicas` must be at least 1"):
        draw_modes(LAW, [5], replicas=0, key=KEY)
    with pytest.raises(ValueError, match="`direction` must be one of 'forward', 'reverse'"):
        kl_of_modes(modes, modes.variance + 1, direction="backward")
    with pytest.raises(ValueError, match="`sampler` must"):
        trained_variance(modes, SCHEDULE, [1.0], sampler="flow")


def test_losses_of_the_optimum_through_the_learner(modes):
    levels, ridges = np.array([0.99, 0.5]), np.array([0.0, 0.3, 1.0])
    train, test = losses_of_modes(modes, ridges[:, None], levels)
    assert train.shape == test.shape == (REPLICAS, len(SIZES), 3, 2)
    for index, mean, covariance in each():
        with jax.enable_x64(True):
            mean, covariance = jnp.asarray(mean), jnp.asarray(covariance)
            for k, c in enumerate(ridges):
                found = optimum(mean, covariance, levels, ridge=c)
                seen = denoiser_losses(found, mean, covariance)
                true = denoiser_losses(found, jnp.zeros(D), jnp.asarray(population()))
                np.testing.assert_allclose(train[index][k], seen, rtol=1e-10)
                np.testing.assert_allclose(test[index][k], true, rtol=1e-10)


def test_losses_along_training_through_the_matrix_exponential(modes):
    a, c, times = 0.7, 0.1, np.array([0.0, 0.3, 2.0, np.inf])
    train, test = losses_of_modes(modes, c, a, times)
    for index, mean, covariance in each():
        with jax.enable_x64(True):
            W = np.stack([weights_after(covariance, c, a, time) for time in times])
            levels = noise_levels(np.full(len(times), a), np.float64)
            found = Denoiser(jnp.asarray(W), jnp.asarray(mean), levels)
            seen = denoiser_losses(found, jnp.asarray(mean), jnp.asarray(covariance))
            true = denoiser_losses(found, jnp.zeros(D), jnp.asarray(population()))
        np.testing.assert_allclose(train[index], seen, rtol=1e-10)
        np.testing.assert_allclose(test[index], true, rtol=1e-10)
    np.testing.assert_allclose(train[..., 0], 1)  # W = 0 predicts no noise


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("share", [1.0, 0.0, 0.6])
def test_kl_through_the_matrices(modes, direction, share):
    ridges = np.array([0.2, 1.5])
    variance = modes.variance[:, :, None, :] + ridges[:, None]
    found = kl_of_modes(modes, variance, direction=direction, mean_share=share)
    assert found.shape == (REPLICAS, len(SIZES), 2)
    for index, mean, covariance in each():
        for k, c in enumerate(ridges):
            laws = [(np.zeros(D), population()), (share * mean, covariance + c * np.eye(D))]
            if direction == "reverse":
                laws.reverse()
            with jax.enable_x64(True):
                expected = gaussian_kl(*(jnp.asarray(part) for law in laws for part in law))
            np.testing.assert_allclose(found[index][k], expected, rtol=1e-10)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_trained_variance_through_the_sampler(modes, sampler):
    """Every level trained by the matrix exponential, then the d x d recursion of the moments."""
    times, c = [0.5, 4.0, np.inf], 0.1
    variance, share = trained_variance(modes, SCHEDULE, times, ridge=c, sampler=sampler)
    assert variance.shape == share.shape == (REPLICAS, len(SIZES), 3, D)
    for index, mean, covariance in each():
        v = vectors(modes, index)
        for k, time in enumerate(times):
            W = np.stack([weights_after(covariance, c, a, time) for a in SCHEDULE.alpha_bar])
            with jax.enable_x64(True):
                levels = noise_levels(SCHEDULE.alpha_bar, np.float64)
                found = Denoiser(jnp.asarray(W), jnp.asarray(mean), levels)
                centre, spread = generated_moments(found, SCHEDULE, sampler=sampler)
            rebuilt = (v * variance[index][k]) @ v.T
            np.testing.assert_allclose(rebuilt, spread, rtol=1e-9, atol=1e-11)
            np.testing.assert_allclose(v @ (share[index][k] * (v.T @ mean)), centre, atol=1e-11)


def test_kl_along_training_through_the_matrices(modes):
    """Shares that differ from mode to mode, as `trained_variance` returns them."""
    variance, share = trained_variance(modes, SCHEDULE, [0.5, 4.0], ridge=0.1)
    for direction in ("forward", "reverse"):
        found = kl_of_modes(modes, variance, direction=direction, mean_share=share)
        for index, mean, _ in each():
            v = vectors(modes, index)
            for k in range(2):
                centre = v @ (share[index][k] * (v.T @ mean))
                spread = (v * variance[index][k]) @ v.T
                laws = [(np.zeros(D), population()), (centre, spread)]
                if direction == "reverse":
                    laws.reverse()
                with jax.enable_x64(True):
                    expected = gaussian_kl(*(jnp.asarray(part) for law in laws for part in law))
                np.testing.assert_allclose(found[index][k], expected, rtol=1e-9)


def test_population_gains_through_the_matrix_exponential(modes):
    a, c, times = 0.6, 0.2, [0.1, 3.0, np.inf]
    found = population_gains(modes, a, times, ridge=c)
    assert found.shape == (REPLICAS, len(SIZES), 3, D)
    for index, _, covariance in each():
        for k, time in enumerate(times):
            W = weights_after(covariance, c, a, time)
            expected = np.diagonal(LAW.basis.T @ W @ LAW.basis)
            np.testing.assert_allclose(found[index][k], expected, rtol=1e-10)


def test_root_overlap_through_matrix_roots(modes):
    second = draw_modes(LAW, SIZES, replicas=REPLICAS, key=jax.random.fold_in(KEY, 9))
    found = root_overlap(modes, second, ridge=0.2)
    assert found.shape == (REPLICAS, len(SIZES))
    products, powers = np.empty(found.shape), np.empty((2, *found.shape))
    for r, i in np.ndindex(found.shape):
        roots = []
        for m in (modes, second):
            v = vectors(m, (r, i))
            roots.append(sqrtm((v * (m.variance[r, i] + 0.2)) @ v.T).real)
        products[r, i] = np.sum(roots[0] * roots[1])
        powers[:, r, i] = [np.sum(root**2) for root in roots]
    np.testing.assert_allclose(found, products / powers.mean(axis=(0, 1)), rtol=1e-10)
    np.testing.assert_allclose(root_overlap(modes, modes).mean(axis=0), 1, rtol=1e-12)


def test_learning_times_of_known_modes_are_logarithms_over_their_rates():
    """With the eigenvectors of the population, mode k is half learned after log 2 / rate."""
    s, level = power_law(D, 1.0), 0.7
    exact = SampleModes(
        np.array([1.0]), s, s[None, None], np.zeros((1, 1, D)), np.eye(D)[None, None]
    )
    times = np.geomspace(1e-3, 50, 4000)
    for share in (0.5, 0.9):
        found = learning_times(exact, level, times, directions=[0, 2], share=share)
        expected = -np.log(1 - share) / (level * s[[0, 2]] + 1 - level)
        np.testing.assert_allclose(found, expected[None, None], rtol=1e-5)
    early = learning_times(exact, level, times[times < 0.1], directions=[0, 2])
    assert np.all(np.isinf(early))
    for argument, ill in (("times", {"times": times[::-1]}), ("directions", {"directions": [D]})):
        given = {"times": times, "directions": [0]} | ill
        with pytest.raises(ValueError, match=f"Argument `{argument}"):
            learning_times(exact, level, given.pop("times"), **given)


def test_modes_of_given_rows_are_those_of_the_same_draw(modes):
    for i, N in enumerate(SIZES):
        key = jax.random.fold_in(jax.random.fold_in(KEY, 0), N)
        with jax.enable_x64(True):
            rows = np.asarray(draw(LAW, N, key=key, dtype=np.float64))
        found, drawn = modes_of(rows, LAW), modes.at(i)
        np.testing.assert_array_equal(found.samples, drawn.samples)
        np.testing.assert_allclose(found.variance[0], drawn.variance[0], atol=1e-12)
        kept = drawn.variance[0, 0] > 0  # null directions may be any, and signs are free
        pairs = [(found.signal, drawn.signal), (found.mean_error**2, drawn.mean_error**2)]
        for one, other in pairs:
            np.testing.assert_allclose(one[0, 0, kept], other[0, 0, kept], rtol=1e-8)
    with pytest.raises(ValueError, match="`data` must hold at least two rows of 5"):
        modes_of(np.ones((1, D)), LAW)


def test_the_mean_of_sgd_is_gradient_descent_on_the_same_rows():
    """Beside powers of the d x d matrix 1 - h M; at half the rate it is another."""
    a, rate, steps, shown = 0.8, 0.2, np.array([3, 40]), [0, 2, 4]
    rows = np.asarray(draw(LAW, 12, key=KEY), np.float64)
    gains = sgd_gains(
        rows, LAW.basis[:, shown], a, learning_rate=rate, batch=4, steps=steps, replicas=90,
        key=jax.random.key(3),
    )  # fmt: skip
    assert gains.shape == (90, 2, 3)
    h = 2 * rate / D
    M = a * np.cov(rows.T, bias=True) + (1 - a) * np.eye(D)
    for k, step in enumerate(steps):
        W = np.sqrt(1 - a) * np.linalg.solve(
            M, np.eye(D) - np.linalg.matrix_power(np.eye(D) - h * M, step)
        )
        expected = np.diagonal(LAW.basis.T @ W @ LAW.basis)
        exact = population_gains(modes_of(rows, LAW), a, [h * step], step_size=h)[0, 0, 0]
        np.testing.assert_allclose(exact, expected, rtol=1e-9)
        error = gains[:, k].std(axis=0, ddof=1) / np.sqrt(90)
        assert np.all(np.abs(gains[:, k].mean(axis=0) - expected[shown]) < 5 * error + 1e-5)
    late = population_gains(modes_of(rows, LAW), a, [h * 20], step_size=h / 2)[0, 0, 0][shown]
    assert np.any(np.abs(gains[:, 1].mean(axis=0) - late) > 5 * error)
    with pytest.raises(ValueError, match="`directions` must have 5 rows"):
        sgd_gains(rows, np.eye(4), a, learning_rate=rate, batch=4, steps=steps, replicas=1, key=KEY)


@pytest.mark.parametrize("times", [[-1.0], [np.nan]])
def test_training_times_are_not_negative(times):
    modes = draw_modes(LatentLaw(np.ones(3)), [5], replicas=2, key=jax.random.key(0))
    for call in (
        lambda: population_gains(modes, 0.5, times),
        lambda: losses_of_modes(modes, 0, 0.5, times),
    ):
        with pytest.raises(ValueError, match="`times`"):
            call()


@pytest.mark.parametrize("step_size", [0.0, -1.0, np.nan, 10.0])
def test_steps_of_gradient_descent_are_below_the_inverse_of_the_largest_rate(step_size):
    modes = draw_modes(LatentLaw(np.ones(3)), [5], replicas=2, key=jax.random.key(0))
    with pytest.raises(ValueError, match="`step_size`"):
        population_gains(modes, 0.5, [1.0], step_size=step_size)


def test_a_singular_model_has_an_infinite_divergence():
    modes = draw_modes(LatentLaw(np.ones(3)), [2, 5], replicas=2, key=jax.random.key(0))
    for direction in ("forward", "reverse"):
        kl = kl_of_modes(modes, modes.variance, direction=direction)
        assert np.all(np.isinf(kl) == [True, False])
    with pytest.raises(ValueError, match="`variance`"):
        kl_of_modes(modes, -modes.variance, direction="forward")


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_a_run_of_sgd_does_not_depend_on_its_company(impl):
    rows, key = np.random.default_rng(0).normal(size=(6, 3)), jax.random.key(1, impl=impl)
    alone, among = (
        sgd_gains(
            rows, np.eye(3), 0.5, learning_rate=0.1, batch=2, steps=[1, 4], replicas=n, key=key
        )
        for n in (1, 3)
    )
    np.testing.assert_array_equal(alone[0], among[0])
