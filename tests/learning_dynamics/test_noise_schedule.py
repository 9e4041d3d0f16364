import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from learning_dynamics.noise_schedule import (
    NoiseSchedule,
    alpha_bar_at_time,
    alpha_bar_of_noise_to_signal,
    forward_process,
    noise_levels,
)
from learning_dynamics.testing import assert_agrees


def test_defaults_are_those_of_ho_et_al():
    schedule = NoiseSchedule.linear()
    assert schedule.steps == 1000
    assert schedule.beta[0] == 1e-4
    assert schedule.beta[-1] == 2e-2
    np.testing.assert_allclose(np.diff(schedule.beta), 0.0199 / 999, rtol=1e-10)


@pytest.mark.parametrize("last", [1e-2, 2e-2, 0.5])
def test_powers_against_many_digits(last):
    schedule = NoiseSchedule.linear(200, 1e-7, last)
    with mp.workdps(40):
        signal = [mp.mpf(1)]
        for beta in schedule.beta:
            signal.append(signal[-1] * (1 - mp.mpf(float(beta))))
        exact = [[float(a), float(1 - a), float((1 - a) / a)] for a in signal[1:]]
    found = np.stack([schedule.alpha_bar, schedule.noise_power, schedule.noise_to_signal], axis=1)
    np.testing.assert_allclose(found, exact, rtol=1e-12)


def test_one_step():
    schedule = NoiseSchedule([0.25])
    assert schedule.steps == 1
    np.testing.assert_allclose(schedule.alpha_bar, [0.75], rtol=1e-15)
    np.testing.assert_allclose(schedule.noise_power, [0.25], rtol=1e-15)


@pytest.mark.parametrize(
    ("beta", "message"),
    [
        ([], "at least one step"),
        ([[0.1]], "1 dimension"),
        ([0.1, 0.0], "strictly between 0 and 1, but got 0.0"),
        ([0.1, 1.0], "strictly between 0 and 1, but got 1.0"),
        ([0.1, np.nan], "finite"),
        (["a"], "real numbers"),
    ],
)
def test_bad_beta(beta, message):
    with pytest.raises(ValueError, match=f"`beta` must .*{message}"):
        NoiseSchedule(beta)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [((0,), "steps"), ((2.5,), "steps"), ((10, 0.0), "first"), ((10, 1e-4, 1.0), "last")],
)
def test_bad_linear_schedule(arguments, name):
    with pytest.raises(ValueError, match=f"`{name}`"):
        NoiseSchedule.linear(*arguments)


def test_forward_process_iterates_to_the_closed_form(key):
    """The chain x_t = sqrt(1-beta_t) x_(t-1) + sqrt(beta_t) eps_t has the stated moments."""
    schedule = NoiseSchedule.linear(30, 1e-3, 0.2)
    clean = np.array([2.0, -1.0, 0.5], np.float32)
    count = 20_000
    noises = np.asarray(jax.random.normal(key, (schedule.steps, count, 3)))
    x = np.broadcast_to(clean, (count, 3))
    for beta, noise in zip(schedule.beta, noises, strict=True):
        x = np.sqrt(1 - beta) * x + np.sqrt(beta) * noise
    centre = np.asarray(forward_process(jnp.asarray(clean), jnp.zeros(3), schedule.alpha_bar[-1]))
    assert_agrees(x, centre)
    spread = np.asarray(forward_process(jnp.zeros(3), jnp.ones(3), schedule.alpha_bar[-1]))
    assert np.all(np.abs(x.std(axis=0) / spread - 1) < 5 / np.sqrt(2 * count))


def test_forward_process_broadcasts_and_keeps_the_dtype(key):
    clean, noise = jax.random.normal(key, (2, 4, 3))
    levels = np.array([0.1, 0.5, 0.9, 0.99])[:, None]
    noisy = forward_process(clean, noise, levels)
    assert noisy.dtype == jnp.float32
    expected = np.sqrt(levels) * np.asarray(clean) + np.sqrt(1 - levels) * np.asarray(noise)
    np.testing.assert_allclose(noisy, expected, rtol=2e-6, atol=1e-6)
    jitted = jax.jit(forward_process)(clean, noise, jnp.asarray(levels, jnp.float32))
    np.testing.assert_allclose(jitted, expected, rtol=1e-5, atol=1e-5)


def test_forward_process_keeps_small_noise_in_single_precision():
    """1 - alpha_bar must not cancel: at alpha_bar = 1 - 1e-6 it would be off by 3 %."""
    noisy = forward_process(jnp.zeros(2), jnp.ones(2), 1 - 1e-6)
    np.testing.assert_allclose(noisy, 1e-3, rtol=1e-6)


def test_forward_process_in_double_precision():
    with jax.enable_x64(True):
        noisy = forward_process(jnp.full(2, 3.0), jnp.ones(2), 0.3)
        assert noisy.dtype == jnp.float64
        np.testing.assert_allclose(noisy, np.sqrt(0.3) * 3 + np.sqrt(0.7), rtol=1e-15)


def test_one_level_per_sample_goes_along_samples():
    """Eight samples of eight pixels: both axes would take the eight levels."""
    levels, ones = np.linspace(0.1, 0.9, 8), jnp.ones((8, 8))
    noisy = np.asarray(forward_process(jnp.zeros((8, 8)), ones, levels))
    np.testing.assert_allclose(noisy, np.tile(np.sqrt(1 - levels)[:, None], 8), rtol=1e-6)
    ones = jnp.ones((3, 4, 4, 1))
    images = np.asarray(forward_process(jnp.zeros((3, 4, 4, 1)), ones, levels[:3]))
    np.testing.assert_allclose(images[:, 2, 1, 0], np.sqrt(1 - levels[:3]), rtol=1e-6)
    narrow = jnp.asarray(levels, jnp.float32)
    traced = jax.jit(forward_process)(jnp.zeros((8, 8)), jnp.ones((8, 8)), narrow)
    np.testing.assert_allclose(traced, noisy, rtol=1e-5)


ONE_LEVEL = r"`alpha_bar` must be one level, or one for each sample of `clean`, shape \(4,\)"


@pytest.mark.parametrize(
    ("level", "message"),
    [
        (np.full(8, 0.5), rf"{ONE_LEVEL}, but got shape \(8,\)"),
        (np.full((4, 1, 1), 0.5), ONE_LEVEL),
        (np.full((2, 1), 0.5), ONE_LEVEL),
        (1.5, r"`alpha_bar` must lie in \[0, 1\]"),
        (0.5 + 0j, "`alpha_bar` must be real"),
        (np.ma.array([0.5] * 4, mask=[1, 0, 0, 0]), "`alpha_bar` must have no masked"),
    ],
)
def test_forward_process_refuses_levels(level, message):
    with pytest.raises(ValueError, match=message):
        forward_process(jnp.zeros((4, 8)), jnp.ones((4, 8)), level)


def test_forward_process_refuses_other_arrays():
    with pytest.raises(
        ValueError, match=r"`noise` must be real and have the shape of `clean`, \(4, 8\)"
    ):
        forward_process(jnp.zeros((4, 8)), jnp.ones(8), 0.5)
    with pytest.raises(ValueError, match="`clean` must be floating point"):
        forward_process(jnp.zeros(4, jnp.uint8), jnp.ones(4), 0.5)


def test_levels_known_otherwise_become_alpha_bar():
    times, ratios = np.array([0.0, 1e-9, 0.3, 20.0]), np.array([[0.0, 1e-9], [1.0, 1e9]])
    np.testing.assert_allclose(alpha_bar_at_time(times), np.exp(-2 * times), rtol=1e-15)
    found = alpha_bar_of_noise_to_signal(ratios)
    np.testing.assert_allclose(found, 1 / (1 + ratios), rtol=1e-15)
    again = found[1:]
    np.testing.assert_allclose((1 - again) / again, ratios[1:], rtol=1e-7)
    assert np.ndim(alpha_bar_at_time(0.3)) == np.ndim(alpha_bar_of_noise_to_signal(2)) == 0


@pytest.mark.parametrize("convert", [alpha_bar_at_time, alpha_bar_of_noise_to_signal])
def test_conversions_of_levels_differentiate_and_map(convert):
    with jax.enable_x64(True):
        x = jnp.array([0.1, 0.7], jnp.float64)
        np.testing.assert_allclose(jax.jit(convert)(x), convert(np.array(x)), rtol=1e-14)
        slope = jax.vmap(jax.grad(convert))(x)
        step = 1e-6
        quotient = (convert(np.array(x) + step) - convert(np.array(x) - step)) / (2 * step)
        np.testing.assert_allclose(slope, quotient, rtol=1e-8)


@pytest.mark.parametrize(
    ("convert", "name"), [(alpha_bar_at_time, "time"), (alpha_bar_of_noise_to_signal, "ratio")]
)
@pytest.mark.parametrize("value", [-0.1, np.nan, "a", [0.1, -1.0]])
def test_what_is_no_level_is_refused(convert, name, value):
    with pytest.raises(ValueError, match=f"`{name}` must"):
        convert(value)


def test_a_schedule_of_given_levels():
    known = NoiseSchedule.linear(60, 1e-3, 0.2)
    again = NoiseSchedule.of_alpha_bar(known.alpha_bar)
    np.testing.assert_allclose(again.beta, known.beta, rtol=1e-12)
    np.testing.assert_allclose(again.alpha_bar, known.alpha_bar, rtol=1e-13)
    times = np.linspace(0.05, 2.0, 40)
    np.testing.assert_allclose(
        NoiseSchedule.of_alpha_bar(alpha_bar_at_time(times)).alpha_bar, np.exp(-2 * times)
    )


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ([], "at least one level"),
        ([0.9, 0.9], "fall from step to step"),
        ([0.5, 0.8], "fall from step to step"),
        ([1.0, 0.5], "strictly between 0 and 1, but got 1.0"),
        ([0.5, 0.0], "strictly between 0 and 1, but got 0.0"),
        ([[0.5]], "1 dimension"),
        ([np.nan], "finite"),
    ],
)
def test_bad_levels_of_a_schedule(levels, message):
    with pytest.raises(ValueError, match=f"`alpha_bar` must .*{message}"):
        NoiseSchedule.of_alpha_bar(levels)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.2, 1.5, np.nan])
def test_bad_noise_levels(level):
    with pytest.raises(ValueError, match="`alpha_bar` must"):
        noise_levels([0.5, level])


@pytest.mark.parametrize(
    ("levels", "dtype", "message"),
    [
        ([], np.float32, "`alpha_bar` must hold at least one level"),
        ([0.5, 1e-40], np.float32, "`alpha_bar` must leave .* at least 1.18e-38 in float32"),
        ([1 - 1e-9], np.float16, "`alpha_bar` must leave .* in float16"),
        ([0.5], np.int32, "`dtype` must be floating point"),
        ([0.5], np.complex64, "`dtype` must be floating point"),
    ],
)
def test_levels_that_their_type_does_not_hold(levels, dtype, message):
    """A power of zero would be NaN in what denoises."""
    with pytest.raises(ValueError, match=message):
        noise_levels(levels, dtype)


@pytest.mark.parametrize("index", [3, -1, [0, 7], 0.5, True])
def test_an_index_of_no_level_is_refused(index):
    """JAX would take the nearest level in silence."""
    levels = noise_levels([0.1, 0.5, 0.9])
    np.testing.assert_array_equal(levels.at([[2], [0]]).signal_power, np.float32([[0.9], [0.1]]))
    assert float(jax.jit(lambda i: levels.at(i).signal_power)(2)) == np.float32(0.9)
    with pytest.raises(ValueError, match="`index` must"):
        levels.at(index)
    with pytest.raises(ValueError, match="`levels` must be several"):
        levels.at(0).at(0)


def test_mixtures_keep_the_type_of_the_images_and_need_noise_for_each():
    clean, levels = jnp.ones((3, 2, 2)), noise_levels([0.1, 0.5, 0.9])
    for dtype in (jnp.bfloat16, jnp.float32):
        assert levels.mix(clean.astype(dtype), clean.astype(dtype)).dtype == dtype
    with jax.enable_x64(True):
        wide = jnp.ones((3, 2), jnp.float64)
        assert levels.mix(wide, wide).dtype == np.float64
        fine = noise_levels([1e-12, 0.5, 0.9], np.float64).mix(wide, wide)
        np.testing.assert_allclose(fine[0], 1e-6 + (1 - 1e-12) ** 0.5, rtol=1e-15)
    with pytest.raises(ValueError, match=r"`noise` must have the shape of `clean`, \(3, 2, 2\)"):
        levels.mix(clean, clean[:1])
