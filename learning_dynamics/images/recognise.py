"""One entry point for every format."""

import os
from pathlib import Path

import numpy as np

from learning_dynamics.images._reading import MAX_BYTES, existing_file, looks_pickled, unfit
from learning_dynamics.images.arrays import load_array
from learning_dynamics.images.cifar import is_cifar_folder, load_cifar
from learning_dynamics.images.folder import is_image_name, load_folder, read_image
from learning_dynamics.images.idx import load_idx
from learning_dynamics.images.image_set import ImageSet

__all__ = ["load_images"]


def load_images(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> ImageSet:
    """Read images from a file or a directory whose format is recognised.

    | path | read by |
    |---|---|
    | directory with CIFAR batches | `load_cifar`, its training part |
    | any other directory | `load_folder` |
    | .bin | `load_cifar` |
    | .npy, .npz (by content) | `load_array` |
    | idx, gzipped or not (by content) | `load_idx`, with the labels beside it |
    | single image file | one image |

    Labels of idx images are read from the file, if there is one, whose name says `labels` and
    `idx1` where that of the images says `images` and `idx3`. Options need the loaders themselves.

    Args:
        path: file or directory.
        max_bytes: bound on the decoded pixels.

    Raises:
        ValueError: if there is nothing, the format is not recognised, or the loader refuses it.
    """
    where = Path(path)
    if where.is_dir():
        if is_cifar_folder(where):
            return load_cifar(where, max_bytes=max_bytes)
        return load_folder(where, max_bytes=max_bytes)
    file = existing_file(where)
    if file.suffix.lower() == ".bin":  # a CIFAR record may begin like any other format
        return load_cifar(file, max_bytes=max_bytes)
    with file.open("rb") as stream:
        start = stream.read(6)
    if looks_pickled(file):
        raise unfit(file, "hold images: pickles can run code and are never loaded", "a pickle")
    if start == b"\x93NUMPY" or start.startswith(b"PK"):
        return load_array(file, max_bytes=max_bytes)
    if start.startswith((b"\x1f\x8b", b"\0\0\x08")):
        labels = _labels_beside(file)
        return load_idx(file, labels, max_bytes=max_bytes)
    if is_image_name(file):
        image = read_image(file, max_bytes=max_bytes)
        return ImageSet(image[None], np.zeros(1, np.int64), (file.name,), f"image file {file.name}")
    raise unfit(
        file,
        "be CIFAR (.bin), idx, .npy, .npz, an image or a folder of images",
        f"first bytes {start.hex(' ')}",
    )


def _labels_beside(file: Path) -> Path | None:
    name = file.name.replace("images", "labels").replace("idx3", "idx1")
    beside = file.with_name(name)
    return beside if name != file.name and beside.is_file() else None
