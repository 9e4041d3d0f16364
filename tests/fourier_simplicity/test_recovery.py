"""When a share of the neurons knows a tie, and which neurons do."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

import learning_dynamics as ld
from fourier_simplicity import (
    FourierInputs,
    TieOverlap,
    detect_along,
    detection_along,
    detection_auc,
    harmonic,
    held_out_auc,
    phase_problem,
    power_law_spectrum,
    samples_to_share,
    triad,
)

RNG = np.random.default_rng(0)
POWER = FourierInputs(18, triad(1, 2), power_law_spectrum(18, 1.0))


def runs_that_know(count, samples):
    """Recovery at times with log n* uniform on [2, 4]: the quantile p is exp(2 + 2 p)."""
    return np.exp(RNG.uniform(2, 4, count))[:, None] <= samples


def test_samples_to_a_share_are_a_quantile_with_its_error():
    samples = np.geomspace(5.0, 70.0, 60)
    found = [
        samples_to_share(samples, runs_that_know(200, samples), 0.35, rng=RNG, resamples=100)
        for _ in range(100)
    ]
    logs = np.log([each.value for each in found])
    spread = logs.std(ddof=1)
    assert abs(logs.mean() - 2.7) < 5 * spread / 10 + 0.01
    assert spread == pytest.approx(2 * np.sqrt(0.35 * 0.65 / 200), rel=0.35)
    assert np.mean([each.error for each in found]) == pytest.approx(spread, rel=0.35)


def test_samples_to_a_share_that_is_never_reached_or_at_once():
    samples, level = np.array([1.0, 10.0, 100.0]), 0.5
    never = samples_to_share(samples, np.zeros((8, 3), bool), level, rng=RNG)
    assert never == (np.inf, np.inf)
    always = samples_to_share(samples, np.ones((8, 3), bool), level, rng=RNG)
    assert always == pytest.approx((1.0, 0.0))


@pytest.mark.parametrize(
    ("argument", "changed"),
    [
        ("samples", {"samples": [0.0, 10.0, 100.0]}),
        ("samples", {"samples": [10.0, 1.0, 100.0]}),
        ("known", {"known": np.ones((8, 2), bool)}),
        ("known", {"known": np.ones((8, 3))}),
        ("known", {"known": np.ones((0, 3), bool)}),
        ("level", {"level": np.nan}),
        ("level", {"level": 1.5}),
        ("resamples", {"resamples": 0}),
    ],
)
def test_shares_that_make_no_sense_are_refused_by_name(argument, changed):
    given = {"samples": [1.0, 10.0, 100.0], "known": np.ones((8, 3), bool), "level": 0.5}
    with pytest.raises(ValueError, match=f"Argument `{argument}"):
        samples_to_share(**(given | changed), rng=RNG)


def test_who_knows_the_tie_is_read_off_noise_blocks_or_the_field_variance():
    watched = TieOverlap(POWER)
    signal = RNG.normal(size=(20, 5, 1, 6))
    blocks = RNG.uniform(size=(20, 5, len(watched.variances[1])))
    s = signal[:, :, 0] ** 2 @ watched.variances[0] + blocks @ watched.variances[1]
    expected = watched.along(signal[:, :, 0], s) >= 0.1 * watched.largest
    assert 0.1 < expected.mean() < 0.9
    for more in ({"blocks": blocks}, {"field_variance": s}):
        trajectory = SimpleNamespace(values={"signal": signal, **more})
        np.testing.assert_array_equal(watched.known(trajectory, 0.1), expected)
    with pytest.raises(ValueError, match='Argument `trajectory` must hold "field_variance"'):
        watched.known(SimpleNamespace(values={"signal": signal}), 0.1)


def test_measured_auc_is_that_of_theory(key):
    inputs = FourierInputs(18, harmonic(1))
    overlaps = np.tile([0.7, 0.1, 0.4, 0.0], (64, 2, 1))
    measured = held_out_auc(inputs, "he4", overlaps, held_out=500, key=key)
    error = measured.std(axis=0, ddof=1) / 8
    assert np.all(
        np.abs(measured.mean(axis=0) - detection_auc(inputs, "he4", overlaps[0])) < 5 * error
    )
    assert detection_auc(inputs, "he4", overlaps[0, 0]) > 0.5 + 5 * error.max()


@pytest.mark.slow
def test_detection_along_training_is_that_of_the_diffusion(key):
    n, inputs = 12, FourierInputs(18, harmonic(1))
    found = detect_along(
        inputs, "he4", 0.4 / n, np.array([0.02, 15.0]) * n**2, dimension=n, replicas=192, paths=192,
        key=key,
    )  # fmt: skip
    error = np.hypot(found.auc.std(axis=0, ddof=1) / np.sqrt(192), found.error)
    bias = 2.5 / n * np.abs(found.theory - 0.5)
    assert np.all(np.abs(found.auc.mean(axis=0) - found.theory) < 5 * error + bias)
    assert found.theory[1] - 0.5 > 5 * error[1]
    spread = np.sqrt(found.expected * (1 - found.expected) * 2 / 192)
    assert np.all(np.abs(found.known - found.expected) < 5 * spread + 2.5 / n * found.expected)
    assert found.expected[1] > 0.2


@pytest.mark.parametrize("wrong", [{"paths": 3}, {"scored": 1}, {"share": 1.5}])
def test_detections_that_make_no_sense_are_refused_by_name(wrong, key):
    given = {"replicas": 4, "paths": 48, "key": key, "dimension": 12, **wrong}
    with pytest.raises(ValueError, match=f"Argument `{next(iter(wrong))}"):
        detect_along(FourierInputs(18, harmonic(1)), "he4", 0.03, [1.0], **given)


def test_a_problem_that_is_blind_on_purpose_gives_no_warning():
    problem = phase_problem(
        FourierInputs(18, harmonic(1)), "erf", learning_rate=0.1, may_be_blind=True
    )
    assert isinstance(problem, ld.Problem)
    with pytest.warns(UserWarning, match="blind"):
        phase_problem(FourierInputs(18, harmonic(1)), "erf", learning_rate=0.1)


@pytest.mark.parametrize(
    ("argument", "changed"),
    [
        ("overlaps", {"overlaps": np.zeros((2, 3, 5))}),
        ("overlaps", {"overlaps": np.ones((2, 3, 6))}),
        ("held_out", {"held_out": 2.5}),
        ("key", {"key": 3}),
    ],
)
def test_overlaps_that_no_neuron_has_are_refused_by_name(argument, changed):
    given = {"overlaps": np.zeros((2, 3, 6)), "held_out": 4, "key": jax.random.key(0)}
    with pytest.raises(ValueError, match=f"Argument `{argument}"):
        held_out_auc(FourierInputs(18, triad(1, 2)), "he3", **(given | changed))


@pytest.mark.slow
def test_the_error_of_few_scored_paths_is_not_too_small(key, monkeypatch):
    """Of two paths with AUC 0.5 and 0.7 it is half their difference."""
    exact = np.array([[0.5], [0.7]])
    monkeypatch.setattr(detection_along, "detection_auc", lambda *given: exact)
    monkeypatch.setattr(detection_along, "held_out_auc", lambda *given, **options: exact)
    found = detect_along(
        FourierInputs(18, harmonic(1)), "he4", 0.03, [1.0], dimension=12, replicas=2, paths=2,
        scored=2, key=key,
    )  # fmt: skip
    np.testing.assert_allclose(found.error, 0.1)
