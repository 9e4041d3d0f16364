"""Diffusion models learn pairwise statistics before higher-order ones."""

from diffusion_theory import theory
from diffusion_theory.inputs import MixedCumulant, NoiseLevel
from diffusion_theory.latents import Coupling, Dependent, Gaussian, Independent, Sign
from diffusion_theory.laws import Normal, Rademacher, Student, ThreePoint, TwoPoint
from diffusion_theory.learners import TiedDenoiser

__all__ = [
    "Coupling",
    "Dependent",
    "Gaussian",
    "Independent",
    "MixedCumulant",
    "NoiseLevel",
    "Normal",
    "Rademacher",
    "Sign",
    "Student",
    "ThreePoint",
    "TiedDenoiser",
    "TwoPoint",
    "theory",
]
