"""CIFAR-10 and CIFAR-100 in their binary version."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from learning_dynamics.images._containers import check_no_container
from learning_dynamics.images._reading import (
    MAX_BYTES,
    check_bytes,
    existing_file,
    looks_pickled,
    unfit,
)
from learning_dynamics.images.image_set import ImageSet
from learning_dynamics.validation import one_of, reject

__all__ = ["is_cifar_folder", "load_cifar"]

_PIXELS = 3 * 32 * 32


class _Layout(NamedTuple):
    title: str
    label_classes: dict[str, int]  # label bytes of a record, in their order
    names: dict[str, str]  # label -> file with its class names
    parts: dict[str, tuple[str, ...]]  # part -> files

    @property
    def record(self) -> int:
        return len(self.label_classes) + _PIXELS


_LAYOUTS = {
    "cifar10": _Layout(
        "CIFAR-10",
        {"fine": 10},
        {"fine": "batches.meta.txt"},
        {
            "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
            "test": ("test_batch.bin",),
        },
    ),
    "cifar100": _Layout(
        "CIFAR-100",
        {"coarse": 20, "fine": 100},
        {"coarse": "coarse_label_names.txt", "fine": "fine_label_names.txt"},
        {"train": ("train.bin",), "test": ("test.bin",)},
    ),
}
_PICKLED = ("data_batch_1", "test_batch", "train", "test")


def load_cifar(
    path: str | os.PathLike[str],
    *,
    part: Literal["train", "test"] | None = None,
    kind: Literal["cifar10", "cifar100"] | None = None,
    labels: Literal["fine", "coarse"] = "fine",
    max_bytes: int = MAX_BYTES,
) -> ImageSet:
    """Read CIFAR-10 or CIFAR-100 from the *binary version* of its files.

    A record is one label byte (CIFAR-10) or a coarse and a fine label byte (CIFAR-100), then
    3072 bytes: the red, green and blue planes of 32 x 32 pixels, row by row. The Python version
    is a pickle and is never loaded.

    Args:
        path: the unpacked directory, or a single .bin file.
        part: for a directory only: "train" (the default there) or "test".
        kind: for a single file whose name and size do not tell which of the two it is.
        labels: which label of CIFAR-100; CIFAR-10 has "fine" only.
        max_bytes: bound on the size of the pixels.

    Returns:
        uint8 images of shape (n, 32, 32, 3). Class names come from `batches.meta.txt`,
        `fine_label_names.txt` or `coarse_label_names.txt` beside the data; without that file
        classes are called by their number.

    Raises:
        ValueError: if a file is missing, pickled, empty, truncated or too large, holds a label
            out of range, or an option does not apply.

    Source: A. Krizhevsky, "Learning multiple layers of features from tiny images" (2009). The
    authors state no licence; the data are not part of this package.
    """
    where = Path(path)
    if where.is_dir():
        if kind is not None:
            raise reject("kind", "be left out for a directory", repr(kind))
        chosen, files = _files_of(where, one_of("part", part or "train", ("train", "test")))
    else:
        if part is not None:
            raise reject("part", "be left out for a single file", repr(part))
        files = [existing_file(path)]
        if not looks_pickled(files[0]):  # the Python version has a message of its own
            check_no_container(files[0])
        chosen = _kind_of(files[0], kind)
    layout = _LAYOUTS[chosen]
    one_of("labels", labels, tuple(layout.label_classes))
    sizes = [_checked_size(file, layout) for file in files]
    check_bytes(where, sum(sizes) // layout.record * _PIXELS, max_bytes)
    records = np.concatenate(
        [np.fromfile(file, np.uint8).reshape(-1, layout.record) for file in files]
    )
    column = tuple(layout.label_classes).index(labels)
    _check_labels(files, sizes, records, layout)
    planes = records[:, len(layout.label_classes) :].reshape(-1, 3, 32, 32)
    return ImageSet(
        np.ascontiguousarray(planes.transpose(0, 2, 3, 1)),
        records[:, column].astype(np.int64),
        _class_names(files[0].with_name(layout.names[labels]), layout.label_classes[labels]),
        f"{layout.title}, {', '.join(file.name for file in files)}",
    )


def is_cifar_folder(folder: Path) -> bool:
    """Whether a directory holds CIFAR batches, of the binary or of the refused Python version."""
    binary = [
        name for layout in _LAYOUTS.values() for part in layout.parts.values() for name in part
    ]
    return any((folder / name).is_file() for name in (*binary, *_PICKLED))


def _files_of(folder: Path, part: str) -> tuple[str, list[Path]]:
    """The files of a part, all of them, for the layout that has one of them."""
    for kind, layout in _LAYOUTS.items():
        files = [folder / name for name in layout.parts[part]]
        if any(file.is_file() for file in files):
            return kind, [existing_file(file) for file in files]
    expected = " or ".join(layout.parts[part][0] for layout in _LAYOUTS.values())
    if any((folder / name).is_file() for name in _PICKLED):
        raise _pickle_error(folder)
    raise reject("path", f"name a directory with {expected}", f"none of them in {folder}")


def _pickle_error(path: Path) -> ValueError:
    return unfit(
        path,
        "be the binary version of CIFAR (.bin files): pickles can run code and are never loaded",
        "the Python version",
    )


def _kind_of(file: Path, kind: str | None) -> str:
    if looks_pickled(file):
        raise _pickle_error(file)
    if kind is not None:
        return one_of("kind", kind, tuple(_LAYOUTS))
    for name, layout in _LAYOUTS.items():
        if any(file.name in names for names in layout.parts.values()):
            return name
    size = file.stat().st_size
    fits = [name for name, layout in _LAYOUTS.items() if size % layout.record == 0]
    if len(fits) == 2:
        raise unfit(file, "come with `kind`, since both layouts fit", f"{size} bytes")
    if not fits:
        raise unfit(file, "hold whole records of 3073 or 3074 bytes", f"{size} bytes")
    return fits[0]


def _checked_size(file: Path, layout: _Layout) -> int:
    if looks_pickled(file):
        raise _pickle_error(file)
    size = file.stat().st_size
    if size % layout.record:
        raise unfit(
            file, f"hold whole {layout.title} records of {layout.record} bytes", f"{size} bytes"
        )
    return size


def _check_labels(
    files: Sequence[Path], sizes: Sequence[int], records: NDArray[np.uint8], layout: _Layout
) -> None:
    ends = np.cumsum(sizes) // layout.record
    for column, (name, classes) in enumerate(layout.label_classes.items()):
        wrong = np.flatnonzero(records[:, column] >= classes)
        if wrong.size:
            at = int(wrong[0])
            raise unfit(
                files[int(np.searchsorted(ends, at, side="right"))],
                f"hold {layout.title} {name} labels below {classes}",
                f"label {records[at, column]}",
            )


def _class_names(file: Path, classes: int) -> tuple[str, ...]:
    if not file.is_file():
        return tuple(str(i) for i in range(classes))
    # Bounded: whatever lies there, a list of class names is short.
    with file.open("rb") as stream:
        start = stream.read(2**16)
    try:
        lines = start.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise unfit(file, "name classes in UTF-8", f"{error}") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if len(names) != classes:
        raise unfit(file, f"name {classes} classes, one a line", f"{len(names)} names")
    return names
