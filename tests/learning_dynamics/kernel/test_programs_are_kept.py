"""Programs of the limit call nothing on the host: JAX keeps no others between processes."""

import threading

import diffrax
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics.limit import ode
from tests.learning_dynamics.kernel.models import Committee, Teacher

START = ld.order_parameters([[0.3]], [[1.0]])
TIMES = jnp.array([0.5, 1.0])
BACKWARD = diffrax.SaveAt(ts=TIMES[::-1])


def with_checks(field, **options):
    return diffrax.diffeqsolve(diffrax.ODETerm(field), diffrax.Tsit5(), **options)


def decay(solve, rate, saveat=None):
    return solve(
        lambda t, y, _: -rate * y, t0=0.0, t1=TIMES[-1], dt0=0.1, y0=jnp.ones(()),
        saveat=saveat or diffrax.SaveAt(ts=TIMES),
        stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-6),
    )  # fmt: skip


def test_the_limit_calls_nothing_on_the_host():
    def ends(rate):
        problem = ld.Problem(Teacher(np.array([1.0])), Committee(1), rate)
        limit = ld.integrate(problem, times=[1.0], start=START, finite_size=False, points=64)
        return limit.values["norms"]

    with jax.enable_x64(True):
        assert "callback" not in str(jax.make_jaxpr(ends)(0.5))


@pytest.mark.slow
def test_the_same_solution_as_with_the_checks_which_come_back():
    check = eqxi.error_if
    with jax.enable_x64(True):
        assert "callback" in str(jax.make_jaxpr(lambda r: decay(with_checks, r).ys)(1.0))
        assert "callback" not in str(jax.make_jaxpr(lambda r: decay(ode.solve, r).ys)(1.0))
        np.testing.assert_array_equal(decay(ode.solve, 1.0).ys, decay(with_checks, 1.0).ys)
    assert eqxi.error_if is check


def test_other_threads_keep_their_checks():
    """A program of diffrax that another thread traces meanwhile."""
    found = []

    def refused():
        with pytest.raises(eqx.EquinoxRuntimeError, match="increasing"):
            decay(with_checks, 1.0, BACKWARD)
        found.append(True)

    def field(t, y, _):
        if not found:
            other = threading.Thread(target=refused)
            other.start()
            other.join()
        return -y

    jax.make_jaxpr(lambda y: ode.solve(field, t0=0.0, t1=1.0, dt0=0.1, y0=y).ys)(1.0)
    assert found
    refused()


@pytest.mark.slow
def test_a_field_that_solves_an_equation_keeps_its_checks():
    def field(t, y, _):
        return -y * decay(with_checks, 1.0, BACKWARD).ys[0]

    program = jax.make_jaxpr(lambda y: ode.solve(field, t0=0.0, t1=1.0, dt0=0.1, y0=y).ys)(1.0)
    assert "callback" in str(program)


def test_two_threads_at_once_leave_the_checks_in_place():
    check = eqxi.error_if
    inside, go = threading.Barrier(2), threading.Event()

    def run(first):
        met = []

        def field(t, y, _):
            if not met:
                met.append(inside.wait(60))
                assert first or go.wait(60)
            return -y

        solution = ode.solve(field, t0=0.0, t1=1.0, dt0=0.1, y0=jnp.ones(()))
        values.append(float(solution.ys[0]))
        go.set()  # the one that began first may end first

    values = []
    threads = [threading.Thread(target=run, args=(first,)) for first in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_allclose(values, np.exp(-1), rtol=1e-5)
    assert eqxi.error_if is check
