"""Cue sets, networks, second-order rules and learning curves."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fourier_simplicity.networks import (
    ConvNet,
    CueSets,
    ResNet,
    TwoLayer,
    accuracy,
    angular_covariance,
    cue_sets,
    gain_over_pairs,
    learn_cues,
    pairwise_accuracy,
    resnet18,
    sweep_sets,
)
from fourier_simplicity.networks.cues import (
    CONFLICT_AMPLITUDES,
    CONFLICT_PHASES,
    MEAN_ONLY,
    MEAN_REMOVED,
    PHASES_ALONE,
)
from fourier_simplicity.surrogates import periodic_component
from learning_dynamics.images import ImageSet, load_bundled
from learning_dynamics.training import log_steps


def parameters(build):
    state = nnx.state(nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0))), nnx.Param)
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(state))


def waves(n, rng, size=8):
    """Two classes: waves along rows or along columns, with random phases and some noise."""
    labels = np.arange(n) % 2
    across = np.arange(size) * 2 * np.pi / size
    wave = np.cos(across[None] + rng.uniform(0, 2 * np.pi, (n, 1)))
    flat = np.where(labels[:, None, None], wave[:, :, None], wave[:, None, :])
    noisy = 0.5 + 0.2 * flat + 0.03 * rng.normal(size=(n, size, size))
    return ImageSet(np.clip(noisy, 0, 1).astype(np.float32), labels, ("down", "across"))


def test_residual_networks_have_the_published_size():
    assert parameters(partial(resnet18, (32, 32, 3), 10)) == 11_173_962
    assert parameters(partial(resnet18, (224, 224, 3), 1000)) == 11_689_512


@pytest.mark.parametrize("shape", [(8, 8), (8, 12, 3)])
def test_networks_map_images_to_logits(shape):
    small = partial(ResNet, blocks=(1, 1), widths=(4, 8))
    large = partial(ResNet, blocks=(1,), widths=(4,), large=True)
    for build in (TwoLayer, ConvNet, small, large):
        logits = jax.eval_shape(
            lambda x, build=build: build(shape, 5, rngs=nnx.Rngs(0))(x), jnp.ones((3, *shape))
        )
        assert logits.shape == (3, 5)


@pytest.mark.slow
def test_a_residual_network_computes_with_statistics_of_its_own(key):
    network = ResNet((4, 4), 2, blocks=(1,), widths=(4,), rngs=nnx.Rngs(key))
    images = 3 + jax.random.normal(key, (8, 4, 4))
    trained = network(images)
    network.eval()
    assert not np.allclose(trained, network(images))  # running means have moved by a hundredth
    assert np.all(np.isfinite(trained))


def test_a_network_that_cannot_halve_its_image_is_refused(key):
    with pytest.raises(ValueError, match="multiples of 4"):
        ConvNet((10, 8), 2, widths=(4, 4, 4), rngs=nnx.Rngs(key))
    with pytest.raises(ValueError, match="shape"):
        TwoLayer((8,), 2, rngs=nnx.Rngs(key))
    with pytest.raises(ValueError, match="widths"):
        ResNet((8, 8), 2, blocks=(1,), widths=(4, 8), rngs=nnx.Rngs(key))


@pytest.mark.parametrize("n", [5, 10, 23])
def test_accuracy_counts_every_row_once(n):
    labels = jnp.arange(n, dtype=jnp.int32) % 3
    wrong = jnp.where(jnp.arange(n) == n - 1, (labels + 1) % 3, labels)
    logits = jax.nn.one_hot(wrong, 3)
    found = accuracy(lambda x: x, logits, labels, rows=10)
    assert float(found) == pytest.approx((n - 1) / n)


@pytest.mark.slow
def test_texture_sets_share_no_region_and_are_normalised(key):
    texture = load_bundled("textures")
    sets = cue_sets(texture, size=8, test_limit=600, train_limit=900, stride=4, key=key)
    assert list(sets.tests) == [
        "real", "amplitude-only", "phase-only", MEAN_ONLY, MEAN_REMOVED, PHASES_ALONE,
        CONFLICT_AMPLITUDES, CONFLICT_PHASES,
    ]  # fmt: skip
    assert sets.shape == (8, 8)
    assert sets.chance == pytest.approx(1 / 3)
    for name, (images, labels) in {"train": sets.train, **sets.tests}.items():
        assert np.bincount(labels).tolist() == [len(labels) // 3] * 3
        np.testing.assert_allclose(images.mean(axis=(1, 2)), 0, atol=1e-5)
        if name not in (MEAN_ONLY, MEAN_REMOVED, PHASES_ALONE):  # those keep cumulants instead
            np.testing.assert_allclose((images**2).mean(axis=(1, 2)), 1, rtol=1e-4)
    whole = np.asarray(periodic_component(texture.images))[0]
    train = sets.train[0][sets.train[1] == 0][0]
    places = np.lib.stride_tricks.sliding_window_view(whole, (8, 8))[::4, ::4]
    centred = places - places.mean(axis=(2, 3), keepdims=True)
    alike = np.einsum("abij,ij->ab", centred, train) / 8
    alike = alike / np.sqrt((centred**2).sum(axis=(2, 3)))
    assert np.unravel_index(np.argmax(alike), alike.shape)[1] * 4 < 0.6 * 512


@pytest.mark.slow
def test_surrogates_of_whole_images_keep_what_they_should(key):
    images = waves(40, np.random.default_rng(0))
    sets = cue_sets(images, key=key, fraction=0.5)
    real = {np.abs(np.fft.fft2(x)).round(2)[:5, :5].tobytes() for x in sets.tests["real"][0]}
    amplitude = {
        np.abs(np.fft.fft2(x)).round(2)[:5, :5].tobytes() for x in sets.tests["amplitude-only"][0]
    }
    assert len(real & amplitude) > 15  # up to rounding the same amplitudes
    phase = np.abs(np.fft.fft2(sets.tests["phase-only"][0]))
    np.testing.assert_allclose(
        phase, np.broadcast_to(phase[:1], phase.shape), atol=2e-3 * phase.max()
    )
    mixed, first = sets.tests[CONFLICT_AMPLITUDES]
    assert len(mixed) == len(first)
    power = np.abs(np.fft.fft2(mixed)) ** 2
    down = power[:, 1, 0] > power[:, 0, 1]
    np.testing.assert_array_equal(down, first == 1)  # the labels are those of the amplitudes


@pytest.mark.slow
def test_equal_spectra_leave_nothing_in_the_amplitudes(key):
    sets = cue_sets(waves(40, np.random.default_rng(0)), key=key, equal_spectra=True)
    for images in (sets.train[0], sets.tests["real"][0], sets.tests["amplitude-only"][0]):
        size = np.abs(np.fft.fft2(images))
        np.testing.assert_allclose(
            size, np.broadcast_to(size[:1], size.shape), atol=2e-3 * size.max()
        )


def test_sweep_sets_have_the_power_law(key):
    sets = sweep_sets(waves(20, np.random.default_rng(1)), [0.0, 2.0], key=key)
    white, steep = (np.abs(np.fft.fft2(s.train[0])) for s in sets)
    np.testing.assert_allclose(white[:, 1, 0], white[:, 3, 0], rtol=1e-3)
    np.testing.assert_allclose(steep[:, 1, 0], 9 * steep[:, 3, 0], rtol=1e-3)
    np.testing.assert_array_equal(sets[0].train[1], sets[1].train[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": None}, "size"),
        ({"size": 600}, "fit into"),
        ({"size": 8, "fraction": 1.0}, "fraction"),
    ],
)
def test_wrong_texture_tasks_are_refused(key, change, message):
    with pytest.raises(ValueError, match=message):
        cue_sets(load_bundled("textures"), **change, key=key)


def test_wrong_image_sets_are_refused(key):
    images = waves(9, np.random.default_rng(0))
    with pytest.raises(ValueError, match="left out"):
        cue_sets(images, size=4, key=key)
    lonely = ImageSet(images.images[:3], np.array([0, 0, 1]), ("a", "b"))
    with pytest.raises(ValueError, match="two images of every class, but got 1 of 'b'"):
        cue_sets(lonely, key=key)
    with pytest.raises(ValueError, match="labels"):
        cue_sets(ImageSet(images.images), key=key)
    ragged = ImageSet((images[0], images[1][:6]), np.array([0, 1]), ("a", "b"))
    with pytest.raises(ValueError, match="one size"):
        cue_sets(ragged, size=4, key=key)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        ImageSet(np.full((2, 8, 8), np.nan, np.float32), np.array([0, 1]), ("a", "b"))


def test_angular_covariance_is_found_from_directions():
    rng = np.random.default_rng(3)
    spectrum = np.array([3.0, 1.0, 0.6, 0.4])
    rows = rng.normal(size=(20_000, 4)) * np.sqrt(spectrum) * rng.exponential(size=(20_000, 1))
    found = angular_covariance(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    expected = np.diag(spectrum * 4 / spectrum.sum())
    # Tyler's estimator: variance of a log-eigenvalue is about 2 (1 + 2/d) / n
    error = np.sqrt(2 * (1 + 2 / 4) / 20_000) * np.sqrt(
        np.outer(np.diag(expected), np.diag(expected))
    )
    assert np.all(np.abs(found - expected) < 5 * error)


def test_the_gain_over_pairs_is_against_the_bayes_rule_of_directions():
    """Gaussian classes diag(r^2, 1) and diag(1, r^2): larger is |x_1| or |x_2|, 2/pi atan(r)."""
    rng, ratio, count = np.random.default_rng(4), 3.0, 20_000

    def directions():
        labels = rng.integers(2, size=count).astype(np.int32)
        rows = rng.normal(size=(count, 2)) * np.where(np.arange(2) == labels[:, None], ratio, 1.0)
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True))[:, None], labels

    sets = [CueSets(directions(), {"real": directions()}, ("x", "y")) for _ in range(2)]
    bayes = 2 / np.pi * np.arctan(ratio)
    gain = gain_over_pairs([0.9, 0.9], sets)
    error = np.sqrt(bayes * (1 - bayes) / (2 * count))
    np.testing.assert_allclose(gain.values, 0.9 - bayes, atol=5 * error)
    with pytest.raises(ValueError, match="`sets`"):
        gain_over_pairs([0.9], sets)
    with pytest.raises(ValueError, match="`rules`"):
        pairwise_accuracy(sets[0], rules=["cubic"])
    with pytest.raises(ValueError, match="`limit`"):
        pairwise_accuracy(sets[0], limit=-1)
    with pytest.raises(ValueError, match="`sets`"):
        gain_over_pairs([0.9, 0.9], [replace(each, tests={}) for each in sets])


@pytest.mark.slow
def test_no_second_order_rule_sees_phases(key):
    sets = cue_sets(
        load_bundled("textures"), size=8, equal_spectra=True, test_limit=3000, train_limit=9000,
        stride=4, key=key,
    )  # fmt: skip
    for rule, found in pairwise_accuracy(sets).items():
        assert found["amplitude-only"] < 0.40, rule
    real = cue_sets(
        load_bundled("textures"), size=8, test_limit=3000, train_limit=9000, stride=4, key=key
    )
    found = pairwise_accuracy(real)
    assert found["linear"]["real"] < 0.40
    assert found["angular Gaussian"]["amplitude-only"] > 0.9
    assert 0.65 < found["angular Gaussian"]["real"] < 0.8
    assert found["angular Gaussian"]["phase-only"] < 0.40


@pytest.mark.slow
def test_amplitudes_are_learned_where_only_they_differ(key):
    images = waves(400, np.random.default_rng(5))
    learning = learn_cues(
        cue_sets(images, key=key), partial(TwoLayer, hidden=32), seeds=2,
        steps=log_steps(300, points=4), batch=32, key=key,
    )  # fmt: skip
    final = {name: values[:, -1].mean() for name, values in learning.accuracy.items()}
    assert final["real"] > 0.95
    assert final["amplitude-only"] > 0.95
    assert abs(final["phase-only"] - 0.5) < 0.15
    assert final[CONFLICT_AMPLITUDES] > 0.95
    assert final[CONFLICT_PHASES] < 0.05
    figure = learning.plot(lines={"rule": 0.7})
    assert len(figure.axes) == 1


def test_sets_that_do_not_fit_are_refused(key):
    sets = cue_sets(waves(40, np.random.default_rng(5)), key=key)
    with pytest.raises(ValueError, match="one for each of 3"):
        learn_cues([sets, sets], seeds=3, key=key)
