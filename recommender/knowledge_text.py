"""What a language model knows of items and makes of users, as texts and then as vectors: the input of KAR.

*Factorisation prompting* (Xi et al., "Towards Open-World Recommendation with Knowledge Augmentation from
Large Language Models", RecSys 2024): the model is asked once which factors decide preferences in the domain;
then every item is described, and every user's choices are read, by these same factors, so that the two texts
can be compared. An item's prompt carries what the graph states of it. All calls go through the call ledger
and all vectors through the encoder's cache, so a second run asks nobody.

A user's text tells of the first of the user's training interactions (:func:`told_first`), and the click model
learns from later ones only. What users chose leaves this machine only where the caller says so.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
from scipy import sparse

from kg.errors import BudgetExceeded, LanguageModelError, UsageError
from kg.snapshot import Snapshot
from language.calls import Budget, Calls, LedgeredChatModel, Price, Totals
from language.chat import ChatModel, Message
from language.encoder import CachedEncoder, SentenceEncoder
from language.prompts import DATA_RULE, fenced, load_prompt
from recommender.data.interactions import Floats, Interactions
from recommender.models.base import SideData
from recommender.serving.explain import relation_words

FACTORS, ITEMS, USERS = "factors.v1", "item_knowledge.v1", "user_preferences.v1"
MOST_TOLD = 30
"""At most so many interactions in a user's text, and at most half of the user's: as in the authors' code."""
MOST_FACTS = 40
MAX_TOKENS = 1024
"""Room for 150 words, and for a model that thinks before it answers."""
_FACTOR_SCHEMA: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "factors": {
            "type": "array",
            "items": {"type": "string", "minLength": 2},
            "minItems": 3,
            "maxItems": 20,
        }
    },
    "required": ["factors"],
    "additionalProperties": False,
}
_AT_ONCE = 256
"""Requests that wait for the model at the same time; the model's limiter says how many are sent."""

_Messages = tuple[Message, ...]


class ServedModel(ChatModel, Protocol):
    """A chat model that says where its server is."""

    @property
    def base_url(self) -> str:
        """The server's address."""


@dataclass(frozen=True, slots=True)
class Texts:
    """One text each, empty where there is nothing to tell or no answer; ``failures`` says why."""

    texts: tuple[str, ...]
    failures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Knowledge:
    """All that was written: ``items`` and ``users`` by dense id, ``told`` what the users' texts tell of."""

    factors: tuple[str, ...]
    items: Texts
    users: Texts
    told: Interactions

    def side(self, encoder: SentenceEncoder, folder: Path, beside: SideData | None = None) -> SideData:
        """Side data for KAR, ``beside`` with the vectors of the texts; ``folder`` caches them."""
        return replace(
            beside or SideData(),
            item_vectors=encode_texts(self.items.texts, encoder, folder),
            user_vectors=encode_texts(self.users.texts, encoder, folder),
            user_vectors_from=self.told,
        )


class KnowledgeWriter:
    """Asks ``model``, through the ledger ``calls``, about things of one domain ("films", "novels").

    ``send_interactions`` allows what users chose to go to a server that is not on this machine; without it
    such a model writes about items only. ``budget``, ``prices`` and ``replay`` are those of
    :class:`~language.calls.LedgeredChatModel`.
    """

    def __init__(
        self,
        model: ServedModel,
        calls: Calls,
        domain: str,
        *,
        send_interactions: bool = False,
        max_tokens: int = MAX_TOKENS,
        budget: Budget | None = None,
        prices: Mapping[str, Price] | None = None,
        replay: bool = False,
    ) -> None:
        self._base_url = model.base_url
        self._may_send = send_interactions or replay or is_loopback(model.base_url)
        self._model = LedgeredChatModel(model, calls, budget=budget, prices=prices, replay=replay)
        self._replay = replay
        self._domain = domain
        self._max_tokens = max_tokens
        self._factors: tuple[str, ...] | None = None

    @property
    def totals(self) -> Totals:
        """What was asked, re-used and spent so far."""
        return self._model.totals

    async def factors(self) -> tuple[str, ...]:
        """What decides preferences in the domain; asked once."""
        if self._factors is None:
            messages = load_prompt("recommender", FACTORS).render(domain=self._domain)
            answer = await self._model.complete(
                messages, schema=_FACTOR_SCHEMA, max_tokens=self._max_tokens, purpose=FACTORS
            )
            assert answer.parsed is not None
            named = (" ".join(factor.split()) for factor in answer.parsed["factors"])
            self._factors = tuple(dict.fromkeys(named))
        return self._factors

    async def items(self, titles: Sequence[str], facts: Sequence[Sequence[str]] | None = None) -> Texts:
        """What is known of each item; an item without a title gets no text.

        ``facts`` [n_items] are sentences to build on; see :func:`facts_of_items`.
        """
        factors = await self.factors()
        lines = facts or [()] * len(titles)
        asked = {
            number: self._about_item(title, lines[number], factors)
            for number, title in enumerate(titles)
            if title.strip()
        }
        answers, failures = await self._answers(asked, ITEMS)
        texts = (
            f"{title.strip()}. {answers[number]}" if number in answers else ""
            for number, title in enumerate(titles)
        )
        return Texts(tuple(texts), failures)

    async def users(self, told: Interactions, titles: Sequence[str]) -> Texts:
        """What each user seems to prefer, from the interactions ``told``; a user without gets no text.

        The text is the user's choices and the model's reading of them, as in the authors' code. Raises
        :class:`~kg.errors.UsageError` where the choices may not be sent to the model's server.
        """
        self.check_may_send()
        factors = await self.factors()
        rated = bool(len(told) and np.ptp(told.weight))
        chosen = _choices(told, titles, rated)
        asked = {
            number: self._about_user(lines, rated, factors) for number, lines in enumerate(chosen) if lines
        }
        answers, failures = await self._answers(asked, USERS)
        texts = (
            f"{'; '.join(lines)}. {answers[number]}" if number in answers else ""
            for number, lines in enumerate(chosen)
        )
        return Texts(tuple(texts), failures)

    def check_may_send(self) -> None:
        """Raise :class:`~kg.errors.UsageError` where users' choices may not go to the model's server."""
        if not self._may_send:
            raise UsageError(
                "what users chose would be sent to a language model that is not on this machine.",
                where=self._base_url,
                hint="Use a model served on localhost, or allow it with send_interactions.",
            )

    def _about_item(self, title: str, facts: Sequence[str], factors: tuple[str, ...]) -> _Messages:
        return load_prompt("recommender", ITEMS).render(
            domain=self._domain,
            data_rule=DATA_RULE,
            factors=factors,
            title=fenced(title.strip(), label="title"),
            facts=fenced("\n".join(facts[:MOST_FACTS]), label="facts") if facts else "",
        )

    def _about_user(self, lines: Sequence[str], rated: bool, factors: tuple[str, ...]) -> _Messages:
        return load_prompt("recommender", USERS).render(
            domain=self._domain,
            data_rule=DATA_RULE,
            factors=factors,
            rated=rated,
            history=fenced("\n".join(lines), label="choices"),
        )

    async def _answers(
        self, asked: Mapping[int, _Messages], purpose: str
    ) -> tuple[dict[int, str], tuple[str, ...]]:
        """Ask all, some at a time; what the model will not answer is left out and named."""
        numbers = list(asked)
        answers: dict[int, str] = {}
        failures: list[str] = []
        for start in range(0, len(numbers), _AT_ONCE):
            part = numbers[start : start + _AT_ONCE]
            calls = (
                self._model.complete(asked[number], max_tokens=self._max_tokens, purpose=purpose)
                for number in part
            )
            found = await asyncio.gather(*calls, return_exceptions=True)
            for number, answer in zip(part, found, strict=True):
                if isinstance(answer, BaseException):
                    failures.append(f"{purpose} {number}: {self._why(answer)}")
                elif text := " ".join(answer.text.split()):
                    answers[number] = text
                else:
                    failures.append(f"{purpose} {number}: the answer is empty.")
        return answers, tuple(failures)

    def _why(self, problem: BaseException) -> str:
        """Why one answer is missing; raises ``problem`` again where it is not about this one answer."""
        one = isinstance(problem, LanguageModelError) and not isinstance(problem, BudgetExceeded)
        if not one or self._replay:
            raise problem
        return str(problem)


async def write_knowledge(
    writer: KnowledgeWriter,
    train: Interactions,
    titles: Sequence[str],
    facts: Sequence[Sequence[str]] | None = None,
) -> Knowledge:
    """Have everything written for the training part of a split: users from :func:`told_first` of it.

    ``titles`` and ``facts`` are by dense item id. What is answered stays in the ledger, also where this
    raises; see :class:`KnowledgeWriter` for what it raises.
    """
    writer.check_may_send()
    told = told_first(train)
    items = await writer.items(titles, facts)
    return Knowledge(await writer.factors(), items, await writer.users(told, titles), told)


def told_first(train: Interactions, most: int = MOST_TOLD) -> Interactions:
    """The interactions for the users' texts: the first half of each user's, at most ``most``.

    Where times are known every one of them is earlier than all that are left, so of interactions at one
    moment either all are told or none. Where they are not, the order is that of the catalogue.
    """
    time = np.zeros(len(train), np.int64) if train.time is None else train.time
    order = np.lexsort((train.item, time, train.user))
    indptr, _ = train.by_user()
    n_told = np.minimum((np.diff(indptr) + 1) // 2, most)
    cut = indptr[:-1] + n_told
    told = np.arange(len(order)) < cut[train.user[order]]
    if train.time is not None:
        next_time = np.append(train.time[order], 0)[np.minimum(cut, len(order))]
        next_time[cut == indptr[1:]] = np.iinfo(np.int64).max
        told &= train.time[order] < next_time[train.user[order]]
    return train.select(np.sort(order[told]))


def facts_of_items(snapshot: Snapshot, links: Mapping[str, str], item_ids: Sequence[str]) -> list[list[str]]:
    """What the graph states of each item, as sentences: [n_items] lists, empty where it knows nothing.

    Freeze the snapshot with curated and accepted facts only to build on nothing else.
    """
    dense = {identity: number for number, identity in enumerate(snapshot.entity_ids)}
    view = snapshot.adjacency()
    return [
        []
        if (entity := dense.get(links.get(item, ""))) is None
        else [_said(snapshot, int(row)) for row in view.triple[view.indptr[entity] : view.indptr[entity + 1]]]
        for item in item_ids
    ]


def encode_texts(texts: Sequence[str], encoder: SentenceEncoder, folder: Path) -> Floats:
    """Encode on this machine, each text once for ever; a row of zeros where there is no text: [n, dim]."""
    cached = CachedEncoder(encoder, folder)
    try:
        known = [number for number, text in enumerate(texts) if text]
        vectors = np.zeros((len(texts), cached.dimension), np.float32)
        vectors[known] = cached.encode([texts[number] for number in known])
    finally:
        cached.close()
    return vectors


def mean_vectors(item_vectors: Floats, interactions: Interactions) -> Floats:
    """Users without texts of their own: the mean of the vectors of what they had, zero where nothing.

    *Shape:* ``item_vectors`` [n_items, dim] -> [n_users, dim].
    """
    n_had = np.bincount(interactions.user, minlength=interactions.n_users)
    share = (1 / np.maximum(1, n_had))[interactions.user].astype(np.float32)
    shape = (interactions.n_users, interactions.n_items)
    means: Floats = sparse.csr_matrix((share, (interactions.user, interactions.item)), shape) @ item_vectors
    return means


def is_loopback(base_url: str) -> bool:
    """Whether a server's address is this machine for certain; a name other than localhost is not."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _choices(told: Interactions, titles: Sequence[str], rated: bool) -> list[list[str]]:
    """What each user chose, the earliest first, by title: [n_users] lists."""
    chosen: list[list[str]] = [[] for _ in range(told.n_users)]
    time = np.zeros(len(told), np.int64) if told.time is None else told.time
    for row in np.lexsort((told.item, time, told.user)).tolist():
        title = " ".join(titles[told.item[row]].split())
        if title:
            rating = f" (rated {told.weight[row]:g})" if rated else ""
            chosen[told.user[row]].append(f"{title}{rating}")
    return chosen


def _said(snapshot: Snapshot, row: int) -> str:
    head, relation, tail = snapshot.triples[row].tolist()
    names = snapshot.entity_names
    return f"{names[head]} {relation_words(snapshot.relation_names[relation])} {names[tail]}."
