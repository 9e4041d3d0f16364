"""Parts of the kernel with and without jit and device: one value, finite, in one type."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import learning_dynamics as ld
from learning_dynamics import random
from learning_dynamics.model.overlaps import State
from learning_dynamics.process.draws import draw_samples
from learning_dynamics.process.layout import layout_of
from learning_dynamics.process.starts import random_start
from learning_dynamics.process.update import update
from tests.learning_dynamics.kernel.models import Committee, Denoiser, Spike, Teacher

PROBLEM = ld.Problem(Teacher(np.array([1.0, 0.5])), Committee(2), 0.7, update="spherical")
N = 12


class Compared(chex.TestCase):
    """Each function is computed eagerly and by the variant."""

    def assert_same(self, function, *arguments):
        direct, variant = function(*arguments), self.variant(function)(*arguments)
        chex.assert_tree_all_finite(variant)
        chex.assert_trees_all_equal_shapes_and_dtypes(variant, direct)
        chex.assert_trees_all_close(variant, direct, rtol=2e-5, atol=2e-6)


class TestDraws(Compared):
    """Cheap without jit."""

    @chex.variants(with_jit=True, without_jit=True, with_device=True, without_device=True)
    def test_random_numbers(self):
        self.assert_same(lambda key: random.normal(key, (7, 3)), jax.random.key(1))
        self.assert_same(lambda key: random.uniform(key, (7, 3)), jax.random.key(1))

    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_label_and_fields_of_a_model(self):
        problem = ld.Problem(Spike(), Denoiser(1), 0.1)
        latents = {
            name: latent.draw(random.fold_in(jax.random.key(3), i), (), jnp.float32)
            for i, (name, latent) in enumerate(sorted(problem.all_latents().items()))
        }
        self.assert_same(problem.cast(jnp.float32).signal, latents)


@pytest.mark.slow
class TestUpdate(Compared):
    """Operation by operation without jit."""

    @chex.variants(with_jit=True, without_jit=True, with_device=True)
    def test_update(self):
        for level in ("ambient", "overlaps"):
            layout = layout_of(PROBLEM, N, level)

            def step(key, layout=layout):
                cast = PROBLEM.cast(jnp.float32)
                start = random_start(cast, layout, random.fold_in(key, 0), jnp.float32)
                own = random.fold_in(key, 1)
                draws = draw_samples(cast, layout, own, jnp.float32, jnp.int32(0), 2)
                state: State = update(cast, layout, start, jax.tree.map(lambda a: a[0], draws))
                return state

            self.assert_same(step, jax.random.key(2))
