"""What the ledger should say, worked out the slow and obvious way from raw operations.

Knows no SQL, no versions, nothing derived: it keeps what sources assert, the merges and the decisions, and
computes everything from them each time it is asked.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from kg.facts import Assertions, Chunk, Document, Entity, Fact, Status, content_hash, normalise_name
from tests.kg.ledger.mirror import Contents

STRENGTH = [Status.PROPOSED, Status.EXTRACTED, Status.CURATED]
Key = tuple[str, str, str, str]
"""Subject, predicate, object or ``=literal``, qualifiers."""


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass
class Source:
    kind: str
    assertions: Assertions
    text: str = ""
    chunks: list[Chunk] = field(default_factory=list)


@dataclass
class Group:
    """Everything asserted about one edge: (source id, source kind, fact) and (place in time, status)."""

    facts: list[tuple[str, str, Fact]] = field(default_factory=list)
    decisions: list[tuple[int, Status]] = field(default_factory=list)
    raw: set[Key] = field(default_factory=set)

    @property
    def status(self) -> Status | None:
        if not self.facts:
            return None
        if self.decisions:
            return max(self.decisions)[1]
        return max((fact.status for _, _, fact in self.facts), key=STRENGTH.index)

    @property
    def support(self) -> int:
        return len({source for source, _, _ in self.facts})

    @property
    def confidence(self) -> float:
        return max(fact.confidence for _, _, fact in self.facts)

    @property
    def documents(self) -> tuple[str, ...]:
        return tuple(sorted({source for source, kind, _ in self.facts if kind == "document"})[:20])


class Oracle:
    """The raw history, and what follows from it."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}
        self.places: dict[str, tuple[str, str]] = {}  # uri -> document id, title
        self.types: dict[str, str] = {}  # entity id -> type, of all entities ever seen
        self.merges: list[list[Any]] = []  # loser, winner, stands
        self.decisions: dict[str, tuple[int, Status, set[Key]]] = {}
        self.n_decisions = 0
        self.symmetric: frozenset[str] = frozenset()

    # ---- operations

    def put_document(self, document: Document, chunks: list[Chunk], assertions: Assertions) -> None:
        before = self.places.get(document.uri)
        self.sources[document.id] = Source("document", assertions, document.text, chunks)
        self.places[document.uri] = (document.id, document.title)
        self._see(assertions, listed=False)
        if before is not None:
            self._leave(before[0])

    def put_source(self, identity: str, kind: str, assertions: Assertions) -> None:
        self.sources[identity] = Source(kind, assertions)
        self._see(assertions, listed=kind == "curated")

    def drop_place(self, uri: str) -> bool:
        if uri not in self.places:
            return False
        document, _ = self.places.pop(uri)
        self._leave(document)
        return True

    def drop_source(self, identity: str) -> bool:
        if identity in self.decisions:
            del self.decisions[identity]
            return True
        if identity not in self.sources:
            return False
        del self.sources[identity]
        self.places = {uri: place for uri, place in self.places.items() if place[0] != identity}
        return True

    def merge(self, loser: str, winner: str) -> int:
        if [loser, winner, True] in self.merges:
            return self.merges.index([loser, winner, True]) + 1
        self.merges.append([loser, winner, True])
        return len(self.merges)

    def undo_merge(self, number: int) -> None:
        self.merges[number - 1][2] = False

    def decide(self, identity: str, edge: str, status: Status) -> None:
        self.n_decisions += 1
        self.decisions[identity] = (self.n_decisions, status, self.groups()[edge][1].raw)

    def _see(self, assertions: Assertions, *, listed: bool) -> None:
        for entity in _spoken(assertions, listed=listed):
            self.types.setdefault(entity.id, entity.type)

    def _leave(self, document: str) -> None:
        if all(place[0] != document for place in self.places.values()):
            self.sources.pop(document, None)

    # ---- consequences

    def canonical(self) -> dict[str, str]:
        found = {entity: entity for entity in self.types}
        for loser, winner, stands in self.merges:
            if stands and found[loser] != found[winner]:
                old, new = found[loser], found[winner]
                found = {entity: new if at == old else at for entity, at in found.items()}
        return found

    def groups(self) -> dict[str, tuple[Key, Group]]:
        """Edge id -> its key after merges, and what is asserted about it."""
        canonical = self.canonical()
        found: dict[str, tuple[Key, Group]] = {}

        def group(raw: Key) -> Group:
            subject, predicate, target, qualifiers = raw
            subject = canonical[subject]
            if not target.startswith("="):
                target = canonical[target]
                if predicate in self.symmetric:
                    subject, target = sorted([subject, target])
            identity = content_hash("edge", subject, predicate, target, qualifiers)
            _, group = found.setdefault(identity, ((subject, predicate, target, qualifiers), Group()))
            group.raw.add(raw)
            return group

        for source, held in self.sources.items():
            for fact in held.assertions.facts:
                target = fact.object if fact.object is not None else "=" + compact(fact.literal)
                raw = (fact.subject, fact.predicate, target, compact(dict(fact.qualifiers)))
                group(raw).facts.append((source, held.kind, fact))
        for when, status, keys in self.decisions.values():
            for raw in keys:
                group(raw).decisions.append((when, status))
        return found

    def contents(self) -> Contents:
        """What a graph should show."""
        documents, chunks, mentions = self._texts()
        return {
            "nodes": self._nodes(),
            "edges": self._edges(),
            "documents": documents,
            "chunks": chunks,
            "mentions": mentions,
        }

    def facts(self) -> dict[str, tuple[str, int, float, int]]:
        """Edge id -> status, support, confidence, pieces of evidence; of all that is not rejected."""
        found = {}
        for identity, ((subject, _, target, _), group) in self.groups().items():
            if group.status not in (None, Status.REJECTED) and subject != target:
                pieces = {
                    (source, key_of(fact), span.start, span.end)
                    for source, _, fact in group.facts
                    for span in fact.spans
                }
                bare = {(s, key_of(fact)) for s, kind, fact in group.facts if kind != "document"}
                found[identity] = (
                    str(group.status), group.support, group.confidence, len(pieces) + len(bare),
                )  # fmt: skip
        return found

    def statistics(self) -> tuple[int, int, int, int, int]:
        """Documents, chunks, entities, facts, pieces of evidence."""
        documents = [held for held in self.sources.values() if held.kind == "document"]
        spans = {
            (source, key_of(fact), span.start, span.end)
            for source, held in self.sources.items()
            for fact in held.assertions.facts
            for span in fact.spans
        }
        inferred = {
            (source, key_of(fact))
            for source, held in self.sources.items()
            for fact in held.assertions.facts
            if fact.inference is not None
        }
        return (
            len(documents),
            sum(len(held.chunks) for held in documents),
            len(self._nodes()),
            len(self.facts()),
            len(spans) + len(inferred),
        )

    def _nodes(self) -> dict[Any, tuple[Any, ...]]:
        canonical = self.canonical()
        members: dict[str, list[str]] = {}
        names: dict[str, Counter[str]] = {}
        words: dict[str, Counter[str]] = {}
        descriptions: dict[str, Counter[str]] = {}
        for held in self.sources.values():
            for entity in _spoken(held.assertions, listed=held.kind == "curated"):
                names.setdefault(entity.id, Counter())[entity.name] += 1
                words.setdefault(entity.id, Counter())[entity.name] += 1
                if entity.description:
                    descriptions.setdefault(entity.id, Counter())[entity.description] += 1
            for mention in set(held.assertions.mentions):
                words.setdefault(mention.entity, Counter())[mention.surface] += 1
        for member in sorted(names):
            members.setdefault(canonical[member], []).append(member)
        properties = self._properties()
        found = {}
        for root, belonging in members.items():
            others = [member for member in belonging if member != root]
            name = _best([names.get(root, Counter())]) or _best([names[m] for m in others])
            description = _best([descriptions.get(root, Counter())]) or _best(
                [descriptions.get(m, Counter()) for m in others]
            )
            aliases = _aliases(name, sum((words[m] for m in belonging), Counter()))
            found[root] = (
                self.types[root], name, aliases, description, properties.get(root, "{}"),
            )  # fmt: skip
        return found

    def _properties(self) -> dict[str, str]:
        values: dict[str, dict[str, dict[str, tuple[int, float]]]] = {}
        for (subject, predicate, target, _), group in self.groups().values():
            if target.startswith("=") and group.status not in (None, Status.REJECTED):
                ranked = values.setdefault(subject, {}).setdefault(predicate, {})
                rank = (group.support, group.confidence)
                ranked[target[1:]] = max(ranked.get(target[1:], rank), rank)
        return {
            subject: compact(
                {
                    predicate: [
                        json.loads(text)
                        for text in sorted(ranked, key=lambda t: (-ranked[t][0], -ranked[t][1], t))
                    ]
                    for predicate, ranked in properties.items()
                }
            )
            for subject, properties in values.items()
        }

    def _edges(self) -> dict[Any, tuple[Any, ...]]:
        found = {}
        for identity, ((subject, predicate, target, qualifiers), group) in self.groups().items():
            if target.startswith("=") or subject == target:
                continue
            if group.status not in (None, Status.REJECTED):
                found[identity] = (
                    predicate, subject, self.types[subject], target, self.types[target], qualifiers,
                    str(group.status), group.confidence, group.support, group.documents,
                )  # fmt: skip
        return found

    def _texts(self) -> tuple[dict[Any, Any], dict[Any, Any], dict[Any, Any]]:
        canonical = self.canonical()
        documents = {}
        for uri in sorted(self.places, reverse=True):
            identity, title = self.places[uri]
            documents[identity] = (uri, title)
        chunks = {}
        counts: Counter[tuple[str, str]] = Counter()
        for identity in documents:
            held = self.sources[identity]
            for chunk in held.chunks:
                chunks[chunk.id] = (
                    identity, chunk.index, chunk.start, chunk.end, held.text[chunk.start : chunk.end],
                )  # fmt: skip
            for mention in set(held.assertions.mentions):
                holding = [c.id for c in held.chunks if c.start <= mention.start < c.end]
                if holding:
                    counts[holding[0], canonical[mention.entity]] += 1
        mentions = {key: (self.types[key[1]], count) for key, count in counts.items()}
        return documents, chunks, mentions


def key_of(fact: Fact) -> Key:
    target = fact.object if fact.object is not None else "=" + compact(fact.literal)
    return fact.subject, fact.predicate, target, compact(dict(fact.qualifiers))


def _spoken(assertions: Assertions, *, listed: bool) -> list[Entity]:
    used = {mention.entity for mention in assertions.mentions}
    used |= {fact.subject for fact in assertions.facts}
    used |= {fact.object for fact in assertions.facts if fact.object is not None}
    return [entity for entity in assertions.entities if listed or entity.id in used]


def _best(counters: list[Counter[str]]) -> str:
    """The text that the most use in any one place; the first of several."""
    ranked = sorted((-count, text) for counter in counters for text, count in counter.items())
    return ranked[0][1] if ranked else ""


def _aliases(name: str, words: Counter[str]) -> tuple[str, ...]:
    forms: dict[str, list[tuple[int, str]]] = {}
    for text, count in words.items():
        forms.setdefault(normalise_name(text), []).append((-count, text))
    forms.pop(normalise_name(name), None)
    return tuple(sorted(min(spellings)[1] for spellings in forms.values()))
