"""Which rungs tell classes apart: the statistic beside double loops and draws of known law."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import pytest

from fourier_simplicity import (
    ClassMeansDiffer,
    FourierInputs,
    between_classes,
    class_mean_only,
    class_mean_removed,
    draw,
    offered_rungs,
    triad,
)
from fourier_simplicity.inspections import _classes
from fourier_simplicity.networks import TwoLayer, cue_sets, learn_cues
from fourier_simplicity.networks.cues import MEAN_ONLY, MEAN_REMOVED, PHASES_ALONE
from fourier_simplicity.networks.learning import CueLearning
from fourier_simplicity.rungs import _amplitudes, _triples
from learning_dynamics.images import ImageSet, load_bundled
from learning_dynamics.inspection.samples import as_samples
from learning_dynamics.training import shift

WIDTHS = (0.2, 2.0, 4.0)  # of the third, fourth.. direction: classes of different covariance
SIZES = (8, 12, 20)


def gaussian_classes(rng, means):
    """Rows of three Gaussian classes in six dimensions, and their labels."""
    rows = [
        mean + rng.standard_normal((n, 6)) * np.linspace(1, width, 6)
        for mean, n, width in zip(means, SIZES, WIDTHS, strict=True)
    ]
    return np.concatenate(rows), np.repeat(range(3), SIZES)


def chen_and_qin(first, second):
    """Unbiased |mu_1 - mu_2|^2, pair by pair."""
    total = 0.0
    for rows in (first, second):
        n = len(rows)
        total += sum(rows[i] @ rows[j] for i in range(n) for j in range(n) if i != j) / (
            n * (n - 1)
        )
    return total - 2 * np.mean([a @ b for a in first for b in second])


def test_two_classes_beside_a_double_loop():
    rng = np.random.default_rng(2)
    first, second = rng.standard_normal((7, 5)), 0.7 + rng.gumbel(size=(9, 5))
    found = between_classes(np.concatenate([first, second]), np.repeat([3, 1], [7, 9]))
    between = chen_and_qin(first, second) / 4  # (1/2) sum over both of |mu_c - mu|^2
    inside = np.mean([first.var(axis=0).sum(), second.var(axis=0).sum()])
    np.testing.assert_allclose(found.share, between / (between + inside), rtol=1e-10)


@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_share_is_unbiased_and_its_error_is_the_spread(apart):
    rng = np.random.default_rng(5)
    means = apart * np.array([np.zeros(6), 0.8 * np.eye(6)[0], -np.eye(6)[3]])
    found = [between_classes(*gaussian_classes(rng, means)) for _ in range(600)]
    shares, errors, p = np.array([[f.share, f.error, f.p_value] for f in found]).T
    between = np.mean(np.sum((means - means.mean(axis=0)) ** 2, axis=1))
    inside = np.mean([np.sum(np.linspace(1, width, 6) ** 2) for width in WIDTHS])
    biased = (1 - np.mean([1 / n for n in SIZES])) * inside  # variances about the sample mean
    # the ratio is unbiased up to the small share itself
    truth = between / (between + inside)
    assert abs(shares.mean() - truth) < 5 * shares.std() / np.sqrt(600) + truth * (
        1 - biased / inside
    )
    # the error takes no negative variance of the differences, which makes it larger at times
    assert 0.85 < np.sqrt(np.mean(errors**2)) / shares.std() < 1.45
    if not apart:  # the chi-squared variable has two moments of the law
        for level, most in ((0.5, 0.1), (0.1, 0.06), (0.01, 0.025)):
            assert abs(np.mean(p < level) - level) < most


def test_rows_of_one_unit_are_counted_once():
    rng = np.random.default_rng(3)
    rows, labels = gaussian_classes(rng, np.zeros((3, 6)))
    once = between_classes(rows, labels)
    many, of_many = np.repeat(rows, 50, axis=0), np.repeat(labels, 50)
    units = np.repeat(np.arange(len(rows)), 50)
    again = between_classes(many, of_many, groups=units)
    np.testing.assert_allclose(again.p_value, once.p_value, rtol=1e-9)
    assert once.p_value > 0.01
    assert between_classes(many, of_many).p_value < 1e-6  # taken for independent, they are not


def digits(shifted=False):
    images = load_bundled("digits")
    pixels = images.images - images.images.mean(axis=(1, 2), keepdims=True)
    if shifted:
        rng = np.random.default_rng(1)
        pixels = np.stack([np.roll(x, rng.integers(0, 8, 2), (0, 1)) for x in pixels])
    return pixels, images.labels


def significant(images, labels):
    return [rung for rung, each in offered_rungs(images, labels).items() if each.significant]


@pytest.mark.slow
def test_aligned_digits_offer_a_mean_and_shifted_ones_do_not():
    images, labels = digits()
    assert significant(images, labels) == ["mean", "amplitudes", "phases"]
    moved, _ = digits(shifted=True)
    assert significant(moved, labels) == ["amplitudes", "phases"]
    before, after = offered_rungs(images, labels), offered_rungs(moved, labels)
    np.testing.assert_allclose(before["amplitudes"].share, after["amplitudes"].share, rtol=1e-4)
    assert before["mean"].share > 0.3


@pytest.mark.slow
def test_surrogates_offer_what_they_keep():
    images, labels = digits()
    mean = class_mean_only(images, labels, key=jax.random.key(0))
    assert "phases" not in significant(mean, labels)
    assert "mean" in significant(mean, labels)
    assert "mean" not in significant(class_mean_removed(images, labels), labels)


def test_classes_that_differ_in_one_relation_of_phases_offer_that_alone():
    inputs = FourierInputs((8, 8), triad((1, 0), (0, 1)))
    tied = draw(inputs, 400, key=jax.random.key(0))
    free = draw(inputs, 400, key=jax.random.key(1), structured=False)
    both = np.concatenate([tied, free])
    assert significant(both, np.repeat([0, 1], 400)) == ["phases"]
    assert significant(both, np.arange(800) % 2) == []


@pytest.fixture(scope="module")
def sets_of_digits():
    """Aligned, and shifted at random."""
    images, key = load_bundled("digits"), jax.random.key(20241)
    return [cue_sets(images, shifted=moved, key=key) for moved in (False, True)]


@pytest.mark.slow
def test_cue_sets_with_the_class_mean_alone_and_without_it(sets_of_digits):
    sets = sets_of_digits[0]
    real, labels = sets.tests["real"]
    phases_only, _ = sets.tests["phase-only"]

    def means(images):
        return np.stack([images[labels == c].mean(axis=0) for c in range(10)])

    np.testing.assert_allclose(means(sets.tests[MEAN_ONLY][0]), means(real), atol=1e-5)
    for name, images in ((MEAN_REMOVED, real), (PHASES_ALONE, phases_only)):
        removed, ours = sets.tests[name]
        np.testing.assert_array_equal(ours, labels)
        np.testing.assert_allclose(
            means(removed), np.broadcast_to(means(images).mean(axis=0), (10, 8, 8)), atol=1e-5
        )
        np.testing.assert_allclose(
            removed - means(removed)[labels], images - means(images)[labels], atol=1e-5
        )


def test_chosen_test_sets_are_those_of_all(sets_of_digits):
    images, key = load_bundled("digits"), jax.random.key(20241)
    two = cue_sets(images, tests=["mean-only", "real"], key=key)
    assert list(two.tests) == ["real", "mean-only"]
    for name, (pixels, labels) in two.tests.items():
        np.testing.assert_array_equal(pixels, sets_of_digits[0].tests[name][0])
        np.testing.assert_array_equal(labels, sets_of_digits[0].tests[name][1])
    with pytest.raises(ValueError, match="`tests` must be one of"):
        cue_sets(images, tests=["amplitudes"], key=key)
    with pytest.raises(ValueError, match="`tests` must name at least one test set"):
        cue_sets(images, tests=[], key=key)


def test_shifted_sets_lose_their_means_and_keep_their_amplitudes(sets_of_digits, key):
    still, moved = sets_of_digits
    for a, b in ((still.train, moved.train), (still.tests["real"], moved.tests["real"])):
        np.testing.assert_array_equal(a[1], b[1])
        np.testing.assert_allclose(*(np.abs(np.fft.fft2(x[0])) for x in (a, b)), atol=1e-3)
        assert offered_rungs(*a)["mean"].significant
        assert not offered_rungs(*b)["mean"].significant
    with pytest.raises(ValueError, match="`shifted` must be left out where patches are cut"):
        cue_sets(load_bundled("textures"), size=8, shifted=True, key=key)


@pytest.mark.slow
def test_one_held_out_image_of_each_class_has_no_sets_of_means(key):
    images = load_bundled("digits")
    few = images.select(np.concatenate([np.flatnonzero(images.labels == c)[:2] for c in range(10)]))
    assert not {MEAN_ONLY, MEAN_REMOVED, PHASES_ALONE} & set(cue_sets(few, key=key).tests)


LEARN = partial(learn_cues, build=partial(TwoLayer, hidden=16), seeds=5, batch=64)


@pytest.mark.slow
def test_learning_tells_what_is_offered_and_used_and_warns_of_means(sets_of_digits, key):
    told = "class means differ by 4. \\+- 0.. % of the variance"
    with pytest.warns(ClassMeansDiffer, match=told):
        aligned = LEARN(sets_of_digits[0], steps=[0, 60], key=key)
    assert aligned.offered["mean"].significant
    assert aligned.used == {"mean": True, "amplitudes": False, "phases": False}
    assert repr(aligned).endswith("used        mean")
    gains = aligned.gains()
    assert gains.coordinates["rung"].tolist() == ["mean", "amplitudes", "phases"]
    np.testing.assert_allclose(gains.values[0, 1], aligned.accuracy[MEAN_ONLY][:, 1].mean() - 0.1)
    title = aligned.plot(["real", MEAN_ONLY]).axes[0].get_title(loc="left")
    assert title == "offered: mean, amplitudes, phases\nused in the end: mean"


@pytest.mark.slow
def test_shifted_images_offer_no_mean_and_are_told_by_their_amplitudes(sets_of_digits, key):
    moved = LEARN(sets_of_digits[1], augment=shift, steps=[0, 1000], key=key)  # and no warning
    assert not moved.offered["mean"].significant
    assert moved.offered["amplitudes"].significant
    assert (moved.used["mean"], moved.used["amplitudes"]) == (False, True)


def test_what_cannot_be_told_is_left_out():
    rows = {"real": np.full((3, 2), 0.5)}
    bare = CueLearning(np.array([0, 1]), rows, 0.5)
    assert bare.used == {}
    assert bare.plot().axes[0].get_title(loc="left") == ""
    with pytest.raises(ValueError, match="`accuracy` must hold one of"):
        bare.gains()
    one = CueLearning(np.array([0, 1]), {MEAN_ONLY: np.full((1, 2), 0.5)}, 0.5)
    assert one.used == {}
    spread = np.array([[0.5, 0.9], [0.5, 0.901], [0.5, 0.902]])
    some = CueLearning(np.array([0, 1]), {"amplitude-only": spread}, 0.5)
    assert some.used == {"amplitudes": True}
    assert repr(some).endswith("amplitudes (not tested: mean, phases)")
    apart = np.array([[0.5, 0.5], [0.5, 0.9], [0.5, 0.7]])  # far above chance, and uncertain
    few = CueLearning(np.array([0, 1]), {"amplitude-only": apart}, 0.5)
    assert few.used == {"amplitudes": False}
    told = "none (not tested: mean, phases; 3 seeds are too few to exclude others)"
    assert repr(few).endswith(told)


def test_an_inspection_of_labelled_images_tells_their_rungs():
    images = load_bundled("digits")
    samples = as_samples(images)
    assert "Class means differ" in _classes(samples)[1][0]
    numbers, notes = _classes(replace(samples, labels=np.arange(len(samples.rows)) % 3))
    assert [n.name.split(":")[0] for n in numbers] == ["mean", "amplitudes", "phases"]
    assert all(n.error > 0 for n in numbers)
    assert "none of them" in notes[0]
    assert "Class means" not in notes[0]
    lonely = np.minimum(np.arange(len(samples.rows)), 5)
    assert "from 4 images of every class on" in _classes(replace(samples, labels=lonely))[1][0]
    unlabelled = as_samples(ImageSet(images.images[:100]))
    for labels in (unlabelled.labels, np.arange(100), np.zeros(100, int)):
        assert _classes(replace(unlabelled, labels=labels)) == ([], [])


def test_samples_keep_the_label_of_each_row():
    """Also where rows are shuffled and copies are left out."""
    images = np.arange(70 * 64, dtype=np.float32).reshape(70, 8, 8) / (70 * 64)
    images[3] = images[2]
    samples = as_samples(ImageSet(images, np.arange(70) // 4))
    first = np.rint(samples.images[:, 0, 0] * 70).astype(int)
    np.testing.assert_array_equal(samples.labels, first // 4)
    assert len(samples.labels) == 69
    labels = as_samples(ImageSet(images, np.arange(70) // 5))
    assert labels.digest != samples.digest
    assert as_samples(np.random.default_rng(0).random((40, 6))).labels is None


@pytest.mark.parametrize(
    ("features", "labels", "groups", "message"),
    [
        (np.ones(8), [0, 1] * 4, None, "`features` must have shape"),
        (np.ones((8, 2)), [0, 1], None, "`labels` must be 8 integers, one for each row"),
        (np.ones((8, 2)), [0] * 8, None, "`labels` must name at least two classes, but got 1"),
        (np.ones((8, 2)), [0] * 5 + [1] * 3, None, "`labels` must hold at least 4 independent"),
        (np.ones((8, 2)), [0, 1] * 4, [0] * 8, "`labels` must hold at least 4 independent"),
        (np.ones((8, 2)), [0, 1] * 4, [0, 1], "`groups` must be 8 integers"),
        (np.full((8, 2), np.nan), [0, 1] * 4, None, "`features`"),
    ],
)
def test_bad_features_and_labels_are_refused_by_name(features, labels, groups, message):
    with pytest.raises(ValueError, match=message):
        between_classes(features, labels, groups=groups)


@pytest.mark.parametrize("shape", [(8, 8), (5, 6), (3, 4, 2)])
def test_amplitudes_and_triples_of_phases_do_not_change_when_images_are_shifted(shape):
    images = np.random.default_rng(0).standard_normal((6, *shape))
    moved = np.roll(images, (2, 1), axis=(1, 2))
    for features in (_amplitudes, _triples):
        np.testing.assert_allclose(features(moved), features(images), atol=1e-9)
        assert features(images).shape[1] > 5
    np.testing.assert_allclose(_triples(3.0 * images), _triples(images), atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 2), (3, 1)])
def test_images_of_a_few_pixels_offer_what_there_is(shape):
    images = np.random.default_rng(1).standard_normal((20, *shape))
    offered = offered_rungs(images, np.arange(20) % 2)
    assert [each.significant for each in offered.values()] == [False] * 3


def test_images_of_another_rank_are_refused_by_name():
    with pytest.raises(ValueError, match="`images` must have shape"):
        offered_rungs(np.ones((8, 2)), [0, 1] * 4)


def test_classes_without_variance_are_told_apart_for_sure():
    rows = np.repeat([[0.0, 1.0], [1.0, 0.0]], 4, axis=0)
    apart = between_classes(rows, np.repeat([0, 1], 4))
    assert (apart.share, apart.significant) == (1.0, True)
    same = between_classes(np.ones((8, 2)), np.repeat([0, 1], 4))
    assert (same.share, same.significant) == (0.0, False)
