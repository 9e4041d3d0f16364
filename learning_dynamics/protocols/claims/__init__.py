"""Claims about protocols: what the way one trains changes, each with controls that must fail."""

from learning_dynamics.protocols.claims import momentum, reuse

__all__ = ["momentum", "reuse"]
