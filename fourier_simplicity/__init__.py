"""Amplitudes before phases: learning dynamics seen in Fourier space."""

from fourier_simplicity.detection import detection_auc, field_densities, held_out_auc
from fourier_simplicity.detection_along import DetectionAlong, detect_along
from fourier_simplicity.diffusion import neuron_diffusion
from fourier_simplicity.figures import plot_inputs
from fourier_simplicity.inputs import FourierInputs, draw, draw_labelled
from fourier_simplicity.learners import SingleNeuron, TwoLayer, activation_function
from fourier_simplicity.modes import (
    power_law_spectrum,
    spectrum_from_fields,
    to_modes,
    to_sites,
    wave_vectors,
)
from fourier_simplicity.moments import (
    autocovariance,
    bispectrum,
    mode_moment,
    site_moment,
    trispectrum,
)
from fourier_simplicity.recovery import (
    SamplesToShare,
    TieOverlap,
    largest_rate,
    recovery_law,
    recovery_shift,
    resting_overlaps,
    samples_to_share,
)
from fourier_simplicity.recovery_along import (
    RecoveryAlong,
    diffusion_recovery_times,
    recover_along,
)
from fourier_simplicity.rungs import (
    BetweenClasses,
    ClassMeansDiffer,
    between_classes,
    offered_rungs,
)
from fourier_simplicity.sampled_moments import lagged_products, mode_products, site_products
from fourier_simplicity.simulation import even_start, network_problem, phase_problem
from fourier_simplicity.surrogates import (
    amplitude_only,
    class_mean_only,
    class_mean_removed,
    mean_amplitude,
    periodic_component,
    phase_only,
    spectrum_sweep,
    swap,
)
from fourier_simplicity.theory import (
    VisibleOrder,
    activation_coefficients,
    correlation,
    effective_dimension,
    leading_form,
    relations,
    slope_moments,
    visible_order,
)
from fourier_simplicity.ties import Template, Tie, harmonic, quartet, triad

__all__ = [
    "BetweenClasses",
    "ClassMeansDiffer",
    "DetectionAlong",
    "FourierInputs",
    "RecoveryAlong",
    "SamplesToShare",
    "SingleNeuron",
    "Template",
    "Tie",
    "TieOverlap",
    "TwoLayer",
    "VisibleOrder",
    "activation_coefficients",
    "activation_function",
    "amplitude_only",
    "autocovariance",
    "between_classes",
    "bispectrum",
    "class_mean_only",
    "class_mean_removed",
    "correlation",
    "detect_along",
    "detection_auc",
    "diffusion_recovery_times",
    "draw",
    "draw_labelled",
    "effective_dimension",
    "even_start",
    "field_densities",
    "harmonic",
    "held_out_auc",
    "lagged_products",
    "largest_rate",
    "leading_form",
    "mean_amplitude",
    "mode_moment",
    "mode_products",
    "network_problem",
    "neuron_diffusion",
    "offered_rungs",
    "periodic_component",
    "phase_only",
    "phase_problem",
    "plot_inputs",
    "power_law_spectrum",
    "quartet",
    "recover_along",
    "recovery_law",
    "recovery_shift",
    "relations",
    "resting_overlaps",
    "samples_to_share",
    "site_moment",
    "site_products",
    "slope_moments",
    "spectrum_from_fields",
    "spectrum_sweep",
    "swap",
    "to_modes",
    "to_sites",
    "triad",
    "trispectrum",
    "visible_order",
    "wave_vectors",
]
