"""Looking for edits costs a small part of the shortest call."""

import functools
import operator
import time

import jax.numpy as jnp
import pytest

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser
from fourier_simplicity import FourierInputs, quartet
from fourier_simplicity.simulation import network_problem
from learning_dynamics.identity.session import notice_edits


def watch(overlaps):
    return overlaps.signal[0, 0]


def stops(overlaps):
    return jnp.abs(overlaps.signal[0, 0])


PROBLEMS = {
    "pairs": lambda: ld.Problem(MixedCumulant(covariance=9.0), TiedDenoiser(sign=-1), 0.2),
    "Fourier": lambda: network_problem(
        FourierInputs(18, quartet(1, 4, 2)), 3, "relu", learning_rate=0.1
    ),
}


def seconds_of(work):
    start = time.thread_time()
    work()
    return time.thread_time() - start


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_call_looks_for_edits_in_about_a_millisecond(name):
    """Half a millisecond on a quiet core, up to a whole one where others share its caches.

    Measured beside it: Python adds 50,000 numbers in two.
    """
    problem = PROBLEMS[name]()
    things = (ld.simulate, problem, {"m": watch}, ld.Stop(stops, 0.5))
    notice_edits(*things)
    looks, sums = [], []
    for _ in range(100):
        looks.append(seconds_of(lambda: notice_edits(*things)))
        sums.append(seconds_of(lambda: functools.reduce(operator.add, range(50_000))))
    assert min(looks) < min(sums)
