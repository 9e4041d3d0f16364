"""Linear regression with label noise, whose error rho = |w - w*|^2 has exact mean dynamics."""

import numpy as np

import learning_dynamics as ld

NOISE = 0.5  # standard deviation of the label noise
START = ld.Overlaps(np.zeros((1, 1)), np.full((1, 1, 1), 0.5), {})
RHO = 1.5  # at the start


@ld.configuration
class Line(ld.InputModel):
    directions = 1

    def latents(self):
        return {"x": ld.Normal((1,))}

    def signal(self, latents):
        return latents["x"][None], latents["x"][0]


@ld.configuration
class Linear(ld.Learner):
    neurons = 1

    def loss(self, fields, norms, parameters, sample):
        return (fields[0, 0] - sample.label) ** 2 / 2


def problem(rate, **options):
    return ld.Problem(Line(), Linear(), rate, label_noise=NOISE, **options)


def rho(overlaps):
    return 1 - 2 * overlaps.signal[0, 0] + overlaps.norms[0, 0]


def mean_error(rates, dimension):
    """Exact mean of rho after each update, for rates of the updates.

    w' - w* = (w - w*) - (eta / N) x (x.(w - w*) - noise) with x ~ N(0, 1_N) and |x|^2 (x.u)^2 of
    mean (N + 2) |u|^2.
    """
    n, values = dimension, [RHO]
    for eta in rates:
        shrink = 1 - 2 * eta / n + eta**2 * (n + 2) / n**2
        values.append(shrink * values[-1] + eta**2 * NOISE**2 / n)
    return np.array(values)


def limit_of_error(rate, times):
    """d rho / dtau = -2 eta rho + eta^2 (rho + sigma^2), by scipy."""
    from scipy.integrate import solve_ivp

    def slope(tau, y):
        eta = float(rate(tau))
        return -2 * eta * y + eta**2 * (y + NOISE**2)

    found = solve_ivp(
        slope, (0, times[-1]), [RHO], t_eval=times, rtol=1e-10, atol=1e-12, max_step=0.02
    )
    return found.y[0]
