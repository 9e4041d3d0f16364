"""Image sets with the amplitudes, the phases, or the cues of two classes in conflict.

Training images are the periodic components of real images, so that a surrogate differs from them in
its phases or amplitudes and in nothing else. Every patch or image has zero mean and unit pixel
variance (each channel its own mean): its contrast tells no class.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fourier_simplicity.surrogates import (
    amplitude_only,
    mean_amplitude,
    periodic_component,
    phase_only,
    spectrum_sweep,
    swap,
)
from learning_dynamics.images import ImageSet, cut_patches, split_by_region
from learning_dynamics.images.patches import generator
from learning_dynamics.validation import positive_integer, reject

__all__ = ["CONFLICT_AMPLITUDES", "CONFLICT_PHASES", "CueSets", "cue_sets", "sweep_sets"]

Array = NDArray[Any]
Pair = tuple[Array, Array]
CONFLICT_AMPLITUDES = "conflict, by amplitudes"
CONFLICT_PHASES = "conflict, by phases"
SPREAD = 16.0  # standard deviations that the range [0, 1] of an image set spans


@dataclass(frozen=True, eq=False)
class CueSets:
    """Training images and several test sets, each (images, labels).

    Attributes:
        train: images float32, shape (n, height, width[, channels]), and labels int32, shape (n,).
        tests: name of the cue -> images and labels.
        class_names: names of the classes.
    """

    train: Pair
    tests: dict[str, Pair]
    class_names: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return tuple(int(n) for n in self.train[0].shape[1:])

    @property
    def chance(self) -> float:
        """Accuracy of guessing among equally frequent classes."""
        return 1 / len(self.class_names)


def _standardised(images: Array) -> Array:
    """Zero mean per channel and unit variance over the pixels of each image, float32."""
    centred = np.asarray(images, np.float64) - np.mean(images, axis=(1, 2), keepdims=True)
    spread = np.sqrt(np.mean(centred**2, axis=tuple(range(1, centred.ndim)), keepdims=True))
    return np.asarray(centred / np.maximum(spread, 1e-12), np.float32)


def _stacked(images: ImageSet, colour: bool) -> tuple[Array, NDArray[np.int64]]:
    if images.labels is None or len(images.class_names) < 2:
        raise reject("images", "have labels of at least two classes", images.source)
    if not isinstance(images.images, np.ndarray):
        shapes = sorted({i.shape for i in images})[:3]
        raise reject("images", "have one size (load them with `size`)", f"shapes {shapes}")
    pixels = images.images / 255.0 if images.images.dtype == np.uint8 else images.images
    if pixels.ndim == 4 and not colour:
        pixels = pixels.mean(axis=-1)
    return np.asarray(pixels), images.labels


@dataclass(frozen=True)
class _Cut:
    """How training and test images come out of full frames."""

    size: int | None  # of patches; None for whole images
    stride: int
    fraction: float
    train: NDArray[np.bool_]  # frames that may be trained on
    held: NDArray[np.bool_]  # frames that are tested on: the same ones if patches are cut

    def sides(self, frames: Array, labels: NDArray[np.int64], train: bool) -> Pair:
        """Training or test images of frames: patches of one region, or the frames themselves."""
        if self.size is None:
            return frames, labels
        floats = np.clip(_standardised(frames) / SPREAD + 0.5, 0, 1)
        patches = cut_patches(
            ImageSet(floats, labels), self.size, stride=self.stride, grayscale=False,
            unit_norm=True, drop_flat=1e-5,
        )  # fmt: skip
        side = split_by_region(patches, self.fraction)[0 if train else 1]
        assert side.labels is not None
        return side.images, side.labels


def _cut(
    labels: NDArray[np.int64],
    names: tuple[str, ...],
    size: int | None,
    stride: int,
    fraction: float,
    draws: np.random.Generator,
) -> _Cut:
    counts = np.bincount(labels, minlength=len(names))
    if counts.max() == 1:
        if size is None:
            raise reject("size", "be given when every class is a single image", None)
        every = np.ones(len(labels), bool)
        return _Cut(positive_integer("size", size), stride, fraction, every, every)
    if size is not None:
        raise reject("size", "be left out when classes have several images", size)
    if counts.min() < 2:
        few = names[int(np.argmin(counts))]
        raise reject(
            "images", "hold at least two images of every class", f"{counts.min()} of {few!r}"
        )
    if not 0 < fraction < 1:
        raise reject("fraction", "lie strictly between 0 and 1", fraction)
    train = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        mine = draws.permutation(np.flatnonzero(labels == label))
        train[mine[: min(max(round(fraction * mine.size), 1), mine.size - 1)]] = True
    return _Cut(None, stride, fraction, train, ~train)


def _partners(
    labels: NDArray[np.int64], pairs: bool, draws: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of images of different classes: all pairs, or a random partner for each image."""
    if pairs:
        first, second = np.nonzero(labels[:, None] != labels[None])
        return first, second
    found = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        mine, others = np.flatnonzero(labels == label), np.flatnonzero(labels != label)
        found[mine] = draws.choice(others, mine.size)
    return np.arange(len(labels)), found


def _rows(pair: Pair, limit: int, draws: np.random.Generator) -> Pair:
    """At most `limit` rows with equally many of each class, shuffled and standardised."""
    images, labels = pair
    classes, counts = np.unique(labels, return_counts=True)
    each = min(limit // len(classes), int(counts.min()))
    chosen = [draws.choice(np.flatnonzero(labels == c), each, replace=False) for c in classes]
    order = draws.permutation(np.concatenate(chosen))
    return _standardised(images[order]), labels[order].astype(np.int32)


def cue_sets(
    images: ImageSet,
    *,
    size: int | None = None,
    equal_spectra: bool = False,
    fraction: float = 0.6,
    stride: int = 2,
    train_limit: int = 60_000,
    test_limit: int = 12_000,
    colour: bool = True,
    key: jax.Array,
) -> CueSets:
    """Real, amplitude-only, phase-only and cue-conflict images of the classes of an image set.

    Where every class is a single image (textures), surrogates are made of the whole image and
    patches of `size` pixels are cut from it afterwards; training patches lie on the left, test
    patches on the right. Otherwise images are whole and split image by image within each class.
    Conflict images carry the amplitudes of one class and the phases of another, and are scored
    once by each.

    Args:
        images: labelled images of one size.
        size: side of a patch in pixels, for textures only.
        equal_spectra: give all images the mean amplitude of the training images first: what is
            left of the classes is in the phases, and "amplitude-only" holds nothing of them.
        fraction: share of the width, or of each class, that goes to training.
        stride: distance of neighbouring patches.
        train_limit: most training images, equally many of each class.
        test_limit: most images of each test set.
        colour: keep channels; otherwise their mean.
        key: typed random key of surrogates, split and choice.

    Raises:
        ValueError: on unlabelled or unequal images, a class with one image beside classes with
            several, `size` missing or superfluous, images smaller than a patch.
    """
    pixels, labels = _stacked(images, colour)
    draws = generator(jax.random.fold_in(key, 1))
    cut = _cut(labels, images.class_names, size, stride, fraction, draws)
    real = np.asarray(periodic_component(pixels))
    shared = np.asarray(mean_amplitude(real[cut.train], periodic=False))
    if equal_spectra:
        real = np.asarray(phase_only(real, shared, periodic=False))
    held, known = real[cut.held], labels[cut.held]
    first, second = _partners(known, size is not None, draws)
    mixed = np.asarray(swap(held[first], held[second], periodic=False))
    frames: dict[str, Pair] = {
        "real": (held, known),
        "amplitude-only": (np.asarray(amplitude_only(held, key, periodic=False)), known),
        "phase-only": (np.asarray(phase_only(held, shared, periodic=False)), known),
        CONFLICT_AMPLITUDES: (mixed, known[first]),
        CONFLICT_PHASES: (mixed, known[second]),
    }
    train = cut.sides(real[cut.train], labels[cut.train], True)
    return CueSets(
        _rows(train, train_limit, draws),
        {name: _rows(cut.sides(*f, False), test_limit, draws) for name, f in frames.items()},
        images.class_names,
    )


def sweep_sets(
    images: ImageSet,
    exponents: ArrayLike,
    *,
    size: int | None = None,
    fraction: float = 0.6,
    stride: int = 2,
    train_limit: int = 60_000,
    test_limit: int = 12_000,
    colour: bool = True,
    key: jax.Array,
) -> list[CueSets]:
    """For each exponent beta: images with their own phases and the amplitudes |k|^-beta.

    The classes share their amplitudes, which are then useless for the labels. The only test set is
    "phases"; split and choice are the same for every beta. Arguments and errors are otherwise
    those of `cue_sets`.
    """
    pixels, labels = _stacked(images, colour)
    found = []
    for frames in np.asarray(spectrum_sweep(pixels, exponents)):
        draws = generator(jax.random.fold_in(key, 1))
        cut = _cut(labels, images.class_names, size, stride, fraction, draws)
        train = cut.sides(frames[cut.train], labels[cut.train], True)
        test = cut.sides(frames[cut.held], labels[cut.held], False)
        tests = {"phases": _rows(test, test_limit, draws)}
        found.append(CueSets(_rows(train, train_limit, draws), tests, images.class_names))
    return found
