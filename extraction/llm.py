"""The extractor that asks a language model: one structured call per chunk, and nothing believed unchecked.

The prompt begins with a constant part (rules and schema), which servers can cache, and ends with the chunk.
The answer is held against a JSON schema made from the graph's schema; what it claims is then grounded in the
text and checked by :mod:`extraction.claims`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from extraction.claims import CLAIMS_VERSION, ClaimedEntity, ClaimedFact, ground_claims
from extraction.extractor import Extraction, Refusal
from kg.errors import LanguageModelError
from kg.facts import Assertions, Chunk, Document, canonical_json, content_hash
from kg.schema import Relation, Schema
from language.chat import ChatModel
from language.prompts import DATA_RULE, fenced, load_prompt
from language.request import Message, Request

MAX_TOKENS = 8192
"""Room for about 100 facts, or for 30 and the thinking of a model that thinks before it answers."""
PROMPT = "extract.v1"


class _Entity(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)
    id: str
    type: str
    name: str
    aliases: list[str] = []


class _Qualifier(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)
    name: str
    value: str


class _Fact(BaseModel):
    model_config = ConfigDict(extra="ignore")
    quote: str
    subject: str
    predicate: str
    object: str | None = None
    value: bool | int | float | str | None = None
    qualifiers: list[_Qualifier] = []


class _Claims(BaseModel):
    model_config = ConfigDict(extra="ignore")
    entities: list[_Entity]
    facts: list[_Fact]


class LanguageModelExtractor:
    """Extracts with a chat model under a schema; implements :class:`~extraction.extractor.Extractor`.

    ``max_tokens`` bounds one answer. Give the model behind a call ledger
    (:class:`~language.calls.LedgeredChatModel`), so that no chunk is paid for twice.
    """

    def __init__(self, model: ChatModel, schema: Schema, *, max_tokens: int = MAX_TOKENS) -> None:
        self._model = model
        self._schema = schema
        self._max_tokens = max_tokens
        self._prompt = load_prompt("extraction", PROMPT)
        self._vocabulary = _vocabulary(schema)

    @property
    def name(self) -> str:
        """What kind of extractor this is."""
        return "llm"

    @cached_property
    def fingerprint(self) -> str:
        """Changes with the model, the prompt, the schema, or the way claims are checked."""
        schema = asdict(self._schema)
        schema.pop("extraction")
        parts = (self._model.name, self._prompt.fingerprint, canonical_json(schema), CLAIMS_VERSION)
        return content_hash("language model extractor", *parts, str(self._max_tokens))

    @cached_property
    def answer_schema(self) -> Mapping[str, Any]:
        """The JSON schema of an answer, with the vocabulary of the graph's schema in it."""
        return answer_schema(self._schema)

    def request(self, document: Document, chunk: Chunk) -> Request:
        """The request that a chunk would be asked with: for estimating costs before the first call."""
        messages = self._messages(document, chunk)
        return Request(self._model.name, messages, self.answer_schema, 0.0, self._max_tokens, PROMPT)

    async def extract(self, document: Document, chunk: Chunk) -> Extraction:
        """Extract from one chunk; see :class:`~extraction.extractor.Extractor`.

        Raises :class:`~kg.errors.LanguageModelError`, :class:`~kg.errors.BudgetExceeded` or
        :class:`~kg.errors.ServiceUnavailable`.
        """
        text = document.text[chunk.start : chunk.end]
        if not any(character.isalpha() for character in text):
            return Extraction(Assertions())
        answer = await self._model.complete(
            self._messages(document, chunk),
            schema=self.answer_schema,
            max_tokens=self._max_tokens,
            purpose=PROMPT,
        )
        entities, facts = _read(answer.parsed, f"chunk {chunk.id} of {document.uri}")
        extraction = ground_claims(entities, facts, document, chunk, self._schema)
        dropped = tuple(Refusal("answer out of form", detail) for detail in answer.dropped)
        return Extraction(extraction.assertions, dropped + extraction.refused)

    def _messages(self, document: Document, chunk: Chunk) -> tuple[Message, ...]:
        return self._prompt.render(
            data_rule=DATA_RULE,
            title=fenced(document.title, label="title") if document.title else "",
            document=fenced(document.text[chunk.start : chunk.end]),
            **self._vocabulary,
        )


def answer_schema(schema: Schema) -> Mapping[str, Any]:
    """The JSON schema of an answer: every key required and no others, as strict servers want it."""
    text = {"type": "string"}
    qualifiers = sorted({name for relation in schema.relations.values() for name in relation.qualifiers})
    entity = _object(
        id=text, type={"type": "string", "enum": sorted(schema.entities)}, name=text,
        aliases={"type": "array", "items": text},
    )  # fmt: skip
    fact: dict[str, Any] = {
        "quote": text,
        "subject": text,
        "predicate": {"type": "string", "enum": [*sorted(schema.relations), *sorted(schema.properties)]},
        "object": {"type": ["string", "null"]},
        "value": {"type": ["string", "number", "boolean", "null"]},
    }
    if qualifiers:
        qualifier = _object(name={"type": "string", "enum": qualifiers}, value=text)
        fact["qualifiers"] = {"type": "array", "items": qualifier}
    return _object(
        entities={"type": "array", "items": entity}, facts={"type": "array", "items": _object(**fact)}
    )


def _object(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _vocabulary(schema: Schema) -> dict[str, Any]:
    """The schema as lines of the prompt, in a fixed order."""
    return {
        "types": [_line(t.name, t.description) for _, t in sorted(schema.entities.items())],
        "relations": [_relation_line(relation) for _, relation in sorted(schema.relations.items())],
        "qualified": any(relation.qualifiers for relation in schema.relations.values()),
        "properties": [
            _line(f"{p.name} of {_either(p.domain)} ({p.datatype})", p.description)
            for _, p in sorted(schema.properties.items())
        ],
    }


def _relation_line(relation: Relation) -> str:
    head = f"{relation.name}: from {_either(relation.domain)} to {_either(relation.range)}"
    if relation.qualifiers:
        head += f" [qualifiers: {', '.join(relation.qualifiers)}]"
    return _line(head, relation.description)


def _line(head: str, description: str) -> str:
    return f"{head}. {description}".rstrip(" .") + "." if description else head


def _either(names: Iterable[str]) -> str:
    return " or ".join(names)


def _read(parsed: Mapping[str, Any] | None, where: str) -> tuple[list[ClaimedEntity], list[ClaimedFact]]:
    """Take an answer over the border: from a JSON object to claims."""
    try:
        claims = _Claims.model_validate(parsed)
    except ValidationError as problem:
        first = problem.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise LanguageModelError(f"the answer does not fit: {place}: {first['msg']}.", where=where) from None
    entities = [ClaimedEntity(e.id, e.type, e.name, tuple(e.aliases)) for e in claims.entities]
    facts = [
        ClaimedFact(
            f.quote, f.subject, f.predicate, f.object, f.value, {q.name: q.value for q in f.qualifiers}
        )
        for f in claims.facts
    ]
    return entities, facts
