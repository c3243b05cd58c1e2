"""JSON lines: one fact a line, with its evidence. The keys are a contract that scripts rely on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kg.errors import InputError
from kg.exchange.rows import CuratedRow, Named, keys_of
from kg.ledger.rows import FactRow, ProvenanceRow
from kg.schema import fits_64_bits

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger


def write(ledger: Ledger, path: Path) -> int:
    """Write one fact a line and return how many."""
    count = 0
    key = keys_of(ledger)
    with path.open("w", encoding="utf-8") as file:
        for row in ledger.facts():
            file.write(json.dumps(_line(row, key), ensure_ascii=False) + "\n")
            count += 1
    return count


def read(path: Path) -> Iterator[CuratedRow]:
    """Read facts; ``subject``, ``predicate`` and ``object`` are needed, the rest is optional."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _row(line, f"line {number}", path)
    except UnicodeDecodeError as problem:
        raise InputError(f"the text is not UTF-8: {problem.reason}.", where=str(path)) from None


def _line(row: FactRow, key: Callable[[str], str]) -> dict[str, Any]:
    line: dict[str, Any] = {
        "subject": row.subject.name,
        "predicate": row.predicate,
        "object": row.object.name if row.object else row.literal,
        "status": str(row.status),
        "confidence": row.confidence,
        "evidence": [_evidence(found) for found in row.evidence],
        "subject_id": row.subject.id,
        "subject_type": row.subject.type,
        "subject_key": key(row.subject.id),
        "object_is_literal": row.object is None,
    }
    if row.object:
        line["object_id"], line["object_type"] = row.object.id, row.object.type
        line["object_key"] = key(row.object.id)
    return {**line, "qualifiers": dict(row.qualifiers), "support": row.support, "id": row.edge_id}


def _evidence(found: ProvenanceRow) -> dict[str, Any]:
    if found.document is not None:
        return {"document": found.document, "start": found.start, "end": found.end, "quote": found.quote}
    if found.inference is not None:
        kept = found.inference
        return {"source": found.source, "model": kept.model, "version": kept.version, "score": kept.score}
    return {"source": found.source}


def _row(line: str, where: str, path: Path) -> CuratedRow:
    place = f"{path} {where}"
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as problem:  # also numbers of too many digits, and brackets too deep
        raise InputError(f"this is not JSON: {problem}.", where=place) from None
    if not isinstance(found, dict):
        raise InputError("a line must be a JSON object.", where=place)
    for key in ("subject", "predicate", "object"):
        if key not in found:
            raise InputError(f"there is no {key!r}.", where=place, hint=f"There is: {', '.join(found)}.")
    subject, predicate = _named(found, "subject", place), _text(found, "predicate", place)
    said = _qualifiers(found, place), _confidence(found, place)
    value = found["object"]
    if found.get("object_is_literal", not isinstance(value, str)):
        if not isinstance(value, str | int | float):
            raise InputError(f"object {value!r} is neither a name nor a value.", where=place)
        if isinstance(value, int) and not fits_64_bits(value):
            raise InputError(f"object {value} does not fit 64 bits.", where=place)
        return CuratedRow(where, subject, predicate, None, value, *said)
    return CuratedRow(where, subject, predicate, _named(found, "object", place), None, *said)


def _named(found: dict[str, Any], end: str, place: str) -> Named:
    key, type_ = found.get(f"{end}_key"), found.get(f"{end}_type")
    for name, value in ((f"{end}_key", key), (f"{end}_type", type_)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
            raise InputError(f"{name} {value!r} is no text.", where=place)
    return Named(_text(found, end, place), str(type_ or ""), None if key is None else str(key))


def _text(found: dict[str, Any], key: str, place: str) -> str:
    value = found[key]
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{key} {value!r} is no name.", where=place, hint="Write a text that is not empty.")
    return value


def _qualifiers(found: dict[str, Any], place: str) -> dict[str, str]:
    qualifiers = found.get("qualifiers")
    if qualifiers is None:
        return {}
    if not isinstance(qualifiers, dict):
        raise InputError(
            f"qualifiers {qualifiers!r} are no object.", where=place, hint='Write them as {"name": "value"}.'
        )
    for name, value in qualifiers.items():
        if not isinstance(value, str | int | float):
            raise InputError(f"qualifier {name} cannot be {value!r}.", where=place, hint="Write a text.")
    return {name: str(value) for name, value in qualifiers.items()}


def _confidence(found: dict[str, Any], place: str) -> float:
    confidence = found.get("confidence", 1.0)
    if isinstance(confidence, bool) or not isinstance(confidence, int | float):
        raise InputError(f"confidence {confidence!r} is no number.", where=place)
    if not 0 <= confidence <= 1:
        raise InputError(f"confidence {confidence} is not between 0 and 1.", where=place)
    return confidence
