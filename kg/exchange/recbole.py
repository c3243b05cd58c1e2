"""RecBole's atomic ``.kg`` file: tab-separated head, relation, tail, under a typed header.

Entities are written by id, since two things may share a name. Reading takes the names as they are; the types
come from the schema, where a relation leaves no choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kg.errors import InputError
from kg.exchange.rows import CuratedRow, Named

if TYPE_CHECKING:
    from kg.ledger.ledger import Ledger

KG_HEADER = ("head_id:token", "relation_id:token", "tail_id:token")
LINK_HEADER = ("item_id:token", "entity_id:token")


def write(ledger: Ledger, path: Path) -> int:
    """Write the facts between entities and return how many."""
    count = 0
    with path.open("w", encoding="utf-8") as file:
        file.write("\t".join(KG_HEADER) + "\n")
        for row in ledger.facts():
            if row.object is not None:
                file.write(f"{row.subject.id}\t{row.predicate}\t{row.object.id}\n")
                count += 1
    return count


def write_links(links: Mapping[str, str], path: Path) -> None:
    """Write the ``.link`` file that goes with it: item id to entity id."""
    with path.open("w", encoding="utf-8") as file:
        file.write("\t".join(LINK_HEADER) + "\n")
        file.writelines(f"{item}\t{entity}\n" for item, entity in sorted(links.items()))


def read(path: Path) -> Iterator[CuratedRow]:
    """Read the triples of a ``.kg`` file."""
    with path.open(encoding="utf-8-sig") as file:
        header = tuple(file.readline().rstrip("\n").split("\t"))
        if header != KG_HEADER:
            wanted, found = " ".join(KG_HEADER), " ".join(header)
            raise InputError(
                f"the header is not that of a .kg file: {found!r}.", where=str(path), hint=f"Write {wanted}."
            )
        for number, line in enumerate(file, 2):
            cells = line.rstrip("\n").split("\t")
            if len(cells) != 3:
                raise InputError(f"{len(cells)} cells where 3 are needed.", where=f"{path} line {number}")
            yield CuratedRow(f"line {number}", Named(cells[0]), cells[1], Named(cells[2]))
