"""Products of networks in the precision that was asked for, gradients too."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend.core import jaxprs_in_params

from diffusion_theory.networks import UNet
from fourier_simplicity.networks import ConvNet, ResNet, TwoLayer
from learning_dynamics.noise_schedule import noise_levels
from learning_dynamics.training import Convolution, convolve

BUILDS = {
    "TwoLayer": lambda products: TwoLayer((8, 8), 3, products=products, rngs=nnx.Rngs(0)),
    "ConvNet": lambda products: ConvNet((8, 8), 3, products=products, rngs=nnx.Rngs(0)),
    "ResNet": lambda products: ResNet(
        (8, 8), 3, blocks=(1, 1), widths=(4, 8), products=products, rngs=nnx.Rngs(0)
    ),
    "UNet": lambda products: UNet((8, 8), widths=(4, 8), products=products, rngs=nnx.Rngs(0)),
}


def loss_and_gradient(name, products):
    """Loss as a function of parameters, which are those of float32."""
    graph, parameters, others = nnx.split(BUILDS[name](products), nnx.Param, ...)
    key = jax.random.key(3)
    parameters = jax.tree.map(  # not zero where a layer starts with zeros
        lambda leaf: leaf + 0.1 * jax.random.normal(key, leaf.shape), parameters
    )
    images = jax.random.normal(jax.random.key(1), (4, 8, 8))
    more = (noise_levels(jnp.linspace(0.2, 0.8, 4)),) if name == "UNet" else ()

    def loss(parameters):
        network = nnx.merge(graph, parameters, others)
        network.eval()
        return jnp.mean(network(images, *more) ** 2)

    return jax.jit(jax.value_and_grad(loss)), parameters


def types_of_products(function, *arguments):
    """Types of the factors of all products that a function and its gradient make."""
    kinds = set()

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name in ("dot_general", "conv_general_dilated"):
                kinds.add(tuple(str(v.aval.dtype) for v in equation.invars))
            for inner in jaxprs_in_params(equation.params):
                walk(inner)

    walk(jax.make_jaxpr(function)(*arguments).jaxpr)
    return kinds


@pytest.mark.parametrize(
    "name",
    [n if n == "ConvNet" else pytest.param(n, marks=pytest.mark.slow) for n in BUILDS],
)
def test_all_factors_are_rounded_where_asked_and_nowhere_else(name):
    for products, kind in (("float32", "float32"), ("bfloat16", "bfloat16")):
        assert types_of_products(*loss_and_gradient(name, products)) == {(kind, kind)}


@pytest.mark.parametrize(
    "name", ["TwoLayer", *(pytest.param(n, marks=pytest.mark.slow) for n in list(BUILDS)[1:])]
)
def test_losses_and_gradients_differ_by_rounding(name):
    """Two parts in 2^8 for each factor; the same float32 on a CPU for tf32."""
    call, parameters = loss_and_gradient(name, "float32")
    exact, slope = call(parameters)
    for products, most in (("tf32", 0.0), ("bfloat16", 0.05)):
        value, other = loss_and_gradient(name, products)[0](parameters)
        chex.assert_trees_all_equal_dtypes(slope, other)
        assert abs(value / exact - 1) <= most
        flat, rounded = (jax.flatten_util.ravel_pytree(tree)[0] for tree in (slope, other))
        assert jnp.linalg.norm(rounded - flat) <= most * jnp.linalg.norm(flat)
        assert (products == "tf32") == bool(jnp.all(rounded == flat))


def test_factors_of_a_convolution_are_rounded_to_bfloat16(key):
    """The convolution of rounded factors, summed in float32."""
    images = jax.random.normal(key, (2, 6, 6, 3))
    kernel = jax.random.normal(jax.random.fold_in(key, 1), (3, 3, 3, 4))
    rounded = convolve(images, kernel, products="bfloat16")
    factors = (a.astype(jnp.bfloat16).astype(jnp.float32) for a in (images, kernel))
    np.testing.assert_allclose(rounded, convolve(*factors), rtol=1e-5, atol=1e-5)
    assert float(jnp.max(jnp.abs(rounded - convolve(images, kernel)))) > 1e-3


def test_unknown_precisions_are_refused(key):
    with pytest.raises(ValueError, match=r"`products`.*'float32', 'tf32', 'bfloat16'.*'float16'"):
        convolve(jnp.zeros((1, 3, 3, 1)), jnp.zeros((3, 3, 1, 1)), products="float16")
    for build in BUILDS.values():
        with pytest.raises(ValueError, match="products"):
            build("half")
    with pytest.raises(ValueError, match="products"):
        Convolution(1, 1, products="half", rngs=nnx.Rngs(0))
