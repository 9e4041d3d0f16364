"""Theory beside simulation for the learning dynamics of neural networks."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learning_dynamics.comparison import (
        Comparison,
        Comparisons,
        Measurement,
        Prediction,
        compare,
    )
    from learning_dynamics.kernel.accuracy import InaccurateError
    from learning_dynamics.kernel.exponent import InformationExponent, information_exponent
    from learning_dynamics.kernel.fluctuations import Fluctuations, fluctuations
    from learning_dynamics.kernel.latents import (
        Discrete,
        Normal,
        Phase,
        Rayleigh,
        StudentT,
        Uniform,
    )
    from learning_dynamics.kernel.limit import Limit, expected_loss, integrate, right_hand_side
    from learning_dynamics.kernel.problem import InputModel, Learner, NoiseBlocks, Problem, Sample
    from learning_dynamics.kernel.search import SearchLaw, search_law
    from learning_dynamics.kernel.simulate import random_starts, simulate
    from learning_dynamics.kernel.solution import IncompleteError
    from learning_dynamics.kernel.state import Overlaps, from_weights, order_parameters
    from learning_dynamics.kernel.stopping import Stop
    from learning_dynamics.kernel.trajectory import Trajectory, log_times
    from learning_dynamics.pytrees import configuration, static
    from learning_dynamics.sweeps.run import MissingCells, sweep
    from learning_dynamics.sweeps.store import StoreError

# Imported when first asked for: the command line and the theory modules must start fast.
_HOMES = {
    "comparison": ("Comparison", "Comparisons", "Measurement", "Prediction", "compare"),
    "pytrees": ("configuration", "static"),
    "kernel.accuracy": ("InaccurateError",),
    "kernel.exponent": ("InformationExponent", "information_exponent"),
    "kernel.fluctuations": ("Fluctuations", "fluctuations"),
    "kernel.latents": ("Discrete", "Normal", "Phase", "Rayleigh", "StudentT", "Uniform"),
    "kernel.limit": ("Limit", "expected_loss", "integrate", "right_hand_side"),
    "kernel.problem": ("InputModel", "Learner", "NoiseBlocks", "Problem", "Sample"),
    "kernel.search": ("SearchLaw", "search_law"),
    "kernel.simulate": ("random_starts", "simulate"),
    "kernel.solution": ("IncompleteError",),
    "kernel.state": ("Overlaps", "from_weights", "order_parameters"),
    "kernel.stopping": ("Stop",),
    "kernel.trajectory": ("Trajectory", "log_times"),
    "sweeps.run": ("MissingCells", "sweep"),
    "sweeps.store": ("StoreError",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Comparison",
    "Comparisons",
    "Discrete",
    "Fluctuations",
    "InaccurateError",
    "IncompleteError",
    "InformationExponent",
    "InputModel",
    "Learner",
    "Limit",
    "Measurement",
    "MissingCells",
    "NoiseBlocks",
    "Normal",
    "Overlaps",
    "Phase",
    "Prediction",
    "Problem",
    "Rayleigh",
    "Sample",
    "SearchLaw",
    "Stop",
    "StoreError",
    "StudentT",
    "Trajectory",
    "Uniform",
    "compare",
    "configuration",
    "expected_loss",
    "fluctuations",
    "from_weights",
    "information_exponent",
    "integrate",
    "log_times",
    "order_parameters",
    "random_starts",
    "right_hand_side",
    "search_law",
    "simulate",
    "static",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
