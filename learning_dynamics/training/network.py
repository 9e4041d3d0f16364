"""One compiled loop for every flax network: update, average, observe."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from numpy.typing import ArrayLike, NDArray

from learning_dynamics import short_text
from learning_dynamics.compilation import compiled
from learning_dynamics.evidence.comparison import Measurement
from learning_dynamics.identity.session import notice_edits, sees_edits
from learning_dynamics.loop import observation_gaps, observed_scan
from learning_dynamics.optimisers import extra_arguments, lenient, update_parameters
from learning_dynamics.process.checkpoint import checkpoint_file, fingerprint, restore, save
from learning_dynamics.random import threefry_key
from learning_dynamics.tracking import Tracking, track, tracked
from learning_dynamics.validation import finite_array, positive_integer, reject

__all__ = ["Training", "log_steps", "train"]

Array = NDArray[Any]
Loss = Callable[[Any, Any, jax.Array], jax.Array]
Observe = Callable[[Any, Any, jax.Array], Mapping[str, jax.Array]]
UNMOVED = optax.identity()  # stands for an optimiser where the network alone is asked for


class State(NamedTuple):
    """What changes during training; with several replicas each leaf has a leading axis."""

    parameters: Any  #: trained
    others: Any  #: running means of normalisation, counters of random streams
    optimiser: Any
    average: Any  #: exponential mean of the parameters, or None


class Recipe(NamedTuple):
    """What is compiled in; equal recipes share one compilation."""

    graph: Any
    loss: Loss
    observe: Observe
    optimiser: optax.GradientTransformation
    extras: tuple[str, ...]  #: what the optimiser is given beside the gradient
    average: float | None


@dataclass(frozen=True, eq=False)
class Training:
    """Networks trained from different seeds, and what was observed along the way.

    Attributes:
        steps: updates made at each observation, shape (observations,).
        values: name -> what `observe` returned, shape (replicas, observations, ...).
        states: states at the end, with a leading axis over replicas.
        graph: structure of the network; None if it was loaded from a file.
        seconds: wall time, compilation included.
    """

    steps: NDArray[np.int64]
    values: Mapping[str, Array]
    states: State
    graph: Any
    seconds: float

    @property
    def replicas(self) -> int:
        """Number of networks."""
        return int(next(iter(self.values.values())).shape[0])

    __repr__ = short_text.represent

    def _summary(self) -> tuple[str, short_text.Rows]:
        leaves = jax.tree.leaves(self.states.parameters)
        each = sum(math.prod(leaf.shape[1:]) for leaf in leaves)
        numbers = {name: short_text.concrete(array) for name, array in self.values.items()}
        finals = {
            name: f"{name} {np.mean(array[:, -1]):.4g}"
            for name, array in numbers.items()
            if array is not None and array.ndim == 2 and array.shape[1]
        }
        return f"{self.replicas} replicas of {each} parameters", {
            "steps": short_text.span(self.steps),
            "values": short_text.shapes(self.values),
            "at the end": ", ".join(finals.values()),
            "took": f"{self.seconds:.3g} s",
        }

    def network(self, replica: int = 0, *, build: Callable[[nnx.Rngs], Any] | None = None) -> Any:
        """Return one network at the end of training, in evaluation mode (averaged if asked for).

        Args:
            replica: which one.
            build: makes the network, as for `train`; for a run that was loaded from a file.

        Raises:
            ValueError: if a loaded run is given no `build`, or that of another network.
        """
        if self.graph is not None:
            if build is not None:
                raise reject("build", "be left out unless the run was loaded", build)
            state = jax.tree.map(lambda leaf: leaf[replica], self.states)
            return _network(self.graph, state)
        if build is None:
            raise reject("build", "make the network of a run that was loaded", build)
        graph, *abstract = _split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))
        parameters, others = (
            _filled(tree, self.leaves(name), replica)
            for tree, name in zip(abstract, ("parameters", "others"), strict=True)
        )
        mean = self.leaves("average")
        average = None if mean is None else _filled(abstract[0], mean, replica)
        return _network(graph, State(parameters, others, None, average))

    def leaves(self, part: str) -> dict[str, jax.Array] | None:
        """Arrays of one part of `states` by name, leading axis replicas; None without any."""
        tree = getattr(self.states, part)
        if tree is None or self.graph is None:
            return tree
        return _by_name(tree)

    def measurement(self, names: Iterable[str] | None = None, *, axis: str = "set") -> Measurement:
        """Mean over replicas of scalars, coordinates (`axis`, step); all scalars by default.

        Raises:
            ValueError: if a name is unknown or what was observed under it is no scalar.
        """
        scalars = [name for name, array in self.values.items() if array.ndim == 2]
        chosen = scalars if names is None else list(names)
        if not chosen or not set(chosen) <= set(scalars):
            raise reject("names", f"name some of the scalars {scalars}", chosen)
        draws = np.stack([self.values[name] for name in chosen], axis=1)
        return Measurement.from_replicas(
            draws, {axis: np.array(chosen), "step": self.steps}, label="network"
        )


def log_steps(end: int, *, points: int = 20, first: int = 1) -> NDArray[np.int64]:
    """Step numbers 0, `first`, ..., `end`, evenly spaced in the logarithm where they can be.

    Raises:
        ValueError: unless 1 <= first < end and points >= 3.
    """
    first, end = positive_integer("first", first), positive_integer("end", end)
    if not first < end:
        raise reject("first", f"be smaller than end = {end}", first)
    if points < 3:
        raise reject("points", "be at least 3", points)
    spaced = np.rint(np.geomspace(first, end, points - 1)).astype(np.int64)
    return np.unique(np.concatenate([[0], spaced]))


def _by_name(tree: Any) -> dict[str, Any]:
    """Leaves by their paths."""
    paths, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in paths}


def _filled(abstract: Any, leaves: Mapping[str, jax.Array] | None, replica: int) -> Any:
    """A tree with the leaves of one replica.

    Raises:
        ValueError: if the leaves are those of another tree.
    """
    wanted = {name: (leaf.shape, leaf.dtype) for name, leaf in _by_name(abstract).items()}
    given = {name: (leaf.shape[1:], leaf.dtype) for name, leaf in (leaves or {}).items()}
    if wanted != given:
        apart = sorted(k for k in wanted.keys() | given.keys() if wanted.get(k) != given.get(k))
        raise reject("build", "make the network that was trained", f"others: {', '.join(apart)}")
    chosen = [(leaves or {})[name][replica] for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(abstract), chosen)


def _network(graph: Any, state: State) -> Any:
    parameters = state.parameters if state.average is None else state.average
    network = nnx.merge(graph, parameters, state.others)
    network.eval()
    return network


def _split(network: Any) -> tuple[Any, Any, Any]:
    """Structure, trained parameters, all other state."""
    parts: Any = nnx.split(network, nnx.Param, ...)
    return parts[0], parts[1], parts[2]


@partial(compiled, static_argnames=("build", "optimiser", "average"))
def _start(
    build: Callable[[nnx.Rngs], Any], optimiser: Any, average: float | None, key: jax.Array
) -> tuple[Any, State]:
    """Structure and state of one network before training; its leaves have a leading axis of one.

    Its weights come from XLA's own generator: a network has dozens of arrays, and a second of
    compilation for each would be the longest part of a short run. Its random streams (dropout) go
    on in training, where replicas are batched: there that generator would draw for all of them at
    once, so that a replica would depend on its company. They are threefry keys of the replica.
    """
    words = jax.random.key_data(key)
    rbg = jax.random.wrap_key_data(jnp.concatenate([words, words]), impl="rbg")
    network = build(nnx.Rngs(rbg))
    if not isinstance(network, nnx.Module):
        raise reject("build", "return a network, an `nnx.Module`", f"a {type(network).__name__}")
    graph, parameters, others = _split(network)
    others = _own_streams(others, jax.random.wrap_key_data(words, impl="threefry2x32"))
    mean = None if average is None else parameters
    with lenient():
        state = State(parameters, others, optimiser.init(parameters), mean)
    return graph, jax.tree.map(lambda leaf: leaf[None], state)


def _own_streams(others: Any, key: jax.Array) -> Any:
    """The same state with each random stream begun from the replica's own key."""
    leaves, structure = jax.tree.flatten(others)
    for i, leaf in enumerate(leaves):
        if _is_key(leaf):
            stream = jax.random.fold_in(key, i)
            leaves[i] = jax.random.split(stream, leaf.shape) if leaf.shape else stream
    return jax.tree.unflatten(structure, leaves)


def _update(recipe: Recipe, batches: Any, state: State, key: jax.Array, step: jax.Array) -> State:
    draw, noise = jax.random.split(key)
    batch = batches(draw)

    def loss(parameters: Any) -> tuple[jax.Array, Any]:
        # made anew: flax lets nothing change that comes from outside this derivative
        others = jax.tree.map(lambda leaf: leaf, state.others)
        network = nnx.merge(recipe.graph, parameters, others)
        network.train()
        value = recipe.loss(network, batch, noise)
        return value, _split(network)[2]

    (value, others), gradient = jax.value_and_grad(loss, has_aux=True)(state.parameters)
    parameters, optimiser = update_parameters(
        recipe.optimiser,
        recipe.extras,
        state.parameters,
        state.optimiser,
        value,
        gradient,
        lambda parameters: loss(parameters)[0],
    )
    mean = state.average
    if recipe.average is not None:
        # a mean with full memory would keep the random start for 1 / (1 - decay) steps
        age = step.astype(jnp.float32)
        weight = jnp.maximum(1 - recipe.average, 9 / (10 + age))
        mean = optax.incremental_update(parameters, mean, weight)
    return State(parameters, others, optimiser, mean)


@partial(compiled, static_argnames=("recipe",))
def _advance(
    recipe: Recipe,
    states: State,
    batches: Any,
    tests: Any,
    keys: tuple[jax.Array, jax.Array],
    gap: Any,
    done: Any,
) -> tuple[State, Any]:
    """Updates up to the next observation, and the observation, for a batch of replicas."""

    def one(state: State, train_key: jax.Array, test_key: jax.Array) -> tuple[State, Any]:
        def observe(state: State) -> Any:
            return recipe.observe(_network(recipe.graph, state), tests, test_key)

        update = partial(_update, recipe, batches)
        state, observed = observed_scan(update, observe, state, train_key, gap[None], done)
        return state, jax.tree.map(lambda leaf: leaf[0], observed)

    if keys[0].shape[0] > 1:
        return jax.vmap(one)(states, *keys)
    alone = jax.tree.map(lambda leaf: leaf[0], states)  # no batch axis of one in convolutions
    advanced = one(alone, keys[0][0], keys[1][0])
    return jax.tree.map(lambda leaf: leaf[None], advanced)


def _on_host(combine: Callable[[list[Array]], Array], states: Sequence[State]) -> State:
    """Combine equal leaves of states by NumPy: there is no program to compile, on any device."""
    leaves = zip(*(_plain(state) for state in states), strict=True)
    return _like(states[0], [combine([np.asarray(leaf) for leaf in group]) for group in leaves])


@partial(compiled, static_argnames=("replicas",))
def _keys(key: jax.Array, replicas: int) -> tuple[list[jax.Array], jax.Array, jax.Array]:
    """Keys of the starts, one by one, of training and of tests of each replica."""
    seeds = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(replicas, dtype=jnp.int32))
    starts, train, test = jax.vmap(lambda k: jax.random.split(k, 3), out_axes=1)(seeds)
    return list(starts), train, test


def _whole(groups: Sequence[State]) -> State:
    return groups[0] if len(groups) == 1 else _on_host(np.concatenate, groups)


def _cut(replicas: slice, leaves: list[Array]) -> Array:
    return leaves[0][replicas]


@tracked
@sees_edits("build", "loss", "batches", "optimiser", "observe", "tests")
def train(
    build: Callable[[nnx.Rngs], Any],
    loss: Loss,
    batches: Callable[[jax.Array], Any] | list[Any],
    *,
    optimiser: optax.GradientTransformation,
    steps: ArrayLike,
    observe: Observe,
    tests: Any = None,
    key: jax.Array,
    replicas: int = 1,
    together: int | None = None,
    average: float | None = None,
    checkpoint: str | Path | None = None,
    code: str | None = None,
    tracker: Tracking = "auto",
) -> Training:
    """Train a flax network from several seeds and observe it at given steps.

    Parameters and optimiser are the state of one compiled loop. Update j of replica r draws its
    minibatch with a key folded from (`key`, r, j), so that a run cut in two and continued is the
    same run, bit by bit. The compilation is shared by calls with the same network, functions and
    optimiser and with data of the same shapes: keep these objects, do not make them anew.

    Args:
        build: makes the network, `build(rngs)`.
        loss: scalar `loss(network, batch, key)`, network in training mode.
        batches: minibatch `batches(key)`; a pytree, such as `Minibatches` or any configuration
            with `__call__`. A list holds one for each replica.
        optimiser: an optax transformation. Those that ask for the loss of the minibatch, or for
            the loss or its gradient as functions of the parameters, get them.
        steps: numbers of updates at which to observe, increasing; 0 is allowed.
        observe: `observe(network, tests, key)` returns named arrays; the network is in evaluation
            mode and the key of a replica is the same at all steps.
        tests: pytree of test data; a list of one for each replica if `batches` is one.
        key: typed random key; of generators other than threefry its words are used.
        replicas: number of networks.
        together: replicas trained in one batched computation (all by default). With 1 they take
            turns, which needs less memory and is faster for convolutions on a CPU.
        average: decay of an exponential mean of the parameters, which is then what is observed;
            after j steps it is min(`average`, (1 + j) / (10 + j)). None observes the parameters.
        checkpoint: file that is written after every observation and resumed from. It belongs to
            the run's network, data, key, steps and optimiser, and to their code.
        code: text that stands for the code behind a checkpoint, such as "v3": you vouch that it
            changes whenever results do. None follows the code, and refuses what it cannot follow.
        tracker: progress bar, as of `learning_dynamics.simulate`.

    Raises:
        ValueError: if the steps do not increase, a count is not positive, `together` does not
            divide `replicas`, `average` leaves (0, 1), the key is no single typed key, the
            optimiser cannot make an update, the data hold something else than arrays, or the
            checkpoint belongs to another run.
    """
    began = time.perf_counter()
    gaps = observation_gaps(steps)
    replicas = positive_integer("replicas", replicas)
    group = replicas if together is None else positive_integer("together", together)
    if replicas % group:
        raise reject("together", f"divide replicas = {replicas}", group)
    if average is not None and not 0 < float(finite_array("average", average, ndim=0)) < 1:
        raise reject("average", "lie strictly between 0 and 1", average)
    checkpoint = checkpoint_file(checkpoint)
    key = threefry_key(key)
    _check_functions(build=build, loss=loss, observe=observe)
    each = _for_replicas(batches, tests, replicas, group)
    _check_arrays(batches=batches, tests=tests)
    graph, abstract = _start.eval_shape(build, UNMOVED, None, key)  # kept, as programs are
    notice_edits(graph)
    one = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), abstract.parameters
    )
    extras = extra_arguments(optimiser, one)
    recipe = Recipe(graph, loss, observe, optimiser, extras, average)
    starts, train_keys, test_keys = _keys(key, replicas)
    started = [_start(build, optimiser, average, start)[1] for start in starts]
    states = _whole(started)

    identity = fingerprint(
        checkpoint, code, train=train, start=_plain(states), key=train_keys, batches=each,
        steps=gaps, build=(build, graph), loss=loss, optimiser=optimiser, observe=observe,
        average=average,
    )  # fmt: skip
    done, plain, parts = restore(checkpoint, identity, _plain(states), None)
    if done:
        states = _like(states, plain)
    groups, keys = [states], [(train_keys, test_keys)]
    if group < replicas:
        cuts = [slice(first, first + group) for first in range(0, replicas, group)]
        groups = [_on_host(partial(_cut, cut), [states]) for cut in cuts]
        keys = [(train_keys[cut], test_keys[cut]) for cut in cuts]
    count = np.cumsum(gaps)
    for i in track(range(done, len(gaps)), "training"):
        gap, before = (np.asarray(number, gaps.dtype) for number in (gaps[i], count[i] - gaps[i]))
        # all are started before the first is waited for: groups run side by side where they can
        jobs = []
        for index, state in enumerate(groups):
            data = each[0 if len(each) == 1 else index]
            jobs.append(_advance(recipe, state, *data, keys[index], gap, before))
        groups = [job[0] for job in jobs]
        observed = jax.tree.map(lambda *leaves: np.concatenate(leaves), *[job[1] for job in jobs])
        parts.append(dict(observed))
        if checkpoint is not None:
            plain = _plain(_whole(groups))
            save(checkpoint, identity, len(parts), plain, parts)
    states = _whole(groups)
    values = {name: np.stack([part[name] for part in parts], axis=1) for name in parts[0]}
    return Training(count.astype(np.int64), values, states, graph, time.perf_counter() - began)


def _for_replicas(batches: Any, tests: Any, replicas: int, group: int) -> list[tuple[Any, Any]]:
    """Minibatches and tests of each replica, or one pair for all."""
    if not isinstance(batches, list):
        return [(batches, tests)]
    if len(batches) != replicas or not isinstance(tests, list) or len(tests) != replicas:
        raise reject("batches", f"be a list of {replicas}, as the tests", len(batches))
    if group > 1:
        raise reject("together", "be 1 when replicas have data of their own", group)
    return list(zip(batches, tests, strict=True))


def _check_functions(**functions: Any) -> None:
    """Refuse what no program can be kept for.

    Raises:
        ValueError: naming the argument.
    """
    for name, function in functions.items():
        try:
            hash(function)
        except TypeError as error:
            raise reject(name, "be hashable, as functions and classes are", error) from error
        if not callable(function):
            raise reject(name, "be a function", repr(function))


def _check_arrays(**trees: Any) -> None:
    """Refuse data that hold something else than numbers.

    Raises:
        ValueError: naming the argument.
    """
    for name, tree in trees.items():
        for leaf in jax.tree.leaves(tree):
            if not isinstance(leaf, jax.Array | np.ndarray | np.generic | int | float | complex):
                demand = "be a pytree of arrays"
                if name == "batches":
                    demand += ", such as `Minibatches` or a configuration with `__call__`"
                raise reject(name, demand, f"one with a {type(leaf).__name__}")


def _is_key(leaf: jax.Array) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


def _plain(states: State) -> list[jax.Array]:
    """Leaves as arrays of numbers: random keys become their data."""
    return [jax.random.key_data(x) if _is_key(x) else x for x in jax.tree.leaves(states)]


def _like(states: State, plain: Sequence[Any]) -> State:
    """The state whose leaves are such arrays, on the device; `states` tells which are keys."""
    leaves, structure = jax.tree.flatten(states)
    back = [
        jax.random.wrap_key_data(found, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else found
        for leaf, found in zip(leaves, jax.device_put(list(plain)), strict=True)
    ]
    return jax.tree.unflatten(structure, back)
