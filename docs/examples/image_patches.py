"""Patches of photographs have a larger KL than Gaussian data, by what E|y|^4 predicts."""

# %% Patches of 8 x 8 pixels without their mean: 63 coordinates. A pool of 40 000 of them.
import jax

from linear_diffusion import draw_modes, kl_of_modes, theory
from linear_diffusion.patches import photograph_law

N = 6300
pool_key, data_key = jax.random.split(jax.random.key(0))
gaussian = theory.exact_kl(63, N, direction="reverse").values

for name, equal in (("contrast as it is", False), ("equal contrast", True)):
    law = photograph_law(8, 40_000, key=pool_key, equal_contrast=equal)
    modes = draw_modes(law, N, replicas=20, key=data_key)
    seen = kl_of_modes(modes, modes.variance, direction="reverse") / gaussian
    slope = theory.kl_slope(law.spectrum, direction="reverse", fourth_moment=law.fourth_moment)
    universal = theory.kl_slope(law.spectrum, direction="reverse")
    print(
        f"{name}: KL is {seen.mean():.2f} +- {seen.std() / 20**0.5:.2f} times the Gaussian one,"
        f" predicted from E|y|^4: {slope.values / universal.values:.2f}"
    )
