"""`fourier/power-law-speeds-up-phases`: a shared power-law spectrum makes phases cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np

from fourier_simplicity.claims import spectra
from fourier_simplicity.claims import spectra_beside_diffusion as beside
from fourier_simplicity.claims.input_model import SOURCE
from fourier_simplicity.claims.recovery_figures import samples_in_spectra
from fourier_simplicity.claims.spectra import BROKEN, Case
from learning_dynamics.report.claims import Evidence, Panel, Run, claim

if TYPE_CHECKING:
    import xarray as xr

QUICK = (  # as many runs at one N, and at gamma = 0 at both, so that cases share programs
    *(Case(0.0, n, 192) for n in (14, 28)),
    *(Case(gamma, 12, 192) for gamma in (0.5, 1.0, 1.5)),
    *(Case(gamma, 24, 128) for gamma in (0.5, 1.0, 1.5)),
    *(Case(gamma, 48, 64) for gamma in (1.0, 1.5)),
    Case(0.5, 12, 96, low=False),
)
FULL = (
    *(Case(gamma, n, 512) for gamma in (0.0, 0.5, 1.0, 1.5) for n in (12, 24)),
    *(Case(gamma, 48, 256) for gamma in (0.0, 0.5, 1.0, 1.5)),
    *(Case(gamma, 96, 256) for gamma in (1.0, 1.5)),
    *(Case(0.5, n, 128, low=False) for n in (12, 24)),
    *(Case(1.0, n, 128, low=False) for n in (12, 16)),
)


@claim(
    "fourier/power-law-speeds-up-phases",
    statement=(
        "A power-law spectrum that both classes share, and that is therefore useless for the "
        "labels, makes phases in its dominant subspace cheap: N_eff³ = (tr Σ / λ_S)³ samples "
        "instead of N³."
    ),
    source=SOURCE,
    seconds=60,
)
def power_law(run: Run) -> Evidence:
    """Samples to recovery for several spectra, against the diffusion, N_eff and N."""
    cases, paths = (QUICK, 256) if run.quick else (FULL, 2048)
    table = run.sweep(
        spectra.recovery,
        {"case": {case.label: case for case in (*cases, BROKEN)}},
        fixed={"paths": paths, "key": run.key},
    )
    whole, broken = table.isel(case=slice(-1)), table.isel(case=-1)
    isotropic = run.sweep(
        spectra.isotropic,
        {"dimension": _sizes(whole, 4 if run.quick else 8)},
        fixed={"key": jax.random.fold_in(run.key, 7)},
    )
    prefactors, common = beside.prefactors(whole)
    collapse, against_dimension = beside.collapse(whole, isotropic)
    exponents, cubic = beside.exponents(whole)
    blind, as_whole = beside.broken_tie(broken, whole, paths)
    panels = {
        "samples": Panel(
            samples_in_spectra(whole, isotropic),
            "Samples after which a share of 0.35 of the neurons knows the tie. Left: against N, "
            "the spectra fan out. Right: the same points against N_eff = tr Σ / λ_S; the grey "
            "line is the isotropic prediction at N = N_eff. Lines: diffusion, nothing is fitted.",
        ),
        "prefactors": Panel(
            prefactors.plot(logy=False, x_label="spectrum, place of the tied modes, N"),
            "Prefactors n*/N_eff³ of all cases beside those of the small-step diffusion.",
        ),
        "exponents": Panel(
            exponents.plot(x="gamma", logx=False, logy=False, x_label="exponent γ of the spectrum"),
            "Exponent of n* in N for tied modes at the low end of the spectrum.",
        ),
    }
    comparisons = [prefactors, common, collapse, exponents, blind]
    return Evidence(comparisons, [against_dimension, cubic, as_whole], panels, NOTES)


def _sizes(table: xr.Dataset, points: int) -> list[int]:
    """N from the smallest N_eff to the largest N and N_eff."""
    last = np.ceil(max(table.N_eff.max(), table.N.max()))
    sizes = np.geomspace(int(table.N_eff.min()), int(last), points)
    return [int(n) for n in np.unique(np.rint(sizes))]


NOTES = (
    "One neuron with He4 on its normalised preactivation; the phases of modes 1, 2, 3, 4 (low) or "
    "of the last four modes (high) form a quartet. A neuron knows the tie when the product of its "
    "whitened overlaps is above 0.4 of its largest value. Learning rate 0.3/N_eff, for tied modes "
    "weaker than the average 0.3 λ_S/N_eff.",
    "Derived here: on the sphere the step noise contracts overlaps at the rate δ² V tr Σ / 2N² and "
    "feeds each direction in proportion to its variance. In units of N_eff³ samples the drift is "
    "that of isotropic inputs and the contraction is divided by λ_S, while the variance of the "
    "field relaxes: n*/N_eff³ is a number of order one that depends on the spectrum. The collapse "
    "onto N_eff allows a factor of two for this; the prefactors themselves are predicted.",
    "The diffusion takes the noise of the gradient at zero overlap. At N = 12 and this rate runs "
    "are faster by a tenth to a fifth, at a third of the rate by less than a twentieth: the "
    "prefactor is lowered by 1.25/N_eff of its value, and as much is allowed for.",
    "Controls: n* of isotropic inputs at the same N; exponent 3 whatever the spectrum; the tie "
    "broken by full jitter against the law of the whole one.",
)
