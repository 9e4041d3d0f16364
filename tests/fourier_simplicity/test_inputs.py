"""The input model: modes, both classes, exact moments, translation invariance, bad input."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from fourier_simplicity import (
    FourierInputs,
    Template,
    Tie,
    autocovariance,
    bispectrum,
    draw,
    draw_labelled,
    harmonic,
    lagged_products,
    mode_moment,
    mode_products,
    plot_inputs,
    power_law_spectrum,
    quartet,
    site_moment,
    site_products,
    to_modes,
    to_sites,
    triad,
    trispectrum,
    wave_vectors,
)

SAMPLES = 20_000
MODELS = {
    "triad": FourierInputs((16,), triad(1, 3)),
    "quartet": FourierInputs((16,), quartet(1, 6, 2), amplitudes="deterministic"),
    "sum": FourierInputs(16, quartet(1, 2, 3, form="sum", jitter=1.0)),
    "harmonic": FourierInputs((12,), harmonic(1), power_law_spectrum(12, 1.0)),
    "template": FourierInputs((12,), Template(4, jitter=0.5), amplitudes="deterministic"),
    "two ties": FourierInputs((20,), (triad(1, 2), triad(-4, -5, jitter=2.0))),
    "torus": FourierInputs((6, 8), quartet((1, 0), (0, 2), (1, -1)), power_law_spectrum((6, 8), 2)),
    "torus template": FourierInputs((8, 8), Template(3, (1, -1))),
}


def assert_within_five_errors(draws, expected):
    """Mean over the leading axis against exact values, real and imaginary parts apart."""
    draws, expected = np.asarray(draws), np.asarray(expected)
    parts = [np.real, np.imag] if np.iscomplexobj(draws) else [np.real]
    for part in parts:
        values = part(draws).astype(np.float64)
        error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
        gap = np.abs(values.mean(axis=0) - part(expected))
        # float32 rounding of moments that are constant over the samples
        assert np.all(gap <= 5 * error + 1e-5), (gap / (error + 1e-6)).max()


def fourier(fields, shape):
    """Z(k) by numpy, float64, as a function of the wave vector."""
    axes = tuple(range(-len(shape), 0))
    z = np.fft.fftn(np.asarray(fields, np.float64), axes=axes) / np.sqrt(np.prod(shape))
    return lambda k: z[(slice(None), *np.atleast_1d(k))]


@pytest.mark.parametrize("shape", [(8,), (6, 8), (4, 4)])
def test_modes_are_orthonormal_cosines_and_sines(shape):
    """The basis is written out; uniform and Nyquist modes are missing, nothing else."""
    k, S = wave_vectors(shape), np.prod(shape)
    assert 2 * len(k) == S - 2 ** len(shape)
    t = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    angle = 2 * np.pi * np.tensordot(k / np.asarray(shape), t, (1, -1))
    basis = np.sqrt(2 / S) * np.stack([np.cos(angle), -np.sin(angle)], axis=1).reshape(-1, S)
    np.testing.assert_allclose(basis @ basis.T, np.eye(2 * len(k)), atol=1e-12)
    coordinates = np.random.default_rng(0).normal(size=(3, 2 * len(k))).astype(np.float32)
    fields = to_sites(shape, jnp.asarray(coordinates))
    np.testing.assert_allclose(np.reshape(fields, (3, -1)), coordinates @ basis, atol=1e-5)
    np.testing.assert_allclose(to_modes(shape, fields), coordinates, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("structured", [True, False])
def test_mean_and_covariance_are_those_of_theory_in_both_classes(name, structured, key):
    inputs = MODELS[name]
    x = np.asarray(draw(inputs, SAMPLES, key=key, structured=structured), np.float64)
    assert_within_five_errors(x, np.zeros(inputs.shape))
    covariance = autocovariance(inputs)
    sites = list(np.ndindex(*inputs.shape))
    for s in sites[:: len(sites) // 4]:  # all lags from a few sites: a circulant matrix
        expected = np.roll(covariance, s, axis=tuple(range(len(s))))
        assert_within_five_errors(x * x[(slice(None), *s)].reshape(-1, *[1] * len(s)), expected)


TRIPLES = {"triad": (1, 3), "two ties": (1, 2), "template": (1, 2)}
QUADRUPLES = {
    "quartet": (1, 6, -2),
    "sum": (1, 2, 3),
    "harmonic": (1, 1, 1),
    "template": (1, 4, -2),
    "torus": ((1, 0), (0, 2), (-1, 1)),
    "torus template": ((1, -1), (1, -1), (1, -1)),
}


@pytest.mark.parametrize("name", TRIPLES)
def test_bispectrum_on_the_tie(name, key):
    inputs, (k, q) = MODELS[name], TRIPLES[name]
    exact = bispectrum(inputs, k, q)
    assert abs(exact) > 0.1
    for structured in (True, False):
        z = fourier(draw(inputs, SAMPLES, key=key, structured=structured), inputs.shape)
        assert_within_five_errors(z(k) * z(q) * np.conj(z(k + q)), exact if structured else 0)


@pytest.mark.parametrize("name", QUADRUPLES)
def test_trispectrum_on_the_tie(name, key):
    inputs, vectors = MODELS[name], [np.atleast_1d(k) for k in QUADRUPLES[name]]
    total = vectors[0] + vectors[1] + vectors[2]
    exact = trispectrum(inputs, *QUADRUPLES[name])
    assert abs(exact) > 0.1
    for structured in (True, False):
        z = fourier(draw(inputs, SAMPLES, key=key, structured=structured), inputs.shape)
        product = z(vectors[0]) * z(vectors[1]) * z(vectors[2]) * np.conj(z(total))
        assert_within_five_errors(product, exact if structured else 0)


def test_trispectrum_of_a_single_mode_is_that_of_its_amplitude(key):
    for name, exact in (("quartet", -1.0), ("sum", 0.0)):
        inputs = MODELS[name]
        found = trispectrum(inputs, 5, 5, -5, structured=False)
        assert found == pytest.approx(exact)
        z = fourier(draw(inputs, SAMPLES, key=key, structured=False), inputs.shape)
        assert_within_five_errors(np.abs(z(5)) ** 4, exact + 2)


def correlator(x, lags):
    """X(t) X(t + a) X(t + b) .. at every t, shape (samples, N)."""
    return np.prod([np.roll(x, -lag, axis=1) for lag in (0, *lags)], axis=0)


@pytest.mark.parametrize(
    ("inputs", "lags"),
    [
        (FourierInputs(10, triad(1, 2)), (1, 3)),
        (FourierInputs(10, quartet(1, 4, 2), amplitudes="deterministic"), (1, 2, 5)),
        (FourierInputs(10, Template(3), power_law_spectrum(10, 1)), (0, 1)),
    ],
)
def test_correlations_in_space_are_those_of_theory_at_every_site(inputs, lags, key):
    """Translation invariance: every site has the value of the exact sum over modes."""
    x = np.asarray(draw(inputs, SAMPLES, key=key), np.float64)
    exact = np.full(10, site_moment(inputs, lags))
    assert_within_five_errors(correlator(x, lags), exact)
    lag = lags[1]
    assert site_moment(inputs, [lag]) == pytest.approx(autocovariance(inputs)[lag])


def test_products_of_fields_are_those_of_their_sums(key):
    """Beside sums over sites and waves, written out, on a torus."""
    inputs = MODELS["torus"]
    x = np.asarray(draw(inputs, 3, key=key), np.float64)
    sites = list(itertools.product(range(6), range(8)))

    def field(i, site):
        return x[i][site[0] % 6, site[1] % 8]

    def z(i, k):
        waves = [np.exp(-2j * np.pi * (k[0] * t[0] / 6 + k[1] * t[1] / 8)) for t in sites]
        return sum(field(i, t) * wave for t, wave in zip(sites, waves, strict=True)) / np.sqrt(48)

    k, q, lag = (1, 0), (1, -1), (2, -3)
    expected = [(z(i, k) * z(i, k) * z(i, (-2, 1)) * z(i, q)).real for i in range(3)]
    np.testing.assert_allclose(mode_products(x, [k, k, (-2, 1), q]), expected, atol=1e-6)
    shifted = [[field(i, t) ** 2 * field(i, np.add(t, lag)) for t in sites] for i in range(3)]
    products = site_products(x, [(0, 0), lag])
    np.testing.assert_allclose(products.reshape(3, -1), shifted, atol=1e-12)
    pairs = [np.mean([field(i, t) * field(i, np.add(t, lag)) for t in sites]) for i in range(3)]
    np.testing.assert_allclose(lagged_products(x, [(0, 0), lag])[:, 1], pairs, atol=1e-12)
    for name, wrong in (("fields", lambda: mode_products(x[0, 0], [1])),
                        ("lags", lambda: site_products(x, [1])),
                        ("lags", lambda: lagged_products(x, [])),
                        ("wave_vectors", lambda: mode_products(x, [])),
                        ("wave_vectors", lambda: mode_products(x, 3))):  # fmt: skip
        with pytest.raises(ValueError, match=f"Argument `{name}"):
            wrong()


@pytest.mark.parametrize(("name", "panels"), [("harmonic", 4), ("torus", 4)])
def test_inputs_of_both_classes_are_drawn(name, panels, key):
    figure = plot_inputs(MODELS[name], count=2.0, key=key)
    assert len(figure.axes) == panels
    with pytest.raises(ValueError, match="`drawn`"):
        plot_inputs(MODELS[name], count=2, drawn=1, key=key)


@pytest.mark.parametrize("lags", [3, "ab", [(1, 2)], [1.5], [np.nan]])
def test_lags_off_the_grid_are_refused(lags):
    with pytest.raises(ValueError, match="Argument `lags"):
        site_moment(FourierInputs(8, triad(1, 2)), lags)


def test_a_relation_that_does_not_conserve_wave_vectors_breaks_the_invariance():
    """The control of the test above: k = 1, 2, 4 tied like a triad."""
    samples = 2 * SAMPLES
    rng = np.random.default_rng(0)
    phi = rng.uniform(0, 2 * np.pi, (samples, 4))
    phi[:, 3] = phi[:, 0] + phi[:, 1]
    pairs = np.stack([np.cos(phi), np.sin(phi)], axis=-1).reshape(samples, -1)
    x = np.asarray(to_sites((10,), jnp.asarray(pairs, jnp.float32)), np.float64)
    third = correlator(x, (0, 0))
    error = third.std(axis=0) / np.sqrt(samples)
    assert np.ptp(third.mean(axis=0)) > 50 * error.max()


TIES = [
    Tie((1, 2, 3), (1, 1, -1), 0.7),
    Tie((1, 3), (3, -1)),
    Tie((1, 5), (2, -2)),
    Tie((2, 3), (3, -2), 1.5),
    Template(3, jitter=0.4),
]


@pytest.mark.parametrize("tie", [pytest.param(TIES[0], marks=pytest.mark.slow), *TIES[1:]])
def test_characters_of_the_ties(tie, key):
    """Every moment E exp(i q.phi) up to |q_j| = 3, most of them zero."""
    one, two, three = jax.random.split(key, 3)
    angles = jax.random.uniform(one, (10_000, tie.angles), maxval=2 * np.pi)
    offsets = jax.random.uniform(two, (10_000, tie.offsets), minval=-1)
    branch = jax.random.randint(three, (10_000,), 0, tie.branches).astype(jnp.float32)
    for width in (tie.jitter, np.pi):
        phi = tie.phases(angles, offsets, branch, jnp.full(10_000, width, jnp.float32))
        powers = np.array(list(itertools.product(range(-3, 4), repeat=len(tie.modes))))
        seen = np.exp(1j * np.asarray(phi, np.float64) @ powers.T)
        broken = np.array([float(not p.any()) for p in powers])
        exact = np.array([tie.character(p) for p in powers]) if width < 3 else broken
        assert_within_five_errors(seen, exact.astype(complex))


def test_noise_with_rayleigh_amplitudes_is_gaussian_and_classes_share_all_else(key):
    inputs = MODELS["triad"]
    structured, noise = (
        draw(inputs, 4000, key=key, structured=s, space="modes") for s in (True, False)
    )
    differ = ~np.all(np.asarray(structured) == np.asarray(noise), axis=0)
    assert np.flatnonzero(differ).tolist() == [6, 7]  # only the phase of k = 4
    w = np.random.default_rng(1).normal(size=inputs.dimension)
    projection = np.asarray(noise, np.float64) @ (w / np.linalg.norm(w))
    assert stats.kstest(projection, "norm").pvalue > 1e-4


def test_labels_name_the_class(key):
    inputs = FourierInputs((16,), triad(1, 3), amplitudes="deterministic")
    x, y = draw_labelled(inputs, 2000, key=key)
    z = fourier(x, (16,))
    triple = z(1) * z(3) * np.conj(z(4))
    np.testing.assert_allclose(triple[np.asarray(y) > 0], 1.0, atol=1e-4)
    assert abs(np.mean(triple[np.asarray(y) < 0])) < 0.2
    assert abs(np.mean(y)) < 0.12


BAD = [
    (lambda: FourierInputs((15,), triad(1, 2)), "`shape`.*even"),
    (lambda: FourierInputs((8, 8, 8), ()), "`shape`.*one or two"),
    (lambda: FourierInputs((16,), Tie((1, 2, 4), (1, 1, -1))), r"`ties`.*invariance.*\[-1\]"),
    (lambda: FourierInputs((16,), (triad(1, 2), triad(3, 4))), "`ties`.*once"),
    (lambda: FourierInputs((16,), Tie((1, -1), (1, 1))), "`ties`.*once"),
    (lambda: FourierInputs((16,), triad(3, 6)), "`modes`.*Nyquist"),
    (lambda: FourierInputs((16,), triad(4, 4)), "`modes`.*phase"),
    (lambda: FourierInputs((16,), triad((1, 0), (0, 1))), "`modes`.*1 component"),
    (lambda: FourierInputs((16,), Template(8)), "`modes`.*phase"),
    (lambda: FourierInputs((16,), triad(1, 2), np.ones(8)), "`spectrum`.*7"),
    (lambda: FourierInputs((16,), triad(1, 2), [1, 1, 0, 1, 1, 1, 1]), "`spectrum`.*tied"),
    (lambda: FourierInputs((16,), triad(1, 2), -np.ones(7)), "`spectrum`.*negative"),
    (lambda: FourierInputs((16,), "triad"), "`ties`.*be ties"),
    (lambda: FourierInputs((16,), triad(1, 2), amplitudes="gaussian"), "`amplitudes`"),
    (lambda: Tie((1, 2), (1, 0)), "`coefficients`.*zero"),
    (lambda: Tie((1,), (1,)), "`coefficients`.*two or more"),
    (lambda: triad(1, 2, jitter=4.0), "`jitter`"),
    (lambda: triad(1.5, 2), "`modes`.*whole"),
    (lambda: Template(1), "`harmonics`"),
    (lambda: quartet(1, 2, 3, form="product"), "`form`"),
    (lambda: power_law_spectrum((16,), -1.0), "`exponent`"),
    (lambda: draw(MODELS["triad"], 0, key=jax.random.key(0)), "`samples`"),
    (lambda: draw(MODELS["triad"], 4, key=jax.random.key(0), space="k"), "`space`"),
    (lambda: MODELS["harmonic"].blocks(40), "`dimension`.*10"),
    (lambda: FourierInputs(16, triad(1, 2), [1, 1, 1e-20, 1, 1, 1, 1]), "`spectrum`.*tied"),
    (lambda: to_modes(8, np.ones((3, 5), np.float32)), r"`fields`.*8.*\(3, 5\)"),
    (lambda: to_sites((8, 8), np.ones((3, 4), np.float32)), r"`coordinates`.*60.*\(3, 4\)"),
    (lambda: mode_moment(MODELS["triad"], [1.5, -1.5]), "`wave_vectors`.*whole"),
    (lambda: bispectrum(MODELS["triad"], 1.5, 2), "`first`.*whole"),
    (lambda: power_law_spectrum(8, [1.0, 2.0]), "`exponent`.*dimension"),
]


def test_inputs_are_drawn_inside_and_outside_of_double_precision(key):
    with jax.enable_x64(True):
        inside = draw(MODELS["triad"], 3, key=key)
    np.testing.assert_array_equal(inside, draw(MODELS["triad"], 3, key=key))


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_input_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
