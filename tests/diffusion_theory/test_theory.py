"""Theory against Monte Carlo in d dimensions, closed forms, finite differences and signs."""

import itertools

import numpy as np
import pytest
from scipy import optimize

import learning_dynamics as ld
from diffusion_theory import (
    Coupling,
    Gaussian,
    MixedCumulant,
    ThreePoint,
    TiedDenoiser,
    TwoPoint,
)
from diffusion_theory.latents import latent_pair
from diffusion_theory.theory import (
    contrast,
    expanded_loss,
    growth,
    hermite_moments,
    information_exponents,
    linear_loss,
    loss_terms,
    overlap_flow,
    overlap_velocity,
    population_loss,
    sample_complexity,
)
from diffusion_theory.theory.exponent import _hermite_along
from diffusion_theory.theory.loss import pair_nodes
from learning_dynamics.hermite import hermite, hermite_coefficients
from learning_dynamics.noise_schedule import alpha_bar_at_time
from tests.diffusion_theory.witness import draw_pair, noisy_samples

# name -> (beta_u, beta_v, beta_m, pair, t), denoiser, overlaps
SETTINGS = {
    "rademacher eps -": ((2.0, np.inf, None, "rademacher", 0.3), ("tanh", -1, "eps"), [0.4, 0.5]),
    "rademacher eps +": ((None, np.inf, None, "rademacher", 0.3), ("tanh", 1, "eps"), [0.8]),
    "rademacher x0 +": ((2.0, 3.0, None, "rademacher", 0.5), ("tanh", 1, "x0"), [0.5, -0.6]),
    "three-point": ((1.0, 5.0, None, ThreePoint(0.1), 0.3), ("erf", 1, "eps"), [-0.3, 0.7]),
    "two-point": ((None, 5.0, 1.0, TwoPoint(0.2), 0.3), ("softplus", -1, "x0"), [0.7, 0.3]),
    "student": ((None, np.inf, None, ld.StudentT(9.0), 0.3), ("tanh", 1, "eps"), [0.9]),
    "sign": ((4.0, np.inf, None, "sign", 0.3), ("tanh", -1, "eps"), [0.6, 0.5]),
    "square": ((4.0, 3.0, 0.5, "square", 0.4), ("relu", 1, "x0"), [0.5, 0.4, -0.3]),
    "cube": ((4.0, np.inf, None, "cube", 0.2), ("erf", -1, "eps"), [0.5, 0.6]),
    "correlated": ((2.0, 3.0, None, Coupling(-0.5), 0.6), ("relu", -1, "eps"), [0.4, 0.8]),
    "gaussian": ((2.0, 3.0, 0.4, Gaussian(0.6), 0.3), ("tanh", 1, "x0"), [0.4, 0.5, 0.3]),
    "fixed skip": ((2.0, 3.0, None, Coupling(0.4), 0.3), ("tanh", -1, "x0"), [0.3, 0.7]),
    "mean only": ((None, None, 2.0, "rademacher", 0.3), ("softplus", 1, "eps"), [0.5]),
}


def setting(name):
    law, (activation, sign, target), overlaps = SETTINGS[name]
    options = {"skip": 0.3, "kappa": 1.0} if name == "fixed skip" else {}
    return (
        MixedCumulant(*law[:4], alpha_bar=alpha_bar_at_time(law[4])),
        TiedDenoiser(activation, sign=sign, target=target, **options),
        np.array(overlaps),
    )


@pytest.mark.parametrize("name", SETTINGS)
def test_population_loss_and_gradient_norm_against_monte_carlo(name):
    """|target - f(x)|^2 with dense vectors in d = 6; |dl/dw|^2 / d tends to V, 1/d checked off."""
    inputs, learner, overlaps = setting(name)
    d, count = 6, 150_000
    rng = np.random.default_rng(sum(map(ord, name)))
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    directions, rest = basis[: inputs.directions], basis[inputs.directions]
    w = overlaps @ directions + np.sqrt(1 - overlaps @ overlaps) * rest
    strengths = (inputs.covariance, inputs.cumulant, inputs.mean)
    pair = draw_pair(latent_pair(inputs.pair), count, 3)
    x, z, x0 = noisy_samples(strengths, pair, directions, inputs.alpha_bar, rng)
    psi = contrast(inputs, learner)
    target = z if learner.target == "eps" else x0
    h = x @ w
    value, slope = psi.sigma(h)
    residual = target - psi.skip * x - psi.sign * value[:, None] * w
    loss = np.sum(residual**2, axis=1)
    exact = linear_loss(inputs, learner, d) + population_loss(inputs, learner, overlaps)
    assert abs(loss.mean() - exact) < 3 * loss.std(ddof=1) / np.sqrt(count)
    assert population_loss(inputs, learner, overlaps, d) == pytest.approx(exact)
    # the share of the gradient in one direction orthogonal to w and the spikes is V
    away = basis[-1]
    gradient = 2 * value * (residual @ away) + 2 * psi.kappa * slope * (residual @ w) * (x @ away)
    norm = loss_terms(inputs, learner, overlaps).norm
    square = gradient**2
    assert abs(square.mean() - norm) < 4 * square.std(ddof=1) / np.sqrt(count)
    for k, moment in enumerate(hermite_moments(inputs, overlaps)):
        draws = hermite(k, h)
        assert abs(draws.mean() - moment) < 5 * draws.std(ddof=1) / np.sqrt(count) + 1e-12


@pytest.mark.parametrize("activation", ["erf", "relu", "linear"])
@pytest.mark.parametrize("target", ["eps", "x0"])
@pytest.mark.parametrize("kappa", [0.3, 1.0, 1.642, 20.0])
def test_closed_coefficients_match_quadrature(activation, target, kappa):
    for sign, skip in ((1, None), (-1, 0.2)):
        learner = TiedDenoiser(activation, sign=sign, target=target, kappa=kappa, skip=skip)
        psi = contrast(MixedCumulant(), learner)
        found, exact = psi.coefficients(4), psi.closed_form(4)
        scale = max(1.0, np.abs(exact).max())
        np.testing.assert_allclose(found.values, exact, rtol=0, atol=1e-10 * scale)
        assert np.all(np.abs(found.values - exact) <= found.error + 1e-13 * scale)
    assert contrast(MixedCumulant(), TiedDenoiser("tanh")).closed_form() is None


def test_coefficients_of_tanh_match_gauss_hermite():
    for target in ("eps", "x0"):
        psi = contrast(MixedCumulant(), TiedDenoiser("tanh", target=target, kappa=0.5))
        other, error = hermite_coefficients(psi, 4)
        np.testing.assert_allclose(psi.coefficients(4).values, other, atol=3 * error.max() + 1e-11)


@pytest.mark.parametrize("target", ["eps", "x0"])
@pytest.mark.parametrize("sign", [1, -1])
def test_coefficients_follow_the_formula_of_the_theory_page(target, sign):
    """s = b or a: c_k = [sigma^2]_k + 2 e b k sigma_(k-1), resp. - 2 e (b^2/a) k sigma_(k-1)."""
    psi = contrast(MixedCumulant(), TiedDenoiser("tanh", sign=sign, target=target))
    one, _ = hermite_coefficients(lambda g: np.tanh(psi.kappa * g), 4)
    two, _ = hermite_coefficients(lambda g: np.tanh(psi.kappa * g) ** 2, 4)
    size = 2 * psi.b if target == "eps" else -2 * psi.b**2 / psi.a
    expected = [two[k] + sign * size * k * one[k - 1] for k in range(1, 5)]
    np.testing.assert_allclose(psi.coefficients(4).values[1:], expected, atol=1e-5)


@pytest.mark.parametrize("name", SETTINGS)
def test_gradient_matches_finite_differences(name):
    inputs, learner, overlaps = setting(name)
    slopes = []
    for step in np.eye(overlaps.size) * 1e-4:
        ahead, behind = (population_loss(inputs, learner, overlaps + s * step) for s in (1.0, -1.0))
        slopes.append((ahead - behind) / 2e-4)
    gradient = loss_terms(inputs, learner, overlaps).gradient
    np.testing.assert_allclose(gradient, slopes, atol=2e-7)


@pytest.mark.parametrize("name", [n for n in SETTINGS if n != "student"])
def test_expansion_leaves_out_the_fifth_order(name):
    inputs, learner, overlaps = setting(name)
    left = [
        population_loss(inputs, learner, x * overlaps)
        - expanded_loss(inputs, learner, x * overlaps)
        for x in (0.4, 0.2)
    ]
    assert abs(left[1]) < abs(left[0]) / 20 + 1e-11
    linear = [
        population_loss(inputs, learner, x * overlaps)
        - expanded_loss(inputs, learner, x * overlaps, order=2)
        for x in (0.1, 0.05)
    ]
    assert abs(linear[1]) < abs(linear[0]) / 5 + 1e-11


EXPONENTS = {
    # eps: -tanh learns a Rademacher v and u; +tanh repels both
    "eps -": (("tanh", -1, "eps"), "rademacher", ("attractive", 2), ("attractive", 4)),
    "eps +": (("tanh", 1, "eps"), "rademacher", ("repelled", 2), ("repelled", 4)),
    "eps + heavy": (("tanh", 1, "eps"), ThreePoint(0.1), ("repelled", 2), ("attractive", 4)),
    "eps - heavy": (("tanh", -1, "eps"), ThreePoint(0.1), ("attractive", 2), ("repelled", 4)),
    "eps + student": (("tanh", 1, "eps"), ld.StudentT(6.0), ("repelled", 2), ("attractive", 4)),
    "eps - erf": (("erf", -1, "eps"), "rademacher", ("attractive", 2), ("attractive", 4)),
    "x0 +": (("tanh", 1, "x0"), "rademacher", None, None),
    "x0 -": (("tanh", -1, "x0"), "rademacher", ("repelled", 2), ("repelled", 4)),
    "linear": (("linear", -1, "eps"), "rademacher", None, ("flat", None)),
    "relu": (("relu", 1, "eps"), "rademacher", ("repelled", 2), ("flat", None)),
    "skewed": (("softplus", 1, "eps"), TwoPoint(0.2), ("repelled", 2), ("attractive", 3)),
    "gaussian": (("tanh", -1, "eps"), ld.Normal(), ("attractive", 2), ("flat", None)),
}


@pytest.mark.parametrize("name", EXPONENTS)
def test_information_exponents(name):
    (activation, sign, target), pair, u, v = EXPONENTS[name]
    inputs = MixedCumulant(2.0, np.inf, None, pair)
    learner = TiedDenoiser(activation, sign=sign, target=target)
    found = information_exponents(inputs, learner)
    c = contrast(inputs, learner).coefficients(4).values
    a = float(inputs.noise_level.signal)
    if u is not None:
        assert (found["u"].verdict, found["u"].order) == u
    assert found["u"].coefficient == pytest.approx(c[2] / 2 * a**2 * 2.0)
    if v is not None:
        assert (found["v"].verdict, found["v"].order) == v
    if found["v"].order == 4:
        assert found["v"].coefficient == pytest.approx(c[4] * a**4 * inputs.cumulants()[0, 4] / 24)
    for index, direction in enumerate("uv"):  # the exact loss moves as the verdict says
        rise = [
            population_loss(inputs, learner, s * 0.2 * np.eye(2)[index])
            - population_loss(inputs, learner, np.zeros(2))
            for s in (1.0, -1.0)
        ]
        verdict = found[direction].verdict
        if verdict == "flat":
            assert np.abs(rise).max() < 1e-9
        else:
            assert (min(rise) < 0) == (verdict == "attractive")


def test_correlated_latents_attract_whatever_the_sign():
    for sign in (1, -1):
        learner = TiedDenoiser("tanh", sign=sign)
        inputs = MixedCumulant(2.0, 3.0, None, "sign")
        found = information_exponents(inputs, learner)
        assert found["uv"].verdict == "attractive"
        assert found["uv"].order == 2
        growing = growth(inputs, learner, 0.01)
        assert growing.rates[0] > 0
        assert abs(growing.directions[0, 1]) > 0.1  # v comes with u
    assert "uv" not in information_exponents(MixedCumulant(2.0), TiedDenoiser())


@pytest.mark.parametrize("name", ["rademacher eps -", "sign", "cube", "gaussian"])
def test_growth_is_the_jacobian_of_the_flow(name):
    inputs, learner, _ = setting(name)
    steps = 1e-4 * np.eye(inputs.directions)
    velocity = [
        (overlap_velocity(inputs, learner, 0.3, s) - overlap_velocity(inputs, learner, 0.3, -s))
        / 2e-4
        for s in steps
    ]
    found = growth(inputs, learner, 0.3)
    np.testing.assert_allclose(found.matrix, np.array(velocity).T, atol=1e-5)
    np.testing.assert_allclose(
        found.directions @ found.directions.T, np.eye(len(steps)), atol=1e-12
    )
    assert np.all(np.diff(found.rates) <= 0)


@pytest.mark.slow
def test_neurons_of_orthogonal_weights_grow_alone():
    """Right-hand side of the kernel for two neurons on the sphere, at small overlaps."""
    inputs = MixedCumulant(2.0, None)
    learner = TiedDenoiser("tanh", sign=-1, neurons=2, kappa=0.5, skip=0.3)
    problem = ld.Problem(inputs, learner, 0.3, update="spherical")
    found = growth(inputs, learner, 0.3).matrix[0, 0]
    rates = []
    for size in (0.1, 0.05):
        overlaps = size * np.array([[1.0], [-0.7]])
        norms = np.eye(2) + overlaps @ overlaps.T * (1 - np.eye(2))  # orthogonal in the noise
        start = ld.order_parameters(overlaps, norms)
        rate, _ = ld.right_hand_side(problem, start, points=2**19, method="tensor")
        rates.append(rate.signal[:, 0] / overlaps[:, 0])
    extrapolated = (4 * rates[1] - rates[0]) / 3  # corrections are of third order
    np.testing.assert_allclose(extrapolated, found, rtol=2e-3)
    assert np.all(np.abs(rates[0] - found) > np.abs(rates[1] - found))
    assert information_exponents(inputs, learner)["u"].order == 2
    with pytest.raises(ValueError, match="the same for all neurons"):
        growth(inputs, TiedDenoiser("tanh", sign=np.array([1, -1]), neurons=2), 0.3)


@pytest.mark.parametrize("pair", [TwoPoint(0.3), ThreePoint(0.1), "rademacher"])
def test_moments_along_v_up_to_order_six(pair):
    inputs = MixedCumulant(cumulant=4.0, pair=pair, alpha_bar=float(np.exp(-0.4)))
    _, nu, weights = pair_nodes(inputs)
    size = float(inputs.noise_level.signal) * inputs.strengths()[1]
    points, mass = np.polynomial.hermite_e.hermegauss(12)
    x = size * nu[:, None] + np.sqrt(1 - size**2) * points
    moments = [weights @ hermite(k, x) @ mass / mass.sum() for k in range(7)]
    np.testing.assert_allclose(_hermite_along(inputs, "v"), moments, atol=1e-10)


def test_an_exponent_of_order_six():
    """The scale of the activation at which c_4 changes its sign."""
    inputs = MixedCumulant(alpha_bar=float(np.exp(-0.2)))

    def fourth(kappa):
        learner = TiedDenoiser("tanh", target="x0", kappa=kappa)
        return contrast(inputs, learner).coefficients(4).values[4]

    root = optimize.brentq(fourth, 1.0, 2.0, xtol=1e-15, rtol=1e-15)
    learner = TiedDenoiser("tanh", target="x0", kappa=root)
    found = information_exponents(inputs, learner)["v"]
    assert found.order == 6
    rise = population_loss(inputs, learner, [0.3]) - population_loss(inputs, learner, [0.0])
    assert rise == pytest.approx(found.coefficient * 0.3**6, rel=0.2)
    assert (found.verdict == "attractive") == (rise < 0)


def flow_time(inputs, learner, delta, first, last):
    """Time of the one-overlap flow from one overlap to another, by quadrature in log alpha."""
    points, weights = np.polynomial.legendre.leggauss(12)
    edges = np.linspace(np.log(abs(first)), np.log(last), 5)
    total = 0.0
    for low, high in itertools.pairwise(edges):
        for x, w in zip(points, weights, strict=True):
            alpha = np.sign(first) * np.exp(low + (high - low) * (x + 1) / 2)
            speed = overlap_velocity(inputs, learner, delta, [alpha])[0]
            total += w * (high - low) / 2 * alpha / speed
    return total


def test_sample_complexity_is_the_time_of_the_flow():
    """u: the logarithm of d; v: d^3 with its prefactor; skewed v: d^2."""
    learner = TiedDenoiser("tanh", sign=-1)
    inputs = MixedCumulant(2.0, None)
    dimensions = np.array([1e4, 1e8])
    times = [flow_time(inputs, learner, 0.2, d**-0.5, 0.3) for d in dimensions]
    n = sample_complexity(inputs, learner, "u", 0.2, dimensions)
    assert times[1] - times[0] == pytest.approx(n[1] / 1e8 - n[0] / 1e4, rel=1e-3)
    for denoiser, law, k in ((learner, "rademacher", 4), (TiedDenoiser("softplus"), TwoPoint(), 3)):
        cubic = MixedCumulant(pair=law)
        found = information_exponents(cubic, denoiser)["v"]
        assert found.order == k
        side = -np.sign(found.coefficient) if k == 3 else 1.0
        d, rate = 1e6, 1e-4
        n = float(sample_complexity(cubic, denoiser, "v", rate, d, start=2.0))
        delta = rate * d ** (-(k - 2) / 2)
        time = flow_time(cubic, denoiser, delta, side * 2 / d**0.5, 0.2)
        assert time == pytest.approx(n / d, rel=0.05)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: contrast(MixedCumulant(), TiedDenoiser(neurons=2)), "`learner.neurons`"),
        (lambda: contrast("mcm", TiedDenoiser()), "`inputs` must be a MixedCumulant"),
        (lambda: contrast(MixedCumulant(), "tanh"), "`learner` must be a TiedDenoiser"),
        (lambda: population_loss(MixedCumulant(), TiedDenoiser(), [1.1]), "unit ball"),
        (lambda: population_loss(MixedCumulant(), TiedDenoiser(), [0.1, 0.2]), "`overlaps`"),
        (lambda: expanded_loss(MixedCumulant(), TiedDenoiser(), [0.1], order=5), "`order`"),
        (
            lambda: contrast(MixedCumulant(), TiedDenoiser("erf")).closed_form(5),
            "`orders` must be at most 4",
        ),
        (lambda: growth(MixedCumulant(), TiedDenoiser(), 0.0), "`learning_rate`"),
        (
            lambda: growth(MixedCumulant(mean=1.0), TiedDenoiser("softplus"), 0.1),
            "`inputs.mean`",
        ),
        (
            lambda: sample_complexity(MixedCumulant(), TiedDenoiser("tanh"), "v", 0.1, 100),
            "'v', which is repelled",
        ),
        (
            lambda: sample_complexity(MixedCumulant(), TiedDenoiser("relu"), "v", 0.1, 100),
            "which is flat",
        ),
        (
            lambda: sample_complexity(MixedCumulant(), TiedDenoiser("tanh"), "u", 0.1, 100),
            "`direction`",
        ),
        (
            lambda: sample_complexity(MixedCumulant(2.0), TiedDenoiser(sign=-1), "u", 9.0, 100),
            "leave a growing overlap",
        ),
        (
            lambda: sample_complexity(
                MixedCumulant(mean=1.0), TiedDenoiser("softplus"), "m", 0.1, 100
            ),
            "order two or more",
        ),
        (lambda: overlap_flow(MixedCumulant(), TiedDenoiser(), 0.1, [0.1], [1.0, 0.5]), "`times`"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.slow
def test_flow_reports_an_honest_error():
    """A Gaussian law and a linear denoiser: Oja's flow, solved in closed form at small delta."""
    inputs = MixedCumulant(2.0, None)
    learner = TiedDenoiser("linear", sign=1, kappa=1.0, skip=2.0)
    times = np.array([1.0, 3.0])
    c2 = contrast(inputs, learner).closed_form(2)[2]
    delta = 1e-3
    found = overlap_flow(inputs, learner, delta, [0.3], times / delta)
    strength = -c2 * np.exp(-0.6) * 2.0  # d alpha/dt = strength alpha (1 - alpha^2)
    growing = 0.09 / 0.91 * np.exp(2 * strength * times)
    exact = np.sqrt(growing / (1 + growing))
    np.testing.assert_allclose(found.values[:, 0], exact, atol=0.02)
    assert np.all(found.numerical_error < 1e-5)
