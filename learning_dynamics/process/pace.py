"""How many replicas and updates a compiled run handles at once: free choices, of speed alone."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from learning_dynamics.process.layout import Layout
from learning_dynamics.process.one_kernel import Registers, registers_of
from learning_dynamics.validation import reject

__all__ = ["Pace", "check_memory", "checked_devices", "pace_of"]

# On a CPU
_LANES = 32  # measured: 16 to 64 are alike, more needs more memory than the cache has
_WIDE = 64  # components of a weight vector in one block that fill the lanes by themselves
_DRAWN = 2**15  # random numbers drawn together: 128 kB
_CHUNK = 256  # most updates whose inputs are drawn together
# On an accelerator; measured on an H200, see docs/performance.md
_GROUP_WEIGHTS = 2**24  # numbers of the states of a group: more fill its cache many times over
_GROUP_DRAWN = 2**27  # random numbers of a group that are held at once
_FEW = 64  # random numbers per update up to which launches take the time, not numbers
_SHARE = 0.8  # of the memory that a run may fill
_COPIES = 4  # of a state: before and after a run, and before and after an update


class Pace(NamedTuple):
    """What a run handles at once. Its result depends on it in the last digits only (hashable).

    Attributes:
        group: replicas advanced together by one vectorised update.
        chunk: updates whose inputs are drawn together, even.
        unrolled: whether the updates of a chunk are compiled one after another, without a loop.
        tries: attempts at chi variables between two looks at whether they succeeded.
        added: whether short sums are written as additions.
        registers: how a kernel holds the weights of a replica for many updates; None if it has no
            room for them. Where a run can do so, it takes all replicas at once, and no `group`.
    """

    group: int
    chunk: int
    unrolled: bool = False
    tries: int = 1
    added: bool = False
    registers: Registers | None = None


def pace_of(layout: Layout, platform: str, replicas: int) -> Pace:
    """The fastest pace known.

    On a CPU the replicas are the lanes of vector instructions where a weight vector of a block is
    too short to fill them. Runs are padded to whole groups, so that a replica is computed by the
    same instructions whatever the number of replicas and devices.

    An accelerator takes all replicas at once, or the few groups of equal size whose states its
    cache holds a good part of. Its updates are unrolled: a loop waits for the host at every turn.
    Weights that fit into the registers of its processors stay there for many updates.
    """
    drawn = max(layout.drawn, 1)
    if platform != "cpu":
        chunk = 16 if drawn <= _FEW else 4 if drawn <= _GROUP_DRAWN // 4 else 2
        most = min(_GROUP_WEIGHTS // _numbers(layout), _GROUP_DRAWN // (chunk * drawn))
        groups = -(-replicas // max(most, 1))
        return Pace(-(-replicas // groups), chunk, True, 2, True, registers_of(layout))
    whole = [n for n, small in zip(layout.sizes, layout.reduced, strict=True) if not small]
    chunk = max(1, min(_CHUNK // 2, _DRAWN // 2 // drawn)) * 2
    return Pace(_LANES if max(whole, default=0) < _WIDE else 1, chunk)


def _numbers(layout: Layout) -> int:
    """Numbers of the state of a replica, parameters aside."""
    inside = sum(n * c for n, c in zip(layout.sizes, layout.counts, strict=True))
    width = layout.dimension - inside
    for size, count, small in zip(layout.sizes, layout.counts, layout.reduced, strict=True):
        width += count * (layout.columns if small else size)
    return max(layout.columns * width, 1)


def check_memory(
    layout: Layout, pace: Pace, replicas: int, itemsize: int, devices: Sequence[jax.Device]
) -> None:
    """Refuse replicas that fill more than `_SHARE` of the memory of the devices.

    Args:
        layout: structure of the states and draws.
        pace: how many of them are held at once.
        replicas: on each device.
        itemsize: bytes of a number.
        devices: of one kind.

    Raises:
        ValueError: naming the number of replicas that fit.
    """
    memory = _memory(devices[0])
    if memory is None:
        return
    if devices[0].platform == "cpu":  # all devices of a host share its memory
        memory //= len(devices)
    state = itemsize * _numbers(layout) * _COPIES
    draws = itemsize * 3 * pace.chunk * layout.drawn
    room = _SHARE * memory
    if replicas * state + min(pace.group, replicas) * draws <= room:
        return
    one_group = (room - pace.group * draws) / state
    fits = int(max(one_group, 0)) if one_group >= pace.group else int(room / (state + draws))
    demand = f"be at most {fits} per device for {memory / 2**30:.3g} GiB of memory"
    raise reject("replicas", demand, replicas)


def _memory(device: jax.Device) -> int | None:
    """Bytes of memory of a device, None where it does not tell."""
    if device.platform == "cpu":
        if not hasattr(os, "sysconf"):
            return None
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    told = device.memory_stats() or {}
    limit = told.get("bytes_limit")
    return None if limit is None else int(limit)


def checked_devices(devices: Sequence[jax.Device] | None, precision: str) -> list[jax.Device]:
    """Devices of a run, all local ones if None.

    Raises:
        ValueError: if they are none, no devices of JAX, of several kinds or not of this process, or
            if they know no numbers of the precision.
    """
    local = jax.local_devices()
    if devices is None:
        chosen = local
    else:
        known = "be devices of this process, as from jax.local_devices()"
        try:
            chosen = list(devices)
        except TypeError as error:
            raise reject("devices", known, repr(devices)) from error
        if not chosen:
            raise reject("devices", "hold at least one device", repr(devices))
        if not all(isinstance(device, jax.Device) for device in chosen):
            raise reject("devices", known, repr(devices))
        if any(device.process_index != jax.process_index() for device in chosen):
            raise reject("devices", known, repr(devices))
        if len(set(chosen)) < len(chosen):
            raise reject("devices", "hold each device once", repr(devices))
        kinds = sorted({device.platform for device in chosen})
        if len(kinds) > 1:
            raise reject("devices", "be of one platform", ", ".join(kinds))
    if precision == "float64" and not _has_float64(chosen[0]):
        demand = f"be 'float32' on {chosen[0].device_kind}, which has no 64-bit numbers"
        raise reject("precision", demand, repr(precision))
    return chosen


def _has_float64(device: Any) -> bool:
    """Whether a device adds 64-bit numbers; those of CPUs and GPUs are known to."""
    if device.platform in ("cpu", "gpu", "cuda", "rocm"):
        return True
    try:
        with jax.enable_x64(True):
            one = jax.device_put(np.float64(1), device)
            return bool(jnp.add(one, np.float64(2.0**-40)) > 1)
    except Exception:
        return False
