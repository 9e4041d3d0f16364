"""Amplitudes before phases: learning dynamics seen in Fourier space."""
