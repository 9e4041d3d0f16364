"""Claims about protocols, which are claims about the kernel itself."""

from learning_dynamics.protocols.claims import optimal_schedule

__all__ = ["optimal_schedule"]
