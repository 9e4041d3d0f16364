"""One entry point for every format."""

import os
from pathlib import Path

import numpy as np

from learning_dynamics.images._containers import check_no_container
from learning_dynamics.images._reading import MAX_BYTES, existing_file, unfit
from learning_dynamics.images.arrays import load_array
from learning_dynamics.images.cifar import is_cifar_folder, load_cifar
from learning_dynamics.images.folder import is_image_name, load_folder, read_image
from learning_dynamics.images.idx import idx_set
from learning_dynamics.images.image_set import ImageSet

__all__ = ["load_images"]


def load_images(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> ImageSet:
    """Read images from a file or a directory whose format is recognised.

    ================================  =====================================
    path                              read by
    ================================  =====================================
    directory with CIFAR batches      `load_cifar`, its training part
    any other directory               `load_folder`
    .bin                              `load_cifar`
    .npy, .npz (by content)           `load_array`
    idx, gzipped or not (by content)  `load_idx`, with the labels beside it
    single image file                 one image
    ================================  =====================================

    Labels of idx images are read from the file, if there is one, whose name says `labels` and
    `idx1` where that of the images says `images` and `idx3`; either may be gzipped. Options need
    the loaders themselves. Archives are refused: unpack them first.

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
    check_no_container(file)
    with file.open("rb") as stream:
        start = stream.read(6)
    if start == b"\x93NUMPY" or start.startswith(b"PK"):
        return load_array(file, max_bytes=max_bytes)
    if start.startswith((b"\x1f\x8b", b"\0\0\x08")):
        return idx_set(file, _labels_beside(file), None, max_bytes, ("path", "path"))
    if is_image_name(file):
        image = read_image(file, max_bytes=max_bytes)
        return ImageSet(image[None], np.zeros(1, np.int64), (file.name,), f"image file {file.name}")
    raise unfit(
        file,
        "be CIFAR (.bin), idx, .npy, .npz, an image or a folder of images",
        f"first bytes {start.hex(' ')}",
    )


def _labels_beside(file: Path) -> Path | None:
    """The file with the labels, packed like the images or not."""
    name = file.name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    if name == file.name:
        return None
    plain = name.removesuffix(".gz")
    for beside in (name, plain, f"{plain}.gz"):
        if file.with_name(beside).is_file():
            return file.with_name(beside)
    return None
