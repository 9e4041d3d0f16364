"""Samples to recovery in power-law spectra beside the diffusion, N_eff and N."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import learning_dynamics as ld
from fourier_simplicity.claims.spectra import BROKEN, WHOLE
from learning_dynamics.evidence.statistics import binomial_error, log_slope

if TYPE_CHECKING:
    import xarray as xr

STEP_ERROR = 0.04  # what log n* of the diffusion changes by under a step of 0.02
FINITE = 1.25  # relative bias of the diffusion's n* times N_eff, see the notes of the claim


def _of_cases(table: xr.Dataset, values: xr.DataArray, errors: xr.DataArray) -> ld.Measurement:
    """One number for each case."""
    return ld.Measurement(
        values, errors, int(table.replicas.min()), {"case": table.case}, table.lost.astype(int)
    )


def prefactors(table: xr.Dataset) -> tuple[ld.Comparison, ld.Comparison]:
    """Prefactors case by case, and the factor between runs and diffusion that all cases share."""
    scale, finite, count = table.N_eff**3, FINITE / table.N_eff, len(table.case)
    values, law = table.measured / scale, table.predicted / scale * (1 - finite)
    errors = np.hypot(table.predicted_error, STEP_ERROR)
    common = float(np.exp(np.log(values / law).mean()))
    factor = ld.Measurement(
        [common], [common * np.linalg.norm(table.measured_error) / count],
        int(table.replicas.min()), {"spectra": ["all"]}, int(table.lost.sum()),
    )  # fmt: skip
    one = ld.Prediction(
        [1.0], np.hypot(np.linalg.norm(table.predicted_error) / count, STEP_ERROR),
        finite.mean(), "mean of 1.25/N_eff", "diffusion, less 1.25/N_eff",
    )  # fmt: skip
    each = ld.Prediction(
        law, errors * law, law * finite, "1.25/N_eff of the value", "diffusion, less 1.25/N_eff"
    )
    return (
        ld.compare(
            _of_cases(table, values, table.measured_error * values), each,
            name="prefactors", quantity="n* / N_eff³",
        ),
        ld.compare(factor, one, name="common factor of all spectra", quantity="n* / predicted"),
    )  # fmt: skip


def collapse(table: xr.Dataset, flat: xr.Dataset) -> list[ld.Comparison]:
    """n* over that of isotropic inputs at N_eff (and, as a control, at N), in powers of two."""
    table = table.isel(case=table.gamma > 0)
    zero = np.zeros(len(table.case))
    same = ld.Prediction(zero, zero, zero + 1, "a factor of two", "isotropic inputs")
    comparisons = []
    for name, sizes in (("N_eff", table.N_eff), ("N", table.N)):
        isotropic_logs = np.interp(np.log(sizes), np.log(flat.dimension), np.log(flat.samples))
        measured = _of_cases(
            table, (np.log(table.measured) - isotropic_logs) / np.log(2),
            np.hypot(table.measured_error, STEP_ERROR) / np.log(2),
        )  # fmt: skip
        comparisons.append(
            ld.compare(
                measured, same, name=f"collapse onto {name}",
                quantity="log2 of n* over isotropic n*",
            )
        )  # fmt: skip
    return comparisons


def exponents(table: xr.Dataset) -> ld.Comparisons:
    """Exponent of n* in N for each spectrum, tied modes at the low end."""
    rows, gammas = [], np.unique(table.gamma)
    for gamma in gammas:
        spectrum = table.isel(case=(table.gamma == gamma) & table.low)
        finite = FINITE / spectrum.N_eff
        measured = log_slope(spectrum.N, np.log(spectrum.measured), spectrum.measured_error)
        law = np.log(spectrum.predicted) + np.log1p(-finite)
        predicted = log_slope(spectrum.N, law, spectrum.predicted_error)
        rows.append([*measured, *predicted, abs(log_slope(spectrum.N, finite).value)])
    values, errors, law, numerical, bias = np.array(rows).T
    return ld.compare_each(
        ld.Measurement(values, errors, int(table.replicas.min()), {"gamma": gammas}),
        ld.Prediction(law, numerical, bias, "of prefactors", "diffusion"),
        ld.Prediction(np.full(law.size, 3.0), numerical, bias, "of prefactors", "N³"),
        name=["exponents", "N³ whatever the spectrum"],
        quantity="exponent of n* in N",
    )


def broken_tie(broken: xr.Dataset, table: xr.Dataset, paths: int) -> ld.Comparisons:
    """The tie broken by jitter: diffusion alone, and nothing like the law of the whole tie."""
    at, whole = slice(9, None, 5), table.sel(case=WHOLE.label)
    share, count = broken.known[at], BROKEN.replicas
    laws = (
        ld.Prediction(law[at], binomial_error(law[at], max(count, paths)), label=label)
        for law, label in ((broken.expected, "diffusion without drift"), (whole.expected, "whole"))
    )
    error, axes = binomial_error(share, count), {"samples": broken.samples[at]}
    return ld.compare_each(
        ld.Measurement(share, error, count, axes, int(broken.lost)),
        *laws,
        name=["broken tie", "broken tie against the whole one"],
        quantity="share that seems to know the tie",
    )
