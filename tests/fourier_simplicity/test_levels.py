"""The learner on the kernel: SGD on fields in space, all weights, overlaps, and the limit."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import learning_dynamics as ld
from fourier_simplicity import (
    FourierInputs,
    Template,
    draw_labelled,
    harmonic,
    power_law_spectrum,
    quartet,
    to_modes,
    to_sites,
    triad,
)
from fourier_simplicity.learners import ACTIVATIONS, SingleNeuron, activation_function
from fourier_simplicity.recovery import TieOverlap, recovery_law
from fourier_simplicity.simulation import even_start, phase_problem
from fourier_simplicity.theory import leading_form

MODELS = {
    "quartet": (FourierInputs(16, quartet(1, 4, 2)), "he4", 0.3, False),
    "triad": (FourierInputs(16, triad(1, 2, jitter=0.8)), "tanh", 1.0, False),
    "harmonic, power law": (
        FourierInputs(16, harmonic(2), power_law_spectrum(16, 1.0)), "relu", 1.0, True,
    ),
    "torus": (FourierInputs((4, 6), triad((1, 0), (0, 1))), "he3", 0.5, False),
    "deterministic": (
        FourierInputs(16, Template(3), amplitudes="deterministic"), "softplus", 2.0, False,
    ),
}  # fmt: skip
STEPS, REPLICAS = 15, 1500


def in_space(inputs, activation, rate, normalised, start, key):
    """Spherical SGD on the weights in space, one replica per row; returns overlaps (tied first)."""
    function = activation_function(activation)
    D, S = inputs.dimension, int(np.prod(inputs.shape))
    at = inputs.tied()[0]
    order = np.concatenate([at, inputs.untied()])
    columns = np.stack([2 * order, 2 * order + 1], axis=-1).ravel()
    power = jnp.asarray(np.repeat(inputs.variances(), 2), jnp.float32)
    first = np.zeros((REPLICAS, D), np.float32)
    first[:, columns] = start
    w = to_sites(inputs.shape, jnp.asarray(first)).reshape(REPLICAS, S)

    @jax.jit
    def step(w, key):
        x, y = draw_labelled(inputs, REPLICAS, key=key)
        x = x.reshape(REPLICAS, S)

        def loss(w, x, y):
            u = jnp.dot(w, x, precision="highest")
            if normalised:
                modes = to_modes(inputs.shape, w.reshape(inputs.shape))
                u = u / jnp.sqrt(jnp.sum(power * modes**2))
            return 1 - y * function(u)

        slope = jax.vmap(jax.grad(loss))(w, x, y)
        slope = slope - jnp.sum(slope * w, axis=1, keepdims=True) * w
        w = w - np.float32(rate / D) * slope
        return w / jnp.linalg.norm(w, axis=1, keepdims=True)

    for i in range(STEPS):
        w = step(w, jax.random.fold_in(key, i))
    modes = to_modes(inputs.shape, w.reshape(REPLICAS, *inputs.shape))
    return np.asarray(modes)[:, columns]


@pytest.mark.parametrize(
    "name",
    [
        name if name == "harmonic, power law" else pytest.param(name, marks=pytest.mark.slow)
        for name in MODELS
    ],
)
def test_kernel_against_sgd_on_fields_in_space(name, key):
    """Same law of all overlaps: sampler by FFT and signal coordinates are one input model."""
    inputs, activation, rate, normalised = MODELS[name]
    D, r = inputs.dimension, inputs.directions
    problem = phase_problem(inputs, activation, learning_rate=rate, normalised=normalised)
    level = "ambient" if r == D else "overlaps"
    rng = np.random.default_rng(0)
    w = rng.normal(size=D)
    w /= np.linalg.norm(w)
    sizes = np.concatenate(
        [np.full(np.shape(g.variances), g.size) for g in inputs.blocks(D)] or [[]]
    )
    parts = np.split(w[r:] ** 2, np.cumsum(sizes.astype(int))[:-1]) if r < D else []
    rest = np.array([p.sum() for p in parts]) if parts else np.zeros(1)
    start = ld.Overlaps(w[None, :r], rest[:, None, None], {})
    seen = ld.simulate(
        problem, dimension=D, times=[STEPS / D], replicas=REPLICAS, key=key, level=level,
        start=start,
    )  # fmt: skip
    expected = in_space(inputs, activation, rate, normalised, w, jax.random.key(7))
    signal = seen.values["signal"][:, 0, 0]
    assert np.std(signal) > 1e-3
    pairs = [(i, j) for i in range(min(r, 8)) for j in range(i)]
    for i, j in pairs:
        for f in (lambda m, i, j: m[:, i], lambda m, i, j: m[:, i] * m[:, j]):
            p = stats.ks_2samp(f(signal, i, j), f(expected, i, j)).pvalue
            assert p > 1e-5 / len(pairs), (i, j, p)
    if inputs.spectrum is not None:  # norms of the blocks
        norms = seen.last.blocks[:, :, 0, 0]
        own = (expected[:, r:].reshape(REPLICAS, -1, 2) ** 2).sum(axis=-1)
        for b in range(norms.shape[1]):
            assert stats.ks_2samp(norms[:, b], own[:, b]).pvalue > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "activation", "rate", "normalised"),
    [
        (FourierInputs(402, quartet(1, 4, 2)), "he4", 0.1, False),
        (FourierInputs(402, harmonic(1)), "relu", 1.0, True),
        (FourierInputs(402, triad(1, 2), power_law_spectrum(402, 0.5)), "he3", 0.3, False),
    ],
)  # fmt: skip
def test_three_levels_agree(inputs, activation, rate, normalised, key):
    """Ambient against overlaps at N = 400; overlaps at N = 4000 against the limit."""
    problem = phase_problem(inputs, activation, learning_rate=rate, normalised=normalised)
    times = [0.2, 0.5]
    common = {"dimension": 400, "times": times, "start": even_start(inputs, 0.6, 400)}
    run = partial(ld.simulate, problem)
    ambient = run(replicas=200, key=key, **common)
    chain = run(replicas=1000, key=jax.random.key(1), level="overlaps", **common)
    assert ld.compare(ambient, chain, quantities=["signal"]).verdict == "pass"
    if inputs.spectrum is None:
        common |= {"dimension": 4000, "start": even_start(inputs, 0.6, 4000)}
        chain = run(replicas=200, key=jax.random.key(2), level="overlaps", **common)
        allowed = 0.0
    else:
        allowed = 3 / 400
    limit = ld.integrate(
        problem, times=times, start=common["start"], dimension=common["dimension"], points=2**12
    )
    expected = limit.prediction(["signal"])
    if allowed:
        expected = expected.with_bias(allowed * np.abs(expected.values), "3/N")
    found = ld.compare(chain, expected, quantities=["signal"])
    assert found.verdict == "pass", found.summary()
    moved = np.abs(limit.values["signal"][-1] - common["start"].signal).max()
    assert moved > 8 * found.measured.standard_error.max()
    if activation == "relu":  # the control: another learning rate does not pass
        other = phase_problem(inputs, activation, learning_rate=1.3 * rate, normalised=normalised)
        wrong = ld.integrate(other, times=times, start=common["start"], points=2**12)
        assert ld.compare(chain, wrong, quantities=["signal"]).verdict == "fail"


def test_activations_by_name_and_by_function():
    u = jnp.linspace(-2, 2, 9)
    for name, function in ACTIVATIONS.items():
        np.testing.assert_array_equal(activation_function(name)(u), function(u))
    np.testing.assert_allclose(activation_function("erf")(u), 2 * stats.norm.cdf(u) - 1, atol=1e-6)
    assert activation_function(jnp.cos) is jnp.cos
    for bad in ("sine", 3):
        with pytest.raises(ValueError, match="`activation`"):
            SingleNeuron(bad)


def test_tie_overlap_is_the_product_of_the_relation():
    inputs = FourierInputs(64, harmonic(1))
    watched = TieOverlap(inputs)
    assert watched.largest == pytest.approx(0.75**1.5 * 0.5)
    m = np.random.default_rng(0).normal(size=(1, 4))
    z = m[0, ::2] + 1j * m[0, 1::2]
    seen = watched(ld.Overlaps(jnp.asarray(m), jnp.ones((1, 1, 1)), {}))
    assert float(seen) == pytest.approx((z[0] ** 3 * np.conj(z[1])).real, rel=1e-5)
    assert watched == TieOverlap(FourierInputs(32, harmonic(2)))
    with pytest.raises(ValueError, match=r"`inputs\.ties`"):
        TieOverlap(FourierInputs(8))


def test_closed_leading_form_agrees_with_the_kernel():
    """Jacobi-Anger here against Mehler and quadrature there: the same L_3."""
    inputs = FourierInputs(64, triad(1, 2))
    problem = phase_problem(inputs, "he3", learning_rate=0.25)
    found = ld.information_exponent(problem, points=2**14, highest=3)
    assert found.order == 3
    m = np.random.default_rng(0).normal(size=(20, 6))
    kernel, closed = found.forms[2], leading_form(inputs, "he3")
    assert np.all(np.abs(kernel(m) - closed(m)) < 5 * kernel.error(m) + 1e-9)
    value, _ = closed.lowest()
    assert abs(found.coefficient - value) < 0.1 * abs(value)
    assert TieOverlap(inputs).largest == pytest.approx(3**-1.5)


@pytest.mark.slow
def test_recovery_law_agrees_with_the_search_law_of_the_kernel(key):
    inputs = FourierInputs(64, harmonic(1))
    problem = phase_problem(inputs, "he4", learning_rate=0.4)
    general = ld.search_law(problem, key=key, draws=1000, points=2**17)
    own = recovery_law(inputs, "he4", 0.4, key=jax.random.key(1), draws=1000, longest=1e3)
    assert stats.ks_2samp(general.draws, own).pvalue > 1e-3
    with pytest.raises(ValueError, match="isotropic"):
        recovery_law(MODELS["harmonic, power law"][0], "he4", 0.4, key=key)


@pytest.mark.parametrize("overlap", [0.3, 1.0])
def test_even_starts_pass_transformations(overlap):
    inputs, size = MODELS["triad"][0], 32
    plain = even_start(inputs, overlap, size)
    np.testing.assert_allclose(np.sum(plain.signal**2), overlap**2, rtol=1e-12)
    np.testing.assert_allclose(plain.norms, 1, rtol=1e-12)
    inside = jax.vmap(lambda m: even_start(inputs, m, size))(jnp.array([overlap, 0.1]))
    np.testing.assert_allclose(inside.signal[0], plain.signal, atol=1e-7)
    np.testing.assert_allclose(inside.blocks[0], plain.blocks, atol=1e-7)
    slope = jax.jacfwd(lambda m: even_start(inputs, m, size).signal)(overlap)
    np.testing.assert_allclose(slope * overlap, plain.signal, atol=1e-7)
    with pytest.raises(ValueError, match=r"`overlap` must lie in \[0, 1\]"):
        even_start(inputs, 1.1, size)
