"""The small-step diffusion of a neuron, against SGD, closed forms and the search-phase law."""

import jax
import numpy as np
import pytest
from scipy import stats

import learning_dynamics as ld
from fourier_simplicity import (
    FourierInputs,
    TieOverlap,
    even_start,
    harmonic,
    neuron_diffusion,
    phase_problem,
    power_law_spectrum,
    quartet,
    recovery_law,
    triad,
)

POWER = FourierInputs(18, triad(1, 2), power_law_spectrum(18, 1.0))


def _field_variance(trajectory, inputs, blocks):
    own = np.asarray(inputs.signal_variances())
    return (trajectory.values["signal"][:, :, 0] ** 2) @ own + blocks @ inputs.blocks(
        inputs.dimension
    )[0].variances


@pytest.mark.slow
@pytest.mark.parametrize("normalised", [False, True])
def test_it_follows_sgd_at_a_power_law_spectrum(key, normalised):
    n, times = POWER.dimension, np.array([2.0, 8.0, 16.0, 32.0])
    problem = phase_problem(POWER, "he3", learning_rate=0.06, normalised=normalised)
    theory = neuron_diffusion(problem, dimension=n, times=times, paths=2000, key=key, step=0.03)
    seen = ld.simulate(
        problem,
        dimension=n,
        times=times,
        replicas=1000,
        key=jax.random.fold_in(key, 1),
        observe={"blocks": lambda overlaps: overlaps.blocks[:, 0, 0]},
    )
    watched = TieOverlap(POWER)
    found = []
    for each, variance in (
        (seen, _field_variance(seen, POWER, seen.values["blocks"])),
        (theory, theory.values["field_variance"]),
    ):
        tie = watched.along(each.values["signal"][:, :, 0], variance) / watched.largest
        columns = np.concatenate([tie, variance], axis=1)
        found.append((columns.mean(0), columns.std(0) / np.sqrt(len(columns))))
    (mean, error), (law, law_error) = found
    # what the diffusion leaves out is of relative order 1/N_eff
    allowed = 0.05 * np.abs(law) + 0.01
    assert np.all(np.abs(mean - law) < 5 * np.hypot(error, law_error) + allowed)
    assert law[3] > law[0] + 0.2  # the tie is learnt meanwhile


@pytest.mark.slow
def test_without_drift_the_field_variance_relaxes_to_that_of_the_noise(key):
    """S' = h^2 V (tr Sigma^2 - tr Sigma s - ..): relu has V = 1/2 and V2 = s/2, broken tie."""
    inputs = FourierInputs(66, quartet(1, 4, 2, jitter=np.pi), power_law_spectrum(66, 0.5))
    n, rate = inputs.dimension, 0.5
    with pytest.warns(UserWarning, match="full jitter"):
        problem = phase_problem(inputs, "relu", learning_rate=rate)
    clock = np.array([0.25, 1.0, 4.0])  # in units of the relaxation time
    h = rate / n
    times = clock / (h**2 * 0.5 * n) / n
    seen = neuron_diffusion(problem, dimension=n, times=times, paths=4000, key=key, step=0.02)
    s = seen.values["field_variance"]
    spectrum = np.repeat(inputs.variances(), 2)
    final = np.sum(spectrum**2) / np.sum(spectrum)
    expected = final + (1 - final) * np.exp(-clock)
    error = s.std(axis=0) / np.sqrt(len(s))
    # w' Sigma^2 w / s and the like are of order N^(-1/2) against tr Sigma here
    assert np.all(np.abs(s.mean(axis=0) - expected) < 5 * error + 0.05 * np.abs(final - 1))


@pytest.mark.slow
def test_without_drift_isotropic_weights_stay_uniform(key):
    inputs = FourierInputs(64, quartet(1, 4, 2))
    with pytest.warns(UserWarning, match="blind"):
        problem = phase_problem(inputs, "tanh", learning_rate=0.5)
    n = 32
    seen = neuron_diffusion(problem, dimension=n, times=[60.0], paths=2000, key=key)
    m = seen.values["signal"][:, -1, 0]
    for column in m.T:  # one coordinate of a uniform direction
        assert stats.kstest(column**2, stats.beta(0.5, (n - 1) / 2).cdf).pvalue > 1e-5
    square = (m**2).sum(axis=1)
    assert stats.kstest(square, stats.beta(4, (n - 8) / 2).cdf).pvalue > 1e-4


@pytest.mark.slow
def test_at_large_dimension_it_is_the_search_phase(key):
    inputs = FourierInputs(64, triad(1, 2))
    n, rate = 40_000, 0.25
    problem = phase_problem(inputs, "he3", learning_rate=rate * n**-0.5)
    watched = TieOverlap(inputs)
    stop = ld.Stop(watched, 0.3 * watched.largest)
    seen = neuron_diffusion(
        problem, dimension=n, times=[20.0 * n], paths=1000, key=key, stop=stop, step=0.04
    )
    law = recovery_law(inputs, "he3", rate, key=jax.random.fold_in(key, 1), draws=1000)
    times = np.where(seen.stopped < 0, np.inf, seen.stopped) / n**2
    assert stats.ks_2samp(times, law).pvalue > 1e-4


@pytest.mark.slow
def test_starts_are_uniform_and_stopped_paths_stay(key):
    problem = phase_problem(FourierInputs(18, harmonic(1)), "he4", learning_rate=0.05)
    watched = TieOverlap(problem.inputs)
    stop = ld.Stop(watched, 0.2 * watched.largest)
    seen = neuron_diffusion(
        problem, dimension=16, times=[200.0, 400.0], paths=64, key=key, stop=stop
    )
    early = (seen.stopped >= 0) & (seen.stopped <= 200 * 16)
    assert early.any()
    signal = seen.values["signal"]
    assert np.array_equal(signal[early, 0], signal[early, 1])
    assert np.allclose(seen.start.norms, 1)
    assert seen.level == "diffusion"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"times": [2.0, 1.0]}, "times"),
        ({"paths": 0}, "paths"),
        ({"step": 2.0}, "step"),
        ({"dimension": 0}, "dimension"),
    ],
)
def test_bad_arguments_are_named(key, change, match):
    problem = phase_problem(FourierInputs(18, triad(1, 2)), "he3", learning_rate=0.1)
    good = {"dimension": 16, "times": [1.0], "paths": 4, "key": key}
    with pytest.raises(ValueError, match=match):
        neuron_diffusion(problem, **{**good, **change})


def test_other_problems_are_refused(key):
    inputs = FourierInputs(18, triad(1, 2), amplitudes="deterministic")
    problem = phase_problem(inputs, "he3", learning_rate=0.1)
    with pytest.raises(ValueError, match="rayleigh"):
        neuron_diffusion(problem, dimension=16, times=[1.0], paths=2, key=key)
    with pytest.raises(ValueError, match="rayleigh"):
        TieOverlap(inputs)


def test_shares_of_the_field_are_read_off_order_parameters():
    watched = TieOverlap(POWER)
    start = even_start(POWER, 0.5, 16)
    value = float(watched(jax.tree.map(lambda a: np.asarray(a, np.float32), start)))
    own = np.asarray(POWER.signal_variances())
    s = (start.signal[0] ** 2) @ own + start.blocks[:, 0, 0] @ POWER.blocks(16)[0].variances
    assert value == pytest.approx(float(watched.along(start.signal[0], s)), rel=1e-5)
    m = start.signal[0, ::2] * np.sqrt(own[::2])
    assert value == pytest.approx(np.prod(m) / s**1.5, rel=1e-5)
