"""Strings in Arrow memory: they behave as a list of them, and hash as one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from kg.columns import StringColumn, to_arrow, utf8_parts
from kg.errors import InputError

NAMES = ["", "Heat", "Åsa Löf", "東京", "Heat", "last"]


def column(*, skip: int = 0) -> StringColumn:
    """In three chunks, one of them empty, the first one a slice of more."""
    first = pa.array(["left out", *NAMES[:2], "left out"], pa.string()).slice(1, 2).slice(skip)
    return StringColumn(pa.chunked_array([first, pa.array([], pa.string()), NAMES[2:]]))


def test_it_is_a_sequence_as_a_list_is() -> None:
    found = column()
    assert (len(found), list(found)) == (len(NAMES), NAMES)
    assert [found[place] for place in range(-len(NAMES), len(NAMES))] == NAMES + NAMES
    for part in (slice(1, 4), slice(None, None, 2), slice(-2, None), slice(3, 3)):
        assert found[part] == NAMES[part]
    assert found.index("東京") == 3
    assert found.count("Heat") == 2
    assert "nobody" not in found
    with pytest.raises(IndexError):
        found[len(NAMES)]


def test_it_equals_the_same_strings_and_no_others() -> None:
    found = column()
    assert found == NAMES
    assert found == StringColumn(pa.chunked_array([NAMES]))
    assert found != NAMES[:-1]
    assert found != [*NAMES[:-1], "other"]
    assert found != "Heat"
    assert to_arrow(found) is found.arrow
    assert to_arrow(NAMES).to_pylist() == NAMES


def test_a_column_without_a_type_is_empty_and_one_with_gaps_is_refused() -> None:
    assert list(StringColumn(pa.chunked_array([pa.nulls(0)]))) == []
    with pytest.raises(InputError, match="1 values are missing"):
        StringColumn(pa.chunked_array([["a", None]]))


def as_defined(names: Sequence[str]) -> bytes:
    encoded = [name.encode("utf-8", "surrogatepass") for name in names]
    lengths = np.asarray([len(name) for name in encoded], np.int64)
    return len(encoded).to_bytes(8, "little") + lengths.tobytes() + b"".join(encoded)


@pytest.mark.parametrize(
    "names", [[], NAMES, ["\ud800", "\udc00"], [f"{n:05d}" + "é" * (n == 99_999) for n in range(140_000)]]
)
def test_what_is_hashed_is_the_same_in_pieces(names: list[str]) -> None:
    assert b"".join(utf8_parts(names)) == as_defined(names)
    assert b"".join(utf8_parts(tuple(names))) == as_defined(names)


def test_what_is_hashed_is_the_same_from_arrow_memory() -> None:
    assert b"".join(utf8_parts(column())) == as_defined(NAMES)
    assert b"".join(utf8_parts(column(skip=1))) == as_defined(NAMES[1:])
    assert b"".join(utf8_parts(StringColumn(pa.chunked_array([], pa.string())))) == as_defined([])
