"""Numeric checks of a limit: least squares learnt by gradient steps on random inputs."""

# %%
import numpy as np

from learning_dynamics.testing import assert_agrees, assert_order, must_fail

RATE, TIME = 0.5, 2.0
LIMIT = np.exp(-(2 * RATE - RATE**2) * TIME)


def errors(N, replicas, seed):  # squared error of the weights after TIME N steps
    rng, wrong = np.random.default_rng(seed), np.ones(replicas)
    for _ in range(int(TIME * N)):
        along, across = rng.normal(size=replicas), rng.chisquare(N - 1, size=replicas)
        step = RATE / N * (along**2 + across)  # times the squared length of the input
        wrong = wrong * (1 - RATE / N * along**2 * (2 - step))
    return wrong


# %% The limit within its error and 1/N; a limit without the noise of the steps must fail
def test_limit():
    seen = errors(400, 2000, seed=0)
    assert_agrees(seen, LIMIT, bias=1 / 400, order="1/N", resolution=0.002)
    with must_fail():
        assert_agrees(seen, np.exp(-2 * RATE * TIME), bias=1 / 400, resolution=0.002)


# %% The mean is known at every N: its distance from the limit falls as 1/N
def test_order_in_the_size():
    sizes = np.array([50, 100, 200, 400])
    keep = 1 - 2 * RATE / sizes + (RATE / sizes) ** 2 * (sizes + 2)
    gaps = keep ** (TIME * sizes) - LIMIT
    print(f"order in 1/N: {assert_order(1 / sizes, gaps, 1):.3f}")


test_limit()
test_order_in_the_size()
