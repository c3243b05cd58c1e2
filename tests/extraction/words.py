"""A small deterministic extractor: capitalised words are entities, neighbours in a sentence are related."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping

from extraction.extractor import Extraction, Refusal
from kg.errors import LanguageModelError
from kg.facts import Assertions, Chunk, Document, Entity, Fact, Mention, Span

NAME = re.compile(r"[A-Z][a-z]+|\d{4}|refuse|fail|crash")


class WordExtractor:
    """``refuse`` in a text is a refusal, ``fail`` an unusable answer, ``crash`` an unforeseen error."""

    name = "words"

    def __init__(self, fingerprint: str = "1", *, seconds: float = 0.0) -> None:
        self.fingerprint = fingerprint
        self.seconds = seconds
        self.calls: Counter[str] = Counter()
        self.in_flight = 0
        self.most_in_flight = 0

    def usage(self) -> Mapping[str, float]:
        return {"calls": self.calls.total()}

    async def extract(self, document: Document, chunk: Chunk) -> Extraction:
        self.calls[document.uri] += 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.seconds)
            return self._read(document, chunk)
        finally:
            self.in_flight -= 1

    def _read(self, document: Document, chunk: Chunk) -> Extraction:
        entities: dict[str, Entity] = {}
        mentions, facts, refused = [], [], []
        last: tuple[Entity, int] | None = None
        for found in NAME.finditer(document.text, chunk.start, chunk.end):
            word, start, end = found[0], found.start(), found.end()
            if word == "fail":
                raise LanguageModelError("no usable answer.", where=chunk.id)
            if word == "crash":
                raise ZeroDivisionError("unforeseen")
            if word == "refuse":
                refused.append(Refusal("not in the text", word, start, end))
            elif word.isdigit() and last is not None:
                span = Span(last[1], end, document.text[last[1] : end])
                facts.append(Fact(last[0].id, "year", literal=int(word), spans=(span,)))
            elif not word.isdigit():
                entity = Entity.of("Word", word)
                entities[entity.id] = entity
                mentions.append(Mention(entity.id, start, end, word))
                if last is not None:
                    span = Span(last[1], end, document.text[last[1] : end])
                    facts.append(Fact(last[0].id, "BEFORE", object=entity.id, spans=(span,)))
                last = entity, start
        assertions = Assertions(tuple(entities.values()), tuple(mentions), tuple(facts))
        return Extraction(assertions, tuple(refused))
