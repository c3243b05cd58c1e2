"""What is asked of a language model, and how it is addressed by its content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any, Literal, TypedDict

from kg.facts import canonical_json, content_hash


class Message(TypedDict):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Request:
    """All that decides an answer; equal requests have equal hashes.

    ``purpose`` names the prompt that asks and its version (``extract.v1``), and is part of the identity.
    ``schema`` is a JSON schema that the answer must fit; ``max_tokens`` bounds the answer. The server's
    address is not part of it: a model's name is taken to mean the same model everywhere.
    """

    model: str
    messages: tuple[Message, ...]
    schema: Mapping[str, Any] | None = None
    temperature: float = 0.0
    max_tokens: int | None = None
    purpose: str = ""

    def __hash__(self) -> int:
        return hash(self.hash)

    @cached_property
    def hash(self) -> str:
        """The content address of the request."""
        return content_hash("chat request", canonical_json(self.as_dict()))

    @cached_property
    def estimated_tokens(self) -> int:
        """An estimate of the prompt's tokens, schema included; see :func:`estimate_tokens`."""
        texts = [message["content"] for message in self.messages]
        if self.schema is not None:
            texts.append(canonical_json(self.schema))
        return sum(map(estimate_tokens, texts)) + 4 * len(self.messages)

    def as_dict(self) -> dict[str, Any]:
        """The request as plain values."""
        return {
            "model": self.model,
            "messages": [dict(message) for message in self.messages],
            "schema": self.schema,
            "temperature": float(self.temperature),
            "max_tokens": self.max_tokens,
            "purpose": self.purpose,
        }


def estimate_tokens(text: str) -> int:
    """Estimate a text's tokens without the model's tokenizer.

    The usual rule of thumb, four characters to a token, for ASCII; one token for any other character, which
    is high for accented Latin and about right for Chinese. An estimate, for planning only: costs are booked
    from what the server counts.
    """
    n_ascii = len(text) if text.isascii() else sum(character < "\x80" for character in text)
    return ceil(n_ascii / 4) + len(text) - n_ascii
