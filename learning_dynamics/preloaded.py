"""Imports of the process that workers are forked from: the libraries and the claims.

`learning_dynamics.processes` names this module to that process; elsewhere it is of no use.
"""

import gc
import os
from contextlib import suppress
from importlib import import_module
from importlib.metadata import entry_points

__all__: list[str] = []

LIBRARIES = (
    "scipy.linalg", "scipy.stats", "jax", "flax.linen", "diffrax", "optax", "xarray", "h5netcdf",
    "matplotlib.backends.backend_svg", "threadpoolctl",
)  # fmt: skip
# another plug-in may make a JAX backend when it is imported, and JAX does not survive a fork
CLAIMS = tuple(
    entry.value
    for entry in entry_points(group="learning_dynamics.claims")
    if entry.dist is not None and entry.dist.name == "learning-dynamics"
)

_parent = os.getppid()
for _name in (*LIBRARIES, *CLAIMS):
    if os.getppid() != _parent:  # it has ended, as after a misspelt option
        raise SystemExit
    with suppress(Exception):  # workers say what is wrong with a module
        import_module(_name)
gc.collect()
gc.freeze()  # collections in a worker need not walk over the libraries, nor copy their pages
