"""From memorising the samples to generating the distribution: linear diffusion models."""
