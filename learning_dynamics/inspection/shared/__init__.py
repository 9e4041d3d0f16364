"""Sections that need no model: covariance, Fourier amplitudes, distance from a Gaussian."""

from learning_dynamics.inspection.shared import amplitudes as amplitudes
from learning_dynamics.inspection.shared import covariance as covariance
from learning_dynamics.inspection.shared import gaussianity as gaussianity
