"""Diffusion models learn pairwise statistics before higher-order ones."""

from diffusion_theory import theory
from diffusion_theory.clones import (
    CloneLosses,
    MeanClone,
    best_loss,
    clone_losses,
    linear_optimum,
    mean_clone,
)
from diffusion_theory.composites import ManyLevels, SeveralSpikes
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.latents import Coupling, Dependent, Gaussian, Independent, Sign
from diffusion_theory.laws import Rademacher, ThreePoint, TwoPoint
from diffusion_theory.learners import TiedDenoiser

__all__ = [
    "CloneLosses",
    "Coupling",
    "Dependent",
    "Gaussian",
    "Independent",
    "ManyLevels",
    "MeanClone",
    "MixedCumulant",
    "Rademacher",
    "SeveralSpikes",
    "Sign",
    "ThreePoint",
    "TiedDenoiser",
    "TwoPoint",
    "best_loss",
    "clone_losses",
    "linear_optimum",
    "mean_clone",
    "theory",
]
