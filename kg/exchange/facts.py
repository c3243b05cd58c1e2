"""Export every fact with its evidence, or import facts as a curated source.

The format goes by the file's ending unless it is named.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kg.errors import InputError, UsageError
from kg.exchange import lines, tables, triples
from kg.exchange.rows import CuratedRow, curated_assertions

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger
    from kg.schema import Schema

ENDINGS: Mapping[str, str] = {
    ".jsonl": "jsonl", ".csv": "csv", ".parquet": "parquet", ".ttl": "turtle", ".trig": "trig",
    ".jsonld": "jsonld", ".nq": "nquads", ".kg": "recbole",
}  # fmt: skip
RDF_FORMATS = ("turtle", "trig", "jsonld", "nquads")
TABLE_FORMATS = ("csv", "parquet")
FORMATS = ("jsonl", *TABLE_FORMATS, *RDF_FORMATS, "recbole", "pykeen")


def export_facts(ledger: Ledger, path: Path, *, format: str | None = None) -> int:
    """Write every fact of the graph to ``path`` and return how many there were.

    A file appears whole or not at all; a pipe or device is written to. Raises
    :class:`~kg.errors.UsageError` for an unknown format and
    :class:`~kg.errors.InputError` where the file cannot be written.
    """
    write = _writer(format_of(path, format))
    return _whole(path, lambda fresh: write(ledger, fresh))


def export_entities(ledger: Ledger, path: Path, *, format: str | None = None) -> int:
    """Write a table of all entities, the companion of a table of facts; return how many there were.

    The file appears whole or not at all. Raises :class:`~kg.errors.UsageError` where the format is not that
    of a table and :class:`~kg.errors.InputError` where the file cannot be written.
    """
    chosen = format_of(path, format)
    if chosen not in TABLE_FORMATS:
        raise UsageError(
            f"{chosen} is no table of entities.", hint=f"Write one of {', '.join(TABLE_FORMATS)}."
        )
    return _whole(path, lambda fresh: tables.write_entities(ledger, fresh, chosen))


def export_links(links: Mapping[str, str], path: Path) -> int:
    """Write RecBole's ``.link`` file, item id to entity id, beside an exported ``.kg``; return how many."""
    return _whole(path, lambda fresh: triples.write_links(links, fresh))


def import_facts(ledger: Ledger, path: Path, *, schema: Schema, format: str | None = None) -> int:
    """Store the facts of a file as the curated source ``curated:<path>``, replacing an earlier import of it.

    Returns the number of facts. Raises :class:`~kg.errors.InputError` naming the row for a fact that the
    schema does not allow, a missing column, or a file that cannot be read; nothing is stored then.
    """
    chosen = format_of(path, format)
    if chosen == "pykeen":
        raise UsageError("bare triples do not say what they are.", hint="Import a .kg file or a table.")
    if not path.is_file():
        raise UsageError("there is no such file.", where=str(path), hint="Check the path.")
    assertions = curated_assertions(_reader(chosen, schema)(path), schema, path)
    ledger.put_source(f"curated:{path.resolve()}", "curated", assertions)
    return len(assertions.facts)


def format_of(path: Path, named: str | None) -> str:
    """The format by name, else by the file's ending.

    Raises :class:`~kg.errors.UsageError` where neither says.
    """
    found = named or ENDINGS.get(path.suffix.lower())
    if found in FORMATS:
        return found
    raise UsageError(
        f"{named or path.suffix or path.name!r} is no format of facts.", hint=f"Known: {', '.join(FORMATS)}."
    )


def _whole(path: Path, write: Callable[[Path], int]) -> int:
    """Write beside the file and then put it in its place; a symbolic link's target, and not the link."""
    try:
        if path.exists() and not path.is_file():
            return _through(path, write)
        target = Path(os.path.realpath(path))
        fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            count = write(fresh)
            os.replace(fresh, target)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as problem:
        raise InputError(
            f"the file cannot be written: {problem.strerror or problem}.", where=str(path)
        ) from None
    return count


def _through(path: Path, write: Callable[[Path], int]) -> int:
    """Write into a pipe or device, which must stay; some formats need to seek, which it cannot."""
    with path.open("wb") as out, tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / path.name
        count = write(whole)
        with whole.open("rb") as file:
            shutil.copyfileobj(file, out)
    return count


def _writer(format: str) -> Callable[[Ledger, Path], int]:
    if format in RDF_FORMATS:
        from kg.exchange import rdf

        return lambda ledger, path: rdf.write(ledger, path, format)
    if format in TABLE_FORMATS:
        return lambda ledger, path: tables.write(ledger, path, format)
    return {"jsonl": lines.write, "recbole": triples.write, "pykeen": triples.write_bare}[format]


def _reader(format: str, schema: Schema) -> Callable[[Path], Iterator[CuratedRow]]:
    if format in RDF_FORMATS:
        from kg.exchange import rdf_reading

        return lambda path: rdf_reading.read(path, format, schema)
    if format in TABLE_FORMATS:
        return lambda path: tables.read(path, format)
    return {"jsonl": lines.read, "recbole": triples.read}[format]
