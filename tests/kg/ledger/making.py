"""Short ways to write documents and facts in tests of the ledger."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from kg.facts import Assertions, Chunk, Document, Entity, Fact, Inference, Mention, Span, Status
from kg.ledger.ledger import Ledger
from tests.kg.ledger.mirror import Contents, Mirror

ALIEN = Entity.of("Film", "Alien", discriminator="1979")
DUNE = Entity.of("Film", "Dune")
SCOTT = Entity.of("Person", "Ridley Scott")
SIR = Entity.of("Person", "Sir Ridley")
WEAVER = Entity.of("Person", "Sigourney Weaver")
Put = tuple[Document, list[Chunk], Assertions]


@contextmanager
def open_ledger(**options: Any) -> Iterator[Ledger]:
    """A ledger in a folder that goes away."""
    with TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.db", **options) as ledger:
        yield ledger


def make(
    text: str,
    *facts: tuple[Any, ...],
    uri: str = "a.txt",
    title: str = "",
    entities: tuple[Entity, ...] = (),
    n_chunks: int = 1,
    status: Status = Status.EXTRACTED,
) -> Put:
    """A document; each fact is (subject, predicate, entity or literal[, qualifiers[, quote[, confidence]]]).

    Every place where the name of a used entity stands is a mention; a quote defaults to the whole text.
    """
    document = Document.of(text, uri, title=title)
    used = {entity.id: entity for entity in entities}
    for subject, _, target, *_ in facts:
        used[subject.id] = subject
        if isinstance(target, Entity):
            used[target.id] = target
    mentions = tuple(
        Mention(entity.id, found.start(), found.end(), found.group())
        for entity in used.values()
        for found in re.finditer(re.escape(entity.name), text, re.IGNORECASE)
    )
    size = -(-len(text) // n_chunks)
    chunks = [
        Chunk(document.id, index, start, min(len(text), start + size))
        for index, start in enumerate(range(0, len(text), size))
    ]
    made = tuple(_fact(text, status, *fact) for fact in facts)
    return document, chunks, Assertions(tuple(used.values()), mentions, made)


def _fact(text: str, status: Status, subject: Entity, predicate: str, target: Any, *more: Any) -> Fact:
    defaults: tuple[Any, ...] = ({}, text, 1.0)
    qualifiers, quote, confidence = more + defaults[len(more) :]
    start = text.index(quote)
    return Fact(
        subject.id,
        predicate,
        target.id if isinstance(target, Entity) else None,
        None if isinstance(target, Entity) else target,
        qualifiers,
        confidence,
        status,
        (Span(start, start + len(quote), quote),),
    )


def propose(*facts: tuple[Entity, str, Entity], kind: str = "run") -> Assertions:
    """What a run proposes or a curated source states."""
    used = {end.id: end for subject, _, target in facts for end in (subject, target)}
    run = kind == "run"
    return Assertions(
        tuple(used.values()),
        (),
        tuple(
            Fact(
                subject.id,
                predicate,
                target.id,
                confidence=0.5,
                status=Status.PROPOSED if run else Status.CURATED,
                inference=Inference("model", "1", 0.7, ("a", "b")) if run else None,
            )
            for subject, predicate, target in facts
        ),
    )


def shown(ledger: Ledger) -> Contents:
    """Everything a graph of this ledger shows."""
    mirror = Mirror()
    with ledger.projection() as projection:
        mirror.load(projection)
    return mirror.contents()


def only_edge(ledger: Ledger) -> str:
    """The id of the one edge shown."""
    (edge,) = shown(ledger)["edges"]
    return str(edge)
