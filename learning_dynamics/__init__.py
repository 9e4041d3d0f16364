"""Theory beside simulation for the learning dynamics of neural networks."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learning_dynamics import schedules
    from learning_dynamics.evidence.comparison import (
        Comparison,
        Comparisons,
        Measurement,
        Prediction,
        compare,
        compare_each,
        compare_with_controls,
    )
    from learning_dynamics.inspection.inspect import Inspection, inspect
    from learning_dynamics.limit.accuracy import InaccurateError
    from learning_dynamics.limit.fluctuations import fluctuations
    from learning_dynamics.limit.integrate import expected_loss, integrate, right_hand_side
    from learning_dynamics.limit.limit import Limit
    from learning_dynamics.limit.linear_noise import Fluctuations
    from learning_dynamics.limit.population_loss import PopulationLoss, loss
    from learning_dynamics.limit.solution import IncompleteError
    from learning_dynamics.model.discrete import Discrete
    from learning_dynamics.model.heavy_ball import HeavyBall
    from learning_dynamics.model.input_model import InputModel, NoiseBlocks
    from learning_dynamics.model.latents import (
        Normal,
        Phase,
        Rayleigh,
        StudentT,
        Uniform,
    )
    from learning_dynamics.model.learner import Learner, Sample
    from learning_dynamics.model.overlaps import Overlaps, from_weights, order_parameters
    from learning_dynamics.model.problem import Problem
    from learning_dynamics.process.simulate import random_starts, simulate
    from learning_dynamics.process.stopping import Stop
    from learning_dynamics.process.trajectory import Trajectory, log_times
    from learning_dynamics.protocols.optimise import optimise
    from learning_dynamics.protocols.optimum import Optimum
    from learning_dynamics.pytrees import configuration, static
    from learning_dynamics.saved_results import load, save, saved_as
    from learning_dynamics.search.information_exponent import (
        InformationExponent,
        information_exponent,
    )
    from learning_dynamics.search.leap_map import LeapMap, leap_map
    from learning_dynamics.search.recovery_law import SearchLaw
    from learning_dynamics.search.recovery_times import Recoveries, common_starts, recovery_times
    from learning_dynamics.search.sample_complexity import (
        ExponentFit,
        collapse,
        fit_exponent,
        recovered_quantiles,
        recovered_share,
    )
    from learning_dynamics.search.sample_figures import plot_collapse, plot_samples
    from learning_dynamics.search.search_law import search_law
    from learning_dynamics.sweeps.run import MissingCells, sweep
    from learning_dynamics.sweeps.store import StoreError

# Imported when first asked for: the command line and the theory modules must start fast.
_HOMES = {
    "evidence.comparison": (
        "Comparison",
        "Comparisons",
        "Measurement",
        "Prediction",
        "compare",
        "compare_each",
        "compare_with_controls",
    ),
    "inspection.inspect": ("Inspection", "inspect"),
    "protocols.optimise": ("optimise",),
    "protocols.optimum": ("Optimum",),
    "pytrees": ("configuration", "static"),
    "limit.accuracy": ("InaccurateError",),
    "saved_results": ("load", "save", "saved_as"),
    "search.information_exponent": ("InformationExponent", "information_exponent"),
    "search.leap_map": ("LeapMap", "leap_map"),
    "limit.fluctuations": ("fluctuations",),
    "limit.population_loss": ("PopulationLoss", "loss"),
    "model.discrete": ("Discrete",),
    "model.latents": ("Normal", "Phase", "Rayleigh", "StudentT", "Uniform"),
    "limit.integrate": ("expected_loss", "integrate", "right_hand_side"),
    "limit.limit": ("Limit",),
    "limit.linear_noise": ("Fluctuations",),
    "model.heavy_ball": ("HeavyBall",),
    "model.input_model": ("InputModel", "NoiseBlocks"),
    "model.learner": ("Learner", "Sample"),
    "model.problem": ("Problem",),
    "search.recovery_law": ("SearchLaw",),
    "search.recovery_times": ("Recoveries", "common_starts", "recovery_times"),
    "search.sample_complexity": (
        "ExponentFit",
        "collapse",
        "fit_exponent",
        "recovered_quantiles",
        "recovered_share",
    ),
    "search.sample_figures": ("plot_collapse", "plot_samples"),
    "search.search_law": ("search_law",),
    "process.simulate": ("random_starts", "simulate"),
    "limit.solution": ("IncompleteError",),
    "model.overlaps": ("Overlaps", "from_weights", "order_parameters"),
    "process.stopping": ("Stop",),
    "process.trajectory": ("Trajectory", "log_times"),
    "sweeps.run": ("MissingCells", "sweep"),
    "sweeps.store": ("StoreError",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Comparison",
    "Comparisons",
    "Discrete",
    "ExponentFit",
    "Fluctuations",
    "HeavyBall",
    "InaccurateError",
    "IncompleteError",
    "InformationExponent",
    "InputModel",
    "Inspection",
    "LeapMap",
    "Learner",
    "Limit",
    "Measurement",
    "MissingCells",
    "NoiseBlocks",
    "Normal",
    "Optimum",
    "Overlaps",
    "Phase",
    "PopulationLoss",
    "Prediction",
    "Problem",
    "Rayleigh",
    "Recoveries",
    "Sample",
    "SearchLaw",
    "Stop",
    "StoreError",
    "StudentT",
    "Trajectory",
    "Uniform",
    "collapse",
    "common_starts",
    "compare",
    "compare_each",
    "compare_with_controls",
    "configuration",
    "expected_loss",
    "fit_exponent",
    "fluctuations",
    "from_weights",
    "information_exponent",
    "inspect",
    "integrate",
    "leap_map",
    "load",
    "log_times",
    "loss",
    "optimise",
    "order_parameters",
    "plot_collapse",
    "plot_samples",
    "random_starts",
    "recovered_quantiles",
    "recovered_share",
    "recovery_times",
    "right_hand_side",
    "save",
    "saved_as",
    "schedules",
    "search_law",
    "simulate",
    "static",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name == "schedules":
        return import_module(f"{__name__}.schedules")
    if name == "__version__":
        return version("learning-dynamics")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
