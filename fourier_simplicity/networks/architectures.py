"""Classifiers of images: two layers, a small convolutional network, residual networks.

All map images of shape (n, height, width) or (n, height, width, channels) to logits (n, classes).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from learning_dynamics.training import Convolution
from learning_dynamics.training.products import Products, dense_layers
from learning_dynamics.validation import channels_last, positive_integer, reject

__all__ = ["ConvNet", "ResNet", "TwoLayer", "accuracy", "cross_entropy", "resnet18"]

He = jax.nn.initializers.he_normal()
Shape = tuple[int, ...]  # (height, width) or (height, width, channels)


def _channels(shape: Shape) -> int:
    if len(shape) not in (2, 3) or min(shape) < 1:
        raise reject("shape", "be (height, width) or (height, width, channels)", shape)
    channels_last("shape", shape)
    return shape[2] if len(shape) == 3 else 1


def _with_channels(images: jax.Array) -> jax.Array:
    return images[..., None] if images.ndim == 3 else images


class TwoLayer(nnx.Module):
    """Fully connected network with one hidden layer, V sigma(W x + b) + c.

    Args:
        shape: of an image.
        classes: number of classes.
        hidden: hidden neurons.
        activation: sigma.
        products: precision of the products, as of `learning_dynamics.training.convolve`.
        rngs: random streams.
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        *,
        hidden: int = 256,
        activation: Callable[[jax.Array], jax.Array] = jax.nn.relu,
        products: Products = "float32",
        rngs: nnx.Rngs,
    ) -> None:
        inputs = _channels(shape) * shape[0] * shape[1]
        linear = dense_layers(products, rngs)
        self.first = linear(inputs, positive_integer("hidden", hidden), kernel_init=He)
        self.second = linear(hidden, classes)
        self.activation = activation

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits, shape (n, classes)."""
        rows = images.reshape(images.shape[0], -1)
        return self.second(self.activation(self.first(rows)))


class ConvNet(nnx.Module):
    """Convolutions of 3 x 3 pixels with ReLU, the image halved between them, then a mean.

    Args:
        shape: of an image.
        classes: number of classes.
        widths: features of each convolution; the image is halved by 2 x 2 means before each
            convolution but the first.
        products: precision of the products, as of `learning_dynamics.training.convolve`.
        rngs: random streams.

    Raises:
        ValueError: if the image cannot be halved that often.
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        *,
        widths: tuple[int, ...] = (16, 32),
        products: Products = "float32",
        rngs: nnx.Rngs,
    ) -> None:
        factor = 2 ** (len(widths) - 1)
        if shape[0] % factor or shape[1] % factor:
            raise reject("shape", f"be multiples of {factor}, to be halved", shape)
        layers, channels = [], _channels(shape)
        for features in widths:
            layers.append(Convolution(channels, features, products=products, initial=He, rngs=rngs))
            channels = features
        self.layers = nnx.List(layers)
        self.last = dense_layers(products, rngs)(channels, classes)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits, shape (n, classes)."""
        features = _with_channels(images)
        for number, layer in enumerate(self.layers):
            features = jax.nn.relu(layer(_halved(features) if number else features))
        return self.last(features.mean(axis=(1, 2)))


def _halved(images: jax.Array) -> jax.Array:
    n, height, width, channels = images.shape
    return images.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def _norm(features: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(features, momentum=0.9, epsilon=1e-5, rngs=rngs)


class _Block(nnx.Module):
    """Two convolutions with a shortcut (He et al. 2016, figure 2)."""

    def __init__(
        self, channels: int, features: int, stride: int, *, products: Products, rngs: nnx.Rngs
    ) -> None:
        conv = partial(Convolution, bias=False, products=products, initial=He, rngs=rngs)
        self.first, self.first_norm = conv(channels, features, stride=stride), _norm(features, rngs)
        self.second, self.second_norm = conv(features, features), _norm(features, rngs)
        changes = stride > 1 or channels != features
        self.shortcut = conv(channels, features, size=1, stride=stride) if changes else None
        self.shortcut_norm = _norm(features, rngs) if changes else None

    def __call__(self, features: jax.Array) -> jax.Array:
        inner = jax.nn.relu(self.first_norm(self.first(features)))
        inner = self.second_norm(self.second(inner))
        if self.shortcut is not None and self.shortcut_norm is not None:
            features = self.shortcut_norm(self.shortcut(features))
        return jax.nn.relu(inner + features)


class ResNet(nnx.Module):
    """Residual network with batch normalisation.

    Args:
        shape: of an image.
        classes: number of classes.
        blocks: residual blocks of each stage; each stage but the first halves the image.
        widths: features of each stage.
        large: whether to begin with a 7 x 7 convolution of stride 2 and a maximum over 3 x 3
            pixels of stride 2, as for ImageNet; otherwise with a 3 x 3 convolution.
        products: precision of the products, as of `learning_dynamics.training.convolve`.
        rngs: random streams.

    Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition" (2016).
    """

    def __init__(
        self,
        shape: Shape,
        classes: int,
        *,
        blocks: tuple[int, ...] = (2, 2, 2, 2),
        widths: tuple[int, ...] = (64, 128, 256, 512),
        large: bool = False,
        products: Products = "float32",
        rngs: nnx.Rngs,
    ) -> None:
        if len(blocks) != len(widths) or not blocks:
            raise reject("widths", f"hold one number for each of the {len(blocks)} stages", widths)
        size, stride = (7, 2) if large else (3, 1)
        self.stem = Convolution(
            _channels(shape), widths[0], size=size, stride=stride, bias=False, products=products,
            initial=He, rngs=rngs,
        )  # fmt: skip
        self.stem_norm = _norm(widths[0], rngs)
        self.large = large
        layers, channels = [], widths[0]
        for stage, (count, features) in enumerate(zip(blocks, widths, strict=True)):
            for number in range(count):
                stride = 2 if stage and not number else 1
                layers.append(_Block(channels, features, stride, products=products, rngs=rngs))
                channels = features
        self.layers = nnx.List(layers)
        self.last = dense_layers(products, rngs)(channels, classes)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits, shape (n, classes)."""
        features = jax.nn.relu(self.stem_norm(self.stem(_with_channels(images))))
        if self.large:
            features = nnx.max_pool(features, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for layer in self.layers:
            features = layer(features)
        return self.last(features.mean(axis=(1, 2)))


def resnet18(
    shape: Shape, classes: int, *, products: Products = "float32", rngs: nnx.Rngs
) -> ResNet:
    """ResNet-18; images of 64 pixels or more begin as for ImageNet."""
    return ResNet(shape, classes, large=min(shape[:2]) >= 64, products=products, rngs=rngs)


def cross_entropy(network: Any, batch: tuple[jax.Array, jax.Array], key: jax.Array) -> jax.Array:
    """Mean cross entropy of a batch (images, labels), in nats."""
    images, labels = batch
    loss = optax.softmax_cross_entropy_with_integer_labels(network(images), labels)
    return loss.mean()


def accuracy(network: Any, images: jax.Array, labels: jax.Array, *, rows: int = 500) -> jax.Array:
    """Share of images whose largest logit is at their label, `rows` images at a time.

    Args:
        network: in evaluation mode.
        images: shape (n, height, width[, channels]).
        labels: int32, shape (n,).
        rows: bounds the memory.
    """
    chunk = min(rows, images.shape[0])
    whole = images.shape[0] // chunk * chunk

    def right(part: tuple[jax.Array, jax.Array]) -> jax.Array:
        hit = jnp.argmax(network(part[0]), axis=-1).astype(jnp.int32) == part[1]
        return hit.astype(jnp.float32).sum()

    parts = jax.tree.map(lambda a: a[:whole].reshape(-1, chunk, *a.shape[1:]), (images, labels))
    count = jax.lax.map(right, parts).sum()
    if whole < images.shape[0]:
        count = count + right((images[whole:], labels[whole:]))
    return count / images.shape[0]
