"""Denoising networks on real images: which statistics they learn, and when."""

from diffusion_theory.networks.distances import (
    contracted_cumulant,
    covariance_distance,
    cumulant_distance,
    distances_along,
)
from diffusion_theory.networks.learning import (
    DenoiserLearning,
    draw_along,
    draw_sheets,
    learn_denoiser,
)
from diffusion_theory.networks.photographs import (
    Clones,
    best_affine_loss,
    clones,
    photograph_patches,
)
from diffusion_theory.networks.unet import (
    UNet,
    draw_images,
    noise_loss,
)

__all__ = [
    "Clones",
    "DenoiserLearning",
    "UNet",
    "best_affine_loss",
    "clones",
    "contracted_cumulant",
    "covariance_distance",
    "cumulant_distance",
    "distances_along",
    "draw_along",
    "draw_images",
    "draw_sheets",
    "learn_denoiser",
    "noise_loss",
    "photograph_patches",
]
