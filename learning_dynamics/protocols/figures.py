"""Figures of optimal protocols."""

import numpy as np
from matplotlib.axes import Axes

from learning_dynamics.evidence import drawing
from learning_dynamics.model.rates import schedule_paths
from learning_dynamics.protocols.optimum import Optimum
from learning_dynamics.schedules import is_table
from learning_dynamics.validation import positive_integer, reject

__all__ = ["draw_schedule"]


def draw_schedule(
    axes: Axes, optimum: Optimum, name: str = "learning_rate", *, index: int = 0
) -> None:
    """Draw an optimal schedule against tau, and its best constant as a dashed grey line.

    A table of straight pieces has markers at its values; any other schedule is a line.

    Args:
        axes: to draw on.
        optimum: from `ld.optimise`.
        name: of the schedule, as in `over`: "learning_rate", "protocol.inputs.strength".
        index: number of the series, for its colour.

    Raises:
        ValueError: on a loaded result, which has no problem, on a negative index, or if there is
            no such schedule.
    """
    problem = getattr(optimum, "problem", None)
    if problem is None:
        got = f"{type(optimum).__name__} without one"
        raise reject("optimum", "hold its problem, which no file does", got)
    schedules = schedule_paths(problem)
    if not isinstance(name, str) or name not in schedules:
        raise reject("name", f"be one of the schedules {sorted(schedules)}", repr(name))
    schedule, end = schedules[name], float(optimum.limit.times[-1])
    style = drawing.series_style(positive_integer("index", index, least=0))
    table = schedule.numbers if is_table(schedule) else None
    with drawing.figure_style():
        if table is not None and np.size(table["times"]) == np.size(table["values"]):
            times, values = np.asarray(table["times"]), np.asarray(table["values"])
            axes.plot(times, values, style.marker, color=style.colour)
            along = np.union1d(times, [0.0, end])  # beyond its ends a table is constant
            axes.plot(along, np.interp(along, times, values), color=style.colour, lw=0.5)
        else:
            times = np.linspace(0, end, 400)
            values = np.array([float(schedule(tau)) for tau in times])
            axes.plot(times, values, color=style.colour)
        if name in optimum.constants:
            axes.axhline(optimum.constants[name], ls="--", color="0.5")
        axes.set_xlabel(r"time $\tau$")
