"""Which statistics a denoising network uses: losses on data and clones along training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from diffusion_theory.networks.unet import draw_images, noise_loss
from learning_dynamics import short_text
from learning_dynamics.evidence import drawing
from learning_dynamics.evidence.measurement import Measurement
from learning_dynamics.identity.session import notice_edits
from learning_dynamics.noise_schedule import NoiseLevels, NoiseSchedule, noise_levels
from learning_dynamics.pytrees import configuration, static
from learning_dynamics.random import check_key
from learning_dynamics.saved_results import saved_as
from learning_dynamics.tracking import track
from learning_dynamics.training import Minibatches, Training, log_steps, recovery_steps, train
from learning_dynamics.training.batches import Augmentation
from learning_dynamics.validation import (
    channels_last,
    finite_array,
    integers,
    one_of,
    positive_integer,
    reject,
)

__all__ = ["DenoiserLearning", "draw_along", "draw_sheets", "learn_denoiser"]

Array = NDArray[Any]
ROWS = 50  # test images at once: their features stay in the cache
ADAM = optax.adam(2e-3)  # one object, so that runs share their compilation


@configuration
class _Noisy:
    """Minibatches with the noise levels beside them, as `noise_loss` wants them."""

    rows: Minibatches
    levels: NoiseLevels

    def __call__(self, key: jax.Array) -> tuple[jax.Array, NoiseLevels]:
        return self.rows(key), self.levels


@configuration
class _Tests:
    """Test images by name, and the noise levels."""

    images: dict[str, jax.Array]
    levels: NoiseLevels
    fixed: tuple[int, ...] = static(default=())


@saved_as(
    steps=("step",),
    loss=("replica", "step"),
    at_level=("replica", "step"),
    parameters=("replica", "step"),
)
@dataclass(frozen=True, eq=False)
class DenoiserLearning:
    """Denoising losses along training.

    Attributes:
        steps: updates made at each observation, shape (observations,).
        loss: test set -> mean over all noise levels, shape (seeds, observations).
        at_level: test set -> at the fixed levels, shape (seeds, observations, levels).
        fixed: indices of the fixed levels in the schedule, from zero.
        parameters: parameters at each observation, shape (seeds, observations, parameters).
        training: the finished networks.
    """

    steps: NDArray[np.int64]
    loss: Mapping[str, Array]
    at_level: Mapping[str, Array]
    fixed: tuple[int, ...]
    parameters: Array
    training: Training

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        ends = {name: float(np.mean(rows[:, -1])) for name, rows in self.loss.items()}
        seeds, _, parameters = self.parameters.shape
        return f"{seeds} seeds of {parameters} parameters", {
            "steps": short_text.span(self.steps),
            "loss": short_text.shapes(self.loss),
            "at the end": ", ".join(f"{name} {value:.4g}" for name, value in ends.items()),
            "fixed levels": ", ".join(map(str, self.fixed)),
            "took": f"{self.training.seconds:.3g} s",
        }

    def _loss(self, argument: str, name: str) -> Array:
        return self.loss[one_of(argument, name, tuple(self.loss))]

    def parting(self, name: str, reference: str, apart: float) -> NDArray[np.float64]:
        """Step from which on two losses differ by more than a share of the second, shape (seeds,).

        As `learning_dynamics.training.recovery_steps` of |loss[name] / loss[reference] - 1|: while
        they agree, the network uses nothing by which the two sets differ.

        Args:
            name: test set.
            reference: another one.
            apart: share that counts as parted.

        Raises:
            ValueError: on an unknown test set.
        """
        ratio = self._loss("name", name) / self._loss("reference", reference)
        return recovery_steps(self.steps, np.abs(ratio - 1), apart)

    def excess(self, name: str, best: ArrayLike) -> Measurement:
        """Relative excess of a loss over that of a reference denoiser, coordinate step.

            loss[name] / mean_t L_t - 1,   negative where the network beats the reference

        Args:
            name: test set.
            best: L_t of the reference at each noise level, such as `best_affine_loss`, shape (T,).

        Raises:
            ValueError: with fewer than two seeds, on an unknown test set, or a best loss that is
                not positive.
        """
        mean = float(finite_array("best", best, ndim=1).mean())
        if mean <= 0:
            raise reject("best", "have a positive mean", mean)
        draws = self._loss("name", name) / mean - 1
        return Measurement.from_replicas(draws, {"step": self.steps}, label=f"on {name}")

    def plot(self, schedule: NoiseSchedule, best: ArrayLike) -> Figure:
        """Losses on all test sets against step, over all noise levels and at the fixed ones.

        Args:
            schedule: of the training.
            best: L_t of a reference denoiser, a dashed line, as in `excess`.

        Raises:
            ValueError: with fewer than two seeds, or another number of levels in `best`.
        """
        reference = finite_array("best", best, ndim=1)
        if reference.size != schedule.steps:
            demand = f"have one loss for each of {schedule.steps} levels"
            raise reject("best", demand, f"shape {reference.shape}")
        panels = [("all noise levels", self.loss, float(reference.mean()))]
        for i, t in enumerate(self.fixed):
            at = {name: loss[:, :, i] for name, loss in self.at_level.items()}
            panels.append((f"ᾱ = {schedule.alpha_bar[t]:.2f}", at, float(reference[t])))
        figure, grid = drawing.new_figure(1, len(panels), width=4.3 * len(panels), height=3.9)
        for axes, (title, losses, line) in zip(grid[0], panels, strict=True):
            curves = Measurement.from_replicas(
                np.stack(list(losses.values()), axis=1), {"set": list(losses), "step": self.steps}
            )
            drawing.draw_measurement(axes, curves, joined=True)
            with drawing.figure_style():
                style = {"color": drawing.GREY, "linewidth": 1.2, "linestyle": "--"}
                axes.axhline(line, label="best affine denoiser", **style)
                axes.set_title(title)
                axes.set_xscale(
                    "symlog",
                    linthresh=float(self.steps[self.steps > 0].min(initial=self.steps[-1] or 1)),
                )
                axes.set(xlim=(0, 1.3 * self.steps[-1]), yscale="log", xlabel="updates")
        grid[0, 0].set_ylabel("loss per pixel")
        drawing.legend_below(figure, columns=4)
        return figure


def _observe(network: Any, tests: _Tests, key: jax.Array) -> dict[str, jax.Array]:
    """Losses with the same noise on every test set; all levels are spread over the rows."""
    images = jnp.stack(list(tests.images.values()))
    sets, n = images.shape[:2]
    steps = tests.levels.signal_power.shape[0]
    spread = (jnp.arange(n, dtype=jnp.int32) * steps) // n
    at = jnp.stack([spread, *(jnp.full((n,), t, jnp.int32) for t in tests.fixed)])
    eps = jax.random.normal(key, images.shape[1:], images.dtype)
    pieces = -(-n // ROWS)
    chunk = n // pieces  # a few rows may be left out

    def error(job: jax.Array) -> jax.Array:
        """One piece of the rows of one set at one choice of levels: the network compiles once."""
        which, level, piece = job[0], job[1], job[2] * chunk
        clean, noise, t = (
            jax.lax.dynamic_slice_in_dim(a, piece, chunk) for a in (images[which], eps, at[level])
        )
        levels = tests.levels.at(t)
        return jnp.mean((network(levels.mix(clean, noise), levels) - noise) ** 2)

    grid = np.indices((sets, at.shape[0], pieces), np.int32).reshape(3, -1).T
    losses = jax.lax.map(error, jnp.asarray(grid)).reshape(sets, -1, pieces).mean(axis=-1)
    observed = {}
    for i, name in enumerate(tests.images):
        observed[f"loss:{name}"], observed[f"level:{name}"] = losses[i, 0], losses[i, 1:]
    leaves = jax.tree.leaves(nnx.state(network, nnx.Param))
    observed["parameters"] = jnp.concatenate([leaf.ravel() for leaf in leaves])
    return observed


def learn_denoiser(
    build: Callable[[nnx.Rngs], Any],
    images: ArrayLike,
    tests: Mapping[str, ArrayLike],
    schedule: NoiseSchedule,
    *,
    steps: ArrayLike | None = None,
    fixed: ArrayLike = (),
    seeds: int = 5,
    together: int | None = 1,
    batch: int = 64,
    optimiser: optax.GradientTransformation = ADAM,
    average: float | None = 0.99,
    augment: Augmentation | None = None,
    key: jax.Array,
    **options: Any,
) -> DenoiserLearning:
    """Train noise predictors on images and test them on several sets along the way.

    Args:
        build: makes the network, `build(rngs)`, called as `network(images, levels)` with
            the `NoiseLevels` of the images.
        images: training images, shape (n, height, width[, channels]).
        tests: name -> test images of that shape, all equally many; they are met with the same
            noise. All noise levels are spread evenly over their rows.
        schedule: noise schedule.
        steps: numbers of updates at which to test; by default 14 up to 3000.
        fixed: noise levels that are looked at one by one, indices from zero.
        seeds: number of networks.
        together: networks trained at once, as of `train`.
        batch: images per update.
        optimiser: an optax transformation.
        average: decay of the exponential mean of the parameters, which is what is tested.
        augment: as of `Minibatches`.
        key: typed random key.
        **options: `checkpoint` and `tracker` of `train`.

    Raises:
        ValueError: as `Minibatches` and `train`; if tests differ in number, or a level is none of
            the schedule's.
    """
    at = log_steps(3000, points=14, first=10) if steps is None else np.asarray(steps)
    levels = noise_levels(schedule.alpha_bar)
    chosen = tuple(map(int, integers("fixed", fixed, least=0).ravel()))
    if any(t >= schedule.steps for t in chosen):
        raise reject("fixed", f"lie below the schedule's {schedule.steps} steps", chosen)
    sets = {name: jnp.asarray(_rows(f"tests[{name!r}]", x)) for name, x in tests.items()}
    rows = _rows("images", images)
    shapes = {x.shape for x in sets.values()}
    if len(shapes) != 1 or min(shapes)[1:] != rows.shape[1:] or not min(shapes)[0]:
        demand = f"hold sets of equally many images of shape {rows.shape[1:]}, at least one"
        raise reject("tests", demand, sorted(shapes))
    training = train(
        build,
        noise_loss,
        _Noisy(Minibatches(rows, batch, augment), levels),
        optimiser=optimiser,
        steps=at,
        observe=_observe,
        tests=_Tests(sets, levels, chosen),
        key=key,
        replicas=seeds,
        together=together,
        average=average,
        **options,
    )
    values = training.values
    return DenoiserLearning(
        training.steps,
        {name: values[f"loss:{name}"] for name in sets},
        {name: values[f"level:{name}"] for name in sets},
        chosen,
        values["parameters"],
        training,
    )


def _rows(argument: str, images: ArrayLike) -> Array:
    """Images as float32, shape (n, height, width[, channels])."""
    array = finite_array(argument, images)
    if array.ndim not in (3, 4):
        raise reject(argument, "have shape (n, height, width[, channels])", f"shape {array.shape}")
    channels_last(argument, array.shape[1:])
    return array.astype(np.float32)


@partial(jax.jit, static_argnames=("graph", "structure", "shapes", "schedule", "shape", "sampler"))
def _draw(
    graph: Any, structure: Any, shapes: Any, schedule: Any, shape: Any, sampler: str,
    others: Any, row: jax.Array, key: jax.Array,
) -> jax.Array:  # fmt: skip
    ends = np.cumsum([int(np.prod(s)) for s in shapes])
    leaves = [part.reshape(s) for part, s in zip(jnp.split(row, ends[:-1]), shapes, strict=True)]
    network = nnx.merge(graph, jax.tree.unflatten(structure, leaves), others)
    network.eval()
    return draw_images(network, schedule, shape, key=key, sampler=sampler)


def draw_along(
    learning: DenoiserLearning,
    schedule: NoiseSchedule,
    shape: tuple[int, ...],
    *,
    observation: int,
    seed: int = 0,
    sampler: str = "ddpm",
    key: jax.Array,
) -> Array:
    """Images that a network generates as it was at one observation of its training.

    Args:
        learning: of `learn_denoiser`.
        schedule: the schedule it was trained with.
        shape: (count, height, width[, channels]).
        observation: index into `learning.steps`.
        seed: which network.
        sampler: "ddpm" or "ddim".
        key: typed random key; the same key gives the same noise to all networks.

    Raises:
        ValueError: on an unknown sampler.
    """
    notice_edits(learning.training.graph, schedule)
    state = learning.training.states
    leaves, structure = jax.tree.flatten(state.parameters)
    shapes = tuple(leaf.shape[1:] for leaf in leaves)
    others = jax.tree.map(lambda leaf: leaf[seed], state.others)
    row = jnp.asarray(learning.parameters[seed, observation])
    drawn = _draw(
        learning.training.graph,
        structure,
        shapes,
        schedule,
        tuple(shape),
        sampler,
        others,
        row,
        key,
    )
    return np.asarray(drawn)


def draw_sheets(
    learning: DenoiserLearning,
    schedule: NoiseSchedule,
    shape: tuple[int, ...],
    *,
    observations: ArrayLike,
    seeds: int = 2,
    key: jax.Array,
) -> Array:
    """Images that networks generate along training, from the same noise at every observation.

    Args:
        learning: of `learn_denoiser`.
        schedule: the schedule it was trained with.
        shape: (count, height, width[, channels]) of one sheet.
        observations: indices into `learning.steps`.
        seeds: the first so many networks, each with a noise of its own.
        key: typed random key.

    Returns:
        Shape (observations, seeds, count, height, width[, channels]).

    Raises:
        ValueError: if there are fewer networks or observations.
    """
    check_key(key)
    networks, steps = learning.parameters.shape[:2]
    count = positive_integer("seeds", seeds)
    at = integers("observations", observations, least=0).ravel()
    if count > networks:
        raise reject("seeds", f"be at most the number of networks, {networks}", count)
    if not at.size or at.max() >= steps:
        raise reject("observations", f"be indices below {steps}, one at least", at)
    keys = [jax.random.fold_in(key, seed) for seed in range(count)]
    sheets = [
        [
            draw_along(learning, schedule, shape, observation=place, seed=seed, key=own)
            for seed, own in enumerate(keys)
        ]
        for place in track(at.tolist(), "samples")
    ]
    return np.array(sheets)
