"""`linear/mode-dynamics`: linear denoisers learn mode by mode, large variance first."""

import numpy as np

import learning_dynamics as ld
from learning_dynamics.noise_schedule import NoiseSchedule
from learning_dynamics.report.claims import Evidence, Panel, Run, claim
from linear_diffusion import theory
from linear_diffusion.claims import single_modes
from linear_diffusion.claims.common import SOURCE, laws
from linear_diffusion.data_sets import DataSets

SCHEDULE, RIDGE, TIMES = NoiseSchedule.linear(60, 2e-3, 0.2), 0.02, np.geomspace(0.5, 300, 12)


@claim(
    "linear/mode-dynamics",
    statement=(
        "Linear denoisers learn the principal components of the data one after the other, in the "
        "order of their variance and at rates set by it; sampling quality along training has an "
        "optimum."
    ),
    source=SOURCE,
    seconds=10,
)
def mode_dynamics(run: Run) -> Evidence:
    """Gains of single modes by gradient descent and by SGD, learning rates, KL along training."""
    gains, sgd, rates = single_modes.gains(run), single_modes.sgd(run), single_modes.rates(run)
    count = 24 if run.quick else 256
    sets = DataSets.of(laws(run), [60], replicas=count, key=run.key, first=30)

    def law(times: np.ndarray) -> ld.Prediction:
        return sets.expected(
            lambda s, N: theory.training_kl(s, N, RIDGE, SCHEDULE, times, direction="forward")
        )[:, 0]

    divergence = ld.compare_with_controls(
        sets.along_training(SCHEDULE, TIMES, ridge=RIDGE).divergence.select(N_over_d=0),
        law(TIMES), name="KL along training", quantity="forward KL (nats)",
    )  # fmt: skip
    time, fine = r"training time $\tau$", np.geomspace(TIMES[0], TIMES[-1], 60)
    panels = {
        "gains": Panel(
            gains[0].plot(x="tau", series="mode", logx=True, logy=False, x_label=time),
            "Gain of five modes of photograph patches' covariance over what unlimited data would "
            "give, N = 2d: learned in the order of their variance, then overfitted.",
        ),
        "sgd": Panel(
            sgd[0].plot(
                x="tau", series="mode", logx=True, logy=False,
                x_label=f"{time} = 2 (learning rate) steps / d",
            ),
            "Online SGD with sampled noise and batches of 8 patches: its mean is gradient descent.",
        ),
        "rates": Panel(
            rates[0].plot(logx=True, logy=True, x_label="variance of the mode"),
            "Time at which a mode has learned half of its final gain, with plenty of data (spectra "
            "k = 1 and k = 2): log 2 over the rate "
            r"$\bar\alpha s + 1 - \bar\alpha$.",
        ),
        "kl": Panel(
            divergence[0].plot(
                x="tau", series="law", logx=True, logy=True, x_label=time,
                fine=(fine, law(fine).values),
            ),
            "KL between data and generated distribution along training (DDPM, finite number of "
            "steps), N = d/2, small ridge: best in the middle, where the model knows the leading "
            "modes and has not yet fitted the null directions.",
        ),
    }  # fmt: skip
    return Evidence.of([gains, sgd, rates, divergence], panels, NOTES)


NOTES = (
    "Gradient descent here is gradient flow evaluated in the eigenbasis of each sample covariance; "
    "the bias stays at the estimated mean. SGD is the compiled loop on dense matrices.",
    "Controls: all modes learning at the mean rate; SGD with half the learning rate; rates that "
    "ignore the noise.",
)
