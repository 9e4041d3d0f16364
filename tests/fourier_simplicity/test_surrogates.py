"""Surrogates: what each keeps and what it destroys, on random and on real images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fourier_simplicity import (
    FourierInputs,
    amplitude_only,
    draw,
    mean_amplitude,
    periodic_component,
    phase_only,
    power_law_spectrum,
    spectrum_from_fields,
    spectrum_sweep,
    swap,
)
from learning_dynamics.images import load_bundled
from learning_dynamics.spectra import fit_power_law, radial_spectrum


@pytest.fixture(scope="module")
def colour():
    return np.random.default_rng(0).uniform(size=(3, 12, 16, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def textures():
    return np.stack(list(load_bundled("textures")))


def transform(images):
    return np.fft.fft2(np.asarray(images, np.float64), axes=(1, 2))


def test_periodic_component_solves_its_poisson_equation(colour):
    """The Laplacian on the torus equals that of the image inside its frame; the mean is kept."""
    u, p = colour.astype(np.float64), np.asarray(periodic_component(colour), np.float64)
    torus = sum(np.roll(p, s, a) for s in (1, -1) for a in (1, 2)) - 4 * p
    inside = np.zeros_like(u)
    for axis in (1, 2):
        step = np.diff(u, axis=axis)
        pad = [(0, 0)] * 4
        pad[axis] = (0, 1)
        inside += np.pad(step, pad)
        pad[axis] = (1, 0)
        inside -= np.pad(step, pad)
    np.testing.assert_allclose(torus, inside, atol=2e-5)
    np.testing.assert_allclose(p.mean(axis=(1, 2)), u.mean(axis=(1, 2)), atol=1e-6)


def test_periodic_images_are_their_own_periodic_component():
    t = np.arange(64)
    ramp = np.broadcast_to(t / 64.0, (1, 64, 64))
    wave = np.broadcast_to(0.5 + 0.4 * np.cos(2 * np.pi * t / 64), (1, 64, 64))
    gap = np.abs(np.asarray(periodic_component(wave)) - wave).max()
    assert gap < 2e-3  # one step of the cosine across the border
    flat = np.asarray(periodic_component(ramp))
    assert np.ptp(flat) < 0.02 * np.ptp(ramp)  # a ramp is all border


@pytest.mark.slow
def test_amplitude_only_keeps_every_cross_spectrum_of_the_colours(colour, key):
    p, found = periodic_component(colour), amplitude_only(colour, key=key)
    X, Y = transform(p), transform(found)
    cross = [np.einsum("nyxc,nyxd->nyxcd", Z, Z.conj()) for Z in (X, Y)]
    np.testing.assert_allclose(cross[0], cross[1], atol=2e-3)
    turn = np.angle(Y / X)[..., 0]
    assert np.abs(turn).std() > 0.5
    assert np.abs(turn[0] - turn[1]).max() > 1  # each image has its own phases
    again = amplitude_only(colour[:2], key=key)  # image i does not depend on the batch
    np.testing.assert_allclose(again, found[:2], atol=1e-6)
    gray = amplitude_only(colour[..., 0], key=key)
    np.testing.assert_allclose(gray, found[..., 0], atol=1e-5)


def test_phases_of_amplitude_only_are_uniform(key):
    images = np.broadcast_to(np.random.default_rng(1).uniform(size=(8, 8)), (4000, 8, 8))
    found = transform(amplitude_only(images, key=key)) / transform(periodic_component(images))
    moments = np.abs(np.stack([(found**q).mean(axis=0) for q in (1, 2, 3)]))
    own = np.zeros((8, 8), bool)
    own[::4, ::4] = True  # real modes: signs
    assert moments[:, ~own].max() < 5 / np.sqrt(4000)
    np.testing.assert_allclose(moments[1][own], 1, atol=1e-3)
    assert moments[0][0, 0] == pytest.approx(1, abs=1e-5)


def test_phase_only_keeps_phases_and_takes_the_common_amplitude(colour):
    level = mean_amplitude(colour)
    found = phase_only(colour, level)
    X, Y = transform(periodic_component(colour)), transform(found)
    np.testing.assert_allclose(np.abs(Y), np.broadcast_to(level, Y.shape), atol=1e-3)
    np.testing.assert_allclose(Y / np.abs(Y), X / np.abs(X), atol=1e-3)


def test_spectrum_sweep_keeps_phases_mean_and_variance(colour):
    p = np.asarray(periodic_component(colour))
    for beta, found in zip([0.0, 1.0, 1.7], spectrum_sweep(colour, [0.0, 1.0, 1.7]), strict=True):
        found = np.asarray(found)
        np.testing.assert_allclose(found.mean(axis=(1, 2)), p.mean(axis=(1, 2)), atol=1e-5)
        np.testing.assert_allclose(found.std(axis=(1, 2)), p.std(axis=(1, 2)), rtol=1e-4)
        Y, X = transform(found), transform(p)
        np.testing.assert_allclose(Y / np.abs(Y), X / np.abs(X), atol=2e-3)
        k = np.hypot(np.fft.fftfreq(12)[:, None], np.fft.fftfreq(16)[None]).ravel()[1:]
        size = np.abs(Y).reshape(3, -1, 3)[:, 1:]
        law = size * k[:, None] ** beta
        np.testing.assert_allclose(law / law[:, :1], 1, rtol=2e-3)


def test_swap_takes_amplitudes_from_one_and_phases_from_the_other(colour):
    first, second = colour, colour[::-1] ** 2
    A, B = (transform(periodic_component(each)) for each in (first, second))
    Y = transform(swap(first, second))
    np.testing.assert_allclose(Y, np.abs(A) * B / np.abs(B), atol=2e-3)
    same = swap(first, first, periodic=False)
    np.testing.assert_allclose(same, first, atol=1e-5)


def patches(image, size=8):
    rows, columns = (n // size for n in image.shape)
    cut = image.reshape(rows, size, columns, size).swapaxes(1, 2)
    return cut.reshape(rows * columns, -1).astype(np.float64)


def quadratic_accuracy(classes):
    """Held-out accuracy of the Gaussian classifier; classes = [(train, test), ..]."""
    scores = []
    for _, test in classes:
        each = []
        for train, _ in classes:
            mean, covariance = train.mean(axis=0), np.cov(train.T)
            covariance += 1e-6 * np.trace(covariance) * np.eye(len(mean)) / len(mean)
            gap = np.linalg.solve(np.linalg.cholesky(covariance), (test - mean).T)
            each.append(-(gap**2).sum(axis=0) - np.linalg.slogdet(covariance)[1])
        scores.append(np.stack(each))
    return np.mean([(s.argmax(axis=0) == i).mean() for i, s in enumerate(scores)])


@pytest.mark.parametrize("name", ["grass", "gravel"])
def test_image_level_surrogates_have_no_quadratic_cue_and_patch_level_ones_leak(name, key):
    real = np.asarray(periodic_component(load_bundled(name).images[:1]))[0]
    fake = np.asarray(amplitude_only(real[None], key=key, periodic=False))[0]
    left, right = slice(0, 256), slice(256, 512)
    cut = [(patches(x[:, left]), patches(x[:, right])) for x in (real, fake)]
    assert abs(quadratic_accuracy(cut) - 0.5) < 0.06
    # every patch randomised by itself
    leak = []
    for part in cut[0]:
        own = amplitude_only(part.reshape(-1, 8, 8), key=key, periodic=False)
        leak.append(np.asarray(own, np.float64).reshape(len(part), -1))
    assert quadratic_accuracy([cut[0], tuple(leak)]) > 0.7


def test_radial_spectrum_and_fit_find_the_exponent_of_a_gaussian_field(key):
    for gamma in (1.0, 2.0):
        inputs = FourierInputs((64, 64), (), power_law_spectrum((64, 64), gamma))
        fields = draw(inputs, 64, key=key, structured=False)
        k, power = radial_spectrum(fields)
        assert k.shape == power.shape == (32,)
        fit = fit_power_law(k[2:], power[2:])
        assert abs(fit.exponent - gamma) < 0.05
        assert fit.standard_error < 0.02
        measured = spectrum_from_fields(fields)
        ratio = measured / inputs.spectrum
        assert abs(np.log(ratio).std() - np.sqrt(1 / 64)) < 0.02  # 64 exponential variables


def test_fit_is_exact_on_a_power_law():
    k = np.arange(1.0, 20)
    fit = fit_power_law(k, 3 * k**-1.7)
    assert fit.exponent == pytest.approx(1.7)
    assert fit.amplitude == pytest.approx(3)
    assert fit.standard_error < 1e-12


def test_sweep_of_real_textures_has_the_spectrum_asked_for(textures):
    for beta, batch in zip([0.5, 1.0], spectrum_sweep(textures, [0.5, 1.0]), strict=True):
        fit = fit_power_law(*radial_spectrum(batch))
        assert abs(fit.exponent - 2 * beta) < 0.03


GOOD = np.random.default_rng(0).uniform(size=(1, 8, 8))
BAD = [
    (lambda: periodic_component(np.ones((8, 8))), "`images`"),
    (lambda: amplitude_only(np.full((1, 8, 8), np.nan), key=jax.random.key(0)), "`images`.*finite"),
    (lambda: phase_only(GOOD, np.ones((8, 7))), r"`amplitude`.*\(8, 8\)"),
    (lambda: phase_only(GOOD, -np.ones((8, 8))), "`amplitude`.*negative"),
    (lambda: phase_only(GOOD, np.arange(64.0).reshape(8, 8)), "`amplitude`.*-k"),
    (lambda: spectrum_sweep(GOOD, [-1.0]), "`exponents`"),
    (lambda: swap(GOOD, GOOD[:, :4]), "`phases`"),
    (lambda: spectrum_from_fields(np.ones((2, 8))), "`fields`.*vary"),
    (lambda: spectrum_from_fields(np.ones((2, 7))), "`shape`.*even"),
    (lambda: radial_spectrum(np.ones((8, 8))), "`images`"),
    (lambda: fit_power_law([1.0, 2.0, 3.0], [1.0, 0.0, 1.0]), "`power`.*positive"),
    (lambda: fit_power_law([1.0, 2.0], [1.0, 1.0]), "`power`"),
]


@pytest.mark.parametrize(("make", "message"), BAD)
def test_bad_input_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_surrogates_of_constant_images_are_constant(key):
    flat = np.full((2, 8, 8), 0.25)
    for found in (amplitude_only(flat, key=key), swap(flat, flat), spectrum_sweep(flat, [1.0])[0]):
        np.testing.assert_allclose(found, 0.25, atol=1e-6)
    assert jnp.asarray(amplitude_only(flat, key=key)).dtype == jnp.float32


@pytest.mark.slow
def test_surrogates_are_the_same_inside_compiled_functions(colour):
    key, level = jax.random.key(3), np.asarray(mean_amplitude(colour))
    for make, given in (
        (lambda images, key: amplitude_only(images, key=key), (colour, key)),
        (phase_only, (colour, level)),
        (mean_amplitude, (colour,)),
        (periodic_component, (colour,)),
        (spectrum_sweep, (colour, np.array([0.0, 1.0]))),
        (swap, (colour, colour[::-1])),
    ):
        given = jax.tree.map(jnp.asarray, given)
        np.testing.assert_allclose(jax.jit(make)(*given), make(*given), atol=2e-6)
    bytes_ = jnp.asarray((colour * 255).astype(np.uint8))
    np.testing.assert_allclose(
        jax.jit(mean_amplitude)(bytes_), mean_amplitude(np.asarray(bytes_)), rtol=1e-5, atol=1e-5
    )
    each = jax.vmap(lambda image, k: amplitude_only(image[None], key=k)[0])
    assert each(jnp.asarray(colour), jax.random.split(key, 3)).shape == colour.shape
    slope = jax.grad(lambda image: jnp.sum(swap(image, colour) ** 2))(jnp.asarray(colour))
    assert np.all(np.isfinite(slope))
    with pytest.raises(ValueError, match="Argument `images` must have shape"):
        jax.jit(mean_amplitude)(jnp.ones((4, 4)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: spectrum_sweep(x, []), "Argument `exponents` must be a list"),
        (lambda x: mean_amplitude(x * 1j), "Argument `images` must be real"),
    ],
)
def test_nothing_to_do_and_complex_images_are_refused(colour, make, message):
    with pytest.raises(ValueError, match=message):
        make(colour)
