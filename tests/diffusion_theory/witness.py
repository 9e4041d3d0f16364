"""The model written down a second time, in d dimensions with NumPy."""

import jax
import jax.numpy as jnp
import numpy as np


def draw_pair(pair, count, seed):
    """Lambda and nu from the package's laws, as float64 arrays."""
    variables = pair.latents()
    keys = jax.random.split(jax.random.key(seed), len(variables))
    drawn = {
        name: latent.draw(key, (count,), jnp.float32)
        for (name, latent), key in zip(variables.items(), keys, strict=True)
    }
    return tuple(np.asarray(x, np.float64) for x in pair.pair(drawn))


def noisy_samples(strengths, pair, directions, alpha_bar, rng):
    """x, z and x0 of shape (samples, d); rows u, v, m of `directions` in the order given.

    strengths: beta_u, beta_v, beta_m with None for a spike left out.
    """
    lam, nu = pair
    d = directions.shape[1]
    beta_u, beta_v, beta_m = strengths
    rows = iter(directions)
    u, v, m = (None if beta is None else next(rows) for beta in strengths)
    x0 = rng.normal(size=(lam.size, d))
    if beta_v is not None and np.isfinite(beta_v):
        x0 = x0 + np.sqrt(beta_v) * nu[:, None] * v
        whiten = np.eye(d) - beta_v / (1 + beta_v + np.sqrt(1 + beta_v)) * np.outer(v, v)
        x0 = x0 @ whiten
    elif beta_v is not None:
        x0 = x0 + (nu - x0 @ v)[:, None] * v
    if beta_u is not None:
        x0 = x0 + np.sqrt(beta_u) * lam[:, None] * u
    if beta_m is not None:
        x0 = x0 + np.sqrt(beta_m) * m
    z = rng.normal(size=x0.shape)
    a = np.sqrt(alpha_bar)
    return a * x0 + np.sqrt(1 - a * a) * z, z, x0
