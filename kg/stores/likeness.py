"""How alike a text and the names of an entity are: one scale for every store's ``find``."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from kg.facts import normalise_name
from kg.stores.store import Hit

LEAST = 0.45
"""Below this likeness a candidate is no answer."""


def rank(text: str, candidates: Iterable[tuple[str, str, str, Sequence[str]]], k: int) -> list[Hit]:
    """Score candidates ``(id, name, type, aliases)`` against ``text``: the best ``k``, best first.

    A score is 1 where the normalised text is the name or an alias, and below 1 otherwise. Equal scores are
    ordered by name, then id.
    """
    wanted = normalise_name(text)
    hits = [
        Hit(
            identity, name, type_, max(_likeness(wanted, normalise_name(known)) for known in (name, *aliases))
        )
        for identity, name, type_, aliases in candidates
    ]
    hits = [hit for hit in hits if hit.score >= LEAST]
    return sorted(hits, key=lambda hit: (-hit.score, hit.name, hit.id))[: max(k, 0)]


def _likeness(wanted: str, known: str) -> float:
    """Likeness of two normalised names: word order and accents count little, extra words some."""
    from rapidfuzz import fuzz

    if wanted == known:
        return 1.0
    first, second = _without_accents(wanted), _without_accents(known)
    whole = fuzz.ratio(first, second)
    words = fuzz.token_sort_ratio(first, second)
    part = fuzz.token_set_ratio(first, second)
    # Inexact stays below 1, however alike.
    return 0.0099 * max(whole, 0.97 * words, 0.85 * part)


def _without_accents(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(character for character in decomposed if not unicodedata.combining(character))
