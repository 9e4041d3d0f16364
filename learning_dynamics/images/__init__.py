"""Real images without downloads: bundled sets, files of the user, and patches of both."""

from learning_dynamics.images.arrays import load_array
from learning_dynamics.images.bundled import bundled_groups, bundled_names, load_bundled
from learning_dynamics.images.cifar import load_cifar
from learning_dynamics.images.folder import load_folder
from learning_dynamics.images.idx import load_idx
from learning_dynamics.images.image_set import ImageSet
from learning_dynamics.images.patches import PatchSet, cut_patches, sample_patches
from learning_dynamics.images.pixels import block_mean, grayscale
from learning_dynamics.images.recognise import load_images
from learning_dynamics.images.splits import split_by_region, split_by_source

__all__ = [
    "ImageSet",
    "PatchSet",
    "block_mean",
    "bundled_groups",
    "bundled_names",
    "cut_patches",
    "grayscale",
    "load_array",
    "load_bundled",
    "load_cifar",
    "load_folder",
    "load_idx",
    "load_images",
    "sample_patches",
    "split_by_region",
    "split_by_source",
]
