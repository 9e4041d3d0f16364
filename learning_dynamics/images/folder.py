"""Single image files and folders of them, through Pillow."""

import logging
import os
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from learning_dynamics.images._complaints import complaints
from learning_dynamics.images._formats import EIGHT_BITS, FORMATS, check_opaque, check_whole
from learning_dynamics.images._reading import (
    MAX_BYTES,
    UnfitError,
    check_bytes,
    existing_directory,
    existing_file,
    unfit,
)
from learning_dynamics.images.image_set import ImageSet
from learning_dynamics.validation import positive_integer, reject

__all__ = ["is_image_name", "load_folder", "read_image"]

# Pillow logs some damage, which then goes to the error stream where nobody has set up logging
logging.getLogger("PIL").addHandler(logging.NullHandler())

_GRAY = ("1", "L", "LA", "La")
_COLOUR = ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "CMYK", "YCbCr")


def load_folder(
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    limit_per_class: int | None = None,
    skip_small: bool = False,
    max_bytes: int = MAX_BYTES,
) -> ImageSet:
    """Read a folder of image files of 8 bits a channel, in the common formats that Pillow reads.

    Subfolders are classes (ImageNet style, one level, in the order of their names). A flat
    folder has no classes: each photograph becomes its own. Files are taken in the order of their
    names; hidden files and names without an image extension are passed over.

    Args:
        path: the folder.
        size: crop the central square and resize it to `size` x `size` (antialiased bicubic).
            Gray images among coloured ones then get three equal channels.
        limit_per_class: read at most the first so many files of each class, or of a flat folder.
        skip_small: with `size`, pass over images smaller than `size` instead of refusing them.
        max_bytes: bound on each decoded file, and on all the images that are kept together.

    Returns:
        uint8 images: an array of shape (n, size, size[, 3]), or a tuple of arrays of shape
        (height, width[, 3]) when sizes differ. The camera's orientation tag is applied; colours are
        converted to RGB, without colour profiles.

    Raises:
        ValueError: if there is no image, files and class folders are mixed, a class is empty, a
            file cannot be decoded, has more than 8 bits a channel, several frames, transparent or
            too many pixels, or an image is smaller than `size` (enlarging would change its
            spectrum).
    """
    folder = existing_directory(path)
    if size is not None:
        size = positive_integer("size", size)
    elif skip_small:
        raise reject("skip_small", "be left out without `size`", "True")
    limit = (
        None if limit_per_class is None else positive_integer("limit_per_class", limit_per_class)
    )
    classes = _listing(folder, limit)
    files = [file for members in classes.values() for file in members]
    labels = np.repeat(np.arange(len(classes)), [len(members) for members in classes.values()])
    images: list[NDArray[np.uint8]] = []
    kept: list[int] = []
    total = 0
    for index, file in enumerate(files):
        try:
            image = read_image(file, size=size, max_bytes=max_bytes)
        except _TooSmallError:
            if skip_small:
                continue
            raise
        total += image.nbytes
        check_bytes(folder, total, max_bytes)
        images.append(image)
        kept.append(index)
    if not images:
        raise reject("path", f"hold an image of at least {size} pixels", f"none in {folder}")
    if size is not None and any(image.ndim == 3 for image in images):
        images = [image if image.ndim == 3 else np.stack([image] * 3, -1) for image in images]
    chosen, names = labels[kept], tuple(classes)
    return ImageSet(tuple(images), chosen, names, f"folder {folder.name}")


class _TooSmallError(UnfitError):
    """An image smaller than the size asked for."""


def _listing(folder: Path, limit: int | None) -> dict[str, list[Path]]:
    """Class name -> its image files; each file of a flat folder is a class."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    flat = [entry for entry in entries if entry.is_file() and is_image_name(entry)]
    folders = [entry for entry in entries if entry.is_dir()]
    if flat and folders:
        raise reject(
            "path",
            "hold either image files or class folders",
            f"{flat[0].name} beside {folders[0].name}/ in {folder}",
        )
    if not folders:
        if not flat:
            raise reject("path", "hold image files or folders of them", f"none in {folder}")
        return {file.name: [file] for file in flat[:limit]}
    classes = {}
    for entry in folders:
        members = sorted(file for file in entry.iterdir() if file.is_file() and is_image_name(file))
        if not members:
            raise reject("path", "hold images in every class folder", f"none in {entry}")
        classes[entry.name] = members[:limit]
    return classes


def is_image_name(file: Path) -> bool:
    """Whether a file name ends like an image that Pillow reads, and is not hidden."""
    kind = Image.registered_extensions().get(file.suffix.lower())
    return kind in (*_formats(), "MPO") and not file.name.startswith(".")


def _formats() -> tuple[str, ...]:
    Image.init()
    # Pillow hands EPS to an external program.
    return tuple(name for name in Image.OPEN if name != "EPS")


def read_image(
    path: str | os.PathLike[str], *, size: int | None = None, max_bytes: int = MAX_BYTES
) -> NDArray[np.uint8]:
    """Decode one image file to uint8 of shape (height, width) or (height, width, 3).

    Args:
        path: the file.
        size: crop the central square and resize it to `size` x `size`.
        max_bytes: bound on the decoded pixels.

    Raises:
        ValueError: if the file is missing, empty, cannot be decoded, is smaller than `size` or has
            too many pixels, or if 8-bit gray or colour is only a part of it: several frames, more
            than 8 bits a channel, transparency.
    """
    file = existing_file(path)
    with warnings.catch_warnings():
        # what is read must not depend on the filters of the user
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with _opened(file) as opened:
            return _read(opened, file, size, max_bytes)


def _opened(file: Path) -> Image.Image:
    try:
        opened = Image.open(file, formats=_formats())
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        bound = f"PIL.Image.MAX_IMAGE_PIXELS = {Image.MAX_IMAGE_PIXELS}"
        demand = f"not declare an excessive number of pixels ({bound})"
        raise unfit(file, demand, f"{error}") from error
    except Exception as error:  # decoders of broken files raise almost anything
        raise unfit(file, "be an image that Pillow reads", f"{type(error).__name__}") from error
    if opened.format not in FORMATS:
        opened.close()
        raise unfit(file, f"be one of {', '.join(FORMATS)}", f"{opened.format}")
    return opened


def _read(opened: Image.Image, file: Path, size: int | None, max_bytes: int) -> NDArray[np.uint8]:
    width, height = opened.size
    if opened.mode not in _GRAY + _COLOUR:
        raise unfit(file, EIGHT_BITS, f"Pillow mode {opened.mode}")
    channels = 1 if opened.mode in _GRAY else 3
    if size is not None and min(width, height) < size:
        raise _TooSmallError(
            str(unfit(file, f"be at least {size} pixels wide and high", f"{width} x {height}"))
        )
    check_bytes(file, width * height * channels, max_bytes)
    try:
        check_whole(file, opened)
        watched: AbstractContextManager[list[str]] = nullcontext([])
        if opened.format == "TIFF":
            watched = complaints()
        with watched as said:
            opened.load()
        if said:
            raise unfit(file, "be a whole image", said[0])
        check_opaque(file, opened)
        return _decoded(opened, "L" if channels == 1 else "RGB", size)
    except UnfitError:
        raise
    except Exception as error:  # decoders of broken files raise almost anything
        raise unfit(file, "be a whole image", f"{type(error).__name__}: {error}") from error


def _decoded(opened: Image.Image, mode: str, size: int | None) -> NDArray[np.uint8]:
    image = ImageOps.exif_transpose(opened).convert(mode)
    if size is not None:
        side = min(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        image = image.resize(
            (size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
        )
    return np.array(image, dtype=np.uint8)
