"""Programs of the limit call nothing on the host: JAX keeps no others between processes."""

import diffrax
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np

import learning_dynamics as ld
from learning_dynamics.limit import ode
from tests.learning_dynamics.kernel.models import Committee, Teacher

START = ld.order_parameters([[0.3]], [[1.0]])
TIMES = jnp.array([0.5, 1.0])


def decay(solve, rate):
    return solve(
        diffrax.ODETerm(lambda t, y, _: -rate * y), diffrax.Tsit5(), t0=0.0, t1=TIMES[-1], dt0=0.1,
        y0=jnp.ones(()), saveat=diffrax.SaveAt(ts=TIMES),
        stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-6),
    )  # fmt: skip


def test_the_limit_calls_nothing_on_the_host():
    def ends(rate):
        problem = ld.Problem(Teacher(np.array([1.0])), Committee(1), rate)
        limit = ld.integrate(problem, times=[1.0], start=START, finite_size=False, points=64)
        return limit.values["norms"]

    with jax.enable_x64(True):
        assert "callback" not in str(jax.make_jaxpr(ends)(0.5))


def test_the_same_solution_as_with_the_checks_which_come_back():
    check = eqxi.error_if
    with jax.enable_x64(True):
        assert "callback" in str(jax.make_jaxpr(lambda r: decay(diffrax.diffeqsolve, r).ys)(1.0))
        assert "callback" not in str(jax.make_jaxpr(lambda r: decay(ode.solve, r).ys)(1.0))
        np.testing.assert_array_equal(decay(ode.solve, 1.0).ys, decay(diffrax.diffeqsolve, 1.0).ys)
    assert eqxi.error_if is check
