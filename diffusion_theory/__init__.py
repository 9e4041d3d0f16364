"""Diffusion models learn pairwise statistics before higher-order ones."""

from diffusion_theory import theory
from diffusion_theory.clones import CloneLosses, MeanClone, clone_losses, linear_optimum, mean_clone
from diffusion_theory.inputs import MixedCumulant, NoiseLevel
from diffusion_theory.latents import Coupling, Dependent, Gaussian, Independent, Sign
from diffusion_theory.laws import Normal, Rademacher, Student, ThreePoint, TwoPoint
from diffusion_theory.learners import TiedDenoiser
from diffusion_theory.simulation import train

__all__ = [
    "CloneLosses",
    "Coupling",
    "Dependent",
    "Gaussian",
    "Independent",
    "MeanClone",
    "MixedCumulant",
    "NoiseLevel",
    "Normal",
    "Rademacher",
    "Sign",
    "Student",
    "ThreePoint",
    "TiedDenoiser",
    "TwoPoint",
    "clone_losses",
    "linear_optimum",
    "mean_clone",
    "theory",
    "train",
]
