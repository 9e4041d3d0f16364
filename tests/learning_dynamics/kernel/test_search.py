"""Information exponents and the search phase against closed forms and the exact process."""

import dataclasses

import jax
import numpy as np
import pytest
from scipy import integrate, stats

import learning_dynamics as ld
from learning_dynamics.hermite import hermite_coefficients
from learning_dynamics.search.explosion_time import explosion_times
from learning_dynamics.search.forms import Form
from tests.learning_dynamics.kernel.models import Committee, Denoiser, Spike, Teacher
from tests.learning_dynamics.kernel.searching import (
    BandMonomial,
    Correlator,
    Monomial,
    NormalisedCorrelator,
    Oja,
    Pair,
    Spiked,
    quartet_problem,
)


def problem(order=3, sign=1.0, rate=0.4):
    return ld.Problem(Monomial(order), Correlator(order, sign), rate, update="spherical")


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_order_of_a_hermite_label(order):
    """E y He_k(h) / sqrt(k!) = m^k."""
    found = ld.information_exponent(problem(order))
    assert (found.verdict, found.order) == ("attractive", order)
    assert found.coefficient == pytest.approx(-1, abs=1e-10)
    assert found.samples(100.0) == pytest.approx(
        {1: 100, 2: 100 * np.log(100), 3: 1e4, 4: 1e6}[order]
    )
    assert found.learning_rate(100.0) == pytest.approx({3: 0.1, 4: 0.01}.get(order, 1))


def test_repelled_and_flat_are_no_numbers():
    for sign in (2, 4):
        repelled = ld.information_exponent(problem(sign, -1.0))
        assert repelled.verdict == "repelled"
        with pytest.raises(ValueError, match="attractive"):
            repelled.samples(100)
    odd = ld.information_exponent(problem(3, -1.0))  # attractive on the other side
    assert (odd.verdict, odd.direction[0]) == ("attractive", -1)
    blind = ld.Problem(Monomial(3), Correlator(4), 1.0, update="spherical")
    assert ld.information_exponent(blind).verdict == "flat"
    with pytest.raises(ValueError, match="flat"):
        ld.search_law(blind, key=jax.random.key(0))


def test_single_directions():
    teacher = ld.Problem(Teacher(np.array([1.0, 0.0])), Committee(1), 1.0, update="spherical")
    assert ld.information_exponent(teacher, [[1.0, 0.0]]).order == 1
    # along the other direction only the form of order one vanishes; there is no label there
    other = ld.information_exponent(teacher, [[0.0, 1.0]])
    assert other.verdict == "flat"
    with pytest.raises(ValueError, match="directions"):
        ld.information_exponent(teacher, [[0.0, 0.0]])


@pytest.mark.slow
def test_denoiser_coefficients_by_stein():
    """Two vectors, a skip at its fast value b: L_2 = (c_2 / 2) a^2 (E c^2 - 1) m^2.

    |z - b x + w tanh h|^2 = const + E psi(h), psi = tanh^2 - 2 b h tanh + 2 b tanh' (Stein), whose
    second Hermite coefficient is c_2 = [tanh^2]_2 - 4 b [tanh]_1.
    """
    spiked = ld.Problem(
        Spike(), Denoiser(1), 1.0, update="spherical", parameter_rates={"skip": 0.5}
    )
    found = ld.information_exponent(spiked)
    square, _ = hermite_coefficients(lambda g: np.tanh(g) ** 2, 2)
    plain, _ = hermite_coefficients(np.tanh, 1)
    c_2 = square[2] - 4 * 0.6 * plain[1]
    assert found.forms[1].coefficients[0] == pytest.approx(c_2 / 2 * 0.64 * 0.25, rel=1e-4)
    assert found.order == 2
    assert found.verdict == "attractive"


@pytest.mark.slow
@pytest.mark.parametrize("exact", [False, True])
def test_phase_quartet_has_its_known_form(exact):
    """L_4 = -6 (pi/4)^2 / sqrt 24 Re(mu_1 mu_2 conj(mu_3 mu_4)), and nothing below."""
    points = 2**18
    found = ld.information_exponent(quartet_problem(0.6, exact), points=points)
    assert (found.order, found.verdict) == (4, "attractive")
    assert all(not form.significant for form in found.forms[:3])
    form = found.forms[3]
    m = np.random.default_rng(0).normal(size=(20, 8))
    z = m[:, ::2] - 1j * m[:, 1::2]
    product = z[:, 0] * z[:, 1] * np.conj(z[:, 2] * z[:, 3])
    known = -6 * (np.pi / 4) ** 2 / np.sqrt(24) * product.real
    assert np.all(np.abs(form(m) - known) < 5 * form.error(m))
    if exact:
        np.testing.assert_allclose(form(m), known, rtol=1e-8, atol=1e-9)
    else:
        assert np.max(np.abs(form.clear(m) - known)) < 0.1 * np.max(np.abs(known))


def mean_explosion(cubic, linear, noise, start_variance):
    """E T of dx = (cubic x^3 - linear x) ds + noise dB, by quadrature of the scale function."""

    def potential(y):  # 2 / noise^2 times the integral of the drift
        return 2 / noise**2 * (cubic * y**4 / 4 - linear * y**2 / 2)

    x = np.linspace(0, 12, 40001)
    phi = potential(x)
    inner = integrate.cumulative_simpson(np.exp(np.minimum(phi, 700)), x=x, initial=0)
    with np.errstate(over="ignore"):
        outer = np.where(phi < 600, np.exp(-np.minimum(phi, 700)) * inner, 0)
    # beyond, exp(-phi) int exp(phi) -> noise^2 / (2 drift)
    far = phi >= 600
    outer[far] = noise**2 / (2 * (cubic * x[far] ** 3 - linear * x[far]))
    tail = 1 / (2 * cubic * x[-1] ** 2)
    rest = np.concatenate(
        [np.cumsum(((outer[1:] + outer[:-1]) / 2 * np.diff(x))[::-1])[::-1], [0.0]]
    )
    times = 2 / noise**2 * rest + tail
    if start_variance == 0:
        return times[0]
    density = np.exp(-(x**2) / 2 / start_variance)
    return np.sum(times * density) / np.sum(density)


@pytest.mark.slow
@pytest.mark.parametrize("start_variance", [0.0, 1.0])
def test_one_dimensional_explosion_time(start_variance):
    """Mean over paths against an integral; and the step size does not matter."""
    form = Form(4, np.array([[4]]), np.array([-0.25]), np.zeros(1))
    rate, norm, covariance = 0.8, 1.5, np.array([[2.0]])
    exact = mean_explosion(rate, rate**2 * norm / 2, rate * np.sqrt(2.0), start_variance)
    start = None if start_variance else (lambda key: jax.numpy.zeros(1))
    for step in (0.04, 0.02):
        times = explosion_times(
            form, covariance, norm, rate, key=jax.random.key(1), draws=20_000, step=step,
            start=start,
        )  # fmt: skip
        assert np.isfinite(times).all()
        assert abs(times.mean() - exact) < 5 * times.std() / np.sqrt(times.size)


@pytest.mark.slow
def test_law_of_order_three_is_approached_by_the_exact_process(key):
    """KS distance between n* / N^2 and the law, from the same scaled starts: it falls with N."""
    law = ld.search_law(problem(), key=jax.random.key(5), draws=4000)
    np.testing.assert_allclose(law.gradient_covariance, 21)  # E He_3^2 x^2 / 6 times 3
    assert law.gradient_norm == pytest.approx(3)
    distances = []
    for n in (20, 60, 180):
        run = ld.Problem(Monomial(3), Correlator(3), law.learning_rate(n), update="spherical")
        stop = ld.Stop(_overlap, 0.8)
        seen = ld.simulate(
            run, dimension=n, times=[4.0 * n], replicas=256, key=key, level="overlaps", stop=stop
        )
        time = np.where(seen.stopped > 0, seen.stopped / n**2, np.inf)
        cap = 4.0
        one, two = np.minimum(time, cap), np.minimum(law.draws, cap)
        distances.append(stats.ks_2samp(one, two).statistic)
    assert distances[2] < distances[0] / 1.5
    # 1 % point of the null law, and what is known of finite N: the run stops at m = 0.8, before
    # the explosion by 1 / (3 delta' 0.8 N^(1/2)), times the density of the law at its highest
    early, width = 1 / (3 * 0.4 * 0.8 * np.sqrt(180)), 0.2
    times = np.sort(law.draws)
    density = max((np.searchsorted(times, t + width) - np.searchsorted(times, t)) for t in times)
    allowed = early * density / (width * times.size)
    assert distances[2] < 1.63 * np.sqrt(1 / 256 + 1 / 4000) + allowed


def _overlap(overlaps):
    return overlaps.signal[0, 0]


@pytest.mark.slow
def test_draws_do_not_depend_on_the_width_of_numbers():
    """A draw of JAX in its default type is another one where 64-bit numbers are enabled."""
    oja = ld.Problem(Spiked(), Oja(), 0.25, update="spherical")
    narrow = ld.search_law(oja, key=jax.random.key(5), draws=100)
    with jax.enable_x64(True):
        wide = ld.search_law(oja, key=jax.random.key(5), draws=100)
    np.testing.assert_array_equal(narrow.updates(1000), wide.updates(1000))
    near = dataclasses.replace(narrow, draws=narrow.draws - 100)  # a threshold within the starts
    assert np.all(near.updates(1000) == 0)


@pytest.mark.slow
def test_closed_law_of_order_two(key):
    """Oja's neuron: g, S0, V by hand; distribution of n* / N - log N / (2 g) at N = 2000."""
    rate = 0.25
    oja = ld.Problem(Spiked(), Oja(), rate, update="spherical")
    law = ld.search_law(oja, key=jax.random.key(5), threshold=0.3)
    assert law.growth == pytest.approx(rate - rate**2 / 2)
    assert law.gradient_covariance[0, 0] == pytest.approx(2)
    n = 4000
    stop = ld.Stop(lambda o: abs(o.signal[0, 0]), 0.3)
    seen = ld.simulate(
        oja, dimension=n, times=[60.0], replicas=600, key=key, level="overlaps", stop=stop
    )
    assert np.all(seen.stopped > 0)
    assert stats.ks_2samp(seen.stopped, law.updates(n)).pvalue > 1e-3
    wrong = law.updates(n) - n * 0.1 / law.growth * np.log(n) / 2
    assert stats.ks_2samp(seen.stopped, wrong).pvalue < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("update", "points", "method"),
    [
        ("projected", 2**6, "tensor"),
        ("spherical", 2**10, "tensor"),
        ("spherical", 2**12, "sobol"),
    ],
)
def test_law_of_order_two_does_not_need_many_nodes(update, points, method):
    """The constant of the escape is as good as the rule: 2^6 nodes give what 2^10 give.

    Oja in closed form: the field has variance v = 1 + m^2 = V, so that dm/dtau = d (2 m - m v)
    - d^2 m v / 2 = m (g - (d + d^2 / 2) m^2) and
    c = log(t) / g - log(1 - (d + d^2 / 2) t^2 / g) / (2 g).
    """
    d, t = 0.25, 0.3
    g, bend = d - d**2 / 2, d + d**2 / 2
    exact = np.log(t) / g - np.log(1 - bend * t**2 / g) / (2 * g)
    law = ld.search_law(
        ld.Problem(Spiked(), Oja(), d, update=update), key=jax.random.key(5), threshold=t,
        points=points, method=method, draws=64,
    )  # fmt: skip
    xi = np.sqrt(1 + d**2 * 2 / (2 * g)) * np.abs(
        np.asarray(jax.random.normal(jax.random.key(5), (64, 1)), np.float64)[:, 0]
    )
    constant = np.median(law.draws + np.log(xi) / g)
    assert abs(constant - exact) < 2 * law.errors["constant"] + 1e-6
    assert law.errors["constant"] < 0.3
    assert law.censored == 0


@ld.configuration
class Steep(Correlator):
    """Loss -y log cosh(4 h) / 4, whose gradient -y tanh(4 h) needs many Gauss-Hermite nodes."""

    def loss(self, fields, norms, parameters, sample):
        return -sample.label * jax.numpy.log(jax.numpy.cosh(4 * fields[0, 0])) / 4


@pytest.mark.slow
def test_gradient_moments_are_adaptive_and_honest():
    """V = E y^2 E tanh(4 g)^2 by adaptive quadrature from another library."""
    problem = ld.Problem(Monomial(2), Steep(), 0.05, update="spherical")
    options = {"key": jax.random.key(0), "draws": 16, "threshold": 0.2, "points": 2**8}
    with pytest.raises(ld.InaccurateError, match="constant"):  # few nodes are few for the escape
        ld.search_law(problem, **options)
    with pytest.warns(RuntimeWarning, match="constant"):
        law = ld.search_law(problem, **options, allow_inaccurate=True)
    density = stats.norm.pdf
    exact = integrate.quad(lambda x: np.tanh(4 * x) ** 2 * density(x), -12, 12, epsabs=1e-13)[0]
    assert abs(law.gradient_norm - exact) <= law.errors["gradient_norm"] + 1e-12
    assert law.errors["gradient_norm"] < 1e-8
    # S0 = E y^2 x^2 times the same, E (x^2 - 1)^2 x^2 / 2 = 5
    np.testing.assert_allclose(law.gradient_covariance, 5 * exact, rtol=1e-9)


@pytest.mark.slow
def test_late_paths_are_censored_and_counted():
    """Neither the time nor the number of steps can run away."""
    options = {"key": jax.random.key(5), "draws": 256}
    form = Form(3, np.array([[3]]), np.array([-0.02]), np.zeros(1))
    args = (form, np.eye(1), 4.0, 1.0)  # a contraction that almost never lets go
    few = explosion_times(*args, most_steps=200, **options)
    short = explosion_times(*args, longest=1.0, **options)
    assert np.isinf(few).mean() > 0.9
    assert np.isinf(short).mean() > 0.9
    law = ld.search_law(problem(), key=jax.random.key(5), draws=64, most_steps=20, points=2**8)
    assert law.censored == 64
    assert np.isinf(law.median().value)


@pytest.mark.slow
def test_neurons_with_losses_of_their_own_keep_the_law_of_one():
    pair = ld.Problem(Monomial(3), Pair(3), 0.4, update="spherical")
    one, two = (
        ld.search_law(p, key=jax.random.key(5), draws=64, points=2**8) for p in (problem(), pair)
    )
    np.testing.assert_allclose(two.draws, one.draws, rtol=1e-6)


@ld.configuration
class HeldOja(Oja):
    """Loss -h^2 / 2 + |w|^4 / 4: plain updates bring |w|^2 to rest at 1 + delta / 2."""

    def loss(self, fields, norms, parameters, sample):
        return super().loss(fields, norms, parameters, sample) + norms[0, 0] ** 2 / 4


@pytest.mark.slow
def test_plain_updates_have_the_law_of_the_norm_where_they_rest():
    """The angle of Oja's neuron does not feel the norm: g and xi as on the sphere."""
    held = ld.Problem(Spiked(), HeldOja(), 0.25, initial_norm=0.7)
    law = ld.search_law(held, key=jax.random.key(5), threshold=0.3, draws=16, points=2**10)
    assert law.growth == pytest.approx(0.25 - 0.25**2 / 2, rel=1e-6)
    assert law.gradient_norm == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(law.gradient_covariance, 2, rtol=1e-5)
    decay = ld.Problem(Spiked(), Oja(), 0.25, weight_decay=1.2)
    with pytest.raises(ValueError, match="die out"):
        ld.search_law(decay, key=jax.random.key(0), draws=16, points=2**8)


@pytest.mark.slow
def test_law_of_plain_updates_is_that_of_the_exact_process(key):
    held = ld.Problem(Spiked(), HeldOja(), 0.25, initial_norm=0.7)
    law, n = ld.search_law(held, key=jax.random.key(5), threshold=0.3), 3000
    stop = ld.Stop(lambda o: abs(o.signal[0, 0]) / o.norms[0, 0] ** 0.5, 0.3)
    seen = ld.simulate(
        held, dimension=n, times=[60.0], replicas=400, key=key, level="overlaps", stop=stop
    )
    assert np.all(seen.stopped > 0)
    assert stats.ks_2samp(seen.stopped, law.updates(n)).pvalue > 1e-3
    wrong = law.updates(n) - n * 0.1 / law.growth * np.log(n) / 2
    assert stats.ks_2samp(seen.stopped, wrong).pvalue < 1e-6


@pytest.mark.slow
def test_bands_of_noise_move_the_law(key):
    """Normalised preactivation, bands of variance 0.4 and 1.6: KS distance to the law falls with N.

    The control is the law of isotropic noise of the same mean variance.
    """
    options = {"learning_rate": 0.4, "update": "spherical"}
    bands = ld.Problem(BandMonomial(3), NormalisedCorrelator(3), **options)
    law = ld.search_law(bands, key=jax.random.key(5), dimension=10**4)
    flat = ld.search_law(problem(), key=jax.random.key(5))
    # at rest R_b = lambda_b N_b / sum: field variance v = 0.68 / 0.5 = 1.36
    assert law.gradient_norm == pytest.approx(3 / 1.36, rel=1e-3)
    assert law.form.coefficients[0] == pytest.approx(-(1.36**-1.5), rel=1e-3)
    assert law.median().value > 1.1 * flat.median().value
    distances, controls, cap = [], [], 4.0
    for n in (60, 300):
        run = ld.Problem(
            BandMonomial(3), NormalisedCorrelator(3), law.learning_rate(n), update="spherical"
        )
        seen = ld.simulate(
            run, dimension=n, times=[cap * n], replicas=512, key=key, level="overlaps",
            stop=ld.Stop(_overlap, 0.8),
        )  # fmt: skip
        time = np.where(seen.stopped > 0, seen.stopped / n**2, np.inf)
        for target, found in ((law, distances), (flat, controls)):
            one, two = np.minimum(time, cap), np.minimum(target.draws, cap)
            found.append(stats.ks_2samp(one, two).statistic)
    print("distances", distances, "controls", controls)
    assert distances[1] < distances[0]
    assert distances[1] < 1.63 * np.sqrt(1 / 512 + 1 / 4096)  # 1 % point of the null law
    assert controls[1] > 1.63 * np.sqrt(1 / 512 + 1 / 4096)


def test_bad_search_problems_are_refused():
    good = problem()
    for change, match in (
        ({"update": "plain"}, "search law|norm of W"),
        ({"inputs": Teacher(np.ones(1)), "learner": Committee(2)}, "sum over neurons"),
        ({"inputs": Monomial(1), "learner": Correlator(1)}, "order 1"),
        ({"inputs": Spiked(), "learner": Oja(), "learning_rate": 3.0}, "learning_rate"),
        ({"inputs": Spiked(), "learner": Oja(-1.0)}, "repelled"),
    ):
        options = {
            "inputs": good.inputs, "learner": good.learner, "learning_rate": 0.4,
            "update": "spherical", **change,
        }  # fmt: skip
        with pytest.raises(ValueError, match=match):
            ld.search_law(ld.Problem(**options), key=jax.random.key(0), draws=10)
    with pytest.raises(ValueError, match="key"):
        ld.search_law(good, key=jax.random.PRNGKey(0))
    with pytest.raises(ValueError, match="neuron"):
        ld.search_law(good, key=jax.random.key(0), neuron=1)
    growing = ld.Problem(
        Teacher(np.ones(1)), Committee(1), 1.0, update="spherical", parameter_rates={"v": 1.0}
    )
    with pytest.raises(ValueError, match="parameter_rates"):
        ld.search_law(growing, key=jax.random.key(0), points=2**10)
    with pytest.raises(ValueError, match="threshold"):
        ld.search_law(
            ld.Problem(Spiked(0.1), Oja(), 0.15, update="spherical"), key=jax.random.key(0),
            threshold=0.99, draws=10,
        )  # fmt: skip


@pytest.mark.slow
def test_quartet_law_is_approached_by_the_exact_process(key):
    """Phase quartet: the distribution of n* / N^3 moves towards the law as N grows.

    The threshold is half the largest value of Re(m_1 m_2 conj(m_3 m_4)); a threshold on |m| would
    be crossed by diffusion, since |m|^2 starts at 8 / N.
    """
    problem, cap = quartet_problem(0.6, exact=True), 3.0
    law = ld.search_law(problem, key=jax.random.key(5), points=2**18, draws=4000)
    assert law.gradient_norm == pytest.approx(4)
    np.testing.assert_allclose(law.gradient_covariance, 4 * np.eye(8), atol=1e-9)
    assert law.median().value == pytest.approx(1.49, abs=0.1)
    starts = np.random.default_rng(3).normal(size=(128, 1, 8))  # common, scaled by N
    distances = []
    for n in (24, 48, 96):
        m = starts / np.sqrt(n)
        m /= np.maximum(1, np.linalg.norm(m, axis=2, keepdims=True) / 0.9)
        start = ld.order_parameters(m, np.ones((128, 1, 1)))
        stop = ld.Stop(_quartet_overlap, 0.5 / 16)
        seen = ld.simulate(
            quartet_problem(law.learning_rate(n)), dimension=n, times=[cap * n**2],
            replicas=128, key=key, level="overlaps", stop=stop, start=start,
        )  # fmt: skip
        time = np.where(seen.stopped > 0, seen.stopped / n**3, np.inf)
        distances.append(
            stats.ks_2samp(np.minimum(time, cap), np.minimum(law.draws, cap)).statistic
        )
    print("distances", distances)
    assert distances[2] < distances[1] < distances[0]


def _quartet_overlap(overlaps):
    m = overlaps.signal[0]
    z = [(m[2 * i], -m[2 * i + 1]) for i in range(4)]

    def times(a, b):
        return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]

    one, two = times(z[0], z[1]), times(z[2], z[3])
    return one[0] * two[0] + one[1] * two[1]
