"""The claims of linear diffusion models, each a comparison with controls that must fail.

Source of the statements: Merger and Goldt, "Generalization Dynamics of Linear Diffusion Models"
(arXiv 2505.24769). The formulas that test them were derived here.
"""

from linear_diffusion.claims import (
    exact_errors,
    kl_linear,
    mode_dynamics,
    networks_follow,
    remedies,
    spike_recovery,
    transition,
)

__all__ = [
    "exact_errors",
    "kl_linear",
    "mode_dynamics",
    "networks_follow",
    "remedies",
    "spike_recovery",
    "transition",
]
