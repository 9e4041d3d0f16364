"""Image sets with the class mean, the amplitudes, the phases, or cues of two classes in conflict.

Training images are the periodic components of real images, so that a surrogate differs from them in
its phases or amplitudes and in nothing else. Every patch or image has zero mean and unit pixel
variance (each channel its own mean): its contrast tells no class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fourier_simplicity.surrogates import (
    amplitude_only,
    class_mean_only,
    class_mean_removed,
    mean_amplitude,
    periodic_component,
    phase_only,
    spectrum_sweep,
    swap,
)
from learning_dynamics import short_text
from learning_dynamics.images import ImageSet, cut_patches, split_by_region
from learning_dynamics.images.patches import generator
from learning_dynamics.random import check_key
from learning_dynamics.validation import between, one_of, positive_integer, reject

__all__ = [
    "CONFLICT_AMPLITUDES",
    "CONFLICT_PHASES",
    "CUES",
    "MEAN_ONLY",
    "MEAN_REMOVED",
    "PHASES_ALONE",
    "CueSets",
    "cue_sets",
    "sweep_sets",
]

Array = NDArray[Any]
Pair = tuple[Array, Array]
CONFLICT_AMPLITUDES = "conflict, by amplitudes"
CONFLICT_PHASES = "conflict, by phases"
MEAN_ONLY, MEAN_REMOVED = "mean-only", "mean-removed"
PHASES_ALONE = "phase-only, mean removed"
MEANS = (MEAN_ONLY, MEAN_REMOVED, PHASES_ALONE)
CUES = ("real", "amplitude-only", "phase-only", *MEANS, CONFLICT_AMPLITUDES, CONFLICT_PHASES)
STRIPS = 10  # of a photograph, whose patches count as independent of each other
FLAT = 1e-5  # deviation of a patch below which there is nothing to scale
SPREAD = 16.0  # standard deviations that the range [0, 1] of an image set spans


@dataclass(frozen=True, eq=False)
class CueSets:
    """Training images and several test sets, each (images, labels).

    Attributes:
        train: images float32, shape (n, height, width[, channels]), and labels int32, shape (n,).
        tests: name of the cue -> images and labels.
        class_names: names of the classes, in the order of their labels.
        groups: where training images are patches, the strip of a photograph that each of them was
            cut from, shape (n,): neighbours are not independent. None: all images are.
    """

    train: Pair
    tests: dict[str, Pair]
    class_names: tuple[str, ...]
    groups: NDArray[np.int64] | None = None

    __repr__ = short_text.represent

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
    doubles = np.asarray(images, np.float64)
    centred = doubles - doubles.mean(axis=(1, 2), keepdims=True)
    spread = np.sqrt(np.mean(centred**2, axis=tuple(range(1, centred.ndim)), keepdims=True))
    return np.asarray(centred / np.maximum(spread, 1e-12), np.float32)


def _stacked(images: ImageSet, colour: bool) -> tuple[Array, NDArray[np.int64], tuple[str, ...]]:
    """Pixels, labels from zero on, and names of the classes that have an image."""
    present = np.unique([] if images.labels is None else images.labels)
    if images.labels is None or len(present) < 2:
        got = f"{len(present)} in {images.source}"
        raise reject("images", "have labels of at least two classes", got)
    if not isinstance(images.images, np.ndarray):
        shapes = sorted({i.shape for i in images})[:3]
        raise reject("images", "have one size (load them with `size`)", f"shapes {shapes}")
    pixels = images.images / 255.0 if images.images.dtype == np.uint8 else images.images
    if pixels.ndim == 4 and not colour:
        pixels = pixels.mean(axis=-1)
    known = images.class_names
    names = tuple(known[label] if known else str(label) for label in present)
    return np.asarray(pixels), np.searchsorted(present, images.labels), names


@dataclass(frozen=True)
class _Cut:
    """How training and test images come out of full frames."""

    size: int | None  # of patches; None for whole images
    stride: int
    fraction: float
    train: NDArray[np.bool_]  # frames that may be trained on
    held: NDArray[np.bool_]  # frames that are tested on: the same ones if patches are cut

    def training(
        self, frames: Array, labels: NDArray[np.int64]
    ) -> tuple[Array, NDArray[np.int64], NDArray[np.int64] | None]:
        """Training images, labels and strips: frames, or patches of their left, not flat ones."""
        chosen, known = frames[self.train], labels[self.train]
        if self.size is None:
            return chosen, known, None
        patches = cut_patches(
            ImageSet(_unit_range(chosen), known), self.size, stride=self.stride, grayscale=False,
            unit_norm=True, drop_flat=FLAT,
        )  # fmt: skip
        side = split_by_region(patches, self.fraction)[0]
        assert side.labels is not None
        down = side.positions[:, 0] * STRIPS // frames.shape[1]
        return side.images, side.labels, side.labels * STRIPS + down

    def test_patches(self, frames: Array) -> Array:
        """All patches of the right of frames, at the same places in each: (frames, places, ...)."""
        assert self.size is not None
        patches = cut_patches(
            ImageSet(_unit_range(frames)), self.size, stride=self.stride, grayscale=False
        )
        images = split_by_region(patches, self.fraction)[1].images
        return images.reshape(len(frames), -1, *images.shape[1:])


def _unit_range(frames: Array) -> Array:
    return np.clip(_standardised(frames) / SPREAD + 0.5, 0, 1)


def _cut(
    labels: NDArray[np.int64],
    names: tuple[str, ...],
    size: int | None,
    stride: int,
    fraction: float,
    draws: np.random.Generator,
) -> _Cut:
    counts = np.bincount(labels)
    if counts.max() == 1:
        if size is None:
            raise reject("size", "be given when every class is a single image", None)
        every = np.ones(len(labels), bool)
        size, stride = positive_integer("size", size), positive_integer("stride", stride)
        return _Cut(size, stride, fraction, every, every)
    if size is not None:
        raise reject("size", "be left out when classes have several images", size)
    if counts.min() < 2:
        few = names[int(np.argmin(counts))]
        raise reject(
            "images", "hold at least two images of every class", f"{counts.min()} of {few!r}"
        )
    between("fraction", fraction, 0, 1)
    train = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        mine = draws.permutation(np.flatnonzero(labels == label))
        train[mine[: min(max(round(fraction * mine.size), 1), mine.size - 1)]] = True
    return _Cut(None, stride, fraction, train, ~train)


def _each(argument: str, limit: int, classes: int, fewest: int) -> int:
    """Images of each class, at most `limit` of all together."""
    most = positive_integer(argument, limit) // classes
    if most < 1:
        raise reject(argument, f"leave an image for each of {classes} classes", limit)
    return min(most, fewest)


def _balanced(
    cut: _Cut,
    frames: Array,
    known: NDArray[np.int64],
    limit: int,
    draws: np.random.Generator,
) -> tuple[Pair, NDArray[np.int64] | None]:
    """At most `limit` training images, equally many of each class, shuffled and standardised."""
    images, labels, strips = cut.training(frames, known)
    counts = np.bincount(labels)
    each = _each("train_limit", limit, len(counts), int(counts.min()))
    chosen = [
        draws.choice(np.flatnonzero(labels == c), each, replace=False) for c in range(len(counts))
    ]
    order = draws.permutation(np.concatenate(chosen))
    pair = _standardised(images[order]), labels[order].astype(np.int32)
    return pair, None if strips is None else strips[order]


class _Scored(NamedTuple):
    """What every test set scores: row by row a class and a place in it, and a partner's class.

    Partners have the same place in another class. Each image is a partner once, so that
    amplitudes and phases of conflict images are balanced too.
    """

    label: NDArray[np.int64]
    place: NDArray[np.int64]
    other: NDArray[np.int64]


def _scored(places: int, classes: int, limit: int, draws: np.random.Generator) -> _Scored:
    """Rows for so many places in each class, at most `limit` rows, shuffled."""
    each = _each("test_limit", limit, classes, places)
    label, place = np.divmod(draws.permutation(classes * each), each)
    return _Scored(label, place, (label + 1 + place % (classes - 1)) % classes)


def _real_patches(
    cut: _Cut, frames: dict[str, Array], limit: int, draws: np.random.Generator
) -> tuple[dict[str, Array], _Scored, NDArray[np.int64]]:
    """Patches of all frames, rows, and the places of the rows: those that are flat in no frame."""
    patches = {name: cut.test_patches(each) for name, each in frames.items()}
    flat = [
        np.any(each.std(axis=(2, 3)).reshape(*each.shape[:2], -1) <= FLAT, axis=(0, 2))
        for each in patches.values()
    ]
    places = draws.permutation(np.flatnonzero(~np.any(flat, axis=0)))
    if not places.size:
        raise reject("images", "hold a patch that is flat in no surrogate", "none")
    classes = int(cut.held.sum())
    rows = _scored(places.size, classes, limit, draws)
    return patches, rows, places[rows.place]


def cue_sets(
    images: ImageSet,
    *,
    size: int | None = None,
    equal_spectra: bool = False,
    shifted: bool = False,
    tests: Sequence[str] = CUES,
    fraction: float = 0.6,
    stride: int = 2,
    train_limit: int = 60_000,
    test_limit: int = 12_000,
    colour: bool = True,
    key: jax.Array,
) -> CueSets:
    """Images of labelled classes as they are, with one cue alone, without it, or in conflict.

    Where every class is a single image (textures), surrogates are made of the whole image and
    patches of `size` pixels are cut from it afterwards; training patches lie on the left, test
    patches on the right. Otherwise images are whole and split image by image within each class.
    Conflict images carry the amplitudes of one class and the phases of another, and are scored
    once by each. All test sets score the same images (patches: the same places of every class),
    equally many of each class: each image gives its amplitudes to one conflict image and its phases
    to another. Classes without images are left out of names and labels.

    Class means live in the phases: phase-only images of aligned objects keep them. Three further
    sets tell them apart: "mean-only" keeps the mean of each class of the real test images in
    Gaussian noise that all classes share (`class_mean_only`), "mean-removed" takes it out and
    keeps all else, and "phase-only, mean removed" does so with the phase-only images
    (`class_mean_removed`). They are made after scaling and not scaled again, and are left out where
    a class has a single test image.

    Args:
        images: labelled images of one size.
        size: side of a patch in pixels, for textures only.
        equal_spectra: give all images the mean amplitude of the training images first: what is
            left of the classes is in the phases, and "amplitude-only" holds nothing of them.
        shifted: shift every image, also those that are tested, around the torus by a random
            amount: class means vanish, amplitudes and translation-invariant relations of phases
            stay. Train with `augment=shift`. Patches have random places already.
        tests: names of the test sets to make, by default all.
        fraction: share of the width, or of each class, that goes to training.
        stride: distance of neighbouring patches.
        train_limit: most training images, equally many of each class.
        test_limit: most images of each test set.
        colour: keep channels; otherwise their mean.
        key: typed random key of surrogates, split and choice.

    Raises:
        ValueError: on unlabelled or unequal images, a class with one image beside classes with
            several, `size` missing or superfluous, `shifted` patches, unknown `tests`, images
            smaller than a patch, limits below the number of classes, or a bad key.
    """
    check_key(key)
    asked = [one_of("tests", name, CUES) for name in tests]
    if not asked:
        raise reject("tests", "name at least one test set", tests)
    pixels, labels, names = _stacked(images, colour)
    draws = generator(jax.random.fold_in(key, 1))
    cut = _cut(labels, names, size, stride, fraction, draws)
    real = np.asarray(periodic_component(pixels))
    if shifted:
        if cut.size is not None:
            raise reject("shifted", "be left out where patches are cut", shifted)
        places = generator(jax.random.fold_in(key, 2)).integers(0, real.shape[1:3], (len(real), 2))
        real = np.stack([np.roll(x, by, (0, 1)) for x, by in zip(real, places, strict=True)])
    shared = np.asarray(mean_amplitude(real[cut.train], periodic=False))
    if equal_spectra:
        real = np.asarray(phase_only(real, shared, periodic=False))
    train, strips = _balanced(cut, real, labels, train_limit, draws)

    def surrogates(held: Array) -> dict[str, Array]:
        return {
            "real": held,
            "amplitude-only": np.asarray(amplitude_only(held, key=key, periodic=False)),
            "phase-only": np.asarray(phase_only(held, shared, periodic=False)),
        }

    held, known = real[cut.held], labels[cut.held]
    if cut.size is None:
        groups = _groups(known, draws)
        rows = _scored(min(map(len, groups)), len(names), test_limit, draws)
        first, second = (
            np.array([groups[c][i] for c, i in zip(classes, rows.place, strict=True)])
            for classes in (rows.label, rows.other)
        )
        images_of = surrogates(held[first])
        mixed = np.asarray(swap(held[first], held[second], periodic=False))
    else:
        order = np.argsort(known)  # one frame for each class
        first, second = np.nonzero(~np.eye(len(names), dtype=bool))
        both = np.asarray(swap(held[order][first], held[order][second], periodic=False))
        frames = {**surrogates(held[order]), "mixed": both}
        patches, rows, place = _real_patches(cut, frames, test_limit, draws)
        pair = rows.label * (len(names) - 1) + rows.other - (rows.other > rows.label)
        mixed = patches.pop("mixed")[pair, place]
        images_of = {name: each[rows.label, place] for name, each in patches.items()}
    ours, others = rows.label.astype(np.int32), rows.other.astype(np.int32)
    sets = {name: (_standardised(each), ours) for name, each in images_of.items()}
    conflict = _standardised(mixed)
    sets[CONFLICT_AMPLITUDES], sets[CONFLICT_PHASES] = (conflict, ours), (conflict, others)
    if set(asked) & set(MEANS) and np.bincount(ours).min() > 1:
        sets |= _mean_sets(sets, jax.random.fold_in(key, 3))
    return CueSets(train, {name: sets[name] for name in CUES if name in {*asked} & {*sets}}, names,
                   strips)  # fmt: skip


def _mean_sets(sets: dict[str, Pair], key: jax.Array) -> dict[str, Pair]:
    """Test sets with the class mean alone and without it."""
    (real, labels), (phases, _) = sets["real"], sets["phase-only"]
    return {
        MEAN_ONLY: (np.asarray(class_mean_only(real, labels, key=key)), labels),
        MEAN_REMOVED: (np.asarray(class_mean_removed(real, labels)), labels),
        PHASES_ALONE: (np.asarray(class_mean_removed(phases, labels)), labels),
    }


def _groups(labels: NDArray[np.int64], draws: np.random.Generator) -> list[NDArray[np.int64]]:
    """Indices of the images of each class, shuffled."""
    return [draws.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]


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
    check_key(key)
    pixels, labels, names = _stacked(images, colour)
    sets = []
    for frames in np.asarray(spectrum_sweep(pixels, exponents)):
        draws = generator(jax.random.fold_in(key, 1))
        cut = _cut(labels, names, size, stride, fraction, draws)
        train, strips = _balanced(cut, frames, labels, train_limit, draws)
        held, known = frames[cut.held], labels[cut.held]
        if cut.size is None:
            groups = _groups(known, draws)
            rows = _scored(min(map(len, groups)), len(names), test_limit, draws)
            chosen = [groups[c][i] for c, i in zip(rows.label, rows.place, strict=True)]
            test = held[chosen]
        else:
            sides = {"phases": held[np.argsort(known)]}
            patches, rows, place = _real_patches(cut, sides, test_limit, draws)
            test = patches["phases"][rows.label, place]
        tests = {"phases": (_standardised(test), rows.label.astype(np.int32))}
        sets.append(CueSets(train, tests, names, strips))
    return sets
