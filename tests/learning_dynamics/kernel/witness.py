"""Witnesses that share no code with the kernel: closed forms, and SGD on the weights."""

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np


def committee_rates(m, q, v, amplitudes, lr, lr2, noise):
    """Saad and Solla (1995), Goldt et al. (2019): d(R, Q, v)/d alpha for erf(x / sqrt 2) units."""
    K, M = m.shape
    cov = np.block([[q, m], [m.T, np.eye(M)]])
    weight = np.concatenate([v, -np.asarray(amplitudes)])  # student minus teacher
    pi = np.pi

    def i2(a, b):
        return 2 / pi * np.arcsin(cov[a, b] / np.sqrt((1 + cov[a, a]) * (1 + cov[b, b])))

    def j2(a, b):
        det = 1 + cov[a, a] + cov[b, b] - cov[a, b] ** 2 + cov[a, a] * cov[b, b]
        return 2 / pi / np.sqrt(det)

    def i3(a, b, c):
        lam = (1 + cov[a, a]) * (1 + cov[c, c]) - cov[a, c] ** 2
        top = cov[b, c] * (1 + cov[a, a]) - cov[a, b] * cov[a, c]
        return 2 / pi / np.sqrt(lam) * top / (1 + cov[a, a])

    def i4(a, b, c, d):
        c11, c22, c33, c44 = (cov[x, x] for x in (a, b, c, d))
        c12, c13, c14 = cov[a, b], cov[a, c], cov[a, d]
        c23, c24, c34 = cov[b, c], cov[b, d], cov[c, d]
        l4 = (1 + c11) * (1 + c22) - c12**2
        l0 = l4 * c34 - c23 * c24 * (1 + c11) - c13 * c14 * (1 + c22)
        l0 += c12 * c13 * c24 + c12 * c14 * c23
        l1 = l4 * (1 + c33) - c23**2 * (1 + c11) - c13**2 * (1 + c22) + 2 * c12 * c13 * c23
        l2 = l4 * (1 + c44) - c24**2 * (1 + c11) - c14**2 * (1 + c22) + 2 * c12 * c14 * c24
        return 4 / pi**2 / np.sqrt(l4) * np.arcsin(l0 / np.sqrt(l1 * l2))

    everyone = range(K + M)
    d_m, d_q, d_v = np.zeros((K, M)), np.zeros((K, K)), np.zeros(K)
    for i, n in product(range(K), range(M)):
        d_m[i, n] = -lr * v[i] * sum(weight[j] * i3(i, K + n, j) for j in everyone)
    for i, k in product(range(K), range(K)):
        d_q[i, k] -= lr * v[i] * sum(weight[j] * i3(i, k, j) for j in everyone)
        d_q[i, k] -= lr * v[k] * sum(weight[j] * i3(k, i, j) for j in everyone)
        pairs = product(everyone, everyone)
        second = sum(weight[a] * weight[b] * i4(i, k, a, b) for a, b in pairs)
        d_q[i, k] += lr**2 * v[i] * v[k] * (second + noise**2 * j2(i, k))
    for i in range(K):
        d_v[i] = -lr2 * sum(weight[j] * i2(i, j) for j in everyone)
    return d_m, d_q, d_v


def weight_space_sgd(network_loss, sample, update, rates, batch=1, decay=0.0):
    """SGD on the weights themselves: `network_loss(w, parameters, vectors, label)` by autodiff.

    Returns a function (weights, parameters, key, steps) -> (weights, parameters).
    """
    eta, parameter_rates = rates

    def mean_loss(w, parameters, vectors, label):
        return jnp.mean(jax.vmap(network_loss, (None, None, 0, 0))(w, parameters, vectors, label))

    def step(carry, key):
        w, parameters = carry
        dimension = w.shape[1]
        vectors, label = jax.vmap(sample)(jax.random.split(key, batch))
        slope, slopes = jax.grad(mean_loss, (0, 1))(w, parameters, vectors, label)
        slope = slope + decay * w
        if update == "spherical":
            slope = slope - jnp.sum(slope * w, axis=1, keepdims=True) * w
        w = w - (eta / dimension) * slope
        if update != "plain":
            w = w / jnp.linalg.norm(w, axis=1, keepdims=True)
        moved = {
            name: value - parameter_rates.get(name, 0.0) * slopes[name]
            for name, value in parameters.items()
        }
        return (w, moved), None

    def run(w, parameters, key, steps):
        return jax.lax.scan(step, (w, parameters), jax.random.split(key, steps))[0]

    return run
