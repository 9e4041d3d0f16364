"""Claims about protocols, which are claims about the kernel itself."""

from learning_dynamics.protocols.claims import momentum, optimal_schedule, reuse

__all__ = ["momentum", "optimal_schedule", "reuse"]
