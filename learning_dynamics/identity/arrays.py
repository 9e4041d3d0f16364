"""Arrays as text: contents, type, shape, order in memory, library."""

import hashlib
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["array_text", "checksum"]


def array_text(value: Any) -> str:
    """Text of a NumPy or JAX array, scalar or random key; the same for arrays of equal bytes."""
    if isinstance(value, jax.Array):
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            data = np.asarray(jax.random.key_data(value))
            return f"key:{jax.random.key_impl(value)}:{data.tolist()}"
        library = "weak jax" if value.weak_type else "jax"
    else:
        library = "scalar" if isinstance(value, np.generic) else "numpy"
    array = np.asarray(value)
    kind = array.dtype
    # the text of a structured type names its fields; other types have their own name
    name = (
        f"{kind.descr}{kind.itemsize}{kind.isalignedstruct}"
        if kind.fields
        else f"{kind.str}{kind.name}"
    )
    raw = np.ascontiguousarray(array).tobytes()
    text = raw.hex() if len(raw) <= 16 else hashlib.sha256(raw).hexdigest()
    return f"{library} array:{name}{array.shape}{_order(array)}:{text}"


def _order(array: np.ndarray) -> str:
    if array.flags.c_contiguous:
        return ""
    return "F" if array.flags.f_contiguous else f"strides{array.strides}"


def checksum(array: np.ndarray) -> Any:
    """Fast sum over the contents of an array that may be written to."""
    if array.dtype.hasobject:
        return None
    plain = array.view(np.ndarray)
    if not plain.flags.c_contiguous:
        plain = np.ascontiguousarray(plain)
    total = zlib.crc32(plain.reshape(-1).view(np.uint8).data) if plain.size else 0
    mask = checksum(np.ma.getmaskarray(array)) if isinstance(array, np.ma.MaskedArray) else None
    return (total, array.shape, array.dtype.str, mask)
