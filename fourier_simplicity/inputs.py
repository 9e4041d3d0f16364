"""Inputs with separate control of amplitudes and phases, on a ring or a torus.

    x(t) = sqrt(2/S) sum_k sqrt(2 lambda_k) rho_k cos(2 pi k.t / side + phi_k),    E rho_k^2 = 1

Both classes share spectrum lambda and amplitude law. In the noise class all phases are independent
and uniform, in the structured class the phases of tied modes obey relations. Relations that conserve
wave vectors make the inputs invariant under translations; then mean and covariance are the same in
both classes, and the label hides in correlations of order three and more.

The statements about such inputs are those of Ricci, Merger and Goldt (arXiv 2605.16913), of which only the
abstract was at hand; this model was built here so that they hold in it.
"""  # noqa: E501

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

import learning_dynamics as ld
from fourier_simplicity.modes import canonical, check_shape, to_sites, wave_vectors
from fourier_simplicity.ties import PhaseTie, Template, Tie
from learning_dynamics import configuration, static
from learning_dynamics.compilation import compiled
from learning_dynamics.random import check_key
from learning_dynamics.validation import finite_array, one_of, positive_integer, reject

__all__ = ["FourierInputs", "Space", "draw", "draw_labelled"]

Space = Literal["sites", "modes"]
AMPLITUDES = ("rayleigh", "deterministic")
TURN = 2 * float(np.pi)


@configuration
class FourierInputs(ld.InputModel):
    """Structured inputs (label +1) and noise (label -1) with tied phases.

    For the kernel the tied modes span the signal directions, r = 2 x tied modes, (Re z, Im z) of
    each; with Rayleigh amplitudes all other modes are Gaussian noise (isotropic: one block, any N;
    otherwise one block of dimension 2 per mode). With deterministic amplitudes nothing is
    Gaussian: all modes are signal directions, tied ones first, there is no noise to integrate out,
    and no limit.

    Equation: :eq:`eq:phases-input`.

    Attributes:
        shape: sides of the grid, one or two even numbers.
        ties: one tie or several, on disjoint modes.
        spectrum: lambda_k for `wave_vectors(shape)`, shape (modes,); None is isotropic, 1 each.
        amplitudes: "rayleigh" (rho^2 exponential; the noise class is Gaussian) or "deterministic".

    Raises:
        ValueError: on odd sides; ties that break translation invariance, reuse a mode or name modes
            beyond the Nyquist frequency; a spectrum that is negative anywhere or zero on a tied mode.
    """  # noqa: E501

    shape: Any = static()
    ties: Any = ()
    spectrum: Any = None
    amplitudes: str = static(default="rayleigh")

    def __post_init__(self) -> None:
        shape = check_shape(self.shape)
        ties = (self.ties,) if isinstance(self.ties, Tie | Template) else tuple(self.ties)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "ties", ties)
        one_of("amplitudes", self.amplitudes, AMPLITUDES)
        for tie in ties:
            if not isinstance(tie, Tie | Template):
                raise reject("ties", "be ties", repr(tie))
        indices = self.tied()[0].tolist()  # refuses modes beyond Nyquist
        for tie in ties:
            left = tie.momentum() % np.asarray(shape)
            if np.any(left):
                demand = f"conserve the wave vector modulo {list(shape)} (translation invariance)"
                raise reject("ties", demand, f"a relation that leaves {tie.momentum().tolist()}")
        if len(set(indices)) < len(indices):
            raise reject("ties", "use each mode once", [t.modes for t in ties])
        if self.spectrum is None or isinstance(self.spectrum, jax.core.Tracer):
            return
        spectrum = finite_array("spectrum", self.spectrum, ndim=1)
        if spectrum.shape != (self.modes,):
            raise reject("spectrum", f"have shape ({self.modes},)", f"shape {spectrum.shape}")
        if np.any(spectrum < 0):
            raise reject("spectrum", "not be negative", spectrum.min())
        if np.any(spectrum[indices] <= 1e-12 * spectrum.max()):
            raise reject("spectrum", "be positive on the tied modes", spectrum[indices].tolist())
        object.__setattr__(self, "spectrum", spectrum)

    @property
    def modes(self) -> int:
        """Number of modes, (N - 2) / 2 on a ring, (L^2 - 4) / 2 on a torus."""
        return len(wave_vectors(self.shape))

    @property
    def dimension(self) -> int:
        """D = 2 x modes, the dimension that the inputs fill (the kernel's N)."""
        return 2 * self.modes

    def tied(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of the tied modes, tie by tie, and the signs (-1: named by -k in the tie)."""
        modes = [canonical(self.shape, k) for tie in self.ties for k in tie.modes]
        table = np.asarray(modes, np.int64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def untied(self) -> NDArray[np.int64]:
        """Indices of all other modes, increasing."""
        return np.setdiff1d(np.arange(self.modes), self.tied()[0])

    def variances(self) -> Any:
        """lambda_k, shape (modes,)."""
        return np.ones(self.modes) if self.spectrum is None else self.spectrum

    def tied_phases(self, latents: Mapping[str, jax.Array], label: jax.Array) -> jax.Array:
        """Phases of the tied modes, shape (..., tied); leading axes those of the label.

        Args:
            latents: "angles", "offsets" and "branch" as `latents` declares them.
            label: +1 for structured, otherwise noise, shape (...).
        """
        pieces, a, o, b = [], 0, 0, 0
        for tie in self.ties:
            jitter = jnp.asarray(tie.jitter, label.dtype)
            width = jnp.where(label > 0, jitter, jnp.asarray(np.pi, label.dtype))
            branch = jnp.zeros_like(width)
            if tie.branches > 1:
                branch = jnp.floor(tie.branches * latents["branch"][..., b])
                b += 1
            angles = latents["angles"][..., a : a + tie.angles]
            offsets = latents["offsets"][..., o : o + tie.offsets]
            pieces.append(tie.phases(angles, offsets, branch, width))
            a, o = a + tie.angles, o + tie.offsets
        if not pieces:
            return jnp.zeros((*label.shape, 0), label.dtype)
        signs = jnp.asarray(self.tied()[1], label.dtype)
        phases = jnp.concatenate(pieces, axis=-1)
        return phases * jnp.broadcast_to(signs, phases.shape)

    # The kernel's input model.

    @property
    def directions(self) -> int:
        """Number of signal directions."""
        return 2 * len(self.tied()[0]) if self.amplitudes == "rayleigh" else self.dimension

    def latents(self) -> Mapping[str, Any]:
        """Label, angles, jitters and amplitudes of the tied modes."""
        ties: tuple[PhaseTie, ...] = self.ties
        latents: dict[str, Any] = {
            "label": ld.Discrete((-1.0, 1.0)),
            "angles": ld.Phase((sum(t.angles for t in ties),)),
            "offsets": ld.Uniform(-1.0, 1.0, (sum(t.offsets for t in ties),), periodic=True),
        }
        split = sum(t.branches > 1 for t in ties)
        if split:
            latents["branch"] = ld.Uniform(0.0, 1.0, (split,))
        if self.amplitudes == "rayleigh":
            latents["amplitudes"] = ld.Rayleigh((len(self.tied()[0]),))
        else:
            latents["others"] = ld.Phase((len(self.untied()),))
        return latents

    def signal(self, latents: Mapping[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Coordinates (Re z, Im z) of the tied modes (of all modes), and the label."""
        phases, at = self.tied_phases(latents, latents["label"]), self.tied()[0]
        if self.amplitudes == "deterministic":
            phases = jnp.concatenate([phases, latents["others"]])
            at, size = np.concatenate([at, self.untied()]), jnp.ones_like(phases)
        else:
            size = latents["amplitudes"]
        size = size * jnp.sqrt(2 * jnp.asarray(self.variances(), size.dtype)[at])
        pairs = jnp.stack([size * jnp.cos(phases), size * jnp.sin(phases)], axis=-1)
        return pairs.reshape(1, -1), latents["label"]

    def blocks(self, dimension: int) -> tuple[ld.NoiseBlocks, ...]:
        """Gaussian modes: one block if isotropic, else one of dimension 2 per mode.

        Raises:
            ValueError: if a spectrum fixes the dimension, and it is another one.
        """
        if self.amplitudes == "rayleigh" and self.spectrum is None:
            return (ld.NoiseBlocks(dimension - self.directions, np.ones(1)),)
        if dimension != self.dimension:
            raise reject("dimension", f"be {self.dimension}, twice the number of modes", dimension)
        if self.amplitudes == "deterministic":
            return ()
        return (ld.NoiseBlocks(2, self.variances()[self.untied()]),)

    def signal_variances(self) -> Any:
        """Input variance along each signal direction, shape (r,)."""
        at = self.tied()[0]
        if self.amplitudes == "deterministic":
            at = np.concatenate([at, self.untied()])
        chosen = self.variances()[at]
        return np.repeat(chosen, 2) if isinstance(chosen, np.ndarray) else jnp.repeat(chosen, 2)


def _coordinates(inputs: FourierInputs, key: jax.Array, labels: jax.Array) -> jax.Array:
    """Coordinates of all modes, shape (samples, D)."""
    count, dtype, ties = labels.shape[0], labels.dtype, inputs.ties
    keys = jax.random.split(key, 5)
    phases = jax.random.uniform(keys[0], (count, inputs.modes), dtype, 0.0, TURN)
    angles = jax.random.uniform(keys[1], (count, sum(t.angles for t in ties)), dtype, 0.0, TURN)
    shape = (count, sum(t.offsets for t in ties))
    latents = {
        "angles": angles,
        "offsets": jax.random.uniform(keys[2], shape, dtype, -1.0, 1.0),
        "branch": jax.random.uniform(keys[3], (count, len(ties)), dtype),
    }
    phases = phases.at[:, inputs.tied()[0]].set(inputs.tied_phases(latents, labels))
    scale = jnp.sqrt(2 * jnp.asarray(inputs.variances(), dtype))
    size = jnp.broadcast_to(scale, phases.shape)
    if inputs.amplitudes == "rayleigh":
        size = size * jnp.sqrt(jax.random.exponential(keys[4], phases.shape, dtype))
    pairs = jnp.stack([size * jnp.cos(phases), size * jnp.sin(phases)], axis=-1)
    return pairs.reshape(count, inputs.dimension)


@partial(compiled, static_argnames=("space",))
def _inputs(inputs: FourierInputs, key: jax.Array, labels: jax.Array, *, space: str) -> jax.Array:
    coordinates = _coordinates(inputs, key, labels)
    return coordinates if space == "modes" else to_sites(inputs.shape, coordinates)


def draw(
    inputs: FourierInputs,
    samples: int,
    *,
    key: jax.Array,
    structured: bool = True,
    space: Space = "sites",
) -> jax.Array:
    """Independent samples of one class, float32.

    Args:
        inputs: the input model.
        samples: number of samples.
        key: typed random key. Both classes have the same amplitudes and untied phases for a key.
        structured: the class.
        space: "sites" (by FFT), shape (samples, *inputs.shape), or "modes", the coordinates
            (Re z_1, Im z_1, Re z_2, ..), shape (samples, inputs.dimension).

    Raises:
        ValueError: on a number of samples or a space that make no sense.
    """
    check_key(key)
    one_of("space", space, ("sites", "modes"))
    count = positive_integer("samples", samples)
    labels = np.full(count, 1 if structured else -1, np.float32)
    return _inputs(inputs, key, jnp.asarray(labels), space=space)


def draw_labelled(
    inputs: FourierInputs, samples: int, *, key: jax.Array, space: Space = "sites"
) -> tuple[jax.Array, jax.Array]:
    """Samples of both classes with equal probability, and their labels +-1, shape (samples,).

    Raises:
        ValueError: on a number of samples or a space that make no sense.
    """
    check_key(key)
    one_of("space", space, ("sites", "modes"))
    count = positive_integer("samples", samples)
    label_key, sample_key = jax.random.split(key)
    labels = jax.random.rademacher(label_key, (count,), jnp.float32)
    return _inputs(inputs, sample_key, labels, space=space), labels
