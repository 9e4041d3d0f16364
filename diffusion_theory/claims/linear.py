"""`diffusion/covariance-is-linear` and `diffusion/correlated-latents-are-linear`."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import learning_dynamics as ld
from diffusion_theory import theory
from diffusion_theory.claims.common import SOURCE
from diffusion_theory.inputs import MixedCumulant
from diffusion_theory.learners import TiedDenoiser
from diffusion_theory.theory.escape import EscapeLaw
from learning_dynamics.claims import Evidence, Panel, Run, claim
from learning_dynamics.comparison import Comparison, Measurement, Prediction, compare

Array = NDArray[np.float64]
LEARNER = TiedDenoiser("tanh", sign=-1)
RATE, THRESHOLD = 0.4, 0.4
LEVELS = np.array([0.25, 0.5, 0.75])
QUANTITY = r"samples to recovery $n^* / d$"


@claim(
    "diffusion/covariance-is-linear",
    statement=(
        "A denoiser finds a covariance spike with a number of samples linear in the dimension, up "
        "to a logarithm."
    ),
    source=SOURCE,
)
def covariance_is_linear(run: Run) -> Evidence:
    """Quartiles of the recovery time over a decade and a half in d."""
    inputs = MixedCumulant(4.0, None)
    law = theory.escape_law(inputs, LEARNER, RATE, THRESHOLD)
    measured = _recovery_times(run, inputs, law)
    right = compare(measured, _quantiles(law, measured), name="recovery of u", quantity=QUANTITY)
    cubic = _cubic(law, measured)
    wrong = compare(measured, cubic, name="exponent of the cumulant spike", quantity=QUANTITY)
    panels = {
        "recovery": Panel(
            _plot(right, law),
            "Quartiles of the number of samples per dimension until the overlap with u stays above "
            f"{THRESHOLD}, random starts: a straight line in log d, with slope, prefactor and "
            "spread of the escape law (no free constant).",
        )
    }
    return Evidence([right], [wrong], panels, NOTES)


@claim(
    "diffusion/correlated-latents-are-linear",
    statement=(
        "When the latent variables of the two spikes are correlated, the higher-order spike is "
        "learned with a number of samples linear in the dimension, together with the covariance."
    ),
    source=SOURCE,
)
def correlated_latents_are_linear(run: Run) -> Evidence:
    """Recovery times of the growing mixture of u and v; both overlaps along a run."""
    inputs, apart = MixedCumulant(2.0, pair="sign"), MixedCumulant(2.0)
    law = theory.escape_law(inputs, LEARNER, RATE, THRESHOLD)
    measured = _recovery_times(run, inputs, law)
    right = compare(
        measured, _quantiles(law, measured), name="recovery of u with v", quantity=QUANTITY
    )
    alone = theory.escape_law(apart, LEARNER, RATE, THRESHOLD)
    wrong = compare(
        measured, _quantiles(alone, measured), name="uncorrelated latents", quantity=QUANTITY
    )
    both, without = _along(run, inputs, apart, law)
    panels = {
        "recovery": Panel(
            _plot(right, law),
            "Quartiles of the number of samples per dimension until the overlap with the growing "
            f"mixture of u and v stays above {THRESHOLD}, nu = sign(lambda), random starts.",
        ),
        "overlaps": Panel(
            both.plot(x="time", series="direction", logx=False, logy=False, x_label=r"$n / d$"),
            "Overlaps with both spikes from a small start along u alone: v comes with u.",
        ),
    }
    return Evidence([right, both], [wrong, without], panels, NOTES)


NOTES = (
    "Runs on the overlap chain, exact in law at every d. Recovery is a sustained crossing (d/50 "
    "updates). Allowed bias: a relative error d^(-1/2) of the scaled start, 1/(g d^(1/2)).",
    "Controls: the quadratic growth of n/d of a fourth-order spike; the law, and the overlaps, "
    "for uncorrelated latents.",
)


def _dimensions(run: Run) -> NDArray[np.int64]:
    return np.array([128, 512, 4096] if run.quick else [128, 256, 512, 1024, 2048, 4096, 8192])


def _recovery_times(run: Run, inputs: MixedCumulant, law: EscapeLaw) -> Measurement:
    """Quartiles of n*/d with bootstrap errors, coordinates (quantile, dimension)."""
    replicas = 256 if run.quick else 2048
    direction = jnp.asarray(law.direction, jnp.float32)

    def overlap(state: ld.Overlaps) -> jax.Array:
        return jnp.abs(jnp.sum(state.signal[0] * direction))

    problem = ld.Problem(inputs, LEARNER, RATE, update="spherical")
    values, errors = [], []
    for d in run.track([int(d) for d in _dimensions(run)], "dimensions"):
        stop = ld.Stop(overlap, THRESHOLD, sustained=max(1, d // 50))
        seen = ld.simulate(
            problem,
            dimension=d,
            times=[1.2 * float(law.quantile(0.95, d)) + 1],
            replicas=replicas,
            level="overlaps",
            key=jax.random.fold_in(run.key, d),
            stop=stop,
        )
        assert seen.stopped is not None
        times = np.where(seen.stopped > 0, seen.stopped / d, np.inf)  # later than the end
        rng = np.random.default_rng(d)
        draws = rng.choice(times, size=(400, replicas))
        values.append(_quantile(times))
        errors.append(_quantile(draws).std(axis=-1, ddof=1))
    shape = {"quantile": LEVELS, "dimension": _dimensions(run).astype(float)}
    table = np.array(values).T
    return Measurement(
        table, np.array(errors).T, replicas, shape, np.zeros(table.shape, np.int64),
        "overlap chain",
    )  # fmt: skip


def _quantile(times: Array) -> Array:
    """Order statistics at the levels along the last axis; infinite times sort last."""
    ordered = np.sort(times, axis=-1)
    ranks = np.clip((LEVELS * times.shape[-1]).astype(int), 0, times.shape[-1] - 1)
    return np.moveaxis(ordered[..., ranks], -1, 0)


def _quantiles(law: EscapeLaw, measured: Measurement) -> Prediction:
    d = measured.coordinates["dimension"]
    values = law.quantile(LEVELS[:, None], d)
    found = Prediction(values, np.full(values.shape, 1e-4), label="escape law")
    bias = np.broadcast_to(1 / (law.rate * np.sqrt(d)), values.shape)
    return found.with_bias(bias, r"$1 / (g \sqrt{d})$")


def _cubic(law: EscapeLaw, measured: Measurement) -> Prediction:
    """N of order d^3 through the smallest dimension."""
    d = measured.coordinates["dimension"]
    values = law.quantile(LEVELS[:, None], d[:1]) * (d / d[0]) ** 2
    return Prediction(values, np.zeros(values.shape), label="order of a cumulant spike")


def _plot(comparison: Comparison, law: EscapeLaw) -> Figure:
    seen = comparison.measured.coordinates["dimension"]
    d = np.geomspace(float(seen[0]), float(seen[-1]), 60)
    return comparison.plot(
        x="dimension",
        series="quantile",
        logx=True,
        logy=False,
        x_label="dimension d",
        fine=(d, law.quantile(LEVELS[:, None], d)),
    )


def _along(
    run: Run, inputs: MixedCumulant, apart: MixedCumulant, law: EscapeLaw
) -> tuple[Comparison, Comparison]:
    """Both overlaps from alpha = (0.2, 0)."""
    d, start = 2000, np.array([0.2, 0.0])
    times = np.linspace(1, 4 / law.rate, 6)
    problem = ld.Problem(inputs, LEARNER, RATE, update="spherical")
    seen = ld.simulate(
        problem,
        dimension=d,
        times=times,
        replicas=128 if run.quick else 1024,
        level="overlaps",
        key=jax.random.fold_in(run.key, 1),
        start=ld.order_parameters(start[None], [[1.0]]),
    )
    measured = Measurement.from_replicas(
        seen.values["signal"][:, :, 0].swapaxes(1, 2),
        {"direction": np.array(["u", "v"]), "time": seen.times},
        label=f"overlap chain, d = {d}",
    )
    predictions = []
    for law_of_data in (inputs, apart):
        flow = theory.overlap_flow(law_of_data, LEARNER, RATE, start, seen.times)
        turned = Prediction(flow.values.T, flow.numerical_error.T, label="two-overlap flow")
        predictions.append(turned.with_bias(5 / d, "5/d"))
    return (
        compare(measured, predictions[0], name="overlaps along a run", quantity="overlap"),
        compare(measured, predictions[1], name="overlaps without correlation", quantity="overlap"),
    )
