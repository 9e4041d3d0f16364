"""First-layer filters: overlap, kurtosis beside clones, and their times, on made-up cases."""

from functools import partial

import jax
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from fourier_simplicity.networks import (
    ConvNet,
    CueSets,
    FilterLearning,
    ResNet,
    TwoLayer,
    cue_sets,
    excess_kurtosis,
    follow_filters,
    gaussian_clones,
    learn_cues,
    principal_dimension,
    white_sets,
)
from fourier_simplicity.networks.filters import _patches, first_kernel
from learning_dynamics.images import load_bundled

KEY = jax.random.key(5)
SPREAD = np.array([9.0, 4.0, 1.0, 1.0, 0.25, 0.25])  # variances along the six pixels


def axis_sets(count=3000):
    """Images of 2 x 3 pixels with independent pixels; the last one is far from Gaussian."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((count, 6)) * np.sqrt(SPREAD)
    rows[:, 5] = 0.5 * rng.choice([-1.0, 1.0], count) * (rng.random(count) < 0.25) * 2
    labels = np.arange(count, dtype=np.int32) % 2
    exact = np.concatenate([np.diag(np.sqrt(SPREAD)), -np.diag(np.sqrt(SPREAD))])
    train = exact.reshape(12, 2, 3), np.arange(12, dtype=np.int32) % 2
    return CueSets(train, {"real": (rows.reshape(count, 2, 3), labels)}, ("a", "b"))


def kernels(changes):
    """Weights (observations, 6, 4): a random start, and what was added to its first filters."""
    start = np.random.default_rng(1).standard_normal((6, 4))
    return np.stack([start, *(start + change for change in changes)])


def unit(pixel, filter_, size=1.0):
    made = np.zeros((6, 4))
    made[pixel, filter_] = size
    return made


def test_overlap_is_the_share_of_what_was_learned():
    """Along pixel 0, 1 (of the subspace) and 4 (not of it): (3^2 + 1) / (3^2 + 1 + 2^2)."""
    change = unit(0, 0, 3.0) + unit(1, 1, 1.0) + unit(4, 2, 2.0)
    found = follow_filters([0, 7], kernels([change])[None], [axis_sets()], 2, key=KEY)
    np.testing.assert_allclose(found.overlap, [[2 / 6, 10 / 14]], rtol=1e-12)
    assert (found.dimension, found.isotropic) == (2, 2 / 6)


def test_kurtosis_of_responses_and_of_clones_with_their_covariance():
    sets = axis_sets()
    at_end = 1e4 * (unit(5, 0) + unit(0, 1) + unit(0, 2) + unit(1, 3))  # the start is nothing
    found = follow_filters([0, 7], kernels([at_end])[None], [sets], 2, key=KEY)
    rows = sets.tests["real"][0].reshape(-1, 6)[:2000]
    columns = rows[:, [5, 0, 0, 1]]
    expected = stats.kurtosis(columns, axis=0, bias=False).mean()
    np.testing.assert_allclose(found.kurtosis[0, 1], expected, atol=2e-3)
    assert expected > 0.2  # 1 / 0.25 - 3 = 1 for one of four
    assert abs(found.clone_kurtosis[0, 1]) < 5 * np.sqrt(24 / 2000)


def test_excess_kurtosis_is_unbiased_where_moments_are_not():
    columns = np.random.default_rng(2).standard_normal((8, 40_000))
    found = excess_kurtosis(columns)
    np.testing.assert_allclose(found, stats.kurtosis(columns, axis=0, bias=False), rtol=1e-9)
    error = found.std() / np.sqrt(found.size)
    assert abs(found.mean()) < 5 * error
    assert abs(stats.kurtosis(columns, axis=0).mean()) > 50 * error  # -6/(n+1)
    assert np.isnan(excess_kurtosis(np.ones((5, 1)))[0])
    for bad in (np.ones(5), np.ones((3, 2)), np.full((5, 2), np.inf)):
        with pytest.raises(ValueError, match="`responses`"):
            excess_kurtosis(bad)


def test_clones_have_mean_and_covariance_of_their_class():
    rng = np.random.default_rng(3)
    labels = np.repeat([4, 1], [12, 30])
    rows = rng.exponential(size=(42, 3)) * (1 + labels[:, None]) @ rng.standard_normal((3, 3))
    draws = np.stack([gaussian_clones(rows, labels, key=jax.random.key(i)) for i in range(600)])
    for c in (4, 1):
        given, copies = rows[labels == c], draws[:, labels == c]
        covariance = np.cov(given.T)
        noise = np.sqrt(np.diag(covariance) / (600 * len(given)))
        assert np.all(np.abs(copies.mean(axis=(0, 1)) - given.mean(axis=0)) < 5 * noise)
        centred = copies - given.mean(axis=0)
        each = np.einsum("rni,rnj->rij", centred, centred) / len(given)
        error = each.std(axis=0) / np.sqrt(600)
        assert np.all(np.abs(each.mean(axis=0) - covariance) < 5 * error)
        assert np.all(np.abs(excess_kurtosis(centred.reshape(-1, 3))) < 0.25)
    with pytest.raises(ValueError, match="`labels` must hold at least 2 rows of every class"):
        gaussian_clones(rows[:3], [0, 0, 1], key=KEY)
    with pytest.raises(ValueError, match="`labels` must hold one number for each row"):
        gaussian_clones(rows[:3], [0, 0], key=KEY)


def test_times_of_rise_and_departure_on_given_curves():
    steps = np.array([0, 1, 3, 7, 15])  # log2(1 + step) = 0, 1, 2, 3, 4
    overlap = np.array([[0.2, 0.4, 0.8, 0.5, 0.1], [0.2, 0.3, 0.3, 0.3, 0.3]])
    kurtosis = np.array([[-0.2, -0.2, -0.2, 0.2, 0.6], [0.0, 0.0, 0.0, -0.4, -0.8]])
    clones = np.array([[0.0, 0.0, 0.0, 0.0, 0.0], [0.1, 0.1, 0.1, 0.1, 0.1]])
    found = FilterLearning(steps, 2, 0.2, overlap, kurtosis, clones)
    np.testing.assert_allclose(found.rise_of_overlap(), [2**1.5 - 1, np.inf])  # 0.6 of 0.4 to 0.8
    np.testing.assert_allclose(found.departure_of_kurtosis(), [7, 7])
    assert "2 directions" in repr(found)
    figure = found.plot(found)
    assert figure.axes[0].get_ylabel() == "overlap with 2 principal directions"
    assert found.measurement().coordinates["quantity"].size == 3


def test_filters_of_convolutions_see_windows():
    rng = np.random.default_rng(4)
    images = rng.standard_normal((3, 5, 6, 2))
    rows, image = _patches(images, (3, 3, 2, 4), 10_000, rng)
    assert rows.shape == (3 * 3 * 4, 18)
    expected = [
        images[i, y : y + 3, x : x + 3].ravel()
        for i in range(3) for y in range(3) for x in range(4)
    ]  # fmt: skip
    order = np.lexsort(rows.T), np.lexsort(np.array(expected).T)
    np.testing.assert_array_equal(rows[order[0]], np.array(expected)[order[1]])
    assert np.bincount(image).tolist() == [12, 12, 12]
    assert _patches(images, (3, 3, 2, 4), 7, rng)[0].shape == (7, 18)


def test_first_kernel_of_every_network():
    small = partial(ResNet, blocks=(1,), widths=(7,))
    for build, shape, expected in (
        (partial(TwoLayer, hidden=5), (4, 4), (16, 5)),
        (partial(ConvNet, widths=(6, 4)), (4, 4, 3), (3, 3, 3, 6)),
        (small, (4, 4), (3, 3, 1, 7)),
    ):
        kernel = jax.eval_shape(
            lambda build=build, shape=shape: first_kernel(build(shape, 2, rngs=nnx.Rngs(0)))
        )
        assert kernel.shape == expected
    with pytest.raises(ValueError, match="`build` must make a network with a layer"):
        first_kernel(nnx.Dict())


def test_subspaces_and_steps_that_make_no_sense_are_refused():
    weights = kernels([unit(0, 0)])[None]
    with pytest.raises(ValueError, match="`subspace` must be smaller than the 6 directions"):
        follow_filters([0, 7], weights, [axis_sets()], 6, key=KEY)
    with pytest.raises(ValueError, match="`steps` must begin with 0"):
        follow_filters([1, 7], weights, [axis_sets()], 2, key=KEY)
    with pytest.raises(ValueError, match="`subspace` must be"):
        follow_filters([0, 7], weights, [axis_sets()], 0, key=KEY)


@pytest.mark.parametrize(
    ("steps", "subspace", "message"),
    [
        ([1, 2], 2, "`steps` must begin with 0"),
        ([0, 2], 6, "`subspace` must be smaller than the 6 directions"),
        ([0, 2], 0, "`subspace` must be"),
        ([0, 2], 1.5, "`subspace` must be"),
    ],
)
def test_a_subspace_that_makes_no_sense_is_refused_before_training(steps, subspace, message):
    with pytest.raises(ValueError, match=message):
        learn_cues(axis_sets(), seeds=2, steps=steps, subspace=subspace, key=KEY)


def test_principal_dimension_is_the_participation_ratio():
    assert principal_dimension(axis_sets()) == round(SPREAD.sum() ** 2 / np.sum(SPREAD**2))


def test_white_sets_have_no_principal_subspace():
    rng = np.random.default_rng(6)
    turn = rng.standard_normal((12, 12)) * np.linspace(1, 4, 12)
    rows = rng.standard_normal((500, 12)) @ turn
    rows -= rows.mean(axis=1, keepdims=True)
    rows /= np.sqrt(np.mean(rows**2, axis=1, keepdims=True))
    labels = np.arange(500, dtype=np.int32) % 2
    sets = CueSets((rows.reshape(-1, 3, 4), labels), {"real": (rows[:9].reshape(-1, 3, 4),
                   labels[:9])}, ("a", "b"))  # fmt: skip
    white = white_sets(sets, iterations=60)
    made = white.train[0].reshape(-1, 12).astype(np.float64)
    values = np.linalg.eigvalsh(made.T @ made / 500)
    np.testing.assert_allclose(values, [0] + [12 / 11] * 11, atol=1e-5)  # the mean is removed
    np.testing.assert_allclose(np.mean(made**2, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(white.train[1], labels)
    np.testing.assert_allclose(white.tests["real"][0], white.train[0][:9], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("build", [partial(TwoLayer, hidden=16), partial(ConvNet, widths=(6, 4))])
def test_learning_follows_filters(build):
    sets = cue_sets(load_bundled("textures"), size=8, stride=8, tests=["real"], key=KEY)
    found = learn_cues(sets, build, seeds=2, steps=[0, 5, 50], subspace=3, key=KEY).filters
    assert found.overlap.shape == found.kurtosis.shape == (2, 3)
    np.testing.assert_allclose(found.overlap[:, 0], found.isotropic)
    assert np.all(found.overlap[:, 1] > 1.5 * found.isotropic)  # the gradient lies where inputs do
    assert np.all(np.isfinite(found.clone_kurtosis))
    # one set for all seeds, each with patches and clones of its own
    assert found.clone_kurtosis[0, 0] != found.clone_kurtosis[1, 0]
