"""`linear/kl-linear-above-dimension`: KL proportional to d/N, for Gaussian and other data."""

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from learning_dynamics.evidence.comparison import Comparison, Measurement, Prediction, compare
from learning_dynamics.evidence.figures import (
    draw_simulation,
    figure_style,
    legend_below,
    new_figure,
)
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.spectra import power_law
from linear_diffusion import theory
from linear_diffusion.claims.cells import (
    DIRECTIONS,
    divergences,
    patch_divergence,
    pool,
    replicas_first,
    sources,
)
from linear_diffusion.claims.common import PATCH, SOURCE, SPECTRA, laws
from linear_diffusion.data import KURTOSIS, LATENTS, LatentLaw

D = PATCH**2 - 1
RATIOS = np.array([0.04, 0.08, 0.15, 0.25, 0.4, 0.55])  # d/N
SIZES = np.rint(D / RATIOS).astype(int)
NAMES = {"student": "Student t5"}


@claim(
    "linear/kl-linear-above-dimension",
    statement=(
        "With more samples than dimensions the KL divergence between data and generated "
        "distribution approaches its optimum linearly in d/N, whatever the data distribution."
    ),
    source=SOURCE,
    seconds=24,
)
def kl_linear(run: Run) -> Evidence:
    """Five laws on one curve, five spectra on one curve, and real patches on their own line."""
    replicas = 24 if run.quick else 256
    latent = {
        NAMES.get(kind, kind.capitalize()): LatentLaw(power_law(D, 1.0), latents=kind)
        for kind in LATENTS
    }
    shifts = np.array([KURTOSIS[kind] - 3 for kind in LATENTS])[:, None]
    by_law = _measure(run, latent, replicas, 0)
    by_spectrum = _measure(run, laws(run), replicas, 20)
    comparisons, curves = [], {}
    for direction in DIRECTIONS:
        exact = theory.exact_kl(D, SIZES, direction=direction).scaled(1 / D)
        shift = theory.kurtosis_shift(D, SIZES, shifts, direction=direction).values / D
        expected = Prediction(
            exact.values + shift,
            np.broadcast_to(exact.numerical_error, shift.shape),
            # Exact for Gaussian data; the shift is the first order in 1/d for the others.
            np.where(shifts == 0, 0.0, 2 / D * exact.values),
            "$2/d$ for the non-Gaussian laws",
            "exact + kurtosis shift",
        )
        quantity = f"{direction} KL / d (nats)"
        comparison = compare(
            by_law[direction], expected, name=f"{direction} KL, five data laws", quantity=quantity
        )
        curves[direction] = comparison
        same = stack([exact] * len(SPECTRA))
        comparisons += [
            comparison,
            compare(
                by_spectrum[direction],
                same,
                name=f"{direction} KL, five spectra",
                quantity=quantity,
            ),
        ]
    patches, patch_controls = _patches(run)
    quadratic = stack([theory.exact_kl(D, SIZES, direction="reverse").scaled(1 / D)] * len(LATENTS))
    quadratic = Prediction(
        quadratic.values[:, -1:] * (RATIOS / RATIOS[-1]) ** 2,
        np.zeros(quadratic.values.shape),
        label="quadratic in d/N",
    )
    controls = [
        compare(
            by_law["reverse"], quadratic, name="KL quadratic in d/N", quantity="reverse KL / d"
        ),
        *patch_controls,
    ]
    panels = {
        "universality": Panel(
            _universal_figure(curves),
            "KL per dimension against d/N: five laws on one curve, the exact closed form, which "
            "the deterministic equivalent reproduces. The proportional limit (dashed) and the "
            "straight line (dotted) are what is left as d grows and as d/N falls.",
        ),
        "residuals": Panel(
            curves["reverse"].plot(x="d_over_N", x_label="d/N", series="law", logx=True, logy=True),
            "The reverse KL with residuals; the kurtosis of each law shifts its points "
            "by order 1/d, which the prediction includes.",
        ),
        "patches": Panel(
            patches.plot(x="d_over_N", x_label="d/N", series="data", logx=True, logy=True),
            "Real patches also approach their optimum linearly, with a steeper line: (E|y|^4 + "
            "d)/(4N), read off the fourth moment of the whitened patches without any fit.",
        ),
    }
    return Evidence([*comparisons, patches], controls, panels, NOTES)


NOTES = (
    "Without ridge the KL of Gaussian data does not depend on the spectrum: the closed form is the "
    "same for power laws and for the covariance of photograph patches (d = 120).",
    "Universality has a limit that the data show: it needs |y|^2 to concentrate (y the whitened "
    "data). The contrast of photograph patches fluctuates from patch to patch, and their KL lies "
    "above the common curve by the factor E|y|^4/d^2, several-fold; patches of equal contrast lie "
    "closer. The approach stays linear in d/N.",
    "Controls: a KL quadratic in d/N, and the universal slope d/(4N) for real patches.",
)


def _measure(
    run: Run, chosen: dict[str, LatentLaw], replicas: int, offset: int
) -> dict[str, Measurement]:
    cells = run.sweep(
        divergences,
        {"source": sources(run, chosen, offset), "samples": SIZES},
        fixed={"replicas": replicas},
    )
    coordinates = {"law": np.array(list(chosen)), "d_over_N": RATIOS}
    return {
        direction: Measurement.from_replicas(replicas_first(cells[direction]) / D, coordinates)
        for direction in DIRECTIONS
    }


def _patches(run: Run) -> tuple[Comparison, list[Comparison]]:
    """Real patches as data: the linear law with the slope of their own fourth moment."""
    ratios = np.array([0.003, 0.006, 0.012])
    d = 63
    sizes = np.rint(d / ratios).astype(int)
    contrasts = {"patches": False, "patches of equal contrast": True}
    cells = run.sweep(
        patch_divergence,
        {"equal_contrast": contrasts, "samples": sizes},
        fixed={"replicas": 16 if run.quick else 128, "key": run.key},
    )
    of_patches: list[Prediction] = []
    universal: list[Prediction] = []
    for equal in contrasts.values():
        law = pool(8, 30_000, jax.random.fold_in(run.key, 40 + int(equal)), equal)
        gaussian = theory.kl_slope(law.spectrum, direction="reverse")
        slope = theory.kl_slope(law.spectrum, direction="reverse", fourth_moment=law.fourth_moment)
        for into, values in ((of_patches, slope), (universal, gaussian)):
            line = Prediction(values.values / sizes / d, values.numerical_error / sizes / d)
            # The next order of the expansion in d/N, which the heavy contrast multiplies too.
            excess = law.fourth_moment / (d * (d + 2))
            into.append(line.with_bias(2 * excess * ratios * line.values, "next order in $d/N$"))
    measured = Measurement.from_replicas(
        replicas_first(cells["value"]) / d,
        {"data": np.array(list(contrasts)), "d_over_N": ratios},
    )
    quantity = "reverse KL / d (nats)"
    lines = stack(of_patches).labelled("(E|y|⁴ + d)/(4N)")
    control = stack(universal).labelled("universal slope")
    return (
        compare(measured, lines, name="reverse KL of real patches", quantity=quantity),
        [compare(measured, control, name="universal slope for real patches", quantity=quantity)],
    )


def _universal_figure(curves: dict[theory.Direction, Comparison]) -> Figure:
    figure, grid = new_figure(1, 2, width=9.0, height=4.4)
    fine = np.geomspace(RATIOS[0], RATIOS[-1], 60)
    sizes = np.rint(D / fine).astype(int)
    for axes, (direction, comparison) in zip(grid[0], curves.items(), strict=True):
        m = comparison.measured
        with figure_style():
            for i, name in enumerate(m.coordinates["law"]):
                nudge = 1 + 0.025 * (i - 2)  # the points lie on each other
                draw_simulation(
                    axes, RATIOS * nudge, m.values[i], m.standard_error[i], index=i, label=str(name)
                )
            exact = theory.exact_kl(D, sizes, direction=direction).values / D
            axes.plot(D / sizes, exact, color="black", linewidth=1.3, label="exact")
            # with a ridge too small to matter, since without one `kl` is the exact value
            equivalent = theory.kl(np.ones(D), sizes, 1e-6, direction=direction).values / D
            axes.plot(
                D / sizes, equivalent, "-.", color="#C0392B", label="deterministic equivalent"
            )
            limit = theory.kl_proportional(fine, direction=direction).values
            axes.plot(fine, limit, "--", color="#777777", label="N, d → ∞")
            slope = float(theory.kl_slope(np.ones(D), direction=direction).values)
            axes.plot(fine, slope * fine / D**2, ":", color="#777777", label="linear in d/N")
            axes.set(xscale="log", yscale="log", xlabel="d/N", ylabel=comparison.quantity)
            axes.set_xticks([0.05, 0.1, 0.2, 0.5], ["0.05", "0.1", "0.2", "0.5"])
            axes.xaxis.set_minor_formatter(NullFormatter())
    legend_below(figure, columns=4)
    return figure
