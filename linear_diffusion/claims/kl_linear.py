"""`linear/kl-linear-above-dimension`: KL proportional to d/N, for Gaussian and other data."""

import jax
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

import learning_dynamics as ld
from learning_dynamics.evidence import drawing
from learning_dynamics.evidence.statistics import stack
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from learning_dynamics.spectra import power_law
from linear_diffusion import theory
from linear_diffusion.claims import cells
from linear_diffusion.claims.common import PATCH, SOURCE, SPECTRA, laws
from linear_diffusion.data import KURTOSIS, LATENTS, LatentLaw

D = PATCH**2 - 1
RATIOS = np.array([0.04, 0.08, 0.15, 0.25, 0.4, 0.55])  # d/N
SIZES = np.rint(D / RATIOS).astype(int)
NAMES = {"student": "Student t5"}
QUANTITY = "reverse KL / d (nats)"


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
    latent = {
        NAMES.get(kind, kind.capitalize()): LatentLaw(power_law(D, 1.0), latents=kind)
        for kind in LATENTS
    }
    by_law, by_spectrum = _measure(run, latent, 0), _measure(run, laws(run), 20)
    exact = {
        direction: theory.exact_kl(D, SIZES, direction=direction).scaled(1 / D)
        for direction in cells.DIRECTIONS
    }
    slope = exact["reverse"].values[-1]
    quadratic = ld.Prediction(
        np.stack([slope * (RATIOS / RATIOS[-1]) ** 2] * len(LATENTS)), label="KL quadratic in d/N"
    )
    universal, tests = {}, []
    for direction in cells.DIRECTIONS:
        quantity = f"{direction} KL / d (nats)"
        universal[direction] = ld.compare_with_controls(
            by_law[direction], _with_kurtosis(exact[direction], direction),
            *([quadratic] if direction == "reverse" else []),
            name=f"{direction} KL, five data laws", quantity=quantity,
        )  # fmt: skip
        same = ld.compare_with_controls(
            by_spectrum[direction], stack([exact[direction]] * len(SPECTRA)),
            name=f"{direction} KL, five spectra", quantity=quantity,
        )  # fmt: skip
        tests += [universal[direction], same]
    patches = _patches(run)
    panels = {
        "universality": Panel(
            _universal_figure({name: test[0] for name, test in universal.items()}),
            "KL per dimension against d/N: five laws on one curve, the exact closed form, which "
            "the deterministic equivalent reproduces. The proportional limit (dashed) and the "
            "straight line (dotted) are what is left as d grows and as d/N falls.",
        ),
        "residuals": Panel(
            universal["reverse"][0].plot(
                x="d_over_N", x_label="d/N", series="law", logx=True, logy=True
            ),
            "The reverse KL with residuals; the kurtosis of each law shifts its points "
            "by order 1/d, which the prediction includes.",
        ),
        "patches": Panel(
            patches[0].plot(x="d_over_N", x_label="d/N", series="data", logx=True, logy=True),
            "Real patches also approach their optimum linearly, with a steeper line: (E|y|^4 + "
            "d)/(4N), read off the fourth moment of the whitened patches without any fit.",
        ),
    }
    return Evidence.of([*tests, patches], panels, NOTES)


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
    run: Run, chosen: dict[str, LatentLaw], offset: int
) -> dict[theory.Direction, ld.Measurement]:
    """KL per dimension of several laws, by direction."""
    table = run.sweep(
        cells.divergences,
        {"source": cells.sources(run, chosen, offset), "samples": SIZES},
        fixed={"replicas": 24 if run.quick else 256},
    )
    axes = {"law": np.array(list(chosen)), "d_over_N": RATIOS}
    return {
        direction: cells.measurement(table[direction], axes, unit=D)
        for direction in cells.DIRECTIONS
    }


def _with_kurtosis(exact: ld.Prediction, direction: theory.Direction) -> ld.Prediction:
    """Exact for Gaussian data; the shift by the kurtosis is the first order in 1/d for others."""
    kurtosis = np.array([KURTOSIS[kind] - 3 for kind in LATENTS])[:, None]
    shift = theory.kurtosis_shift(D, SIZES, kurtosis, direction=direction).values / D
    return ld.Prediction(
        exact.values + shift,
        exact.numerical_error,
        np.where(kurtosis == 0, 0.0, 2 / D * exact.values),
        "$2/d$ for the non-Gaussian laws",
        "exact + kurtosis shift",
    )


def _patches(run: Run) -> ld.Comparisons:
    """Real patches as data: the linear law with the slope of their own fourth moment."""
    ratios, d = np.array([0.003, 0.006, 0.012]), 63
    sizes = np.rint(d / ratios).astype(int)
    contrasts = {"patches": False, "patches of equal contrast": True}
    table = run.sweep(
        cells.patch_divergence,
        {"equal_contrast": contrasts, "samples": sizes},
        fixed={"replicas": 16 if run.quick else 128, "key": run.key},
    )
    lines: list[list[ld.Prediction]] = []
    for equal in contrasts.values():
        law = cells.pool(8, 30_000, jax.random.fold_in(run.key, 40 + int(equal)), equal)
        # the next order of the expansion in d/N, which the heavy contrast multiplies too
        excess = 2 * law.fourth_moment / (d * (d + 2)) * ratios
        slopes = (
            theory.kl_slope(law.spectrum, direction="reverse", fourth_moment=moment)
            for moment in (law.fourth_moment, None)
        )
        each = [slope.scaled(1 / (sizes * d)) for slope in slopes]
        lines.append([line.with_bias(excess * line.values, "next order in $d/N$") for line in each])
    own_slope, universal = (stack(each) for each in zip(*lines, strict=True))
    axes = {"data": np.array(list(contrasts)), "d_over_N": ratios}
    return ld.compare_with_controls(
        cells.measurement(table["value"], axes, unit=d),
        own_slope.labelled("(E|y|⁴ + d)/(4N)"),
        universal.labelled("universal slope for real patches"),
        name="reverse KL of real patches", quantity="reverse KL / d (nats)",
    )  # fmt: skip


def _universal_figure(comparisons: dict[theory.Direction, ld.Comparison]) -> Figure:
    figure, grid = drawing.new_figure(1, 2, width=9.0, height=4.4)
    fine = np.geomspace(RATIOS[0], RATIOS[-1], 60)
    sizes = np.rint(D / fine).astype(int)
    nudged = RATIOS * (1 + 0.025 * np.arange(-2, 3)[:, None])  # the points lie on each other
    for axes, (direction, comparison) in zip(grid[0], comparisons.items(), strict=True):
        drawing.draw_measurement(axes, comparison.measured, nudged)
        exact = theory.exact_kl(D, sizes, direction=direction).values / D
        # with a ridge too small to matter, since without one `kl` is the exact value
        equivalent = theory.kl(np.ones(D), sizes, 1e-6, direction=direction).values / D
        limit = theory.kl_proportional(fine, direction=direction).values
        slope = float(theory.kl_slope(np.ones(D), direction=direction).values)
        with drawing.figure_style():
            axes.plot(D / sizes, exact, color="black", linewidth=1.3, label="exact")
            axes.plot(
                D / sizes, equivalent, "-.", color="#C0392B", label="deterministic equivalent"
            )
            axes.plot(fine, limit, "--", color="#777777", label="N, d → ∞")
            axes.plot(fine, slope * fine / D**2, ":", color="#777777", label="linear in d/N")
            axes.set(xscale="log", yscale="log", xlabel="d/N", ylabel=comparison.quantity)
            axes.set_xticks([0.05, 0.1, 0.2, 0.5], ["0.05", "0.1", "0.2", "0.5"])
            axes.xaxis.set_minor_formatter(NullFormatter())
    drawing.legend_below(figure, columns=4)
    return figure
