"""The one-dimensional diffusion of a single spike: moments of a step, laws of the recovery time."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import learning_dynamics as ld
from diffusion_theory import (
    Coupling,
    MixedCumulant,
    Rademacher,
    ThreePoint,
    TiedDenoiser,
    TwoPoint,
)
from diffusion_theory.latents import latent_pair
from diffusion_theory.searches import CovarianceSearch, CumulantSearch, simulate_search
from diffusion_theory.theory import (
    contrast,
    escape_law,
    explosion_law,
    gradient_covariance,
    noise_along,
    recovery_law,
)
from learning_dynamics.search.crossing import overshoot, sustained_delay
from learning_dynamics.search.recovery_diffusion import (
    RecoveryLaw,
    diffusion_law,
    quantiles_of_laws,
)
from learning_dynamics.search.recovery_times import Recoveries, recovery_times
from tests.diffusion_theory.witness import draw_pair, noisy_samples

HEAVY = MixedCumulant(pair=ThreePoint(0.03))
SETTINGS = {
    "heavy": (HEAVY, TiedDenoiser("tanh"), 0.4),
    "finite strength": (MixedCumulant(cumulant=3.0), TiedDenoiser("erf", sign=-1), -0.7),
    "u, x0": (MixedCumulant(2.0, None), TiedDenoiser("tanh", target="x0", skip=0.2), 0.6),
    "mean": (MixedCumulant(None, None, 2.0), TiedDenoiser("softplus", sign=-1), 0.5),
    "skewed": (MixedCumulant(pair=TwoPoint(0.2)), TiedDenoiser("relu", kappa=1.0), 0.3),
    "student": (MixedCumulant(pair=ld.StudentT(12.0)), TiedDenoiser("tanh", target="x0"), 0.8),
}


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=SLOW if n in ("student", "skewed", "mean") else ()) for n in SETTINGS],
)
def test_noise_of_a_step_against_monte_carlo(name):
    """Spherical gradients of the squared error in d = 5, differentiated by hand on the weights."""
    inputs, learner, alpha = SETTINGS[name]
    d, count = 5, 60_000
    rng = np.random.default_rng(sum(map(ord, name)))
    basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
    w = alpha * basis[0] + np.sqrt(1 - alpha**2) * basis[1]
    strengths = (inputs.covariance, inputs.cumulant, inputs.mean)
    pair = draw_pair(latent_pair(inputs.pair), count, 7)
    x, z, x0 = noisy_samples(strengths, pair, basis[:1], inputs.alpha_bar, rng)
    psi = contrast(inputs, learner)
    value, slope = psi.sigma(x @ w)
    residual = (z if learner.target == "eps" else x0) - psi.skip * x
    residual = residual - psi.sign * value[:, None] * w
    gradient = psi.kappa * (slope * (residual @ w))[:, None] * x + value[:, None] * residual
    gradient = -2 * psi.sign * gradient
    tangent = gradient - (gradient @ w)[:, None] * w
    draws = (tangent @ basis[0]) ** 2
    found = noise_along(inputs, learner, alpha)
    assert abs(draws.mean() - found) < 4 * draws.std(ddof=1) / np.sqrt(count)


@pytest.mark.slow
def test_noise_at_zero_is_the_gradient_covariance():
    for inputs, learner, _ in SETTINGS.values():
        if inputs.names != ("m",):
            exact = gradient_covariance(inputs, learner)[0, 0]
            assert noise_along(inputs, learner, 0.0) == pytest.approx(exact, rel=1e-9)


def test_recovery_of_a_drifting_brownian_motion():
    """From -1 at speed 1: inverse Gaussian time to 3; the other end is reached once in e^4."""
    law = diffusion_law(
        lambda mu: np.ones(mu.shape),
        lambda mu: np.full(mu.shape, 0.5),
        lambda mu: (mu > -1.0).astype(np.float64),
        3.0,
        40.0,
    )
    exact = stats.invgauss.cdf(law.times, 1 / 4, scale=16.0)
    assert np.max(np.abs(law.share - exact)) < np.exp(-4) + 3 * law.error
    assert law.error < 5e-3


def test_recovery_without_noise_to_speak_of_is_the_flow():
    """mu' = mu^3 from mu(0) = N(0, 1): the time to the end is 1/(2 mu0^2) - 1/(2 end^2)."""
    law = diffusion_law(
        lambda mu: mu**3, lambda mu: np.full(mu.shape, 1e-4),
        lambda mu: np.asarray(stats.norm.cdf(mu)), 20.0, 3.0,
    )  # fmt: skip
    for level in (0.2, 0.4, 0.6):
        size = stats.norm.isf(level / 2)
        exact = 1 / (2 * size**2) - 1 / (2 * 20.0**2)
        assert law.quantile(level) == pytest.approx(exact, rel=0.02)


@pytest.mark.slow
def test_limit_law_is_what_the_kernel_draws(key):
    learner = TiedDenoiser("tanh")
    problem = ld.Problem(HEAVY, learner, 2.5, update="spherical")
    drawn = ld.search_law(problem, key=key, draws=1500, points=2**12, longest=4.0)
    law = explosion_law(HEAVY, learner, 2.5, 4.0)
    assert law.error < 2e-3
    grid = law.quantile([0.05, 0.2, 0.4, 0.6, 0.8, 0.95])
    share = (drawn.draws[:, None] <= grid).mean(axis=0)
    error = np.sqrt(share * (1 - share) / drawn.draws.size)
    assert np.all(np.abs(share - law.probability(grid)) < 4 * error + 3 * law.error)


def test_quantiles_approach_the_limit():
    learner, limit = TiedDenoiser("tanh"), explosion_law(HEAVY, TiedDenoiser("tanh"), 3.0, 5.0)
    away = []
    for d in (100, 400, 1600):
        law = recovery_law(HEAVY, learner, 3.0 / d, d, 0.6, 5.0 * d**3)
        away.append(float(law.quantile(0.5) / d**3 / limit.quantile(0.5)) - 1)
    assert 0 < away[2] < away[1] < away[0] < 0.08
    assert away[2] < 0.012


def _size(state):
    return jnp.abs(state.signal[0, 0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("inputs", "learner", "rate", "d", "replicas", "longest"),
    [
        (HEAVY, TiedDenoiser("tanh"), 2.0 / 20, 20, 1500, 0.3 * 20**3),
        (MixedCumulant(4.0, None), TiedDenoiser("tanh", sign=-1), 0.3, 60, 2000, 60 * 3),
        (HEAVY, TiedDenoiser("erf"), 4.0 / 20, 20, 1000, 600.0),
    ],
)
def test_the_chain_has_the_recovery_law(inputs, learner, rate, d, replicas, longest, key):
    seen = recovery_times(
        lambda _: ld.Problem(inputs, learner, rate, update="spherical"),
        dimensions=[d],
        replicas=replicas,
        longest=lambda _: longest,
        stop=lambda _: ld.Stop(_size, 0.6),
        key=key,
    )
    law = recovery_law(inputs, learner, rate, d, 0.6, longest)
    times = np.where(np.isfinite(seen.samples[:, 0]), seen.samples[:, 0], np.inf)
    grid = law.quantile(law.share[-1] * np.array([0.2, 0.4, 0.6, 0.8, 0.99]))
    share = (times[:, None] <= grid).mean(axis=0)
    error = np.sqrt(share * (1 - share) / replicas)
    allowed = min(rate**2 / 2, 0.01)  # the law leaves out the square of a step
    assert np.all(np.abs(share - law.probability(grid)) < 4 * error + law.error + allowed)
    wrong = TiedDenoiser(learner.activation, sign=-learner.sign)
    repelled = recovery_law(inputs, wrong, rate, d, 0.6, longest)
    assert np.max(np.abs(share - repelled.probability(grid)) / error) > 10


def test_covariance_spike_approaches_the_escape_law():
    inputs, learner = MixedCumulant(4.0, None), TiedDenoiser("tanh", sign=-1)
    limit = escape_law(inputs, learner, 0.4, 0.4)
    away = []
    for d in (400, 6400):
        law = recovery_law(inputs, learner, 0.4, d, 0.4, 8.0 * d)
        away.append(abs(float(law.quantile(0.5)) / d - float(limit.quantile(0.5, d))))
        quartiles = limit.quantiles([0.25, 0.5, 0.75], [d])
        exact = quantiles_of_laws([law], [0.25, 0.5, 0.75]).scaled(1 / d)
        allowed = quartiles.bias + exact.numerical_error
        assert np.all(np.abs(exact.values - quartiles.values) < allowed)
    assert away[1] < 0.02
    with pytest.raises(ValueError, match="`levels`"):
        limit.quantiles(0.5, [100])


def test_figures_of_a_search_have_the_line_of_its_law():
    search = CovarianceSearch(MixedCumulant(4.0, None), TiedDenoiser(sign=-1), 0.4, 0.4)
    d, levels = np.array([100, 400]), (np.arange(200) + 0.5) / 200
    law = search.law.quantiles([0.25, 0.75], d)
    measured = ld.Measurement(
        law.values, 0.1 * law.values, 9, {"quantile": [0.25, 0.75], "dimension": d}
    )
    line = search.plot_quantiles(ld.compare(measured, law)).axes[0].lines
    assert any(np.isclose(each.get_ydata()[-1], law.values[0, 1]) for each in line)
    samples = search.law.quantile(levels[:, None], d) * d
    steps = search.plot_collapse(Recoveries(d, samples, samples[-1], 0 * d)).axes[0].lines[:2]
    np.testing.assert_allclose(*(step.get_xdata() for step in steps))  # one curve


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: noise_along(MixedCumulant(2.0), TiedDenoiser(), 0.1), "exactly one spike"),
        (lambda: noise_along(HEAVY, TiedDenoiser(), 1.0), "`overlap`"),
        (lambda: recovery_law(HEAVY, TiedDenoiser(), 0.1, 20, 1.0, 10.0), "`threshold`"),
        (lambda: recovery_law(HEAVY, TiedDenoiser(), -0.1, 20, 0.5, 10.0), "`learning_rate`"),
        (lambda: recovery_law(HEAVY, TiedDenoiser(), 0.1, 20, 0.5, np.inf), "`longest`"),
        (lambda: recovery_law(HEAVY, TiedDenoiser(), 0.1, 0, 0.5, 1.0), "`dimension`"),
        (lambda: explosion_law(HEAVY, TiedDenoiser(), 0.0, 1.0), "`rate`"),
        (
            lambda: explosion_law(MixedCumulant(pair=Rademacher()), TiedDenoiser("tanh"), 1.0, 1.0),
            "attract at order three or more",
        ),
        (
            lambda: explosion_law(
                MixedCumulant(1.0, pair=Coupling(0.3)), TiedDenoiser("tanh"), 1.0, 1.0
            ),
            "exactly one spike",
        ),
        (lambda: explosion_law(HEAVY, TiedDenoiser(), 1.0, 1.0).quantile(0.0), "`level`"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_quantiles_beyond_the_grid_are_infinite():
    law = explosion_law(HEAVY, TiedDenoiser("tanh"), 3.0, 0.05)
    assert law.share[-1] < 0.5
    assert law.quantile(0.9) == np.inf
    assert law.probability(1e9) == law.share[-1]


def test_a_law_is_printed_in_a_line():
    text = repr(explosion_law(HEAVY, TiedDenoiser("tanh"), 3.0, 0.05).rescaled(100.0))
    assert text.startswith("RecoveryLaw: 401 times, share 0.")
    assert len(text) < 100


def test_the_step_of_a_batch_has_less_noise():
    law = explosion_law(HEAVY, TiedDenoiser("tanh"), 3.0, 5.0, batch=4)
    # one pass in units of the noise: (delta', B, s) -> (delta'/B, 1, B s) is the same diffusion
    other = explosion_law(HEAVY, TiedDenoiser("tanh"), 0.75, 20.0)
    assert law.quantile(0.3) * 4 == pytest.approx(float(other.quantile(0.3)), rel=1e-2)


@pytest.mark.parametrize(("drift", "updates"), [(1.0, 3), (0.3, 5)])
def test_overshoot_and_sustained_crossing_against_walks(drift, updates):
    """Normal steps from far below: first crossing, and start of the first that lasts."""
    rng, walks = np.random.default_rng(1), 4000
    place, run = np.full(walks, -25.0), np.zeros(walks, int)
    first, begun, over = np.full(walks, -1), np.full(walks, -1), np.zeros(walks)
    for t in range(1, 400):
        place += drift + rng.normal(size=walks)
        up = place >= 0
        over = np.where((first < 0) & up, place, over)
        first = np.where((first < 0) & up, t, first)
        run = np.where(up, run + 1, 0)
        begun = np.where((begun < 0) & (run >= updates), t - updates + 1, begun)
    assert np.all(begun >= first)
    for seen, known in (
        (over, overshoot(drift, 1.0)),
        (begun - first, sustained_delay(drift, 1.0, updates)),
    ):
        assert abs(seen.mean() - known) < 4 * seen.std() / np.sqrt(walks)
    assert overshoot(1e-6, 1.0) == pytest.approx(0.5826, abs=1e-4)
    assert overshoot(10.0, 1.0) == pytest.approx(5, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("sustained", [1, 5])
def test_the_law_of_a_step_that_is_not_small(sustained, key):
    """Growth of three per cent an update at d = 50: second order in a step is followed."""
    inputs, learner, d = MixedCumulant(9.0, None), TiedDenoiser("tanh", sign=-1), 50
    seen = recovery_times(
        lambda _: ld.Problem(inputs, learner, 0.2, update="spherical"),
        dimensions=[d],
        replicas=4096,
        longest=lambda _: 12.0 * d,
        stop=lambda _: ld.Stop(_size, 0.5, sustained=sustained),
        key=key,
    )
    law = recovery_law(inputs, learner, 0.2, d, 0.5, 12.0 * d, sustained=sustained)
    grid = np.array([45.0, 60.0, 75.0, 100.0, 130.0])
    share = (seen.samples[:, 0][:, None] <= grid).mean(axis=0)
    error = np.sqrt(share * (1 - share) / 4096)
    assert np.all(np.abs(share - law.probability(grid)) < 4 * error + law.error + 0.01)


def test_quantiles_of_laws_carry_the_error_of_their_shares():
    """Two laws with a constant density: an error of the share is one of the quantile over it."""
    times = np.linspace(0, 1, 11)
    law = RecoveryLaw(times, 0.8 * times, 0.01)
    laws = [law, law.rescaled(10.0)]
    found = quantiles_of_laws(laws, [0.2, 0.4])
    np.testing.assert_allclose(found.values, [[0.25, 2.5], [0.5, 5.0]])
    np.testing.assert_allclose(found.numerical_error, [[0.0125, 0.125], [0.0125, 0.125]])
    assert np.all(np.isinf(quantiles_of_laws(laws, [0.9]).values))


@SLOW
def test_searches_follow_runs_until_their_law_has_them_recovered(key):
    covariance = CovarianceSearch(MixedCumulant(4.0, None), TiedDenoiser(sign=-1), 0.4, 0.4)
    cumulant = CumulantSearch(HEAVY, TiedDenoiser(), 3.0, 0.6, 0.5)
    assert covariance.law_at(128).probability(covariance.longest(128)) > 0.9
    assert covariance.stop(500).sustained == 10
    assert cumulant.longest(16) == 0.5 * 16**3
    assert float(cumulant.problem(16).learning_rate) == 3.0 / 16
    found = simulate_search(covariance, [64], replicas=8, key=key)
    assert found.samples.shape == (8, 1)
    assert np.all(np.isfinite(found.samples) <= (found.samples <= found.followed))
