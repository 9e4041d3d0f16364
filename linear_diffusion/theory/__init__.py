"""Closed forms and deterministic equivalents of linear diffusion models, float64, no randomness.

Source: Merger and Goldt, "Generalization Dynamics of Linear Diffusion Models" (arXiv 2505.24769),
for the questions asked; the formulas were derived here and are checked by simulation.
"""

from learning_dynamics.spectra import degrees_of_freedom
from linear_diffusion.theory.divergence import (
    Direction,
    OptimalRidge,
    exact_kl,
    kl,
    kl_proportional,
    kl_slope,
    optimal_ridge,
)
from linear_diffusion.theory.edge import critical_weight
from linear_diffusion.theory.losses import Losses, bayes_loss, loss_excess, losses
from linear_diffusion.theory.resolvent import implicit_ridge, power_law_kappa
from linear_diffusion.theory.sampler import (
    Sampler,
    generated_variance,
    generated_variance_recursion,
    mean_factor,
    mode_factors,
    optimal_gains,
)
from linear_diffusion.theory.similarity import similarity
from linear_diffusion.theory.spike import (
    SpikeRecovery,
    generated_spike_recovery,
    spike_recovery,
    spike_threshold,
)
from linear_diffusion.theory.stopping import OptimalStopping, optimal_stopping
from linear_diffusion.theory.training import (
    gain_growth,
    mode_rates,
    training_gains,
    training_losses,
)
from linear_diffusion.theory.training_divergence import training_kl
from linear_diffusion.theory.universality import kl_of_latents, kurtosis_shift

__all__ = [
    "Direction",
    "Losses",
    "OptimalRidge",
    "OptimalStopping",
    "Sampler",
    "SpikeRecovery",
    "bayes_loss",
    "critical_weight",
    "degrees_of_freedom",
    "exact_kl",
    "gain_growth",
    "generated_spike_recovery",
    "generated_variance",
    "generated_variance_recursion",
    "implicit_ridge",
    "kl",
    "kl_of_latents",
    "kl_proportional",
    "kl_slope",
    "kurtosis_shift",
    "loss_excess",
    "losses",
    "mean_factor",
    "mode_factors",
    "mode_rates",
    "optimal_gains",
    "optimal_ridge",
    "optimal_stopping",
    "power_law_kappa",
    "similarity",
    "spike_recovery",
    "spike_threshold",
    "training_gains",
    "training_kl",
    "training_losses",
]
