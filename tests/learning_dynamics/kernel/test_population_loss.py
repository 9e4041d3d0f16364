"""The population loss as an observable: every level agrees, with and without label noise."""

import jax
import numpy as np
import pytest

import learning_dynamics as ld
from tests.learning_dynamics.kernel.models import Committee, Teacher

PROBLEM = ld.Problem(Teacher((1.0,)), Committee(1), 0.4, label_noise=0.5)
LOSSES = {"loss": ld.loss, "clean": ld.loss(label_noise=False)}


def exact(m, q):
    """E (g(F) - g(y))^2 / 2 of two erf units (Saad and Solla 1995)."""

    def average(a, b, c):
        return 2 / np.pi * np.arcsin(c / np.sqrt((1 + a) * (1 + b)))

    return (average(q, q, q) + average(1.0, 1.0, 1.0) - 2 * average(q, 1.0, m)) / 2


@pytest.mark.slow
def test_loss_is_observed_at_every_level(key):
    run = {"dimension": 100, "times": [1.0, 4.0], "observe": LOSSES, "key": key}
    start = ld.order_parameters([[0.2]], [[0.5]])
    ambient, overlaps = (
        ld.simulate(PROBLEM, replicas=16, level=level, start=start, **run)
        for level in ("ambient", "overlaps")
    )
    for seen in (ambient, overlaps):
        clean = exact(seen.values["signal"][..., 0, 0], seen.values["norms"][..., 0, 0])
        np.testing.assert_allclose(seen.values["clean"], clean, atol=2e-3)
        np.testing.assert_allclose(
            seen.values["loss"] - seen.values["clean"], 0.5**2 / 2, atol=2e-3
        )
        assert " blocks" not in seen.values
    limit = ld.integrate(PROBLEM, start=ambient, observe=LOSSES)
    clean = exact(limit.values["signal"][:, 0, 0], limit.values["norms"][:, 0, 0])
    np.testing.assert_allclose(limit.values["clean"], clean, atol=2e-3)


@pytest.mark.slow
def test_losses_of_all_levels_agree(key):
    run = {"dimension": 300, "times": [1.0, 4.0], "observe": LOSSES, "key": key}
    start = ld.order_parameters([[0.2]], [[0.5]])
    ambient = ld.simulate(PROBLEM, replicas=64, start=start, **run)
    overlaps = ld.simulate(PROBLEM, replicas=256, level="overlaps", start=start, **run)
    limit = ld.integrate(PROBLEM, start=ambient, observe=LOSSES)
    result = ld.compare_each(ambient, overlaps, limit, quantities=["loss", "clean"])
    assert all(item.verdict == "pass" for item in result)


@pytest.mark.slow
def test_loss_of_lost_replicas_is_not_a_number(key):
    problem = ld.Problem(Teacher((1.0,), "linear"), Committee(1, "linear"), 50.0)
    seen = ld.simulate(
        problem, dimension=50, times=[1.0, 40.0], replicas=4, key=key, observe={"loss": ld.loss}
    )
    assert np.all(np.isnan(seen.values["loss"][:, -1]))
    assert seen.lost.all()


@pytest.mark.slow
def test_an_observable_may_ask_for_an_expected_loss(key):
    """Inside a simulation in single precision, computed in double."""

    def own(overlaps):
        return ld.expected_loss(PROBLEM, overlaps, points=2**9, method="tensor")[0]

    seen = ld.simulate(
        PROBLEM, dimension=100, times=[0.5], replicas=4, key=key,
        observe={"own": own, "loss": ld.loss},
    )  # fmt: skip
    np.testing.assert_allclose(seen.values["own"], seen.values["loss"], atol=2e-3)
    with pytest.raises(TypeError):
        ld.loss(jax.numpy.zeros(3))
