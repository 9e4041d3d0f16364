"""Data sets of several laws and sizes: each cell is what a call for it alone gives."""

from functools import partial

import jax
import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.evidence.measurement import Prediction
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.spectra import power_law
from linear_diffusion import LatentLaw, draw, theory
from linear_diffusion.data_sets import DataSets, finite_size
from linear_diffusion.theory import kl

D, SIZES, REPLICAS = 6, np.array([4, 18]), 3
KEY = jax.random.key(5)
LAWS = {"flat": LatentLaw(np.ones(D)), "steep": LatentLaw(power_law(D, 1.0))}
SCHEDULE = NoiseSchedule.linear(20, 5e-3, 0.3)


def make(**options):
    return DataSets.of(LAWS, SIZES, replicas=REPLICAS, key=KEY, first=2, **options)


def cases():
    """Law and size of every cell, with the covariances and mean errors of its rows."""
    for i, law in enumerate(LAWS.values()):
        for j, N in enumerate(SIZES.tolist()):
            rows = []
            for replica in range(REPLICAS):
                key = jax.random.fold_in(jax.random.fold_in(KEY, 2 + i), replica)
                with jax.enable_x64(True):
                    drawn = draw(law, N, key=jax.random.fold_in(key, N), dtype=np.float64)
                rows.append(np.asarray(drawn))
            yield (i, j), law, rows


def optimum(rows, a, c):
    covariance = np.cov(rows.T, bias=True)
    return np.sqrt(1 - a) * np.linalg.inv(a * (covariance + c * np.eye(D)) + (1 - a) * np.eye(D))


def test_allowed_bias_falls_with_the_square_of_the_smaller_number():
    spectrum = np.ones(100)
    found = finite_size(kl(spectrum, [10, 1000], 1.0, direction="forward"), [10, 1000], 100)
    np.testing.assert_allclose(found.bias / found.values, [0.1, 1e-3])


def test_losses_are_those_of_the_optimum_on_the_rows():
    levels, ridge = np.array([0.9, 0.4]), 0.1
    found = make().losses(levels, ridge=ridge)
    assert list(found.test.coordinates) == ["law", "N_over_d", "noise_level"]
    np.testing.assert_allclose(found.test.coordinates["N_over_d"], SIZES / D)
    for index, law, drawn in cases():
        for k, a in enumerate(levels):
            losses = []
            for rows in drawn:
                W, mean = optimum(rows, a, ridge), rows.mean(axis=0)
                sampled = np.cov(rows.T, bias=True)
                true = np.diag(law.spectrum) + np.outer(mean, mean)
                losses.append([
                    1 + (a * np.sum(W @ C * W) + (1 - a) * np.sum(W**2)) / D
                    - 2 * np.sqrt(1 - a) * np.trace(W) / D
                    for C in (sampled, true)
                ])  # fmt: skip
            train, test = np.mean(losses, axis=0)
            assert found.train.values[(*index, k)] == pytest.approx(train, rel=1e-9)
            assert found.test.values[(*index, k)] == pytest.approx(test, rel=1e-9)
    alone = make().losses(0.4, ridge=ridge)
    np.testing.assert_array_equal(alone.test.values, found.test.values[..., 1])


def test_the_generated_law_along_training_is_that_of_the_matrices():
    """At late times and many steps, the spectrum of Sigma_hat and its leading eigenvector."""
    sets = DataSets.of(LAWS, [18], replicas=REPLICAS, key=KEY, first=2)
    found = sets.along_training(SCHEDULE, [0.3, 1e6], direction="reverse")
    assert list(found.overlap.coordinates) == ["law", "N_over_d", "tau"]
    for (i, j), law, drawn in cases():
        if j == 1:
            leading = [np.linalg.eigh(np.cov(rows.T, bias=True))[1][0, -1] ** 2 for rows in drawn]
            overlap = found.overlap.values[i, 0]
            np.testing.assert_allclose(overlap, np.mean(leading), rtol=1e-9)  # at any time
            variance = theory.generated_variance(
                [np.linalg.eigvalsh(np.cov(rows.T, bias=True)) for rows in drawn], SCHEDULE
            ).values
            terms = []
            for rows, p in zip(drawn, variance, strict=True):
                v, mean = np.linalg.eigh(np.cov(rows.T, bias=True))[1], rows.mean(axis=0)
                share = theory.mean_factor(
                    np.linalg.eigvalsh(np.cov(rows.T, bias=True)), SCHEDULE
                ).values
                shift = v @ (share * (v.T @ mean))
                trace = np.sum((v * p) @ v.T / law.spectrum * np.eye(D))
                logs = np.log(law.spectrum).sum() - np.log(p).sum()
                terms.append((trace + np.sum(shift**2 / law.spectrum) - D + logs) / 2)
            assert found.divergence.values[i, 0, 1] == pytest.approx(np.mean(terms), rel=1e-8)


def test_a_sweep_and_a_loop_measure_the_same(tmp_path):
    calls = []

    def sweep(measure, over, **options):
        calls.append(sorted(over))
        return ld.sweep(measure, over, store=tmp_path, **options)

    swept = make(sweep=sweep).similarity(ridge=0.01)
    np.testing.assert_array_equal(swept.values, make().similarity(ridge=0.01).values)
    assert calls == [["samples", "source"]]
    many = DataSets.of({"flat": LAWS["flat"]}, [60], replicas=2, key=KEY)
    assert set(many.divergences()) == {"forward", "reverse"}


def test_expected_values_have_every_law_and_size_and_an_allowance():
    sets, seen = make(), []

    def law(spectrum, N):
        seen.append((spectrum, N))
        return Prediction(np.outer(N, [1.0, 2.0]) * spectrum[-1])

    found = sets.expected(law, data=2)
    assert found.values.shape == (2, 2, 2)
    np.testing.assert_allclose(found.values[1, :, 0], 2 * SIZES * LAWS["steep"].spectrum[-1])
    np.testing.assert_allclose(found.bias[0, :, 0] / found.values[0, :, 0], [10 / 16, 10 / 36])
    np.testing.assert_array_equal(seen[0][1], 2 * SIZES)
    assert sets.expected(law, samples=[7]).values.shape == (2, 1, 2)
    with pytest.raises(ValueError, match="`law` must give a value for each of 2 sizes"):
        sets.expected(lambda spectrum, N: Prediction(1.0))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"laws": {}}, "laws"),
        ({"laws": {**LAWS, "large": LatentLaw(np.ones(D + 1))}}, "laws"),
        ({"laws": list(LAWS.values())}, "laws"),
        ({"laws": {"flat": np.ones(D)}}, "laws"),
        ({"laws": {1: LAWS["flat"], "1": LAWS["steep"]}}, "laws"),
        ({"samples": [1, 5]}, "samples"),
        ({"samples": []}, "samples"),
        ({"samples": [[4]]}, "samples"),
        ({"replicas": 0}, "replicas"),
        ({"replicas": 1}, "replicas"),
        ({"first": -1}, "first"),
        ({"first": 0.5}, "first"),
    ],
)
def test_what_makes_no_data_sets_is_refused(change, name):
    given = {"laws": LAWS, "samples": SIZES, "replicas": 2, "key": KEY} | change
    with pytest.raises(ValueError, match=f"`{name}`"):
        partial(DataSets.of, given.pop("laws"), given.pop("samples"))(**given)


@pytest.mark.parametrize(
    ("samples", "dimension"),
    [([0, 5], 5), ([-3, 5], 5), ([2.5, 5], 5), ([5, 5, 5], 5), ([5, 5], 0)],
)
def test_the_allowance_for_finite_size_wants_whole_sizes(samples, dimension):
    with pytest.raises(ValueError, match=r"`(samples|dimension)`"):
        finite_size(Prediction([1.0, 2.0]), samples, dimension)


def test_numbers_that_a_measure_would_cut_are_refused():
    with pytest.raises(ValueError, match="`ridge`"):
        make().losses(0.5, ridge=[0.0, 1.0])
    with pytest.raises(ValueError, match="`alpha_bar`"):
        make().losses([[0.5]])
    for times in ([-1.0], [np.nan], []):
        with pytest.raises(ValueError, match="`times`"):
            make().along_training(SCHEDULE, times)
    with pytest.raises(ValueError, match="`data`"):
        make().expected(lambda s, N: theory.losses(s, N, 0.0, 0.9).test, data=-1)


def test_data_sets_with_too_few_samples_have_no_divergence():
    """N = 4 < d: the covariance is singular, the KL infinite in both directions."""
    for measured in make().divergences().values():
        np.testing.assert_array_equal(measured.lost, [[REPLICAS, 0]] * 2)


def test_data_sets_are_shown_in_a_few_lines():
    assert len(repr(make()).splitlines()) < 8
