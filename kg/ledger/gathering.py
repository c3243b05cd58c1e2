"""What one source asserts, checked and brought into the form of the tables. Nothing is written here."""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kg.errors import LedgerError
from kg.facts import (
    STATUS_STRENGTH,
    Assertions,
    Chunk,
    Document,
    Entity,
    Fact,
    Inference,
    Mention,
    Span,
    canonical_json,
    content_hash,
)
from kg.ledger.tables import DESCRIPTION, NAME, STATUS_CODES, SURFACE

_HINT = "Nothing of it was stored; correct what made these assertions."


@dataclass(slots=True)
class GatheredFact:
    """One assertion, every part as the tables hold it; ``spans`` are sorted (start, end) pairs."""

    subject: str
    predicate: str
    object: str | None
    literal: str | None
    qualifiers: str
    confidence: float
    status: int
    inference: str | None
    spans: tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Gathered:
    """All that a source asserts; ``wordings`` counts (entity, kind, text), mentions end with their chunk."""

    entities: dict[str, Entity]
    mentions: list[tuple[str, int, int, int | None]] = field(default_factory=list)
    facts: list[GatheredFact] = field(default_factory=list)
    wordings: Counter[tuple[str, int, str]] = field(default_factory=Counter)
    chunks: list[tuple[int, int, int]] = field(default_factory=list)
    fingerprint: str = ""


def gather_document(document: Document, chunks: Sequence[Chunk], assertions: Assertions) -> Gathered:
    """Check everything a document asserts against its text.

    Raises :class:`LedgerError` where the id is not the hash of the text, or a quote, a surface, a chunk, a
    status or an entity id is not what it claims to be.
    """
    where = f"document {document.uri}"
    try:
        right = content_hash("document", document.text) == document.id
        document.text.encode()
    except UnicodeEncodeError:
        raise LedgerError("the text holds half a surrogate pair.", where=where, hint=_HINT) from None
    if not right:
        raise LedgerError(
            f"the id {document.id} is not the hash of the text.", where=where, hint="Use Document.of."
        )
    gathered = Gathered({})
    gathered.chunks = _chunks(document, chunks, where)
    gathered.mentions = _mentions(document, assertions.mentions, gathered.chunks, where)
    gathered.facts = _facts(assertions.facts, where)
    for fact in assertions.facts:
        if not fact.spans:
            raise LedgerError(f"{_say(fact)} has no quote from the text.", where=where, hint=_HINT)
        for span in fact.spans:
            _check_quote(document, span, fact, where)
    _entities(gathered, assertions, where, listed=False)
    for mention in set(assertions.mentions):
        gathered.wordings[mention.entity, SURFACE, mention.surface] += 1
    gathered.fingerprint = _fingerprint(gathered)
    return gathered


def gather_source(identity: str, kind: str, assertions: Assertions) -> Gathered:
    """Check what a run proposes or a curated source states.

    Raises :class:`LedgerError` where something needs a text, or a run's fact has no inference.
    """
    where = f"{kind} {identity}"
    if kind not in ("run", "curated"):
        raise LedgerError(f"a source is a run or curated, not {kind!r}.", where=where)
    if assertions.mentions:
        raise LedgerError("only a document can mention entities.", where=where, hint=_HINT)
    for fact in assertions.facts:
        if fact.spans:
            raise LedgerError(f"{_say(fact)} quotes a text; only a document can.", where=where, hint=_HINT)
        if kind == "run" and fact.inference is None:
            raise LedgerError(f"{_say(fact)} does not say how it was inferred.", where=where, hint=_HINT)
    gathered = Gathered({})
    gathered.facts = _facts(assertions.facts, where)
    _entities(gathered, assertions, where, listed=kind == "curated")
    gathered.fingerprint = _fingerprint(gathered)
    return gathered


def read_inference(text: str | None) -> Inference | None:
    """Read back what a fact's inference was stored as."""
    if text is None:
        return None
    found = json.loads(text)
    return Inference(found["model"], found["version"], found["score"], tuple(found["path"]))


def _write_inference(inference: Inference | None, where: str) -> str | None:
    if inference is None:
        return None
    if not math.isfinite(inference.score):
        raise LedgerError(f"the score of {inference.model} is no number.", where=where, hint=_HINT)
    return canonical_json(
        {
            "model": inference.model,
            "version": inference.version,
            "score": inference.score,
            "path": inference.path,
        }
    )


def _chunks(document: Document, chunks: Sequence[Chunk], where: str) -> list[tuple[int, int, int]]:
    found = []
    before = -1
    for position, chunk in enumerate(sorted(chunks, key=lambda chunk: chunk.index)):
        if chunk.document != document.id or chunk.index != position:
            raise LedgerError(
                f"chunk {chunk.index} is not the document's chunk {position}.", where=where, hint=_HINT
            )
        if not max(0, before) <= chunk.start < chunk.end <= len(document.text):
            raise LedgerError(
                f"chunk {position} [{chunk.start}, {chunk.end}) lies outside the text of "
                f"{len(document.text)} characters or before the chunk ahead of it.",
                where=where,
                hint=_HINT,
            )
        before = chunk.start
        found.append((position, chunk.start, chunk.end))
    return found


def _mentions(
    document: Document, mentions: Iterable[Mention], chunks: list[tuple[int, int, int]], where: str
) -> list[tuple[str, int, int, int | None]]:
    text = document.text
    starts = [start for _, start, _ in chunks]
    found = set()
    for mention in mentions:
        start, end = mention.start, mention.end
        if not 0 <= start < end or text[start:end] != mention.surface:
            raise LedgerError(
                f"mention {mention.surface!r} is not at [{start}, {end}); there is {text[start:end]!r}.",
                where=where,
                hint=_HINT,
            )
        at = bisect_right(starts, start) - 1
        # Where chunks overlap, the first that holds the start of a mention has it.
        while at > 0 and chunks[at - 1][2] > start:
            at -= 1
        inside = at >= 0 and start < chunks[at][2]
        found.add((mention.entity, start, end, at if inside else None))
    return sorted(found, key=lambda row: row[:3])


def _check_quote(document: Document, span: Span, fact: Fact, where: str) -> None:
    start, end = span.start, span.end
    if not 0 <= start < end or document.text[start:end] != span.quote:
        raise LedgerError(
            f"the quote {span.quote!r} of {_say(fact)} is not at [{start}, {end}); "
            f"there is {document.text[max(start, 0) : max(end, 0)][:200]!r}.",
            where=where,
            hint=_HINT,
        )


def _facts(facts: Iterable[Fact], where: str) -> list[GatheredFact]:
    """Bring facts into table form; of equal ones the most confident counts, with the spans of all."""
    found: dict[tuple[str, str, str, str], GatheredFact] = {}
    for fact in facts:
        if fact.status not in STATUS_STRENGTH:
            raise LedgerError(
                f"{_say(fact)} is {fact.status}, which only a decision can say.",
                where=where,
                hint="Use decide.",
            )
        if not 0.0 <= fact.confidence <= 1.0:
            raise LedgerError(
                f"the confidence {fact.confidence} of {_say(fact)} is not in [0, 1].", where=where, hint=_HINT
            )
        if isinstance(fact.literal, float) and not math.isfinite(fact.literal):
            raise LedgerError(f"{_say(fact)} is no number.", where=where, hint=_HINT)
        key = fact.key
        row = GatheredFact(
            fact.subject,
            fact.predicate,
            fact.object,
            None if fact.object is not None else canonical_json(fact.literal),
            key[3],
            float(fact.confidence),
            STATUS_CODES[fact.status],
            _write_inference(fact.inference, where),
            tuple(sorted({(span.start, span.end) for span in fact.spans})),
        )
        found[key] = _together(found[key], row) if key in found else row
    return list(found.values())


def _together(one: GatheredFact, other: GatheredFact) -> GatheredFact:
    best = max(one, other, key=lambda row: (row.confidence, row.status, row.inference or ""))
    return GatheredFact(
        best.subject,
        best.predicate,
        best.object,
        best.literal,
        best.qualifiers,
        best.confidence,
        max(one.status, other.status),
        best.inference or one.inference or other.inference,
        tuple(sorted({*one.spans, *other.spans})),
    )


def _entities(gathered: Gathered, assertions: Assertions, where: str, *, listed: bool) -> None:
    """Keep the entities that are spoken of, or all those ``listed``, each once, and count its wordings."""
    declared: dict[str, Entity] = {}
    for entity in assertions.entities:
        known = declared.get(entity.id)
        if known is None or (entity.name, entity.description) > (known.name, known.description):
            declared[entity.id] = entity
    used = {mention[0] for mention in gathered.mentions}
    for fact in gathered.facts:
        used.add(fact.subject)
        if fact.object is not None:
            used.add(fact.object)
    unknown = used - declared.keys()
    if unknown:
        raise LedgerError(
            f"entity {min(unknown)} is used, but not among the entities.", where=where, hint=_HINT
        )
    gathered.entities = declared if listed else {key: declared[key] for key in declared if key in used}
    for key, entity in gathered.entities.items():
        gathered.wordings[key, NAME, entity.name] += 1
        if entity.description:
            gathered.wordings[key, DESCRIPTION, entity.description] += 1


def _fingerprint(gathered: Gathered) -> str:
    """Hash all that is asserted, whatever the order it was listed in."""
    lines = [
        *(f"e{e.id} {e.name!r} {e.discriminator!r} {e.description!r}" for e in gathered.entities.values()),
        *(f"m{mention}" for mention in gathered.mentions),
        *(
            f"f{f.subject} {f.predicate} {f.object} {f.literal} {f.qualifiers} {f.confidence!r} {f.status} "
            f"{f.inference} {f.spans}"
            for f in gathered.facts
        ),
        *(f"c{chunk}" for chunk in gathered.chunks),
    ]
    lines.sort()
    return hashlib.blake2b("\n".join(lines).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _say(fact: Fact) -> str:
    target = fact.object if fact.object is not None else repr(fact.literal)
    return f"the fact ({fact.subject} {fact.predicate} {target})"
