"""Models, sizes, records and checks of `benchmarks.device`."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import jax
import numpy as np

import learning_dynamics as ld
from benchmarks.harness import first_call, write
from benchmarks.kernel import Committee, Teacher
from learning_dynamics.process.pace import Pace, pace_of

KEY = jax.random.key(1)
RATE = 0.5
Row = dict[str, Any]


@ld.configuration
class Cube(ld.InputModel):
    """One direction, label He_3(x) / sqrt(6)."""

    @property
    def directions(self) -> int:
        """One."""
        return 1

    def latents(self) -> dict[str, Any]:
        """The field of the direction."""
        return {"x": ld.Normal((1,))}

    def signal(self, latents: Any) -> tuple[jax.Array, jax.Array]:
        """The field and the label."""
        x = latents["x"]
        return x[None], (x[0] ** 3 - 3 * x[0]) / 6.0**0.5


@ld.configuration
class Correlator(ld.Learner):
    """Minus the product of the label and the third Hermite polynomial of the field."""

    @property
    def neurons(self) -> int:
        """One."""
        return 1

    def loss(self, fields: Any, norms: Any, parameters: Any, sample: Any) -> jax.Array:
        """The product."""
        h = fields[0, 0]
        return -sample.label * (h**3 - 3 * h) / 6.0**0.5


def committee(units: int, batch: int = 1) -> ld.Problem:
    return ld.Problem(Teacher(), Committee(units), RATE, batch=batch)


class Sizes(NamedTuple):
    """What is measured, full or as a rehearsal."""

    replicas: tuple[int, ...]
    units: tuple[int, ...]
    ambient: tuple[tuple[int, int], ...]  # (N, replicas)
    wide: int  # replicas of the choices
    copied: int  # bytes of the copy that measures the memory
    seconds: float  # of a timed run, about
    law: int  # replicas of the comparison of both levels
    networks: tuple[tuple[Any, ...], ...]
    steps: int  # of training


FULL = Sizes(
    (100, 1000, 10_000, 100_000, 1_000_000),
    (1, 2, 4),
    ((1000, 100_000), (10_000, 10_000), (100_000, 1000)),
    100_000,
    2**31,
    0.25,
    50_000,
    (("unet", 16, (32, 64, 64), 32), ("unet", 32, (64, 128, 256), 64),
     ("resnet", (16, 32, 64, 128), 32), ("resnet", (64, 128, 256, 512), 128)),
    60,
)  # fmt: skip
SMALL = Sizes(
    (10, 100), (1, 2), ((100, 16), (200, 8)), 200, 2**20, 0.02, 200,
    (("unet", 8, (8, 16), 4), ("resnet", (4, 4, 8, 8), 4)), 3,
)  # fmt: skip


class Record:
    """Rows as they come: printed, and written to files after each."""

    def __init__(self, budget: float, folders: list[Path], small: bool) -> None:
        self.began, self.budget = time.perf_counter(), budget
        self.folders, self.small = folders, small
        self.rows: list[Row] = []
        self.lock = Lock()

    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget - (time.perf_counter() - self.began)

    def add(self, row: Row) -> None:
        """Keep one row."""
        row = {**row, "at_s": round(time.perf_counter() - self.began, 1)}
        devices = [str(device) for device in jax.devices()]
        with self.lock:
            self.rows.append(row)
            print(json.dumps({k: _short(v) for k, v in row.items()}), flush=True)
            for folder in self.folders:
                write("device", [], folder, devices=devices, small=self.small, **self.sections())

    def sections(self) -> dict[str, list[Row]]:
        """Rows of each section."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            rest = {name: value for name, value in row.items() if name != "section"}
            groups.setdefault(str(row["section"]).replace("-", "_"), []).append(rest)
        return groups

    def attempt(self, labels: Row, measure: Callable[[], Row]) -> None:
        """Measure one row, if time is left; an error is kept as its text."""
        try:
            if self.left() <= 0:
                raise TimeoutError("the budget is spent")
            row = measure()
        except Exception as error:
            row = {"error": f"{type(error).__name__}: {error}"[:600]}
        self.add({**labels, **row})


def _short(value: Any) -> Any:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def accelerator() -> jax.Device:
    return jax.devices()[0]


CHOSEN: ContextVar[Pace | None] = ContextVar("CHOSEN", default=None)  # of the running thread


@contextmanager
def paced(pace: Pace | None) -> Iterator[None]:
    """Runs at a pace of our choice instead of the one that the package takes."""
    token = CHOSEN.set(pace)
    yield
    CHOSEN.reset(token)


def our_pace(*structure: Any) -> Pace:
    """What replaces `pace_of` while this script runs."""
    return CHOSEN.get() or pace_of(*structure)


def run(
    problem: ld.Problem, dimension: int, replicas: int, updates: int, level: str, **options: Any
) -> Any:
    return ld.simulate(
        problem, dimension=dimension, times=[updates / dimension], replicas=replicas, key=KEY,
        level=level, devices=[accelerator()], tracker=None, **options,
    )  # fmt: skip


class Timed(NamedTuple):
    """A run whose speed is measured."""

    units: int
    dimension: int
    replicas: int
    level: str
    pace: Pace | None = None

    def run(self, updates: int) -> Any:
        """The run up to one observation."""
        problem = committee(self.units)
        return run(problem, self.dimension, self.replicas, updates, self.level).values

    def labels(self) -> Row:
        """What tells it from others."""
        chosen = self.pace._asdict() if self.pace else {}
        registers = chosen.pop("registers", None)
        shape = registers._asdict() if registers else {}
        return {"K": self.units, "N": self.dimension, "R": self.replicas, **chosen, **shape}


def speed(timed_run: Timed, seconds: float) -> Row:
    """Replica-updates per second, from runs of two lengths; and what a call costs beside."""
    replicas = timed_run.replicas

    def timed(updates: int) -> float:
        return first_call(lambda: timed_run.run(updates))[0]

    with paced(timed_run.pace):
        first = timed(1)
        least, few = min(timed(16) for _ in range(2)), 16
        more, taken = 256, timed(256)
        while taken - least < seconds / 4 and more < 2**20:
            more *= 8
            taken = timed(more)
        taken = min(taken, timed(more))
    rate = replicas * (more - few) / (taken - least)
    return {
        "updates_per_s": rate,
        "us_per_update": 1e6 * replicas / rate,
        "length": more,
        "call_s": least,
        "first_s": first,
    }


# -------------------------------------------------------------------------------- correctness


def agreement(sizes: Sizes) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Both levels on the device and on the host: equal to rounding in both precisions."""
    host = jax.local_devices(backend="cpu")[0]
    cases = [("overlaps", 1, 1, 100), ("overlaps", 4, 3, 1000), ("ambient", 2, 2, 300)]
    cases.append(("ambient", 20, 1, 1000))  # products with many terms: tf32 would show
    for level, units, batch, dimension in cases:
        for precision, bound in (("float64", 1e-10), ("float32", 2e-5)):

            def measure(
                level: str = level, precision: str = precision, bound: float = bound,
                units: int = units, batch: int = batch, dimension: int = dimension,
            ) -> Row:  # fmt: skip
                problem = committee(units, batch)
                options = {
                    "dimension": dimension, "times": [16 / dimension, 40 / dimension],
                    "replicas": 70, "key": KEY, "level": level, "precision": precision,
                }  # fmt: skip
                there = ld.simulate(problem, devices=[accelerator()], **options)
                with jax.default_device(host):
                    here = ld.simulate(problem, devices=[host], **options)
                apart = max(
                    float(np.max(np.abs(there.values[name] - here.values[name])))
                    for name in ("signal", "norms")
                )
                return {"largest_difference": apart, "bound": bound, "holds": apart < bound}

            labels = {"level": level, "K": units, "batch": batch, "N": dimension}
            yield {**labels, "precision": precision}, measure


def laws(sizes: Sizes) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Overlaps against weights in law; overlaps at large N against the limit."""
    start = ld.order_parameters([[0.3], [0.1]], [[1.0, 0.2], [0.2, 0.8]])

    def moments() -> Row:
        options = {"dimension": 40, "times": [0.5, 2.0], "replicas": sizes.law, "start": start}
        found = []
        for number, level in enumerate(("overlaps", "ambient")):
            key = jax.random.key(number)
            values = ld.simulate(
                committee(2), key=key, level=level, devices=[accelerator()], **options
            ).values
            draws = [np.asarray(values[name]) for name in ("signal", "norms")]
            draws = np.concatenate([d.reshape(sizes.law, -1) for d in draws], axis=1)
            found.append(np.concatenate([draws, (draws - draws.mean(axis=0)) ** 2], axis=1))
        errors = np.sqrt(sum(f.var(axis=0) for f in found) / sizes.law)
        z = float(np.max(np.abs(found[0].mean(axis=0) - found[1].mean(axis=0)) / errors))
        return {"largest_z": z, "bound": 5.0, "holds": z < 5}

    def limit() -> Row:
        size, times, replicas = 2**14, [0.5], max(sizes.law // 50, 50)
        simulated = ld.simulate(
            committee(2), dimension=size, times=times, replicas=replicas, key=KEY,
            level="overlaps", start=start, devices=[accelerator()],
        )  # fmt: skip
        exact = ld.integrate(committee(2), times=times, start=start)
        draws = np.asarray(simulated.values["signal"])[:, 0]
        error = draws.std(axis=0) / replicas**0.5 + 10 / size
        z = float(np.max(np.abs(draws.mean(axis=0) - exact.values["signal"][0]) / error))
        return {"largest_z": z, "bound": 5.0, "holds": z < 5}

    def theory() -> Row:
        times = [0.5, 2.0, 5.0]
        there = ld.integrate(committee(2), times=times, start=start)
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            here = ld.integrate(committee(2), times=times, start=start)
        apart = float(np.max(np.abs(there.values["norms"] - here.values["norms"])))
        return {"largest_difference": apart, "bound": 1e-7, "holds": apart < 1e-7}

    yield {"what": "moments of both levels"}, moments
    yield {"what": "overlaps against the limit"}, limit
    yield {"what": "limit on device and host"}, theory
