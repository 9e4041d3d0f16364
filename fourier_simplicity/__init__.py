"""Amplitudes before phases: learning dynamics seen in Fourier space."""

from fourier_simplicity.inputs import FourierInputs, draw, draw_labelled
from fourier_simplicity.modes import power_law_spectrum, to_modes, to_sites, wave_vectors
from fourier_simplicity.moments import autocovariance, bispectrum, mode_moment, trispectrum
from fourier_simplicity.ties import Template, Tie, harmonic, quartet, triad

__all__ = [
    "FourierInputs",
    "Template",
    "Tie",
    "autocovariance",
    "bispectrum",
    "draw",
    "draw_labelled",
    "harmonic",
    "mode_moment",
    "power_law_spectrum",
    "quartet",
    "to_modes",
    "to_sites",
    "triad",
    "trispectrum",
    "wave_vectors",
]
