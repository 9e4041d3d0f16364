"""Orders along directions of given data, against the mixed cumulant model."""

import re

import jax
import numpy as np
import pytest

from diffusion_theory import MixedCumulant, ThreePoint, TiedDenoiser
from diffusion_theory.inspections import kurtotic_directions, orders
from diffusion_theory.theory import exponent_along, information_exponents
from learning_dynamics.inspection.samples import as_samples

N = 40_000


def spike(strength):
    return np.sqrt(1 + strength) * np.random.default_rng(0).standard_normal(N)


def three_point(share):
    """Variance one, kurtosis 1 / (2 share)."""
    rng = np.random.default_rng(1)
    return rng.choice([-1, 0, 1], N, p=[share, 1 - 2 * share, share]) / np.sqrt(2 * share)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("target", ["eps", "x0"])
@pytest.mark.parametrize(
    ("inputs", "name", "fields"),
    [
        (MixedCumulant(covariance=2.0, cumulant=None), "u", spike(2.0)),
        (MixedCumulant(), "v", np.sign(spike(0.0))),
        (MixedCumulant(pair=ThreePoint(0.1)), "v", three_point(0.1)),
    ],
    ids=["covariance", "rademacher", "heavy tails"],
)
def test_data_of_the_model_have_its_exponents(inputs, name, fields, sign, target):
    learner = TiedDenoiser("tanh", sign=sign, target=target)
    truth = information_exponents(inputs, learner)[name]
    found, _, _ = exponent_along(fields, learner)
    assert (found.order, found.verdict) == (truth.order, truth.verdict)
    assert abs(found.coefficient - truth.coefficient) < 5 * np.hypot(found.error, truth.error)
    assert found.error < 0.2 * abs(found.coefficient)


def test_gaussian_of_variance_one_is_flat():
    found, moments, errors = exponent_along(spike(0.0), TiedDenoiser("tanh"))
    assert found.verdict == "flat"
    assert np.all(np.abs(moments[2:]) < 5 * errors[2:])


def test_unit_variance_takes_order_two_out():
    learner = TiedDenoiser("tanh", sign=-1)
    fields = 3 * three_point(0.1)
    assert exponent_along(fields, learner)[0].order == 2
    found, moments, errors = exponent_along(fields, learner, unit_variance=True)
    assert found.order == 4
    assert moments[2] == 0
    alone = exponent_along(three_point(0.1), learner)[1][4]
    assert abs(moments[4] - alone) < 5 * errors[4]
    gaussian, _, _ = exponent_along(spike(8.0), learner, unit_variance=True)
    assert gaussian.verdict == "flat"


@pytest.mark.parametrize("parts", [1, 0, 50])
def test_bad_parts(parts):
    with pytest.raises(ValueError, match="`parts` must"):
        exponent_along(np.arange(40.0), TiedDenoiser("tanh"), parts=parts)


def planted(count=8000):
    """White rows with heavy tails along one direction and light tails along another."""
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((count, 8))
    rows[:, 0] = three_point(0.05)[:count]
    rows[:, 1] = np.sign(rows[:, 1])
    turn = np.linalg.qr(rng.standard_normal((8, 8)))[0]
    return rows @ turn.T, turn


def test_kurtotic_directions_are_those_planted():
    rows, turn = planted()
    found = kurtotic_directions(rows, 2, np.random.default_rng(0))
    np.testing.assert_allclose(found @ found.T, np.eye(2), atol=1e-12)
    assert abs(found[0] @ turn[:, 0]) > 0.99
    assert abs(found[1] @ turn[:, 1]) > 0.98


def test_section_tells_which_statistics_come_first():
    rows, turn = planted()
    stretched = rows @ (np.eye(8) + 2 * np.outer(turn[:, 2], turn[:, 2]))
    found = orders(as_samples(stretched), jax.random.key(0))
    own, white = (
        {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
        for table in found.tables
    )
    assert own["eigenvector 1"]["order"] == "2"
    assert (own["eigenvector 1"]["sign −"], own["eigenvector 1"]["sign +"]) == (
        "attractive", "repelled",
    )  # fmt: skip
    assert white["eigenvector 1, whitened"]["order"] == "not resolved"
    assert white["kurtotic 1"]["order"] == white["kurtotic 2"]["order"] == "4"
    assert white["kurtotic 1"]["sign +"] == white["kurtotic 2"]["sign −"] == "attractive"
    kurtosis = found.numbers[0]
    assert abs(kurtosis.value - 7) < 5 * kurtosis.error + 0.5
    assert re.fullmatch(  # the other eigenvectors have less variance than the mean of one
        r"Pairwise statistics first: order 2 along 6 of 6 leading eigenvectors "
        r"\(d log d samples\); higher orders follow, at variance one: order 4 \(d³\) along "
        r"(\d of 6 leading eigenvectors and )?2 of 4 kurtotic directions\.",
        found.answer,
    )


def test_resolved_kurtotic_directions_come_first():
    """Whatever the search meets first; the others stay at the end and are marked."""
    rows, _ = planted()
    found = orders(as_samples(rows), jax.random.key(3))
    white = [row for row in found.tables[1].rows if row[0].startswith("kurtotic")]
    assert [row[0] for row in white] == [f"kurtotic {i}" for i in (1, 2, 3, 4)]
    assert [row[3] for row in white] == ["4", "4", "not resolved", "not resolved"]
    marked = ["not resolved" in number.meaning for number in found.numbers]
    assert marked == [False, False, True, True]
    sizes = [abs(number.value / number.error) for number in found.numbers]
    assert sizes[2] >= sizes[3]
    assert found.answer.startswith("Fourth-order statistics first: order 4 along ")


def test_rows_that_do_not_span_the_components_are_a_caveat():
    rows = np.random.default_rng(6).random((17, 60))
    answer = orders(as_samples(rows), jax.random.key(0)).answer
    assert answer.endswith(" Do not rely on this: 17 rows do not span the 60 components.")


def test_white_noise_has_nothing_to_learn():
    """Eigenvectors are measured in rows that did not choose them."""
    rows = np.random.default_rng(5).standard_normal((20_000, 8))
    answer = orders(as_samples(rows), jax.random.key(0)).answer
    assert answer.startswith("No order up to four is resolved along 6 eigenvectors and 4 kurtotic")
