"""Triples under typed headers, as RecBole's atomic files have them, or bare, for tools for embeddings.

``.kg`` holds head, relation and tail, ``.link`` item and entity, all tab-separated. Entities are written by
id, since two things may share a name. Reading takes the names as they are; the types come from the schema,
where a relation leaves no choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kg.errors import InputError
from kg.exchange.rows import CuratedRow, Named
from kg.snapshot import Snapshot

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger

KG_HEADER = ("head_id:token", "relation_id:token", "tail_id:token")
LINK_HEADER = ("item_id:token", "entity_id:token")
_ENTITY_ID = re.compile(r"[0-9a-f]{32}")


def write(ledger: Ledger, path: Path) -> int:
    """Write the facts between entities, as a snapshot has them, and return how many."""
    return _write(path, KG_HEADER, _triples(ledger))


def write_bare(ledger: Ledger, path: Path) -> int:
    """Write the same triples without a header, as PyKEEN and most tools for embeddings read them."""
    return _write(path, None, _triples(ledger))


def write_links(links: Mapping[str, str], path: Path) -> int:
    """Write the ``.link`` file that goes with it, item id to entity id, and return how many."""
    return _write(path, LINK_HEADER, sorted(links.items()))


def read_links(path: Path) -> dict[str, str]:
    """Read a ``.link`` file: item id to entity id.

    Raises :class:`~kg.errors.InputError` for a wrong header or row, or an item with two entities.
    """
    links: dict[str, str] = {}
    for number, (item, entity) in _cells(path, LINK_HEADER):
        if links.setdefault(item, entity) != entity:
            raise InputError(f"item {item} has two entities.", where=f"{path} line {number}")
    return links


def read(path: Path) -> Iterator[CuratedRow]:
    """Read the triples of a ``.kg`` file whose entities are called by name.

    Raises :class:`~kg.errors.InputError` for a wrong header or row, and for one that this program wrote: its
    ids do not say what the entities are called.
    """
    for number, (head, relation, tail) in _cells(path, KG_HEADER):
        if _ENTITY_ID.fullmatch(head):
            raise InputError(
                f"the head {head} is the id of an entity, not its name.",
                where=f"{path} line {number}",
                hint="A .kg file names entities by id only: import jsonl, parquet or csv instead.",
            )
        yield CuratedRow(f"line {number}", Named(head), relation, Named(tail))


def _write(path: Path, header: tuple[str, ...] | None, rows: Iterable[tuple[str, ...]]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        if header is not None:
            file.write("\t".join(header) + "\n")
        for cells in rows:
            file.write("\t".join(cells) + "\n")
            count += 1
    return count


def _triples(ledger: Ledger) -> Iterator[tuple[str, str, str]]:
    """Each triple once, though facts may differ in their qualifiers; only what models may take for true."""
    snapshot = Snapshot.of(ledger)
    ids, relations = snapshot.entity_ids, snapshot.relation_names
    for head, relation, tail in snapshot.triples.tolist():
        yield ids[head], relations[relation], ids[tail]


def _cells(path: Path, wanted: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = tuple(file.readline().rstrip("\n").split("\t"))
            if header != wanted:
                raise InputError(
                    f"the header is {' '.join(header)!r}.", where=str(path), hint=f"Write {' '.join(wanted)}."
                )
            for number, line in enumerate(file, 2):
                cells = line.rstrip("\n").split("\t")
                if len(cells) != len(wanted):
                    raise InputError(
                        f"{len(cells)} cells where {len(wanted)} are needed.", where=f"{path} line {number}"
                    )
                yield number, cells
    except UnicodeDecodeError as problem:
        raise InputError(f"the text is not UTF-8: {problem.reason}.", where=str(path)) from None
