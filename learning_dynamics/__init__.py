"""Theory beside simulation for the learning dynamics of neural networks."""

from learning_dynamics.comparison import Comparison, Measurement, Prediction, compare

__all__ = ["Comparison", "Measurement", "Prediction", "compare"]
