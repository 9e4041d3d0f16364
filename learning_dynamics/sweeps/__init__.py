"""Sweeps of a measure over a grid, that survive whatever happens."""

from learning_dynamics.sweeps.run import MissingCells, sweep
from learning_dynamics.sweeps.store import Store, StoreError

__all__ = ["MissingCells", "Store", "StoreError", "sweep"]
