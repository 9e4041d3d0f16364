"""Recovery of ties by neurons beside the diffusion, and its recovery times over a grid of N."""

from functools import partial

import jax
import numpy as np
import pytest
import xarray as xr

import learning_dynamics as ld
from fourier_simplicity import (
    FourierInputs,
    TieOverlap,
    diffusion_recovery_times,
    harmonic,
    neuron_diffusion,
    phase_problem,
    power_law_spectrum,
    quartet,
    recover_along,
    triad,
)
from tests.learning_dynamics.kernel import linear_regression

TRIAD = FourierInputs(64, triad(1, 2))
WATCHED = TieOverlap(TRIAD)


def searching(n):
    return phase_problem(TRIAD, "he3", learning_rate=0.25 * n**-0.5)


def longest(n):
    return 8.0 * n**2


def stop(_):
    return ld.Stop(WATCHED, 0.5 * WATCHED.largest)


@pytest.mark.slow
def test_neurons_recover_as_the_diffusion_says(key):
    n = 24
    inputs = FourierInputs(n + 2, quartet(1, 4, 2), power_law_spectrum(n + 2, 1.0))
    problem = phase_problem(inputs, "he4", learning_rate=0.3 / 13, normalised=True)
    found = recover_along(
        problem, np.geomspace(200, 8000, 12), dimension=n, replicas=192, paths=512, quantile=0.35,
        share=0.4, level="ambient", step=0.05, key=key,
    )  # fmt: skip
    apart = np.log(found.measured.value / found.predicted.value)
    assert abs(apart) < 5 * np.hypot(found.measured.error, found.predicted.error) + 2.5 / n
    assert found.lost == 0
    assert found.known[-1] > 0.35 > found.known[0]
    spread = np.sqrt(found.expected * (1 - found.expected) * (1 / 192 + 1 / 512))
    assert np.all(np.abs(found.known - found.expected) < 5 * spread + 5 / n)


@pytest.mark.slow
def test_a_broken_tie_is_watched_as_the_whole_one(key):
    whole = FourierInputs(18, harmonic(1))
    broken = FourierInputs(18, harmonic(1, jitter=np.pi))
    problem = phase_problem(broken, "he4", learning_rate=0.03, may_be_blind=True)
    given = {
        "dimension": 12, "replicas": 8, "paths": 8, "quantile": 0.5, "share": 0.25, "key": key,
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"Argument `inputs.ties`"):
        recover_along(problem, [10.0, 100.0], **given)
    found = recover_along(problem, [10.0, 100.0], watched=TieOverlap(whole), **given)
    assert found.measured.value == np.inf


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("paths", {"paths": 3}),
        ("share", {"share": 1.5}),
        ("samples", {"samples": [np.nan]}),
        ("samples", {"samples": [2.0, 1.0]}),
        ("samples", {"samples": [0.0, 1.0]}),
        ("samples", {"samples": [1.2, 1.3]}),  # one update for both
        ("samples", {"samples": [10.0, 1e30]}),  # beyond any run
        ("quantile", {"quantile": 1.5}),
        ("quantile", {"quantile": None}),
        ("level", {"level": "diffusion"}),
        ("watched", {"watched": "the tie"}),
        ("key", {"key": 0}),
        ("problem", {"problem": 3}),
        ("inputs", {"problem": linear_regression.problem(0.5)}),
    ],
)
def test_arguments_that_make_no_sense_are_refused_by_name(argument, wrong, key, monkeypatch):
    given = {
        "samples": [10.0, 100.0], "dimension": 12, "replicas": 4, "paths": 8, "quantile": 0.5,
        "share": 0.25, "key": key,
        "problem": searching(12),
    } | wrong  # fmt: skip

    def no_work(*_, **__):
        raise AssertionError("began to work")

    monkeypatch.setattr("fourier_simplicity.recovery_along.neuron_diffusion", no_work)
    with pytest.raises(ValueError, match=f"Argument `{argument}"):
        recover_along(**given)


def test_paths_of_two_sizes_have_starts_of_their_own(key, monkeypatch):
    """A scatter that they shared would be missing from the error of an exponent in N."""
    starts = []

    def kept(*arguments, **options):
        made = neuron_diffusion(*arguments, **options)
        starts.append(np.ravel(made.start.signal))
        return made

    monkeypatch.setattr("fourier_simplicity.recovery_along.neuron_diffusion", kept)
    diffusion_recovery_times(
        searching, dimensions=[16, 32], paths=256, longest=lambda n: 1.0, stop=stop, key=key
    )
    correlation = np.corrcoef(*starts)[0, 1]
    assert abs(correlation) < 5 / np.sqrt(starts[0].size)


@pytest.mark.slow
def test_recovery_times_of_paths_are_those_of_the_diffusion(key, tmp_path):
    """At each N the stopped updates of `neuron_diffusion`, by a sweep and without one."""
    options = {"dimensions": [16, 32], "paths": 32, "longest": longest, "stop": stop, "key": key}
    times = diffusion_recovery_times(searching, step=0.06, **options)
    assert times.samples.shape == (32, 2)
    assert 0.1 < times.fraction.min() <= times.fraction.max() < 1
    np.testing.assert_array_equal(times.followed, [8.0 * 16**2, 8.0 * 32**2])
    seen = neuron_diffusion(
        searching(32), dimension=32, times=[8.0 * 32], paths=32, key=jax.random.fold_in(key, 32),
        stop=stop(32), step=0.06,
    )  # fmt: skip
    expected = np.where(seen.stopped > 0, seen.stopped, np.nan)
    np.testing.assert_array_equal(times.samples[:, 1], expected)
    kept = partial(ld.sweep, store=tmp_path, tracker=None)
    again = diffusion_recovery_times(searching, step=0.06, sweep=kept, **options)
    np.testing.assert_array_equal(again.samples, times.samples)


def test_cells_that_are_missing_are_no_paths_that_did_not_recover(key):
    def sweep(cell, axes, fixed):
        return xr.Dataset(attrs={"missing": ["dimension=16"]})

    options = {"dimensions": [16, 32], "paths": 4, "longest": longest, "stop": stop, "key": key}
    with pytest.raises(RuntimeError, match="missing"):
        diffusion_recovery_times(searching, sweep=sweep, **options)
    with pytest.raises(ValueError, match="Argument `dimensions`"):
        diffusion_recovery_times(searching, **options | {"dimensions": [32, 16]})
    with pytest.raises(ValueError, match="Argument `paths`"):
        diffusion_recovery_times(searching, **options | {"paths": 0})


@pytest.mark.parametrize(
    ("argument", "wrong"),
    [
        ("problem", {"problem": searching(16)}),
        ("problem", {"problem": lambda n: n}),
        ("longest", {"longest": 100.0}),
        ("longest", {"longest": lambda n: 0.0}),
        ("stop", {"stop": stop(16)}),
        ("stop", {"stop": lambda n: None}),
        ("key", {"key": 0}),
        ("step", {"step": 1.0}),
    ],
)
def test_functions_of_the_size_that_make_no_sense_are_refused(argument, wrong, key):
    given = {
        "problem": searching, "dimensions": [16, 32], "paths": 4, "longest": longest,
        "stop": stop, "key": key,
    } | wrong  # fmt: skip
    with pytest.raises(ValueError, match=f"Argument `{argument}`"):
        diffusion_recovery_times(**given)
