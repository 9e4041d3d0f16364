"""An accelerator beside its own host: correctness, speed, and what the choices of a run cost.

Run as `python -m benchmarks.device --budget 450 --out DIR` in the repository on a machine with a
GPU, JAX for it, and this package with what it depends on; PyTorch is optional. `--only SECTION ...`
takes a part, `--small` rehearses every line on any machine. Rows are printed as they come and kept
in `benchmarks/results/device.json` and in DIR, so that a run that is cut short loses nothing; an
error of a row is a row. Rates are replica-updates per second from the difference of two runs: a
call's start and its compilation are stated apart.
"""

import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # PyTorch and claims need some

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import erf

import learning_dynamics as ld
from benchmarks import networks
from benchmarks.harness import RESULTS, first_call, show, write
from benchmarks.kernel import Teacher
from learning_dynamics.process import simulate as simulation
from learning_dynamics.process.layout import layout_of
from learning_dynamics.process.pace import Pace, pace_of

try:
    import torch
except ImportError:
    torch = None

KEY = jax.random.key(1)
RATE = 0.5
CLAIMS = ("linear/exact-errors", "linear/mode-dynamics", "diffusion/covariance-is-linear")
Row = dict[str, Any]


@ld.configuration
class Committee(ld.Learner):
    """Erf units with unit second layer and squared loss."""

    units: int = ld.static(default=1)

    @property
    def neurons(self) -> int:
        """Units."""
        return self.units

    def loss(self, fields: Any, norms: Any, parameters: Any, sample: Any) -> jax.Array:
        """Half the squared error."""
        return (jnp.sum(erf(fields[:, 0] / 2.0**0.5)) - sample.label) ** 2 / 2


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
                write("device", self.rows, folder, devices=devices, small=self.small)

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
        return {"K": self.units, "N": self.dimension, "R": self.replicas, **chosen}


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
        "rate": rate,
        "us_per_update": 1e6 * replicas / rate,
        "updates": more,
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


# -------------------------------------------------------------------------------- speed


def memory(sizes: Sizes) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Bytes per second that a copy reads and writes, and single-precision products."""

    def copy() -> Row:
        numbers = jnp.ones(sizes.copied // 4, jnp.float32)
        step = jax.jit(lambda a: a * 1.0001, donate_argnums=0)
        numbers = jax.block_until_ready(step(numbers))
        begin = time.perf_counter()
        for _ in range(20):
            numbers = step(numbers)
        jax.block_until_ready(numbers)
        rate = 20 * 2 * sizes.copied / (time.perf_counter() - begin)
        return {"bytes_per_s": rate}

    yield {"what": "copy"}, copy


def overlaps(sizes: Sizes) -> list[Timed]:
    """Replica-updates per second of the overlaps level; all R for one unit only."""
    return [
        Timed(units, 1000, replicas, "overlaps")
        for units in sizes.units
        for replicas in (sizes.replicas if units == 1 else sizes.replicas[-3::2])
    ]


def overlap_choices(sizes: Sizes) -> list[Timed]:
    """The same for several groups, chunks, and loops or unrolled updates."""
    wide = sizes.wide
    paces = [Pace(group, 16, True, 2, True) for group in sorted({min(256, wide), min(4096, wide)})]
    paces += [Pace(wide, chunk, True, 2, True) for chunk in (4, 8, 16, 32)]
    paces += [Pace(wide, 16, True, 2, False), Pace(wide, 16, True, 1, True)]
    paces += [Pace(wide, 256, False, 2, True), Pace(wide, 64, False, 4, True)]
    # whole groups only, so that no pace works on padding
    return [Timed(1, 1000, wide // p.group * p.group, "overlaps", p) for p in paces]


def ambient_choices(sizes: Sizes) -> list[Timed]:
    """Groups that fit into the device's cache, and chunks."""
    dimension, replicas = sizes.ambient[1]
    groups = sorted({min(g, replicas) for g in (64, 256, 1024, replicas)})
    paces = [Pace(group, 4, True) for group in groups]
    paces += [Pace(replicas, chunk, True) for chunk in (1, 2, 8)]
    paces += [Pace(replicas, 8, False)]
    return [Timed(2, dimension, replicas // p.group * p.group, "ambient", p) for p in paces]


def ambient(sizes: Sizes) -> list[Timed]:
    """All N weights."""
    return [Timed(2, dimension, replicas, "ambient") for dimension, replicas in sizes.ambient]


def speeds(
    runs: list[Timed], sizes: Sizes, record: Record
) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Rates of some runs; those of all weights beside the memory limit and PyTorch's loop."""
    for timed_run in runs:

        def measure(timed_run: Timed = timed_run) -> Row:
            row = speed(timed_run, sizes.seconds)
            if timed_run.level == "overlaps":
                return row
            return beside_memory(row, timed_run.dimension, timed_run.units, record)

        def theirs(timed_run: Timed = timed_run) -> Row:
            row = torch_speed(timed_run.dimension, timed_run.replicas, sizes.seconds)
            return beside_memory(row, timed_run.dimension, 2, record)

        yield timed_run.labels(), measure
        if torch is not None and timed_run.level == "ambient" and timed_run.pace is None:
            yield {**timed_run.labels(), "with": "PyTorch"}, theirs


def bandwidth(record: Record) -> float | None:
    """Bytes per second of the copy, if it was measured."""
    return next((row["bytes_per_s"] for row in record.rows if "bytes_per_s" in row), None)


def beside_memory(row: Row, dimension: int, units: int, record: Record) -> Row:
    """Rate over the one at which the weights are read and written once per update."""
    measured = bandwidth(record)
    if measured is None:
        return row
    limit = measured / (2 * units * dimension * 4)
    return {**row, "memory_limit": limit, "of_limit": row["rate"] / limit}


def torch_speed(dimension: int, replicas: int, seconds: float) -> Row:
    """Batched products over the replicas, eager, inputs of 8 updates drawn together."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    root, slope, chunk = 2.0**0.5, (2 / np.pi) ** 0.5, 8

    def steps(w: Any, count: int) -> float:
        with torch.no_grad():
            for _ in range(count // chunk):
                for x in torch.randn(chunk, replicas, dimension, device=device):
                    fields = torch.bmm(w, x[:, :, None])[:, :, 0]
                    error = torch.erf(fields / root).sum(1) - torch.erf(x[:, 0] / root)
                    a = error[:, None] * torch.exp(-fields * fields / 2) * slope
                    w.baddbmm_(a[:, :, None], x[:, None, :], alpha=-RATE / dimension)
            return float(w[0, 0, 0])

    w = torch.randn(replicas, 2, dimension, device=device) / dimension**0.5
    steps(w, chunk)
    count = chunk
    while True:
        taken = first_call(lambda n=count: steps(w, n))[0]
        if taken > seconds or count >= 2**14:
            return {"rate": replicas * count / taken, "us_per_update": 1e6 * taken / count}
        count *= 4


def theories(sizes: Sizes) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """The limit from many starts and the search law, on the device and on the host."""
    count = 2 if sizes is SMALL else 8
    draws = np.random.default_rng(0)
    signal = draws.uniform(-0.3, 0.3, (count, 2, 1))
    norms = np.broadcast_to(np.array([[1.0, 0.2], [0.2, 0.8]]), (count, 2, 2))
    starts = ld.order_parameters(signal, norms)
    options: Any = {"points": 2**12, "tracker": None}

    def limit() -> Any:
        return ld.integrate(
            committee(2), times=[1.0, 5.0], start=starts, allow_inaccurate=True, **options
        ).values["norms"]

    def search() -> Any:
        problem = ld.Problem(Cube(), Correlator(), 0.4, update="spherical")
        number = 500 if sizes is SMALL else 100_000
        return ld.search_law(problem, key=KEY, draws=number, tracker=None)

    host = jax.local_devices(backend="cpu")[0]
    for name, function in (("limit", limit), ("search law", search)):
        for device in (accelerator(), host):

            def measure(function: Any = function, device: Any = device) -> Row:
                with jax.default_device(device):
                    first = first_call(function)[0]
                    return {"seconds": first_call(function)[0], "first_s": first}

            yield {"what": name, "on": device.platform, "starts": count}, measure


def training(sizes: Sizes) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Milliseconds of a training step, beside PyTorch with full products and with tf32."""
    device = "cuda" if torch is not None and torch.cuda.is_available() else "cpu"
    makers = {"unet": networks.unet_case, "resnet": networks.resnet_case}
    for kind, *arguments in sizes.networks:

        def case(kind: str = kind, arguments: Any = arguments) -> networks.Case:
            return makers[kind](*arguments, device=device)

        def step(call: Callable[[int], Callable[[], Any]]) -> Row:
            """Milliseconds of a step from runs of two lengths."""
            few, many = call(2), call(2 + sizes.steps)
            first = first_call(few)[0]
            first_call(many)
            pairs = [(first_call(few)[0], first_call(many)[0]) for _ in range(3)]
            least, most = (min(times) for times in zip(*pairs, strict=True))
            return {
                "step_ms": 1e3 * (most - least) / sizes.steps,
                "call_s": least,
                "first_s": first,
            }

        def ours(case: Any = case) -> Row:
            made = case()
            return {"case": made.name} | step(
                lambda n: networks.ours(made.build, made.loss, made.batch, n)
            )

        def theirs(tf32: bool, case: Any = case) -> Row:
            torch.backends.cuda.matmul.allow_tf32 = tf32
            torch.backends.cudnn.allow_tf32 = tf32
            made = case()
            return {"case": made.name} | step(lambda n: made.theirs(1, n))

        yield {"with": "this", "kind": kind}, ours
        if torch is not None:
            yield {"with": "PyTorch", "kind": kind, "tf32": False}, lambda f=theirs: f(False)
            yield {"with": "PyTorch", "kind": kind, "tf32": True}, lambda f=theirs: f(True)


def claims(sizes: Sizes, record: Record) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Short claims at quick size, each in a process of its own."""
    for name in CLAIMS[:1] if sizes is SMALL else CLAIMS:

        def measure(name: str = name) -> Row:
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, "-m", "learning_dynamics", "report", name]
                begin = time.perf_counter()
                done = subprocess.run(
                    [*command, "--workers", "1", "--out", folder], capture_output=True, text=True,
                    check=False, timeout=max(10.0, min(120.0, record.left() - 5)),
                )  # fmt: skip
                row: Row = {"seconds": time.perf_counter() - begin, "holds": done.returncode == 0}
                if done.returncode:
                    row["output"] = (done.stdout + done.stderr)[-600:]
                return row

        yield {"claim": name}, measure


# -------------------------------------------------------------------------------- all of it


def side_by_side(calls: Iterable[Callable[[], Any]], threads: int) -> list[str]:
    """Make calls in threads, for what they compile: a GPU waits for its host's compiler.

    Returns:
        Texts of their errors.
    """

    def one(call: Callable[[], Any]) -> str:
        try:
            call()
        except Exception as error:
            return f"{type(error).__name__}: {error}"[:200]
        return ""

    with ThreadPoolExecutor(threads) as pool:
        return [error for error in pool.map(one, calls) if error]


def first_run(timed_run: Timed) -> None:
    with paced(timed_run.pace):
        timed_run.run(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--budget", type=float, default=450.0, help="seconds, default: 450")
    parser.add_argument("--out", type=Path, help="a second folder for the results")
    parser.add_argument("--only", nargs="*", help="names of sections; default: all")
    parser.add_argument("--small", action="store_true", help="rehearse with tiny sizes")
    options = parser.parse_args()
    sizes = SMALL if options.small else FULL
    folders = [*([] if options.small else [RESULTS]), *([options.out] if options.out else [])]
    record = Record(options.budget, folders, options.small)
    threads = max(1, min(8, (os.cpu_count() or 1) // 2))
    timed: dict[str, list[Timed]] = {
        "overlaps": overlaps(sizes),
        "overlap-choices": overlap_choices(sizes),
        "ambient": ambient(sizes),
        "ambient-choices": ambient_choices(sizes),
    }
    sections: dict[str, Callable[[], Iterator[tuple[Row, Callable[[], Row]]]]] = {
        "memory": lambda: memory(sizes),
        "agreement": lambda: agreement(sizes),
        **{n: lambda runs=r: speeds(runs, sizes, record) for n, r in timed.items()},
        "training": lambda: training(sizes),
        "laws": lambda: laws(sizes),
        "theory": lambda: theories(sizes),
        "claims": lambda: claims(sizes, record),
    }
    untimed = ("agreement", "laws", "claims")
    chosen = options.only or list(sections)
    platform = accelerator().platform
    layout = layout_of(committee(1), 1000, "overlaps")
    shown = pace_of(layout, platform, sizes.wide)._asdict()
    device = {"device": accelerator().device_kind, "jax": jax.__version__, **shown}
    record.add({"section": "start", "platform": platform, **device})
    with mock.patch.object(simulation, "pace_of", our_pace):
        for name in [name for name in sections if name in chosen]:
            try:
                if name in timed:
                    begin = time.perf_counter()
                    # all weights of several runs at once may not fit into the device
                    together = threads if name.startswith("overlap") else min(2, threads)
                    calls = [lambda r=r: first_run(r) for r in timed[name]]
                    errors = side_by_side(calls, together)[:3]
                    seconds = time.perf_counter() - begin
                    record.add({"section": name, "compile_s": seconds, "errors": errors})
                rows = list(sections[name]())
                calls = [
                    lambda labels={"section": name, **labels}, m=measure: record.attempt(labels, m)
                    for labels, measure in rows
                ]
                if name in untimed:
                    side_by_side(calls, threads)
                else:
                    for call in calls:
                        call()
            except Exception as error:
                record.add({"section": name, "error": f"{type(error).__name__}: {error}"[:600]})
    for name in sections:
        rows = [row for row in record.rows if row.get("section") == name]
        if rows:
            show(name, rows)


if __name__ == "__main__":
    main()
