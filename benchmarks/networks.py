"""One training step of the U-Net and of ResNet-18, beside the same networks in plain PyTorch.

Run as `python -m benchmarks.networks`. PyTorch is optional: without it its columns stay empty.
Both sides run in float32 on the CPU with Adam and the same shapes. The time of a step is that of
the difference of a long and a short run: the start of a call and compilation are stated apart.
A ratio is ours / theirs: below one, ours is faster.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from benchmarks.harness import (
    compile_seconds,
    cores,
    first_call,
    interleave,
    show,
    step_seconds,
    write,
)
from diffusion_theory.networks import UNet, noise_loss
from fourier_simplicity.networks import ResNet, cross_entropy
from learning_dynamics.noise_schedule import NoiseSchedule, noise_levels
from learning_dynamics.pytrees import configuration
from learning_dynamics.training import train
from learning_dynamics.training.convolution import convolve

try:
    import torch
    from torch import nn
except ImportError:
    torch = nn = None

RUNS = 3
FEW, MANY = 2, 14  # steps of a short and of a long run
ADAM = optax.adam(1e-3)
SCHEDULE = NoiseSchedule.linear(50, 2e-3, 0.4)
Row = dict[str, Any]


@configuration
class Fixed:
    """The same batch at every step."""

    batch: Any

    def __call__(self, key: jax.Array) -> Any:
        """Return the batch."""
        return self.batch


def nothing(network: Any, tests: Any, key: jax.Array) -> dict[str, jax.Array]:
    return {"none": jnp.zeros(())}


def ours(
    build: Callable[..., Any], loss: Callable[..., Any], batch: Any, steps: int = FEW
) -> Callable[[], Any]:
    """A call that makes so many steps in the compiled loop."""
    options = {"optimiser": ADAM, "observe": nothing, "key": jax.random.key(0)}
    run = partial(train, build, loss, Fixed(batch), **options)
    return lambda: run(steps=[steps]).states


def unet(
    shape: tuple[int, ...], widths: tuple[int, ...], rngs: nnx.Rngs, products: Any = "float32"
) -> UNet:
    return UNet(shape, widths=widths, embedding=32, products=products, rngs=rngs)


def parameters(build: Callable[..., Any]) -> int:
    state = nnx.state(nnx.eval_shape(lambda: build(nnx.Rngs(0))), nnx.Param)
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(state))


# ------------------------------------------------------------------- the same in PyTorch

if torch is not None:

    def _groups(features: int) -> int:
        return next(g for g in (8, 4, 2, 1) if features % (2 * g) == 0 or g == 1)

    class TorchBlock(nn.Module):
        """Residual block of the U-Net."""

        def __init__(self, channels: int, features: int, embedding: int) -> None:
            super().__init__()
            self.norms = nn.ModuleList(
                [
                    nn.GroupNorm(_groups(channels), channels),
                    nn.GroupNorm(_groups(features), features),
                ]
            )
            self.first = nn.Conv2d(channels, features, 3, padding=1)
            self.second = nn.Conv2d(features, features, 3, padding=1)
            self.level = nn.Linear(embedding, 2 * features)
            self.shortcut = nn.Conv2d(channels, features, 1) if channels != features else None

        def forward(self, x: Any, embedded: Any) -> Any:
            """Add the block's change to x."""
            inner = self.first(nn.functional.silu(self.norms[0](x)))
            scale, shift = self.level(embedded)[:, :, None, None].chunk(2, dim=1)
            inner = self.second(nn.functional.silu(self.norms[1](inner) * (1 + scale) + shift))
            return inner + (x if self.shortcut is None else self.shortcut(x))

    class TorchUNet(nn.Module):
        """The U-Net of `diffusion_theory.networks`."""

        def __init__(self, channels: int, widths: tuple[int, ...], embedding: int = 32) -> None:
            super().__init__()
            self.embed = nn.Sequential(
                nn.Linear(embedding, embedding),
                nn.SiLU(),
                nn.Linear(embedding, embedding),
                nn.SiLU(),
            )
            self.first = nn.Conv2d(channels, widths[0], 3, padding=1)
            before, down, up = widths[0], [], []
            for features in widths:
                down.append(TorchBlock(before, features, embedding))
                before = features
            for features in reversed(widths[:-1]):
                up.append(TorchBlock(before + features, features, embedding))
                before = features
            self.down, self.up = nn.ModuleList(down), nn.ModuleList(up)
            self.norm = nn.GroupNorm(_groups(before), before)
            self.last = nn.Conv2d(before, channels, 3, padding=1)
            self.register_buffer("frequencies", torch.logspace(-3, 2, embedding // 2, base=2.0))

        def forward(self, x: Any, noise: Any) -> Any:
            """Predict the noise."""
            ratio = torch.log(noise) - torch.log1p(-(noise**2)) / 2
            angles = ratio[:, None] * self.frequencies
            embedded = self.embed(torch.cat([angles.sin(), angles.cos()], dim=1))
            seen, kept = self.first(x), []
            for depth, block in enumerate(self.down):
                if depth:
                    kept.append(seen)
                    seen = nn.functional.avg_pool2d(seen, 2)
                seen = block(seen, embedded)
            for block in self.up:
                seen = nn.functional.interpolate(seen, scale_factor=2)
                seen = block(torch.cat([seen, kept.pop()], dim=1), embedded)
            return self.last(nn.functional.silu(self.norm(seen)))

    class TorchResidual(nn.Module):
        """Basic block of a residual network."""

        def __init__(self, channels: int, features: int, stride: int) -> None:
            super().__init__()
            self.first = nn.Conv2d(channels, features, 3, stride, 1, bias=False)
            self.second = nn.Conv2d(features, features, 3, 1, 1, bias=False)
            self.norms = nn.ModuleList([nn.BatchNorm2d(features), nn.BatchNorm2d(features)])
            changes = stride > 1 or channels != features
            self.shortcut = (
                nn.Sequential(
                    nn.Conv2d(channels, features, 1, stride, bias=False), nn.BatchNorm2d(features)
                )
                if changes
                else nn.Identity()
            )

        def forward(self, x: Any) -> Any:
            """Add the block's change to x."""
            inner = nn.functional.relu(self.norms[0](self.first(x)))
            return nn.functional.relu(self.norms[1](self.second(inner)) + self.shortcut(x))

    def torch_resnet(widths: tuple[int, ...], classes: int) -> Any:
        layers: list[Any] = [
            nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        ]  # fmt: skip
        before = widths[0]
        for stage, features in enumerate(widths):
            for number in range(2):
                layers.append(TorchResidual(before, features, 2 if stage and not number else 1))
                before = features
        pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(before, classes)]
        return nn.Sequential(*layers, *pool)

    def torch_steps(
        network: Any, loss: Callable[[Any], Any], threads: int, steps: int = FEW
    ) -> Callable[[], Any]:
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)

        def run() -> float:
            torch.set_num_threads(threads)
            for _ in range(steps):
                optimiser.zero_grad()
                value = loss(network)
                value.backward()
                optimiser.step()
            return float(value.detach())

        return run


# -------------------------------------------------------------------------------- cases


class Case(NamedTuple):
    """A network, its data, and the same in PyTorch: (threads, steps) -> a call of that many."""

    name: str
    build: Any
    loss: Any
    batch: Any
    theirs: Callable[..., Callable[[], Any]] | None


def measured(case: Case) -> Row:
    """Compile ours, then take turns with theirs at one thread and at all."""
    name, build, loss, batch, theirs = case
    makers: dict[str, Callable[[int], Callable[[], Any]]] = {
        "ours": lambda steps: ours(build, loss, batch, steps)
    }
    if theirs is not None:
        for threads in sorted({1, torch.get_num_threads()}):
            makers[f"PyTorch, {threads}"] = partial(theirs, threads)
    before = compile_seconds()
    first_call(makers["ours"](FEW))
    compiled = compile_seconds() - before
    seconds = step_seconds(makers, FEW, MANY, RUNS)
    mine, _ = seconds.pop("ours")
    best = min((step for step, _ in seconds.values()), default=None)
    return {
        "case": name,
        "parameters": parameters(build),
        "step, ms": 1e3 * mine,
        "PyTorch step, ms": None if best is None else 1e3 * best,
        "ratio": None if best is None else mine / best,
        "start of a call, ms": 1e3 * _start_seconds(ours(build, loss, batch, 0)),
        "compile, s": compiled,
    }


def _start_seconds(call: Callable[[], Any]) -> float:
    """Median time of a call that makes no step, compiled before."""
    first_call(call)
    times = []
    for _ in range(9):
        began = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def unet_case(size: int, widths: tuple[int, ...], rows: int, device: str = "cpu") -> Case:
    """The U-Net on images of one size; `device` is PyTorch's."""
    draws = np.random.default_rng(0)
    images = draws.normal(size=(rows, size, size)).astype(np.float32)
    batch = (jnp.asarray(images), noise_levels(SCHEDULE.alpha_bar))
    theirs = None
    if torch is not None:
        signal, noise = (
            torch.tensor(np.sqrt(a), dtype=torch.float32, device=device)
            for a in (SCHEDULE.alpha_bar, SCHEDULE.noise_power)
        )
        clean = torch.from_numpy(images)[:, None].to(device)

        def loss(network: Any) -> Any:
            t = torch.randint(0, SCHEDULE.steps, (rows,), device=device)
            eps = torch.randn_like(clean)
            x = signal[t, None, None, None] * clean + noise[t, None, None, None] * eps
            return ((network(x, noise[t]) - eps) ** 2).mean()

        def theirs(threads: int, steps: int = FEW) -> Any:
            return torch_steps(TorchUNet(1, widths).to(device), loss, threads, steps)

    name = f"U-Net {widths}, {rows} of {size} x {size}"
    return Case(name, partial(unet, (size, size), widths), noise_loss, batch, theirs)


def resnet_case(widths: tuple[int, ...], rows: int, device: str = "cpu") -> Case:
    """ResNet-18 of some widths on images of 32 x 32; `device` is PyTorch's."""
    draws = np.random.default_rng(0)
    images = draws.normal(size=(rows, 32, 32, 3)).astype(np.float32)
    labels = (np.arange(rows) % 10).astype(np.int32)

    def build(rngs: nnx.Rngs, products: Any = "float32") -> ResNet:
        return ResNet((32, 32, 3), 10, widths=widths, products=products, rngs=rngs)

    theirs = None
    if torch is not None:
        x, y = (
            torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(device),
            torch.from_numpy(labels).long().to(device),
        )

        def theirs(threads: int, steps: int = FEW) -> Any:
            def loss(network: Any) -> Any:
                return nn.functional.cross_entropy(network(x), y)

            return torch_steps(torch_resnet(widths, 10).to(device), loss, threads, steps)

    name = f"ResNet-18, widths {widths}, {rows} of 32 x 32"
    return Case(name, build, cross_entropy, (jnp.asarray(images), jnp.asarray(labels)), theirs)


# -------------------------------------------------------------------- products of a convolution

LAYERS = ((16, 32, 64), (16, 16, 128), (32, 16, 32), (32, 8, 16))  # images, side, channels
REPEATS = 8  # of a layer in a compiled loop


def layer_rates(images: int, side: int, channels: int) -> Row:
    """GFLOP/s of a 3 x 3 layer with its two gradients, and of its three products alone.

    The layer computes a product of its images, moved along the rows, with a matrix, and two more
    for the gradients. In "products" the moved images are made before the loop and the results are
    not summed. PyTorch's layer need not be a product.
    """
    draws = np.random.default_rng(0)
    x = draws.normal(size=(images, side, side, channels)).astype(np.float32)
    kernel = draws.normal(size=(3, 3, channels, channels)).astype(np.float32) / 99
    moved = draws.normal(size=(images * side**2, 3 * channels)).astype(np.float32)
    matrix = draws.normal(size=(3 * channels, 3 * channels)).astype(np.float32) / 99

    def layer(_: Any, carry: Any) -> Any:
        value, back = jax.vjp(convolve, *carry)
        return jax.tree.map(lambda a, change: a - 1e-9 * change, carry, back(value))

    def products(_: Any, carry: Any) -> Any:
        rows, weights = carry
        value, other = rows @ weights, rows @ weights.T
        return rows - 1e-9 * other, weights - 1e-9 * (rows.T @ value)

    def looped(body: Any, *start: Any) -> Callable[[], Any]:
        run = jax.jit(lambda *carry: jax.lax.fori_loop(0, REPEATS, body, carry))
        arrays = [jnp.asarray(array) for array in start]
        return lambda: run(*arrays)

    runs = {"layer": looped(layer, x, kernel), "products": looped(products, moved, matrix)}
    if torch is not None:
        seen = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
        weight = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy()).requires_grad_()
        a, b = torch.from_numpy(moved), torch.from_numpy(matrix)

        def their_layer() -> float:
            for _ in range(REPEATS):
                value = nn.functional.conv2d(seen, weight, padding=1)
                torch.autograd.grad(value, (seen, weight), value.detach())
            return float(value[0, 0, 0, 0].detach())

        def their_products() -> float:
            for _ in range(REPEATS):
                value = a @ b
                other, last = a @ b.T, a.T @ value
            return float(other[0, 0] + last[0, 0])

        runs |= {"PyTorch's layer": their_layer, "PyTorch's products": their_products}
        torch.set_num_threads(cores())
    for run in runs.values():
        first_call(run)
    work = 3 * 2 * images * side**2 * 9 * channels**2 * REPEATS / 1e9
    rates = {f"{who}, GFLOP/s": work / s for who, s in interleave(runs, 2 * RUNS).items()}
    return {"layer": f"{images} of {side} x {side}, {channels} channels", **rates}


def main() -> None:
    cases = [
        unet_case(8, (8, 16), 32),
        unet_case(16, (32, 64, 64), 32),
        resnet_case((16, 32, 64, 128), 32),
        resnet_case((64, 128, 256, 512), 16),
    ]
    rows = [measured(case) for case in cases]
    show("One training step", rows)
    layers = [layer_rates(*layer) for layer in LAYERS]
    show("Three products of a layer", layers)
    write("networks", rows, layers=layers)


if __name__ == "__main__":
    main()
