"""Training and test patches that share no photograph, or no region of one."""

from typing import Any

import numpy as np

from learning_dynamics.images.patches import PatchSet, generator
from learning_dynamics.validation import between, reject

__all__ = ["split_by_region", "split_by_source"]


def split_by_source(patches: PatchSet, fraction: float, *, key: Any) -> tuple[PatchSet, PatchSet]:
    """Split into training and test patches by photograph, so that no image is on both sides.

    Patches of one photograph resemble each other; a split by patch lets a network pass the test
    by remembering the photograph.

    Args:
        patches: patches of at least two photographs.
        fraction: share of the photographs (not of the patches) that goes to training; each
            side gets at least one photograph.
        key: jax key or integer seed that draws which.

    Raises:
        ValueError: if `fraction` is not in (0, 1) or there are fewer than two photographs.
    """
    share = between("fraction", fraction, 0, 1)
    sources = np.unique(patches.sources)
    if len(sources) < 2:
        raise reject("patches", "come from at least two photographs", f"{len(sources)}")
    training = min(max(round(share * len(sources)), 1), len(sources) - 1)
    chosen = generator(key).permutation(sources)[:training]
    train = np.isin(patches.sources, chosen)
    return patches.select(train), patches.select(~train)


def split_by_region(patches: PatchSet, fraction: float) -> tuple[PatchSet, PatchSet]:
    """Split every image by a vertical line: training on its left, test on its right.

    For textures, where each class is a single photograph. Patches that cross the line are left
    out, so that no pixel is on both sides. The line lies at `fraction` of the width that the
    patches of that image cover.

    Args:
        patches: patches of one or more images.
        fraction: share of the covered width that goes to training.

    Raises:
        ValueError: if `fraction` is not in (0, 1) or an image is left without patches on a side.
    """
    share = between("fraction", fraction, 0, 1)
    left = patches.positions[:, 1]
    train = np.zeros(len(patches), dtype=bool)
    test = np.zeros(len(patches), dtype=bool)
    for source in np.unique(patches.sources):
        mine = patches.sources == source
        start, stop = left[mine].min(), left[mine].max() + patches.size
        line = start + share * (stop - start)
        train |= mine & (left + patches.size <= line)
        test |= mine & (left >= line)
        for side in (train, test):
            if not np.any(side & mine):
                raise reject(
                    "fraction",
                    "leave patches of every image on both sides",
                    f"{share} (image {source})",
                )
    return patches.select(train), patches.select(test)
