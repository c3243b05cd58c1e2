"""Facts and entities as tables, CSV or Parquet: one row each; literals, qualifiers and lists as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from kg.errors import InputError
from kg.exchange.rows import CuratedRow, Named, keys_of
from kg.facts import canonical_json

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger

FIELDS = pa.schema(
    [
        ("id", pa.string()),
        ("subject_id", pa.string()),
        ("subject", pa.string()),
        ("subject_type", pa.string()),
        ("subject_key", pa.string()),
        ("predicate", pa.string()),
        ("object_id", pa.string()),
        ("object", pa.string()),
        ("object_type", pa.string()),
        ("object_key", pa.string()),
        ("literal", pa.string()),  # JSON
        ("qualifiers", pa.string()),  # JSON
        ("status", pa.string()),
        ("confidence", pa.float64()),
        ("support", pa.int64()),
    ]
)
ENTITY_FIELDS = pa.schema(
    [
        ("id", pa.string()),
        ("type", pa.string()),
        ("name", pa.string()),
        ("aliases", pa.string()),  # JSON
        ("description", pa.string()),
        ("properties", pa.string()),  # JSON: {property: [values, best supported first]}
    ]
)
NEEDED = ("subject", "predicate")
ROWS_AT_ONCE = 10_000


def write(ledger: Ledger, path: Path, format: str) -> int:
    """Write the table and return its number of rows."""
    count = 0
    with _opened(path, format, FIELDS) as writer:
        for rows in _chunks(_rows(ledger)):
            writer.write_table(pa.Table.from_pylist(rows, schema=FIELDS))
            count += len(rows)
    return count


def write_entities(ledger: Ledger, path: Path, format: str) -> int:
    """Write one row for each canonical entity, mentioned in facts or not, and return how many."""
    count = 0
    with _opened(path, format, ENTITY_FIELDS) as writer, ledger.projection() as projection:
        for batch in projection.batches("nodes"):
            table = pa.Table.from_batches([batch])
            aliases = pa.array([canonical_json(found) for found in table["aliases"].to_pylist()], pa.string())
            table = table.set_column(table.column_names.index("aliases"), "aliases", aliases)
            writer.write_table(table.select(ENTITY_FIELDS.names))
            count += table.num_rows
    return count


def _opened(path: Path, format: str, fields: pa.Schema) -> Any:
    return pq.ParquetWriter(path, fields) if format == "parquet" else pacsv.CSVWriter(path, fields)


def read(path: Path, format: str) -> Iterator[CuratedRow]:
    """Read facts; the columns ``subject``, ``predicate`` and ``object`` or ``literal`` are needed."""
    table = _table(path, format)
    columns = set(table.column_names)
    missing = [name for name in NEEDED if name not in columns]
    if missing or not columns & {"object", "literal"}:
        wanted = missing[0] if missing else "object or literal"
        raise InputError(
            f"there is no column {wanted}.",
            where=str(path),
            hint=f"There is: {', '.join(table.column_names)}.",
        )
    number = 1 if format == "csv" else 0  # a CSV file's first row is its header
    for batch in table.to_batches():
        for found in batch.to_pylist():
            number += 1
            yield _row(found, f"row {number}", path)


def _table(path: Path, format: str) -> Any:
    try:
        if format == "parquet":
            return pq.read_table(path)
        as_text = pacsv.ConvertOptions(column_types={name: pa.string() for name in FIELDS.names})
        parsing = pacsv.ParseOptions(newlines_in_values=True)
        return pacsv.read_csv(path, convert_options=as_text, parse_options=parsing)
    except (pa.ArrowException, OSError) as problem:
        raise InputError(f"the table cannot be read: {problem}.", where=str(path)) from None


def _rows(ledger: Ledger) -> Iterator[dict[str, Any]]:
    key = keys_of(ledger)
    for row in ledger.facts():
        yield {
            "id": row.edge_id,
            "subject_id": row.subject.id,
            "subject": row.subject.name,
            "subject_type": row.subject.type,
            "subject_key": key(row.subject.id),
            "predicate": row.predicate,
            "object_id": row.object.id if row.object else None,
            "object": row.object.name if row.object else None,
            "object_type": row.object.type if row.object else None,
            "object_key": key(row.object.id) if row.object else None,
            "literal": None if row.object else canonical_json(row.literal),
            "qualifiers": canonical_json(dict(row.qualifiers)),
            "status": str(row.status),
            "confidence": row.confidence,
            "support": row.support,
        }


def _row(found: dict[str, Any], where: str, path: Path) -> CuratedRow:
    place = f"{path} {where}"

    def text(name: str) -> str:
        return str(found.get(name) or "")

    try:
        qualifiers = {str(k): str(v) for k, v in json.loads(text("qualifiers") or "{}").items()}
        confidence = float(found["confidence"]) if found.get("confidence") not in (None, "") else 1.0
    except (ValueError, AttributeError, RecursionError) as problem:
        raise InputError(f"qualifiers or confidence cannot be read: {problem}.", where=place) from None

    def named(end: str) -> Named:
        key = found.get(f"{end}_key")
        return Named(text(end), text(f"{end}_type"), None if key is None else str(key))

    subject = named("subject")
    if text("object"):
        target = named("object")
        return CuratedRow(where, subject, text("predicate"), target, None, qualifiers, confidence)
    if not text("literal"):
        raise InputError("there is neither an object nor a literal.", where=place)
    try:
        value = json.loads(text("literal"))
    except (ValueError, RecursionError):
        value = text("literal")
    if not isinstance(value, str | int | float | bool):
        value = text("literal")
    return CuratedRow(where, subject, text("predicate"), None, value, qualifiers, confidence)


def _chunks(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == ROWS_AT_ONCE:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
