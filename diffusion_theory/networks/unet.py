"""U-Net that predicts the noise in an image, its loss and its samples."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from learning_dynamics import random
from learning_dynamics.noise_schedule import NoiseLevels, NoiseSchedule, noise_levels
from learning_dynamics.sampling import reverse_coefficients, reverse_process
from learning_dynamics.training import Convolution
from learning_dynamics.training.products import Products, dense_layers
from learning_dynamics.validation import positive_integer, reject

__all__ = ["UNet", "draw_images", "noise_loss"]


def _norm(features: int, rngs: nnx.Rngs) -> nnx.GroupNorm:
    groups = next(g for g in (8, 4, 2, 1) if features % (2 * g) == 0 or g == 1)
    return nnx.GroupNorm(features, num_groups=groups, rngs=rngs)


class _Block(nnx.Module):
    """Two normalised convolutions; the noise level shifts and scales between them."""

    def __init__(
        self,
        channels: int,
        features: int,
        embedding: int,
        *,
        products: Products,
        rngs: nnx.Rngs,
    ) -> None:
        zero = jax.nn.initializers.zeros
        self.first_norm, self.second_norm = _norm(channels, rngs), _norm(features, rngs)
        conv = partial(Convolution, products=products, rngs=rngs)
        self.first = conv(channels, features)
        self.second = conv(features, features, initial=zero)
        self.level = dense_layers(products, rngs)(embedding, 2 * features)
        changes = channels != features
        self.shortcut = conv(channels, features, size=1) if changes else None

    def __call__(self, features: jax.Array, embedded: jax.Array) -> jax.Array:
        inner = self.first(nnx.silu(self.first_norm(features)))
        scale, shift = jnp.split(self.level(embedded)[:, None, None], 2, axis=-1)
        inner = self.second(nnx.silu(self.second_norm(inner) * (1 + scale) + shift))
        return inner + (features if self.shortcut is None else self.shortcut(features))


class UNet(nnx.Module):
    """U-Net with an embedding of the noise level, eps(x_t, alpha_bar).

    Residual blocks at falling resolutions, 2 x 2 means between them, and back up with the features
    of the way down beside those from below.

    Args:
        shape: of an image, (height, width) or (height, width, channels).
        widths: features at each resolution; the image is halved once less than there are widths.
            The default halves twice, so that sides must be multiples of 4.
        blocks: residual blocks at each resolution on each way.
        embedding: numbers that describe the noise level.
        products: precision of the products, as of `learning_dynamics.training.convolve`.
        rngs: random streams.

    Raises:
        ValueError: if a side is no multiple of 2^(len(widths) - 1), or a number is not positive.

    Source: Ronneberger, Fischer and Brox (2015); residual blocks, group normalisation and noise
    level as in Ho, Jain and Abbeel (2020), without attention.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        widths: tuple[int, ...] = (32, 64, 64),
        blocks: int = 1,
        embedding: int = 32,
        products: Products = "float32",
        rngs: nnx.Rngs,
    ) -> None:
        if len(shape) not in (2, 3) or min(shape) < 1:
            raise reject("shape", "be (height, width) or (height, width, channels)", shape)
        factor = 2 ** (len(widths) - 1)
        if not widths or shape[0] % factor or shape[1] % factor:
            raise reject("shape", f"have sides that are multiples of {factor}", shape)
        blocks = positive_integer("blocks", blocks)
        self.shape, self.factor, self.gray = tuple(shape), factor, len(shape) == 2
        self.features = positive_integer("embedding", embedding)
        channels = 1 if self.gray else shape[2]
        linear = dense_layers(products, rngs)
        conv = partial(Convolution, products=products, rngs=rngs)
        block = partial(_Block, embedding=embedding, products=products, rngs=rngs)
        self.embed = nnx.List([linear(embedding, embedding), linear(embedding, embedding)])
        self.first = conv(channels, widths[0])
        down, up, before = [], [], widths[0]
        for features in widths:
            down.append(nnx.List([block(before if not b else features, features)
                                  for b in range(blocks)]))  # fmt: skip
            before = features
        for features in reversed(widths[:-1]):
            up.append(nnx.List([block(before + features if not b else features, features)
                                for b in range(blocks)]))  # fmt: skip
            before = features
        self.down, self.up = nnx.List(down), nnx.List(up)
        self.norm = _norm(before, rngs)
        zero = jax.nn.initializers.zeros
        self.last = conv(before, channels, initial=zero)

    def _embedded(self, levels: NoiseLevels) -> jax.Array:
        """Waves in the logarithm of noise to signal, then two dense layers."""
        ratio = (jnp.log(levels.noise_power) - jnp.log(levels.signal_power)) / 2
        half = self.features // 2
        frequencies = jnp.asarray(np.geomspace(0.125, 4.0, half), jnp.float32)
        angles = ratio[:, None] * frequencies[None]
        waves = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
        waves = jnp.pad(waves, ((0, 0), (0, self.features - 2 * half)))
        return nnx.silu(self.embed[1](nnx.silu(self.embed[0](waves))))

    def __call__(self, images: jax.Array, levels: NoiseLevels) -> jax.Array:
        """Predicted noise.

        Args:
            images: noisy ones, x_t, shape (n, height, width[, channels]); their sides may be others
                than those the network was made for.
            levels: one for each image, shape (n,).

        Raises:
            ValueError: if there is not one of `NoiseLevels` for each image, or the images have
                other channels or sides that cannot be halved as often.
        """
        _check_kind(levels)
        levels.check_one_for_each(images)
        sides, channels = images.shape[1:3], self.shape[2:]
        if images.ndim != 1 + len(self.shape) or images.shape[3:] != channels:
            demand = f"have shape (n, height, width{''.join(f', {c}' for c in channels)})"
            raise reject("images", demand, f"shape {images.shape}")
        if any(side % self.factor for side in sides):
            raise reject("images", f"have sides that are multiples of {self.factor}", sides)
        features = self.first(images[..., None] if self.gray else images)
        embedded, kept = self._embedded(levels), []
        for depth, stage in enumerate(self.down):
            if depth:
                kept.append(features)
                features = _halved(features)
            for block in stage:
                features = block(features, embedded)
        for stage in self.up:
            features = jnp.concatenate([_doubled(features), kept.pop()], axis=-1)
            for block in stage:
                features = block(features, embedded)
        predicted = self.last(nnx.silu(self.norm(features)))
        return predicted[..., 0] if self.gray else predicted


def _check_kind(levels: Any) -> None:
    if not isinstance(levels, NoiseLevels):
        raise reject("levels", "be as of `noise_levels(alpha_bar)`", f"{type(levels).__name__}")


def _halved(images: jax.Array) -> jax.Array:
    n, height, width, channels = images.shape
    return images.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def _doubled(images: jax.Array) -> jax.Array:
    n, height, width, channels = images.shape
    grown = jnp.broadcast_to(images[:, :, None, :, None], (n, height, 2, width, 2, channels))
    return grown.reshape(n, 2 * height, 2 * width, channels)


def noise_loss(network: Any, batch: tuple[jax.Array, NoiseLevels], key: jax.Array) -> jax.Array:
    """Denoising loss of a batch, mean over pixels and images, t uniform on 1..T.

        L = E |eps - eps(x_t, t)|^2 / d

    Args:
        network: `network(images, levels)`, called with one level for each image.
        batch: clean images of shape (n, height, width[, channels]), and the levels.
        key: typed random key of t and eps.

    Raises:
        ValueError: if the levels are no `NoiseLevels`, or there is one alone.
    """
    clean, levels = batch
    _check_kind(levels)
    if jnp.ndim(levels.signal_power) != 1:
        demand = "be several, shape (levels,), to be drawn from"
        raise reject("levels", demand, f"shape {jnp.shape(levels.signal_power)}")
    draw, chosen = jax.random.split(key)
    noise = random.normal(draw, clean.shape, clean.dtype)
    t = jax.random.randint(chosen, clean.shape[:1], 0, levels.signal_power.shape[0], jnp.int32)
    drawn = levels.at(t)
    return jnp.mean((network(drawn.mix(clean, noise), drawn) - noise) ** 2)


def draw_images(
    network: Any,
    schedule: NoiseSchedule,
    shape: tuple[int, ...],
    *,
    key: jax.Array,
    sampler: str = "ddpm",
) -> jax.Array:
    """Generate images of `shape` (count, height, width[, channels]) by the reverse process.

    For use inside `jax.jit`; `learning_dynamics.sampling` has the formulas.

    Raises:
        ValueError: on an unknown sampler.
    """
    coefficients = reverse_coefficients(schedule, sampler)
    keep, remove, added = (jnp.asarray(column, jnp.float32) for column in coefficients)

    def predict(u: jax.Array, level: NoiseLevels) -> jax.Array:
        return network(u, NoiseLevels(*(jnp.broadcast_to(power, shape[:1]) for power in level)))

    levels = noise_levels(schedule.alpha_bar)
    return reverse_process(predict, levels, (keep, remove, added), shape, key)
