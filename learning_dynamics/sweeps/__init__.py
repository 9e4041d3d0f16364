"""Sweeps of a measure over a grid, kept in a store and resumed after interruptions."""

from learning_dynamics.sweeps.run import MissingCells, sweep
from learning_dynamics.sweeps.store import Store, StoreError

__all__ = ["MissingCells", "Store", "StoreError", "sweep"]
