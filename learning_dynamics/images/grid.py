"""The grid of patches in each image of a set."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from learning_dynamics.images import pixels
from learning_dynamics.images.image_set import ImageSet
from learning_dynamics.validation import reject

__all__ = ["Grid"]

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

_CONSTANT = 1e-6  # below any contrast that 8 bits can express in a patch
_CHUNK = 2**21  # numbers handled at once in float64


class Grid:
    """Where patches lie in each image, and what they hold."""

    def __init__(
        self, images: ImageSet, size: int, stride: int, grayscale: bool, downscale: int
    ) -> None:
        self.images, self.size, self.stride = images, size, stride
        self.gray, self.downscale = grayscale, downscale
        channels = {1 if grayscale or i.ndim == 2 else i.shape[2] for i in images}
        if len(channels) > 1:
            raise reject(
                "grayscale", "be set when images differ in channels", f"{sorted(channels)} channels"
            )
        self.channels = channels.pop()
        for index, image in enumerate(images):
            if min(image.shape[:2]) // downscale < size:
                raise reject(
                    "size",
                    f"fit into every image (reduced by {downscale})",
                    f"{size} for image {index} of shape {image.shape}",
                )

    def shape(self, index: int) -> tuple[int, int]:
        """Rows and columns of the grid."""
        height, width = self.images[index].shape[:2]
        reach = (length // self.downscale - self.size for length in (height, width))
        rows, columns = (length // self.stride + 1 for length in reach)
        return rows, columns

    def count(self, index: int) -> int:
        """Number of cells."""
        rows, columns = self.shape(index)
        return rows * columns

    def positions(self, index: int, cells: Integers) -> Integers:
        """Upper left pixels of the cells, numbered row by row."""
        rows_columns = np.divmod(cells, self.shape(index)[1])
        return np.stack(rows_columns, axis=-1) * self.stride

    def _windows(self, index: int) -> Floats:
        """A view of shape (rows, columns, size, size, channels) over all positions."""
        image = self.images[index]
        floats = pixels.grayscale(image) if self.gray else pixels.unit_floats(image)
        floats = pixels.block_mean(floats, self.downscale)
        floats = floats.reshape(*floats.shape[:2], self.channels)
        windows = sliding_window_view(floats, (self.size, self.size), axis=(0, 1))
        return np.moveaxis(windows, 2, -1)

    def _pieces(self, index: int, cells: Integers) -> Iterator[tuple[slice, Floats]]:
        windows = self._windows(index)
        at = self.positions(index, cells)
        step = max(_CHUNK // (self.size**2 * self.channels), 1)
        for start in range(0, len(cells), step):
            part = slice(start, start + step)
            yield part, windows[at[part, 0], at[part, 1]]

    def contrast(self, index: int) -> Floats:
        """Standard deviation of every cell about the mean of each channel."""
        cells = np.arange(self.count(index))
        parts = [pixels.contrast(piece) for _, piece in self._pieces(index, cells)]
        return np.concatenate(parts)

    def extract(
        self,
        index: int,
        cells: Integers,
        out: NDArray[Any],
        remove_mean: bool,
        unit_norm: bool,
    ) -> None:
        """Write the patches of the cells into `out`, shape (cells, size * size * channels)."""
        for part, piece in self._pieces(index, cells):
            if unit_norm:
                constant = np.count_nonzero(pixels.contrast(piece) <= _CONSTANT)
                if constant:
                    raise reject(
                        "unit_norm",
                        "meet no constant patch (drop them with `drop_flat`)",
                        f"{constant} of them in image {index}",
                    )
            if remove_mean or unit_norm:
                piece = pixels.normalise(piece, unit_norm=unit_norm)
            out[part] = piece.reshape(len(piece), -1)
