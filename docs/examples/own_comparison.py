"""A custom comparison, with a control that must fail."""

# %%
import jax

import learning_dynamics as ld
from learning_dynamics.spectra import power_law
from linear_diffusion import LatentLaw, draw_modes, kl_of_modes, theory

d, samples = 40, [80, 160, 320, 640]
law = LatentLaw(power_law(d, exponent=2.0))
modes = draw_modes(law, samples, replicas=100, key=jax.random.key(3))
draws = kl_of_modes(modes, modes.variance, direction="forward")
measured = ld.Measurement.from_replicas(draws, {"samples": samples})

# %% The exact law passes; the limit of infinite dimension needs an allowance for finite d
exact = theory.exact_kl(d, samples, direction="forward")
limit = theory.kl_proportional([d / N for N in samples], direction="forward").scaled(d)
allowed = limit.with_bias(6 * limit.values / d, "6/d of the value")
for name, theory_says in (("exact", exact), ("limit", limit), ("limit, 6/d allowed", allowed)):
    result = ld.compare(measured, theory_says, name=name, quantity="KL in nats")
    print(f"{name:20s} {result.verdict}   largest residual {abs(result.residual).max():.1f}")

# %% Control: a theory that forgets the estimated mean must fail
control = theory.kl(law.spectrum, samples, 0.0, direction="forward", mean_known=True)
print("control:", ld.compare(measured, control, name="no mean", quantity="KL in nats").verdict)
