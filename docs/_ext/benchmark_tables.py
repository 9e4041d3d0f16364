"""Tables of `benchmarks/results` as the pages show them: titles, names of columns, units, meanings.

A file of results becomes a section, each list of rows in it a table. Every section, table and
column has its words here; the tests find what is missing. Names may hold for one table only.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

Record = dict[str, Any]
HIDDEN = {"at_s", "errors", "output"}  # seconds since the benchmark began; texts
WORDS = (dict, list)  # kinds of entries that are no cells

# File -> heading.
SECTIONS = {
    "device": "GPU: overlaps, training, theory",
    "device_ambient": "GPU: all weights",
    "device_choices": "GPU: groups and chunks, before pairs of updates shared their draws",
    "kernel": "CPU: the kernel",
    "report": "CPU: claims",
    "linear_diffusion": "CPU: linear diffusion",
    "networks": "CPU: networks",
    "sweep": "CPU: sweeps",
}
# Kind of file and key -> title of the table; all files of devices are of one kind.
TABLES = {
    "device start": "What `simulate` chooses on this device, for 100 000 replicas",
    "device memory": "Limits of the device",
    "device agreement": "The same runs on the device and on its host",
    "device laws": "Laws on the device",
    "device overlaps": "Overlaps level",
    "device training": "Training steps of networks",
    "device claims": "Claims at quick size, on the device",
    "device theory": "Theory on the device and on its host",
    "device ambient": "All weights, two neurons",
    "device registers": "All weights, two neurons: shapes of the kernel that holds them",
    "device overlap_choices": "Overlaps level, one neuron",
    "device ambient_choices": "All weights, two neurons",
    "kernel overlaps": "Overlaps level beside all weights, 64 replicas, two neurons",
    "kernel limit": "The limit up to τ = 10: adaptive steps beside Euler steps of 0.01",
    "report rows": "Claims at quick size, one core",
    "kernel rows": "All weights, two neurons: beside loops in other programs, one thread",
    "linear_diffusion rows": "Theory, training and sampling beside other programs",
    "networks layers": "A convolution with its two gradients",
    "networks rows": "One training step, Adam, float32",
    "sweep together": "64 cells as one compiled program, beside one after another",
    "sweep rows": "What a cell costs beyond its work",
}
# Column -> its name, and what the name leaves open; first those that mean the same everywhere.
_PACE = {
    "group": ("replicas per group", "replicas that advance together"),
    "chunk": ("updates per chunk", "updates whose random numbers are drawn together"),
    "unrolled": ("unrolled", "updates of a chunk are compiled one after another, without a loop"),
    "tries": ("tries", "attempts at a chi variable between two looks at whether they succeeded"),
    "added": ("sums as additions", "sums over neurons are written out"),
}
COLUMNS: dict[str, dict[str, tuple[str, str]]] = {
    "": {
        **_PACE,
        **{name: (name, "") for name in ("batch", "case", "cells", "claim", "level", "precision")},
        "K": ("K", "neurons"),
        "N": ("N", "dimension of the weights"),
        "R": ("replicas", ""),
        "what": ("what", ""),
        "error": ("stopped by", ""),
        "bound": ("bound", "what the number must stay below"),
        "holds": ("within the bound", ""),
        "largest_difference": ("largest difference", "absolute, of M and Q"),
        "updates_per_s": ("updates / s", "of one replica, all replicas added up"),
        "us_per_update": ("µs per update", "of all replicas together"),
        "length": ("updates timed", "of the longer of the two runs whose difference is timed"),
        "call_s": ("short call (s)", "a whole call of 16 updates, compiled before"),
        "first_s": ("first call (s)", "with what it still compiles or loads"),
        "compile_s": ("compilation (s)", "first call less a later one"),
        "memory_limit": (
            "memory limit (updates / s)",
            "rate at which the memory reads and writes all weights once per update",
        ),
        "of_limit": ("updates / memory limit", ""),
        "drawing_limit": (
            "drawing limit (updates / s)",
            "rate at which N normal variables per update are drawn without being stored",
        ),
        "of_drawing": ("updates / drawing limit", ""),
        "with": ("program", "“this”: this project"),
        "updates": ("updates", "of each replica"),
    },
    "device start": {
        "platform": ("platform", ""),
        "device": ("device", ""),
        "jax": ("version of JAX", ""),
    },
    "device memory": {
        "bytes_per_s": ("bytes / s", "read and written by a copy"),
        "normals_per_s": ("normal variables / s", ""),
    },
    "device laws": {
        "what": ("check", ""),
        "largest_z": ("largest z", "largest difference of a mean over its standard error"),
        "largest_difference": ("largest difference", "absolute, of Q"),
    },
    "device training": {
        "step_ms": ("step (ms)", ""),
        "call_s": ("short call (s)", "a whole call of two steps, compiled before"),
        "tf32": ("tf32", "products of PyTorch in tf32 in place of full float32"),
        "products": ("products", "number type of matrix products"),
    },
    "device claims": {
        "seconds": ("time (s)", "of the whole command, in a process of its own"),
        "holds": ("claim holds", ""),
    },
    "device theory": {
        "on": ("computed on", ""),
        "starts": ("starts", "of the limit, solved together; the search law has none"),
        "seconds": ("second call (s)", ""),
    },
    "device registers": {
        "lanes": (
            "lanes",
            "components of the weights that a kernel takes at once; empty: no kernel",
        ),
        "warps": ("warps", "groups of 32 threads of a kernel"),
    },
    "report rows": {
        "seed": ("seed", ""),
        "holds": ("claim holds", ""),
        "wall_seconds": ("time (s)", "by the clock"),
        "processor_seconds": ("processor time (s)", "without the import of the packages"),
        "recorded": ("recorded time (s)", "which orders the claims of a report"),
        "compile_seconds": ("compilation (s)", "part of the time"),
        "memory_gb": ("memory (GB)", "most that was held"),
        "catches": ("catches", "least relative error of the theory that a comparison catches"),
    },
    "kernel overlaps": {
        "overlaps_per_s": ("overlaps (updates / s)", ""),
        "ambient_per_s": ("all weights (updates / s)", ""),
        "ratio": ("overlaps / all weights", ""),
    },
    "kernel limit": {
        "tolerance": ("tolerance", "of the adaptive steps"),
        "steps": ("adaptive steps", ""),
        "error": (
            "error, adaptive",
            "largest error of an order parameter at the end, beside a tolerance of $10^{-11}$",
        ),
        "euler_error": ("error, Euler", ""),
        "seconds": ("time, adaptive (s)", ""),
        "euler_seconds": ("time, Euler (s)", ""),
        "times_euler": ("Euler / adaptive", "ratio of the times"),
    },
    "kernel rows": {
        "ours_per_s": ("this project (updates / s)", "of one replica, all replicas added up"),
        "generator_per_s": (
            "generator (updates / s)",
            "only the N random numbers of an update, by the generator of this project",
        ),
        "jax_random_per_s": ("jax.random (updates / s)", "only these numbers, by `jax.random`"),
        "torch_per_s": ("PyTorch (updates / s)", "batched products over the replicas"),
        "numba_per_s": ("numba (updates / s)", "compiled loops, random numbers by PyTorch"),
        "times_torch": ("this / PyTorch", ""),
        "times_numba": ("this / numba", ""),
        "times_autograd": ("this / autograd", "PyTorch with one `backward()` per sample"),
        "of_generator": ("this / generator", ""),
        "of_jax_random": ("this / jax.random", ""),
    },
    "linear_diffusion rows": {
        "ours_seconds": ("this project (s)", "without compilation"),
        "theirs": ("other program", ""),
        "theirs_seconds": ("other program (s)", ""),
        "ratio": ("this / other", "below one, this project is faster"),
        "compile_seconds": ("compilation (s)", ""),
    },
    "networks layers": {
        "layer": ("layer", "images of side × side, channels in and out"),
        "layer, GFLOP/s": ("this layer (GFLOP/s)", ""),
        "products, GFLOP/s": (
            "its products (GFLOP/s)",
            "only the products of patches with a matrix, patches given",
        ),
        "PyTorch's layer, GFLOP/s": ("PyTorch's layer (GFLOP/s)", ""),
        "PyTorch's products, GFLOP/s": ("PyTorch's products (GFLOP/s)", "the same products"),
    },
    "networks rows": {
        "case": ("case", "network with its widths, images per batch, side × side"),
        "parameters": ("parameters", ""),
        "step, ms": ("step (ms)", ""),
        "PyTorch step, ms": ("PyTorch's step (ms)", "the faster of one thread and all"),
        "ratio": ("this / PyTorch", "below one, this project is faster"),
        "start of a call, ms": ("start of a call (ms)", "a compiled call of no step"),
        "compile, s": ("compilation (s)", ""),
    },
    "sweep together": {
        "dimension": ("N", "dimension of the weights"),
        "seeds": ("cells", "one seed each"),
        "updates": ("updates", "of online SGD in each cell"),
        "one_by_one_s": ("one by one (s)", "all cells, compiled before"),
        "together_s": ("together (s)", "likewise"),
        "gain": ("one by one / together", ""),
        "compiling_one_s": ("first time, one by one (s)", "what the first sweep takes longer"),
        "compiling_together_s": ("first time, together (s)", "likewise"),
    },
    "sweep rows": {
        "engine": ("run by", ""),
        "ms_per_cell": ("ms per cell", "a cell that computes nothing"),
        "ms_per_cell_read_again": ("ms per stored cell", "a cell that is found in the store"),
    },
}


class Table(NamedTuple):
    """A table of a page.

    Attributes:
        title: what it shows.
        heads: names of its columns.
        rows: cells.
        notes: sentences on what the names leave open.
    """

    title: str
    heads: list[str]
    rows: list[list[Any]]
    notes: list[str]


def word(place: str, column: str) -> tuple[str, str]:
    """Name and explanation of a column of a table.

    Raises:
        KeyError: if it has none.
    """
    return COLUMNS.get(place, {}).get(column) or COLUMNS[""][column]


def kind(stem: str) -> str:
    """Kind of a file of results, by its name."""
    return "device" if stem.startswith("device") else stem


def tables(stem: str, record: Record) -> list[Table]:
    """The tables of a file of results: those beside the main one first."""
    found = [key for key, rows in record.items() if isinstance(rows, list) and _are_rows(rows)]
    return [_table(f"{kind(stem)} {key}", record[key]) for key in found]


def _are_rows(rows: Iterable[Any]) -> bool:
    return bool(rows) and all(isinstance(row, dict) for row in rows)


def _table(place: str, rows: list[Record]) -> Table:
    kept = [{name: row[name] for name in row if name not in HIDDEN} for row in rows]
    alone = [row["compile_s"] for row in kept if set(row) == {"compile_s"}]
    kept = [row for row in kept if set(row) != {"compile_s"}]
    names = dict.fromkeys(name for row in kept for name in row)
    names = [
        name
        for name in names
        if any(row.get(name) is not None for row in kept)
        and not any(isinstance(row.get(name), WORDS) for row in kept)
    ]
    words = [word(place, name) for name in names]
    notes = [f"**{head}**: {meaning}" for head, meaning in words if meaning]
    if alone:
        notes.append(
            f"all programs of the table were compiled before, together, in {alone[0]:.0f} s"
        )
    cells = [[_filled(row, name) for name in names] for row in kept]
    return Table(TABLES[place], [head for head, _ in words], cells, notes)


def _filled(row: Record, name: str) -> Any:
    return row.get(name, "this") if name == "with" else row.get(name)
