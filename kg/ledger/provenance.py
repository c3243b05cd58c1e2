"""Where facts come from: assertions with their evidence, and whole facts for export."""

from __future__ import annotations

import json
import sqlite3
from collections import OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from kg.facts import Status
from kg.ledger.connection import Database
from kg.ledger.folding import FOLD, status_of
from kg.ledger.gathering import read_inference
from kg.ledger.reads import node_name
from kg.ledger.rows import FactEntity, FactRow, ProvenanceRow
from kg.ledger.tables import FIRST_DECISION, STATUS_OF_CODE
from kg.sentences import sentences

TEXTS_REMEMBERED = 512
"""Documents whose texts are kept while facts are streamed."""

NAMES_REMEMBERED = 200_000
"""Entities whose names are kept while facts are streamed."""

PARAGRAPH_AT_MOST = 2000
"""How far around a quote its sentence is looked for, in characters."""

_PROVENANCE = """
SELECT a.edge, a.source, s.identity, s.kind, a.confidence, a.status, a.inference, v.begins, v.ends
FROM assertion a JOIN source s ON s.number = a.source
LEFT JOIN evidence v ON v.source = a.source AND v.position = a.position
WHERE a.status < {first} {which} ORDER BY a.edge, a.source, a.position, v.begins
"""
_FACTS = f"""
SELECT g.number, g.identity, g.subject, p.name, g.object, g.literal, g.qualifiers, {FOLD}
FROM edge g JOIN predicate p ON p.number = g.predicate JOIN assertion a ON a.edge = g.number
WHERE g.object IS NULL OR g.object <> g.subject
GROUP BY g.number ORDER BY g.number
"""


@dataclass(slots=True)
class _Text:
    text: str
    uri: str
    title: str


def sentence_around(text: str, start: int, end: int) -> str:
    """The sentences that ``text[start:end]`` touches, on one line; looked for within its paragraph."""
    before = text.rfind("\n\n", max(0, start - PARAGRAPH_AT_MOST), start)
    after = text.find("\n\n", end, end + PARAGRAPH_AT_MOST)
    left = max(0, start - PARAGRAPH_AT_MOST) if before < 0 else before
    right = min(len(text), end + PARAGRAPH_AT_MOST) if after < 0 else after
    touched = [span for span in sentences(text, left, right) if span[0] < end and span[1] > start]
    if not touched:
        return " ".join(text[start:end].split())
    return " ".join(text[min(touched[0][0], start) : max(touched[-1][1], end)].split())


class Provenance:
    """Reads evidence and facts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_edge(self, edge_id: str) -> list[ProvenanceRow]:
        """All evidence for one edge, oldest source first; empty where no source asserts it."""
        with self._database.reading() as connection:
            sql = _PROVENANCE.format(
                first=FIRST_DECISION, which="AND a.edge = (SELECT number FROM edge WHERE identity = ?)"
            )
            texts = _Texts(connection)
            return [_evidence(texts, row, in_sentence=True) for row in connection.execute(sql, (edge_id,))]

    def facts(self, statuses: Collection[Status] | None) -> Iterator[FactRow]:
        """Every edge with one of these statuses, or all but the rejected ones."""
        wanted = frozenset(Status) - {Status.REJECTED} if statuses is None else frozenset(statuses)
        with self._database.snapshot() as connection:
            texts = _Texts(connection)
            entities = _Entities(connection)
            groups = groupby(
                connection.execute(_PROVENANCE.format(first=FIRST_DECISION, which="")), key=lambda row: row[0]
            )
            current: tuple[int, list[Any]] | None = None
            for number, edge, subject, predicate, target, literal, qualifiers, *fold in connection.execute(
                _FACTS
            ):
                status = status_of(fold[0], fold[1])
                if status is None or status not in wanted:
                    continue
                while current is None or current[0] < number:
                    key, rows = next(groups)
                    current = key, list(rows)
                yield FactRow(
                    edge_id=edge,
                    subject=entities[subject],
                    predicate=predicate,
                    object=None if target is None else entities[target],
                    literal=None if literal is None else json.loads(literal),
                    qualifiers=json.loads(qualifiers),
                    status=status,
                    confidence=fold[2],
                    support=fold[3],
                    evidence=tuple(_evidence(texts, row, in_sentence=False) for row in current[1]),
                )


class _Texts:
    """Texts and first places of documents, the most recently asked for kept."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._kept: OrderedDict[int, _Text] = OrderedDict()

    def __getitem__(self, number: int) -> _Text:
        found = self._kept.get(number)
        if found is None:
            row = self._connection.execute(
                """SELECT d.text, p.uri, p.title FROM document d JOIN place p ON p.source = d.source
                   WHERE d.source = ? ORDER BY p.uri LIMIT 1""",
                (number,),
            ).fetchone()
            found = self._kept[number] = _Text(*row)
            if len(self._kept) > TEXTS_REMEMBERED:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(number)
        return found


class _Entities:
    """Ends of facts by number."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._kept: dict[int, FactEntity] = {}

    def __getitem__(self, number: int) -> FactEntity:
        found = self._kept.get(number)
        if found is None:
            identity, type_ = self._connection.execute(
                "SELECT identity, type FROM entity WHERE number = ?", (number,)
            ).fetchone()
            if len(self._kept) >= NAMES_REMEMBERED:
                self._kept.clear()
            found = self._kept[number] = FactEntity(identity, node_name(self._connection, number), type_)
        return found


def _evidence(texts: _Texts, row: tuple[Any, ...], *, in_sentence: bool) -> ProvenanceRow:
    _, number, identity, kind, confidence, status, inference, start, end = row
    uri = title = quote = sentence = ""
    if kind == "document":
        found = texts[number]
        uri, title = found.uri, found.title
        if start is not None:
            quote = found.text[start:end]
            # Finding a sentence costs a hundred times what the rest does: not for a million facts at once.
            sentence = sentence_around(found.text, start, end) if in_sentence else ""
    return ProvenanceRow(
        source=identity,
        kind=kind,
        document=identity if kind == "document" else None,
        uri=uri,
        title=title,
        start=start,
        end=end,
        quote=quote,
        sentence=sentence,
        confidence=confidence,
        status=STATUS_OF_CODE[status],
        inference=read_inference(inference),
    )
