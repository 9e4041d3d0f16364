"""The input model against a direct construction in d dimensions; cumulants; bad input."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import learning_dynamics as ld
from diffusion_theory import (
    Coupling,
    Dependent,
    Gaussian,
    MixedCumulant,
    Sign,
    ThreePoint,
    TiedDenoiser,
    TwoPoint,
)
from diffusion_theory.latents import BrokenNormal, joint_cumulants, latent_pair
from diffusion_theory.laws import law_of_nu
from tests.diffusion_theory.witness import draw_pair, noisy_samples

PAIRS = {
    "rademacher": "rademacher",
    "three-point": ThreePoint(0.1),
    "two-point": TwoPoint(0.2),
    "student": ld.StudentT(12.0),
    "sign": "sign",
    "square": "square",
    "cube": "cube",
    "correlated": Coupling(0.4),
    "negative": Coupling(-0.5),
    "correlated three-point": Coupling(0.3, ThreePoint(0.1)),
    "correlated two-point": Coupling(-0.4, TwoPoint(0.2)),
    "gaussian": Gaussian(0.6),
}
LOW = [(i, j) for i in range(5) for j in range(5) if 1 <= i + j <= 4]


def draw(variables, count, seed=0):
    keys = jax.random.split(jax.random.key(seed), len(variables))
    return {
        name: latent.draw(key, (count,), jnp.float32)
        for (name, latent), key in zip(variables.items(), keys, strict=True)
    }


def assert_mean_within_errors(samples, exact, bound=5.0):
    error = samples.std(axis=0, ddof=1) / np.sqrt(samples.shape[0])
    assert np.all(np.abs(samples.mean(axis=0) - exact) <= bound * error + 1e-6)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n == "student" else n for n in PAIRS],
)
def test_moments_of_the_pair_match_its_draws(name):
    pair = latent_pair(PAIRS[name])
    lam, nu = (np.asarray(x, np.float64) for x in pair.pair(draw(pair.latents(), 100_000)))
    moments = pair.moments()
    for i, j in LOW:
        assert_mean_within_errors(lam**i * nu**j, moments[i, j])


@pytest.mark.parametrize("name", PAIRS)
def test_moments_of_the_pair_match_its_quadrature(name):
    pair = latent_pair(PAIRS[name])
    rules = {n: v.rule(v.nodes or 24) for n, v in pair.latents().items()}
    grids = np.meshgrid(*[r[0] for r in rules.values()], indexing="ij")
    weights = np.ones(1)
    for _, w in rules.values():
        weights = np.multiply.outer(weights, w).ravel()
    with jax.enable_x64(True):
        values = {n: jnp.asarray(g.ravel()) for n, g in zip(rules, grids, strict=True)}
        lam, nu = (np.asarray(x) for x in pair.pair(values))
    tolerance = 2e-2 if name == "student" else 1e-10  # heavy tails in a rule on levels
    for i, j in [(1, 0), (2, 0), (0, 1), (0, 2), (1, 1), (2, 1), (3, 1), (1, 2)]:
        assert weights @ (lam**i * nu**j) == pytest.approx(pair.moments()[i, j], abs=tolerance)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.slow) if n == "student" else n
        for n in PAIRS
        if n != "gaussian"
    ],
)
def test_coordinates_have_the_law_of_the_direct_construction(name):
    """x0 with its whitening matrix S in d = 5, rotated; x = a x0 + b z."""
    inputs = MixedCumulant(2.0, 3.0, 1.5, PAIRS[name], alpha_bar=0.4)
    found, level = jax.vmap(inputs.signal)(draw(inputs.latents(), 20_000))
    assert float(level.signal[0]) == pytest.approx(0.4**0.5)
    pair = latent_pair(PAIRS[name])
    directions = np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0][:3]
    x, z, _ = noisy_samples(
        (2.0, 3.0, 1.5), draw_pair(pair, 20_000, 3), directions, 0.4, np.random.default_rng(2)
    )
    got = np.asarray(found, np.float64).reshape(-1, 6)
    wanted = np.concatenate([x @ directions.T, z @ directions.T], axis=1)
    products = [*itertools.combinations(range(6), 2)]
    pairs = [(got[:, i], wanted[:, i]) for i in range(6)]
    pairs += [(got[:, i] * got[:, j], wanted[:, i] * wanted[:, j]) for i, j in products]
    assert min(stats.ks_2samp(*p).pvalue for p in pairs) > 1e-6


def test_noise_outside_the_spikes_has_the_right_covariance():
    inputs = MixedCumulant(alpha_bar=0.25)
    b = np.asarray(inputs.mixing())
    covariance = b @ b.T
    noise = np.sqrt(0.75)
    np.testing.assert_allclose(covariance, [[1, noise], [noise, 1]], rtol=1e-14)


@pytest.mark.parametrize("cumulant", [0.5, 4.0, np.inf])
@pytest.mark.parametrize("name", ["rademacher", "sign", "three-point"])
def test_v_is_white_and_u_has_its_variance(name, cumulant):
    inputs = MixedCumulant(2.0, cumulant, None, PAIRS[name], alpha_bar=0.3)
    found, _ = jax.vmap(inputs.signal)(draw(inputs.latents(), 100_000))
    c = np.asarray(found, np.float64)
    a, b = inputs.noise_level.signal, inputs.noise_level.noise
    assert_mean_within_errors(c[:, 0, 1] ** 2, 1.0)
    assert_mean_within_errors(c[:, 0, 0] ** 2, 1 + 2 * a**2)
    assert_mean_within_errors(c[:, 1, :] ** 2, 1.0)
    assert_mean_within_errors(c[:, 0, :] * c[:, 1, :], b)
    gamma = np.sqrt(cumulant / (1 + cumulant)) if np.isfinite(cumulant) else 1.0
    assert_mean_within_errors(c[:, 0, 0] * c[:, 0, 1], a**2 * gamma * 2**0.5 * inputs.pair.rho)
    kurtosis = c[:, 0, 1] ** 4 - 3
    assert_mean_within_errors(kurtosis, (a * gamma) ** 4 * inputs.cumulants()[0, 4])


def test_infinite_strength_is_the_limit_of_large_ones():
    key = draw(MixedCumulant().latents(), 50)
    infinite = jax.vmap(MixedCumulant().signal)(key)[0]
    large = jax.vmap(MixedCumulant(cumulant=1e7).signal)(key)[0]
    np.testing.assert_allclose(infinite, large, atol=3e-3)


def test_known_cumulants():
    assert MixedCumulant().cumulants()[0, 4] == -2
    a = MixedCumulant(pair=ThreePoint(0.1)).cumulants()
    assert a[0, 4] == pytest.approx(1 / 0.2 - 3)
    p = MixedCumulant(pair=TwoPoint(0.2)).cumulants()
    assert p[0, 3] == pytest.approx(0.6 / 0.4)
    assert p[0, 4] == pytest.approx(1 / 0.16 - 6)
    assert MixedCumulant(pair=ld.StudentT(8.0)).cumulants()[0, 4] == pytest.approx(1.5)
    assert np.isnan(MixedCumulant(pair=ld.StudentT(5.0)).cumulants()[0, 6])
    sign = MixedCumulant(1.0, pair="sign").cumulants()
    rho = np.sqrt(2 / np.pi)
    assert sign[1, 1] == pytest.approx(rho)
    assert sign[1, 3] == pytest.approx(rho - 3 * rho)  # E lambda nu^3 - 3 rho
    assert sign[3, 1] == pytest.approx(2 * rho - 3 * rho)
    cube = MixedCumulant(1.0, pair="cube").cumulants()
    assert cube[1, 1] == pytest.approx(0, abs=1e-15)
    assert cube[2, 1] == pytest.approx(0, abs=1e-15)
    assert cube[3, 1] == pytest.approx(4 * np.log(2) / np.sqrt(2 * np.pi))
    square = MixedCumulant(1.0, pair="square").cumulants()
    c = stats.norm.ppf(0.75)
    assert square[1, 1] == pytest.approx(0, abs=1e-15)
    assert square[2, 1] == pytest.approx(4 * c * stats.norm.pdf(c))


def test_cumulants_of_a_gaussian_pair_vanish_beyond_two():
    found = joint_cumulants(Gaussian(0.6).moments())
    i, j = np.indices(found.shape)
    np.testing.assert_allclose(found[(i + j > 2) & (i + j <= 6)], 0, atol=1e-11)
    np.testing.assert_allclose(found[i + j == 2], [1, 0.6, 1])


def test_cumulants_add_up():
    """Cumulants of lambda + nu from the joint ones, against its moments."""
    for name in ("sign", "square", "correlated two-point"):
        pair = latent_pair(PAIRS[name])
        m, k = pair.moments(), joint_cumulants(pair.moments())
        binomial = [[1], [1, 1], [1, 2, 1], [1, 3, 3, 1], [1, 4, 6, 4, 1]]
        raw = [sum(c * m[n - j, j] for j, c in enumerate(binomial[n])) for n in range(5)]
        joint = [sum(c * k[n - j, j] for j, c in enumerate(binomial[n])) for n in range(5)]
        assert joint[3] == pytest.approx(raw[3], abs=1e-12)
        assert joint[4] == pytest.approx(raw[4] - 3 * raw[2] ** 2, abs=1e-12)


def test_gaussian_equivalent_keeps_covariance_and_drops_the_rest():
    inputs = MixedCumulant(2.0, 3.0, None, Coupling(0.4), alpha_bar=0.4)
    clone = inputs.gaussian()
    assert clone.names == inputs.names
    np.testing.assert_allclose(clone.cumulants()[1, 1], 0.4)
    np.testing.assert_allclose(clone.cumulants()[0, 4], 0, atol=1e-12)
    c = np.asarray(jax.vmap(clone.signal)(draw(clone.latents(), 50_000))[0], np.float64)[:, 0]
    a, gamma = 0.4**0.5, 0.75**0.5
    assert_mean_within_errors(c[:, 0] * c[:, 1], a**2 * gamma * 2**0.5 * 0.4)
    assert MixedCumulant().gaussian().names == ("v",)


@pytest.mark.slow
def test_numbers_are_leaves_and_can_be_mapped_over():
    inputs = MixedCumulant(2.0, 3.0, 1.0, Coupling(0.4, ThreePoint(0.2)), alpha_bar=0.4)
    assert len(jax.tree.leaves(inputs)) == 6
    values = draw(inputs.latents(), 1)
    values = jax.tree.map(lambda v: v[0], values)

    def of(rho, mass):
        pair = Coupling(rho, ThreePoint(mass))
        return MixedCumulant(2.0, 3.0, 1.0, pair, alpha_bar=0.4).signal(values)[0]

    rhos, masses = jnp.array([0.4, -0.3]), jnp.array([0.2, 0.1])
    mapped = jax.vmap(of)(rhos, masses)
    for i in range(2):
        direct = of(float(rhos[i]), float(masses[i]))
        np.testing.assert_allclose(mapped[i], direct, rtol=1e-5, atol=1e-6)


def test_broken_normal_rule_is_exact_on_pieces():
    points, weights = BrokenNormal((-1.0, 0.5)).rule(30)
    assert weights.sum() == pytest.approx(1, abs=1e-14)
    inside = (points > -1) & (points < 0.5)
    middle = stats.norm.cdf(0.5) - stats.norm.cdf(-1)
    assert weights[inside].sum() == pytest.approx(middle, abs=1e-14)
    exact = stats.norm.expect(lambda x: np.cos(3 * x) * (x > 0.5))
    assert weights[points > 0.5] @ np.cos(3 * points[points > 0.5]) == pytest.approx(
        exact, abs=1e-8
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ThreePoint(0.5), "`mass` must lie strictly between 0 and 1/2"),
        (lambda: ThreePoint(0.0), "`mass`"),
        (lambda: ThreePoint(-0.1), "`mass`"),
        (lambda: TwoPoint(1.0), "`probability`"),
        (lambda: MixedCumulant(pair=ld.StudentT(4.0)), "fourth cumulant"),
        (lambda: MixedCumulant(pair=ld.Uniform(-1.0, 1.0)), "variance one"),
        (lambda: ThreePoint(0.7), "`mass`"),
        (lambda: ld.StudentT(np.nan), "`freedom`"),
        (lambda: Dependent("fourth"), "`kind`"),
        (lambda: Coupling(0.8), "below 0.797885 in size"),
        (lambda: Coupling(-0.8), "`correlation`"),
        (lambda: Coupling(0.0), "nonzero"),
        (lambda: Coupling(0.3, ld.StudentT(8.0)), "finitely many"),
        (lambda: Gaussian(1.0), "`correlation`"),
        (lambda: MixedCumulant(alpha_bar=0.0), "`alpha_bar` must lie strictly between 0 and 1"),
        (lambda: MixedCumulant(alpha_bar=1.0), "`alpha_bar`"),
        (lambda: MixedCumulant(-1.0), "`covariance`"),
        (lambda: MixedCumulant(np.inf), "`covariance`"),
        (lambda: MixedCumulant(cumulant=0.0), "`cumulant`"),
        (lambda: MixedCumulant(mean=np.array([1.0, 2.0])), "`mean`"),
        (lambda: MixedCumulant(None, None, None), "not all be None"),
        (lambda: MixedCumulant(pair="sign"), "independent unless"),
        (lambda: MixedCumulant(1.0, None, pair="sign"), "independent unless"),
        (lambda: MixedCumulant(1.0, pair="gauss"), "`pair`"),
        (lambda: MixedCumulant(1.0, pair=3), "`pair`"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_laws_are_of_the_common_type():
    assert all(map(law_of_nu, (ThreePoint(), TwoPoint(), ld.StudentT(8.0), ld.Normal())))
    assert not law_of_nu(Coupling(0.4))
    assert isinstance(latent_pair("sign"), Sign)


def test_label_noise_makes_no_sense():
    with pytest.raises((ValueError, TypeError)):
        ld.Problem(MixedCumulant(), TiedDenoiser(), 0.1, label_noise=0.1)


@pytest.mark.slow
def test_slopes_in_the_noise_level_exist_where_a_coordinate_is_the_latent_itself():
    """Without noise along v the coordinate of z is b n_1 / b = n_1, whatever the level."""
    latents = {"nu": jnp.ones(()), "inner": jnp.ones(2), "added": jnp.ones(2)}

    def coordinates(level):
        return MixedCumulant(covariance=4.0, alpha_bar=level).signal(latents)[0]

    level, step = jnp.float32(0.4), jnp.float32(1e-2)
    slope = jax.jacfwd(coordinates)(level)
    quotient = (coordinates(level + step) - coordinates(level - step)) / (2 * step)
    np.testing.assert_allclose(slope, quotient, atol=2e-3)
    assert slope[1, 1] == pytest.approx(0, abs=1e-6)
