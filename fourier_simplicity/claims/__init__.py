"""The claims of Fourier simplicity, each a comparison with controls that must fail.

Source of the statements: Ricci, Merger and Goldt, "A Fourier perspective on the learning dynamics
of neural networks" (arXiv 2605.16913), of which only the abstract was at hand. The input model,
the learner and the formulas that test the statements were built and derived here.
"""

from fourier_simplicity.claims import (
    amplitudes_first,
    deep_networks,
    input_model,
    phases_cost,
    power_law,
)

__all__ = ["amplitudes_first", "deep_networks", "input_model", "phases_cost", "power_law"]
