"""Amplitudes before phases: learning dynamics seen in Fourier space."""

from fourier_simplicity.inputs import FourierInputs, draw, draw_labelled
from fourier_simplicity.modes import (
    power_law_spectrum,
    spectrum_from_fields,
    to_modes,
    to_sites,
    wave_vectors,
)
from fourier_simplicity.moments import autocovariance, bispectrum, mode_moment, trispectrum
from fourier_simplicity.surrogates import (
    amplitude_only,
    mean_amplitude,
    periodic_component,
    phase_only,
    spectrum_sweep,
    swap,
)
from fourier_simplicity.ties import Template, Tie, harmonic, quartet, triad

__all__ = [
    "FourierInputs",
    "Template",
    "Tie",
    "amplitude_only",
    "autocovariance",
    "bispectrum",
    "draw",
    "draw_labelled",
    "harmonic",
    "mean_amplitude",
    "mode_moment",
    "periodic_component",
    "phase_only",
    "power_law_spectrum",
    "quartet",
    "spectrum_from_fields",
    "spectrum_sweep",
    "swap",
    "to_modes",
    "to_sites",
    "triad",
    "trispectrum",
    "wave_vectors",
]
