"""Updates of optax optimisers, with the loss for those that ask for more than its gradient."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from learning_dynamics.validation import reject

__all__ = ["extra_arguments", "lenient", "update_parameters"]

Loss = Callable[[Any], jax.Array]

# line searches refuse what they do not know, so that the rest is only tried after these
_LINE_SEARCH = ("value", "grad", "value_fn")
_ALL = (*_LINE_SEARCH, "obj_fn", "grad_fn")


@contextmanager
def lenient() -> Iterator[None]:
    """Allow the mixed types and ranks that optax relies on, under strict settings too."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def update_parameters(
    optimiser: Any,
    extras: tuple[str, ...],
    parameters: Any,
    memory: Any,
    value: jax.Array,
    gradient: Any,
    loss: Loss,
) -> tuple[Any, Any]:
    """One update of all parameters and of the optimiser's memory.

    Args:
        optimiser: an optax transformation.
        extras: what it is given beside the gradient, from `extra_arguments`.
        parameters: pytree of parameters.
        memory: state of the optimiser.
        value: loss of this minibatch.
        gradient: gradient of that loss.
        loss: the loss of this minibatch as a function of the parameters.
    """
    offers = {
        "value": value,
        "grad": gradient,
        "value_fn": loss,
        "obj_fn": loss,
        "grad_fn": lambda parameters, _: jax.grad(loss)(parameters),
    }
    given = {name: offers[name] for name in extras}
    with lenient():
        changes, memory = optimiser.update(gradient, memory, parameters, **given)
        return optax.apply_updates(parameters, changes), memory


def extra_arguments(
    optimiser: Any,
    parameters: Any,
    offers: tuple[tuple[str, ...], ...] = (_LINE_SEARCH, _ALL),
    demand: str = "update parameters given the loss, its gradient, and both as functions",
) -> tuple[str, ...]:
    """Names of the arguments of `optimiser.update` that hold the loss, found by an abstract update.

    optax's own transformations ask for the loss `value` (`reduce_on_plateau`, `polyak_sgd`,
    `momo`), the gradient `grad` and the loss as a function `value_fn` (line searches, `lbfgs`) or
    `obj_fn` (`sophia`), or its gradient `grad_fn` (`sam`).

    Args:
        optimiser: an optax transformation.
        parameters: pytree of parameters, or of their shapes.
        offers: names of what there is to give, to be tried one after another.
        demand: what the error says that an optimiser must do.

    Raises:
        ValueError: if `optimiser` is no transformation of optax, or wants something else.
    """
    if not all(callable(getattr(optimiser, name, None)) for name in ("init", "update")):
        raise reject("optimiser", "be a transformation of optax", repr(optimiser))
    known = inspect.signature(optimiser.update).parameters
    every = any(each.kind is each.VAR_KEYWORD for each in known.values())
    for names in offers:
        extras = names if every else tuple(name for name in names if name in known)
        try:
            _trial.eval_shape(optimiser, extras, parameters)
        except Exception as error:  # raised by code of others: TypeError, ValueError, anything
            failure = error
        else:
            return extras
    raise reject("optimiser", demand, f"{type(failure).__name__}: {failure}") from failure


@partial(jax.jit, static_argnums=(0, 1))
def _trial(optimiser: Any, extras: tuple[str, ...], parameters: Any) -> Any:
    def loss(parameters: Any) -> jax.Array:
        squares = (jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(parameters))
        return sum(squares, start=jnp.float32(0))

    with lenient():
        value, gradient = jax.value_and_grad(loss)(parameters)
        memory = optimiser.init(parameters)
        return update_parameters(optimiser, extras, parameters, memory, value, gradient, loss)
