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
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

import learning_dynamics as ld
from benchmarks import networks
from benchmarks.device_runs import (
    FULL,
    KEY,
    RATE,
    SMALL,
    Correlator,
    Cube,
    Record,
    Row,
    Sizes,
    Timed,
    accelerator,
    agreement,
    committee,
    laws,
    our_pace,
    paced,
    speed,
)
from benchmarks.harness import RESULTS, first_call, show, step_seconds
from learning_dynamics import random
from learning_dynamics.process import simulate as simulation
from learning_dynamics.process.layout import layout_of
from learning_dynamics.process.one_kernel import Registers
from learning_dynamics.process.pace import Pace, pace_of

try:
    import torch
except ImportError:
    torch = None

PRODUCTS = ("float32", "tf32", "bfloat16")
REGISTERS = (  # shapes of kernels for the first sizes of the ambient level
    tuple(Registers(*shape) for shape in ((128, 2), (128, 4), (256, 4), (512, 8))),
    tuple(Registers(*shape) for shape in ((1024, 8), (2048, 8), (1024, 16), (2048, 16))),
)
CLAIMS = ("linear/exact-errors", "linear/mode-dynamics", "diffusion/covariance-is-linear")


# -------------------------------------------------------------------------------- speed


def memory(sizes: Sizes) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Bytes per second that a copy reads and writes; normal variables per second.

    The latter are drawn and added in one kernel, so that none of them is written: no run of the
    ambient level needs less time than its draws do.
    """

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

    def normals() -> Row:
        replicas, width = max(1, sizes.copied // 2**17), 2**15
        keys = jax.random.split(KEY, replicas)

        @jax.jit
        def total(first: jax.Array) -> jax.Array:
            def one(key: jax.Array) -> jax.Array:
                return random.normal(key, (2, width), jnp.float32, first=first).sum()

            return jnp.sum(jax.vmap(one)(keys))

        first = jnp.int32(0)
        jax.block_until_ready(total(first))
        begin = time.perf_counter()
        for _ in range(20):
            jax.block_until_ready(total(first))
        return {"normals_per_s": 20 * replicas * 2 * width / (time.perf_counter() - begin)}

    yield {"what": "copy"}, copy
    yield {"what": "normal variables, added where they are drawn"}, normals


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
    paces += [Pace(wide, chunk, True, 2, True) for chunk in (4, 16, 32)]
    paces += [Pace(wide, 16, True, 2, False), Pace(wide, 64, False, 2, True)]
    # whole groups only, so that no pace works on padding
    return [Timed(1, 1000, wide // p.group * p.group, "overlaps", p) for p in paces]


def ambient_choices(sizes: Sizes) -> list[Timed]:
    """Groups that fit into the device's cache, and chunks."""
    dimension, replicas = sizes.ambient[1]
    groups = sorted({min(g, replicas) for g in (256, 512, 1024, 2048, replicas)})
    paces = [Pace(group, 4, True, 2, True) for group in groups]
    paces += [Pace(min(1024, replicas), chunk, True, 2, True) for chunk in (2, 8)]
    return [Timed(2, dimension, replicas // p.group * p.group, "ambient", p) for p in paces]


def registers(sizes: Sizes) -> list[Timed]:
    """Weights held by kernels of several shapes, and without kernels."""
    runs = []
    for (dimension, replicas), shapes in zip(sizes.ambient, REGISTERS, strict=False):
        own = pace_of(layout_of(committee(2), dimension, "ambient"), "gpu", replicas)
        runs += [
            Timed(2, dimension, replicas, "ambient", own._replace(registers=shape))
            for shape in (None, *shapes)
        ]
    return runs


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
            return beside_limits(row, timed_run.dimension, timed_run.units, record)

        def theirs(timed_run: Timed = timed_run) -> Row:
            row = torch_speed(timed_run.dimension, timed_run.replicas, sizes.seconds)
            return beside_limits(row, timed_run.dimension, 2, record)

        yield timed_run.labels(), measure
        if torch is not None and timed_run.level == "ambient" and timed_run.pace is None:
            yield {**timed_run.labels(), "with": "PyTorch"}, theirs


def beside_limits(row: Row, dimension: int, units: int, record: Record) -> Row:
    """Rate over those at which the weights are read and written once per update, and drawn."""
    for name, limit, share, needed in (
        ("bytes_per_s", "memory_limit", "of_limit", 2 * units * dimension * 4),
        ("normals_per_s", "drawing_limit", "of_drawing", dimension),
    ):
        rate = next((earlier[name] for earlier in record.rows if name in earlier), None)
        if rate is not None:
            row = {**row, limit: rate / needed, share: row["updates_per_s"] * needed / rate}
    return row


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
            return {"updates_per_s": replicas * count / taken, "us_per_update": 1e6 * taken / count}
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


def training(sizes: Sizes, threads: int) -> Iterator[tuple[Row, Callable[[], Row]]]:
    """Milliseconds of a training step with each kind of products, beside PyTorch."""
    device = "cuda" if torch is not None and torch.cuda.is_available() else "cpu"
    makers = {"unet": networks.unet_case, "resnet": networks.resnet_case}
    cases = [makers[kind](*arguments, device=device) for kind, *arguments in sizes.networks]
    # one object for each network, so that its runs share their programs; one kind of products after
    # another, so that a kind that takes long to compile costs no rows of the others
    builds = [{p: partial(case.build, products=p) for p in PRODUCTS} for case in cases]
    for products in PRODUCTS:
        calls = [
            networks.ours(kinds[products], case.loss, case.batch, 2)
            for case, kinds in zip(cases, builds, strict=True)
        ]
        side_by_side(calls, threads)
        for case, kinds in zip(cases, builds, strict=True):
            labels = {"case": case.name, "products": products}
            build = kinds[products]

            def ours(case: networks.Case = case, build: Any = build) -> Row:
                return step_times(
                    lambda n: networks.ours(build, case.loss, case.batch, n), sizes.steps
                )

            def theirs(case: networks.Case = case, tf32: bool = products == "tf32") -> Row:
                torch.backends.cuda.matmul.allow_tf32 = tf32
                torch.backends.cudnn.allow_tf32 = tf32
                return step_times(lambda n: case.theirs(1, n), sizes.steps)

            yield {**labels, "with": "this"}, ours
            if torch is not None and products != "bfloat16":
                yield {**labels, "with": "PyTorch"}, theirs


def step_times(call: Callable[[int], Callable[[], Any]], steps: int) -> Row:
    """Milliseconds of a step from runs of two lengths, `call(n)` being a run of n steps."""
    first = first_call(call(2))[0]
    step, least = step_seconds({"run": call}, 2, 2 + steps, 3)["run"]
    return {"step_ms": 1e3 * step, "call_s": least, "first_s": first}


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
        "registers": registers(sizes),
    }
    rates = {n: lambda runs=r: speeds(runs, sizes, record) for n, r in timed.items()}
    sections: dict[str, Callable[[], Iterator[tuple[Row, Callable[[], Row]]]]] = {
        "memory": lambda: memory(sizes),
        "agreement": lambda: agreement(sizes),
        "laws": lambda: laws(sizes),
        "overlaps": rates["overlaps"],
        "ambient": rates["ambient"],
        "training": lambda: training(sizes, threads),
        "claims": lambda: claims(sizes, record),
        "theory": lambda: theories(sizes),
        "overlap-choices": rates["overlap-choices"],
        "ambient-choices": rates["ambient-choices"],
        "registers": rates["registers"],
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
                    few = name.startswith("ambient")
                    together = min(2, threads) if few else threads
                    calls = [lambda r=r: first_run(r) for r in timed[name]]
                    errors = side_by_side(calls, together)[:3]
                    seconds = time.perf_counter() - begin
                    record.add({"section": name, "compile_s": seconds, "errors": errors})
                calls = (
                    lambda labels={"section": name, **labels}, m=measure: record.attempt(labels, m)
                    for labels, measure in sections[name]()
                )
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
