"""Information exponents: two routes against each other, closed forms, and known cases."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import learning_dynamics as ld
from learning_dynamics.limit.accuracy import Target
from learning_dynamics.limit.population import Population
from learning_dynamics.search.forms import Form
from learning_dynamics.search.loss_expansion import zero_overlap
from learning_dynamics.search.loss_forms import loss_forms
from tests.learning_dynamics.kernel.models import Bands, Committee, Denoiser, Spike, Teacher
from tests.learning_dynamics.kernel.searching import (
    Correlator,
    Monomial,
    NormalisedCorrelator,
    hermite,
)


@ld.configuration
class Polynomial(ld.InputModel):
    """Gaussian directions, label a polynomial of them given as a function."""

    directions: int = ld.static(default=1)
    label: object = ld.static(default=None)
    copies: int = ld.static(default=1)

    @property
    def vectors(self):
        return self.copies

    def mixing(self):
        return np.ones((self.copies, 1))

    def latents(self):
        return {"x": ld.Normal((self.directions,))}

    def signal(self, latents):
        x = latents["x"]
        return jnp.stack([x] * self.copies), self.label(x)


@ld.configuration
class Correlation(ld.Learner):
    """-y g(w.x), summed over neurons and vectors."""

    activation: object = ld.static(default=jnp.tanh)
    hidden: int = ld.static(default=1)

    @property
    def neurons(self):
        return self.hidden

    def loss(self, fields, norms, parameters, sample):
        return -sample.label * jnp.sum(self.activation(fields))


@ld.configuration
class Squared(Correlation):
    """(y - sum_k g(w_k.x))^2 / 2."""

    def loss(self, fields, norms, parameters, sample):
        return (sample.label - jnp.sum(self.activation(fields))) ** 2 / 2


def relu(x):
    return jnp.maximum(x, 0)


def agree(one, two):
    """Forms of two routes within five of their errors."""
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.powers, b.powers)
        assert np.all(np.abs(a.coefficients - b.coefficients) < 5 * (a.errors + b.errors))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["teacher", "relu", "denoiser"])
def test_hermite_and_law_route_agree(name):
    problem, points, size = {
        "teacher": (ld.Problem(Teacher(np.array([1.0, 0.5])), Committee(1), 1.0), 2**11, 1e-3),
        "relu": (ld.Problem(Monomial(2), Correlation(relu), 1.0), 2**13, 1e-2),
        "denoiser": (ld.Problem(Spike(), Denoiser(1), 1.0), 2**17, 0.05),
    }[name]
    found = [
        loss_forms(Population(problem, target=Target(points=points)), highest=3, route=route)
        for route in ("hermite", "law")
    ]
    agree(*found)
    assert max(form.errors.max() for form in found[1]) < size  # and not by large errors
    assert max(form.errors.max() for form in found[0]) < 1e-2 * size + 1e-9


@pytest.mark.slow
def test_forms_against_the_loss_at_finite_overlap():
    """L(m) - L(0) by `expected_loss` at norm one against the sum of the forms, ReLU label."""
    problem = ld.Problem(Polynomial(2, lambda x: relu(x[0]) + x[1] ** 2), Correlation(relu), 1.0)
    forms = loss_forms(Population(problem, target=Target(points=2**11)), highest=6)
    m = np.array([[0.0, 0.0], [0.15, -0.1], [0.2, 0.25]])
    rest = 1 - np.sum(m**2, axis=1)
    states = ld.Overlaps(m[:, None], rest[:, None, None, None], {})
    loss, error = ld.expected_loss(problem, states, points=2**16)
    series = sum(form(m) for form in forms)
    allowed = 5 * (error[1:] + error[0]) + 1e-4  # the seventh order
    assert np.all(np.abs(loss[1:] - loss[0] - series[1:]) < allowed)
    assert np.abs(series[1:]).min() > 100 * allowed.max() or np.abs(series[1:]).max() > 0.05


@pytest.mark.slow
def test_teacher_of_one_hermite_polynomial_for_two_neurons():
    """K = 2, squared loss of He_3 units: -y sum_k gives -sum_k m_k^3 / 6 ... times E He_3^2.

    E (y - a - b)^2 / 2 with y = He_3(x), a = He_3(h_1), b = He_3(h_2): the cross terms are
    -6 m_k^3, and 6 (m_1 m_2)^3 only at order six.
    """

    def third(x):
        return x**3 - 3 * x

    problem = ld.Problem(Polynomial(1, lambda x: third(x[0])), Squared(third, 2), 1.0)
    found = ld.information_exponent(problem, highest=4, points=20_000)
    assert (found.order, found.verdict) == (3, "attractive")
    np.testing.assert_allclose(found.forms[2].coefficients, [-6, 0, 0, -6], atol=1e-7)
    assert not found.forms[0].significant
    assert not found.forms[1].significant
    assert not found.forms[3].significant


def test_phase_retrieval_has_order_two():
    """y = x^2 and (h^2 - y)^2 / 4: E = (3 + 3) / 4 - (1 + 2 m^2) / 2, so L_2 = -m^2."""
    inputs = Polynomial(1, lambda x: x[0] ** 2)
    for route in ("hermite", "law"):
        learner = Squared(lambda h: h**2)
        found = ld.information_exponent(ld.Problem(inputs, learner, 1.0), route=route, points=2**11)
        assert (found.order, found.verdict) == (2, "attractive")
        assert found.coefficient == pytest.approx(-2, abs=1e-7)
        assert found.samples(100.0) == pytest.approx(100 * np.log(100))


def test_staircase_opens_step_by_step():
    """y = x_1 + x_1 x_2: e_2 is flat from zero overlap, and of order one once m_1 is there.

    With g = h + He_2(h) / 2: E y g = m_1 + m_1 m_2.
    """

    def activation(h):
        return h + (h**2 - 1) / 2

    inputs = Polynomial(2, lambda x: x[0] + x[0] * x[1])
    problem = ld.Problem(inputs, Correlation(activation), 1.0)
    found = ld.information_exponent(problem, points=2**10)
    assert [(d.verdict, d.order) for d in found.directions] == [("attractive", 1)]
    np.testing.assert_allclose(found.direction, [1, 0], atol=1e-9)
    assert ld.information_exponent(problem, [[0.0, 1.0]], points=2**10).verdict == "flat"
    learned = ld.order_parameters([[0.5, 0.0]], [[1.0]])
    later = ld.information_exponent(problem, [[0.0, 1.0]], around=learned, points=2**13, highest=2)
    assert (later.verdict, later.order) == ("attractive", 1)
    assert later.coefficient == pytest.approx(-0.5, abs=1e-8)


def test_a_repelled_form_hides_nothing():
    """L_2 = +m_1^2 holds m_1 at zero; e_2 is found at order three, e_3 is flat."""

    def label(x):
        return -hermite(2, x[0]) + hermite(3, x[1])

    def activation(h):
        return hermite(2, h) / 2 + hermite(3, h) / 6

    found = ld.information_exponent(
        ld.Problem(Polynomial(3, label), Correlation(activation), 1.0), points=2**12
    )
    assert [(d.verdict, d.order) for d in found.directions] == [("repelled", 2), ("attractive", 3)]
    assert (found.verdict, found.order) == ("attractive", 3)
    np.testing.assert_allclose(np.abs(found.directions[0].direction), [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found.direction, [0, 1, 0], atol=1e-5)
    assert found.coefficient == pytest.approx(-1, abs=1e-7)
    assert "repelled" in str(found)
    assert found.samples(10.0) == pytest.approx(100)


def test_eigenvectors_of_a_form_of_order_two_are_told_apart():
    def label(x):
        return hermite(2, x[0]) - 0.5 * hermite(2, x[1]) + 0.25 * hermite(2, x[2])

    found = ld.information_exponent(
        ld.Problem(Polynomial(4, label), Correlation(lambda h: h**2), 1.0),
        highest=2,
        points=2**12,
        method="tensor",
    )
    values = [(d.verdict, round(d.coefficient, 6)) for d in found.directions]
    assert values == [("attractive", -2.0), ("attractive", -0.5), ("repelled", 1.0)]


def test_zeros_of_an_ascending_form_are_left_to_the_next_order():
    """L_4 = m_1^2 m_2^2 never descends, but vanishes on the axes, where L_6 = -m_1^6 does."""
    from learning_dynamics.search.information_exponent import _search

    empty = [Form(k, np.zeros((1, 2), int), np.zeros(1), np.zeros(1)) for k in (1, 2, 3, 5)]
    fourth = Form(4, np.array([[2, 2]]), np.ones(1), np.full(1, 1e-6))
    sixth = Form(6, np.array([[6, 0]]), -np.ones(1), np.full(1, 1e-6))
    found, _ = _search((*empty[:3], fourth, empty[3], sixth), np.eye(2))
    assert [(d.verdict, d.order) for d in found] == [("attractive", 6)]
    np.testing.assert_allclose(np.abs(found[0].direction), [1, 0], atol=1e-2)


@pytest.mark.slow
def test_dependent_vectors_and_blocks():
    """Twice the same vector doubles L_k; a normalised preactivation does not feel the variance."""
    twice = ld.Problem(Polynomial(1, lambda x: hermite(3, x[0]), 2), Correlation(jnp.tanh), 1.0)
    once = ld.Problem(Polynomial(1, lambda x: hermite(3, x[0])), Correlation(jnp.tanh), 1.0)
    once, twice = Population(once), Population(twice)
    one, two = loss_forms(once, highest=3), loss_forms(twice, highest=3)
    with pytest.raises(ValueError, match="dependent"):
        loss_forms(twice, route="hermite")
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(b.coefficients, 2 * a.coefficients, atol=1e-5)
    assert abs(one[2].coefficients[0]) > 0.1
    bands = Bands(np.array([1.0]), shares=(0.5, 0.5), variances=(1.5, 0.5))
    banded = ld.Problem(bands, NormalisedCorrelator(3), 1.0)
    found = loss_forms(Population(banded, 10**6), highest=3)
    # label erf(x / sqrt 2): E y He_3(x) = -(1/3) sqrt(2/pi) ... by quadrature of the label itself
    x, w = np.polynomial.hermite_e.hermegauss(80)
    c3 = np.sum(w * special.erf(x / np.sqrt(2)) * (x**3 - 3 * x)) / w.sum()
    assert found[2].coefficients[0] == pytest.approx(-c3 / np.sqrt(6), rel=1e-4)


def test_zero_overlap_of_several_blocks():
    bands = Bands(np.array([1.0]), shares=(0.25, 0.75), variances=(1.0, 2.0))
    problem = ld.Problem(bands, Committee(2), 1.0, initial_norm=0.5)
    state = zero_overlap(Population(problem, 10_001))
    np.testing.assert_allclose(state.blocks[:, 0, 0], [0.0625, 0.1875], rtol=1e-3)
    assert not state.signal.any()
    with pytest.raises(ValueError, match="dimension"):
        Population(problem)


@pytest.mark.slow
def test_monte_carlo_derivative_of_the_loss():
    """L_1 by finite differences of the mean loss over weights and inputs, no kernel involved."""
    problem = ld.Problem(Polynomial(2, lambda x: jnp.sign(x[0]) + 0.3 * x[1]), Squared(relu), 1.0)
    form = loss_forms(Population(problem, target=Target(points=2**14)), highest=1)[0]
    rng, step, n = np.random.default_rng(0), 0.05, 400_000
    x, z = rng.normal(size=(n, 2)), rng.normal(size=n)
    y = np.sign(x[:, 0]) + 0.3 * x[:, 1]
    for axis in range(2):
        values = []
        for m in (step, -step):
            h = m * x[:, axis] + np.sqrt(1 - m * m) * z
            values.append((y - np.maximum(h, 0)) ** 2 / 2)
        slope = (values[0] - values[1]) / (2 * step)
        error = slope.std() / np.sqrt(n)
        assert abs(slope.mean() - form.coefficients[axis]) < 5 * error + step**2


def test_bad_exponent_arguments_are_refused():
    problem = ld.Problem(Monomial(3), Correlator(3), 1.0, update="spherical")
    learned = ld.order_parameters([[0.5]], [[1.0]])
    with pytest.raises(ValueError, match="route"):
        ld.information_exponent(problem, route="hermite", around=learned)
    with pytest.raises(ValueError, match="route"):
        ld.information_exponent(problem, route="jet")
    with pytest.raises(ValueError, match="highest"):
        loss_forms(Population(ld.Problem(Teacher(np.ones(30)), Committee(1), 1.0)), route="law")
    with pytest.raises(ValueError, match="around"):
        loss_forms(
            Population(ld.Problem(Teacher(np.ones(1)), Committee(2), 1.0)),
            around=ld.order_parameters([[0.0], [0.0]], np.ones((2, 2))),
        )
