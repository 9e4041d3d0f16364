"""Measurement, prediction, verdict and picture."""
