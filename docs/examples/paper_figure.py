"""A comparison as a figure of one column: font, width, PDF."""

# %%
import matplotlib as mpl
import numpy as np

import learning_dynamics as ld

times = np.arange(10, 101, 10)
steps = np.random.default_rng(0).choice([-1, 1], size=(500, 100))
draws = np.cumsum(steps, axis=1)[:, times - 1] ** 2
measured = ld.Measurement.from_replicas(draws, {"time": times})
result = ld.compare(measured, ld.Prediction(times), name="random walk", quantity="mean square")

# %%
with mpl.rc_context({"font.family": "serif", "mathtext.fontset": "cm"}):
    figure = result.plot("paper_figure.pdf", width="column", x_label="steps")
    figure.savefig("paper_figure.png", dpi=300)  # to look at
