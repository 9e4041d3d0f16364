"""The kernel: simulation beside hand-written loops, overlaps beside ambient, the limit's solver.

Run as `python -m benchmarks.kernel`. One erf committee (K = 2, one teacher direction, plain online
SGD, float32, CPU). PyTorch and numba are optional: without them their columns stay empty. All run
on one thread; rates are replica-updates per second, so a ratio above one means that ours is faster.
Pin it to one core (`taskset -c 0`): seconds are then processor time, and other programs on the
machine disturb them little.
"""

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf

import learning_dynamics as ld
from benchmarks.harness import environment, first_call, interleave, show, write
from learning_dynamics import random
from learning_dynamics.process.layout import layout_of
from learning_dynamics.process.pace import pace_of

try:
    import torch
except ImportError:
    torch = None
try:
    import numba
except ImportError:
    numba = None

RUNS = 5
RATE = 0.5
KEY = jax.random.key(1)
Row = dict[str, Any]


@ld.configuration
class Teacher(ld.InputModel):
    """One erf teacher on Gaussian inputs."""

    @property
    def directions(self) -> int:
        """One."""
        return 1

    def latents(self) -> dict[str, Any]:
        """The teacher's field."""
        return {"x": ld.Normal((1,))}

    def signal(self, latents: Any) -> tuple[jax.Array, jax.Array]:
        """The field, and the teacher's output."""
        x = latents["x"]
        return x[None], erf(x[0] / 2.0**0.5)


@ld.configuration
class Committee(ld.Learner):
    """Erf units with unit second layer and squared loss."""

    units: int = ld.static(default=2)

    @property
    def neurons(self) -> int:
        """Units."""
        return self.units

    def loss(self, fields: Any, norms: Any, parameters: Any, sample: Any) -> jax.Array:
        """Half the squared error."""
        return (jnp.sum(erf(fields[:, 0] / 2.0**0.5)) - sample.label) ** 2 / 2


PROBLEM = ld.Problem(Teacher(), Committee(), RATE)


def power_of_two(limit: int) -> int:
    """The largest power of two below or equal to the limit, at least one."""
    return 1 << max(limit, 1).bit_length() - 1


def ours(dimension: int, replicas: int, steps: int, level: str = "ambient") -> Callable[[], Any]:
    """A whole call of `ld.simulate`, compiled before it is timed."""

    def run() -> Any:
        return ld.simulate(
            PROBLEM, dimension=dimension, times=[steps / dimension], replicas=replicas, key=KEY,
            level=level, devices=jax.local_devices()[:1],
        ).values["norms"]  # fmt: skip

    return run


def torch_batched(dimension: int, replicas: int, steps: int) -> Callable[[], Any]:
    """Batched matrix products over replicas, inputs drawn in chunks of about 512 kB."""
    chunk = min(steps, power_of_two(2**17 // (dimension * replicas)))
    root, slope = 2.0**0.5, (2 / np.pi) ** 0.5

    def run() -> Any:
        with torch.no_grad():
            w = torch.randn(replicas, 2, dimension) / dimension**0.5
            for _ in range(steps // chunk):
                inputs = torch.randn(chunk, replicas, dimension)
                for x in inputs:
                    fields = torch.bmm(w, x[:, :, None])[:, :, 0]
                    error = torch.erf(fields / root).sum(1) - torch.erf(x[:, 0] / root)
                    a = error[:, None] * torch.exp(-fields * fields / 2) * slope
                    w.baddbmm_(a[:, :, None], x[:, None, :], alpha=-RATE / dimension)
            return w.numpy()

    return run


def numba_loop(dimension: int, replicas: int, steps: int) -> Callable[[], Any]:
    """Compiled loops over chunks of `torch.randn`, one replica after the other."""
    chunk = min(steps, power_of_two(2**15 // dimension))
    train = _numba_chunk()

    def run() -> Any:
        for _ in range(replicas):
            w = (torch.randn(2, dimension) / dimension**0.5).numpy()
            for _ in range(steps // chunk):
                train(w, torch.randn(chunk, dimension).numpy(), RATE / dimension)
        return w

    return run


def _numba_chunk() -> Callable[..., None]:
    from math import erf as scalar_erf
    from math import exp

    @numba.njit(fastmath=True)
    def train(w: Any, inputs: Any, rate: float) -> None:
        neurons, dimension = w.shape
        for x in inputs:
            error = -scalar_erf(x[0] / 1.4142135623730951)
            fields = np.zeros(neurons, np.float32)
            for k in range(neurons):
                total = np.float32(0)
                for i in range(dimension):
                    total += w[k, i] * x[i]
                fields[k] = total
                error += scalar_erf(total / 1.4142135623730951)
            for k in range(neurons):
                a = error * exp(-fields[k] * fields[k] / 2) * 0.7978845608028654
                step = np.float32(-rate * a)
                for i in range(dimension):
                    w[k, i] += step * x[i]

    return train


def autograd_loop(dimension: int, replicas: int, steps: int) -> Callable[[], Any]:
    """One `backward()` per sample and replica, as in a plain training script."""
    root = 2.0**0.5

    def run() -> Any:
        for _ in range(replicas):
            w = (torch.randn(2, dimension) / dimension**0.5).requires_grad_()
            optimiser = torch.optim.SGD([w], lr=RATE / dimension)
            for _ in range(steps):
                x = torch.randn(dimension)
                error = torch.erf(w @ x / root).sum() - torch.erf(x[0] / root)
                loss = error * error / 2
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        return w

    return run


def bare_generator(
    dimension: int, replicas: int, steps: int, normal: Callable[..., Any] = random.normal
) -> Callable[[], Any]:
    """The same number of normal variables, drawn in chunks of the same size and added up."""
    layout = layout_of(PROBLEM, dimension, "ambient")
    chunk = pace_of(layout, "cpu", replicas).chunk

    @jax.jit
    def draw(key: jax.Array) -> jax.Array:
        def one(total: jax.Array, index: jax.Array) -> tuple[jax.Array, None]:
            shape = (chunk, dimension)
            return total + normal(jax.random.fold_in(key, index), shape).sum(), None

        return jax.lax.scan(one, jnp.float32(0), jnp.arange(replicas * steps // chunk))[0]

    return lambda: draw(KEY)


def ambient_rows() -> list[Row]:
    """(a) and (c): replica-updates per second, and the share of the bare generator's speed."""
    rows = []
    for dimension in (100, 1000, 10000):
        for replicas in (1, 16, 64):
            work = 2**25 // (dimension * replicas)
            steps = power_of_two(min(2**18, max(256, work)))
            fewer = power_of_two(min(2**13, max(256, work // 8)))
            functions = {"ours": (steps, ours(dimension, replicas, steps))}
            functions["generator"] = (steps, bare_generator(dimension, replicas, steps))
            plain = bare_generator(dimension, replicas, steps, jax.random.normal)
            functions["jax_random"] = (steps, plain)
            if torch is not None:
                functions["torch"] = (fewer, torch_batched(dimension, replicas, fewer))
                if numba is not None:
                    functions["numba"] = (fewer, numba_loop(dimension, replicas, fewer))
            first = {name: first_call(f)[0] for name, (_, f) in functions.items()}
            taken = interleave({name: f for name, (_, f) in functions.items()}, RUNS)
            seconds = {name: taken[name] / (replicas * n) for name, (n, _) in functions.items()}
            row: Row = {"N": dimension, "R": replicas, "updates": steps}
            row |= {f"{name}_per_s": 1 / s for name, s in seconds.items()}
            for name in ("torch", "numba"):
                if name in seconds:
                    row[f"times_{name}"] = seconds[name] / seconds["ours"]
            if torch is not None:
                loop = autograd_loop(dimension, 1, 256)
                slow = interleave({"loop": loop}, 3)["loop"] / 256
                row["times_autograd"] = slow / seconds["ours"]
            row["of_generator"] = seconds["generator"] / seconds["ours"]
            row["of_jax_random"] = seconds["jax_random"] / seconds["ours"]
            row["compile_s"] = first["ours"] - taken["ours"]
            rows.append(row)
    return rows


def overlap_rows() -> list[Row]:
    """(b): cost of the exact overlap process against N, and against ambient (64 replicas)."""
    rows = []
    for dimension in (100, 1000, 10000):
        steps = 2**12
        short = max(256, 2**21 // dimension // 64 * 2)
        functions = {
            "overlaps": ours(dimension, 64, steps, "overlaps"),
            "ambient": ours(dimension, 64, short),
        }
        for function in functions.values():
            first_call(function)
        seconds = interleave(functions, RUNS)
        rate = {"overlaps": 64 * steps / seconds["overlaps"]}
        rate["ambient"] = 64 * short / seconds["ambient"]
        row = {"N": dimension, **{f"{name}_per_s": value for name, value in rate.items()}}
        rows.append({**row, "ratio": rate["overlaps"] / rate["ambient"]})
    return rows


def limit_rows() -> list[Row]:
    """(d): adaptive steps against forward Euler with steps of 0.01, tau up to 10."""
    from learning_dynamics.limit.nodes import device_nodes
    from learning_dynamics.limit.noise import limit_noise
    from learning_dynamics.limit.quadrature import expectation_nodes
    from learning_dynamics.limit.velocity import velocity

    start = ld.order_parameters([[0.3], [0.1]], [[1.0, 0.2], [0.2, 0.8]])
    nodes, _ = expectation_nodes(PROBLEM, points=2**12, method="tensor")
    with jax.enable_x64(True):
        place, problem = limit_noise(PROBLEM, None), PROBLEM.cast(jnp.float64)
        grid, y0 = device_nodes(nodes[0]), jax.tree.map(jnp.asarray, start)

        def field(_: Any, y: Any, __: Any) -> Any:
            return velocity(problem, place, grid, y, frozenset())

        @jax.jit
        def euler(y: Any) -> Any:
            def step(_: Any, y: Any) -> Any:
                return jax.tree.map(lambda a, b: a + 0.01 * b, y, field(None, y, None))

            return jax.lax.fori_loop(0, 1000, step, y)

        def adaptive(tolerance: float) -> Callable[..., Any]:
            def solve(y: Any) -> Any:
                control = diffrax.PIDController(rtol=tolerance, atol=tolerance)
                return diffrax.diffeqsolve(
                    diffrax.ODETerm(field), diffrax.Tsit5(), 0.0, 10.0, 0.01, y,
                    stepsize_controller=control,
                )  # fmt: skip

            return jax.jit(solve)

        def distance(a: Any, b: Any) -> float:
            pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
            return max(float(jnp.max(jnp.abs(x - y))) for x, y in pairs)

        exact = jax.tree.map(lambda a: a[-1], adaptive(1e-11)(y0).ys)
        reached = distance(euler(y0), exact)
        rows = []
        for tolerance in (1e-2, 1e-3, 1e-4, 1e-6, 1e-8):
            solver = adaptive(tolerance)
            last = solver(y0)
            functions = {"adaptive": lambda s=solver: s(y0).ys, "euler": lambda: euler(y0)}
            seconds = interleave(functions, RUNS)
            rows.append(
                {
                    "tolerance": tolerance,
                    "steps": int(last.stats["num_steps"]),
                    "error": distance(jax.tree.map(lambda a: a[-1], last.ys), exact),
                    "euler_error": reached,
                    "seconds": seconds["adaptive"],
                    "euler_seconds": seconds["euler"],
                    "times_euler": seconds["euler"] / seconds["adaptive"],
                }
            )
    return rows


def main() -> None:
    if torch is not None:
        torch.set_num_threads(1)
    print(environment())
    ambient, overlaps, limit = ambient_rows(), overlap_rows(), limit_rows()
    show("ambient: replica-updates per second", ambient)
    show("exact overlap process, 64 replicas", overlaps)
    show("limit up to tau = 10: adaptive steps against forward Euler, dt = 0.01", limit)
    path = write("kernel", ambient, overlaps=overlaps, limit=limit, numba=numba is not None)
    print(f"written to {path}")


if __name__ == "__main__":
    main()
