"""Images inside the wheels of scikit-image and scikit-learn: no network, no cache, no pooch."""

from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from learning_dynamics.images.arrays import load_array
from learning_dynamics.images.folder import read_image
from learning_dynamics.images.image_set import ImageSet
from learning_dynamics.validation import one_of, reject

__all__ = ["bundled_groups", "bundled_names", "load_bundled"]


class _File(NamedTuple):
    package: str
    path: str  # inside the package
    licence: str


_WHEELS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}


def _skimage(file: str, licence: str) -> _File:
    return _File("skimage", f"data/{file}", licence)


_FILES = {
    "brick": _skimage("brick.png", "CC0"),
    "grass": _skimage("grass.png", "CC0"),
    "gravel": _skimage("gravel.png", "CC0"),
    "astronaut": _skimage("astronaut.png", "NASA, public domain"),
    "camera": _skimage("camera.png", "CC0, L. Varshney"),
    "chelsea": _skimage("chelsea.png", "CC0, S. van der Walt"),
    "china": _File("sklearn", "datasets/images/china.jpg", "CC BY 2.0, danielbuechele"),
    "coffee": _skimage("coffee.png", "CC0, R. Michetti"),
    "flower": _File("sklearn", "datasets/images/flower.jpg", "CC BY 2.0, vultilion"),
    "motorcycle": _skimage("motorcycle_left.png", "Middlebury 2014 stereo, D. Scharstein et al."),
    "rocket": _skimage("rocket.jpg", "SpaceX, public domain"),
    "cell": _skimage("cell.png", "CC0"),
    "coins": _skimage("coins.png", "Brooklyn Museum, no known restrictions"),
    "hubble_deep_field": _skimage("hubble_deep_field.jpg", "NASA, public domain"),
    "immunohistochemistry": _skimage("ihc.png", "CMMI, no known restrictions"),
    "moon": _skimage("moon.png", "licence not stated"),
    "retina": _skimage("retina.jpg", "CC0, M. Häggström"),
    "digits": _File("sklearn", "datasets/data/digits.csv.gz", "UCI, E. Alpaydin and C. Kaynak"),
    "faces": _skimage("lfw_subset.npy", "Labeled Faces in the Wild, G. Huang et al."),
}
_GROUPS = {
    "textures": ("brick", "grass", "gravel"),
    "photographs": (
        "astronaut",
        "camera",
        "chelsea",
        "china",
        "coffee",
        "flower",
        "motorcycle",
        "rocket",
    ),
    "instruments": (
        "cell",
        "coins",
        "hubble_deep_field",
        "immunohistochemistry",
        "moon",
        "retina",
    ),
    "digits": ("digits",),
    "faces": ("faces",),
}


def bundled_groups() -> tuple[str, ...]:
    """Names of the groups that `load_bundled` knows.

    "textures" (3 gray, 512 x 512), "photographs" (8, gray and colour, of different sizes),
    "instruments" (6 scans and records of scientific instruments, no everyday scenes), "digits"
    (1797 of 8 x 8) and "faces" (100 faces and 100 non-faces of 25 x 25).
    """
    return tuple(_GROUPS)


def bundled_names(group: str | None = None) -> tuple[str, ...]:
    """Names of the bundled images that the installed wheels contain, of one group or of all.

    The files are looked for on disk: a name whose file a wheel lacks is left out.

    Raises:
        ValueError: if there is no such group.
    """
    if group is not None:
        one_of("group", group, bundled_groups())
    names = tuple(_FILES) if group is None else _GROUPS[group]
    return tuple(name for name in names if _location(_FILES[name]).is_file())


def load_bundled(name: str) -> ImageSet:
    """Load bundled images by the name of an image or of a group.

    "digits" and "faces" are float32 in [0, 1] with their classes as labels. Every other image is
    uint8 of shape (height, width) or (height, width, 3), and each is its own class.

    Raises:
        ValueError: if there is no such name, or the installed wheel lacks the file, which is
            then named. A group with a missing file is refused, not shortened.

    Source: scikit-image (textures, photographs, instruments: CC0 or public domain unless
    `ImageSet.source` says otherwise; motorcycle: Scharstein et al., GCPR 2014; faces: LFW) and
    scikit-learn (china and flower: CC BY 2.0; digits: test set of the UCI handwritten digits).
    """
    known = tuple(dict.fromkeys((*_GROUPS, *_FILES)))
    members = _GROUPS.get(one_of("name", name, known), (name,))
    paths = [_present(member) for member in members]
    source = _credits(members)
    if name == "digits":
        images, labels = _digits(paths[0])
        return ImageSet(images, labels, tuple("0123456789"), source)
    if name == "faces":
        faces = load_array(paths[0]).images
        if len(faces) != 200:
            raise reject("name", "name a file of 200 images", f"{len(faces)} in {paths[0]}")
        return ImageSet(faces, np.repeat([0, 1], 100), ("face", "background"), source)
    return ImageSet(
        tuple(read_image(path) for path in paths), np.arange(len(members)), members, source
    )


@cache
def _package(name: str) -> Path:
    # Finding a package does not import it: scikit-learn takes a second.
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise reject("name", f"belong to an installed package ({_WHEELS[name]})", "none")
    return Path(spec.origin).parent


def _location(file: _File) -> Path:
    return _package(file.package) / file.path


def _present(name: str) -> Path:
    file = _FILES[name]
    path = _location(file)
    if not path.is_file():
        wheel = _WHEELS[file.package]
        raise reject(
            "name",
            f"name an image whose file {file.path} is in the installed {wheel}",
            f"{name!r}, which {wheel} {version(wheel)} lacks",
        )
    return path


def _credits(members: Iterable[str]) -> str:
    parts = []
    for member in members:
        file = _FILES[member]
        wheel = _WHEELS[file.package]
        parts.append(f"{member} ({wheel} {version(wheel)}, {file.licence})")
    return "; ".join(parts)


def _digits(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """64 counts 0..16 and the label, a line each."""
    try:
        table = np.loadtxt(path, delimiter=",", dtype=np.float64)
    except (ValueError, OSError, EOFError) as error:
        raise reject("name", "name a readable file", f"{error} in {path}") from error
    if table.ndim != 2 or table.shape[1] != 65:
        raise reject("name", "name a table of 65 columns", f"shape {table.shape} in {path}")
    images = (table[:, :64] / 16).astype(np.float32).reshape(-1, 8, 8)
    return images, table[:, 64].astype(np.int64)
