"""Columns of strings that stay in Arrow memory: a Python object for each would take most of the room."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa

from kg.errors import InputError

_AT_ONCE = 1 << 16


class StringColumn(Sequence[str]):
    """Strings in an Arrow column, each made when it is asked for. It equals any sequence of the same ones."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, column: pa.ChunkedArray) -> None:
        if column.null_count:
            raise InputError(f"{column.null_count} values are missing from a column of strings.")
        self.arrow = column if column.type == pa.string() else column.cast(pa.string())

    @classmethod
    def copied(cls, column: pa.ChunkedArray) -> StringColumn:
        """The same strings in numpy's memory, which goes back to the system once it is free."""
        return cls(pa.chunked_array([_copy(chunk) for chunk in cls(column).arrow.chunks], pa.string()))

    def __len__(self) -> int:
        return len(self.arrow)

    @overload
    def __getitem__(self, position: int) -> str: ...

    @overload
    def __getitem__(self, position: slice) -> list[str]: ...

    def __getitem__(self, position: int | slice) -> Any:
        found = self.arrow[position]
        return found.to_pylist() if isinstance(position, slice) else found.as_py()

    def __iter__(self) -> Iterator[str]:
        for chunk in self.arrow.chunks:
            for start in range(0, len(chunk), _AT_ONCE):
                yield from chunk.slice(start, _AT_ONCE).to_pylist()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, StringColumn):
            return bool(self.arrow.equals(other.arrow))
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(
            one == another for one, another in zip(self, other, strict=True)
        )


def to_arrow(names: Sequence[str]) -> Any:
    """An Arrow column of these strings; the same memory where they are in one."""
    return names.arrow if isinstance(names, StringColumn) else pa.array(list(names), pa.string())


def utf8_parts(names: Sequence[str]) -> Iterator[bytes | memoryview]:
    """What a column is hashed as, piece by piece: its length, the length of each string, and the strings.

    The lengths are 64-bit little-endian numbers of bytes, and the strings UTF-8 without anything between.
    """
    yield len(names).to_bytes(8, "little")
    if isinstance(names, StringColumn):
        chunks = [chunk for chunk in names.arrow.chunks if len(chunk)]
        for chunk in chunks:
            yield memoryview(np.diff(_offsets(chunk)).astype("<i8"))
        for chunk in chunks:
            offsets = _offsets(chunk)
            yield memoryview(chunk.buffers()[2] or b"")[int(offsets[0]) : int(offsets[-1])]
        return
    pieces = range(0, len(names), _AT_ONCE)
    for start in pieces:
        yield _lengths(names[start : start + _AT_ONCE])
    for start in pieces:
        yield _utf8("".join(names[start : start + _AT_ONCE]))


def _copy(chunk: pa.StringArray) -> pa.StringArray:
    offsets = _offsets(chunk)
    text = np.frombuffer(chunk.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]].copy()
    return pa.StringArray.from_buffers(len(chunk), pa.py_buffer(offsets - offsets[0]), pa.py_buffer(text))


def _offsets(chunk: pa.StringArray) -> Any:
    return np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]


def _lengths(names: Sequence[str]) -> bytes:
    encoded: Sequence[str | bytes] = names if "".join(names).isascii() else [_utf8(name) for name in names]
    return np.fromiter(map(len, encoded), "<i8", len(names)).tobytes()


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
