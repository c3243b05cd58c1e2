"""The local extractor: facts from text by the patterns of a schema, with no model, key or network.

It reads a document once, as a whole, so that a chunk knows the names and the topic of the chunks before it,
and hands each chunk the facts whose evidence begins there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import asdict, replace

from extraction.extractor import Extraction
from extraction.local_facts import Assembled, assemble
from extraction.local_reading import DocumentReader
from extraction.patterns import LANGUAGE_VERSION, compile_patterns
from kg.facts import Assertions, Chunk, Document, Fact, canonical_json, content_hash
from kg.schema import Schema

_DOCUMENTS_KEPT = 32


class LocalExtractor:
    """Extracts by the ``[extraction]`` section of a schema.

    Raises :class:`~kg.errors.SchemaError` where the schema has no such section or a wrong one.
    """

    name = "local"

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._reader = DocumentReader(schema, compile_patterns(schema))
        self._fingerprint = content_hash("local", LANGUAGE_VERSION, canonical_json(asdict(schema)))
        self._kept: OrderedDict[tuple[str, str], Assembled] = OrderedDict()

    @property
    def fingerprint(self) -> str:
        """A hash of the schema with its patterns and of the version of the pattern language."""
        return self._fingerprint

    async def extract(self, document: Document, chunk: Chunk) -> Extraction:
        """Extract what one chunk of a document says; see :class:`~extraction.extractor.Extractor`."""
        found = self.read(document)
        facts = tuple(cut for fact in found.assertions.facts if (cut := _within(fact, chunk)) is not None)
        mentions = tuple(m for m in found.assertions.mentions if chunk.start <= m.start < chunk.end)
        used = {m.entity for m in mentions}
        used.update(identity for fact in facts for identity in (fact.subject, fact.object) if identity)
        entities = tuple(entity for entity in found.assertions.entities if entity.id in used)
        refused = tuple(r for r in found.refused if chunk.start <= (r.start or 0) < chunk.end)
        return Extraction(Assertions(entities, mentions, facts), refused)

    def rules(self, document: Document) -> Iterator[tuple[str, str, str]]:
        """Which pattern found what in a document, as (predicate, name of the thing or value, pattern)."""
        for finding in self._reader.read(document).findings:
            found = finding.target.name if finding.target is not None else str(finding.value)
            yield finding.predicate, found, finding.rule

    def read(self, document: Document) -> Assembled:
        """Everything that a whole document says."""
        key = document.id, document.title
        found = self._kept.get(key)
        if found is None:
            found = assemble(document, self._reader.read(document), self._schema)
            self._kept[key] = found
            if len(self._kept) > _DOCUMENTS_KEPT:
                self._kept.popitem(last=False)
        return found


def _within(fact: Fact, chunk: Chunk) -> Fact | None:
    """The fact with the evidence that begins in a chunk, or ``None`` where none does."""
    spans = tuple(span for span in fact.spans if chunk.start <= span.start < chunk.end)
    return replace(fact, spans=spans) if spans else None
