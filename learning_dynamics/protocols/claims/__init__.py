"""Claims about protocols: what the way one trains changes, each with controls that must fail."""

from learning_dynamics.protocols.claims import momentum, optimal_schedule, reuse

__all__ = ["momentum", "optimal_schedule", "reuse"]
