"""Claims about which statistics a denoiser learns first, each with controls that must fail.

Source of the statements: Bardone, Merger and Goldt, "A theory of learning data statistics in
diffusion models, from easy to hard" (arXiv 2603.12901). The formulas that test them were derived
here.
"""

from diffusion_theory.claims import (
    correlated,
    covariance,
    cubic,
    images,
    information_exponent,
    noise_schedule,
    pairwise,
)

__all__ = [
    "correlated",
    "covariance",
    "cubic",
    "images",
    "information_exponent",
    "noise_schedule",
    "pairwise",
]
