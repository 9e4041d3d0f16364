"""Diffusion models learn pairwise statistics before higher-order ones."""
