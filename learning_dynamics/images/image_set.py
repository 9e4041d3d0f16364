"""The container that every loader returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.validation import channels_last, integers, plain_array, reject

__all__ = ["ImageSet"]

Pixels = NDArray[Any]
_TALL = 4  # times as high as wide: no image of three or four pixels across


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images with their labels, class names and provenance.

    Every image is one photograph: patches remember the index of the image they were cut from,
    and `split_by_source` splits by that index.

    Attributes:
        images: one array of shape (n, height, width) or (n, height, width, channels) when all
            images have the same shape and type, otherwise a tuple of n arrays of shape
            (height, width) or (height, width, channels). uint8 counts 0..255; float32 lies in
            [0, 1] (wider floats are rounded to float32).
        labels: class of each image, int64, shape (n,). Where the source has no classes (a group
            of photographs, a flat folder) each photograph is its own class. None for unlabelled
            arrays.
        class_names: `class_names[label]` in words; empty when there are no labels.
        source: where the images come from, with the licence where it is known.

    Raises:
        ValueError: if there is no image, an image is empty, masked or has another rank or type,
            its channels come first, a float image leaves [0, 1], or labels do not fit the images or
            the class names.
    """

    images: Pixels | tuple[Pixels, ...]
    labels: NDArray[np.int64] | None = None
    class_names: tuple[str, ...] = ()
    source: str = "user"

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        alike = not isinstance(self.images, tuple)
        return f"{len(self)} images", {
            "images": short_text.array_text(self.images) if alike else "of different sizes",
            "labels": "" if self.labels is None else short_text.array_text(self.labels),
            "classes": ", ".join(self.class_names),
            "source": self.source,
        }

    def __post_init__(self) -> None:
        images = _normalised(self.images)
        names = tuple(str(name) for name in self.class_names)
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "class_names", names)
        if self.labels is None:
            if names:
                raise reject("class_names", "be empty when there are no labels", names)
            return
        object.__setattr__(self, "labels", _checked_labels(self.labels, len(images), names))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Pixels:
        image: Pixels = self.images[index]
        return image

    def __iter__(self) -> Iterator[Pixels]:
        return iter(self.images)

    def select(self, indices: ArrayLike) -> ImageSet:
        """Keep the images at `indices` (integers, or booleans of shape (n,)), in that order.

        Raises:
            ValueError: if nothing is kept, or `indices` is no one-dimensional index.
        """
        chosen = plain_array("indices", indices)
        if chosen.dtype == np.bool_ and chosen.shape == (len(self),):
            chosen = np.flatnonzero(chosen)
        if chosen.ndim != 1 or not chosen.size or not np.issubdtype(chosen.dtype, np.integer):
            raise reject(
                "indices",
                f"be a non-empty vector of integers or {len(self)} booleans that keep something",
                f"{chosen.dtype} of shape {chosen.shape}",
            )
        if np.any(chosen < -len(self)) or np.any(chosen >= len(self)):
            raise reject("indices", f"lie below {len(self)}", f"{chosen.min()}..{chosen.max()}")
        stacked = isinstance(self.images, np.ndarray)
        kept = self.images[chosen] if stacked else tuple(self.images[i] for i in chosen)
        labels = None if self.labels is None else self.labels[chosen]
        return replace(self, images=kept, labels=labels)


def _normalised(images: Pixels | Sequence[Pixels]) -> Pixels | tuple[Pixels, ...]:
    """Check the pixels; stack what can be stacked."""
    if isinstance(images, np.ndarray):
        shape = images.shape
        if images.ndim not in (3, 4) or not images.size:
            raise reject(
                "images",
                "have shape (n, height, width) or (n, height, width, channels), none of them zero",
                f"shape {shape}",
            )
        if images.ndim == 3 and shape[2] in (3, 4) and shape[1] > _TALL * shape[2]:
            demand = "be several images (n, height, width): give one as image[None]"
            raise reject("images", demand, f"what looks like one in colour, of shape {shape}")
        channels_last("images", shape[1:])
        return _pixels(images)
    each = tuple(_pixels(image) for image in images)
    if not each:
        raise reject("images", "hold at least one image", "none")
    for image in each:
        if image.ndim not in (2, 3) or not image.size:
            raise reject(
                "images",
                "hold arrays of shape (height, width) or (height, width, channels)",
                f"shape {image.shape}",
            )
        channels_last("images", image.shape)
    if len({(image.shape, image.dtype) for image in each}) == 1:
        return np.stack(each)
    return each


def _pixels(given: Any) -> Pixels:
    image = plain_array("images", given)
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating):
        raise reject("images", "be uint8 (0..255) or floats in [0, 1]", f"dtype {image.dtype}")
    if image.size and not (image.min() >= 0 and image.max() <= 1):  # a NaN fails both
        raise reject("images", "lie in [0, 1] when floats", f"{image.min()}..{image.max()}")
    return image.astype(np.float32, copy=False)


def _checked_labels(labels: ArrayLike, count: int, names: tuple[str, ...]) -> NDArray[np.int64]:
    array = plain_array("labels", labels)
    if array.shape != (count,) or not np.issubdtype(array.dtype, np.integer):
        raise reject(
            "labels",
            f"be {count} integers, one for each image",
            f"{array.dtype} of shape {array.shape}",
        )
    if array.min() < 0:
        raise reject("labels", "not be negative", f"{array.min()}")
    array = integers("labels", array, least=0)
    if names and array.max() >= len(names):
        raise reject("labels", f"lie below the number of classes {len(names)}", f"{array.max()}")
    return array
