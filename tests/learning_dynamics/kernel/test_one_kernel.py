"""Updates in one kernel: the runs are those without it, and every operation is the right one."""

from contextlib import contextmanager

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy import special

import learning_dynamics as ld
from learning_dynamics.process import motion, one_kernel
from learning_dynamics.process import simulate as simulation
from learning_dynamics.process.entries import (
    UnsupportedError,
    Wide,
    entries_of,
    is_narrow,
    pieces,
)
from learning_dynamics.process.entrywise import ELEMENTWISE, OWN, evaluate
from learning_dynamics.process.layout import layout_of
from learning_dynamics.process.one_kernel import Registers, registers_of
from learning_dynamics.process.pace import Pace, pace_of
from tests.learning_dynamics.kernel.models import Bands, Committee, Denoiser, Spike, Teacher

KEY = jax.random.key(5)
N, LANES = 90, 32  # one piece is filled up with zeros
IN_KERNEL = Pace(5, 4, True, 2, True, Registers(LANES, 1))
PLAIN = Pace(5, 4)


@contextmanager
def calls_of_the_kernel(monkeypatch):
    """Calls that ended; kernels are interpreted on a CPU."""
    ended = []

    def noted(*arguments, **options):
        result = one_kernel.advance_in_registers(*arguments, **options)
        ended.append(options["interpret"])
        return result

    with monkeypatch.context() as patch:
        patch.setattr(motion, "advance_in_registers", noted)
        patch.setattr(simulation, "kernels_run", lambda device: True)
        patch.setattr(simulation, "pace_of", lambda *_: IN_KERNEL)
        yield ended


def run(problem, **options):
    n = options.get("dimension", N)
    kept = {"dimension": n, "times": [3 / n, 8 / n, 9 / n], "replicas": 5, "key": KEY}
    found = ld.simulate(problem, level="ambient", **{**kept, **options})
    memory = {} if found.memory is None else {"memory": found.memory.norms}
    stopped = {} if found.stopped is None else {"stopped": found.stopped}
    return {**found.values, **memory, **stopped, "last": found.last.norms}


def growing(overlaps):
    return jnp.abs(overlaps.signal[0, 0])


TEACHER = Teacher((1.0, -0.5))
BANDS = Bands((1.0,), shares=(0.5, 0.5), variances=(1.3, 0.7))
RUNS = {
    "committee": (ld.Problem(TEACHER, Committee(2), 0.5, batch=2), {}),
    "bands, momentum": (ld.Problem(BANDS, Committee(1), 0.5, momentum=0.5), {"dimension": 180}),
    "heavy ball": (ld.Problem(TEACHER, Committee(1), 0.5, momentum=ld.HeavyBall(2.0)), {}),
    "sphere": (ld.Problem(TEACHER, Committee(2), 0.5, update="spherical"), {}),
    "decay and clip": (ld.Problem(TEACHER, Committee(2), 0.5, weight_decay=0.3, clip=0.2), {}),
    "repeats": (ld.Problem(TEACHER, Committee(1), 0.5, repeats=2), {}),
    "denoiser": (ld.Problem(Spike(), Denoiser(2), 0.5, parameter_rates={"skip": 0.5}), {}),
    "schedule": (ld.Problem(TEACHER, Committee(1), lambda tau: 0.5 / (1 + 9 * tau)), {}),
    "stop": (ld.Problem(TEACHER, Committee(1), 2.0), {"stop": ld.Stop(growing, 0.1)}),
}


@pytest.mark.parametrize(
    "name",
    [name if name == "stop" else pytest.param(name, marks=pytest.mark.slow) for name in RUNS],
)
def test_runs_in_a_kernel_are_those_without(name, monkeypatch):
    """Odd numbers of updates between observations; the same random numbers, other roundings."""
    problem, options = RUNS[name]
    plain = run(problem, **options)
    with calls_of_the_kernel(monkeypatch) as ended:
        found = run(problem, **options)
    assert ended
    for field, value in found.items():
        np.testing.assert_allclose(value, plain[field], rtol=2e-5, atol=2e-6, err_msg=field)
    if name == "stop":
        assert 0 < np.sum(found["stopped"] > 0) < 5


@pytest.mark.slow
def test_what_a_kernel_cannot_do_is_done_without(monkeypatch):
    """The iteration that keeps rows orthonormal is a loop."""
    problem = ld.Problem(TEACHER, Committee(2), 0.5, update="orthogonal")
    with calls_of_the_kernel(monkeypatch) as ended:
        found = run(problem)
    assert not ended
    for field, value in run(problem).items():
        np.testing.assert_allclose(value, found[field], rtol=1e-5, atol=1e-6)


# ----------------------------------------------------------------------- operations, one by one

LONG = 70  # three pieces of 32, the last one with 26 lanes of padding


def taken_apart(array):
    array = jnp.asarray(array)
    if is_narrow(array.shape):
        return entries_of(array.shape, lambda index: array[index])
    shape = (*array.shape[:-1], pieces(array.shape[-1], LANES))
    filled = jnp.full((*array.shape[:-1], shape[-1] * LANES), np.nan, array.dtype)
    filled = filled.at[..., : array.shape[-1]].set(array)
    cut = filled.reshape(*shape, LANES)
    return Wide(entries_of(shape, lambda index: cut[index]), array.shape[-1], LANES)


def put_together(array):
    if not isinstance(array, Wide):
        return np.array([np.asarray(x) for x in array.ravel()]).reshape(array.shape)
    parts = [np.broadcast_to(np.asarray(part), LANES) for part in array.parts.ravel()]
    whole = np.stack(parts).reshape(*array.parts.shape[:-1], -1) if parts else np.zeros(0)
    return whole[..., : array.length]


def numbers(*shape):
    return jax.random.normal(jax.random.fold_in(KEY, sum(shape)), shape)


def polynomial(x, coefficients):
    if hasattr(lax, "polynomial"):  # in JAX from 0.12 on
        return lax.polynomial(x, coefficients)
    return sum(a * x**k for k, a in enumerate(coefficients))


FUNCTIONS = {
    "sums": (lambda x: (x.sum(0), x.sum(1), x.sum()), numbers(2, LONG)),
    "short sums": (lambda x: (x.sum(0), x.prod(1), x.max(), x.min(0)), numbers(2, 3)),
    "inner": (lambda x, y: jnp.einsum("kw,mw->km", x, y), numbers(2, LONG), numbers(3, LONG)),
    "batched": (lambda x, y: jnp.einsum("bkw,bmw->bkm", x, y), numbers(2, 3, LONG),
                numbers(2, 1, LONG)),
    "transposed": (lambda x, y: (jnp.matmul(x, y.T), x.T.T, jnp.matmul(y, x.T)),
                   numbers(2, LONG), numbers(3, LONG)),
    "traces": (lambda x, y: jnp.einsum("bkw,bmw->km", x, y), numbers(2, 3, LONG),
               numbers(2, 1, LONG)),
    "rows": (lambda a, x: a @ x, numbers(3, 2), numbers(2, LONG)),
    "matrices": (lambda a, b: jnp.einsum("kab,kbc->kac", a, b), numbers(2, 3, 2), numbers(2, 2, 4)),
    "outer": (lambda a, x: a[:, None] * x[None] + 1, numbers(3), numbers(LONG)),
    "constants": (lambda x: jnp.sum(x * 0 + jnp.ones(x.shape), axis=-1), numbers(2, LONG)),
    "select": (lambda x, a: jnp.where(a[0] > 0, x, -x) / jnp.where(x > 0, x, 2.0),
               numbers(2, LONG), numbers(2)),
    "order": (lambda x: (x.transpose(1, 0, 2), x.reshape(6, LONG), x[1:, :2], x[0]),
              numbers(2, 3, LONG)),
    "short order": (lambda a: (a.T, a.reshape(6), a[1:, ::2], a[0, 1], a[::-1], jnp.eye(3) @ a.T),
                    numbers(2, 3)),
    "stacked": (lambda x: (jnp.stack([x[0], x[1]], 1), jnp.unstack(x), jnp.unstack(x, axis=1)),
                numbers(2, 3, LONG)),
    "short stacked": (lambda a: (jnp.unstack(a, axis=1), jnp.cumsum(a, 1), lax.cumsum(a, 0, True)),
                      numbers(2, 3)),
    "joined": (lambda x, y: jnp.concatenate([x, y]), numbers(2, LONG), numbers(1, LONG)),
    "short joined": (lambda a: (jnp.concatenate([a, 2 * a], 1), jnp.stack([a, a]), jnp.pad(a, 1)),
                     numbers(2, 3)),
    "gradient": (jax.grad(lambda a: jnp.sum(jnp.tanh(a[0, 1]) * a[1]) + jnp.prod(a[:, 0])),
                 numbers(2, 3)),
    "erf": (lambda a: (jax.scipy.special.erf(a), jax.nn.softmax(a), jax.nn.gelu(a)), numbers(2, 3)),
    "polynomial": (lambda a: polynomial(a, (0.5, -1.0, 2.0, 3.0)), numbers(2, 3)),
    "whole numbers": (lambda n: (n // 2, n % 3, n + jnp.arange(3, dtype=jnp.int32)),
                      jnp.array([4, 5, 7], jnp.int32)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_entrywise_arithmetic(name):
    """Padding holds NaN: nothing may read it."""
    function, *arguments = FUNCTIONS[name]
    closed = jax.make_jaxpr(lambda *a: jax.tree.leaves(function(*a)))(*arguments)
    consts = [taken_apart(c) for c in closed.consts]
    found = evaluate(closed.jaxpr, consts, [taken_apart(a) for a in arguments], LANES)
    with jax.default_matmul_precision("highest"):
        expected = jax.tree.leaves(function(*arguments))
    for one, other in zip(found, expected, strict=True):
        assert put_together(one).shape == other.shape
        np.testing.assert_allclose(put_together(one), other, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (jnp.sort, numbers(3)),
        (lambda x: 2 * x.T, numbers(2, LONG)),
        (lambda x: x.T, numbers(LONG)[None, :, None] * jnp.ones((1, 1, 80))),
        (lambda x: x.max(), numbers(LONG)),
        (lambda x: x[1:], numbers(LONG)),
        (lambda x: x.T @ jnp.ones((2, 2)), numbers(2, LONG)),
        (lambda x: lax.fori_loop(0, 3, lambda _, y: 2 * y, x), numbers(2)),
        (lambda x: jnp.outer(x, x), numbers(LONG)),
    ],
    ids=["sort", "transpose", "two", "largest", "part", "middle", "loop", "square"],
)
def test_operations_that_are_refused(function, argument):
    closed = jax.make_jaxpr(function)(argument)
    with pytest.raises(UnsupportedError):
        evaluate(closed.jaxpr, [], [taken_apart(argument)], LANES)


def test_erf_is_that_of_scipy():
    x = np.concatenate([np.linspace(-5, 5, 50), 10.0 ** -np.arange(1, 9), [0.0]]).astype(np.float32)
    closed = jax.make_jaxpr(lax.erf)(x)
    (found,) = evaluate(closed.jaxpr, [], [taken_apart(x[:64])], LANES)
    exact = special.erf(x[:64].astype(np.float64))
    np.testing.assert_allclose(put_together(found), exact, rtol=5e-7, atol=1e-12)


def test_operations_have_kernels():
    """All of them are known to the compiler of kernels, which needs no device to say so."""
    from jax._src.pallas.triton import lowering

    known = {primitive.name for primitive in lowering.triton_lowering_rules}
    later = {"log2", "one_minus_square"}  # than the lowest version of JAX
    assert ELEMENTWISE - known <= {"add_any", *OWN} | later


# ------------------------------------------------------------------------------- layout, memory


def test_weights_in_registers():
    def layout(units, dimension, **options):
        return layout_of(ld.Problem(TEACHER, Committee(units), 0.5, **options), dimension,
                         options.pop("level", "ambient"))  # fmt: skip

    small, large = (registers_of(layout(2, n)) for n in (1000, 10_000))
    assert 3 < 998 / small.lanes <= 6
    assert 3 < 9998 / large.lanes <= 6
    for found in (small, large):
        assert found.lanes & (found.lanes - 1) == 0
        assert found.lanes >= 32 * found.warps
    assert registers_of(layout(4, 10_000)) is None  # no room
    assert registers_of(layout(2, 10_000, batch=4)) is None
    assert registers_of(layout(2, 100, batch=24)) is None  # too many pieces
    assert registers_of(layout(2, 40)) is None
    overlaps = layout_of(ld.Problem(TEACHER, Committee(2), 0.5), 1000, "overlaps")
    assert registers_of(overlaps) is None
    assert pace_of(layout(2, 1000), "gpu", 100).registers == small
    assert pace_of(layout(2, 1000), "cpu", 100).registers is None


def test_no_kernels_on_a_cpu():
    assert not one_kernel.kernels_run(jax.devices("cpu")[0])
