"""The data of an inspection: rows, pictures and a record of how they were prepared."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learning_dynamics import short_text
from learning_dynamics.images import (
    ImageSet,
    block_mean,
    bundled_groups,
    bundled_names,
    cut_patches,
    grayscale,
    load_bundled,
    load_images,
    sample_patches,
)
from learning_dynamics.images.arrays import read_arrays
from learning_dynamics.spectra import DataSpectrum, from_data
from learning_dynamics.validation import plain_array, real_array, reject

__all__ = ["Samples", "as_samples", "read"]

Array = NDArray[np.float64]
ROWS, FEW = 10_000, 16  # most and fewest rows
COLUMNS = 2048  # most directions; their covariance is diagonalised a dozen times
WHOLE, MANY = 40, 64  # largest side and least number of images that are rows as a whole
SIDE = 16  # of the patches of larger images
WINDOW, WINDOWS = 64, 1000  # side in which Fourier spectra are measured, most of them
SHOWN, LARGEST = 8, 96  # pictures that are shown, and their largest side
BLOCKS = 10  # of rows, for jackknife errors


@dataclass(frozen=True, eq=False)
class Samples:
    """Data that every section looks at.

    Attributes:
        name: where the data come from.
        rows: shape (n, d), scaled so that the variance of the directions that vary is one on
            average. Rows of images are pixels without the mean grey level of the row.
        images: the same rows as grey images in [0, 1] with their mean, shape (n, height, width);
            None where rows are no images.
        windows: grey pictures for Fourier spectra, shape (m, side, side); None likewise.
        pictures: a few grey pictures to be shown, even sides; empty likewise.
        notes: sentences that tell what was done to the data.
        labels: class of each row, shape (n,); None where rows are no whole images or have none.
    """

    name: str
    rows: Array
    images: Array | None
    windows: Array | None
    pictures: tuple[Array, ...]
    notes: tuple[str, ...]
    labels: NDArray[np.int64] | None = None

    __repr__ = short_text.represent

    @cached_property
    def spectrum(self) -> DataSpectrum:
        """Mean, eigenvalues and eigenvectors of the covariance; directions that vary only."""
        return from_data(self.rows)

    @cached_property
    def coordinates(self) -> Array:
        """Rows in the eigenbasis of the covariance, without the mean, shape (n, r)."""
        return np.asarray((self.rows - self.spectrum.mean) @ self.spectrum.basis)

    @property
    def blocks(self) -> list[slice]:
        """Parts of the rows to jackknife over: neighbours share a part, as patches of one image."""
        return in_blocks(len(self.rows))

    @cached_property
    def digest(self) -> str:
        """Hash of all numbers."""
        state = hashlib.sha256("\n".join((self.name, *self.notes)).encode("utf-8", "replace"))
        arrays = (self.rows, self.images, self.windows, *self.pictures, self.labels)
        for array in arrays:
            if array is not None:
                state.update(f"{array.dtype} {array.shape}".encode())
                state.update(np.ascontiguousarray(array).tobytes())
        return state.hexdigest()


def in_blocks(count: int) -> list[slice]:
    """Contiguous parts of nearly equal length."""
    edges = np.linspace(0, count, min(BLOCKS, count) + 1).astype(int)
    return [slice(a, b) for a, b in pairwise(edges)]


def read(path: str | os.PathLike[str]) -> tuple[Any, str]:
    """Images or rows below a path, and their name; the names of bundled sets are known too.

    Raises:
        ValueError: if there is nothing, or it cannot be read.
    """
    where = Path(path)
    if not where.exists() and str(path) in (*bundled_groups(), *bundled_names()):
        return load_bundled(str(path)), f"bundled set {path}"
    if where.is_file():
        with where.open("rb") as stream:
            start = stream.read(6)
        if start == b"\x93NUMPY" or start.startswith(b"PK\x03\x04"):
            _, arrays = read_arrays(where)
            if arrays["images"].ndim == 2:
                return arrays["images"], f"array file {where.name}"
    if not where.exists():
        known = ", ".join(bundled_groups())
        raise reject("path", f"exist, or be a bundled set ({known})", f"nothing at {where}")
    images = load_images(where)
    return images, images.source


def as_samples(data: Any, *, name: str | None = None, seed: int = 0) -> Samples:
    """Prepare data for an inspection.

    Args:
        data: a path, an `ImageSet`, images of shape (n, height, width[, channels]) or a sequence of
            images, or samples by features, shape (n, d).
        name: on the page; by default where the data come from.
        seed: of the choice of rows where there are more than are needed.

    Raises:
        ValueError: if the data cannot be read, are not finite, do not vary, or are too few.
    """
    if isinstance(data, str | os.PathLike):
        data, source = read(data)
        name = source if name is None else name
    if not isinstance(data, ImageSet):
        data = _images_or_rows(data)
    rng = np.random.default_rng(seed)
    if isinstance(data, ImageSet):
        name = data.source if name is None else name
        return _from_images(data, "images" if name == "user" else name, rng)
    return _from_rows(data, "samples by features" if name is None else name, rng)


def _images_or_rows(data: Any) -> ImageSet | NDArray[Any]:
    if isinstance(data, Sequence) and any(np.ndim(entry) > 1 for entry in data):
        return ImageSet(tuple(np.asarray(entry) for entry in data))
    array = plain_array("data", data)
    if array.ndim == 2:
        return array
    if array.ndim not in (3, 4):
        demand = "be samples by features (n, d), or images (n, height, width[, channels])"
        raise reject("data", demand, f"shape {array.shape}")
    if array.dtype.kind == "f":
        _check_finite(array)
    return ImageSet(array)


def _check_finite(array: NDArray[Any]) -> None:
    bad = ~np.isfinite(array.reshape(len(array), -1)).all(axis=1)
    if bad.any():
        got = f"NaN or infinity in {bad.sum()} of {len(array)} rows, the first is row "
        raise reject("data", "be finite", f"{got}{int(np.argmax(bad))}")


def _from_rows(data: NDArray[Any], name: str, rng: np.random.Generator) -> Samples:
    notes = []
    given, d = data.shape
    if data.dtype == np.uint8 and min(data.shape) > WHOLE:
        notes.append(
            f"The array is read as {given} samples of {d} features; give one image as image[None]."
        )
    chosen = rng.permutation(given)[:ROWS]  # neighbours in a file may belong together
    rows = real_array("data", data[chosen])
    _check_finite(data if data.dtype.kind == "f" else rows)
    if min(len(rows), d) > COLUMNS:
        demand = f"have at most {COLUMNS} columns or {COLUMNS} rows"
        raise reject("data", demand, f"shape {(given, d)}")
    if len(chosen) < given:
        notes.append(f"{ROWS} of {given} rows are used, drawn at random.")
    kept, repeated = _distinct(rows)
    rows = rows[kept]
    notes += repeated
    still = int(np.sum(np.ptp(rows, axis=0) == 0))
    if still and still < d:
        notes.append(f"{still} of {d} features never vary and are left out.")
    rows, unit = _scaled(rows)
    notes.append(_told(unit))
    return Samples(name, rows, None, None, (), tuple(notes))


def _from_images(data: ImageSet, name: str, rng: np.random.Generator) -> Samples:
    shapes = {image.shape[:2] for image in data}
    smallest = min(min(shape) for shape in shapes)
    seed = int(rng.integers(2**31))
    notes = []
    labels = None
    whole = len(shapes) == 1 and max(max(shapes)) <= WHOLE and len(data) >= MANY
    if not whole and smallest < 8:
        demand = f"hold images of at least 8 pixels a side, or at least {MANY} equal ones"
        raise reject("data", demand, f"{len(data)} of sides down to {smallest}")
    if whole:
        chosen = rng.permutation(len(data))[:ROWS]
        images = np.stack([grayscale(data[int(i)]) for i in chosen])
        labels = None if data.labels is None else data.labels[chosen]
        if len(chosen) < len(data):
            notes.append(f"{ROWS} of {len(data)} images are used, drawn at random.")
        windows = images[:, : smallest // 2 * 2, : smallest // 2 * 2] if smallest >= 8 else None
        pictures = images[:SHOWN, : images.shape[1] // 2 * 2, : images.shape[2] // 2 * 2]
        shown = tuple(pictures) if min(pictures.shape[1:]) >= 4 else ()
    else:
        side = SIDE if smallest >= 2 * SIDE else max(4, smallest // 4 * 2)
        positions = sum((h - side + 1) * (w - side + 1) for h, w in (i.shape[:2] for i in data))
        count = min(ROWS, positions)
        cut = sample_patches(data, side, count, key=seed, dtype=np.float64)
        images = cut.images
        what = f"{len(data)} images" if len(data) > 1 else "one image"
        sizes = " of different sizes" if len(shapes) > 1 else ""
        notes.append(
            f"Rows are {len(images)} patches of {side} × {side} pixels from {what}{sizes}, at "
            "random places; errors come from parts of neighbouring patches."
        )
        window = min(WINDOW, smallest // 2 * 2)
        windows = _windows(data, window, seed)
        shown = _squares([data[i] for i in range(min(SHOWN, len(data)))])
    if any(image.ndim == 3 and image.shape[2] > 1 for image in data):
        notes.append("Colours are turned into grey by their luminance.")
    flat = images.reshape(len(images), -1)
    kept, repeated = _distinct(flat)
    flat, images = flat[kept], images[kept]
    labels = None if labels is None else labels[kept]
    notes += repeated
    level = flat.mean(axis=1)
    variance = flat.var(axis=0).sum()
    if variance > 0:
        share = level.var() * flat.shape[1] / variance
        notes.append(
            f"The mean grey level of a row carries {100 * share:.3g} % of the variance; rows are "
            "taken without it."
        )
    rows, unit = _scaled(flat - level[:, None])
    notes.append(_told(unit, " (grey levels from 0 to 1)"))
    return Samples(name, rows, images, windows, shown, tuple(notes), labels)


def _distinct(rows: Array) -> tuple[NDArray[np.int64], list[str]]:
    """Places of the rows that copy no earlier one: copies would look like memorisation."""
    first: dict[bytes, int] = {}
    for number, row in enumerate(rows):
        first.setdefault(hashlib.sha256((row + 0.0).tobytes()).digest(), number)
    kept = np.array(list(first.values()))
    if len(kept) == 1 and len(rows) > 1:
        raise reject("data", "vary", f"{len(rows)} equal rows")
    if len(kept) < FEW:
        raise reject("data", f"hold at least {FEW} different rows", f"{len(kept)}")
    if len(kept) == len(rows):
        return kept, []
    note = f"{len(rows) - len(kept)} of {len(rows)} rows repeat earlier ones and are left out."
    return kept, [note]


def _told(unit: float, grey: str = "") -> str:
    """What turns the numbers of the page into those of the data as they were given."""
    divided = f"Rows are divided by {unit:.4g}{grey}"
    square = unit * unit
    if not 0 < square < np.inf:  # units of which it is no number
        return f"{divided}."
    return (
        f"{divided}: eigenvalues and ridges of this page times {square:.4g} are those of the data "
        "as they were given."
    )


def _scaled(rows: Array) -> tuple[Array, float]:
    """Rows with variance one on average over the directions that vary, and what divided them."""
    largest = np.abs(rows).max()
    small = rows / (largest if largest > 0 else 1.0)  # squares of large numbers overflow
    centre = small.mean(axis=0)
    centred = small - centre
    scale = np.sqrt(from_data(small).spectrum.mean())
    return np.asarray(centred / scale), float(scale * (largest if largest > 0 else 1.0))


def _windows(data: ImageSet, side: int, seed: int) -> Array:
    """Disjoint squares of the pictures, or overlapping ones where there are too few of them.

    Of a single picture that is hardly larger, squares of half the side: one alone has no error.
    """
    shapes = [image.shape[:2] for image in data]
    if len(shapes) == 1 and np.prod(np.subtract(shapes[0], side - 1)) < BLOCKS:
        side = side // 4 * 2
    disjoint = sum((height // side) * (width // side) for height, width in shapes)
    if disjoint >= BLOCKS:
        many = min(disjoint, WINDOWS)
        return cut_patches(data, side, limit=many, key=seed, dtype=np.float64).images
    places = sum((height - side + 1) * (width - side + 1) for height, width in shapes)
    many = min(4 * BLOCKS, places)
    return sample_patches(data, side, many, key=seed, dtype=np.float64).images


def _squares(images: Sequence[NDArray[Any]]) -> tuple[Array, ...]:
    """Central squares of pictures in grey, reduced to sides that can be shown, all equal."""
    squares = []
    for image in images:
        grey = grayscale(image)
        side = min(grey.shape)
        top, left = ((length - side) // 2 for length in grey.shape)
        square = grey[top : top + side, left : left + side]
        squares.append(block_mean(square, -(-side // LARGEST)))
    even = min(len(square) for square in squares) // 2 * 2
    starts = [(len(square) - even) // 2 for square in squares]
    return tuple(
        np.asarray(square[at : at + even, at : at + even])
        for at, square in zip(starts, squares, strict=True)
    )
