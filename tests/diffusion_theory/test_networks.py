"""U-Net, photographs' patches, clones, losses along training and distances."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from diffusion_theory.networks import (
    DenoiserLearning,
    UNet,
    best_affine_loss,
    clones,
    contracted_cumulant,
    covariance_distance,
    cumulant_distance,
    distances_along,
    draw_along,
    draw_images,
    draw_sheets,
    learn_denoiser,
    noise_loss,
    photograph_patches,
)
from learning_dynamics.evidence.described import describe
from learning_dynamics.images import ImageSet
from learning_dynamics.noise_schedule import NoiseSchedule, noise_levels
from linear_diffusion import denoiser_losses, generate, optimum

SCHEDULE = NoiseSchedule.linear(20, 1e-2, 0.5)
ADAM = optax.adam(1e-2)


class Affine(nnx.Module):
    """One linear map per noise level, no matter how noisy: the simplest denoiser there is."""

    def __init__(self, size, rngs):
        self.weights = nnx.Param(0.01 * jax.random.normal(rngs.params(), (size**2, size**2)))

    def __call__(self, images, levels):
        rows = images.reshape(images.shape[0], -1)
        found = jnp.matmul(rows, self.weights[...], precision=jax.lax.Precision.HIGHEST)
        return found.reshape(images.shape)


class Zero:
    def __call__(self, images, levels):
        return jnp.zeros_like(images)


class Best:
    """The best affine denoiser of centred Gaussian images with a diagonal covariance."""

    def __init__(self, spectrum):
        self.spectrum = jnp.asarray(spectrum, jnp.float32)

    def __call__(self, images, levels):
        signal, noise = levels.signal_power[:, None, None], levels.noise_power[:, None, None]
        return jnp.sqrt(noise) * images / (signal * self.spectrum[None] + noise)


def photographs(count=3, side=40, seed=0):
    rng = np.random.default_rng(seed)
    images = rng.uniform(0, 1, (count, side, side)).astype(np.float32)
    return ImageSet(images, np.arange(count), tuple("abcdef"[:count]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "widths"),
    [((8, 8), (4, 8)), ((12, 8, 3), (4, 6, 8)), ((4, 4), (5,))],
)
def test_the_network_starts_silent_and_keeps_the_shape(key, shape, widths):
    network = UNet(shape, widths=widths, embedding=6, rngs=nnx.Rngs(key))
    images = jax.random.normal(key, (2, *shape))
    levels = noise_levels([0.99, 0.02])
    run = nnx.jit(lambda network, images, levels: network(images, levels))
    found = run(network, images, levels)
    assert found.shape == images.shape
    np.testing.assert_array_equal(found, 0)
    network.last.kernel[...] = jnp.ones_like(network.last.kernel[...])
    louder = run(network, images, levels)
    assert np.all(np.isfinite(louder))
    for block in jax.tree.leaves(network.down, is_leaf=lambda x: hasattr(x, "second")):
        block.second.kernel[...] = jnp.ones_like(block.second.kernel[...]) / 10
    one, other = (run(network, images, each) for each in (levels, levels.at([1, 0])))
    assert not np.allclose(one, other)  # hears the level


@pytest.mark.slow
def test_wide_networks_can_be_described():
    """The papers' widths, by shapes alone."""
    build = partial(UNet, (32, 32, 3), widths=(64, 128, 256, 512, 1024), blocks=2)
    state = nnx.state(nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0))), nnx.Param)
    assert sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(state)) > 5e7


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((10, 8), {}, "multiples of 4"),
        ((8,), {}, "shape"),
        ((8, 8), {"widths": ()}, "multiples"),
        ((8, 8), {"blocks": 0}, "blocks"),
    ],
)
def test_wrong_networks_are_refused(key, shape, options, message):
    with pytest.raises(ValueError, match=message):
        UNet(shape, rngs=nnx.Rngs(key), **options)


def test_the_loss_of_known_denoisers(key):
    levels = noise_levels(SCHEDULE.alpha_bar)
    spectrum = np.geomspace(2.0, 0.1, 16).reshape(4, 4)
    draws = jax.random.split(key, 2)
    clean = (
        jax.random.normal(draws[0], (20_000, 4, 4))
        * jnp.sqrt(jnp.asarray(spectrum, jnp.float32))[None]
    )
    silent = float(noise_loss(Zero(), (clean, levels), draws[1]))
    assert abs(silent - 1) < 5 * np.sqrt(2 / clean.size)
    found = float(noise_loss(Best(spectrum), (clean, levels), draws[1]))
    expected = best_affine_loss(np.sort(spectrum.ravel())[::-1], SCHEDULE).mean()
    assert abs(found - expected) < 5 * np.sqrt(2 / clean.size)


def test_the_optimum_is_that_of_linear_diffusion():
    spectrum = np.geomspace(3.0, 0.05, 12)
    covariance = jnp.diag(jnp.asarray(spectrum, jnp.float32))
    denoiser = optimum(jnp.zeros(12), covariance, SCHEDULE.alpha_bar)
    losses = denoiser_losses(denoiser, jnp.zeros(12), covariance)
    np.testing.assert_allclose(best_affine_loss(spectrum, SCHEDULE), losses, rtol=1e-3)


def test_noise_is_mixed_in_by_the_schedule(key):
    levels = noise_levels(SCHEDULE.alpha_bar)
    clean, noise = jnp.ones((2, 4, 4)), jnp.full((2, 4, 4), 2.0)
    found = levels.at(jnp.array([0, 19])).mix(clean, noise)
    expected = np.sqrt(SCHEDULE.alpha_bar) + 2 * np.sqrt(SCHEDULE.noise_power)
    np.testing.assert_allclose(found[:, 0, 0], expected[[0, 19]], rtol=1e-5)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim"])
def test_samples_are_those_of_linear_diffusion(key, sampler):
    """The same reverse process with the same noise, from the other package's denoiser."""
    spectrum = np.geomspace(2.0, 0.2, 16)
    covariance = jnp.diag(jnp.asarray(spectrum, jnp.float32))
    denoiser = optimum(jnp.zeros(16), covariance, SCHEDULE.alpha_bar)
    theirs = generate(denoiser, SCHEDULE, key=key, count=50, sampler=sampler)
    best = Best(spectrum.reshape(4, 4))
    ours = draw_images(best, SCHEDULE, (50, 4, 4), key=key, sampler=sampler)
    np.testing.assert_allclose(ours.reshape(50, 16), theirs, rtol=1e-3, atol=1e-3)


def test_photographs_are_split_normalised_and_balanced(key):
    train, test = photograph_patches(
        8, images=photographs(), train=60, test=40, downscale=1, key=key
    )
    assert train.dtype == np.float32
    assert len(train) in (30, 60)
    assert len(test) in (20, 40)
    for side in (train, test):
        np.testing.assert_allclose(side.mean(axis=(1, 2)), 0, atol=1e-5)
    assert float(np.mean(train**2)) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize(
    ("images", "size", "message"),
    [
        (photographs(), 10, "multiple of 4"),
        (photographs(1), 8, "two photographs"),
        (photographs(side=6), 8, "fit into"),
        (photographs(3), 8, "leave a patch"),
    ],
)
def test_wrong_photographs_are_refused(key, images, size, message):
    most = 1 if message == "leave a patch" else 10
    with pytest.raises(ValueError, match=message):
        photograph_patches(
            size, images=images, train=most, test=1, downscale=1, fraction=0.7, key=key
        )


def test_pixels_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="finite"):
        clones(np.full((4, 2, 2), np.nan), key=0)


def test_clones_have_the_statistics_exactly():
    rng = np.random.default_rng(2)
    images = rng.exponential(size=(300, 4, 4)) @ rng.normal(size=(4, 4)) + 1
    images -= images.mean(axis=(1, 2), keepdims=True) - 0.5
    found = clones(images, key=3)
    rows = images.reshape(300, -1)
    mean, covariance = (
        x.reshape(300, -1).astype(np.float64) for x in (found.mean, found.covariance)
    )
    np.testing.assert_allclose(mean.mean(axis=0), rows.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(np.cov(covariance.T), np.cov(rows.T), atol=1e-3)
    flat = np.linalg.eigvalsh(np.cov(mean.T))
    np.testing.assert_allclose(flat[1:], flat[-1], rtol=1e-3)  # all but the removed mean
    assert abs(flat[0]) < 1e-4
    assert flat.sum() == pytest.approx(np.trace(np.cov(rows.T)), rel=1e-3)
    with pytest.raises(ValueError, match="exceed"):
        clones(images, count=5, key=3)


def test_inexact_clones_agree_within_errors():
    images = np.random.default_rng(2).normal(size=(500, 2, 2)) * np.array([[2.0, 1.0], [0.5, 1.0]])
    found = clones(images, count=40_000, exact=False, key=4).covariance.reshape(-1, 4)
    expected = np.cov(images.reshape(-1, 4).T, bias=True)
    error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / 40_000)
    assert np.all(np.abs(np.cov(found.T) - expected) < 5 * error)


@pytest.mark.slow
def test_an_affine_denoiser_cannot_tell_photographs_from_their_covariance_clone(key):
    """Exactly in its expectation over the noise; here within errors over networks and noise."""
    rng = np.random.default_rng(5)
    images = rng.standard_t(4, size=(1000, 4, 4)) * np.linspace(0.3, 1, 16).reshape(4, 4)
    gaussian = clones(images, key=1)
    tests = {"data": images, "covariance": gaussian.covariance, "mean": gaussian.mean}
    seen = learn_denoiser(
        partial(Affine, 4), images, tests, SCHEDULE, steps=[0, 300], fixed=[1, 10], seeds=6,
        together=None, optimiser=ADAM, key=key,
    )  # fmt: skip
    assert seen.loss["data"].shape == (6, 2)
    assert seen.at_level["data"].shape == (6, 2, 2)
    best = best_affine_loss(gaussian.spectrum, SCHEDULE).mean()
    apart = seen.at_level["data"][:, 1] - seen.at_level["covariance"][:, 1]
    error = apart.std(axis=0, ddof=1) / np.sqrt(6)
    assert np.all(np.abs(apart.mean(axis=0)) < 6 * error)  # t with 5 degrees of freedom
    assert np.all(seen.loss["data"][:, 1] > best - 0.02)
    assert np.all(seen.loss["data"][:, 1] < seen.loss["data"][:, 0] - 0.1)


@pytest.mark.slow
def test_samples_along_training_use_the_parameters_of_that_step(key):
    images = np.random.default_rng(0).normal(size=(100, 4, 4))
    seen = learn_denoiser(
        partial(Affine, 4), images, {"data": images}, SCHEDULE, steps=[0, 50], seeds=2,
        average=None, optimiser=ADAM, key=key,
    )  # fmt: skip
    first, last = (
        draw_along(seen, SCHEDULE, (10, 4, 4), observation=at, seed=1, key=key) for at in (0, 1)
    )
    assert first.shape == (10, 4, 4)
    assert not np.allclose(first, last)
    network = seen.training.network(1)
    direct = jax.jit(lambda k: draw_images(network, SCHEDULE, (10, 4, 4), key=k))(key)
    np.testing.assert_allclose(last, direct, rtol=1e-4, atol=1e-4)
    sheets = draw_sheets(seen, SCHEDULE, (10, 4, 4), observations=[0, 1], seeds=2, key=key)
    own = draw_along(
        seen, SCHEDULE, (10, 4, 4), observation=1, seed=1, key=jax.random.fold_in(key, 1)
    )
    np.testing.assert_array_equal(sheets[1, 1], own)
    distances = distances_along(sheets, images, seen.steps)
    seeds = [covariance_distance(sheet, images) for sheet in sheets[1]]
    assert distances.values[0, 1] == pytest.approx(np.mean(seeds))
    for wrong in ({"observations": [2]}, {"seeds": 3}):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}`"):
            draw_sheets(seen, SCHEDULE, (10, 4, 4), **{"observations": [0], **wrong}, key=key)


def test_losses_part_and_exceed_those_of_a_reference():
    steps, data = np.array([0, 1, 3, 7]), np.array([[1.0, 0.8, 0.5, 0.4]] * 2)
    clone = data * [[1, 1, 1.1, 1.4], [1, 1, 1, 1.1]]  # apart by 0.25 half way in log(1 + step)
    level = {"data": data[..., None], "clone": clone[..., None]}
    seen = DenoiserLearning(
        steps, {"data": data, "clone": clone}, level, (3,), np.zeros((2, 4, 1)), None
    )
    np.testing.assert_allclose(seen.parting("clone", "data", 0.25), [2**2.5 - 1, np.inf])
    for name, wrong in (
        ("name", lambda: seen.parting("other", "data", 0.25)),
        ("reference", lambda: seen.parting("clone", "other", 0.25)),
        ("name", lambda: seen.excess("other", [0.5])),
        ("best", lambda: seen.excess("data", [0.0])),
    ):
        with pytest.raises(ValueError, match=f"`{name}`"):
            wrong()
    best = np.linspace(0.4, 0.6, SCHEDULE.steps)
    excess = seen.excess("clone", best)
    np.testing.assert_allclose(excess.values[-1], (0.56 + 0.44) / 2 / 0.5 - 1)
    assert "ᾱ = " in describe(seen.plot(SCHEDULE, best))
    with pytest.raises(ValueError, match="`best`"):
        seen.plot(SCHEDULE, best[1:])


def test_wrong_tests_are_refused(key):
    images = np.zeros((10, 4, 4))
    with pytest.raises(ValueError, match="fixed"):
        learn_denoiser(partial(Affine, 4), images, {"a": images}, SCHEDULE, fixed=[20], key=key)
    for tests in ({"a": images, "b": images[:5]}, {"a": images[:, :3]}, {"a": images[:0]}, {}):
        with pytest.raises(ValueError, match=r"`tests` must hold sets .* shape \(4, 4\)"):
            learn_denoiser(partial(Affine, 4), images, tests, SCHEDULE, key=key)
    vanishing = NoiseSchedule(np.full(100, 0.9))
    with pytest.raises(ValueError, match="`alpha_bar` must leave signal and noise a power"):
        learn_denoiser(partial(Affine, 4), images, {"a": images}, vanishing, key=key)


def test_distances_vanish_on_the_data_and_see_their_own_order():
    rng = np.random.default_rng(1)
    data = rng.laplace(size=(60_000, 2, 2))  # kappa_4 = 12 for the unit-scale law
    cumulant = contracted_cumulant(data)
    # standard error of a mean of |x|^4 / sqrt(n)
    assert abs(cumulant - 4 * 12) < 5 * np.std(np.sum(data**2, axis=(1, 2)) ** 2) / np.sqrt(60_000)
    assert covariance_distance(data, data) == 0
    assert cumulant_distance(data, data) == 0
    gaussian = rng.normal(size=data.shape) * np.sqrt(2)
    assert covariance_distance(gaussian, data) < 0.05
    assert 0.9 < cumulant_distance(gaussian, data) < 1.1
    with pytest.raises(ValueError, match="two images"):
        contracted_cumulant(data[:1])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("images", {"images": np.ones((2, 1, 5, 2, 2))}),
        ("images", {"images": np.ones((0, 2, 5, 2, 2)), "steps": []}),
        ("data", {"data": np.ones((5, 2, 2))}),
        ("data", {"data": np.ones((5, 3, 2))}),
        ("steps", {"steps": [1]}),
    ],
)
def test_distances_of_what_cannot_be_compared_are_refused(name, change):
    rng = np.random.default_rng(0)
    given = {"images": rng.normal(size=(2, 2, 5, 2, 2)), "data": rng.normal(size=(5, 2, 2))}
    with pytest.raises(ValueError, match=f"`{name}`"):
        distances_along(**{**given, "steps": [1, 2], **change})
