"""Visible orders, population losses and effective dimensions against quadrature and Monte Carlo."""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import learning_dynamics as ld
from fourier_simplicity import (
    FourierInputs,
    Template,
    Tie,
    draw,
    harmonic,
    power_law_spectrum,
    quartet,
    triad,
)
from fourier_simplicity.simulation import even_start, network_problem, phase_problem
from fourier_simplicity.theory import (
    activation_coefficients,
    correlation,
    effective_dimension,
    leading_form,
    relations,
    slope_moments,
    visible_order,
)
from learning_dynamics.hermite import gauss_hermite, hermite

N = 32


def he5(u):
    return u**5 - 10 * u**3 + 15 * u


def he6(u):
    return u**6 - 15 * u**4 + 45 * u**2 - 15


@pytest.mark.slow
def test_coefficients_of_known_activations():
    root = np.sqrt(2 * np.pi)
    c, error = activation_coefficients("relu", 6)
    np.testing.assert_allclose(c, [1 / root, 0.5, 1 / root, 0, -1 / root, 0, 3 / root], atol=1e-9)
    assert np.all(error < 1e-9)
    for k, name in ((3, "he3"), (4, "he4")):
        c, _ = activation_coefficients(name, 6)
        expected = np.zeros(7)
        expected[k] = np.sqrt(special.factorial(k))
        np.testing.assert_allclose(c, expected, atol=1e-9)
        assert slope_moments(name)[0] == pytest.approx(k)  # E (He_k')^2 / k! = k
    # erf(u / sqrt 2): derivative sqrt(2/pi) exp(-u^2/2), whose Gaussian mean is 1 / sqrt(1 + s)
    for s in (0.5, 1.0, 2.0):
        c, _ = activation_coefficients("erf", 3, variance=s)
        assert c[1] == pytest.approx(np.sqrt(2 / np.pi) / np.sqrt(1 + s))
        assert c[3] == pytest.approx(-np.sqrt(2 / np.pi) * (1 + s) ** -1.5)
    assert slope_moments("relu") == pytest.approx((0.5, 0.5))


@pytest.mark.slow
def test_squared_slopes_with_kinks_away_from_zero_and_infinite_ones():
    def clipped(u):
        return jnp.clip(u, -0.2, 0.7)

    for s in (1.0, 9.0):
        low, high = -0.2 / s**0.5, 0.7 / s**0.5
        mass = stats.norm.cdf(high) - stats.norm.cdf(low)
        second = mass - high * stats.norm.pdf(high) + low * stats.norm.pdf(low)
        assert slope_moments(clipped, variance=s) == pytest.approx((mass, s * second), rel=1e-3)
    for power in (0.5, 0.3):  # slope |u|^(power - 1), whose square is not integrable
        with pytest.raises(ValueError, match="mean square over a normal variable is finite"):
            slope_moments(lambda u, power=power: jnp.abs(u) ** power)


@pytest.mark.parametrize(
    ("tie", "orders"),  # he3, he4, relu, erf, he5, he6
    [
        (triad(1, 2), [3, None, 6, 3, 5, 6]),
        (quartet(1, 4, 2), [None, 4, 4, None, None, 6]),
        (quartet(1, 2, 3, form="sum"), [None, 4, 4, None, None, 6]),
        (harmonic(1), [None, 4, 4, None, None, 6]),
        (Template(3), [3, 4, 4, 3, 5, 6]),
        (Tie((3, 13), (2, 2)), [None, 4, 4, None, None, 6]),
    ],
)
def test_visible_orders(tie, orders):
    """Even activations see a triad at 6, odd ones see no quartet; he5 sees a triad at 5."""
    inputs = FourierInputs(N, tie)
    found = [visible_order(inputs, a).order for a in ("he3", "he4", "relu", "erf", he5, he6)]
    assert found == orders


def test_blind_activations_warn_with_their_coefficient():
    inputs = FourierInputs(N, quartet(1, 4, 2))
    for name in ("erf", "tanh", "he3"):
        with pytest.warns(UserWarning, match=f"{name} is blind.*c_4 = 0"):
            phase_problem(inputs, name, learning_rate=0.1)
    broken = FourierInputs(N, quartet(1, 4, 2, jitter=np.pi))
    with pytest.warns(UserWarning, match="no phases are tied"):
        phase_problem(broken, "he4", learning_rate=0.1)
    with pytest.raises(ValueError, match=r"`activation`.*blind"):
        leading_form(inputs, "erf")
    assert phase_problem(inputs, "relu", learning_rate=0.1).update == "spherical"


def test_relations_of_a_template_are_all_that_hold(key):
    """Every integer vector up to |n|_1 = 4 that the theory does not list has no moment."""
    inputs = FourierInputs(20, Template(3, jitter=0.3), amplitudes="deterministic")
    listed = dict(relations(inputs, 4))
    x = np.asarray(draw(inputs, 20_000, key=key, space="modes"), np.float64)
    phi = np.angle(x[:, ::2] + 1j * x[:, 1::2])[:, inputs.tied()[0]]
    for n in np.ndindex(9, 9, 9):
        n = tuple(i - 4 for i in n)
        if 0 < sum(map(abs, n)) <= 4 and next(i for i in n if i) > 0:
            seen = np.exp(1j * phi @ np.array(n)).mean()
            assert abs(seen - listed.get(n, 0.0)) < 6 / np.sqrt(20_000)


def test_templates_of_many_modes_are_no_trouble():
    """Enumerating all integer vectors of 16 components took minutes."""
    start = time.process_time()
    inputs = FourierInputs(64, Template(16))
    assert phase_problem(inputs, "he3", learning_rate=0.1).inputs == inputs
    assert visible_order(inputs, "relu").order == 4
    assert effective_dimension(inputs) == pytest.approx(62)
    assert "c_3 = 0" in visible_order(inputs, jnp.square).message
    assert not relations(FourierInputs(64, Template(16, jitter=np.pi)))
    assert time.process_time() - start < 10
    # solutions of n_1 + 2 n_2 + 3 n_3 = 0 with |n|_1 = 3 and the first entry positive, by hand
    three = [n for n, _ in relations(FourierInputs(20, Template(3)), 3)]
    assert three == [(1, 1, -1), (2, -1, 0)]


@pytest.mark.parametrize("variance", [0.5, 2.3])
@pytest.mark.parametrize("kink", [0.7, 1.0, 2.2])
def test_reported_errors_bound_those_at_kinks_anywhere(kink, variance):
    """relu(u - a), b = a / sqrt(s): c_k = s^((1 - k)/2) phi(b) He_(k-2)(b) for k >= 2."""
    c, error = activation_coefficients(lambda u: jax.nn.relu(u - kink), 12, variance=variance)
    b, k = kink / np.sqrt(variance), np.arange(2, 13)
    density = np.exp(-(b**2) / 2) / np.sqrt(2 * np.pi)
    exact = variance ** ((1 - k) / 2) * density * special.eval_hermitenorm(k - 2, b)
    assert np.all(np.abs(c[2:] - exact) < error[2:])


def test_problems_are_made_inside_compiled_functions():
    inputs = FourierInputs(N, triad(1, 2))
    for make in (phase_problem, partial(network_problem, neurons=2, readout_rate=0.3)):
        made = jax.jit(lambda rate, make=make: make(inputs, activation="he3", learning_rate=rate))
        assert made(0.25).learning_rate == 0.25


@pytest.mark.slow
def test_kernel_says_what_inputs_of_one_size_lack():
    inputs = FourierInputs(18, harmonic(1), power_law_spectrum(18, 1.0))
    problem = phase_problem(inputs, "he4", learning_rate=0.1)
    start = even_start(inputs, 0.5, 16)
    for ask in (ld.information_exponent, partial(ld.integrate, times=[1.0], start=start)):
        with pytest.raises(ValueError, match=r"`dimension` must be given.*N is fixed"):
            ask(problem)
    assert "coefficients of" in str(ld.information_exponent(problem, dimension=16, points=2**10))
    every = FourierInputs(18, triad(1, 2), amplitudes="deterministic")
    problem = phase_problem(every, "he3", learning_rate=0.1)
    with pytest.raises(ValueError, match=r"`problem\.inputs`.*noise"):
        ld.integrate(problem, times=[1.0], start=even_start(every, 0.5, 16), dimension=16)


def harmonic_witness(activation, m, variances, s, nodes=8):
    """(E_structured sigma - E_noise sigma) / 2 by quadrature over phases, amplitudes, noise."""
    rho, mass = ld.Rayleigh().rule(nodes)
    phi = 2 * np.pi * np.arange(24) / 24
    g, weight = gauss_hermite(2 * nodes)
    z = [np.sqrt(2 * v) * rho for v in variances]
    one = z[0][:, None, None] * np.exp(1j * phi)
    two = z[1][None, :, None] * np.exp(3j * phi)
    v = (np.conj(m[0]) * one + np.conj(m[1]) * two).real
    rest = np.sqrt(s - sum(v * abs(k) ** 2 for v, k in zip(variances, m, strict=True)))
    smooth = activation(v[..., None] + rest * g) @ weight
    structured = np.einsum("a,b,abp->", mass, mass, smooth) / phi.size
    return (structured - activation(np.sqrt(s) * g) @ weight) / 2


@pytest.mark.parametrize("gamma", [0.0, 0.7])
@pytest.mark.parametrize("size", [0.3, 0.8])
def test_population_loss_of_the_harmonic_tie_by_quadrature(gamma, size):
    spectrum = power_law_spectrum(N, gamma)
    inputs = FourierInputs(N, harmonic(2), spectrum)
    variances = spectrum[[1, 5]]
    m = size * np.array([0.8 * np.exp(0.4j), 0.6 * np.exp(1.0j)])
    real = np.stack([m.real, m.imag], axis=-1).ravel()
    s = 1.3 * max(1.0, float(variances @ np.abs(m) ** 2))
    for function in (he5, he6, lambda u: hermite(4, u) / np.sqrt(24)):
        expected = harmonic_witness(function, m, variances, s)
        found = correlation(inputs, _jax_twin(function), real, field_variance=s, highest=6)
        assert found == pytest.approx(expected, rel=1e-7, abs=1e-9)


def _jax_twin(function):
    return "he4" if function not in (he5, he6) else function


def test_series_of_a_smooth_activation_converges_to_the_quadrature():
    inputs = FourierInputs(N, harmonic(1))
    m = 0.5 * np.array([0.8, 0.6])
    expected = harmonic_witness(lambda u: np.logaddexp(0, u), m, np.ones(2), 1.0, 16)
    real = np.array([m[0], 0, m[1], 0])
    found = [float(correlation(inputs, "softplus", real, highest=k)) for k in (4, 6, 8, 12)]
    gaps = np.abs(np.array(found) - expected)
    assert np.all(np.diff(gaps) < 0)
    assert gaps[-1] < 1e-4 * abs(expected)


@pytest.mark.parametrize(
    ("tie", "activation"),
    [
        (triad(1, 2), "he3"),
        (triad(1, 2, jitter=1.0), "he3"),
        (triad(1, 2), he5),
        (quartet(1, 4, 2), "he4"),
        (quartet(-1, 5, 2, form="sum"), "he4"),
        (Template(4), "he4"),
        (Template(4), "he3"),
    ],
)
def test_population_loss_by_drawing_inputs(tie, activation, key):
    """Inputs in space times a weight in space: nothing but the sampler is shared."""
    inputs = FourierInputs(16, tie)
    r, at = inputs.directions, inputs.tied()[0]
    m = np.zeros(r)
    m[::2] = 0.95 / np.sqrt(r / 2)
    m[1] = 0.1
    t = np.arange(16)
    basis = np.sqrt(1 / 8) * np.stack(
        [f(2 * np.pi * (k + 1) * t / 16) for k in at for f in (np.cos, lambda a: -np.sin(a))]
    )
    rest = np.sqrt(1 - m @ m)
    function = {"he3": lambda u: hermite(3, u) / 6**0.5, "he4": lambda u: hermite(4, u) / 24**0.5}
    sigma = function.get(activation, activation)
    seen = []
    untied = [k for k in range(1, 8) if k - 1 not in at]
    w = m @ basis + rest * np.sqrt(1 / 8) * np.cos(2 * np.pi * untied[0] * t / 16)
    for i in range(4):
        x = np.asarray(draw(inputs, 20_000, key=jax.random.fold_in(key, i)), np.float64)
        seen.append(sigma(x @ w))
    seen = np.concatenate(seen) / 2  # the noise class has mean zero
    error = seen.std() / np.sqrt(seen.size)
    expected = correlation(inputs, activation, m)
    assert abs(expected) > 8 * error
    assert abs(seen.mean() - expected) < 5 * error


def test_leading_forms_are_the_known_ones():
    rng = np.random.default_rng(0)
    m = rng.normal(size=(5, 8))
    z = m[:, ::2] + 1j * m[:, 1::2]
    form = leading_form(FourierInputs(N, quartet(1, 4, 2)), "he4")
    known = (
        -6 * (np.pi / 4) ** 2 / np.sqrt(24) * (z[:, 0] * z[:, 1] * np.conj(z[:, 2] * z[:, 3])).real
    )
    assert form.order == 4
    np.testing.assert_allclose(form(m), known, rtol=1e-9)
    # triad, deterministic amplitudes: third-moment difference 3 sqrt 2 Re(m_1 m_2 conj m_3)
    form = leading_form(FourierInputs(N, triad(1, 2), amplitudes="deterministic"), "he3")
    z = z[:, :3]
    third = 3 * np.sqrt(2) * (z[:, 0] * z[:, 1] * np.conj(z[:, 2])).real
    np.testing.assert_allclose(form(m[:, :6]), -third / 2 / np.sqrt(6), rtol=1e-9)


@pytest.mark.parametrize(
    ("inputs", "activation"),
    [
        (FourierInputs(N, harmonic(1)), "softplus"),
        (FourierInputs(N, triad(1, 2)), "he3"),
        (FourierInputs(N, triad(1, 2)), he5),
        (FourierInputs(N, Template(3), power_law_spectrum(N, 1.0)), "relu"),
        (FourierInputs(N, harmonic(1, jitter=1.0)), he6),
    ],
)
def test_leading_form_is_the_limit_of_small_overlaps(inputs, activation):
    form = leading_form(inputs, activation)
    m = np.random.default_rng(1).normal(size=(4, inputs.directions))
    small = correlation(inputs, activation, 1e-2 * m, highest=8) * 1e2**form.order
    np.testing.assert_allclose(-form(m), small, rtol=0.02, atol=0.02 * np.abs(small).max())


def test_effective_dimensions():
    assert effective_dimension(FourierInputs(66, quartet(1, 4, 2))) == pytest.approx(64)
    spectrum = power_law_spectrum(66, 1.0)
    inputs = FourierInputs(66, harmonic(1), spectrum)
    mean = (spectrum[0] ** 3 * spectrum[2]) ** 0.25
    assert effective_dimension(inputs) == pytest.approx(64 / mean)
    low, high = (FourierInputs(66, harmonic(k), spectrum) for k in (1, 9))
    assert effective_dimension(low) < 64 < effective_dimension(high)
    # growth with N: saturates for gamma > 1
    size = [effective_dimension(FourierInputs(n, triad(1, 2), power_law_spectrum(n, 1.5)))
            for n in (256, 4096)]  # fmt: skip
    assert size[1] / size[0] < 1.06
    with pytest.raises(ValueError, match=r"`inputs\.ties`"):
        effective_dimension(FourierInputs(8))


def test_bad_arguments():
    inputs = FourierInputs(N, harmonic(1))
    with pytest.raises(ValueError, match=r"`overlaps`.*4"):
        correlation(inputs, "he4", np.zeros(3))
    with pytest.raises(ValueError, match="rayleigh"):
        correlation(FourierInputs(N, harmonic(1), amplitudes="deterministic"), "he4", np.zeros(4))
    with pytest.raises(ValueError, match=r"`overlaps`.*field variance 1"):
        correlation(inputs, "he4", np.ones(4))
    for bad in (0.0, -1.0, [1.0, 2.0]):
        with pytest.raises(ValueError, match="`field_variance`"):
            correlation(inputs, "he4", np.zeros(4), field_variance=bad)
    for bad in (1.2, -0.5, np.nan):
        with pytest.raises(ValueError, match="`overlap`"):
            even_start(inputs, bad, N)
    with pytest.raises(ValueError, match=r"`inputs\.ties`"):
        even_start(FourierInputs(N), 0.5, N)
    with pytest.raises(ValueError, match="`activation`"):
        activation_coefficients("sine")
    with pytest.raises(ValueError, match=r"`activation`.*finite"):
        activation_coefficients(jnp.log)
