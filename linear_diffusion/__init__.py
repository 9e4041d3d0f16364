"""From memorising the samples to generating the distribution: linear diffusion models."""

from linear_diffusion import theory
from linear_diffusion.data import DataLaw, EmpiricalLaw, LatentLaw, draw, draw_moments
from linear_diffusion.data_sets import DataSets
from linear_diffusion.learners import (
    Denoiser,
    denoiser_losses,
    gradient_descent,
    online_sgd,
    optimum,
)
from linear_diffusion.measures import (
    estimate_kl,
    gaussian_kl,
    memorisation,
    nearest_neighbours,
    shared_noise_cosine,
)
from linear_diffusion.patches import from_coordinates, photograph_law, to_coordinates
from linear_diffusion.recording import (
    GeneratedLaw,
    Moments,
    generated_along_training,
    losses_along_training,
)
from linear_diffusion.remedies import early_stopping, ridge_regularisation
from linear_diffusion.sampling import generate, generated_moments, generated_variances
from linear_diffusion.simulation import (
    SampleModes,
    draw_modes,
    kl_of_modes,
    losses_of_modes,
    modes_of,
    population_gains,
    root_overlap,
    sgd_gains,
    trained_variance,
)
from linear_diffusion.spiked import draw_spike_overlaps, generated_spike_overlaps

__all__ = [
    "DataLaw",
    "DataSets",
    "Denoiser",
    "EmpiricalLaw",
    "GeneratedLaw",
    "LatentLaw",
    "Moments",
    "SampleModes",
    "denoiser_losses",
    "draw",
    "draw_modes",
    "draw_moments",
    "draw_spike_overlaps",
    "early_stopping",
    "estimate_kl",
    "from_coordinates",
    "gaussian_kl",
    "generate",
    "generated_along_training",
    "generated_moments",
    "generated_spike_overlaps",
    "generated_variances",
    "gradient_descent",
    "kl_of_modes",
    "losses_along_training",
    "losses_of_modes",
    "memorisation",
    "modes_of",
    "nearest_neighbours",
    "online_sgd",
    "optimum",
    "photograph_law",
    "population_gains",
    "ridge_regularisation",
    "root_overlap",
    "sgd_gains",
    "shared_noise_cosine",
    "theory",
    "to_coordinates",
    "trained_variance",
]
