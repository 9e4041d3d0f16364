"""Closed forms for one tied neuron on the mixed cumulant model, float64, no random numbers.

Source of the questions: Bardone, Merger and Goldt, "A theory of learning data statistics in
diffusion models, from easy to hard" (arXiv 2603.12901). The formulas were derived here and are
checked by simulation.
"""

from diffusion_theory.theory.contrast import Coefficients, Contrast, contrast
from diffusion_theory.theory.escape import EscapeLaw, escape_law, gradient_covariance
from diffusion_theory.theory.exponent import (
    DirectionExponent,
    Growth,
    exponent_along,
    growth,
    information_exponents,
    sample_complexity,
)
from diffusion_theory.theory.flow import overlap_flow, overlap_velocity
from diffusion_theory.theory.loss import (
    LossTerms,
    expanded_loss,
    gradient_norm,
    hermite_moments,
    linear_loss,
    loss_terms,
    population_loss,
)
from diffusion_theory.theory.recovery import (
    explosion_law,
    noise_along,
    recovery_law,
)

__all__ = [
    "Coefficients",
    "Contrast",
    "DirectionExponent",
    "EscapeLaw",
    "Growth",
    "LossTerms",
    "contrast",
    "escape_law",
    "expanded_loss",
    "explosion_law",
    "exponent_along",
    "gradient_covariance",
    "gradient_norm",
    "growth",
    "hermite_moments",
    "information_exponents",
    "linear_loss",
    "loss_terms",
    "noise_along",
    "overlap_flow",
    "overlap_velocity",
    "population_loss",
    "recovery_law",
    "sample_complexity",
]
