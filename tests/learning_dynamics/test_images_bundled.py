import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from learning_dynamics.images import ImageSet, bundled, bundled_groups, bundled_names, load_bundled


def test_every_bundled_name_loads_and_says_where_it_comes_from():
    for name in bundled_names():
        images = load_bundled(name)
        assert name in images.source
        assert images.images.dtype == (np.float32 if name in ("digits", "faces") else np.uint8)
        assert images.images.std() > 0


def test_groups_have_the_sizes_and_labels_they_promise():
    assert set(bundled_names()) == {n for g in bundled_groups() for n in bundled_names(g)}
    textures = load_bundled("textures")
    assert textures.images.shape == (3, 512, 512)
    assert textures.class_names == ("brick", "grass", "gravel")
    photographs = load_bundled("photographs")
    assert isinstance(photographs.images, tuple)
    assert photographs[photographs.class_names.index("camera")].shape == (512, 512)
    assert photographs[photographs.class_names.index("china")].shape == (427, 640, 3)
    np.testing.assert_array_equal(photographs.labels, np.arange(8))
    digits = load_bundled("digits")
    assert digits.images.shape == (1797, 8, 8)
    assert digits.images.max() == 1
    assert np.bincount(digits.labels).min() == 174


def test_bundled_images_agree_with_the_packages_own_loaders():
    from skimage import data
    from sklearn.datasets import load_digits, load_sample_image

    np.testing.assert_array_equal(load_bundled("grass")[0], data.grass())
    np.testing.assert_array_equal(load_bundled("coffee")[0], data.coffee())
    np.testing.assert_array_equal(load_bundled("flower")[0], load_sample_image("flower.jpg"))
    digits = load_digits()
    np.testing.assert_array_equal(load_bundled("digits").images, digits.images / 16)
    np.testing.assert_array_equal(load_bundled("digits").labels, digits.target)


def test_a_wheel_without_a_file_is_named(monkeypatch):
    lacking = bundled._FILES["brick"]._replace(path="data/not_there.png")
    monkeypatch.setitem(bundled._FILES, "brick", lacking)
    assert "brick" not in bundled_names("textures")
    for name in ("brick", "textures"):
        with pytest.raises(ValueError, match=r"data/not_there\.png .*scikit-image [\d.]+ lacks"):
            load_bundled(name)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"`name` must be one of 'textures'.*'lena'"):
        load_bundled("lena")
    with pytest.raises(ValueError, match="`group` must be one of"):
        bundled_names("paintings")


_QUIET = """
import socket, sys

def refuse(*arguments, **options):
    raise OSError("network")

socket.socket.connect = socket.getaddrinfo = refuse
sys.modules["pooch"] = None

import jax

before = dict(jax.config.values)
from learning_dynamics.images import bundled_groups, load_bundled

for group in bundled_groups():
    load_bundled(group)
assert dict(jax.config.values) == before
assert not {"sklearn", "skimage"} & set(sys.modules)
"""


def test_no_network_no_pooch_and_no_jax_setting():
    root = Path(find_spec("learning_dynamics").origin).parents[1]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _QUIET], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_equal_images_are_stacked_and_unequal_ones_are_not():
    small, large = np.zeros((2, 3), np.uint8), np.zeros((4, 5), np.uint8)
    assert ImageSet((small, small)).images.shape == (2, 2, 3)
    mixed = ImageSet((small, large, small), np.array([0, 1, 0]), ("a", "b"))
    assert [image.shape for image in mixed.select([True, True, False])] == [(2, 3), (4, 5)]
    kept = mixed.select([2, 0])
    np.testing.assert_array_equal(kept.labels, [0, 0])
    assert kept.images.shape == (2, 2, 3)
    assert ImageSet(np.zeros((1, 2, 2))).images.dtype == np.float32


PIXELS = np.zeros((2, 3, 3), np.uint8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": ()}, "at least one image"),
        ({"images": np.zeros((3, 3), np.uint8)}, r"\(n, height, width\)"),
        ({"images": (np.zeros(3, np.uint8),)}, r"shape \(3,\)"),
        ({"images": PIXELS.astype(np.int64)}, "uint8"),
        ({"images": PIXELS + 2.0}, r"\[0, 1\]"),
        ({"images": np.full((1, 2, 2), np.nan)}, r"\[0, 1\]"),
        ({"images": PIXELS, "labels": np.array([0])}, "2 integers"),
        ({"images": PIXELS, "labels": np.array([0.0, 1.0])}, "2 integers"),
        ({"images": PIXELS, "labels": np.array([0, -1])}, "negative"),
        ({"images": PIXELS, "labels": np.array([0, 2]), "class_names": ("a", "b")}, "below"),
        ({"images": PIXELS, "class_names": ("a",)}, "no labels"),
    ],
)
def test_image_sets_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ImageSet(**arguments)


@pytest.mark.parametrize("indices", [[], [0.5], [[0]], [5], [-3], [False, False]])
def test_selections_that_make_no_sense_are_refused(indices):
    with pytest.raises(ValueError, match="`indices`"):
        ImageSet(PIXELS).select(indices)
