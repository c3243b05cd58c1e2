"""Read a safetensors file as memory-mapped numpy arrays: opening a large model costs next to nothing.

The format is eight bytes of header length, a JSON header of dtype, shape and offsets by name, then the data.
"""

from __future__ import annotations

import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kg.errors import BundleError

_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "I64": np.int64,
    "I32": np.int32,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def map_tensors(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name, read-only and backed by it.

    Raises :class:`~kg.errors.BundleError` where the file is cut or is none.
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        length = int.from_bytes(mapped[:8], "little")
        header = json.loads(mapped[8 : 8 + length])
        header.pop("__metadata__", None)
        return {name: _array(mapped, 8 + length, entry) for name, entry in header.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise BundleError(f"the tensors cannot be read: {problem}.", where=str(path)) from None


def _array(mapped: mmap.mmap, start: int, entry: dict[str, Any]) -> NDArray[Any]:
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    first, last = entry["data_offsets"]
    count = (last - first) // dtype.itemsize
    return np.frombuffer(mapped, dtype=dtype, count=count, offset=start + first).reshape(entry["shape"])
