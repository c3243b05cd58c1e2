"""What a model sees, as a hash: a run is never continued on other data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from recommender.data.interactions import Interactions


def fingerprint(*data: Any) -> str:
    """The hash of interactions, graphs, side data; of users and items their number enters, not their ids."""
    digest = hashlib.blake2b(digest_size=16)
    for part in _parts(data):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    """Bytes that tell any two values apart, each field with its name."""
    if isinstance(value, Interactions):
        yield from _parts((value.n_users, value.n_items, value.keys, value.weight, value.time))
    elif isinstance(value, np.ndarray):
        yield f"{value.dtype}{value.shape}".encode()
        yield np.ascontiguousarray(value).tobytes()
    elif is_dataclass(value):
        for field in fields(value):
            yield field.name.encode()
            yield from _parts(getattr(value, field.name))
    elif isinstance(value, list | tuple):
        yield f"{len(value)} parts".encode()
        for part in value:
            yield from _parts(part)
    else:
        yield repr(value).encode()
