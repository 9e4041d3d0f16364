"""Linear diffusion models: theory beside Monte Carlo, training and sampling beside plain PyTorch.

Run as `python -m benchmarks.linear_diffusion`, or with the names of some parts. PyTorch is
optional: without it its columns stay empty. Both sides run in float32 on the CPU; PyTorch runs with
one thread or all of them, whichever is faster on the case at hand. A ratio is ours / theirs: below
one, ours is faster.
"""

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import compile_seconds, environment, first_call, interleave, show, write
from learning_dynamics.images import cut_patches, load_bundled
from learning_dynamics.noise_schedule import NoiseSchedule, noise_levels
from learning_dynamics.spectra import power_law
from linear_diffusion import (
    Denoiser,
    LatentLaw,
    denoiser_losses,
    draw,
    draw_modes,
    draw_moments,
    generate,
    generated_moments,
    gradient_descent,
    kl_of_modes,
    losses_of_modes,
    online_sgd,
    optimum,
    theory,
)

try:
    import torch
except ImportError:
    torch = None

RUNS = 5
LEVELS = 100
RIDGE = 0.1
KEY = jax.random.key(1)
Row = dict[str, Any]


# ------------------------------------------------------------------------ theory


def theory_rows() -> list[Row]:
    """Learning curves of 50 sample sizes x 10 ridges at d = 500, and the Monte Carlo they replace.

    Measured: four replicas at five sizes, their seconds (drawing and diagonalising, compiled; the
    cheap evaluation of all ridges is not counted) and the relative spread over replicas.
    Extrapolated: seconds per replica, interpolated linearly in N, summed over the 50 sizes, times
    the replicas that bring the worst standard error of the five sizes and ten ridges to 1 %.
    """
    d, accuracy, replicas = 500, 0.01, 4
    spectrum, ridges = power_law(d, 1.0), np.geomspace(1e-2, 1.0, 10)
    sizes = np.rint(np.geomspace(50, 20_000, 50)).astype(int)
    pilots = sizes[[0, 15, 28, 40, 49]]
    law, level = LatentLaw(spectrum), 0.5
    draws: dict[str, list[np.ndarray]] = {"KL": [], "losses": []}
    seconds = []
    for N in pilots:
        first_call(lambda N=N: draw_modes(law, [N], replicas=replicas, key=KEY))  # compiles
        time, modes = first_call(lambda N=N: draw_modes(law, [N], replicas=replicas, key=KEY))
        seconds.append(time / replicas)
        variance = modes.variance[:, :, None, :] + ridges[:, None]
        draws["KL"].append(kl_of_modes(modes, variance, direction="forward")[:, 0])
        draws["losses"].append(losses_of_modes(modes, ridges, level)[1][:, 0])
    per_grid = float(np.interp(sizes, pilots, seconds).sum())
    curves: dict[str, Callable[[], Any]] = {
        "KL": lambda: theory.kl(spectrum, sizes[:, None], ridges, direction="forward"),
        "losses": lambda: theory.losses(spectrum, sizes[:, None], ridges, 0.5),
    }
    medians = interleave(curves, RUNS)
    rows: list[Row] = []
    for name, found in draws.items():
        values = np.stack(found)  # (sizes, replicas, ridges)
        spread = values.std(axis=1, ddof=1) / np.abs(values.mean(axis=1))
        needed = max(int(np.ceil((spread.max() / accuracy) ** 2)), 1)
        exact = curves[name]()
        exact = (exact if name == "KL" else exact.test).values[[0, 15, 28, 40, 49]]
        rows.append(
            {
                "case": f"theory of {name}, 50 sizes x 10 ridges, d = {d}",
                "ours_seconds": medians[name],
                "theirs": "Monte Carlo to 1 %, extrapolated",
                "theirs_seconds": needed * per_grid,
                "ratio": medians[name] / (needed * per_grid),
                "measured": {
                    "sizes": pilots.tolist(),
                    "replicas_per_size": replicas,
                    "seconds_per_replica": seconds,
                    "largest_relative_spread": float(spread.max()),
                    "largest_deviation_of_theory": float(
                        np.abs(values.mean(axis=1) / exact - 1).max()
                    ),
                },
                "extrapolated": {
                    "replicas_for_one_percent": needed,
                    "seconds_of_one_replica_of_all_sizes": per_grid,
                },
            }
        )
    return rows


# ------------------------------------------------------------------------ beside PyTorch


def beside_torch(
    case: str,
    ours: Callable[[], Any],
    theirs: dict[str, Callable[[], Any]],
    check: Callable[[Any, Any], None],
    runs: int = RUNS,
) -> list[Row]:
    """Time ours and every PyTorch version in turns, after checking that they agree."""
    before = compile_seconds()
    value = first_call(ours)[1]
    compiling = compile_seconds() - before
    contestants: dict[str, Callable[[], Any]] = {"ours": ours}
    threads = {}
    for name, function in theirs.items() if torch is not None else ():
        trials = {}
        for count in sorted({1, torch.get_num_threads()}):
            trials[count], other = first_call(_with_threads(function, count))
            check(value, other)
        threads[name] = min(trials, key=trials.__getitem__)
        contestants[name] = _with_threads(function, threads[name])
    medians = interleave(contestants, runs)
    common = {
        "case": case,
        "ours_seconds": medians["ours"],
        "compile_seconds": compiling,
    }
    if not threads:
        return [{**common, "theirs": "PyTorch is not installed", "theirs_seconds": None}]
    return [
        {
            **common,
            "theirs": f"{name}, {count} thread(s)",
            "theirs_seconds": medians[name],
            "ratio": medians["ours"] / medians[name],
        }
        for name, count in threads.items()
    ]


def _with_threads(function: Callable[[], Any], count: int) -> Callable[[], Any]:
    def run() -> Any:
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            return function()
        finally:
            torch.set_num_threads(before)

    return run


def _agree(ours: Any, theirs: Any) -> None:
    """Stop unless both trained the same weights."""
    ours, theirs = np.asarray(ours).reshape(theirs.shape), theirs.numpy()
    off = np.abs(ours - theirs).max() / np.abs(theirs).max()
    if not off < 1e-4:
        raise RuntimeError(f"the two versions differ by {off:.2g} of the largest weight")


def _covariance(d: int) -> tuple[LatentLaw, jax.Array, jax.Array]:
    law = LatentLaw(power_law(d, 1.0))
    return law, *draw_moments(law, 2 * d, key=KEY, dtype=np.float32)


def descent_rows(d: int, steps: int, runs: int) -> list[Row]:
    """Gradient descent with the noise averaged exactly."""
    _, _, covariance = _covariance(d)
    alpha_bar = np.linspace(0.05, 0.99, LEVELS)
    rate = 0.25 * d / float(jnp.linalg.norm(covariance, 2) + 1)
    h = 2 * rate / d
    plain = np.array(covariance)

    def ours() -> jax.Array:
        return gradient_descent(
            covariance, alpha_bar, learning_rate=rate, steps=[steps], ridge=RIDGE
        )

    def tensors() -> tuple[Any, ...]:
        C = torch.from_numpy(plain)
        a = torch.tensor(alpha_bar, dtype=torch.float32)[:, None, None]
        return C, a, (1 - a).sqrt(), torch.eye(d)

    def dense() -> Any:
        C, a, root, eye = tensors()
        M = a * (C + RIDGE * eye) + (1 - a) * eye
        drive = h * root * eye
        W = torch.zeros(LEVELS, d, d)
        for _ in range(steps):
            W.sub_(torch.bmm(W, M), alpha=h).add_(drive)
        return W

    def autograd() -> Any:
        C, a, root, eye = tensors()
        M = a * (C + RIDGE * eye) + (1 - a) * eye
        W = torch.zeros(LEVELS, d, d, requires_grad=True)
        for _ in range(steps):
            trace = W.diagonal(dim1=1, dim2=2).sum(dim=1)
            loss = ((torch.bmm(W, M) * W).sum() - 2 * (root[:, 0, 0] * trace).sum()) / d
            (gradient,) = torch.autograd.grad(loss, W)
            with torch.no_grad():
                W.sub_(gradient, alpha=rate)
        return W.detach()

    def rotated() -> Any:
        C, a, root, _ = tensors()
        variance, vectors = torch.linalg.eigh(C)
        decay = 1 - h * (a * (variance.clamp(min=0) + RIDGE) + 1 - a)
        drive = h * root * vectors
        V = torch.zeros(LEVELS, d, d)
        for _ in range(steps):
            V.mul_(decay).add_(drive)
        return V @ vectors.T

    return beside_torch(
        f"gradient descent, d = {d}, {LEVELS} levels, {steps} steps",
        ours,
        {
            "PyTorch, batched matmul in place": dense,
            "PyTorch, autograd": autograd,
            "PyTorch, our rotated update": rotated,
        },
        _agree,
        runs,
    )


def sgd_rows() -> list[Row]:
    """Online SGD: minibatches and fresh noise at every level."""
    d, batch, steps, rate = 64, 32, 300, 0.5
    law, mean, covariance = _covariance(d)
    data = draw(law, 1000, key=KEY)
    alpha_bar = np.linspace(0.05, 0.99, LEVELS)
    plain = np.array(data)

    def ours() -> jax.Array:
        return online_sgd(
            data,
            alpha_bar,
            learning_rate=rate,
            batch=batch,
            steps=[steps],
            key=KEY,
            ridge=RIDGE,
        )

    def theirs() -> Any:
        X = torch.from_numpy(plain)
        X = X - X.mean(dim=0)
        a = torch.tensor(alpha_bar, dtype=torch.float32)[:, None, None]
        root, noise_root, h = a.sqrt(), (1 - a).sqrt(), 2 * rate / d
        W = torch.zeros(LEVELS, d, d)
        for _ in range(steps):
            eps = torch.randn(LEVELS, batch, d)
            x = root * X[torch.randint(0, len(X), (batch,))] + noise_root * eps
            residual = torch.bmm(x, W.transpose(1, 2)) - eps
            gradient = torch.bmm(residual.transpose(1, 2), x) / batch
            W.sub_(gradient + a * RIDGE * W, alpha=h)
        return W

    def check(ours: Any, theirs: Any) -> None:
        losses = [
            np.asarray(
                denoiser_losses(
                    Denoiser(jnp.asarray(W).reshape(LEVELS, d, d), mean, noise_levels(alpha_bar)),
                    mean,
                    covariance,
                )
            )
            for W in (ours, theirs.numpy())
        ]
        if not np.allclose(*losses, rtol=0.05):
            raise RuntimeError("the two versions reach different losses")

    return beside_torch(
        f"online SGD, d = {d}, {LEVELS} levels, batch {batch}, {steps} steps",
        ours,
        {"PyTorch, batched matmul in place": theirs},
        check,
    )


def sampling_rows() -> list[Row]:
    """DDPM with 1000 steps."""
    d, count, schedule = 64, 4096, NoiseSchedule.linear()
    _, mean, covariance = _covariance(d)
    denoiser = optimum(mean, covariance, schedule.alpha_bar, ridge=RIDGE)
    weights, bias = np.array(denoiser.weights), np.array(denoiser.bias)
    beta, noise, signal = schedule.beta, schedule.noise_power, schedule.alpha_bar

    def theirs() -> Any:
        W, b = torch.from_numpy(weights), torch.from_numpy(bias)
        u = torch.randn(count, d)
        for t in reversed(range(schedule.steps)):
            eps = (u - float(np.sqrt(signal[t])) * b) @ W[t].T
            u = (u - float(beta[t] / np.sqrt(noise[t])) * eps) / float(np.sqrt(1 - beta[t]))
            u = u + float(np.sqrt(beta[t])) * torch.randn(count, d)
        return u

    exact = np.diagonal(generated_moments(denoiser, schedule)[1])

    def check(ours: Any, theirs: Any) -> None:
        for rows in (np.asarray(ours), theirs.numpy()):
            if np.abs(rows.var(axis=0) / exact - 1).max() > 6 * np.sqrt(2 / count):
                raise RuntimeError("samples have the wrong variance")

    return beside_torch(
        f"DDPM, d = {d}, {schedule.steps} steps, {count} samples",
        lambda: generate(denoiser, schedule, key=KEY, count=count),
        {"PyTorch": theirs},
        check,
    )


# ------------------------------------------------------------------------ images


def image_rows() -> list[Row]:
    """Patches of the bundled photographs, reading the files apart."""
    reading, images = first_call(lambda: load_bundled("photographs"))
    number = len(cut_patches(images, 8, stride=4))
    seconds = interleave({"cut": lambda: cut_patches(images, 8, stride=4)}, RUNS)["cut"]
    return [
        {
            "case": f"{number} gray patches of 8 x 8 from {len(images)} photographs",
            "ours_seconds": seconds,
            "measured": {"seconds_to_read": reading, "patches_per_second": number / seconds},
        }
    ]


PARTS: dict[str, Callable[[], list[Row]]] = {
    "theory": theory_rows,
    "descent": lambda: descent_rows(64, 1000, RUNS) + descent_rows(128, 1000, 3),
    "sgd": sgd_rows,
    "sampling": sampling_rows,
    "images": image_rows,
}


def main(parts: list[str]) -> None:
    """Run everything, or some parts, print the table, write the file."""
    start = environment()  # before the benchmark loads the machine itself
    rows = [row for part in parts or PARTS for row in PARTS[part]()]
    hidden = ("measured", "extrapolated")
    table = [{key: row[key] for key in row if key not in hidden} for row in rows]
    show("Linear diffusion models (ratio = ours / theirs)", table)
    path = write(
        "_".join(["linear_diffusion", *parts]),
        rows,
        runs=RUNS,
        load_average_at_start=start["load_average"],
    )
    print(f"written to {path.name}")


if __name__ == "__main__":
    main(sys.argv[1:])
