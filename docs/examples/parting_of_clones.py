"""When do the losses of a network on data and on its two Gaussian clones part?"""

# %%
import jax
import numpy as np
import optax

import learning_dynamics as ld
from diffusion_theory import MixedCumulant, TiedDenoiser, clone_losses, linear_optimum
from learning_dynamics.evidence.figures import draw_simulation, draw_theory, new_figure, save_figure

d, K, steps = 100, 12, np.unique(np.geomspace(4, 1200, 12).astype(int))
inputs = MixedCumulant(covariance=4.0, pair="sign")
learner = TiedDenoiser(sign=np.repeat([-1, 1], K // 2), neurons=K, learn_skip=True, skip=0.67)
problem = ld.Problem(  # rates of d: the optimiser's rate is the change of a weight per update
    inputs, learner, float(d), parameter_rates={"skip": float(d)}, batch=64, initial_norm=0.5
)
seen = ld.simulate(
    problem, dimension=d, times=steps / d, replicas=2, key=jax.random.key(0),
    optimiser=optax.adam(optax.cosine_decay_schedule(0.008, 1200)),
)  # fmt: skip

# %% Losses of the same networks on three laws, less that of the best skip connection alone
overlaps = ld.order_parameters(
    seen.values["signal"], seen.values["norms"], {"skip": seen.values["skip"]}
)
losses = clone_losses(problem, overlaps, dimension=d, points=2**12).values
figure, axes = new_figure(width=5.6, height=3.8)
for i, (name, loss) in enumerate(losses.items()):
    mean, spread = loss.mean(axis=0), loss.std(axis=0, ddof=1) / 2**0.5
    draw_simulation(axes[0, 0], 64 * steps, mean, spread, index=i, label=name)
    draw_theory(axes[0, 0], 64 * steps, mean, index=i)
axes[0, 0].axhline(linear_optimum(inputs, "eps", d), color="black", ls="--", label="best linear")
axes[0, 0].set(xscale="log", xlabel="samples", ylabel="loss - best skip", ylim=(-1.1, 2.5))
axes[0, 0].legend()
save_figure(figure, "parting_of_clones.png")
