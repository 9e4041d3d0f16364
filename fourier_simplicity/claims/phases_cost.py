"""`fourier/phases-cost-n-cubed`: phases alone are learned after of order N^3 samples."""

from fourier_simplicity.claims.blind import blind
from fourier_simplicity.claims.detection import detect
from fourier_simplicity.claims.input_model import SOURCE
from fourier_simplicity.claims.levels import three_levels
from fourier_simplicity.claims.recovery_figures import samples_of_searches
from fourier_simplicity.claims.searches import HARMONIC, TRIAD, search
from fourier_simplicity.claims.searches_beside_laws import distribution, exponents, prefactors
from learning_dynamics.report.claims import Evidence, Panel, Run, claim


@claim(
    "fourier/phases-cost-n-cubed",
    statement=(
        "Isotropic inputs whose classes differ in phases alone: online SGD needs a number of "
        "samples of order N³, where N² suffice for a relation between three phases."
    ),
    source=SOURCE,
    seconds=105,
)
def phases_cost(run: Run) -> Evidence:
    """Times to recovery against the law without N, local exponents, and neurons that are blind."""
    harmonic = search(
        run, HARMONIC, 0, longest=15.0, sizes=(12, 24, 48) if run.quick else (8, 16, 32, 64, 128)
    )
    triad = search(
        run, TRIAD, 1, longest=20.0, sizes=(48, 96) if run.quick else (24, 48, 96, 192, 384)
    )
    at_law, square = distribution(harmonic)
    growth, exchanged = exponents([harmonic, triad])
    panels = {
        "samples": Panel(
            samples_of_searches([harmonic, triad]),
            "Samples to recovery against N: quantiles 0.4 and 0.2 (open markers); lines "
            "are the laws of the search phase, in which no N is left, with slopes 3 and 2. "
            "Nothing is fitted.",
        ),
        "distribution": Panel(
            at_law.plot(x="time", series="N", x_label="n / N³", logx=False, logy=False),
            "Share of runs that have found the phases after n samples, against n/N³, beside the "
            "explosion times of the limit diffusion (line); the law is moved by the "
            "finite-N shift of a straight run to recovery, and as much is allowed for.",
        ),
        "exponents": Panel(
            growth.plot(logy=False, x_label="N, growth of the lower 30 % of n*"),
            "Exponents of n* between neighbouring N (and over all): they fall towards 3 and 2 as "
            "the diffusion at finite N predicts.",
        ),
    }
    recovery = Evidence(
        [at_law, prefactors([harmonic, triad]), growth], [square, exchanged], panels, NOTES
    )
    law = harmonic.law
    return recovery + detect(run, law) + blind(run, law) + three_levels(run)


NOTES = (
    "Recovery is a product of overlaps, Re m_1³ conj(m_3) for the harmonic tie 3 φ_1 = φ_3, above "
    "a quarter (triad: a half) of its largest value. Learning rates are 0.4/N and 0.25/√N.",
    "Finite N: on the sphere growth slows down by 1 - |m|² and the threshold lies short of the "
    "explosion. Integrated along the steepest ray this shifts n*/N^(k-1): the law is shifted, and "
    "as much again is allowed for, to both sides. At N = 12 a quarter of the largest overlap "
    "product is within reach of diffusion, so that its times are short and the exponent from "
    "N = 12 is high, as the diffusion says.",
    "Detection: the success is AUC - 1/2 over that of a neuron that rests at the tie, where the "
    "growth of the overlap balances the noise of its gradient. A neuron at N rests there if its "
    "rate is below 0.039 (0.47 / N at N = 12); the law's median falls with the rate up to "
    "about 1.4 / N. One rate for all N, 0.4 / N, is best. Controls: n / N² and n / (N³ log² N) in "
    "place of n / N³ in the law.",
    "The AUC of one neuron stays near one half even when it knows the tie: the tie moves a fourth "
    "cumulant of one field, and the tied modes are noisy. Both classes are drawn afresh for every "
    "run; the law of the field depends on the overlaps alone.",
    "Blind: an odd activation (erf, c_4 = 0) on the same inputs, and He4 when the jitter of the "
    "tie covers the whole circle. Controls: a number of samples of order N²; the exponents of "
    "triad and quartet exchanged; the broken tie held against the law of the whole one.",
)
