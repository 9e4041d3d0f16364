"""`diffusion/mixed-cumulant-pairwise-first`: a network leaves the mean clone, then the other."""

import jax
import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from diffusion_theory.claims.common import SOURCE
from diffusion_theory.claims.levels import three_levels
from diffusion_theory.clone_learning import CloneLearning, learn_with_clones
from diffusion_theory.clones import NAMES, best_loss, linear_optimum
from diffusion_theory.inputs import MixedCumulant
from learning_dynamics.report.claims import Evidence, Panel, Run, claim

DIMENSION = 100
APART = 0.2  # of what the best linear denoiser gains over the skip alone
INPUTS = MixedCumulant(4.0, pair="sign")


@claim(
    "diffusion/mixed-cumulant-pairwise-first",
    statement=(
        "A simple denoiser trained on the mixed cumulant model first uses the pairwise statistics "
        "of its data and only later the higher-order ones."
    ),
    source=SOURCE,
    seconds=30,
)
def mixed_cumulant_pairwise_first(run: Run) -> Evidence:
    """One network on data, mean clone and covariance clone; overlaps at three levels."""
    gain = -linear_optimum(INPUTS, "eps", DIMENSION)
    best, error = best_loss(INPUTS, "eps", DIMENSION, key=run.key, draws=80_000)
    neurons, steps, replicas = (20, 1500, 6) if run.quick else (100, 3000, 8)
    updates = np.unique(np.geomspace(15, steps, 13).astype(int))
    laws = [(INPUTS, updates), (INPUTS.gaussian(), updates[-1:])]
    on_data, on_clone = (
        learn_with_clones(
            data, neurons=neurons, dimension=DIMENSION, updates=seen, replicas=replicas,
            key=jax.random.fold_in(run.key, i),
        )
        for i, (data, seen) in enumerate(run.track(laws, "training"))
    )  # fmt: skip
    mean, covariance = (on_data.parting(clone, APART * gain) for clone in NAMES[1:])
    of_mean, of_covariance = (on_data.gap(clone) / gain for clone in NAMES[1:])
    excess = on_data.losses["data"] / gain + 1
    order = _zero(mean.at(of_covariance), "covariance clone when the mean clone is left")
    swapped = _zero(covariance.at(of_mean), "mean clone when the covariance clone is left")
    reached = _zero(covariance.at(excess), "excess over the best linear denoiser then")
    beats = _beyond_linear(on_data, best, gain, error, "trained on data")
    never = _beyond_linear(on_clone, best, gain, error, "trained on the clone")
    panels = {
        "clones": Panel(
            on_data.plot(gain, best, [mean, covariance]),
            f"Loss of the same networks ({neurons} neurons, d = {DIMENSION}) on data and on two "
            "clones of them, in units of what the best linear denoiser gains over a skip alone. "
            "Dotted: where the mean clone and, later, the covariance clone are more than 0.2 away.",
        ),
    }
    notes = (
        f"Parting from the mean clone after {mean} samples, from the covariance "
        f"clone after {covariance} (geometric mean over {replicas} networks, with the "
        "factor of one standard error; the first observation more than 0.2 apart for good).",
        "A loss of order d = 100 hides gains of order one: all losses are taken relative to the "
        "best skip alone, and 'apart' means 0.2 of what the best linear denoiser gains.",
        "Tied denoiser with both signs (half of the neurons each), learned skip, Adam with a "
        "cosine schedule; latents nu = sign(lambda): uncorrelated ones take of order d³ samples. "
        "Losses are population losses from the order parameters, by quadrature.",
        "The final loss must lie more than half way from the best linear denoiser to the best one. "
        "Controls: networks trained on the covariance clone do not; the clones in the other order; "
        "the overlaps as if the latents were uncorrelated.",
    )
    learned = Evidence([order, reached, beats], [never, swapped], panels, notes)
    return learned + three_levels(run, INPUTS)


def _zero(values: NDArray[np.float64], name: str) -> ld.Comparison:
    """Zero up to the criterion, at the replicas' own parting."""
    measured = ld.Measurement.from_replicas(values[:, None], {"law": ["data"]}, label="networks")
    zero = ld.Prediction([0.0], 0.0, [APART], "0.2, the criterion", "no difference")
    quantity = "difference / gain of the best linear denoiser"
    return ld.compare(measured, zero, name=name, quantity=quantity)


def _beyond_linear(
    learning: CloneLearning, best: float, gain: float, error: float, name: str
) -> ld.Comparison:
    """Final loss in the half next to the best of the interval from best linear to best."""
    final = learning.losses["data"][:, -1:]
    measured = ld.Measurement.from_replicas(final, {"law": [name]}, label="networks")
    uncertain = error + float(learning.errors["data"][:, -1].max())
    quarter = (-gain - best) / 4
    law = ld.Prediction(
        [best + quarter], [uncertain], [quarter], "half way from best linear to best",
        "beyond the best linear denoiser",
    )  # fmt: skip
    return ld.compare(measured, law, name=f"final loss, {name}", quantity="loss - best skip alone")
