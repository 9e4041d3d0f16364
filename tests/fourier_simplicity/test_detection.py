"""Law of the field and AUC against drawn inputs, and two-layer networks on the kernel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import learning_dynamics as ld
from fourier_simplicity import (
    FourierInputs,
    Template,
    TwoLayer,
    correlation,
    detection_auc,
    draw,
    field_densities,
    harmonic,
    network_problem,
    power_law_spectrum,
    quartet,
    triad,
)
from fourier_simplicity.learners import activation_function

CASES = {
    "harmonic": (FourierInputs(18, harmonic(1)), "he4", [0.8, 0.0, 0.4, 0.2], 1.0),
    "triad": (FourierInputs(18, triad(1, 2, jitter=0.5)), "relu", [0.5, 0.1, 0.5, 0, 0.4, 0], 1.0),
    "template, power law": (
        FourierInputs(18, Template(3), power_law_spectrum(18, 1.0)),
        "he3",
        [0.4, 0.2, 0.5, 0.0, 0.4, -0.3],
        3.0,
    ),
}


def fields(inputs, m, s, samples, key, structured):
    """Fields of a neuron with overlaps m and field variance s."""
    at = inputs.tied()[0]
    own = np.stack([2 * at, 2 * at + 1], axis=-1).ravel()
    keys = jax.random.split(key)  # `draw` splits its own
    x = np.asarray(draw(inputs, samples, key=keys[0], structured=structured, space="modes"))
    rest = s - np.asarray(inputs.signal_variances()) @ m**2
    noise = np.asarray(jax.random.normal(keys[1], (samples,)), np.float64)
    return x[:, own] @ m + np.sqrt(rest) * noise


@pytest.mark.parametrize(
    "name",
    [name if name == "triad" else pytest.param(name, marks=pytest.mark.slow) for name in CASES],
)
def test_law_of_the_field_and_auc_against_drawn_inputs(name, key):
    inputs, activation, m, s = CASES[name]
    m, count = np.array(m, np.float64), 100_000
    grid, structured, noise = field_densities(inputs, m, field_variance=s)
    step = grid[1] - grid[0]
    for density, kind in ((structured, True), (noise, False)):
        u = fields(inputs, m, s, count, jax.random.fold_in(key, kind), kind) / np.sqrt(s)
        assert density.sum() * step == pytest.approx(1, abs=1e-4)
        for power in (3, 4, 6):
            moments = u**power
            error = moments.std() / np.sqrt(count)
            assert abs(density @ grid**power * step - moments.mean()) < 5 * error + 0.01
    sigma = activation_function(activation)
    scores = [
        np.asarray(
            sigma(jnp.asarray(fields(inputs, m, s, count, jax.random.fold_in(key, 7 + k), k)))
        )
        for k in (True, False)
    ]
    result = stats.mannwhitneyu(*scores)
    auc = result.statistic / count**2
    expected = float(detection_auc(inputs, activation, m, field_variance=s))
    assert abs(auc - expected) < 5 * np.sqrt(1 / (6 * count))
    # the control: chance does not pass
    assert abs(auc - 0.5) > 5 * np.sqrt(1 / (6 * count))


def test_density_carries_the_correlation_with_the_label():
    inputs, activation, m, s = CASES["harmonic"]
    grid, structured, noise = field_densities(inputs, m, field_variance=s)
    sigma = np.asarray(activation_function(activation)(jnp.asarray(grid, jnp.float32)))
    found = (structured - noise) @ sigma * (grid[1] - grid[0]) / 2
    assert found == pytest.approx(float(correlation(inputs, activation, m)), rel=1e-3)


def test_auc_of_random_weights_is_chance_and_shapes_are_kept():
    inputs = FourierInputs(18, quartet(1, 4, 2))
    found = detection_auc(inputs, "he4", np.zeros((2, 3, 8)), normalised=True)
    assert found.shape == (2, 3)
    np.testing.assert_allclose(found, 0.5, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: detection_auc(CASES["harmonic"][0], "he4", np.ones(3)), "`overlaps`.*shape"),
        (lambda: detection_auc(CASES["harmonic"][0], "he4", np.ones(4)), "`overlaps`.*variance"),
        (
            lambda: field_densities(CASES["harmonic"][0], np.zeros(4), field_variance=0.0),
            "`field_variance`",
        ),
        (
            lambda: field_densities(
                FourierInputs(18, harmonic(1), amplitudes="deterministic"), np.zeros(4)
            ),
            "rayleigh",
        ),
        (lambda: TwoLayer(0), "`width`"),
        (lambda: TwoLayer(2, "sigmoid"), "`activation`"),
        (lambda: TwoLayer(2, readout=np.ones(3)), "`readout`"),
    ],
)
def test_bad_input_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_logistic_loss_is_linear_in_the_label_up_to_an_even_part():
    learner = TwoLayer(3, "softplus", readout=np.array([0.3, -0.5, 0.2]))
    parameters = {name: jnp.asarray(a, jnp.float32) for name, a in learner.parameters().items()}
    u, q = jnp.asarray([[0.3], [-1.2], [0.7]], jnp.float32), jnp.eye(3, dtype=jnp.float32)
    f = learner.output(u, q, parameters)
    expected = 0.3 * np.log1p(np.exp(0.3)) - 0.5 * np.log1p(np.exp(-1.2))
    expected += 0.2 * np.log1p(np.exp(0.7))
    assert float(f) == pytest.approx(expected, rel=1e-5)
    losses = [
        float(learner.loss(u, q, parameters, ld.Sample(jnp.float32(y), jnp.eye(1))))
        for y in (1.0, -1.0)
    ]
    assert losses[0] - losses[1] == pytest.approx(-expected, rel=1e-5)
    assert losses[0] == pytest.approx(np.log1p(np.exp(-expected)), rel=1e-5)


def test_a_blind_network_warns_with_its_coefficients():
    with pytest.warns(UserWarning, match="tanh is blind.*c_4 = 0"):
        network_problem(FourierInputs(18, quartet(1, 4, 2)), 2, "tanh", learning_rate=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("normalised", [False, True])
def test_network_on_the_kernel_and_by_hand(normalised, key):
    """In law the same as SGD written out in numpy: overlap chain, and all weights with blocks."""
    spectrum = power_law_spectrum(18, 0.5) if normalised else None
    inputs = FourierInputs(18, triad(1, 2), spectrum)
    n, replicas, steps = 16, 600, 12
    problem = network_problem(
        inputs, 2, "softplus", learning_rate=1.5, readout_rate=1.0, normalised=normalised
    )
    run = {"dimension": n, "times": [steps / n], "replicas": replicas}
    level = "ambient" if normalised else "overlaps"
    last = ld.simulate(problem, level=level, key=key, **run).last
    rng = np.random.default_rng(5)
    at = inputs.tied()[0]
    own = np.stack([2 * at, 2 * at + 1], axis=-1).ravel()
    power = np.repeat(np.asarray(inputs.variances()), 2)
    w = rng.normal(size=(replicas, 2, n))
    w /= np.linalg.norm(w, axis=2, keepdims=True)
    a, b = np.tile([0.5, -0.5], (replicas, 1)), np.zeros(replicas)
    for step in range(steps):
        keys = [jax.random.fold_in(key, 100 + 2 * step + i) for i in (0, 1)]
        both = [
            np.asarray(draw(inputs, replicas, key=k, structured=i == 0, space="modes"))
            for i, k in enumerate(keys)
        ]
        y = rng.choice([1.0, -1.0], replicas)
        x = np.where(y[:, None] > 0, *both)
        s = np.einsum("rkn,n,rkn->rk", w, power, w) if normalised else np.ones((replicas, 2))
        u = np.einsum("rkn,rn->rk", w, x) / np.sqrt(s)
        hidden, slope = np.logaddexp(0, u), 1 / (1 + np.exp(-u))
        f = (a * hidden).sum(axis=1) + b
        d = -y / (1 + np.exp(y * f))
        inner = x[:, None] / np.sqrt(s)[..., None]
        if normalised:
            inner = inner - (u / s)[..., None] * power * w
        g = (d[:, None] * a * slope)[..., None] * inner
        g -= (g * w).sum(axis=2, keepdims=True) * w
        w = w - 1.5 / n * g
        w /= np.linalg.norm(w, axis=2, keepdims=True)
        a, b = a - 1.0 / n * d[:, None] * hidden, b - d / n
    overlap = (w[:, 0] * w[:, 1]).sum(axis=1)
    theirs = [w[:, 0, own[0]], overlap, a[:, 0], b]
    ours = [last.signal[:, 0, 0], last.norms[:, 0, 1], last.parameters["readout"][:, 0]]
    ours.append(last.parameters["bias"])
    for mine, other in zip(ours, theirs, strict=True):
        assert stats.ks_2samp(mine, other).pvalue > 1e-5
    assert np.std(a[:, 0]) > 0.01
